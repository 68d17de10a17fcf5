package app

import (
	"fmt"
	"net"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/config"
	"github.com/nightjar-mqtt/nightjar/internal/ops/systemd"
)

// takeSockets takes over the sockets that systemd has opened.
func (v *server) takeSockets() (err error) {
	v.systemd = systemd.NewNotifier()
	v.passed, err = systemd.Sockets()
	return err
}

// passedTo are the sockets of systemd's that a listener has asked for, by port or path.
func (v *server) passedTo(l *config.Listener) (out []net.Listener, err error) {
	rest := v.passed[:0]
	for _, s := range v.passed {
		if !belongs(s.Addr(), l) {
			rest = append(rest, s)
			continue
		}
		owned, err := broker.OwnSocket(s.Listener)
		if err != nil {
			return out, fmt.Errorf("socket %q from systemd: %w", s.Name, err)
		}
		out = append(out, owned)
	}
	v.passed = rest
	return out, nil
}

func belongs(addr net.Addr, l *config.Listener) bool {
	switch a := addr.(type) {
	case *net.TCPAddr:
		return l.Path == "" && a.Port == l.Port && (l.Host == "" || l.Host == a.IP.String())
	case *net.UnixAddr:
		return l.Path != "" && a.Name == l.Path
	}
	return false
}

// refusePassed names a socket of systemd's that no listener is for: clients that connect there would hang.
func (v *server) refusePassed() error {
	for _, s := range v.passed {
		return fmt.Errorf("systemd has passed a socket (%q, %s) for which the configuration has no listener; add one with this address, or take it out of the socket unit", s.Name, s.Addr())
	}
	return nil
}

// ready tells systemd, and whoever started this process in the background, that clients are served.
func (v *server) ready() {
	v.notify(v.systemd.Ready("serving clients"))
	go v.systemd.Watch(v.stopped, func(within time.Duration) error { return v.b.Responsive(within) }, v.notify)
	tellForeground()
}

// notify logs that systemd could not be told.
func (v *server) notify(err error) {
	if err != nil {
		v.log.Error("systemd is not told that the broker is well", "reason", err)
	}
}
