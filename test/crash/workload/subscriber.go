package workload

import (
	"context"
	"fmt"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/test/crash/history"
)

// habit is how a subscriber behaves until the drain.
type habit int

const (
	stays   habit = iota // is there, now and then with another connection
	absent               // comes only for the drain
	flaps                // comes and goes
	changes              // stays, and changes its subscriptions; now and then it starts anew
)

// subscriber has a durable session.
type subscriber struct {
	client
	habit   habit
	group   string
	filters []*filter
	lag     int // how many acknowledgements it holds back

	request  *request // what SUBACK or UNSUBACK is awaited for
	lastID   uint16
	received map[uint16]heard // QoS 2 packets that PUBREL has not come for
	acks     []mqtt.Ack       // not sent yet
	anew     bool             // the next CONNECT starts a new session
	old      *link            // a connection that is left to be taken over
	pub      mqtt.Publish
}

// filter is one subscription as it should be, and as the broker has it.
type filter struct {
	text  string
	subID uint32
	qos   byte
	want  bool
	sub   *history.Subscription // nil: the broker has none
	stale bool                  // it has to be told again
}

type request struct {
	id   uint16
	what *filter
	off  bool
}

// heard is the message that a QoS 2 packet id stands for.
type heard struct {
	stream history.Stream
	seq    uint32
}

// phases of a round: load ends, then everything has come, then nothing matters any more.
type phases struct{ load, drain, hard context.Context }

// setup subscribes, and goes away again if absence is its habit.
func (s *subscriber) setup(ctx context.Context) {
	for ctx.Err() == nil && (s.link == nil || !s.settled()) {
		s.step(ctx, true)
	}
	s.rest()
}

// settled tells that the broker has all subscriptions as they should be.
func (s *subscriber) settled() bool {
	for _, f := range s.filters {
		if f.want != (f.sub != nil) || f.stale {
			return false
		}
	}
	return s.request == nil
}

// rest is how the subscriber spends the time between rounds.
func (s *subscriber) rest() {
	if s.link != nil && (s.habit == absent || s.habit == flaps) {
		s.leave()
	}
}

// run is one round. It ends with PINGRESP, behind everything that the broker had for the session.
func (s *subscriber) run(ph phases) {
	if s.habit == absent {
		<-ph.load.Done()
	}
	for ph.hard.Err() == nil {
		draining := ph.load.Err() != nil
		if draining && ph.drain.Err() != nil && s.link != nil && s.settled() {
			if s.barrier() {
				break
			}
			continue
		}
		if s.step(ph.hard, draining) && !draining {
			s.whim(ph.load)
		}
	}
	s.rest()
}

// step connects, or handles what has come. calm: as quickly as it can.
func (s *subscriber) step(ctx context.Context, calm bool) (busy bool) {
	if s.link == nil {
		if err := s.resume(ctx); err != nil {
			s.lost(err)
			pause(ctx, retryAfter)
		}
		return false
	}
	s.reconcile()
	lag := s.lag
	if calm {
		lag = 0
	}
	s.putAcks(lag)
	f, err := s.link.next(readTimeout)
	for err == nil {
		if err = s.handle(f); err != nil || !s.link.buffered() {
			break
		}
		s.putAcks(lag)
		f, err = s.link.next(readTimeout)
	}
	if err != nil && !idle(err) {
		s.lost(err)
		return false
	}
	return err == nil
}

// resume connects. What it forgets it forgets only when the broker has no session for it [MQTT-4.4.0-1].
func (s *subscriber) resume(ctx context.Context) error {
	present, err := s.connect(ctx, s.anew, nil, nil)
	if s.old != nil {
		_ = s.old.conn.Close()
		s.old = nil
	}
	if err != nil {
		return err
	}
	s.request, s.acks = nil, s.acks[:0]
	if s.received == nil || !present {
		s.received = make(map[uint16]heard)
	}
	for _, f := range s.filters {
		if s.anew {
			f.sub = nil
		}
		f.stale = f.stale || !present
	}
	if s.anew && s.version != mqtt.V5 {
		s.leave() // what a clean session holds ends with its connection; the next CONNECT makes one that stays
	}
	s.anew = false
	return nil
}

