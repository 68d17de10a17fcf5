package client

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// inbound is a received message of QoS 1 or 2 and how far it has come.
type inbound struct {
	box     *inbox
	id      uint16
	qos     byte
	on      *link // where its acknowledgement goes
	counted bool  // among what the server may have open on that link
	acked   bool  // by the application
	code    mqtt.ReasonCode
}

// inbox takes what the reading goroutine gets to the one that calls OnMessage,
// and the acknowledgements back, in the order of the packets they answer
// [MQTT-4.6.0-2].
type inbox struct {
	c *Client

	mu      sync.Mutex
	cond    *sync.Cond // of everything here: there is one reader and one dispatcher
	queue   []*Message
	waiting int  // calls that wait for the server; while there are any, reading goes on
	hurry   bool // the link is being closed: the reader must not wait
	closed  bool

	link  *link
	order []*inbound          // not yet acknowledged on link, oldest first
	qos2  map[uint16]*inbound // between PUBLISH and PUBREL [MQTT-4.3.3]
	open  int                 // what the server has open on link, to hold it to our receive maximum
	alias map[uint16]string   // topic aliases of link
}

func (b *inbox) init(c *Client) {
	b.c = c
	b.cond = sync.NewCond(&b.mu)
	b.qos2 = map[uint16]*inbound{}
}

// newLink forgets what ended with the last connection, and without a session
// also what QoS 2 remembers.
func (b *inbox) newLink(l *link, kept bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.link, b.order, b.open, b.alias, b.hurry = l, nil, 0, map[uint16]string{}, false
	if !kept {
		b.qos2 = map[uint16]*inbound{}
	}
}

// begin and end are around every call that waits for the server. The reader
// then goes on although the queue is full: the handler that should empty it may
// be the one who waits.
func (b *inbox) begin() {
	b.mu.Lock()
	b.waiting++
	b.cond.Broadcast()
	b.mu.Unlock()
}

func (b *inbox) end() {
	b.mu.Lock()
	b.waiting--
	b.mu.Unlock()
}

// wake lets the reader go: the link is being closed.
func (b *inbox) wake() {
	b.mu.Lock()
	b.hurry = true
	b.cond.Broadcast()
	b.mu.Unlock()
}

func (b *inbox) close() {
	b.mu.Lock()
	b.closed = true
	b.cond.Broadcast()
	b.mu.Unlock()
}

// dispatch is the goroutine that calls OnMessage.
func (b *inbox) dispatch() {
	for {
		b.mu.Lock()
		for len(b.queue) == 0 && !b.closed {
			b.cond.Wait()
		}
		if len(b.queue) == 0 {
			b.mu.Unlock()
			return
		}
		m := b.queue[0]
		b.queue[0] = nil
		b.queue = b.queue[1:]
		if len(b.queue) == b.c.opts.Queue/2 {
			b.cond.Broadcast() // a reader that waits wants more than one free place
		}
		b.mu.Unlock()
		if b.c.opts.OnMessage != nil {
			b.c.opts.OnMessage(m)
		}
		if !b.c.opts.ManualAck || b.c.opts.OnMessage == nil {
			m.Ack()
		}
	}
}

// Ack acknowledges a message of QoS 1 or 2 with Options.ManualAck. Further
// calls, and calls for QoS 0, do nothing. A message that was not acknowledged
// when its connection ended comes again, as far as the session was kept.
// Acknowledgements are sent in the order of the messages, as the specification
// demands: that of a later message waits for those of the earlier ones.
func (m *Message) Ack() { m.acknowledge(mqtt.Success) }

// Reject acknowledges a message with a failure code, with which the server does
// not send it again. Before MQTT 5 it is the same as Ack.
func (m *Message) Reject(code mqtt.ReasonCode) { m.acknowledge(code) }

func (m *Message) acknowledge(code mqtt.ReasonCode) {
	if m.in == nil {
		return
	}
	in, b := m.in, m.in.box
	b.mu.Lock()
	defer b.mu.Unlock()
	if in.acked {
		return
	}
	if b.c.opts.Version != mqtt.V5 {
		code = mqtt.Success
	}
	in.acked, in.code = true, code
	b.release()
}

// release sends the acknowledgements that have no unacknowledged one before them.
func (b *inbox) release() {
	for len(b.order) > 0 && b.order[0].acked {
		in := b.order[0]
		b.order = b.order[1:]
		p := mqtt.Ack{Type: mqtt.PUBACK, PacketID: in.id, Code: in.code}
		if in.qos == 2 {
			p.Type = mqtt.PUBREC
		}
		if in.qos == 1 || in.code.IsError() {
			b.settle(in)
			if b.qos2[in.id] == in {
				delete(b.qos2, in.id)
			}
		}
		// On a link that is down the server sends the message again.
		_ = in.on.send(func(dst []byte) ([]byte, error) { return p.Append(dst, in.on.version) })
	}
}

// settle is the end of a message for the receive maximum.
func (b *inbox) settle(in *inbound) {
	if in.counted && in.on == b.link {
		in.counted = false
		b.open--
	}
}

