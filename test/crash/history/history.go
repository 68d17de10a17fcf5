// Package history is what the clients of a crash test saw, and the checker that says what of it must not be.
//
// The record has only what a client can know: when it began to send something and when it saw the answer. Everything the
// broker did lies between, so that a check demands what held for the whole of that time and forbids what held for no
// moment of it.
package history

import (
	"errors"
	"fmt"
	"sync"
)

// Stamp orders events: it is counted up by each. 0: it has not happened.
type Stamp uint64

// Stream is what one client publishes to one topic at one QoS: what MQTT keeps in order (MQTT 5 §4.6).
type Stream struct {
	Publisher, Topic string
	QoS              byte
}

func (s Stream) String() string {
	return fmt.Sprintf("%s (QoS %d from %s)", s.Topic, s.QoS, s.Publisher)
}

// Message is one publish of a Stream. The first has sequence number 1.
type Message struct {
	Begun Stamp // before its first byte was sent
	Acked Stamp // PUBACK or PUBREC seen: the broker answers for it
	Done  Stamp // PUBACK or PUBCOMP seen
	// AckedLife is the broker's life in which Acked was seen.
	AckedLife int
	Retain    bool
	Empty     bool // removes the retained message; nobody can tell its copies, so deliveries of it are not recorded
	Will      *Will
}

// Will is what is known of a Message that is a delayed will. Begun is then before the CONNECT that set it.
type Will struct {
	// Closed: the broker was seen to close the connection after DISCONNECT, in this life.
	Closed     Stamp
	ClosedLife int
	// Returned: before the client's next CONNECT was sent, which may have cancelled it.
	Returned Stamp
	// Discarded: that DISCONNECT took the will back (MQTT 5 §3.14.4), else it asked for it.
	Discarded bool
	// Back: the client's next CONNACK was seen before the delay can have passed, so that the will must not be sent
	// [MQTT-3.1.3-9].
	Back Stamp
}

// Log is a stream with its messages.
type Log struct {
	Stream
	Messages []Message
}

// Connection is one CONNECT.
type Connection struct {
	Client  string
	Clean   bool
	Durable bool // the session outlives the connection
	Sent    Stamp
	Acked   Stamp // CONNACK seen
	Present bool
}

// Session is one life of a client's session: from its first CONNECT to the next one that asked to start anew.
type Session struct {
	Client string
	Ended  Stamp // before the CONNECT that starts anew was sent
	Subs   []*Subscription
	Got    []Delivery
}

// Subscription is one filter of a session, from its SUBSCRIBE to its UNSUBSCRIBE.
type Subscription struct {
	Group  string // of a shared subscription
	Filter string // without $share
	SubID  uint32 // which all deliveries carry
	// Changes are the SUBSCRIBE packets, at least one.
	Changes    []Change
	UnsubSent  Stamp
	UnsubAcked Stamp
}

// Change is one SUBSCRIBE.
type Change struct {
	QoS         byte
	Sent, Acked Stamp
}

// acked is when the subscription was first known to stand.
func (s *Subscription) acked() Stamp {
	for _, c := range s.Changes {
		if c.Acked != 0 {
			return c.Acked
		}
	}
	return 0
}

// Delivery is a message that reached the application: not what a receiver takes for the repetition of a QoS 2 packet.
type Delivery struct {
	At     Stamp
	Stream int32 // index of Streams; -1: never published
	Seq    uint32
	SubID  uint32
	ID     uint16 // of the packet
	QoS    byte
	Retain bool
	Dup    bool
}

// Probe is the retained message of a topic as a new subscriber sees it.
type Probe struct {
	Topic  string
	Sent   Stamp  // before it subscribed
	Got    Stamp  // when it had the answer
	Seq    uint32 // 0: there is none
	Stream int32  // index of Streams; -1: one that nobody published
}

