package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Result is what the server answered.
type Result struct {
	// Code is a success: mqtt.Success, or mqtt.NoMatchingSubscribers. A failure
	// comes as a *ReasonError as well.
	Code   mqtt.ReasonCode
	Reason string
	User   []UserProperty
}

// outgoing is a message of QoS 1 or 2 on its way.
type outgoing struct {
	id       uint16
	seq      uint64 // orders what is sent again
	topic    string
	msg      *Message // nil once PUBREC has come: the server has it
	qos      byte
	on       *link // where it was sent last; nil: nowhere, so the next time is no duplicate
	released bool  // PUBREC has come
	done     func(Result, error)
}

// Publish sends m and returns when the server has acknowledged it: with QoS 0
// when it is in the hands of the writing goroutine, with QoS 1 at PUBACK, with
// QoS 2 at PUBCOMP. While there is no connection, or while too much is on its
// way already, it waits.
//
// When ctx ends first, a message of QoS 1 or 2 that has been sent stays on its
// way: its payload must not be changed.
func (c *Client) Publish(ctx context.Context, m *Message) (Result, error) {
	c.inbox.begin()
	defer c.inbox.end()
	type answer struct {
		Result
		error
	}
	if m.QoS == 0 {
		return Result{}, c.publish(ctx, m, nil)
	}
	done := make(chan answer, 1)
	if err := c.publish(ctx, m, func(r Result, err error) { done <- answer{r, err} }); err != nil {
		return Result{}, err
	}
	select {
	case a := <-done:
		return a.Result, a.error
	case <-ctx.Done():
		return Result{}, fmt.Errorf("publishing to %q: no acknowledgement yet: %w", m.Topic, ctx.Err())
	}
}

// PublishAsync sends m and returns without waiting for its acknowledgement. It
// waits, like Publish, for a connection and for a place among the
// Options.MaxInFlight messages on their way; an error means that m was not sent
// and done will not be called.
//
// done is called once, with QoS 0 at once: by the goroutine that reads, so it
// must not wait. It may be nil. The payload must not be changed before done.
func (c *Client) PublishAsync(ctx context.Context, m *Message, done func(Result, error)) error {
	if done == nil {
		done = func(Result, error) {}
	}
	if m.QoS > 0 {
		return c.publish(ctx, m, done)
	}
	err := c.publish(ctx, m, nil)
	if err == nil {
		done(Result{}, nil)
	}
	return err
}

// publish sends m on the link as soon as that is possible.
func (c *Client) publish(ctx context.Context, m *Message, done func(Result, error)) error {
	if m.Topic == "" && m.Properties.TopicAlias != 0 {
		return errors.New("mqtt client: a topic alias needs its topic too; it is left out where the server knows it")
	}
	if err := checkMessage(m, c.opts.Version); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.awaitTurn(ctx, m.QoS); err != nil {
		return fmt.Errorf("publishing to %q: %w", m.Topic, err)
	}
	if m.QoS == 0 {
		err := c.link.send(func(dst []byte) ([]byte, error) { return c.link.appendPublish(dst, m, 0, false) })
		for errors.Is(err, errLinkDown) { // it went down just now: on to the next one
			if err = c.awaitTurn(ctx, 0); err == nil {
				err = c.link.send(func(dst []byte) ([]byte, error) { return c.link.appendPublish(dst, m, 0, false) })
			}
		}
		return err
	}
	o := &outgoing{id: c.id(), seq: c.seq, topic: m.Topic, msg: m, qos: m.QoS, done: done}
	if o.id == 0 {
		return errors.New("mqtt client: all 65,535 packet identifiers are in use")
	}
	c.seq++
	switch err := c.link.sendFlight(o); {
	case err == nil:
		c.unacked++
	case errors.Is(err, errLinkDown): // left to the next link
	default:
		return err
	}
	c.flights[o.id] = o
	return nil
}

// awaitTurn waits for a connection, for room, and with QoS 1 and 2 for a place
// in the window behind all that is to be sent again.
func (c *Client) awaitTurn(ctx context.Context, qos byte) error {
	waiting := false
	defer func() {
		if waiting {
			c.inbox.end()
		}
	}()
	for {
		switch {
		case c.err != nil:
			return c.err
		case c.leaving:
			return ErrClosed
		case c.link == nil:
		case qos > 0 && (len(c.replay) > 0 || c.unacked >= c.window):
		case !c.link.room():
		default:
			return nil
		}
		if !waiting {
			waiting = true
			c.inbox.begin()
		}
		if err := c.waitLocked(ctx); err != nil {
			return err
		}
	}
}

