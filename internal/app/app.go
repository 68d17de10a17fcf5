// Package app turns settings into a running broker and keeps it running: listeners, signals, shutdown.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/ops/sys"
)

// Settings are what the command line says.
type Settings struct {
	Broker broker.Options
	// Addresses to listen on: HOST:PORT, or a URL with one of the schemes mqtt, mqtts, ws, wss. With none, Port on the
	// loopback addresses.
	Addresses []string
	// CertFile and KeyFile are the server's certificate chain and key in PEM, for mqtts and wss.
	CertFile, KeyFile string
	Port              int
	SysInterval       time.Duration // 0: no $SYS
	// ShutdownTime bounds how long clients may take to read what they were sent last.
	ShutdownTime time.Duration
	LogLevel     slog.Level
	// Profile is an address for Go's profiler (net/http/pprof); empty: none. It shows the process's memory: loopback only.
	Profile string
	Version string
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
	tuneMemory(s.Profile != "")
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
		go func() { failed <- b.ServeTransport(l.Listener, l.transport) }()
	}
	s.greet(listeners)
	stop := make(chan struct{})
	defer close(stop)
	go trimWhenIdle(b, stop)
	if s.SysInterval > 0 {
		tree, err := sys.New(b, s.Version)
		if err != nil {
			return errors.Join(err, shutdown(b, signals, s.ShutdownTime))
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
			return errors.Join(fmt.Errorf("a listener failed: %w", err), shutdown(b, signals, s.ShutdownTime))
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

var errSecondSignal = errors.New("ended by a second signal before the shutdown was complete")

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
				return errSecondSignal
			}
		}
	}
}