// History is the record.
type History struct {
	now         Stamp
	Life        int // of the broker, counted up by each start
	Lives       []Span
	Streams     []*Log
	index       map[Stream]int32
	Connections []*Connection
	Sessions    []*Session
	current     map[string]int // the client's session
	Probes      []Probe
	Anomalies   []Violation
	// Repeats counts the QoS 2 packets that receivers took for repetitions, Resent what publishers sent again.
	Repeats, Resent int
	delivered       func(session int, d *Delivery)
}

// Span is a life of the broker; Ended 0: it was not cut.
type Span struct{ Began, Ended Stamp }

// New returns an empty record.
func New() *History {
	return &History{index: make(map[Stream]int32), current: make(map[string]int)}
}

// Tick returns the stamp of a new event.
func (h *History) Tick() Stamp {
	h.now++
	return h.now
}

// Stream returns the index of s, which it adds when it is new.
func (h *History) Stream(s Stream) int32 {
	if i, ok := h.index[s]; ok {
		return i
	}
	i := int32(len(h.Streams))
	h.index[s] = i
	h.Streams = append(h.Streams, &Log{Stream: s})
	return i
}

// Find is Stream for one that may not exist: -1.
func (h *History) Find(s Stream, seq uint32) int32 {
	if i, ok := h.index[s]; ok && seq > 0 && int(seq) <= len(h.Streams[i].Messages) {
		return i
	}
	return -1
}

// Begin adds a message that is about to be sent and returns its sequence number.
func (h *History) Begin(stream int32, retain, empty bool) uint32 {
	l := h.Streams[stream]
	l.Messages = append(l.Messages, Message{Begun: h.Tick(), Retain: retain, Empty: empty})
	return uint32(len(l.Messages))
}

// Message returns one message. The pointer is good until the next Begin.
func (h *History) Message(stream int32, seq uint32) *Message {
	return &h.Streams[stream].Messages[seq-1]
}

// Ack records PUBACK or PUBREC, Done PUBACK or PUBCOMP.
func (h *History) Ack(stream int32, seq uint32) {
	if m := h.Message(stream, seq); m.Acked == 0 {
		m.Acked, m.AckedLife = h.Tick(), h.Life
	}
}

// Done records that the publisher has done with a message.
func (h *History) Done(stream int32, seq uint32) {
	if m := h.Message(stream, seq); m.Done == 0 {
		m.Done = h.Tick()
	}
}

// Connecting adds a CONNECT that is about to be sent.
func (h *History) Connecting(client string, clean, durable bool) *Connection {
	c := &Connection{Client: client, Clean: clean, Durable: durable, Sent: h.Tick()}
	if i, ok := h.current[client]; ok && clean && h.Sessions[i].Ended == 0 {
		h.Sessions[i].Ended = c.Sent
	}
	h.Connections = append(h.Connections, c)
	return c
}

// Connected records its CONNACK and returns the session, an index of Sessions.
func (h *History) Connected(c *Connection, present bool) int {
	c.Acked, c.Present = h.Tick(), present
	i, ok := h.current[c.Client]
	if !ok || h.Sessions[i].Ended != 0 {
		i = len(h.Sessions)
		h.Sessions = append(h.Sessions, &Session{Client: c.Client})
		h.current[c.Client] = i
	}
	return i
}

// Subscribing adds a SUBSCRIBE that is about to be sent; sub is the subscription it changes, or nil. Its answer goes to
// the last of Changes.
func (h *History) Subscribing(session int, sub *Subscription, group, filter string, qos byte, subID uint32) *Subscription {
	if sub == nil {
		sub = &Subscription{Group: group, Filter: filter, SubID: subID}
		h.Sessions[session].Subs = append(h.Sessions[session].Subs, sub)
	}
	sub.Changes = append(sub.Changes, Change{QoS: qos, Sent: h.Tick()})
	return sub
}

// Deliver records what reached the application of a session.
func (h *History) Deliver(session int, d Delivery) {
	d.At = h.Tick()
	h.Sessions[session].Got = append(h.Sessions[session].Got, d)
	if h.delivered != nil {
		h.delivered(session, &d)
	}
}

