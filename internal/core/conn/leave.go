package conn

import (
	"errors"

	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// How a connection ends. leave is the one way out: it takes the session away, decides the will, and gives the client id
// back. What is then still to be written is written by the engine.

// leave ends the protocol side. It is called once, by whatever ends the connection first.
func (c *Conn) leave(w *router.Worker, why error) {
	if c.left {
		return
	}
	c.left = true
	was := c.state
	c.state = stateClosed
	c.leaveOpening()
	c.unbind()
	if c.s != nil {
		c.sh.disconnected(c, why)
		will := c.will
		if ev := c.evicted; ev != nil && !ev.clean && c.s.Expiry() > 0 && (c.version != mqtt.V5 || will != nil && will.Delay > 0) {
			// The session goes on at once. MQTT 5 has the will sent unless it has a delay (§3.1.4); Mosquitto's clients of
			// MQTT 3 rely on silence.
			will = nil
		}
		w.Leave(c.s, will)
	} else if was != stateClosed {
		c.sh.refused(c, why)
	}
	// One that waits for its predecessor still stands in its place: accept comes, and yields.
	if !(c.claimed && c.s == nil && was == stateWaiting) {
		c.yield(w)
	}
}

// yield gives the client id to whoever comes next.
func (c *Conn) yield(w *router.Worker) {
	if !c.left {
		c.leave(w, ErrTakenOver)
		c.t.Close(ErrTakenOver)
	}
	if c.claimed {
		c.claimed = false
		c.sh.Router.Release(c.id.ClientID, c)
	}
	if ev := c.evicted; ev != nil {
		then := ev.then
		ev.then = nil
		for _, fn := range then {
			fn()
		}
	}
}

// Evict makes way for another connection of the same client [MQTT-3.1.4-3].
func (c *Conn) Evict(clean bool, then func()) {
	c.t.Post(func(loop int, now int64) {
		if c.left && !c.claimed {
			then()
			return
		}
		if c.evicted == nil {
			c.mine().evicted = &eviction{}
		}
		c.evicted.clean = c.evicted.clean || clean
		c.evicted.then = append(c.evicted.then, then)
		if c.state == stateOpen {
			c.disconnect(c.sh.Router.Worker(loop, now), mqtt.SessionTakenOver, ErrTakenOver)
		}
	})
}

// ShutdownWill sends the will of a connection that Shutdown is going to end, while those who subscribe to it are still
// there; a will with a delay is left to Shutdown. done is called when it is sent, if there is one. Any goroutine.
func (c *Conn) ShutdownWill(done func()) {
	c.t.Post(func(loop int, now int64) {
		defer done()
		if will := c.will; c.state == stateOpen && will != nil && (will.Delay == 0 || c.s.Expiry() == 0) {
			c.mine().will = nil
			c.sh.Router.Worker(loop, now).PublishWill(will)
		}
	})
}

// Shutdown ends the connection because the broker does; done is called when its session has been left. Any goroutine.
func (c *Conn) Shutdown(done func()) {
	c.t.Post(func(loop int, now int64) {
		defer done()
		w := c.sh.Router.Worker(loop, now)
		if c.state == stateOpen {
			c.disconnect(w, mqtt.ServerShuttingDown, ErrShutdown)
			return
		}
		c.fail(w, ErrShutdown)
	})
}

// disconnect ends an open connection with a reason [MQTT-4.13.2-1]; before MQTT 5 there is none to send.
func (c *Conn) disconnect(w *router.Worker, code mqtt.ReasonCode, why error) {
	if c.state == stateClosed {
		return
	}
	open := c.state == stateOpen // there is no DISCONNECT before CONNACK [MQTT-3.14.0-1]
	c.leave(w, why)
	if open && c.version == mqtt.V5 {
		d := mqtt.Disconnect{Code: code}
		if why != nil && c.mayExplain(why.Error()) {
			d.Props.Has.Set(mqtt.PropReasonString)
			d.Props.ReasonString = []byte(why.Error())
		}
		if frame, err := d.Append(nil, c.version); err == nil {
			c.send(w, frame)
		}
	}
	c.t.CloseAfterFlush(why, c.live().Linger)
}

// mayExplain: a reason string is left out when the client asked for none [MQTT-3.1.2-29] or when it would make the packet
// larger than the client takes [MQTT-3.14.2-3].
func (c *Conn) mayExplain(reason string) bool {
	const rest = 16 // header, code and property framing
	return !c.quiet && (c.maxOut == 0 || uint32(len(reason)+rest) <= c.maxOut)
}

// fail ends a connection without a word.
func (c *Conn) fail(w *router.Worker, why error) {
	if c.state == stateClosed {
		return
	}
	c.leave(w, why)
	c.t.CloseAfterFlush(why, c.live().Linger)
}

// refuse answers CONNECT with a code and ends the connection [MQTT-3.2.2-7].
func (c *Conn) refuse(w *router.Worker, r *refusal) {
	ack := mqtt.Connack{Code: r.code}
	if c.version != mqtt.V5 {
		ack.Code = r.code.V3Connack()
	} else if r.reason != "" && c.mayExplain(r.reason) {
		ack.Props.Has.Set(mqtt.PropReasonString)
		ack.Props.ReasonString = []byte(r.reason)
	}
	c.leave(w, r)
	if frame, err := ack.Append(nil, c.version); err == nil {
		c.send(w, frame)
	}
	c.t.CloseAfterFlush(r, c.live().Linger)
}

// protocolError ends the connection because of what the client sent.
func (c *Conn) protocolError(w *router.Worker, err error) {
	var e *mqtt.Error
	if !errors.As(err, &e) {
		e = &mqtt.Error{Code: mqtt.UnspecifiedError, Detail: err.Error()}
	}
	switch c.state {
	case stateNew:
		c.fail(w, err)
	case stateAuth:
		c.refuse(w, &refusal{e.Code, err.Error()})
	default:
		c.disconnect(w, e.Code, err)
	}
}

// Closed is the engine's last call: the socket is gone.
func (c *Conn) Closed(loop int, now int64, err error) {
	c.leave(c.sh.Router.Worker(loop, now), err)
	c.sh.discount()
	if c.s != nil {
		c.sh.common.bound.Add(-1)
	}
}

func (c *Conn) leaveOpening() {
	if c.opening {
		c.opening = false
		c.sh.common.opening.Add(-1)
	}
}
