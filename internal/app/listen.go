package app

import (
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/config"
)

// socket is an open listener and what is spoken on it.
type socket struct {
	net.Listener
	scheme    string
	transport broker.Transport
	of        *config.Listener // nil: there is no configuration file
	closing   atomic.Bool
}

func (s *socket) String() string {
	if s.scheme == "mqtt" {
		return s.Addr().String()
	}
	return s.scheme + "://" + s.Addr().String()
}

// openSockets opens the sockets of listeners, all or none.
func (v *server) openSockets(listeners []*config.Listener) (out []*socket, err error) {
	defer func() {
		if err != nil {
			closeAll(out)
			out = nil
		}
	}()
	for _, l := range listeners {
		opened, err := v.openListener(l)
		if err != nil {
			// Machines without IPv6 have no ::1.
			if l.Local() && l.Host == "::1" && len(out) > 0 {
				v.log.Info("no listener on ::1", "reason", err)
				continue
			}
			return out, err
		}
		out = append(out, opened...)
	}
	return out, nil
}

func closeAll(ls []*socket) {
	for _, l := range ls {
		l.closing.Store(true)
		_ = l.Close()
	}
}

func (v *server) openListener(l *config.Listener) (out []*socket, err error) {
	t := broker.Transport{WebSocket: l.Protocol == "websockets", Origins: l.Origins}
	if l.TLS.Used() {
		cert, err := tls.LoadX509KeyPair(l.TLS.CertFile, l.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %s with key %s: %w", l.Name(), l.TLS.CertFile, l.TLS.KeyFile, err)
		}
		t.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	socks, err := broker.Listen(net.JoinHostPort(l.Host, strconv.Itoa(l.Port)))
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", l.Position, l.Name(), err)
	}
	v.log.Info("Opening " + l.Protocol + " listen socket on port " + strconv.Itoa(l.Port) + ".")
	return []*socket{{Listener: socks, scheme: l.Protocol, transport: t, of: l}}, nil
}

// listen opens all sockets that the flags ask for, or none.
func (s *Settings) listen() (ls []*socket, err error) {
	defer func() {
		if err != nil {
			closeAll(ls)
		}
	}()
	for _, a := range s.Addresses {
		l, err := s.open(a)
		if err != nil {
			return ls, err
		}
		ls = append(ls, l)
	}
	if len(ls) > 0 {
		return ls, nil
	}
	ports := s.Ports
	if len(ports) == 0 {
		ports = []int{defaultPort}
	}
	for _, port := range ports {
		l, err := s.open(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return ls, err
		}
		ls = append(ls, l)
		_, chosen, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return ls, err
		}
		// Machines without IPv6 have no ::1; "localhost" may mean either.
		if l6, err := s.open(net.JoinHostPort("::1", chosen)); err == nil {
			ls = append(ls, l6)
		}
	}
	return ls, nil
}

// open opens the socket for one address.
func (s *Settings) open(address string) (*socket, error) {
	scheme, hostPort, given := strings.Cut(address, "://")
	if !given {
		scheme, hostPort = "mqtt", address
	}
	out := &socket{scheme: scheme}
	switch scheme {
	case "mqtt", "mqtts":
	case "ws", "wss":
		out.transport.WebSocket = true
	default:
		return nil, fmt.Errorf("cannot listen on %s: %q is not a scheme; use mqtt, mqtts, ws or wss", address, scheme)
	}
	if scheme == "mqtts" || scheme == "wss" {
		if s.CertFile == "" || s.KeyFile == "" {
			return nil, fmt.Errorf("cannot listen on %s: it needs --cert and --key", address)
		}
		cert, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cannot listen on %s: certificate %s with key %s: %w", address, s.CertFile, s.KeyFile, err)
		}
		out.transport.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	l, err := broker.Listen(hostPort)
	if err != nil {
		return nil, err
	}
	out.Listener = l
	return out, nil
}

// greet says what is listened on and what to type next.
func (s *Settings) greet(ls []*socket) {
	var where []string
	loopback := true
	var port string
	for _, l := range ls {
		where = append(where, l.String())
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			loopback = loopback && a.IP.IsLoopback()
			if l.scheme == "mqtt" && port == "" {
				port = strconv.Itoa(a.Port)
			}
		}
	}
	who := "anybody on this machine may connect, nobody else can"
	if !loopback && s.Broker.Authenticator == nil {
		who = "ANYBODY who reaches these addresses may connect, publish and read"
	}
	fmt.Fprintf(s.Stdout, "nightjar version %s listens on %s (MQTT 3.1, 3.1.1 and 5; %s; messages are kept in memory only)\n",
		s.Version, strings.Join(where, " and "), who)
	if port == "" {
		return
	}
	p := ""
	if port != "1883" {
		p = " -p " + port
	}
	fmt.Fprintf(s.Stdout, "Next, in another terminal:\n  %[1]s sub%[2]s -t 'hello/#' -v\nand in a third:\n  %[1]s pub%[2]s -t hello/world -m 'good evening'\nCtrl-C stops the broker.\n",
		s.Self, p)
}
