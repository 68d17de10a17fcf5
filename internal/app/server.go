package app

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/access"
	"github.com/nightjar-mqtt/nightjar/internal/config"
	"github.com/nightjar-mqtt/nightjar/internal/ops/logging"
	"github.com/nightjar-mqtt/nightjar/internal/ops/sys"
	"github.com/nightjar-mqtt/nightjar/internal/ops/systemd"
)

// server is a broker with what belongs to it.
type server struct {
	s      *Settings
	c      *config.Settings // nil: there is no configuration file
	log    *slog.Logger
	logs   *logging.Control
	access *access.Access // nil: everybody may do everything
	gate   *gate          // in front of access
	b      *broker.Broker
	store  broker.Store // nil: nothing survives

	systemd *systemd.Notifier
	passed  []systemd.Socket // by systemd, and no listener has them yet
	sockets []*socket
	http    map[string]*httpAPI // by the name of the listener
	control controlAPI
	failed  chan error
	stopped chan struct{} // closed when the broker ends
	sysStop chan struct{} // ends $SYS; nil: there is none
	undo    []func()      // in reverse order, at the end
}

// atEnd has fn done when the server ends.
func (v *server) atEnd(fn func()) { v.undo = append(v.undo, fn) }

func (v *server) close() {
	close(v.stopped)
	for i := len(v.undo) - 1; i >= 0; i-- {
		v.undo[i]()
	}
}

// runFlags serves as the command line's flags say.
func (v *server) runFlags(signals <-chan os.Signal) (err error) {
	s := v.s
	o := logging.DefaultOptions()
	o.Types, o.Stdout, o.Stderr = logging.AtLeast(s.LogLevel), s.Stdout, s.Stderr
	if v.log, v.logs, err = logging.New(o); err != nil {
		return err
	}
	v.atEnd(func() { _ = v.logs.Close() })
	s.Broker.Logger = v.log
	if err := v.prepare(s.Profile); err != nil {
		return err
	}
	if v.sockets, err = s.listen(v.passed, v.log); err != nil {
		return err
	}
	if s.Broker.Store, err = s.openData(v.log); err != nil {
		return err
	}
	v.store = s.Broker.Store
	if v.b, err = newBroker(s.Broker); err != nil {
		return err
	}
	v.serveAll()
	s.greet(v.sockets)
	if err := v.publishSys(s.SysInterval); err != nil {
		return errors.Join(err, shutdown(v.b, signals, s.ShutdownTime))
	}
	v.ready()
	return v.await(signals)
}

// runConfig serves as the configuration file says.
func (v *server) runConfig(signals <-chan os.Signal) error {
	var problems config.Problems
	v.c, problems = v.s.LoadConfig()
	if err := problems.Err(); err != nil {
		return err
	}
	if err := v.openLog(problems); err != nil {
		return err
	}
	if err := v.prepare(v.c.Own.Profile); err != nil {
		return err
	}
	if err := v.start(); err != nil {
		v.logEach(err)
		if v.c.Log.Stderr {
			return LoggedError{err}
		}
		return err
	}
	v.log.Info("nightjar version " + v.s.Version + " running")
	v.ready()
	return v.await(signals)
}

// logEach writes a line for each of the errors that err joins: each names another file or setting.
func (v *server) logEach(err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // the parts are looked at one by one
		for _, e := range joined.Unwrap() {
			v.logEach(e)
		}
		return
	}
	v.log.Error(err.Error())
}

// LoggedError is an error that stands on stderr already.
type LoggedError struct{ error }

func (e LoggedError) Unwrap() error { return e.error }

// openLog opens the log, and writes what is to be said of the configuration.
func (v *server) openLog(problems config.Problems) (err error) {
	v.log, v.logs, err = logging.New(logOptions(v.c, v.s.Stdout, v.s.Stderr))
	if err != nil {
		return err
	}
	v.atEnd(func() { _ = v.logs.Close() })
	v.log.Info("nightjar version " + v.s.Version + " starting")
	v.log.Info("Config loaded from " + v.c.File + ".")
	v.tell(problems)
	return nil
}

// tell writes problems that do not keep the configuration from being used to the log.
func (v *server) tell(problems config.Problems) {
	for _, p := range problems {
		switch p.Severity {
		case config.Warning:
			v.log.Warn(p.String())
		case config.Notice:
			v.log.Log(noContext, broker.LevelNotice, p.String())
		}
	}
}