// reconcile has the broker told of one difference between the subscriptions that should be and those that are.
func (s *subscriber) reconcile() {
	if s.request != nil {
		return
	}
	for _, f := range s.filters {
		if f.want == (f.sub != nil) && !f.stale {
			continue
		}
		s.lastID = s.lastID%65535 + 1
		s.request = &request{id: s.lastID, what: f, off: !f.want}
		text := f.text
		if s.group != "" {
			text = "$share/" + s.group + "/" + text
		}
		if s.request.off {
			if s.do(func(h *history.History) {
				if f.sub != nil && f.sub.UnsubSent == 0 {
					f.sub.UnsubSent = h.Tick()
				}
			}) == nil {
				s.put(&mqtt.Unsubscribe{PacketID: s.lastID, Filters: [][]byte{[]byte(text)}})
			}
			return
		}
		p := mqtt.Subscribe{PacketID: s.lastID, Subscriptions: []mqtt.Subscription{{Filter: []byte(text), Options: mqtt.SubOptions(f.qos)}}}
		subID := uint32(0)
		if s.version == mqtt.V5 {
			subID = f.subID
			p.Props.SubscriptionIDs = []uint32{subID}
		}
		if s.do(func(h *history.History) {
			f.sub = h.Subscribing(s.session, f.sub, s.group, f.text, f.qos, subID)
			f.stale = true // until SUBACK
		}) == nil {
			s.put(&p)
		}
		return
	}
}

// answered takes SUBACK and UNSUBACK.
func (s *subscriber) answered(f mqtt.Frame) error {
	var id uint16
	var codes []mqtt.ReasonCode
	if f.Type == mqtt.SUBACK {
		var p mqtt.Suback
		if err := p.Decode(f, s.version); err != nil {
			return err
		}
		id, codes = p.PacketID, p.Codes
	} else {
		var p mqtt.Unsuback
		if err := p.Decode(f, s.version); err != nil {
			return err
		}
		id, codes = p.PacketID, p.Codes
	}
	r := s.request
	if r == nil || r.id != id || r.off != (f.Type == mqtt.UNSUBACK) {
		return fmt.Errorf("%v for packet id %d, which nobody asked for", f.Type, id)
	}
	for _, code := range codes {
		if code.IsError() {
			if s.load.o.Tolerant { // and try again
				s.load.refused.Add(1)
				s.request = nil
				return nil
			}
			return fmt.Errorf("%v with %v (%#x)", f.Type, code, byte(code))
		}
	}
	s.request = nil
	return s.do(func(h *history.History) {
		sub := r.what.sub
		if r.off {
			if sub != nil {
				sub.UnsubAcked = h.Tick()
			}
			r.what.sub = nil
		} else {
			sub.Changes[len(sub.Changes)-1].Acked = h.Tick()
		}
		r.what.stale = false
	})
}

// whim does what the subscriber's habit has it do now and then.
func (s *subscriber) whim(ctx context.Context) {
	switch s.habit {
	case absent:
	case stays:
		if s.oneIn(200) {
			s.replace()
		}
	case flaps:
		if s.oneIn(40) {
			s.leave()
			pause(ctx, time.Duration(s.rng.IntN(100))*time.Millisecond)
		}
	case changes:
		switch {
		case s.oneIn(400):
			s.anew = true
			s.replace()
		case s.oneIn(20) && s.settled():
			f := s.filters[s.rng.IntN(len(s.filters))]
			if f.want && s.oneIn(2) {
				f.qos, f.stale = 3-f.qos, true
			} else {
				f.want = !f.want
			}
		}
	}
}

// replace goes on with another connection, which takes the session over while the first is open, or after it has ended.
func (s *subscriber) replace() {
	if s.oneIn(2) {
		s.leave()
		return
	}
	s.old, s.link = s.link, nil
}

// putAcks sends the acknowledgements, in order, but for the last few.
func (s *subscriber) putAcks(keep int) {
	n := max(len(s.acks)-keep, 0)
	for i := range s.acks[:n] {
		s.put(&s.acks[i])
	}
	s.acks = append(s.acks[:0], s.acks[n:]...)
}

// handle takes a packet.
func (s *subscriber) handle(f mqtt.Frame) error {
	switch f.Type {
	case mqtt.PUBLISH:
		return s.message(f)
	case mqtt.SUBACK, mqtt.UNSUBACK:
		return s.answered(f)
	case mqtt.PUBREL:
		ack := mqtt.Ack{Type: f.Type}
		if err := ack.Decode(f, s.version); err != nil {
			return err
		}
		// The state must not change after a cut, so this is an event.
		if err := s.do(func(*history.History) { delete(s.received, ack.PacketID) }); err != nil {
			return err
		}
		s.acks = append(s.acks, mqtt.Ack{Type: mqtt.PUBCOMP, PacketID: ack.PacketID})
		return nil
	case mqtt.PINGRESP:
		return nil
	default:
		return s.unexpected(f)
	}
}

