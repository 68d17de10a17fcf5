package history

import (
	"errors"
	"slices"
	"testing"
)

// story writes histories as the clients would, a line per step.
type story struct {
	*History
	t testing.TB
}

func newStory(t testing.TB) *story {
	s := &story{History: New(), t: t}
	s.Life = 1
	return s
}

// connect has a durable client connected.
func (s *story) connect(client string, clean, present bool) (session int) {
	return s.Connected(s.Connecting(client, clean, true), present)
}

// subscribe is SUBSCRIBE and SUBACK.
func (s *story) subscribe(session int, filter string, qos byte) *Subscription {
	return s.change(session, nil, filter, qos)
}

func (s *story) change(session int, sub *Subscription, filter string, qos byte) *Subscription {
	sub = s.Subscribing(session, sub, "", filter, qos, 7)
	sub.Changes[len(sub.Changes)-1].Acked = s.Tick()
	return sub
}

func (s *story) share(session int, group, filter string) *Subscription {
	sub := s.Subscribing(session, nil, group, filter, 2, 7)
	sub.Changes[0].Acked = s.Tick()
	return sub
}

// begin starts a publish, publish completes it.
func (s *story) begin(topic string, qos byte) (int32, uint32) {
	st := s.Stream(Stream{"p", topic, qos})
	return st, s.Begin(st, false, false)
}

func (s *story) done(st int32, seq uint32) {
	s.Ack(st, seq)
	s.Done(st, seq)
}

func (s *story) publish(topic string, qos byte) (int32, uint32) {
	st, seq := s.begin(topic, qos)
	s.done(st, seq)
	return st, seq
}

func (s *story) retain(topic string, empty bool) (int32, uint32) {
	st := s.Stream(Stream{"p", topic, 1})
	seq := s.Begin(st, true, empty)
	s.done(st, seq)
	return st, seq
}

func (s *story) deliver(session int, st int32, seq uint32, qos byte) {
	s.Deliver(session, Delivery{Stream: st, Seq: seq, QoS: qos, SubID: 7})
}

func (s *story) probe(topic string, seq uint32) {
	p := Probe{Topic: topic, Sent: s.Tick(), Seq: seq, Stream: s.Stream(Stream{"p", topic, 1})}
	p.Got = s.Tick()
	s.Probes = append(s.Probes, p)
}

// will is a delayed will whose client was disconnected: asked says whether it asked for the will to be sent.
func (s *story) will(asked bool) (int32, uint32, *Will) {
	st := s.Stream(Stream{"w", "w/w", 1})
	seq := s.Begin(st, false, false)
	w := &Will{ClosedLife: s.Life, Discarded: !asked}
	s.Message(st, seq).Will = w
	w.Closed = s.Tick()
	return st, seq, w
}

