package conn

import (
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// handleAck takes PUBACK, PUBREC and PUBCOMP: the client's side of deliveries to it. Those for a message that is not in
// flight are ignored, except that an unknown PUBREC is answered, so that the client can end its flow.
func (c *Conn) handleAck(w *router.Worker, f mqtt.Frame) error {
	a := &c.sh.scratch[w.Loop].ack
	if err := a.Decode(f, c.version); err != nil {
		return err
	}
	var r session.AckResult
	switch a.Type {
	case mqtt.PUBACK:
		r = c.s.Puback(&w.Turn, a.PacketID)
	case mqtt.PUBCOMP:
		r = c.s.Pubcomp(&w.Turn, a.PacketID)
	case mqtt.PUBREC:
		r = c.pubrec(w, a)
	}
	if r == session.AckWrong {
		return violation(a.Type, "the packet id's flow expects another packet", "MQTT-4.3.3-2")
	}
	if r == session.AckTaken {
		c.proceedSending(w)
	}
	return nil
}

func (c *Conn) pubrec(w *router.Worker, a *mqtt.Ack) session.AckResult {
	r, refused, batch, gate := c.s.Pubrec(&w.Turn, a.PacketID, a.Code)
	if refused || r == session.AckWrong {
		return r
	}
	code := mqtt.Success
	if r == session.AckUnknown {
		if a.Code.IsError() {
			return r
		}
		code = mqtt.PacketIdentifierNotFound
	}
	if batch == nil && !c.waiting() {
		sc := &c.sh.scratch[w.Loop]
		sc.frame = c.ackFrame(sc.frame[:0], mqtt.PUBREL, a.PacketID, code)
		c.send(w, sc.frame)
		return r
	}
	c.answerAfter(w, batch, &place{frame: c.ackFrame(nil, mqtt.PUBREL, a.PacketID, code)}, gate)
	return r
}
