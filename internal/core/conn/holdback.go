package conn

import (
	"errors"
	"log/slog"

	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// What a client sends has answers. One that never reads them must not make them pile up: it is not read itself until it
// has taken what waits for it. Publishes to it do not count: those have limits of their own, and a client that only
// receives slowly goes on being read (DESIGN section 5).

const (
	// maxPlaces is how many answers may wait for the store or for slow receivers.
	maxPlaces = 8192
	// maxReplays is how many subscriptions may wait for their retained messages.
	maxReplays = 1024
	// heldWhenShort is how many bytes may wait for a client when the memory of all is used up.
	heldWhenShort = 16 << 10
)

// ErrMemory ends a connection that sends a large packet when there is no memory for it.
var ErrMemory = errors.New("the memory limit is reached and a large packet has partly arrived")

// ErrUnread ends a connection whose keep alive has passed while its client did not read.
var ErrUnread = errors.New("the client does not read what it is sent")

// holdBack stops reading when too much waits for the client. It is looked at after each packet.
func (c *Conn) holdBack(w *router.Worker) {
	if c.state != stateOpen || c.unread {
		return
	}
	limits := c.sh.Router.Limits()
	if c.waiting() && len(c.acks.queue) > maxPlaces && !c.throttled {
		c.throttled = true
		c.sh.throttle(c)
	}
	// The outbox takes publishes until it holds OutboxBytes and one more; the rest are answers.
	n := c.t.Out().Bytes()
	if n <= 2*limits.Current().OutboxBytes+c.sh.MaxPacket && len(c.s.Replays()) <= maxReplays &&
		(n <= heldWhenShort || !limits.OverMemory()) {
		return
	}
	c.unread = true
	c.t.Pause()
	c.t.WantDrained()
	if !c.told {
		c.told = true
		c.sh.log(slog.LevelWarn, EventUnread, "the client does not read what it is sent; it is not read until it does",
			slog.String("client", c.id.ClientID), slog.Int("waiting", n))
	}
}

// mayNotGrow looks at a packet that has partly arrived while the memory of all is used up. Its sender is read slowly, and
// when that does not help it is closed, a stranger at once: many who send nearly all of a large packet hold more than any
// limit.
func (c *Conn) mayNotGrow(w *router.Worker) bool {
	limits := c.sh.Router.Limits()
	if !limits.OverMemory() {
		return false
	}
	switch {
	case c.state != stateOpen:
		c.fail(w, ErrMemory)
	case limits.FarOverMemory():
		c.disconnect(w, mqtt.QuotaExceeded, ErrMemory)
	case !c.throttled:
		c.throttled = true
		c.sh.throttle(c)
		return false
	default:
		return false
	}
	return true
}

// goOn reads on, unless there is another reason not to.
func (c *Conn) goOn() {
	if !c.unread && !c.throttled && !c.slowed() && c.state == stateOpen {
		c.t.Resume()
	}
}