// cases are histories and what is wrong with each; nothing, if kinds is empty.
var cases = []struct {
	name  string
	kinds []Kind
	tell  func(s *story)
}{
	{"all is well", nil, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "t/#", 2)
		for _, qos := range []byte{1, 2} {
			st, seq := s.publish("t/1", qos)
			s.deliver(a, st, seq, qos)
		}
	}},
	{"QoS 1 may come twice", nil, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "t/#", 2)
		st, seq := s.publish("t/1", 1)
		s.deliver(a, st, seq, 1)
		s.deliver(a, st, seq, 1)
	}},
	{"QoS 1 lost", []Kind{Lost}, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "t/#", 2)
		s.publish("t/1", 1)
	}},
	{"QoS 2 lost for one of two", []Kind{Lost}, func(s *story) {
		a, b := s.connect("a", false, false), s.connect("b", false, false)
		s.subscribe(a, "t/#", 2)
		s.subscribe(b, "+/1", 2)
		st, seq := s.publish("t/1", 2)
		s.deliver(b, st, seq, 2)
	}},
	{"what was never acknowledged may be missing", nil, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "t/#", 2)
		s.begin("t/1", 1)
	}},
	{"subscribed too late to count", nil, func(s *story) {
		a := s.connect("a", false, false)
		st, seq := s.begin("t/1", 1)
		s.subscribe(a, "t/#", 2)
		s.done(st, seq)
	}},
	{"may come to a subscription made meanwhile", nil, func(s *story) {
		a := s.connect("a", false, false)
		st, seq := s.begin("t/1", 1)
		s.subscribe(a, "t/#", 2)
		s.done(st, seq)
		s.deliver(a, st, seq, 1)
	}},
	{"unsubscribed before it was done", nil, func(s *story) {
		a := s.connect("a", false, false)
		sub := s.subscribe(a, "t/#", 2)
		st, seq := s.begin("t/1", 1)
		sub.UnsubSent = s.Tick()
		s.done(st, seq)
	}},
	{"not delivered before a new start", nil, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "t/#", 2)
		s.publish("t/1", 1)
		s.connect("a", true, false)
	}},
	{"out of order, though unsubscribed meanwhile", []Kind{Disorder}, func(s *story) {
		a := s.connect("a", false, false)
		sub := s.subscribe(a, "t/#", 2)
		st, one := s.publish("t/1", 1)
		_, two := s.publish("t/1", 1)
		s.deliver(a, st, two, 1)
		sub.UnsubSent = s.Tick()
		s.deliver(a, st, one, 1)
	}},
	{"unsubscribed after it was done", nil, func(s *story) {
		a := s.connect("a", false, false)
		sub := s.subscribe(a, "t/#", 2)
		s.publish("t/1", 1)
		sub.UnsubSent = s.Tick()
	}},
	{"published after UNSUBACK and delivered", []Kind{Stranger}, func(s *story) {
		a := s.connect("a", false, false)
		sub := s.subscribe(a, "t/#", 2)
		sub.UnsubSent, sub.UnsubAcked = s.Tick(), s.Tick()
		st, seq := s.publish("t/1", 1)
		s.deliver(a, st, seq, 1)
	}},
	{"published before SUBSCRIBE and delivered", []Kind{Stranger}, func(s *story) {
		a := s.connect("a", false, false)
		st, seq := s.publish("t/1", 1)
		s.subscribe(a, "t/#", 2)
		s.deliver(a, st, seq, 1)
	}},
	{"delivered from before the session began anew", []Kind{Stranger}, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "t/#", 2)
		st, seq := s.publish("t/1", 1)
		s.deliver(a, st, seq, 1)
		again := s.connect("a", true, false)
		s.subscribe(again, "t/#", 2)
		s.deliver(again, st, seq, 1)
	}},
	{"lost, though a later subscription of the session has another QoS", []Kind{Lost}, func(s *story) {
		a := s.connect("a", false, false)
		sub := s.subscribe(a, "t/#", 2)
		s.publish("t/1", 1)
		s.change(a, sub, "t/#", 1)
	}},
	{"QoS 2 twice", []Kind{Duplicate}, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "t/#", 2)
		st, seq := s.publish("t/1", 2)
		s.deliver(a, st, seq, 2)
		s.deliver(a, st, seq, 2)
	}},
	{"QoS 2 twice, not yet acknowledged", []Kind{Duplicate}, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "t/#", 2)
		st, seq := s.begin("t/1", 2)
		s.deliver(a, st, seq, 2)
		s.deliver(a, st, seq, 2)
	}},
	{"QoS 2 twice at QoS 1", nil, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "t/#", 1)
		st, seq := s.publish("t/1", 2)
		s.deliver(a, st, seq, 1)
		s.deliver(a, st, seq, 1)
	}},
	{"out of order", []Kind{Disorder}, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "t/#", 2)
		st, one := s.publish("t/1", 1)
		_, two := s.publish("t/1", 1)
		s.deliver(a, st, two, 1)
		s.deliver(a, st, one, 1)
	}},
	{"repeated from the start", nil, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "t/#", 2)
		st, one := s.publish("t/1", 1)
		_, two := s.publish("t/1", 1)
		for _, seq := range []uint32{one, two, one, two} {
			s.deliver(a, st, seq, 1)
		}
	}},
	{"another topic, another QoS: no order", nil, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "t/#", 2)
		st1, _ := s.publish("t/1", 1)
		st2, _ := s.publish("t/2", 1)
		st3, _ := s.publish("t/1", 2)
		s.deliver(a, st3, 1, 2)
		s.deliver(a, st2, 1, 1)
		s.deliver(a, st1, 1, 1)
	}},
	{"wrong QoS", []Kind{WrongQoS}, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "t/#", 2)
		st, seq := s.publish("t/1", 2)
		s.deliver(a, st, seq, 1)
	}},
	{"QoS of the changed subscription", []Kind{WrongQoS}, func(s *story) {
		a := s.connect("a", false, false)
		sub := s.subscribe(a, "t/#", 2)
		s.change(a, sub, "t/#", 1)
		st, seq := s.publish("t/1", 2)
		s.deliver(a, st, seq, 2)
	}},
	{"wrong subscription identifier", []Kind{WrongSubID}, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "t/#", 2)
		st, seq := s.publish("t/1", 1)
		s.Deliver(a, Delivery{Stream: st, Seq: seq, QoS: 1, SubID: 8})
	}},
	{"session gone", []Kind{SessionLost}, func(s *story) {
		s.connect("a", false, false)
		s.connect("a", false, false)
	}},
	{"session risen: clean start", []Kind{SessionRisen}, func(s *story) {
		s.connect("a", false, false)
		s.connect("a", true, true)
	}},
	{"session risen: never made", []Kind{SessionRisen}, func(s *story) { s.connect("a", false, true) }},
	{"session risen: it ended with its connection", []Kind{SessionRisen}, func(s *story) {
		s.Connected(s.Connecting("a", true, false), false)
		s.connect("a", false, true)
	}},
	{"session unsure: CONNACK not seen", nil, func(s *story) {
		s.Connecting("a", false, true)
		s.connect("a", false, true)
		s.connect("a", false, true)
		s.Connecting("a", true, true)
		s.connect("a", false, false)
		s.Connecting("b", false, true)
		s.connect("b", false, false)
	}},
	{"shared group: one member is enough", nil, func(s *story) {
		a, b := s.connect("a", false, false), s.connect("b", false, false)
		s.share(a, "g", "t/#")
		s.share(b, "g", "t/#")
		st, seq := s.publish("t/1", 1)
		s.deliver(b, st, seq, 1)
	}},
	{"shared group: nobody got it", []Kind{Lost}, func(s *story) {
		a, b := s.connect("a", false, false), s.connect("b", false, false)
		s.share(a, "g", "t/#")
		s.share(b, "g", "t/#")
		s.publish("t/1", 1)
	}},
	{"shared group: two members got QoS 2", []Kind{Duplicate}, func(s *story) {
		a, b := s.connect("a", false, false), s.connect("b", false, false)
		s.share(a, "g", "t/#")
		s.share(b, "g", "t/#")
		st, seq := s.publish("t/1", 2)
		s.deliver(a, st, seq, 2)
		s.deliver(b, st, seq, 2)
	}},
	{"retained as acknowledged, or later", nil, func(s *story) {
		_, seq := s.retain("r/1", false)
		s.probe("r/1", seq)
		s.Begin(s.Stream(Stream{"p", "r/1", 1}), true, false)
		s.probe("r/1", seq)
		s.probe("r/1", seq+1)
	}},
	{"retained is old", []Kind{RetainedLost}, func(s *story) {
		_, seq := s.retain("r/1", false)
		s.retain("r/1", false)
		s.probe("r/1", seq)
	}},
	{"retained is gone", []Kind{RetainedLost}, func(s *story) {
		s.retain("r/1", false)
		s.probe("r/1", 0)
	}},
	{"retained was removed", nil, func(s *story) {
		s.retain("r/1", false)
		s.retain("r/1", true)
		s.probe("r/1", 0)
	}},
	{"retained was removed and is there again", []Kind{RetainedLost}, func(s *story) {
		_, seq := s.retain("r/1", false)
		s.retain("r/1", true)
		s.probe("r/1", seq)
	}},
	{"retained by nobody", []Kind{RetainedMade}, func(s *story) {
		st, seq := s.publish("t/1", 1)
		s.Probes = append(s.Probes, Probe{Topic: "t/1", Sent: s.Tick(), Got: s.Tick(), Stream: st, Seq: seq})
	}},
	{"nothing retained where nobody published", nil, func(s *story) { s.Probes = append(s.Probes, Probe{Topic: "r/1", Stream: -1}) }},
	{"retained copy missing", []Kind{RetainedCopy}, func(s *story) {
		s.retain("r/1", false)
		a := s.connect("a", false, false)
		s.subscribe(a, "r/#", 2)
	}},
	{"retained copy came", nil, func(s *story) {
		st, seq := s.retain("r/1", false)
		a := s.connect("a", false, false)
		s.subscribe(a, "r/#", 2)
		s.Deliver(a, Delivery{Stream: st, Seq: seq, QoS: 1, SubID: 7, Retain: true})
	}},
	{"will sent", nil, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "w/#", 2)
		st, seq, _ := s.will(true)
		s.publish("t/1", 1)
		s.deliver(a, st, seq, 1)
	}},
	{"will lost", []Kind{WillLost}, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "w/#", 2)
		s.will(true)
		s.publish("t/1", 1)
	}},
	{"will perhaps not stored", nil, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "w/#", 2)
		s.will(true)
		s.Life = 2
		s.publish("t/1", 1)
	}},
	{"will perhaps cancelled", nil, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "w/#", 2)
		_, _, w := s.will(true)
		w.Returned = s.Tick()
		s.publish("t/1", 1)
	}},
	{"will sent though discarded", []Kind{WillSent}, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "w/#", 2)
		st, seq, _ := s.will(false)
		s.publish("t/1", 1)
		s.deliver(a, st, seq, 1)
	}},
	{"will sent though the client was back", []Kind{WillSent}, func(s *story) {
		a := s.connect("a", false, false)
		s.subscribe(a, "w/#", 2)
		st, seq, w := s.will(true)
		w.Returned, w.Back = s.Tick(), s.Tick()
		s.publish("t/1", 1)
		s.deliver(a, st, seq, 1)
	}},
	{"what a client noticed", []Kind{Corrupt}, func(s *story) { s.Anomaly(Corrupt, "one byte is another") }},
}

