// Package logging writes the broker's log: Mosquitto's log types and destinations, in Mosquitto's lines or as JSON.
//
// A line is made where it is logged and written by a goroutine of its own, because event loops log, and a full disk or a
// terminal that is held must not hold them. What clients can cause any number of is limited for each kind of event; what
// is left out is counted in a line. No payload, password or token gets into a line, and what clients chose is quoted, so that
// no client can make up a line or an address.
//
// The files: types.go (log types), handler.go (the slog handler), text.go (Mosquitto's sentences), limit.go, queue.go (the
// goroutine), destination.go and syslog_*.go.
package logging

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Format is how lines look.
type Format byte

// The formats.
const (
	Text Format = iota // Mosquitto's: "TIMESTAMP: sentence"
	JSON               // an object with time, level, msg and attributes
)

// ParseFormat reads the name of a format.
func ParseFormat(name string) (Format, error) {
	switch name {
	case "text":
		return Text, nil
	case "json":
		return JSON, nil
	}
	return Text, fmt.Errorf("%q is no log format; there are text, json", name)
}

// Options say what is logged, how and where. Start from DefaultOptions.
type Options struct {
	Types        Types
	Destinations []Destination // none: nothing is written
	Format       Format
	// Timestamp puts the time in front of a line: in seconds since 1970, or by TimestampFormat, as for strftime(3). JSON has
	// its own format for it.
	Timestamp       bool
	TimestampFormat string
	// ConnectionMessages: clients that connect and disconnect are logged. Refused ones always are.
	ConnectionMessages bool
	// Facility is syslog's: daemon, local0 … local7, and the others of syslog(3); "": daemon.
	Facility string
	// Limit is how many lines of one kind are written in ten seconds, ConnectionLimit how many of those about connecting and
	// disconnecting: against clients that fill the disk. The rest is counted. 0: no limit. Lines of the types debug, subscribe,
	// unsubscribe and websockets have none: who asks for them wants them all.
	Limit, ConnectionLimit int

	Stdout, Stderr io.Writer
}

// DefaultOptions are Mosquitto's.
func DefaultOptions() Options {
	return Options{
		Types: TypesDefault, Destinations: []Destination{{Kind: Stderr}}, Timestamp: true, ConnectionMessages: true,
		Limit: 100, ConnectionLimit: 2000, Stdout: os.Stdout, Stderr: os.Stderr,
	}
}

// Control steers a logger that runs. Its methods are safe for concurrent use.
type Control struct {
	state   atomic.Pointer[state]
	queue   *queue
	limiter *limiter

	mu      sync.Mutex // one change at a time
	sinks   []sink     // the queue's
	publish func(topic string, payload []byte)
	closed  bool
}

// state is what a line is made by.
type state struct {
	types              Types
	format             Format
	timestamp          bool
	timestampFormat    string
	connectionMessages bool
}

// New makes a logger. An error names the destination that cannot be used.
func New(o Options) (*slog.Logger, *Control, error) {
	c := &Control{}
	c.limiter = newLimiter(c.limited)
	var err error
	if c.sinks, err = open(&o, nil, nil); err != nil {
		return nil, nil, err
	}
	c.apply(&o)
	c.queue = startQueue(c.sinks, o.Stderr, c.render)
	return slog.New(&handler{c: c}), c, nil
}

func (c *Control) apply(o *Options) {
	c.limiter.set(o.Limit, o.ConnectionLimit)
	c.state.Store(&state{
		types: o.Types, format: o.Format, timestamp: o.Timestamp, timestampFormat: o.TimestampFormat,
		connectionMessages: o.ConnectionMessages,
	})
}

// Reload has all options replaced. New destinations are opened before old ones are closed; on an error nothing changes. A file
// that stays is not opened again: by now the process may have no right to, see Reopen.
func (c *Control) Reload(o Options) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	sinks, err := open(&o, c.publish, c.sinks)
	if err != nil {
		return err
	}
	if err := c.queue.swap(sinks); err != nil {
		closeAll(sinks, c.sinks)
		return err
	}
	closeAll(c.sinks, sinks)
	c.sinks = sinks
	c.apply(&o)
	return nil
}

// Reopen opens log files again, as logrotate(8) wants it after it has renamed them. On an error the old file is written on.
func (c *Control) Reopen() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	return c.queue.do(func(sinks []sink) error {
		var errs []error
		for _, s := range sinks {
			if f, ok := s.(*fileSink); ok {
				errs = append(errs, f.reopen())
			}
		}
		return errors.Join(errs...)
	})
}

// Types are the types that are written.
func (c *Control) Types() Types { return c.state.Load().types }

// SetTypes changes them.
func (c *Control) SetTypes(t Types) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := *c.state.Load()
	s.types = t
	c.state.Store(&s)
}

// SetLevel has the types at or above a level written.
func (c *Control) SetLevel(l slog.Level) { c.SetTypes(AtLeast(l)) }

// PublishTo gives the destination "topic" somebody to publish through. Until then, lines for it are lost. publish may block;
// it is called by a goroutine of its own, at most until Close.
func (c *Control) PublishTo(publish func(topic string, payload []byte)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.publish = publish
	_ = c.queue.do(func(sinks []sink) error {
		for _, s := range sinks {
			if t, ok := s.(*topicSink); ok {
				t.publish.Store(&publish)
			}
		}
		return nil
	})
}

// Lost is how many lines could not be written, because a destination failed or took them too slowly.
func (c *Control) Lost() int64 { return c.queue.lost.Load() }

// Flush waits until what was logged before is written, for at most as long as given.
func (c *Control) Flush(within time.Duration) error { return c.queue.flush(within) }

// Close writes what is left, counts included, and closes the destinations. Lines that come later are lost.
func (c *Control) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	c.closed = true
	c.limiter.close()
	return c.queue.close()
}

var errClosed = errors.New("logging: the log is closed")
