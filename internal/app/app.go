// Package app turns settings into a running broker and keeps it running: listeners, signals, reload, shutdown.
//
// The files: app.go (what a command line says, and Run), server.go (a running broker), options.go, access.go, log.go and
// listen.go (what a configuration means for each part), reload.go (SIGHUP), check.go (what is insecure or a surprise),
// signals_*.go, systemd.go, process_*.go (pid file, user, background).
package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/config"
)

// Settings are what the command line says.
type Settings struct {
	// ConfigFile is a configuration file. With one, Broker, Addresses, CertFile, KeyFile, SysInterval and LogLevel are not used.
	ConfigFile string
	// Ports are for the loopback addresses; they count when neither Addresses nor the configuration file say where to listen.
	Ports []int
	// TLSKeyLog is a file for the secrets of TLS connections, for debugging; empty: none.
	TLSKeyLog string
	// Verbose has everything logged, Quiet nothing, whatever the configuration file says.
	Verbose, Quiet bool

	Broker broker.Options
	// Data is the directory of what must survive; empty: the usual place (see docs/durability.md); NoData: nothing survives.
	Data string
	// Sync says when it is synced; see ParseSync.
	Sync string
	// Addresses to listen on: HOST:PORT, or a URL with one of the schemes mqtt, mqtts, ws, wss. With none, Ports on the
	// loopback addresses.
	Addresses []string
	// CertFile and KeyFile are the server's certificate chain and key in PEM, for mqtts and wss.
	CertFile, KeyFile string
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
	o := broker.DefaultOptions()
	o.MaxQueued, o.MaxClients = defaultQueued, defaultClients
	return Settings{
		Broker: o, Sync: "always", SysInterval: 10 * time.Second, ShutdownTime: 5 * time.Second,
		LogLevel: slog.LevelInfo, Self: "nightjar", Stdout: os.Stdout, Stderr: os.Stderr,
	}
}

// defaultClients is how many sessions there may be without a configuration file: more than a machine that nobody has
// configured serves, and not as many as a client can make that connects again and again under new names.
const defaultClients = 1 << 20

// defaultQueued is how many messages may wait for a client without a configuration file: queues lie on disk, where there is
// room, and a message that was acknowledged should not be dropped for want of a place. Mosquitto's 1,000 come with its file.
const defaultQueued = 1_000_000

// defaultPort is MQTT's.
const defaultPort = 1883

// LoadConfig reads a configuration file as the command line has it. What this version cannot do is among the problems.
func (s *Settings) LoadConfig() (*config.Settings, config.Problems) {
	c, problems := config.Load(s.ConfigFile)
	if !c.SetPorts(s.Ports) && len(s.Ports) > 0 {
		problems = append(problems, config.Problem{Position: config.Position{File: s.ConfigFile}, Severity: config.Warning,
			Text: "the port on the command line is not used, because the configuration has listeners"})
	}
	if dir := os.Getenv("MOSQUITTO_PERSISTENCE_LOCATION"); dir != "" { // containers set it
		c.Store.Location = dir
	}
	switch {
	case s.Quiet:
		c.Log.Overruled = "quiet"
	case s.Verbose:
		c.Log.Overruled = "verbose"
	}
	return c, problems
}

// Run serves until SIGINT or SIGTERM. A second signal ends the process at once. What is wrong with a configuration file is
// returned as config.Problems.
func Run(s Settings) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, handled()...)
	defer signal.Stop(signals)
	return run(s, signals)
}

func run(s Settings, signals <-chan os.Signal) error {
	v := &server{s: &s, stopped: make(chan struct{})}
	defer v.close()
	if s.ConfigFile == "" {
		return v.runFlags(signals)
	}
	return v.runConfig(signals)
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
			if meaningOf(sig) == ending {
				return errSecondSignal
			}
		}
	}
}
