package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/internal/core/conn"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/internal/edge/certs"
	"github.com/nightjar-mqtt/nightjar/internal/edge/layer"
	"github.com/nightjar-mqtt/nightjar/internal/edge/listener"
	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

type (
	// Transport is what lies between the sockets of a listener and MQTT: PROXY, TLS, WebSocket, or nothing.
	Transport = listener.Transport
	// Proxy says how a listener takes the PROXY protocol, and from whom.
	Proxy = layer.Proxy
	// Socket says where to listen: an address and port, an interface, or a Unix socket.
	Socket = listener.Socket
	// TLSFiles say what a listener's TLS is made of: certificates, keys, authorities, revocation lists, and what is allowed.
	TLSFiles = certs.Files
	// CertificatePair is a certificate and its key, each a file.
	CertificatePair = certs.Pair
	// Certificates is TLS made of files and kept up to date with them.
	Certificates = certs.Source
)

// Listener is what the clients of one or more sockets meet. Its settings can be changed while it runs.
type Listener struct {
	// Name is what logs, Login.Listener, UpdateListener and StopListener call it. No two that run at a time may have the same;
	// "": it has none, and can be neither changed nor stopped by itself.
	Name string
	// Transport is what is spoken there.
	Transport
	// Limits of its connections and what they may do, its mount point and so on; nil: those of Options. MaxConnections counts
	// the listener's own; that of Options holds besides, for all.
	Limits *ConnectionLimits
}

// ListenerStatus is a listener that runs.
type ListenerStatus struct {
	Name        string
	Addresses   []net.Addr
	Transport   Transport
	Connections int // open now
}

// ErrNoListener is what UpdateListener and StopListener return for a name that no running listener has.
var ErrNoListener = errors.New("broker: there is no such listener")

// served is a running listener.
type served struct {
	name    string
	sockets []net.Listener
	factory atomic.Pointer[listener.Factory]

	mu        sync.Mutex // guards what follows, and is held while they change
	shared    *conn.Shared
	transport Transport
	inherits  bool // its limits are those of Options
	ended     bool // its certificates are closed
}

// Listen opens a TCP socket for Serve.
func Listen(address string) (net.Listener, error) { return listener.Listen(address) }

// OpenSockets opens the sockets of a listener: several if the host or the interface has several addresses. The error says
// what to do about it; none is left open then.
func OpenSockets(s Socket) ([]net.Listener, error) { return listener.Open(s) }

// OwnSocket prepares a socket that came from elsewhere, such as systemd: the broker accepts from it with less work. l must
// not be used afterwards.
func OwnSocket(l net.Listener) (net.Listener, error) { return netloop.Own(l) }

// LoadCertificates reads TLS files, for Transport.Certificates, and watches them until they are closed. A listener that has
// them closes them when it stops or gets others.
func LoadCertificates(f TLSFiles, log *slog.Logger) (*Certificates, error) { return certs.Load(f, log) }

// Serve accepts clients over plain TCP on l until Shutdown; then it returns ErrShutdown.
func (b *Broker) Serve(l net.Listener) error { return b.ServeListener(Listener{}, l) }

// ServeTransport is Serve for clients that speak TLS or WebSocket.
func (b *Broker) ServeTransport(l net.Listener, t Transport) error {
	return b.ServeListener(Listener{Transport: t}, l)
}

// ServeListener accepts clients on the sockets until Shutdown, then it returns ErrShutdown, or until StopListener, then nil.
// Another error says why accepting has failed; all its sockets are closed then. It closes them, and the Certificates, in any
// case.
func (b *Broker) ServeListener(l Listener, sockets ...net.Listener) error {
	s, err := b.register(l, sockets)
	if err != nil {
		for _, socket := range sockets {
			_ = socket.Close()
		}
		closeCertificates(l.Transport)
		return err
	}
	defer b.unregister(s)
	results := make(chan error, len(sockets))
	for _, socket := range sockets {
		go func() {
			results <- b.engine.Serve(socket, func(c netloop.Conn) netloop.Handler { return (*s.factory.Load())(c) })
		}()
	}
	var failed error
	for range sockets {
		if err := <-results; err != nil && failed == nil {
			failed = err
			s.closeSockets()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrShutdown
	}
	return failed
}

func (b *Broker) register(l Listener, sockets []net.Listener) (*served, error) {
	if len(sockets) == 0 {
		return nil, fmt.Errorf("broker: listener %q has no socket", l.Name)
	}
	b.reload.Lock()
	defer b.reload.Unlock()
	limits, err := b.limits(l)
	if err != nil {
		return nil, err
	}
	s := &served{name: l.Name, sockets: sockets, inherits: l.Limits == nil}
	s.set(b, b.shared.Listener(l.Name, limits), l.Transport)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return nil, ErrShutdown
	case l.Name != "" && b.find(l.Name) != nil:
		return nil, fmt.Errorf("broker: there is a listener %q already", l.Name)
	}
	b.listeners = append(b.listeners, s)
	return s, nil
}

func (b *Broker) unregister(s *served) {
	b.mu.Lock()
	b.listeners = slices.DeleteFunc(b.listeners, func(other *served) bool { return other == s })
	b.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	closeCertificates(s.transport)
}

// find looks a listener up. b.mu is held.
func (b *Broker) find(name string) *served {
	if i := slices.IndexFunc(b.listeners, func(s *served) bool { return s.name == name }); i >= 0 && name != "" {
		return b.listeners[i]
	}
	return nil
}

// relimit gives new settings to the listeners that have none of their own. b.reload is held.
func (b *Broker) relimit(l ConnectionLimits) {
	b.shared.With(l)
	b.mu.Lock()
	all := slices.Clone(b.listeners)
	b.mu.Unlock()
	for _, s := range all {
		s.mu.Lock()
		if s.inherits {
			s.shared = s.shared.With(l)
		}
		s.mu.Unlock()
	}
}

