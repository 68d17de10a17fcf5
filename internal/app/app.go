// Package app turns settings into a running broker and keeps it running: listeners, signals, shutdown.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/ops/sys"
)

// Settings are what the command line says.
type Settings struct {
	Broker broker.Options
	// Addresses to listen on, host:port. With none, Port on the loopback addresses.
	Addresses   []string
	Port        int
	SysInterval time.Duration // 0: no $SYS
	// ShutdownTime bounds how long clients may take to read what they were sent last.
	ShutdownTime time.Duration
	LogLevel     slog.Level
	// Profile is an address for Go's profiler (net/http/pprof); empty: none. It shows the process's memory: loopback only.
	Profile string
	Version      string
	// Self is how the user calls this program, for the hints printed at start.
	Self   string
	Stdout io.Writer
	Stderr io.Writer
}

// DefaultSettings are those of `nightjar serve` without flags: loopback only, anybody on this machine may connect.
func DefaultSettings() Settings {
	return Settings{
		Broker: broker.DefaultOptions(), Port: 1883, SysInterval: 10 * time.Second, ShutdownTime: 5 * time.Second,
		LogLevel: slog.LevelInfo, Self: "nightjar", Stdout: os.Stdout, Stderr: os.Stderr,
	}
}

// Run serves until SIGINT or SIGTERM. A second signal ends the process at once.
func Run(s Settings) error {
	log := slog.New(slog.NewTextHandler(s.Stderr, &slog.HandlerOptions{Level: s.LogLevel}))
	s.Broker.Logger = log
	if s.Profile != "" {
		stop, err := serveProfile(s.Profile, log)
		if err != nil {
			return err
		}
		defer stop()
	}
	listeners, err := s.listen()
	if err != nil {
		return err
	}
	b, err := broker.New(s.Broker)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	failed := make(chan error, len(listeners)+1)
	for _, l := range listeners {
		go func() { failed <- b.Serve(l) }()
	}
	s.greet(listeners)
	stop := make(chan struct{})
	defer close(stop)
	if s.SysInterval > 0 {
		tree, err := sys.New(b, s.Version)
		if err != nil {
			return err
		}
		go func() {
			if err := tree.Run(s.SysInterval, stop); err != nil && !errors.Is(err, broker.ErrShutdown) {
				log.Error("$SYS is not published any more", "reason", err)
			}
		}()
	}
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("a listener failed: %w", err)
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				log.Info("SIGHUP: there is no configuration file to read again")
				continue
			}
			log.Info("shutting down; a second signal ends at once", "signal", sig.String())
			return shutdown(b, signals, s.ShutdownTime)
		}
	}
}

func shutdown(b *broker.Broker, signals <-chan os.Signal, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- b.Shutdown(ctx) }()
	for {
		select {
		case err := <-done:
			return err
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return errors.New("ended by a second signal before the shutdown was complete")
			}
		}
	}
}

// listen opens all sockets, or none.
func (s *Settings) listen() (ls []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range ls {
				_ = l.Close()
			}
		}
	}()
	for _, a := range s.Addresses {
		l, err := broker.Listen(a)
		if err != nil {
			return ls, err
		}
		ls = append(ls, l)
	}
	if len(ls) > 0 {
		return ls, nil
	}
	l, err := broker.Listen(net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)))
	if err != nil {
		return ls, err
	}
	ls = append(ls, l)
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return ls, err
	}
	// Machines without IPv6 have no ::1; "localhost" may mean either.
	if l6, err := broker.Listen(net.JoinHostPort("::1", port)); err == nil {
		ls = append(ls, l6)
	}
	return ls, nil
}

// greet says what is listened on and what to type next.
func (s *Settings) greet(ls []net.Listener) {
	var where []string
	port, loopback := "1883", true
	for _, l := range ls {
		where = append(where, l.Addr().String())
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			port = strconv.Itoa(a.Port)
			loopback = loopback && a.IP.IsLoopback()
		}
	}
	p := ""
	if port != "1883" {
		p = " -p " + port
	}
	who := "anybody on this machine may connect, nobody else can"
	if !loopback && s.Broker.Authenticator == nil {
		who = "ANYBODY who reaches these addresses may connect, publish and read"
	}
	fmt.Fprintf(s.Stdout, "nightjar version %s listens on %s (MQTT 3.1, 3.1.1 and 5; %s; messages are kept in memory only)\n",
		s.Version, strings.Join(where, " and "), who)
	fmt.Fprintf(s.Stdout, "Next, in another terminal:\n  %[1]s sub%[2]s -t 'hello/#' -v\nand in a third:\n  %[1]s pub%[2]s -t hello/world -m 'good evening'\nCtrl-C stops the broker.\n",
		s.Self, p)
}
