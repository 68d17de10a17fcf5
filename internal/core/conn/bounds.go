package conn

import (
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// bounds are what the authenticator has bounded of one connection. Most have none, and pay a nil check for each packet.
type bounds struct {
	meter   Meter // nil: none
	expires int64 // Unix milliseconds; 0: never
	resume  int64 // nothing is read before; 0: it is read
}

// discard ends what an answer brought that is not used.
func (v *Verdict) discard() {
	if v.Meter != nil {
		v.Meter.Close()
	}
}

func (c *Conn) bind(v *Verdict) {
	if v.Meter != nil || v.Expires != 0 {
		c.bounds = &bounds{meter: v.Meter, expires: v.Expires}
	}
}

func (c *Conn) unbind() {
	if c.bounds != nil && c.bounds.meter != nil {
		c.bounds.meter.Close()
		c.bounds.meter = nil
	}
}

// slowed: the client has sent more than it may, and is not read for a while.
func (c *Conn) slowed() bool { return c.bounds != nil && c.bounds.resume != 0 }

// slow reads nothing more for so many milliseconds. What it has sent meanwhile waits in its socket, and in the buffer of the
// loop up to the packet that has come in part.
func (c *Conn) slow(w *router.Worker, wait int64) {
	if wait <= 0 || c.state != stateOpen {
		return
	}
	c.bounds.resume = w.Now + wait
	c.t.Pause()
	c.watch(w.Now)
}

// earlier is the earliest of at and what is due by the bounds; 0: never.
func (b *bounds) earlier(at int64) int64 {
	for _, due := range [2]int64{b.expires, b.resume} {
		if due != 0 && (at == 0 || due < at) {
			at = due
		}
	}
	return at
}

// boundsDue does what is due by the bounds. ended: the connection is closed.
func (c *Conn) boundsDue(w *router.Worker) (ended bool) {
	b := c.bounds
	if b.expires != 0 && w.Now >= b.expires {
		c.disconnect(w, mqtt.NotAuthorized, ErrExpired)
		return true
	}
	if b.resume != 0 && w.Now >= b.resume {
		b.resume = 0
		c.lastSeen = w.Now // it could not be heard meanwhile
		c.goOn()
	}
	return false
}

// measure holds a PUBLISH against what the client may send. refused: it has been answered. A QoS 2 PUBLISH that comes again
// is taken: the message is kept already.
func (c *Conn) measure(w *router.Worker, p *mqtt.Publish, m *message.Message, bytes int) (refused bool, err error) {
	if c.bounds.meter == nil {
		return false, nil
	}
	a := c.bounds.meter.Publish(w.Now, bytes+packetHeader)
	switch {
	case a.Close:
		return false, &mqtt.Error{Code: mqtt.MessageRateTooHigh, Packet: mqtt.PUBLISH, Detail: exceeded(a.Limit)}
	case a.Refuse && !c.resent(p):
		c.sh.publishRefused(c, m, exceeded(a.Limit))
		c.refusePublish(w, p, mqtt.QuotaExceeded)
		return true, nil
	}
	c.slow(w, a.Wait)
	return false, nil
}

// packetHeader is about what a packet has in front of its body.
const packetHeader = 2

func exceeded(limit string) string { return "the limit of " + limit + " is exceeded" }

// measureSubscribe is measure for a SUBSCRIBE.
func (c *Conn) measureSubscribe(w *router.Worker, p *mqtt.Subscribe) (refused bool, err error) {
	if c.bounds.meter == nil {
		return false, nil
	}
	a := c.bounds.meter.Subscribe(w.Now, len(p.Subscriptions))
	switch {
	case a.Close:
		return false, &mqtt.Error{Code: mqtt.QuotaExceeded, Packet: mqtt.SUBSCRIBE, Detail: exceeded(a.Limit)}
	case !a.Refuse:
		c.slow(w, a.Wait)
		return false, nil
	}
	codes := make([]mqtt.ReasonCode, len(p.Subscriptions))
	for i := range codes {
		codes[i] = c.subackError(mqtt.QuotaExceeded)
	}
	c.sh.subscribeRefused(c, string(p.Subscriptions[0].Filter), exceeded(a.Limit))
	frame, err := (&mqtt.Suback{PacketID: p.PacketID, Codes: codes}).Append(nil, c.version)
	if err == nil {
		c.answerAfter(w, nil, &place{frame: frame})
	}
	return true, err
}
