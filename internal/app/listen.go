package app

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/config"
	"github.com/nightjar-mqtt/nightjar/internal/ops/systemd"
)

// socket is a listener with its open sockets.
type socket struct {
	broker.Listener
	sockets []net.Listener
	scheme  string
	site    *httpSite // of protocol http_api; nil: MQTT clients connect
}

func (s *socket) String() string {
	if s.scheme == "mqtt" {
		return s.sockets[0].Addr().String()
	}
	return s.scheme + "://" + s.sockets[0].Addr().String()
}

func (s *socket) close() {
	for _, l := range s.sockets {
		_ = l.Close()
	}
	if s.Certificates != nil {
		s.Certificates.Close()
	}
}

func closeAll(ls []*socket) {
	for _, l := range ls {
		l.close()
	}
}

// openSockets opens the sockets of listeners, all or none.
func (v *server) openSockets(c *config.Settings, listeners []*config.Listener) (out []*socket, err error) {
	for _, l := range listeners {
		opened, err := v.openListener(c, l)
		if err != nil {
			// Machines without IPv6 have no ::1.
			if l.Local() && l.Host == "::1" && len(out) > 0 {
				v.log.Info("no listener on ::1", "reason", err)
				continue
			}
			closeAll(out)
			return nil, err
		}
		out = append(out, opened)
	}
	return out, nil
}

func (v *server) openListener(c *config.Settings, l *config.Listener) (*socket, error) {
	b, err := v.brokerListener(c, l)
	if err != nil {
		return nil, err
	}
	out := &socket{Listener: b, scheme: l.Protocol}
	if l.Protocol == "http_api" {
		out.site = &httpSite{c, l, b.Certificates}
	}
	s := broker.Socket{Path: l.Path, Mode: os.FileMode(l.SocketMode), Domain: l.SocketDomain, Interface: l.BindInterface}
	if l.Path == "" {
		s.Address = net.JoinHostPort(l.Host, strconv.Itoa(l.Port))
	}
	if out.sockets, err = v.passedTo(l); err == nil && len(out.sockets) == 0 {
		out.sockets, err = broker.OpenSockets(s)
	}
	if err != nil {
		out.close()
		return nil, fmt.Errorf("%s: %w", l.Position, err)
	}
	for _, opened := range out.sockets {
		for _, sentence := range opening(l, opened.Addr()) {
			v.log.Info(sentence)
		}
	}
	return out, nil
}

// opening are Mosquitto's sentences for a socket.
func opening(l *config.Listener, addr net.Addr) (out []string) {
	if l.Path != "" {
		return []string{fmt.Sprintf("Opening unix listen socket on path %s.", l.Path)}
	}
	kinds := []string{"websockets"}
	switch l.Protocol {
	case "http_api":
		kinds = []string{"http api"}
	case "mqtt":
		kinds = []string{"ipv6"}
		switch a, ok := addr.(*net.TCPAddr); {
		case ok && a.IP.To4() != nil:
			kinds = []string{"ipv4"}
		case ok && a.IP.IsUnspecified() && l.SocketDomain == "": // one socket for both
			kinds = []string{"ipv4", "ipv6"}
		}
	}
	for _, kind := range kinds {
		out = append(out, fmt.Sprintf("Opening %s listen socket on port %d.", kind, l.Port))
	}
	return out
}

// brokerListener is what clients meet at a listener. It reads certificates.
func (v *server) brokerListener(c *config.Settings, l *config.Listener) (broker.Listener, error) {
	limits := listenerLimits(c, l)
	out := broker.Listener{Name: l.Name(), Limits: &limits, Transport: broker.Transport{
		WebSocket: l.Protocol == "websockets", Mixed: l.Protocol == "mqtt+websockets", Origins: l.Origins, Proxy: proxy(l), Plain: plainFiles(l.HTTPDir)}}
	if !l.TLS.Used() {
		return out, nil
	}
	certificates, err := broker.LoadCertificates(tlsFiles(l, v.s.TLSKeyLog), v.log)
	if err != nil {
		return out, fmt.Errorf("%s: %s: %w", l.Position, l.Name(), err)
	}
	out.Certificates = certificates
	return out, nil
}