// take queues a PUBLISH for OnMessage.
func (b *inbox) take(l *link, p *mqtt.Publish) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	name, err := b.topic(p)
	if err != nil {
		return err
	}
	var in *inbound
	if p.QoS > 0 {
		known := b.qos2[p.PacketID]
		if p.QoS == 2 && known != nil {
			in = known // sent again, or again on a new link: not delivered again
		} else {
			in = &inbound{box: b, id: p.PacketID, qos: p.QoS}
		}
		if !in.counted || in.on != l {
			in.counted = true
			if b.open++; b.c.opts.ReceiveMaximum > 0 && b.open > int(b.c.opts.ReceiveMaximum) {
				return &mqtt.Error{Code: mqtt.ReceiveMaximumExceeded, Packet: mqtt.PUBLISH,
					Detail: fmt.Sprintf("more than %d messages without an acknowledgement", b.c.opts.ReceiveMaximum), Statement: "MQTT-3.3.4-9"}
			}
		}
		if in.on != l || in.acked {
			in.on = l
			b.order = append(b.order, in)
		}
		if in == known {
			b.release()
			return nil
		}
		if p.QoS == 2 {
			b.qos2[p.PacketID] = in
		}
	}
	m := &Message{
		Topic: name, Payload: append([]byte{}, p.Payload...), QoS: p.QoS, Retain: p.Retain,
		PacketID: p.PacketID, Duplicate: p.Dup, in: in, Properties: propertiesFrom(&p.Props),
	}
	b.queue = append(b.queue, m)
	if len(b.queue) == 1 {
		b.cond.Broadcast()
	}
	for len(b.queue) >= b.c.opts.Queue && b.waiting == 0 && !b.hurry && !b.closed {
		l.stalled.Store(true)
		b.cond.Wait()
	}
	l.stalled.Store(false)
	return nil
}

// topic resolves a topic alias (MQTT 5 §3.3.2.3.4). It costs no allocation
// where the alias is known.
func (b *inbox) topic(p *mqtt.Publish) (string, error) {
	if !p.Props.Has.Has(mqtt.PropTopicAlias) {
		return string(p.Topic), nil
	}
	alias := p.Props.TopicAlias
	if alias == 0 || alias > b.c.opts.TopicAliasMaximum {
		return "", &mqtt.Error{Code: mqtt.TopicAliasInvalid, Packet: mqtt.PUBLISH,
			Detail: fmt.Sprintf("topic alias %d, the client takes %d at most", alias, b.c.opts.TopicAliasMaximum), Statement: "MQTT-3.1.2-26"}
	}
	if len(p.Topic) > 0 {
		b.alias[alias] = string(p.Topic)
	}
	name, ok := b.alias[alias]
	if !ok {
		return "", &mqtt.Error{Code: mqtt.ProtocolError, Packet: mqtt.PUBLISH, Detail: fmt.Sprintf("topic alias %d stands for nothing yet", alias)}
	}
	return name, nil
}

// pubrel ends a message of QoS 2.
func (b *inbox) pubrel(l *link, f mqtt.Frame) error {
	var p mqtt.Ack
	if err := p.Decode(f, l.version); err != nil {
		return err
	}
	answer := mqtt.Ack{Type: mqtt.PUBCOMP, PacketID: p.PacketID}
	b.mu.Lock()
	defer b.mu.Unlock()
	if in := b.qos2[p.PacketID]; in != nil {
		delete(b.qos2, p.PacketID)
		b.settle(in)
	} else if l.version == mqtt.V5 {
		answer.Code = mqtt.PacketIdentifierNotFound
	}
	return l.send(func(dst []byte) ([]byte, error) { return answer.Append(dst, l.version) })
}

// read is the reading goroutine: it takes packets until the link ends.
func (c *Client) read(l *link, r *reader) {
	onRead := func() { l.lastRead.Store(time.Now().UnixNano()) }
	var publish mqtt.Publish // reused: decoding costs no allocation
	for {
		f, err := r.next(onRead)
		if err == nil && !l.isClosing() {
			err = c.handle(l, f, &publish)
		}
		if err != nil {
			c.fail(l, err)
		}
		if l.isClosing() {
			// What comes now was not acknowledged, and comes again.
			_, _ = io.Copy(io.Discard, r.conn)
			l.close(l.reason())
		}
		if l.isDown() {
			return
		}
	}
}

// handle takes one packet.
func (c *Client) handle(l *link, f mqtt.Frame, publish *mqtt.Publish) error {
	switch f.Type {
	case mqtt.PUBLISH:
		if err := publish.Decode(f, l.version); err != nil {
			return err
		}
		return c.inbox.take(l, publish)
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBCOMP:
		return c.handleAck(l, f)
	case mqtt.PUBREL:
		return c.inbox.pubrel(l, f)
	case mqtt.SUBACK, mqtt.UNSUBACK:
		return c.handleAnswer(l, f)
	case mqtt.PINGRESP:
		return nil // its arrival is what counts
	case mqtt.DISCONNECT:
		if l.version == mqtt.V5 {
			return disconnected(f, l.version)
		}
	case mqtt.AUTH:
		return c.handleAuth(l, f)
	}
	return &mqtt.Error{Code: mqtt.ProtocolError, Packet: f.Type, Detail: "a server does not send this packet here"}
}

// disconnected reads the server's DISCONNECT.
func disconnected(f mqtt.Frame, v mqtt.Version) error {
	var p mqtt.Disconnect
	if err := p.Decode(f, v); err != nil {
		return err
	}
	return &DisconnectError{Code: p.Code, Reason: reasonString(&p.Props), ServerReference: string(p.Props.ServerReference)}
}

// fail ends the link after err. A server of MQTT 5 that broke the protocol is
// told so.
func (c *Client) fail(l *link, err error) {
	var broken *mqtt.Error
	if errors.As(err, &broken) && l.version == mqtt.V5 && broken.Code.IsError() {
		err = fmt.Errorf("the server broke the protocol: %w", err)
		p := mqtt.Disconnect{Code: broken.Code}
		l.conn.SetDeadline(time.Now().Add(farewell))
		l.closeAfter(err, func(dst []byte) ([]byte, error) { return p.Append(dst, mqtt.V5) })
		return
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("the server closed the connection: %w", err)
	}
	l.close(err)
}