// TestCheck shows that each kind of violation is found, and that what is allowed is not taken for one.
func TestCheck(t *testing.T) {
	seen := make(map[Kind]bool)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t)
			c.tell(s)
			found := Check(s.History)
			var kinds []Kind
			for _, v := range found {
				kinds = append(kinds, v.Kind)
				seen[v.Kind] = true
			}
			if !slices.Equal(kinds, c.kinds) {
				t.Errorf("found %q, want %q\n%s", kinds, c.kinds, Summary(found))
			}
			missing := 0
			for _, k := range c.kinds {
				if k == Lost || k == WillLost {
					missing++
				}
			}
			if got := Missing(s.History); len(got) != missing {
				t.Errorf("%d deliveries are missing (%v), want %d", len(got), got, missing)
			}
		})
	}
	for _, k := range []Kind{Lost, Duplicate, Disorder, Stranger, WrongQoS, WrongSubID, SessionLost, SessionRisen, RetainedLost,
		RetainedCopy, RetainedMade, WillLost, WillSent} {
		if !seen[k] {
			t.Errorf("no case shows that this is found: %s", k)
		}
	}
}

// TestCut holds that what was not seen before a power cut does not count, and that a later life's events do.
func TestCut(t *testing.T) {
	r := NewRecorder()
	life := r.Begin()
	if err := r.Do(life, func(h *History) { h.Stream(Stream{"p", "t", 1}) }); err != nil {
		t.Fatal(err)
	}
	r.Cut()
	if err := r.Do(life, func(*History) { t.Error("an event of a life that was cut counts") }); !errors.Is(err, ErrCut) {
		t.Errorf("after the cut: %v", err)
	}
	if err := r.Do(r.Begin(), func(*History) {}); err != nil {
		t.Errorf("in the next life: %v", err)
	}
}

// TestExpect holds that deliveries are crossed out as they come, for sessions and for groups.
func TestExpect(t *testing.T) {
	r := NewRecorder()
	life := r.Begin()
	var a, b int
	var st int32
	do := func(event func(s *story)) {
		if err := r.Do(life, func(h *History) { event(&story{History: h, t: t}) }); err != nil {
			t.Fatal(err)
		}
	}
	do(func(s *story) {
		a, b = s.connect("a", false, false), s.connect("b", false, false)
		s.subscribe(a, "t/#", 2)
		s.share(b, "g", "t/#")
		st, _ = s.publish("t/1", 1)
	})
	if n := r.Expect(); n != 2 {
		t.Fatalf("%d deliveries are expected, want 2", n)
	}
	for i, session := range []int{a, b} {
		_, changed := r.Missing()
		do(func(s *story) { s.deliver(session, st, 1, 1) })
		<-changed
		if n, _ := r.Missing(); n != 1-i {
			t.Errorf("%d deliveries are missing, want %d", n, 1-i)
		}
	}
	if found := r.Check(); len(found) > 0 {
		t.Error(Summary(found))
	}
}
