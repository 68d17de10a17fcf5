package history

import (
	"fmt"
	"slices"

	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// Kind is a promise that can be broken.
type Kind string

// The kinds of violations.
const (
	Lost         Kind = "an acknowledged message was not delivered"
	Duplicate    Kind = "a QoS 2 message was delivered twice"
	Disorder     Kind = "messages were delivered out of order"
	Stranger     Kind = "a message was delivered that was not subscribed to"
	WrongQoS     Kind = "a message was delivered at the wrong QoS"
	WrongSubID   Kind = "a message was delivered with the wrong subscription identifier"
	SessionLost  Kind = "a session was not there that should have been"
	SessionRisen Kind = "a session was there that should not have been"
	RetainedLost Kind = "the retained message is older than the last acknowledged, or not there"
	RetainedCopy Kind = "a subscriber did not get the retained message that there was"
	RetainedMade Kind = "a retained message that should not be there"
	WillLost     Kind = "a will was not sent"
	WillSent     Kind = "a will was sent that should not have been"
	Corrupt      Kind = "a message arrived changed"
	Protocol     Kind = "the broker broke the protocol"
	Refused      Kind = "the broker refused, or closed a connection"
)

// Violation is a broken promise, and how it shows.
type Violation struct {
	Kind Kind
	Text string
	// Client whose session it is about, if it is about one.
	Client string
}

func (v Violation) String() string { return string(v.Kind) + ": " + v.Text }

// Need is a delivery that was promised: to a session, or (Session -1) to one member of a shared group.
type Need struct {
	Session int
	Group   string
	Stream  int32
	Seq     uint32
}

// receiver is a session or a shared group, with what it got.
type receiver struct {
	need  Need // without stream and sequence number
	name  string
	ended Stamp
	subs  []member
	got   map[int32][]tally // by stream and sequence number - 1
}

// member is one subscription of a receiver.
type member struct {
	*Subscription
	end Stamp // 0: it stands
}

// tally is what a receiver got of one message, retained copies aside.
type tally struct {
	first  Stamp
	qos    byte // at which it came first
	copies int32
	exact  int32 // of those at QoS 2
}

// checker is one pass over a history.
type checker struct {
	h        *History
	lastSeen []Stamp // by life: the latest Begun of the messages that were acknowledged in it
	found    []Violation
	about    string // the client that is being looked at
}

// Check returns everything in h that breaks a promise. It changes nothing.
func Check(h *History) []Violation {
	c := newChecker(h)
	c.found = append(c.found, h.Anomalies...)
	c.presence()
	for _, r := range c.receivers() {
		if c.about = ""; r.need.Session >= 0 {
			c.about = h.Sessions[r.need.Session].Client
		}
		c.deliveries(r)
	}
	for i, s := range h.Sessions {
		c.about = s.Client
		c.strangers(i, s)
		c.retainedCopies(s)
	}
	c.about = ""
	c.probes()
	return c.found
}

// Missing returns what was promised and not delivered yet.
func Missing(h *History) (needs []Need) {
	c := newChecker(h)
	for _, r := range c.receivers() {
		for st, log := range h.Streams {
			c.promised(r, log, func(i int, _ member, firm bool) {
				if got := r.got[int32(st)]; firm && (got == nil || got[i].copies == 0) {
					n := r.need
					n.Stream, n.Seq = int32(st), uint32(i+1)
					needs = append(needs, n)
				}
			})
		}
	}
	return needs
}

func newChecker(h *History) *checker {
	c := &checker{h: h, lastSeen: make([]Stamp, h.Life+1)}
	for _, log := range h.Streams {
		for i := range log.Messages {
			if m := &log.Messages[i]; m.Acked != 0 {
				c.lastSeen[m.AckedLife] = max(c.lastSeen[m.AckedLife], m.Begun)
			}
		}
	}
	return c
}

func (c *checker) violation(k Kind, format string, args ...any) {
	c.found = append(c.found, Violation{Kind: k, Text: fmt.Sprintf(format, args...), Client: c.about})
}

// presence follows each client's session through its connections (MQTT 5 §3.2.2.1.1).
func (c *checker) presence() {
	const (
		none = iota
		there
		unsure
	)
	state := make(map[string]int)
	for _, conn := range c.h.Connections {
		c.about = conn.Client
		was := state[conn.Client]
		if conn.Acked == 0 {
			// The broker may have had it or not.
			if was == none && conn.Durable || was == there && conn.Clean {
				state[conn.Client] = unsure
			}
			continue
		}
		if conn.Present && (conn.Clean || was == none) {
			c.violation(SessionRisen, "%s, CONNECT at %d, clean start %v: session present, but there can be none", conn.Client, conn.Sent, conn.Clean)
		}
		if !conn.Present && !conn.Clean && was == there {
			c.violation(SessionLost, "%s, CONNECT at %d: no session present, but an earlier CONNACK had made one", conn.Client, conn.Sent)
		}
		state[conn.Client] = none
		if conn.Durable {
			state[conn.Client] = there
		}
	}
}

// receivers are the sessions and shared groups that may be owed something.
func (c *checker) receivers() []*receiver {
	var all []*receiver
	groups := make(map[string]*receiver)
	for i, s := range c.h.Sessions {
		own := &receiver{need: Need{Session: i}, name: fmt.Sprintf("%s (session %d)", s.Client, i), ended: s.Ended, got: make(map[int32][]tally)}
		for _, sub := range s.Subs {
			m := member{sub, earliest(sub.UnsubSent, s.Ended)}
			if sub.Group == "" {
				own.subs = append(own.subs, m)
				continue
			}
			g := groups[sub.Group]
			if g == nil {
				g = &receiver{need: Need{Session: -1, Group: sub.Group}, name: "shared group " + sub.Group, got: make(map[int32][]tally)}
				groups[sub.Group] = g
				all = append(all, g)
			}
			g.subs = append(g.subs, m)
		}
		if len(own.subs) > 0 {
			all = append(all, own)
		}
		c.count(s, own, groups)
	}
	return all
}

// count sorts what a session got to the receivers it is for.
func (c *checker) count(s *Session, own *receiver, groups map[string]*receiver) {
	for i := range s.Got {
		d := &s.Got[i]
		if d.Retain || d.Stream < 0 {
			continue
		}
		log := c.h.Streams[d.Stream]
		for _, sub := range s.Subs {
			if !topic.Match(sub.Filter, log.Topic) {
				continue
			}
			to := own
			if sub.Group != "" {
				to = groups[sub.Group]
			}
			to.add(log, d)
			break
		}
	}
}

func (r *receiver) add(log *Log, d *Delivery) {
	got := r.got[d.Stream]
	if got == nil {
		got = make([]tally, len(log.Messages))
		r.got[d.Stream] = got
	}
	t := &got[d.Seq-1]
	if t.copies == 0 || d.At < t.first {
		t.first, t.qos = d.At, d.QoS
	}
	t.copies++
	if d.QoS == 2 {
		t.exact++
	}
}

// earliest of two stamps, of which 0 is never.
func earliest(a, b Stamp) Stamp {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// promised calls fn for each message that was routed to the receiver: its SUBACK was seen before the publish began, and until
// the publish was done no UNSUBSCRIBE was sent. A shared group needs one member for which that holds. firm: the receiver must
// get it, because the subscription still stands; what waits at an UNSUBSCRIBE need not be sent [MQTT-3.10.4-3].
func (c *checker) promised(r *receiver, log *Log, fn func(i int, by member, firm bool)) {
	var by []member
	for _, m := range r.subs {
		if m.acked() != 0 && topic.Match(m.Filter, log.Topic) {
			by = append(by, m)
		}
	}
	if len(by) == 0 {
		return
	}
	for i := range log.Messages {
		m := &log.Messages[i]
		if m.Empty || m.Will == nil && m.Done == 0 || m.Will != nil && !c.willDue(m) {
			continue
		}
		for _, sub := range by {
			if sub.acked() < m.Begun && (sub.end == 0 || m.Will == nil && m.Done < sub.end) {
				fn(i, sub, sub.end == 0)
				break
			}
		}
	}
}

// settled tells that the broker has stored what it did when it closed a will's connection: something that was published
// after that was acknowledged in the same life.
func (c *checker) settled(w *Will) bool {
	return w.Closed != 0 && c.lastSeen[w.ClosedLife] > w.Closed
}

func (c *checker) willDue(m *Message) bool {
	return !m.Will.Discarded && m.Will.Returned == 0 && c.settled(m.Will)
}

// deliveries checks that all that was promised has come, in order, at the right QoS, and at QoS 2 once.
func (c *checker) deliveries(r *receiver) {
	for st, log := range c.h.Streams {
		got := r.got[int32(st)]
		last, lastSeq := Stamp(0), 0
		c.promised(r, log, func(i int, by member, firm bool) {
			m := &log.Messages[i]
			if got == nil || got[i].copies == 0 {
				if !firm {
					return
				}
				kind := Lost
				if m.Will != nil {
					kind = WillLost
				}
				c.violation(kind, "%s did not get %s #%d: subscribed at %d, published at %d, acknowledged at %d in life %d", r.name, log.Stream, i+1, by.acked(), m.Begun, m.Acked, m.AckedLife)
				return
			}
			if r.need.Session < 0 {
				return // which member gets what is not ordered
			}
			if m.Will == nil && got[i].first < last {
				c.violation(Disorder, "%s got %s #%d at %d, before #%d at %d", r.name, log.Stream, i+1, got[i].first, lastSeq, last)
			}
			last, lastSeq = max(last, got[i].first), i+1
			if qos, sure := by.qosFor(m); sure && got[i].qos != min(qos, log.QoS) {
				c.violation(WrongQoS, "%s got %s #%d at QoS %d, subscribed at QoS %d", r.name, log.Stream, i+1, got[i].qos, qos)
			}
		})
		for i := range got {
			if got[i].exact > 1 {
				c.violation(Duplicate, "%s got %s #%d %d times:%s", r.name, log.Stream, i+1, got[i].exact, c.h.copies(int32(st), uint32(i+1), r.need.Session))
			}
		}
	}
}

// qosFor is the QoS of the subscription while m was on its way, if it was one.
func (s *Subscription) qosFor(m *Message) (qos byte, sure bool) {
	for _, ch := range s.Changes {
		switch {
		case ch.Acked != 0 && ch.Acked < m.Begun:
			qos, sure = ch.QoS, true
		case m.Will != nil || ch.Sent < m.Done:
			return 0, false
		}
	}
	return qos, sure
}

// strangers finds what a session got without a subscription that could have brought it, and wills that must not have been sent.
func (c *checker) strangers(i int, s *Session) {
	for j := range s.Got {
		d := &s.Got[j]
		if d.Stream < 0 {
			continue // an anomaly already
		}
		log := c.h.Streams[d.Stream]
		m := &log.Messages[d.Seq-1]
		if w := m.Will; w != nil && (w.Back != 0 || w.Discarded && c.settled(w)) {
			c.violation(WillSent, "%s (session %d) got the will %s #%d: client back at %d, will discarded: %v", s.Client, i, log.Stream, d.Seq, w.Back, w.Discarded)
		}
		allowed, ids := false, []uint32(nil)
		for _, sub := range s.Subs {
			if topic.Match(sub.Filter, log.Topic) && sub.Changes[0].Sent < d.At && (d.Retain || sub.couldBring(m)) {
				allowed, ids = true, append(ids, sub.SubID)
			}
		}
		if !allowed {
			c.violation(Stranger, "%s (session %d) got %s #%d, published from %d to %d, at %d", s.Client, i, log.Stream, d.Seq, m.Begun, m.Done, d.At)
		} else if !slices.Contains(ids, d.SubID) {
			c.violation(WrongSubID, "%s (session %d) got %s #%d with identifier %d, expected %d", s.Client, i, log.Stream, d.Seq, d.SubID, ids)
		}
	}
}

// couldBring tells whether there was a moment in which the subscription stood and the message was routed.
func (s *Subscription) couldBring(m *Message) bool {
	return (m.Will != nil || m.Done == 0 || s.Changes[0].Sent < m.Done) && (s.UnsubAcked == 0 || m.Will != nil || m.Begun < s.UnsubAcked)
}

// lastRetained is the number of the last message of log that was done with before at; 0: there is none.
func lastRetained(log *Log, at Stamp) uint32 {
	for i := len(log.Messages) - 1; i >= 0; i-- {
		if m := &log.Messages[i]; m.Retain && m.Done != 0 && m.Done < at {
			return uint32(i + 1)
		}
	}
	return 0
}

// removed tells whether a message of log from number from on, begun before until, removes the retained message.
func removed(log *Log, from uint32, until Stamp) bool {
	return slices.ContainsFunc(log.Messages[max(from, 1)-1:], func(m Message) bool { return m.Empty && m.Begun < until })
}

// retainedCopies checks that a SUBACK was followed by the retained messages that there were (MQTT 5 §3.8.4): by a copy of it, or
// of a later one.
func (c *checker) retainedCopies(s *Session) {
	for _, log := range c.h.Streams {
		if !slices.ContainsFunc(log.Messages, func(m Message) bool { return m.Retain }) {
			continue
		}
		for _, sub := range s.Subs {
			end := earliest(sub.UnsubSent, s.Ended)
			if sub.Group != "" || end != 0 || !topic.Match(sub.Filter, log.Topic) {
				continue
			}
			for _, ch := range sub.Changes {
				want := lastRetained(log, ch.Sent)
				if ch.Acked == 0 || want == 0 || removed(log, want, c.h.now+1) {
					continue
				}
				if !slices.ContainsFunc(s.Got, func(d Delivery) bool {
					return d.Stream >= 0 && c.h.Streams[d.Stream] == log && d.Seq >= want && d.At > ch.Sent
				}) {
					c.violation(RetainedCopy, "%s, SUBSCRIBE to %s at %d, SUBACK at %d: never got %s #%d or a later one", s.Client, sub.Filter, ch.Sent, ch.Acked, log.Stream, want)
				}
			}
		}
	}
}

// probes checks the retained messages that new subscribers saw: the last acknowledged, or one begun after it.
func (c *checker) probes() {
	byTopic := make(map[string]*Log)
	for _, log := range c.h.Streams {
		if slices.ContainsFunc(log.Messages, func(m Message) bool { return m.Retain }) {
			byTopic[log.Topic] = log
		}
	}
	for _, p := range c.h.Probes {
		log := byTopic[p.Topic]
		if log == nil && p.Seq == 0 {
			continue
		}
		if log == nil || p.Seq != 0 && (p.Stream < 0 || c.h.Streams[p.Stream] != log) {
			c.violation(RetainedMade, "%s has a retained message that nobody published there", p.Topic)
			continue
		}
		last := lastRetained(log, p.Sent)
		switch {
		case p.Seq == 0 && last != 0 && !removed(log, last, p.Got):
			c.violation(RetainedLost, "%s #%d was acknowledged at %d; at %d there was none", log.Stream, last, log.Messages[last-1].Done, p.Sent)
		case p.Seq != 0 && p.Seq < last:
			c.violation(RetainedLost, "%s #%d was acknowledged at %d; at %d it was #%d", log.Stream, last, log.Messages[last-1].Done, p.Sent, p.Seq)
		case p.Seq != 0 && (log.Messages[p.Seq-1].Begun > p.Got || log.Messages[p.Seq-1].Empty):
			c.violation(RetainedMade, "%s has #%d at %d, which cannot be there", log.Stream, p.Seq, p.Sent)
		}
	}
}