// appendPublish encodes m, within the server's limits.
func (l *link) appendPublish(dst []byte, m *Message, id uint16, dup bool) ([]byte, error) {
	switch {
	case m.QoS > l.limits.maxQoS:
		return nil, fmt.Errorf("publishing to %q: the server takes QoS %d at most [MQTT-3.2.2-11]", m.Topic, l.limits.maxQoS)
	case m.Retain && !l.limits.retain:
		return nil, fmt.Errorf("publishing to %q: the server does not retain messages [MQTT-3.2.2-14]", m.Topic)
	case m.Properties.TopicAlias > l.limits.aliasMax:
		return nil, fmt.Errorf("publishing to %q: topic alias %d: the server takes %d at most [MQTT-3.3.2-9]", m.Topic, m.Properties.TopicAlias, l.limits.aliasMax)
	}
	p := mqtt.Publish{Dup: dup, QoS: m.QoS, Retain: m.Retain, Topic: []byte(m.Topic), PacketID: id, Payload: m.Payload}
	alias := m.Properties.TopicAlias
	if l.version == mqtt.V5 {
		m.Properties.wire(&p.Props)
		if alias != 0 {
			p.Props.Has.Set(mqtt.PropTopicAlias)
			p.Props.TopicAlias = alias
			if l.limits.aliases[alias] == m.Topic {
				p.Topic = nil
			}
		}
	}
	grown, err := p.Append(dst, l.version)
	if err != nil {
		return nil, fmt.Errorf("publishing to %q: %w", m.Topic, err)
	}
	if size := len(grown) - len(dst); l.limits.maxPacket > 0 && size > int(l.limits.maxPacket) {
		return nil, &ReasonError{Packet: mqtt.PUBLISH, Topic: m.Topic, Code: mqtt.PacketTooLarge,
			Reason: fmt.Sprintf("%d bytes, the server takes %d at most", size, l.limits.maxPacket)}
	}
	if alias != 0 {
		l.limits.aliases[alias] = m.Topic
	}
	return grown, nil
}

// sendFlight sends the packet that o is at: PUBLISH or PUBREL.
func (l *link) sendFlight(o *outgoing) error {
	err := l.send(func(dst []byte) ([]byte, error) {
		if o.released {
			p := mqtt.Ack{Type: mqtt.PUBREL, PacketID: o.id}
			return p.Append(dst, l.version)
		}
		return l.appendPublish(dst, o.msg, o.id, o.on != nil)
	})
	if err == nil {
		o.on = l
	}
	return err
}

// resume prepares the flights for a new link [MQTT-4.4.0-1], [MQTT-4.6.0-1].
func (c *Client) resume(l *link, kept bool) {
	c.unacked = 0
	c.replay = slices.SortedFunc(maps.Values(c.flights), func(a, b *outgoing) int { return cmp.Compare(a.seq, b.seq) })
	if !kept {
		c.replay = slices.DeleteFunc(c.replay, func(o *outgoing) bool {
			if o.qos == 2 && o.on != nil {
				delete(c.flights, o.id)
				c.tell = append(c.tell, func() { o.done(Result{}, ErrSessionLost) })
				return true
			}
			o.on = nil // a new session has seen nothing: no DUP
			return false
		})
	}
	c.pump(l)
}

// pump sends what waits to be sent again, as far as the window allows.
func (c *Client) pump(l *link) {
	for len(c.replay) > 0 {
		o := c.replay[0]
		if !o.released && c.unacked >= c.window {
			return
		}
		c.replay = c.replay[1:]
		switch err := l.sendFlight(o); {
		case err == nil:
			c.unacked++
		case errors.Is(err, errLinkDown):
			return
		default: // the new connection's limits are lower than the old one's
			delete(c.flights, o.id)
			c.tell = append(c.tell, func() { o.done(Result{}, err) })
		}
	}
	c.replay = nil
}

// handleAck takes PUBACK, PUBREC and PUBCOMP.
func (c *Client) handleAck(l *link, f mqtt.Frame) error {
	var p mqtt.Ack
	if err := p.Decode(f, l.version); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.unlock()
	o := c.flights[p.PacketID]
	if o == nil || o.on != l {
		return c.strayAck(l, &p)
	}
	final := p.Type != mqtt.PUBREC || p.Code.IsError()
	switch {
	case (p.Type == mqtt.PUBACK) != (o.qos == 1), p.Type == mqtt.PUBCOMP && !o.released:
		return &mqtt.Error{Code: mqtt.ProtocolError, Packet: p.Type, Detail: fmt.Sprintf("packet identifier %d is not at that step of QoS %d", p.PacketID, o.qos)}
	case !final:
		o.released, o.msg = true, nil
		return l.sendFlight(o)
	}
	delete(c.flights, o.id)
	c.unacked--
	c.pump(l)
	c.notifyLocked()
	r := Result{Code: p.Code, Reason: reasonString(&p.Props), User: userFrom(p.Props.User)}
	var err error
	if r.Code.IsError() {
		err = &ReasonError{Packet: p.Type, Topic: o.topic, Code: r.Code, Reason: r.Reason}
	}
	c.tell = append(c.tell, func() { o.done(r, err) })
	return nil
}

// strayAck answers an acknowledgement of a message that is not on its way. It
// is no error: the message may have been given up with an earlier session.
func (c *Client) strayAck(l *link, p *mqtt.Ack) error {
	if p.Type != mqtt.PUBREC || p.Code.IsError() {
		return nil
	}
	answer := mqtt.Ack{Type: mqtt.PUBREL, PacketID: p.PacketID, Code: mqtt.PacketIdentifierNotFound}
	if l.version != mqtt.V5 {
		answer.Code = mqtt.Success
	}
	return l.send(func(dst []byte) ([]byte, error) { return answer.Append(dst, l.version) })
}
