package conn

import (
	"math"
	"strings"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// handlePublish takes a PUBLISH: check, authorize, deliver, acknowledge.
func (c *Conn) handlePublish(w *router.Worker, f mqtt.Frame) error {
	sc := &c.sh.scratch[w.Loop]
	p := &sc.publish
	if err := p.Decode(f, c.version); err != nil {
		return err
	}
	w.Count(session.PublishReceived+session.Counter(p.QoS), 1)
	w.Count(session.PublishBytesReceived, len(p.Payload))
	if err := c.checkPublish(p); err != nil {
		return err
	}
	if c.debug {
		c.sh.publishReceived(c, p)
	}
	if c.sh.MountPoint != "" {
		if err := c.mountTopic(sc, p); err != nil {
			return err
		}
	}
	m := &sc.message
	*m = message.Message{
		Topic: message.BorrowString(p.Topic), Payload: p.Payload, From: c.id, QoS: p.QoS, Retain: p.Retain,
	}
	if c.version == mqtt.V5 {
		sc.props = message.AppendForwarded(sc.props[:0], &p.Props)
		m.Props = sc.props
		if p.Props.Has.Has(mqtt.PropMessageExpiry) {
			m.Expires = expires(w.Now, p.Props.MessageExpiry)
		}
	}
	if c.bounds != nil {
		if refused, err := c.measure(w, p, m, len(f.Body)); refused || err != nil {
			return err
		}
	}
	if code, why := c.mayPublish(m); code != mqtt.Success {
		c.sh.publishRefused(c, m, why)
		c.refusePublish(w, p, code)
		return nil
	}
	if m.Topic[0] == '$' && isControl(m.Topic) {
		c.command(w, p, m)
		return nil
	}
	if p.QoS > 0 && !c.throttled && c.sh.Router.Limits().OverMemory() {
		c.throttled = true
		c.sh.throttle(c)
	}
	switch p.QoS {
	case 0:
		w.Publish(m)
		w.Commit(nil)
	case 1:
		c.received++
		c.acknowledge(w, mqtt.PUBACK, p.PacketID, c.matched(w.Publish(m)), nil)
	case 2:
		if c.hoards(p) {
			return c.refuseHoard(w, p, m)
		}
		c.keep(w, p, m)
	}
	return nil
}

// hoards reports whether the memory of all is used up and one more QoS 2 message must not be kept for this client: those
// who hold many that they do not release are refused first. Reading slowly is not enough, since each is kept until PUBREL.
func (c *Conn) hoards(p *mqtt.Publish) bool {
	l := c.sh.Router.Limits()
	if !l.OverMemory() || c.resent(p) {
		return false
	}
	return c.s.Figures().Received >= int(c.sh.ReceiveMaximum) || l.FarOverMemory()
}

// refuseHoard refuses such a message. Before MQTT 5 there is no way to say so but to close the connection.
func (c *Conn) refuseHoard(w *router.Worker, p *mqtt.Publish, m *message.Message) error {
	const why = "the memory limit is reached"
	if c.version != mqtt.V5 {
		return &mqtt.Error{Code: mqtt.QuotaExceeded, Packet: mqtt.PUBLISH, Detail: why + " while the client releases none of its QoS 2 messages"}
	}
	c.sh.publishRefused(c, m, why)
	c.refusePublish(w, p, mqtt.QuotaExceeded)
	return nil
}

// keep takes a QoS 2 message; it is delivered when its PUBREL comes.
func (c *Conn) keep(w *router.Worker, p *mqtt.Publish, m *message.Message) {
	id := p.PacketID
	known, store := c.s.Receive(id, m.Own(), p.Dup)
	if !known {
		c.received++
	}
	code := c.matched(w.Receivers(m.Topic))
	var batch session.Batch
	if store != nil && c.s.Durable() {
		batch = w.Shared()
		batch.PutReceived(c.s.Key, id, store)
	}
	if batch == nil && !c.waiting() {
		sc := &c.sh.scratch[w.Loop]
		sc.frame = c.ackFrame(sc.frame[:0], mqtt.PUBREC, id, code)
		c.send(w, sc.frame)
		return
	}
	pl := &place{frame: c.ackFrame(nil, mqtt.PUBREC, id, code)}
	pl.sent = func(*router.Worker) {
		if pl.err == nil {
			c.s.ReceivedStored(id)
		}
	}
	pl.failed = func(err error) []byte {
		c.s.Forget(id)
		if c.version != mqtt.V5 {
			return nil // it cannot be told, so it is closed, and sends the message again
		}
		c.acknowledged(mqtt.PUBREC, mqtt.UnspecifiedError)
		return c.refusalFrame(mqtt.PUBREC, id, err)
	}
	c.answerAfter(w, batch, pl)
}

// matched is the reason code of an acknowledgement (MQTT 5 §3.4.2.1).
func (c *Conn) matched(n int) mqtt.ReasonCode {
	if n == 0 && c.version == mqtt.V5 {
		return mqtt.NoMatchingSubscribers
	}
	return mqtt.Success
}

// expires turns an expiry interval into a time; 0 means at once.
func expires(now int64, seconds uint32) int64 {
	if seconds == 0 {
		return now
	}
	return now + int64(seconds)*1000
}

// checkPublish holds a PUBLISH against what CONNACK announced. What it finds wrong ends the connection.
func (c *Conn) checkPublish(p *mqtt.Publish) error {
	switch {
	case p.QoS > c.sh.MaxQoS:
		return &mqtt.Error{Code: mqtt.QoSNotSupported, Packet: mqtt.PUBLISH, Detail: "QoS above the maximum", Statement: "MQTT-3.2.2-11"}
	case p.Retain && !c.sh.RetainAvailable:
		return &mqtt.Error{Code: mqtt.RetainNotSupported, Packet: mqtt.PUBLISH, Detail: "retained messages are not available", Statement: "MQTT-3.2.2-14"}
	case c.version != mqtt.V5:
		if c.received == math.MaxUint16 && p.QoS > 0 {
			return violation(mqtt.PUBLISH, "no packet id can be free", "MQTT-2.3.1-2")
		}
		return nil
	case len(p.Props.SubscriptionIDs) > 0:
		return violation(mqtt.PUBLISH, "a subscription identifier from a client", "MQTT-3.3.4-6")
	case p.QoS > 0 && c.received >= c.sh.ReceiveMaximum && c.sh.ReceiveMaximum > 0 && !c.resent(p):
		return &mqtt.Error{Code: mqtt.ReceiveMaximumExceeded, Packet: mqtt.PUBLISH, Detail: "more publishes under way than Receive Maximum", Statement: "MQTT-3.3.4-9"}
	}
	return c.resolveAlias(p)
}

// resent: a QoS 2 PUBLISH under an id that is already counted.
func (c *Conn) resent(p *mqtt.Publish) bool { return p.QoS == 2 && c.s.Received(p.PacketID) }

// resolveAlias sets or uses a topic alias (MQTT 5 §3.3.2.3.4).
func (c *Conn) resolveAlias(p *mqtt.Publish) error {
	if !p.Props.Has.Has(mqtt.PropTopicAlias) {
		return nil
	}
	alias := int(p.Props.TopicAlias)
	if alias == 0 || alias > int(c.sh.MaxTopicAlias) {
		return &mqtt.Error{Code: mqtt.TopicAliasInvalid, Packet: mqtt.PUBLISH, Detail: "topic alias above the maximum", Statement: "MQTT-3.3.2-9"}
	}
	if c.aliases == nil {
		c.mine().aliases = new([][]byte)
	}
	set := *c.aliases
	if len(p.Topic) > 0 {
		for len(set) < alias {
			set = append(set, nil)
		}
		set[alias-1] = append(set[alias-1][:0], p.Topic...)
		*c.aliases = set
		return nil
	}
	if alias > len(set) || set[alias-1] == nil {
		return violation(mqtt.PUBLISH, "topic alias that was never set", "MQTT-3.3.2-12")
	}
	p.Topic = set[alias-1]
	return nil
}

// reserved: topics that clients do not publish to (MQTT 5 §4.7.2). Others that begin with $ are the clients' own.
func reserved(topic string) bool {
	return message.IsSys(topic) || topic == "$CONTROL" || isControl(topic) || topic == "$share" || strings.HasPrefix(topic, "$share/")
}

// mayPublish decides on one message.
func (c *Conn) mayPublish(m *message.Message) (code mqtt.ReasonCode, why string) {
	if m.Topic[0] == '$' && reserved(m.Topic) && !(isControl(m.Topic) && c.sh.common.control.Load() != nil) {
		return mqtt.NotAuthorized, "reserved topic"
	}
	if limit := c.live().MaxPayload; limit > 0 && len(m.Payload) > limit {
		return mqtt.PacketTooLarge, "payload larger than the limit"
	}
	if m.Retain && !c.sh.Router.RoomToRetain(m) {
		return mqtt.QuotaExceeded, "the limit of memory for retained messages is reached"
	}
	if r := c.sh.Router; r.Restricted() {
		if d := r.MayPublish(c.id, m.Topic, m.QoS, m.Retain); !d.Allowed {
			return mqtt.NotAuthorized, d.Rule
		}
	}
	return mqtt.Success, ""
}

// refusePublish answers a publish that is not delivered. Before MQTT 5 a client cannot be told: the message is acknowledged
// and dropped (MQTT 3.1.1 §3.3.5).
func (c *Conn) refusePublish(w *router.Worker, p *mqtt.Publish, code mqtt.ReasonCode) {
	if c.version != mqtt.V5 {
		code = mqtt.Success
	}
	switch p.QoS {
	case 1:
		c.received++
		c.answerAfter(w, nil, &place{
			frame: c.ackFrame(nil, mqtt.PUBACK, p.PacketID, code),
			sent:  func(*router.Worker) { c.acknowledged(mqtt.PUBACK, code) },
		})
	case 2:
		if code == mqtt.Success {
			if known, _ := c.s.Receive(p.PacketID, nil, p.Dup); !known {
				c.received++
			}
		}
		c.answerAfter(w, nil, &place{frame: c.ackFrame(nil, mqtt.PUBREC, p.PacketID, code)})
	}
}

// handlePubrel takes PUBREL: the message is delivered and its packet id is free, which PUBCOMP says once that is stored
// (DESIGN section 5, rule 3).
func (c *Conn) handlePubrel(w *router.Worker, f mqtt.Frame) error {
	a := &c.sh.scratch[w.Loop].ack
	if err := a.Decode(f, c.version); err != nil {
		return err
	}
	id := a.PacketID
	m, known, again := c.s.PacketReleased(id)
	for again {
		if c.awaitRelease(w, id) {
			return nil
		}
		m, known, again = c.s.PacketReleased(id)
	}
	if !known {
		c.answerAfter(w, nil, &place{frame: c.ackFrame(nil, mqtt.PUBCOMP, id, mqtt.PacketIdentifierNotFound)})
		return nil
	}
	if c.received > 0 {
		c.received--
	}
	if m != nil && m.Expired(w.Now) {
		w.CountDrop(session.DropExpired, 1) // before its delivery could begin [MQTT-3.3.2-5]
		m = nil
	}
	var batch session.Batch
	if c.s.Durable() {
		batch = w.Shared()
		batch.DeleteReceived(c.s.Key, id)
	}
	s := c.s
	free := func(err error) { s.ReleaseStored(id, err) }
	if m == nil {
		if batch == nil {
			free(nil)
		}
		c.answerAfter(w, batch, &place{frame: c.ackFrame(nil, mqtt.PUBCOMP, id, mqtt.Success), stored: free})
		return nil
	}
	w.PublishWith(m, batch)
	if !w.Storing() {
		free(nil)
	}
	c.acknowledge(w, mqtt.PUBCOMP, id, mqtt.Success, free)
	return nil
}

// awaitRelease answers a repeated PUBREL with what becomes of the first, which may have come on an earlier connection.
// false: that is over.
func (c *Conn) awaitRelease(w *router.Worker, id uint16) bool {
	p := &place{frame: c.ackFrame(nil, mqtt.PUBCOMP, id, mqtt.Success), waits: 1}
	if !c.s.AwaitRelease(id, func(err error) {
		c.t.Post(func(loop int, now int64) { c.settle(c.sh.Router.Worker(loop, now), p, err) })
	}) {
		return false
	}
	c.answer(w, p)
	c.settle(w, p, nil)
	return true
}