// limits gives a listener's own settings, checked. b.reload is held.
func (b *Broker) limits(l Listener) (ConnectionLimits, error) {
	out := b.o.ConnectionLimits
	if l.Limits != nil {
		out = *l.Limits
	}
	if err := validateLimits(&out); err != nil {
		return out, fmt.Errorf("listener %q: %w", l.Name, err)
	}
	if l.TLS != nil && l.Certificates != nil {
		return out, fmt.Errorf("broker: listener %q has both TLS and Certificates; it can use only one of them", l.Name)
	}
	return out, nil
}

// set has connections to come meet these settings.
func (s *served) set(b *Broker, shared *conn.Shared, t Transport) {
	s.shared, s.transport = shared, t
	f := listener.New(t, b.layers, shared)
	s.factory.Store(&f)
}

func closeCertificates(t Transport) {
	if t.Certificates != nil {
		t.Certificates.Close()
	}
}

func (s *served) closeSockets() {
	for _, l := range s.sockets {
		_ = l.Close()
	}
}

// UpdateListener gives the running listener of that name other settings. They hold for connections to come, and for those
// there are as far as CONNACK did not promise otherwise; their mount point and what lies between them and the socket stay. So
// do the listener's sockets. After an error nothing has changed, and the new Certificates are not closed.
func (b *Broker) UpdateListener(l Listener) error {
	b.reload.Lock()
	defer b.reload.Unlock()
	limits, err := b.limits(l)
	if err != nil {
		return err
	}
	b.mu.Lock()
	s := b.find(l.Name)
	b.mu.Unlock()
	if s == nil {
		return fmt.Errorf("%w: %q", ErrNoListener, l.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended { // meanwhile
		return fmt.Errorf("%w: %q", ErrNoListener, l.Name)
	}
	old := s.transport
	s.inherits = l.Limits == nil
	s.set(b, s.shared.With(limits), l.Transport)
	if old.Certificates != l.Certificates {
		closeCertificates(old)
	}
	return nil
}

// StopListener closes the sockets of the listener of that name. Clients that are connected stay, unless drop gives a reason
// to disconnect them: they are told (MQTT 5: Administrative action), and their wills are sent. It returns when that is done,
// or when ctx ends. Those that have not got CONNACK are refused.
func (b *Broker) StopListener(ctx context.Context, name string, drop error) error {
	b.mu.Lock()
	s := b.find(name)
	b.mu.Unlock()
	if s == nil {
		return fmt.Errorf("%w: %q", ErrNoListener, name)
	}
	s.mu.Lock()
	shared := s.shared
	s.mu.Unlock()
	shared.CloseListener()
	s.closeSockets()
	b.mu.Lock() // the name is free at once
	b.listeners = slices.DeleteFunc(b.listeners, func(other *served) bool { return other == s })
	b.mu.Unlock()
	if drop == nil {
		return nil
	}
	clients := slices.DeleteFunc(b.router.Holders(), func(h router.Holder) bool {
		c, ok := h.(*conn.Conn)
		return !ok || !c.BelongsTo(shared)
	})
	forAll(ctx, clients, func(c *conn.Conn, done func()) { c.Drop(mqtt.AdministrativeAction, drop, done) })
	return ctx.Err()
}

// Listeners are those that run.
func (b *Broker) Listeners() (all []ListenerStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.listeners {
		s.mu.Lock()
		st := ListenerStatus{Name: s.name, Transport: s.transport, Connections: int(s.shared.Connections())}
		s.mu.Unlock()
		for _, l := range s.sockets {
			st.Addresses = append(st.Addresses, l.Addr())
		}
		all = append(all, st)
	}
	return all
}

// SetMaxConnections bounds the open connections of all listeners together, from now on; those there are stay. 0: no bound
// but the system's.
func (b *Broker) SetMaxConnections(n int) {
	if n == 0 {
		n = descriptorLimit()
	}
	b.shared.SetMaxConnections(n)
}

// validateLimits names the first setting that cannot be.
func validateLimits(l *ConnectionLimits) error {
	switch {
	case l.MaxPacket < 20 || l.MaxPacket > 268_435_460:
		return fmt.Errorf("broker: MaxPacket is %d bytes; it must be from 20 to 268435460", l.MaxPacket)
	case l.MaxConnect < 20:
		return fmt.Errorf("broker: MaxConnect is %d bytes; it must be at least 20", l.MaxConnect)
	case l.MaxQoS > 2:
		return fmt.Errorf("broker: MaxQoS is %d; it must be 0, 1 or 2", l.MaxQoS)
	case len(l.AutoIDPrefix) > 50:
		return errors.New("broker: AutoIDPrefix is longer than 50 bytes")
	case len(l.Versions) == 0:
		return errors.New("broker: no protocol version is accepted: Versions is empty")
	case l.ConnectTimeout <= 0 || l.PacketTimeout <= 0 || l.PacketRate <= 0:
		return errors.New("broker: ConnectTimeout, PacketTimeout and PacketRate must be above 0")
	case l.MountPoint != "" && topic.ValidName([]byte(l.MountPoint)) != nil:
		return fmt.Errorf("broker: Invalid mount_point %q. Does it contain a wildcard character?", l.MountPoint)
	case len(l.MountPoint) > maxMountPoint:
		return fmt.Errorf("broker: MountPoint has %d bytes; it may have %d at most", len(l.MountPoint), maxMountPoint)
	}
	return nil
}

// maxMountPoint leaves most of the 65,535 bytes of a topic to the clients.
const maxMountPoint = 1024
