package workload

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/test/crash/history"
)

// publisher publishes, with a window, and sends again after a lost connection what was not acknowledged
// [MQTT-4.4.0-1].
type publisher struct {
	client
	qos     byte
	window  int
	topics  []string
	retain  bool
	every   time.Duration // between messages, on average
	due     time.Time     // when the next is
	flights []flight      // in the order in which they were first sent
	lastID  uint16
}

// flight is a message that is under way.
type flight struct {
	id       uint16
	stream   int32
	seq      uint32
	topic    string
	empty    bool
	released bool // PUBREC was seen
}

// run publishes until soft ends, and then until all that is under way is acknowledged, or hard ends.
func (p *publisher) run(soft, hard context.Context) {
	p.due = time.Now()
	for hard.Err() == nil && (soft.Err() == nil || len(p.flights) > 0) {
		if p.link == nil && !p.resume(hard) {
			continue
		}
		if soft.Err() == nil {
			if err := p.fill(); err != nil {
				p.lost(err)
				continue
			}
		}
		if err := p.receive(); err != nil {
			p.lost(err)
		} else if p.oneIn(2000) {
			p.leave()
		}
	}
}

// resume connects and sends again what is under way.
func (p *publisher) resume(ctx context.Context) bool {
	present, err := p.connect(ctx, false, nil, nil)
	if err != nil {
		pause(ctx, retryAfter)
		return false
	}
	for i := range p.flights {
		f := &p.flights[i]
		if f.released {
			p.put(&mqtt.Ack{Type: mqtt.PUBREL, PacketID: f.id})
		} else {
			p.send(f, present)
		}
	}
	n := len(p.flights)
	_ = p.do(func(h *history.History) { h.Resent += n }) // after a cut it does not count
	return true
}

// send puts a PUBLISH.
func (p *publisher) send(f *flight, dup bool) {
	pub := mqtt.Publish{Dup: dup, QoS: p.qos, Retain: p.retain, Topic: []byte(f.topic), PacketID: f.id}
	if !f.empty {
		pub.Payload = appendPayload(nil, history.Stream{Publisher: p.id, Topic: f.topic, QoS: p.qos}, f.seq)
	}
	if p.version == mqtt.V5 && f.seq%2 == 0 {
		// Properties have to survive too; this one also keeps the broker from sending the same bytes to everybody.
		pub.Props.MessageExpiry = messageExpiry
		pub.Props.Has.Set(mqtt.PropMessageExpiry)
		pub.Props.User = []mqtt.UserProperty{{Key: []byte(userKey), Value: []byte(fmt.Sprint(f.seq))}}
	}
	p.put(&pub)
}

// What every other message of an MQTT 5 publisher carries. The expiry is longer than any test.
const (
	messageExpiry = 24 * 3600
	userKey       = "number"
)

// fill begins new messages as far as the window and the pace allow.
func (p *publisher) fill() error {
	for now := time.Now(); len(p.flights) < p.window && !now.Before(p.due); {
		// Bursts and lulls.
		p.due = p.due.Add(time.Duration(p.rng.ExpFloat64() * float64(p.every)))
		if now.Sub(p.due) > time.Second {
			p.due = now
		}
		f := flight{id: p.nextID(), topic: p.topics[p.rng.IntN(len(p.topics))]}
		f.empty = p.retain && p.oneIn(6)
		if err := p.do(func(h *history.History) {
			f.stream = h.Stream(history.Stream{Publisher: p.id, Topic: f.topic, QoS: p.qos})
			f.seq = h.Begin(f.stream, p.retain, f.empty)
		}); err != nil {
			return err
		}
		p.flights = append(p.flights, f)
		p.send(&f, false)
	}
	return nil
}

// nextID is the next packet id that is not in use.
func (p *publisher) nextID() uint16 {
	for {
		p.lastID++
		if p.lastID != 0 && !slices.ContainsFunc(p.flights, func(f flight) bool { return f.id == p.lastID }) {
			return p.lastID
		}
	}
}

// receive waits for acknowledgements, until the next message is due if there is room for one.
func (p *publisher) receive() error {
	wait := readTimeout
	if len(p.flights) < p.window {
		wait = max(min(wait, time.Until(p.due)), 50*time.Microsecond)
	}
	for {
		f, err := p.link.next(wait)
		if idle(err) {
			return nil
		}
		if err == nil {
			err = p.handle(f)
		}
		if err != nil || !p.link.buffered() {
			return err
		}
	}
}

// handle takes an acknowledgement. They come in the order of what they answer [MQTT-4.6.0-2] [MQTT-4.6.0-3].
func (p *publisher) handle(f mqtt.Frame) error {
	if f.Type != mqtt.PUBACK && f.Type != mqtt.PUBREC && f.Type != mqtt.PUBCOMP {
		return p.unexpected(f)
	}
	ack := mqtt.Ack{Type: f.Type}
	if err := ack.Decode(f, p.version); err != nil {
		return err
	}
	i := slices.IndexFunc(p.flights, func(g flight) bool { return g.released == (f.Type == mqtt.PUBCOMP) })
	if i < 0 || p.flights[i].id != ack.PacketID || (f.Type == mqtt.PUBACK) != (p.qos == 1) {
		p.anomaly(history.Protocol, "%v for packet id %d is not the next acknowledgement", f.Type, ack.PacketID)
		return fmt.Errorf("%v for packet id %d is not the next acknowledgement", f.Type, ack.PacketID)
	}
	g := &p.flights[i]
	// The id is unknown where PUBCOMP was lost: it is done with all the same (MQTT 5 §3.7.2.1).
	if ack.Code.IsError() && (f.Type != mqtt.PUBCOMP || ack.Code != mqtt.PacketIdentifierNotFound) {
		if p.load.o.Tolerant {
			p.load.refused.Add(1)
		} else {
			p.anomaly(history.Refused, "%v with %v (%#x) %q", f.Type, ack.Code, byte(ack.Code), ack.Props.ReasonString)
		}
		if f.Type != mqtt.PUBCOMP {
			p.flights = slices.Delete(p.flights, i, i+1)
			return nil
		}
	}
	if err := p.do(func(h *history.History) {
		if f.Type != mqtt.PUBCOMP {
			h.Ack(g.stream, g.seq)
		}
		if f.Type != mqtt.PUBREC {
			h.Done(g.stream, g.seq)
		}
	}); err != nil {
		return err
	}
	if f.Type == mqtt.PUBREC {
		g.released = true
		p.put(&mqtt.Ack{Type: mqtt.PUBREL, PacketID: g.id})
	} else {
		p.flights = slices.Delete(p.flights, i, i+1)
	}
	return nil
}
