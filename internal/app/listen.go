package app

import (
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/nightjar-mqtt/nightjar/broker"
)

// socket is an open listener and what is spoken on it.
type socket struct {
	net.Listener
	scheme    string
	transport broker.Transport
}

func (s socket) String() string {
	if s.scheme == "mqtt" {
		return s.Addr().String()
	}
	return s.scheme + "://" + s.Addr().String()
}

// listen opens all sockets, or none.
func (s *Settings) listen() (ls []socket, err error) {
	defer func() {
		if err != nil {
			for _, l := range ls {
				_ = l.Close()
			}
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
	l, err := s.open(net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)))
	if err != nil {
		return ls, err
	}
	ls = append(ls, l)
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return ls, err
	}
	// Machines without IPv6 have no ::1; "localhost" may mean either.
	if l6, err := s.open(net.JoinHostPort("::1", port)); err == nil {
		ls = append(ls, l6)
	}
	return ls, nil
}

// open opens the socket for one address.
func (s *Settings) open(address string) (socket, error) {
	scheme, hostPort, given := strings.Cut(address, "://")
	if !given {
		scheme, hostPort = "mqtt", address
	}
	out := socket{scheme: scheme}
	switch scheme {
	case "mqtt", "mqtts":
	case "ws", "wss":
		out.transport.WebSocket = true
	default:
		return out, fmt.Errorf("cannot listen on %s: %q is not a scheme; use mqtt, mqtts, ws or wss", address, scheme)
	}
	if scheme == "mqtts" || scheme == "wss" {
		if s.CertFile == "" || s.KeyFile == "" {
			return out, fmt.Errorf("cannot listen on %s: it needs --cert and --key", address)
		}
		cert, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		if err != nil {
			return out, fmt.Errorf("cannot listen on %s: certificate %s with key %s: %w", address, s.CertFile, s.KeyFile, err)
		}
		out.transport.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	l, err := broker.Listen(hostPort)
	out.Listener = l
	return out, err
}

// greet says what is listened on and what to type next.
func (s *Settings) greet(ls []socket) {
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
