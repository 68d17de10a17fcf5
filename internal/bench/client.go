package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// stage is how far a client has come.
type stage uint8

const (
	connecting stage = iota
	subscribing
	serving
	leaving
)

// client is one MQTT connection of the generator, as netloop drives it. It belongs to its shard.
type client struct {
	shard          *shard
	conn           netloop.Conn
	pub            *publisher // nil: it only subscribes
	id             string
	filters        []string
	qos            int // of the subscriptions
	stage          stage
	keep           bool // the session outlives the connection
	once           bool // connect, subscribe, disconnect
	quiet          bool // what arrives is old: it is counted apart and has no latency
	pid            uint16
	receiveMaximum int           // QoS 1 and 2: messages that the broker allows under way
	begun          int64         // when it was dialled
	ready          func()        // once it has connected and subscribed
	closed         func(error)   // nil: the run fails
	acked          func()        // QoS 1 and 2: a publish is complete; nil: that of pub
	came           func(n int64) // quiet: so many messages
	next           int           // filters subscribed to
	skip           int           // bytes of a large packet still to come
	large          pendingStamp  // of that packet
}

type pendingStamp struct {
	at        int64
	publisher uint32
	pid       uint16
	qos       byte
	ours      bool
}

func (r *run) newClient(s *shard, id string, filters ...string) *client {
	c := &client{shard: s, id: id, filters: filters, qos: r.o.QoS}
	return c
}

// dial connects; what becomes of it, the handler's methods say.
func (r *run) dial(c *client) {
	c.begun = r.now()
	c.stage = connecting
	dial(r.target, r.source(), c.shard.engine, c.shard.layered(c), func(err error) {
		c.shard.engine.PostLoop(0, func(loop int, now int64) { c.Closed(loop, now, err) })
	})
}

// send queues a frame; it is written at the end of the turn.
func (c *client) send(frame []byte) {
	if ok, wake := c.conn.Out().Append(frame); ok && wake {
		c.shard.flushLater(c.conn)
	}
	c.shard.counters.bytesOut += int64(len(frame))
}

// Opened begins the conversation.
func (c *client) Opened(int, int64) {
	if !c.once {
		c.shard.clients = append(c.shard.clients, c)
	}
	frame, err := connectFrame(&c.shard.run.o, c.id, !c.keep)
	if err != nil {
		c.shard.run.fail(fmt.Errorf("bench: %s: CONNECT: %w", c.id, err))
		return
	}
	c.send(frame)
}

// Deadline is when something has to be sent to keep the connection.
func (c *client) Deadline(_ int, now int64) {
	if c.stage == leaving {
		c.conn.Close(errDone)
		return
	}
	c.send(mqtt.PingreqBytes)
	c.conn.SetDeadline(now + c.pingInterval())
}

func (c *client) pingInterval() int64 { return int64(c.shard.run.o.KeepAlive) * 1000 * 3 / 4 }

// Drained is not used.
func (c *client) Drained(int, int64) {}

// Closed ends the run, unless that was to be expected.
func (c *client) Closed(_ int, _ int64, err error) {
	c.conn = nil
	switch {
	case c.closed != nil:
		c.closed(err)
	case c.shard.ending:
	case errors.Is(err, io.EOF):
		c.shard.run.fail(fmt.Errorf("bench: the broker closed the connection of %s", c.id))
	default:
		c.shard.run.fail(fmt.Errorf("bench: the connection of %s: %w", c.id, err))
	}
}

// refuse ends the run because of what the broker has sent.
func (c *client) refuse(err error) {
	c.shard.run.fail(fmt.Errorf("bench: %s: %w", c.id, err))
	c.conn.Close(err)
}

// Data looks at what the broker sent.
func (c *client) Data(_ int, now int64, p []byte) (n, need int, again bool) {
	s := c.shard
	got := arrivals{now: s.run.now()}
	all := len(p)
	s.acks = s.acks[:0]
	for len(p) > 0 {
		if c.skip > 0 {
			k := min(c.skip, len(p))
			p = p[k:]
			if c.skip -= k; c.skip == 0 {
				c.arrived(&got, c.large)
			}
			continue
		}
		head, size := packetSize(p)
		if size < 0 {
			c.refuse(errors.New("the broker sent a packet whose length is malformed"))
			return all, 0, false
		}
		if size == 0 || len(p) < size {
			if size > refPayload && p[0]>>4 == byte(mqtt.PUBLISH) && c.beginLarge(p, head, size) {
				p = nil
				break
			}
			need = size
			break
		}
		c.packet(&got, p[0], p[head:size], now)
		p = p[size:]
	}
	got.settle(c)
	if len(s.acks) > 0 && c.conn != nil {
		c.send(s.acks)
	}
	s.counters.bytesIn += int64(all - len(p))
	return all - len(p), need, false
}

