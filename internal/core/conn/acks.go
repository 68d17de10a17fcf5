package conn

import (
	"errors"

	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Acknowledgements leave in the order of the packets they answer [MQTT-4.6.0-2, -3, -4]. One that has to wait, for the store
// or for a receiver whose queue is long, takes a place, and those that come after it take places behind it. As long as
// nothing waits there are no places.

// place is one acknowledgement that cannot leave yet.
type place struct {
	c *Conn
	// frame is what is sent; nil: the acknowledgement of kind, for id with code.
	frame []byte
	kind  mqtt.PacketType
	id    uint16
	code  mqtt.ReasonCode
	// failed makes the frame to send instead when the store has failed; nil: the connection is closed.
	failed func(err error) []byte
	// stored is called with what became of the batch that the answer waits for, also when the connection has gone.
	stored func(err error)
	// sent is called when the frame has been appended.
	sent  func(w *router.Worker)
	waits int
	err   error
}

type acks struct{ queue []*place }

// answer sends frame in its place: after the store has what the last publish or batch must keep, and after all answers
// before it. p.waits tells how many settle calls are to come.
func (c *Conn) answer(w *router.Worker, p *place) {
	if c.acks == nil {
		c.acks = new(acks)
	}
	p.c = c
	p.waits++ // for this call: callbacks may come before it ends
	c.acks.queue = append(c.acks.queue, p)
}

// waiting reports whether an answer has to take a place.
func (c *Conn) waiting() bool { return c.acks != nil && len(c.acks.queue) > 0 }

// settle takes one of a place's waits off and sends what is ready, from the front.
func (c *Conn) settle(w *router.Worker, p *place, err error) {
	p.waits--
	if err != nil && p.err == nil {
		p.err = err
	}
	for c.state == stateOpen && c.waiting() && c.acks.queue[0].waits == 0 {
		first := c.acks.queue[0]
		c.acks.queue[0] = nil
		c.acks.queue = c.acks.queue[1:]
		c.release(w, first)
	}
}

// Committed is settle for the store's wait.
func (p *place) Committed(w *router.Worker, err error) {
	if p.stored != nil {
		p.stored(err)
	}
	p.c.settle(w, p, err)
}

func (c *Conn) release(w *router.Worker, p *place) {
	frame := p.frame
	switch {
	case p.err != nil:
		if frame = c.failure(p); frame == nil {
			c.disconnect(w, storeCode(p.err), p.err)
			return
		}
	case frame == nil:
		sc := &c.sh.scratch[w.Loop]
		sc.frame = c.ackFrame(sc.frame[:0], p.kind, p.id, p.code)
		frame = sc.frame
	}
	c.send(w, frame)
	switch {
	case c.state != stateOpen:
	case p.sent != nil:
		p.sent(w)
	case p.frame == nil:
		c.acknowledged(p.kind, p.code)
	}
}

// failure is what is sent instead when the store has failed; nil: the connection is closed, since the client cannot be
// told, and sends its packet again.
func (c *Conn) failure(p *place) []byte {
	switch {
	case p.failed != nil:
		return p.failed(p.err)
	case p.frame != nil || c.version != mqtt.V5 || p.kind == mqtt.PUBCOMP:
		return nil
	}
	p.code = storeCode(p.err)
	return c.refusalFrame(p.kind, p.id, p.err)
}

// storeCode says with what a client is refused because the store could not keep something.
func storeCode(err error) mqtt.ReasonCode {
	var refused *session.ErrRefused
	if errors.As(err, &refused) {
		return mqtt.QuotaExceeded // it may try again
	}
	return mqtt.UnspecifiedError
}

// refusalFrame is a PUBACK or PUBREC for what the store could not keep, with the reason if the client may be told.
func (c *Conn) refusalFrame(t mqtt.PacketType, id uint16, err error) []byte {
	a := mqtt.Ack{Type: t, PacketID: id, Code: storeCode(err)}
	if c.mayExplain(err.Error()) {
		a.Props.Has.Set(mqtt.PropReasonString)
		a.Props.ReasonString = []byte(err.Error())
	}
	frame, err := a.Append(nil, c.version)
	if err != nil {
		return c.ackFrame(nil, t, id, a.Code)
	}
	return frame
}

// answerAfter sends an answer when batch is stored; nil: nothing has to be. gates open then too.
func (c *Conn) answerAfter(w *router.Worker, batch session.Batch, p *place, gates ...session.Gate) {
	if batch == nil && !c.waiting() {
		c.release(w, p)
		return
	}
	c.answer(w, p)
	if batch != nil {
		p.waits++
		w.CommitBatch(batch, p, gates...)
	}
	c.settle(w, p, nil)
}

// ackFrame encodes an acknowledgement in its shortest form. Before MQTT 5 there is no reason code.
func (c *Conn) ackFrame(dst []byte, t mqtt.PacketType, id uint16, code mqtt.ReasonCode) []byte {
	first := byte(t) << 4
	if t == mqtt.PUBREL {
		first |= 2
	}
	if c.version != mqtt.V5 || code == mqtt.Success {
		return append(dst, first, 2, byte(id>>8), byte(id))
	}
	return append(dst, first, 3, byte(id>>8), byte(id), byte(code))
}

// acknowledge answers a QoS 1 PUBLISH, or the PUBREL of a QoS 2 one, when what the last publish stored is safe and the
// receiver that was found to be congested has caught up. stored is the place's; it is called if something is stored.
func (c *Conn) acknowledge(w *router.Worker, t mqtt.PacketType, id uint16, code mqtt.ReasonCode, stored func(err error)) {
	slow := w.Congested()
	if !w.Storing() && slow == nil && !c.waiting() {
		c.acknowledged(t, code)
		sc := &c.sh.scratch[w.Loop]
		sc.frame = c.ackFrame(sc.frame[:0], t, id, code)
		c.send(w, sc.frame)
		return
	}
	p := &place{kind: t, id: id, code: code, stored: stored}
	c.answer(w, p)
	if slow != nil && slow != c.s && w.AwaitRoom(slow, func(int, int64) {
		c.t.Post(func(loop int, now int64) { c.settle(c.sh.Router.Worker(loop, now), p, nil) })
	}) {
		p.waits++
	}
	if w.Storing() {
		p.waits++
		w.Commit(p)
	}
	c.settle(w, p, nil)
}

// acknowledged frees the client's place in the Receive Maximum: PUBACK does, and a PUBREC that refuses (MQTT 5 §4.9).
func (c *Conn) acknowledged(t mqtt.PacketType, code mqtt.ReasonCode) {
	if c.received > 0 && (t == mqtt.PUBACK || code.IsError()) {
		c.received--
	}
}