// message takes a PUBLISH: method A of MQTT 5 §4.3.3 at QoS 2.
func (s *subscriber) message(f mqtt.Frame) error {
	p := &s.pub
	if err := p.Decode(f, s.version); err != nil {
		s.anomaly(history.Corrupt, "%v", err)
		return err
	}
	if len(p.Payload) == 0 {
		s.acknowledge(p, heard{})
		return nil
	}
	stream, seq, ok := parsePayload(p.Payload)
	if !ok || stream.Topic != string(p.Topic) {
		s.anomaly(history.Corrupt, "a message on %s: %.100q", p.Topic, p.Payload)
	}
	if p.QoS == 2 {
		if was, repeated := s.received[p.PacketID]; repeated {
			return s.repeated(p, was, heard{stream, seq})
		}
	}
	d := history.Delivery{Seq: seq, ID: p.PacketID, QoS: p.QoS, Retain: p.Retain, Dup: p.Dup}
	if n := len(p.Props.SubscriptionIDs); n > 0 {
		d.SubID = p.Props.SubscriptionIDs[0]
	}
	if err := s.do(func(h *history.History) {
		if d.Stream = h.Find(stream, seq); d.Stream < 0 {
			h.Anomaly(history.Corrupt, "%s: %v #%d was never published", s.id, stream, seq)
		}
		s.properties(h, stream, seq)
		h.Deliver(s.session, d)
	}); err != nil {
		return err
	}
	s.acknowledge(p, heard{stream, seq})
	return nil
}

// properties checks what a message of an MQTT 5 publisher carries for a subscriber that can see it.
func (s *subscriber) properties(h *history.History, stream history.Stream, seq uint32) {
	if s.version != mqtt.V5 || s.load.versions[stream.Publisher] != mqtt.V5 {
		return
	}
	p := &s.pub.Props
	has := p.Has.Has(mqtt.PropMessageExpiry) && len(p.User) == 1 && string(p.User[0].Key) == userKey && string(p.User[0].Value) == fmt.Sprint(seq)
	switch {
	case seq%2 == 0 && !has:
		h.Anomaly(history.Corrupt, "%s: %v #%d has lost properties: %+v", s.id, stream, seq, p)
	case seq%2 == 0 && (p.MessageExpiry > messageExpiry || p.MessageExpiry < messageExpiry-3600):
		h.Anomaly(history.Corrupt, "%s: %v #%d expires in %d seconds; it was published with %d", s.id, stream, seq, p.MessageExpiry, messageExpiry)
	case seq%2 == 1 && (p.Has.Has(mqtt.PropMessageExpiry) || len(p.User) > 0):
		h.Anomaly(history.Corrupt, "%s: %v #%d has got properties: %+v", s.id, stream, seq, p)
	}
}

// repeated takes a QoS 2 packet whose id is in use: the same message again, marked as such [MQTT-3.3.1-1].
func (s *subscriber) repeated(p *mqtt.Publish, was, is heard) error {
	if was != is {
		s.anomaly(history.Protocol, "packet id %d stood for %v #%d, without PUBREL it now stands for %v #%d", p.PacketID, was.stream, was.seq, is.stream, is.seq)
	} else if !p.Dup {
		s.anomaly(history.Protocol, "%v #%d was sent again without DUP", is.stream, is.seq)
	}
	if err := s.do(func(h *history.History) { h.Repeats++ }); err != nil {
		return err
	}
	s.acknowledge(p, is)
	return nil
}

func (s *subscriber) acknowledge(p *mqtt.Publish, m heard) {
	switch p.QoS {
	case 1:
		s.acks = append(s.acks, mqtt.Ack{Type: mqtt.PUBACK, PacketID: p.PacketID})
	case 2:
		s.received[p.PacketID] = m
		s.acks = append(s.acks, mqtt.Ack{Type: mqtt.PUBREC, PacketID: p.PacketID})
	}
}

// barrier waits for the answer to a PINGREQ.
func (s *subscriber) barrier() bool {
	s.putAcks(0)
	s.link.out = append(s.link.out, mqtt.PingreqBytes...)
	for {
		f, err := s.link.next(answerTimeout)
		if err == nil && f.Type == mqtt.PINGRESP {
			return true
		}
		if err == nil {
			err = s.handle(f)
		}
		if err != nil {
			s.lost(err)
			return false
		}
		s.putAcks(0)
	}
}