// packetSize returns the length of the fixed header and of the whole packet; 0: not known yet, -1: malformed.
func packetSize(p []byte) (head, size int) {
	if len(p) < 2 {
		return 0, 0
	}
	if p[1] < 0x80 {
		return 2, 2 + int(p[1])
	}
	v, k := binary.Uvarint(p[1:min(len(p), 5)])
	switch {
	case k > 0:
		return 1 + k, 1 + k + int(v)
	case len(p) >= 5:
		return 0, -1
	}
	return 0, 0
}

func (c *client) packet(got *arrivals, first byte, body []byte, now int64) {
	switch mqtt.PacketType(first >> 4) {
	case mqtt.PUBLISH:
		m, ok := c.publish(first, body)
		if !ok {
			c.refuse(errors.New("the broker sent a PUBLISH that ends within its header"))
			return
		}
		c.arrived(got, m)
	case mqtt.PUBACK, mqtt.PUBCOMP:
		c.shard.counters.acked++
		switch p := c.pub; {
		case c.acked != nil:
			c.acked()
		case p != nil:
			p.acked++
			c.shard.touch(p)
		}
	case mqtt.PUBREC:
		c.answer(byte(mqtt.PUBREL)<<4|2, body)
	case mqtt.PUBREL:
		c.answer(byte(mqtt.PUBCOMP)<<4, body)
	default:
		c.control(mqtt.Frame{Type: mqtt.PacketType(first >> 4), Flags: first & 15, Body: body}, now)
	}
}

// answer acknowledges the packet identifier in body.
func (c *client) answer(first byte, body []byte) {
	if len(body) < 2 {
		c.refuse(errors.New("the broker sent an acknowledgement without packet identifier"))
		return
	}
	c.shard.acks = append(c.shard.acks, first, 2, body[0], body[1])
}

// publish finds the stamp of a PUBLISH of which body is the beginning. A message that is too short for one is not ours.
func (c *client) publish(first byte, body []byte) (m pendingStamp, ok bool) {
	if len(body) < 2 {
		return m, false
	}
	at := 2 + int(binary.BigEndian.Uint16(body))
	m.qos = first >> 1 & 3
	if m.qos > 0 {
		if at+2 > len(body) {
			return m, false
		}
		m.pid = binary.BigEndian.Uint16(body[at:])
		at += 2
	}
	if c.shard.run.o.Version == mqtt.V5 {
		if at >= len(body) {
			return m, false
		}
		size, n := binary.Uvarint(body[at:])
		if n <= 0 {
			return m, false
		}
		at += n + int(size)
	}
	if at > len(body) {
		return m, false
	}
	if len(body)-at >= stampSize {
		var id uint32
		m.at, id, m.publisher = stampOf(body[at:])
		m.ours = id == c.shard.run.id && int(m.publisher) < len(c.shard.run.pubs)
	}
	return m, true
}

// beginLarge takes a large PUBLISH piece by piece, once its beginning is here.
func (c *client) beginLarge(p []byte, head, size int) bool {
	m, ok := c.publish(p[0], p[head:])
	if !ok || !m.ours {
		return false
	}
	c.large, c.skip = m, size-len(p)
	return true
}

// arrivals gathers what is alike: a batch of messages from one publisher with one time is counted at once.
type arrivals struct {
	now       int64
	at        int64
	publisher uint32
	count     int64
}

func (c *client) arrived(got *arrivals, m pendingStamp) {
	switch m.qos {
	case 1:
		c.shard.acks = append(c.shard.acks, byte(mqtt.PUBACK)<<4, 2, byte(m.pid>>8), byte(m.pid))
	case 2:
		c.shard.acks = append(c.shard.acks, byte(mqtt.PUBREC)<<4, 2, byte(m.pid>>8), byte(m.pid))
	}
	if !m.ours {
		c.shard.counters.foreign++
		return
	}
	if m.at != got.at || m.publisher != got.publisher {
		got.settle(c)
		got.at, got.publisher = m.at, m.publisher
	}
	got.count++
}

func (got *arrivals) settle(c *client) {
	if got.count == 0 {
		return
	}
	s := c.shard
	n := got.count
	got.count = 0
	if c.quiet {
		if s.run.pubs[got.publisher].batch == nil { // else it is the pair's, which # covers too
			s.counters.quiet += n
			c.came(n)
		}
		return
	}
	s.counters.delivered += n
	record(s.hist.latency, got.now-got.at, n)
	p := s.run.pubs[got.publisher]
	p.copies.Add(n)
	s.touch(p)
}
