package conn

import (
	"errors"
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// ErrListenerClosed is what a connection is closed with that had not got CONNACK when its listener was closed.
var ErrListenerClosed = errors.New("the listener has been closed")

// common is what the listeners of a broker share.
type common struct {
	opening        atomic.Int64
	open           atomic.Int64
	bound          atomic.Int64
	maxConnections atomic.Int64
	accepted       atomic.Int64 // connections, since the start
	connects       atomic.Int64 // CONNECT packets
	counts         counts
	paused         pausedConns
	hooks          atomic.Pointer[hooks]
	control        atomic.Pointer[Control] // nil: there is none
	closing        atomic.Bool             // the broker shuts down: nobody is accepted any more
}

// listener is what the connections of one listener share, whatever its settings were when they came.
type listener struct {
	name    string
	open    atomic.Int64
	closing atomic.Bool // it has been closed: who has not got CONNACK yet is refused
	latest  atomic.Pointer[Shared]
}

// Listener is for the connections of another listener of the same broker: it has a name and settings of its own and shares
// the rest. Its Config.MaxConnections bounds its own connections; that of the Shared made by NewShared bounds all.
func (sh *Shared) Listener(name string, c Config) *Shared {
	out := *sh
	out.Config = c
	out.listener = &listener{name: name}
	out.listener.latest.Store(&out)
	return &out
}

// With gives the listener other settings, for connections to come, by whichever of its Shared they are made; and for those
// that are there, in what CONNACK does not promise (see live).
func (sh *Shared) With(c Config) *Shared {
	out := *sh
	out.Config = c
	sh.listener.latest.Store(&out)
	return &out
}

// Accepted is how many connections there have been.
func (sh *Shared) Accepted() int64 { return sh.common.accepted.Load() }

// Connects is how many CONNECT packets there have been, those that were refused included.
func (sh *Shared) Connects() int64 { return sh.common.connects.Load() }

// Name is the listener's.
func (sh *Shared) Name() string { return sh.listener.name }

// Connections are the listener's own open connections.
func (sh *Shared) Connections() int64 { return sh.listener.open.Load() }

// CloseListener has further CONNECT packets on this listener refused. Connections that have got CONNACK stay.
func (sh *Shared) CloseListener() { sh.listener.closing.Store(true) }

// SetMaxConnections bounds the open connections of all listeners together; 0: no bound of ours.
func (sh *Shared) SetMaxConnections(n int) { sh.common.maxConnections.Store(int64(n)) }

// count adds a new connection to all that count them. An error says which bound it exceeds.
func (sh *Shared) count() error {
	sh.common.accepted.Add(1)
	all, own, opening := sh.common.open.Add(1), sh.listener.open.Add(1), sh.common.opening.Add(1)
	most := sh.common.maxConnections.Load()
	switch {
	case most > 0 && all > most, sh.MaxConnections > 0 && own > int64(sh.MaxConnections):
		return ErrTooMany
	case sh.MaxOpening > 0 && opening > int64(sh.MaxOpening):
		return ErrTooManyOpening
	}
	return nil
}

// discount takes a connection that has closed out of the count.
func (sh *Shared) discount() {
	sh.common.open.Add(-1)
	sh.listener.open.Add(-1)
}

// BelongsTo reports whether the connection came by the listener that sh is for, whatever its settings were then.
func (c *Conn) BelongsTo(sh *Shared) bool { return c.sh.listener == sh.listener }

// closed says why nobody is accepted any more; nil: somebody is.
func (sh *Shared) closed() error {
	switch {
	case sh.common.closing.Load():
		return ErrShutdown
	case sh.listener.closing.Load():
		return ErrListenerClosed
	}
	return nil
}

// Drop ends an open connection with a reason code, and one that has not got CONNACK without a word; done is called when its
// session has been left. Any goroutine.
func (c *Conn) Drop(code mqtt.ReasonCode, why error, done func()) {
	c.t.Post(func(loop int, now int64) {
		defer done()
		w := c.sh.Router.Worker(loop, now)
		if c.state == stateOpen {
			c.disconnect(w, code, why)
			return
		}
		c.fail(w, why)
	})
}