func tlsFiles(l *config.Listener, keyLog string) broker.TLSFiles {
	t := &l.TLS
	f := broker.TLSFiles{
		Pair: broker.CertificatePair{CertFile: t.CertFile, KeyFile: t.KeyFile}, CAFile: t.CAFile, CAPath: t.CAPath,
		RequireCertificate: t.RequireCertificate, CRLFile: t.CRLFile, IgnoreDates: t.NoDateChecks, MinVersion: t.Version,
		Ciphers: t.Ciphers, KeyLogFile: keyLog,
	}
	if f.MinVersion == "tlsv1.1" { // Mosquitto's table has it; it is not safe
		f.MinVersion = ""
	}
	for _, pair := range t.SNI {
		f.More = append(f.More, broker.CertificatePair(pair))
	}
	return f
}

func proxy(l *config.Listener) *broker.Proxy {
	if l.ProxyProtocol == "" {
		return nil
	}
	p := &broker.Proxy{V1: l.ProxyProtocol == "1", V2: l.ProxyProtocol == "2", RequireTLS: l.ProxyRequireTLS,
		RequireCertificate: l.ProxyProtocol == "2" && l.TLS.RequireCertificate}
	for _, text := range l.ProxyTrusted {
		prefix, err := netip.ParsePrefix(text)
		if err != nil { // config has checked that it is one of both
			addr := netip.MustParseAddr(text)
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		p.Trusted = append(p.Trusted, prefix)
	}
	return p
}

// listen opens all sockets that the flags ask for, or none. What systemd has opened comes before the usual ports.
func (s *Settings) listen(passed []systemd.Socket, log *slog.Logger) (ls []*socket, err error) {
	defer func() {
		if err != nil {
			closeAll(ls)
		}
	}()
	for _, p := range passed {
		l, err := broker.OwnSocket(p.Listener)
		if err != nil {
			return ls, fmt.Errorf("socket %q from systemd: %w", p.Name, err)
		}
		ls = append(ls, &socket{scheme: "mqtt", sockets: []net.Listener{l}})
	}
	for _, a := range s.Addresses {
		l, err := s.open(a, log)
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
		l, err := s.open(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), log)
		if err != nil {
			return ls, err
		}
		ls = append(ls, l)
		_, chosen, err := net.SplitHostPort(l.sockets[0].Addr().String())
		if err != nil {
			return ls, err
		}
		// Machines without IPv6 have no ::1; "localhost" may mean either.
		if l6, err := s.open(net.JoinHostPort("::1", chosen), log); err == nil {
			ls = append(ls, l6)
		}
	}
	return ls, nil
}

// open opens the socket for one address.
func (s *Settings) open(address string, log *slog.Logger) (*socket, error) {
	scheme, hostPort, given := strings.Cut(address, "://")
	if !given {
		scheme, hostPort = "mqtt", address
	}
	out := &socket{scheme: scheme}
	switch scheme {
	case "mqtt", "mqtts":
	case "ws", "wss":
		out.WebSocket = true
	default:
		return nil, fmt.Errorf("cannot listen on %s: %q is not a scheme; use mqtt, mqtts, ws or wss", address, scheme)
	}
	if scheme == "mqtts" || scheme == "wss" {
		if s.CertFile == "" || s.KeyFile == "" {
			return nil, fmt.Errorf("cannot listen on %s: it needs --cert and --key", address)
		}
		var err error
		files := broker.TLSFiles{Pair: broker.CertificatePair{CertFile: s.CertFile, KeyFile: s.KeyFile}, KeyLogFile: s.TLSKeyLog}
		if out.Certificates, err = broker.LoadCertificates(files, log); err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", address, err)
		}
	}
	l, err := broker.Listen(hostPort)
	if err != nil {
		out.close()
		return nil, err
	}
	out.sockets = []net.Listener{l}
	return out, nil
}

// greet says what is listened on and what to type next.
func (s *Settings) greet(ls []*socket) {
	var where []string
	loopback := true
	var port string
	for _, l := range ls {
		where = append(where, l.String())
		if a, ok := l.sockets[0].Addr().(*net.TCPAddr); ok {
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
	fmt.Fprintf(s.Stdout, "nightjar version %s listens on %s (MQTT 3.1, 3.1.1 and 5; %s; %s)\n",
		s.Version, strings.Join(where, " and "), who, s.kept())
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