// prepare does what comes before anything else.
func (v *server) prepare(profile string) error {
	tuneMemory(profile != "")
	v.failed = make(chan error, 64)
	if err := v.takeSockets(); err != nil {
		return err
	}
	if profile == "" {
		return nil
	}
	stop, err := serveProfile(profile, v.log)
	if err == nil {
		v.atEnd(stop)
	}
	return err
}

// start opens the sockets, gives up rights, and begins to serve.
func (v *server) start() (err error) {
	v.greetLocal()
	if v.sockets, err = v.openSockets(v.c, v.c.Listeners); err != nil {
		return err
	}
	if err := v.refusePassed(); err != nil {
		return err
	}
	if err := v.writePID(); err != nil {
		return err
	}
	if err := v.dropPrivileges(); err != nil {
		return err
	}
	if v.access, err = access.New(accessOptions(v.c), v.log); err != nil {
		return err
	}
	v.atEnd(v.access.Close)
	v.gate = newGate(v.access, v.c)
	o := brokerOptions(v.c)
	o.Logger, o.Authenticator, o.Authorizer = v.log, v.gate, v.access
	v.control.set(v.c)
	o.Control = v.control.of(v.c)
	if o.Store, err = openStore(&v.c.Store, v.log); err != nil {
		return err
	}
	v.store = o.Store
	if v.b, err = newBroker(o); err != nil {
		return err
	}
	v.atEnd(func() {
		for _, a := range v.http {
			a.close()
		}
	})
	v.logs.PublishTo(func(topic string, payload []byte) { _ = v.b.Publish(topic, payload, 2, false) })
	v.serveAll()
	return v.publishSys(v.c.SysInterval)
}

// greetLocal says, in Mosquitto's words, that nobody else can connect.
func (v *server) greetLocal() {
	if !v.c.Listeners[0].Local() {
		return
	}
	v.log.Warn("Starting in local only mode. Connections will only be possible from clients running on this machine.")
	v.log.Warn("Create a configuration file which defines a listener to allow remote access.")
}

// serveAll lets clients in.
func (v *server) serveAll() {
	for _, l := range v.sockets {
		v.serve(l)
	}
	go trimWhenIdle(v.b, v.stopped)
}

// serve lets clients in by a socket.
func (v *server) serve(l *socket) {
	if l.site != nil {
		a := v.newHTTPAPI(l)
		if v.http == nil {
			v.http = make(map[string]*httpAPI)
		}
		v.http[l.Name] = a
		go func() {
			if err := a.serve(l.sockets); err != nil {
				v.failed <- fmt.Errorf("%s failed: %w", l.Name, err)
			}
		}()
		return
	}
	go func() {
		err := v.b.ServeListener(l.Listener, l.sockets...)
		if err != nil && !errors.Is(err, broker.ErrShutdown) {
			v.failed <- fmt.Errorf("%s failed: %w", l.Name, err)
		}
	}()
}

// publishSys publishes $SYS in intervals; 0: not.
func (v *server) publishSys(every time.Duration) error {
	if v.sysStop != nil {
		close(v.sysStop)
		v.sysStop = nil
	}
	if every <= 0 {
		return nil
	}
	tree, err := sys.New(v.b, v.s.Version)
	if err != nil {
		return err
	}
	if more := storeFigures(v.store); more != nil {
		tree.Include(more)
	}
	stop := make(chan struct{})
	v.sysStop = stop
	go func() {
		if err := tree.Run(every, stop); err != nil && !errors.Is(err, broker.ErrShutdown) {
			v.log.Error("$SYS is not published any more", "reason", err)
		}
	}()
	return nil
}

// await serves until a signal ends it.
func (v *server) await(signals <-chan os.Signal) error {
	within := v.s.ShutdownTime
	for {
		if v.c != nil {
			within = v.c.Own.ShutdownTime
		}
		select {
		case err := <-v.failed:
			return errors.Join(err, shutdown(v.b, signals, within))
		case sig := <-signals:
			if what := meaningOf(sig); what != ending {
				v.signalled(what)
				continue
			}
			return v.end(signals, sig, within)
		}
	}
}

func (v *server) end(signals <-chan os.Signal, sig os.Signal, within time.Duration) error {
	v.log.Info("shutting down; a second signal ends at once", "signal", sig.String())
	if v.logs != nil {
		v.logs.PublishTo(nil)
	}
	v.notify(v.systemd.Stopping())
	err := shutdown(v.b, signals, within)
	if v.c != nil {
		v.log.Info("nightjar version " + v.s.Version + " terminating")
	}
	return err
}