// Anomaly records something that a client saw and no broker may do.
func (h *History) Anomaly(k Kind, format string, args ...any) {
	h.Anomalies = append(h.Anomalies, Violation{Kind: k, Text: fmt.Sprintf("life %d: ", h.Life) + fmt.Sprintf(format, args...)})
}

// ErrCut is what an event gets that no client has seen: see Recorder.Cut.
var ErrCut = errors.New("the power was cut before this")

// Recorder is a History that many clients write.
type Recorder struct {
	mu      sync.Mutex
	h       *History
	dead    int // lives up to here are over
	needs   map[Need]struct{}
	changed chan struct{} // closed at the next change of needs
}

// NewRecorder returns a recorder of an empty history.
func NewRecorder() *Recorder {
	r := &Recorder{h: New(), changed: make(chan struct{})}
	r.h.delivered = r.delivered
	return r
}

// Do records an event that was seen on a connection to the broker's given life. After ErrCut nothing was recorded: the
// client has to act as if it had not happened.
func (r *Recorder) Do(life int, event func(h *History)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if life <= r.dead {
		return ErrCut
	}
	event(r.h)
	return nil
}

// Begin starts the next life of the broker and returns its number, from 1.
func (r *Recorder) Begin() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Life++
	r.h.Lives = append(r.h.Lives, Span{Began: r.h.Tick()})
	return r.h.Life
}

// Cut ends the life at this moment: what its clients have not seen yet they will never see. (After a kill of the process that
// would be wrong: what is in the clients' sockets is theirs.)
func (r *Recorder) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead = r.h.Life
	r.h.Lives[r.dead-1].Ended = r.h.Tick()
}

// Check checks what was recorded so far.
func (r *Recorder) Check() []Violation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Check(r.h)
}

// Summary is Summary, with what led to the violations.
func (r *Recorder) Summary(found []Violation) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Summary(found) + r.h.stories(found)
}

// delivered crosses out what was waited for; r.mu is held.
func (r *Recorder) delivered(session int, d *Delivery) {
	if len(r.needs) == 0 || d.Stream < 0 {
		return
	}
	before := len(r.needs)
	s := r.h.Sessions[session]
	delete(r.needs, Need{Session: session, Stream: d.Stream, Seq: d.Seq})
	for _, sub := range s.Subs {
		if sub.Group != "" {
			delete(r.needs, Need{Session: -1, Group: sub.Group, Stream: d.Stream, Seq: d.Seq})
		}
	}
	if len(r.needs) != before {
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

// Expect looks up what must have been delivered and was not, and watches it from now on.
func (r *Recorder) Expect() (missing int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.needs = make(map[Need]struct{})
	for _, n := range Missing(r.h) {
		r.needs[n] = struct{}{}
	}
	return len(r.needs)
}

// Missing tells how much of what Expect found is still missing, and a channel that is closed when that changes.
func (r *Recorder) Missing() (int, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.needs), r.changed
}

// Totals is how much a history has in it.
type Totals struct {
	Acknowledged, Deliveries int // messages; deliveries of them
	Resent, Repeats          int // by publishers; QoS 2 packets that came again
	Retained, Wills          int // looks at a retained message; wills that were delivered
	Connections              int
}

// Totals counts.
func (r *Recorder) Totals() (n Totals) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.h.Streams {
		for i := range l.Messages {
			if l.Messages[i].Acked != 0 {
				n.Acknowledged++
			}
		}
	}
	for _, s := range r.h.Sessions {
		n.Deliveries += len(s.Got)
		for _, d := range s.Got {
			if d.Stream >= 0 && r.h.Streams[d.Stream].Messages[d.Seq-1].Will != nil {
				n.Wills++
			}
		}
	}
	n.Resent, n.Repeats, n.Retained, n.Connections = r.h.Resent, r.h.Repeats, len(r.h.Probes), len(r.h.Connections)
	return n
}
