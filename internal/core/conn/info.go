package conn

import (
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Info is what there is to tell of a connected client.
type Info struct {
	message.Identity
	Address   string // of the client
	Local     string // where it connected to
	Listener  string
	Version   mqtt.Version
	KeepAlive uint16 // seconds
	Expiry    uint32 // seconds that the session outlives the connection
	Since     int64  // Unix milliseconds
	LastSeen  int64  // when its last packet came

	PacketsReceived, BytesReceived int64 // on this connection
	PacketsSent, BytesSent         int64
	Waiting                        int   // bytes in the outbox
	Inflight, Queued               int   // QoS 1 and 2 messages to it
	Incoming                       int   // QoS 2 messages from it that it has not released
	Dropped                        int64 // messages to it, since its session began
	Subscriptions                  int
	Unread                         bool // the client does not read what it is sent, and is not read until it does
}

// Inspect has fn called with the connection's figures, if it is open and match says so, and then done. Any goroutine; fn and
// match are called on the connection's loop.
func (c *Conn) Inspect(match func(*message.Identity) bool, fn func(Info), done func()) {
	c.t.Post(func(int, int64) {
		defer done()
		if c.state != stateOpen || match != nil && !match(c.id) {
			return
		}
		fn(c.info())
	})
}

func (c *Conn) info() Info {
	i := Info{
		Identity: *c.id, Listener: c.sh.listener.name, Version: c.version, KeepAlive: c.keepAlive, Expiry: c.s.Expiry(),
		Since: c.since, LastSeen: c.lastSeen, PacketsReceived: int64(c.packets), BytesReceived: int64(c.bytes),
		Waiting: c.t.Out().Bytes(), Subscriptions: c.sh.Router.Subscriptions(c.s), Unread: c.unread,
	}
	i.Address, i.Local = c.sh.Addresses(c.t)
	i.PacketsSent, i.BytesSent = c.t.Out().Totals()
	f := c.s.Figures()
	i.Inflight, i.Queued, i.Incoming, i.Dropped = f.Inflight, f.Queued, f.Received, int64(f.Dropped)
	return i
}

// DropIf ends the connection with a reason if match says so of its client; done is told. One that waits for CONNACK gets one
// that refuses. Any goroutine; match is called on the connection's loop.
func (c *Conn) DropIf(match func(*message.Identity) bool, code mqtt.ReasonCode, why string, done func(dropped bool)) {
	c.t.Post(func(loop int, now int64) {
		drop := c.state != stateClosed && c.id != nil && match(c.id)
		defer func() { done(drop) }()
		if !drop {
			return
		}
		w, r := c.sh.Router.Worker(loop, now), &refusal{code, why}
		if c.state == stateOpen {
			c.disconnect(w, code, r)
			return
		}
		c.refuse(w, r)
	})
}
