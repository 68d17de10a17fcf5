package session

import (
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
)

// Conn is what a session needs of the connection that carries it.
type Conn interface {
	Out() *outbox.Outbox
	// Flush writes what the outbox holds, without blocking. Any goroutine.
	Flush()
	// Post runs fn on the connection's own loop, exactly once, also after the connection has closed. Any goroutine.
	Post(fn func(loop int, now int64))
	// WantDrained asks to be told once when the outbox is empty. On the connection's own loop.
	WantDrained()
}

// Turn is what one loop carries while it handles a batch of events: the time, the connections whose outboxes it filled,
// and its counters. It belongs to one loop at a time, so that nothing in it needs a lock.
type Turn struct {
	Now   int64 // unix milliseconds
	Loop  int
	Work  int // deliveries in this turn, for the fairness budget
	dirty []Conn
	// Short tells that the memory budget was used up when the turn began.
	Short bool
	// filled is how many bytes were put into outboxes since the last flush.
	filled int
	head   []byte // scratch for frames that are a receiver's own
	queued Queued // scratch for what goes into a batch
	later  Batch  // changes that nobody waits for
	shared Batch  // what the turn's publishes store
	n      [numCounters]int64
	// MayReceive asks whether a client may read a topic; nil: everybody may read everything.
	MayReceive func(who *message.Identity, topic string) bool
	// NewBatch begins a change of the store.
	NewBatch func() Batch
	// ReadPage has a part of a session's queue read, of which Paged is told.
	ReadPage func(s *Session, from, end uint64)
	// Dropped is told of each session that drops its first message after a report, so that a log line can name it.
	Dropped func(s *Session, reason Drop)
}

// A turn's outboxes are flushed together at its end, so that a receiver's messages leave in one write. These bound how long
// that may wait: the receivers filled, and the bytes that they hold in memory.
const (
	flushReceivers = 16384
	flushBytes     = 8 << 20
)

// Touch puts c on the list of connections to flush at the end of the turn.
func (t *Turn) Touch(c Conn) { t.dirty = append(t.dirty, c) }

// Relieve flushes if the turn has filled many outboxes. Call it without any lock held.
func (t *Turn) Relieve() {
	if len(t.dirty) >= flushReceivers || t.filled >= flushBytes {
		t.Flush()
	}
}

// Spent reports whether the turn has done as much as one may before others have theirs, in deliveries or in bytes.
func (t *Turn) Spent(work int) bool { return t.Work > work || t.filled >= flushBytes }

// sent counts a PUBLISH that was put into an outbox.
func (t *Turn) sent(qos byte, head, payload int) {
	t.filled += head + payload
	t.n[MessagesSent]++
	t.n[PublishSent+Counter(qos)]++
	t.n[PublishBytesSent] += int64(payload)
	t.n[BytesSent] += int64(head + payload)
}

// CountDrop counts a message that no single session lost.
func (t *Turn) CountDrop(reason Drop, n int) { t.n[dropBase+Counter(reason)] += int64(n) }

// Flush writes what this turn has put into outboxes.
func (t *Turn) Flush() {
	for i, c := range t.dirty {
		t.dirty[i] = nil
		c.Flush()
	}
	t.dirty, t.filled = t.dirty[:0], 0
}

// Shared is the batch in which all publishes of the turn store what they have to.
func (t *Turn) Shared() Batch {
	if t.shared == nil {
		t.shared = t.NewBatch()
	}
	return t.shared
}

// IsShared reports whether b is that batch.
func (t *Turn) IsShared(b Batch) bool { return t.shared != nil && t.shared == b }

// TakeShared returns it, nil if nothing was stored, and the next publish begins another.
func (t *Turn) TakeShared() Batch {
	b := t.shared
	t.shared = nil
	return b
}

// Later is a batch of changes that nobody waits for; the turn's end hands it over.
func (t *Turn) Later() Batch {
	if t.later == nil {
		t.later = t.NewBatch()
	}
	return t.later
}

// CommitLater hands it over.
func (t *Turn) CommitLater() {
	if b := t.later; b != nil {
		t.later = nil
		b.Commit(nil)
	}
}

// Counter names a figure that loops count and $SYS shows.
type Counter int

// The counters. Messages are MQTT packets of any type, as in Mosquitto's $SYS; Publish* are PUBLISH packets only.
const (
	MessagesReceived Counter = iota
	MessagesSent
	BytesReceived
	BytesSent
	PublishReceived // QoS 0; those for QoS 1 and 2 follow
	_
	_
	PublishSent // QoS 0; those for QoS 1 and 2 follow
	_
	_
	PublishBytesReceived
	PublishBytesSent
	dropBase
	numCounters = dropBase + Counter(NumDrops)
)

// Drop is a reason for which a message did not reach a receiver.
type Drop int

// The reasons. Every message that is not delivered is counted under one of them.
const (
	DropOutboxFull   Drop = iota // QoS 0 to a receiver that does not read fast enough
	DropMemory                   // the process-wide memory budget is used up
	DropQueueFull                // QoS 1 or 2 beyond the session's queue limits
	DropTooLarge                 // larger than the receiver's Maximum Packet Size [MQTT-3.1.2-25]
	DropExpired                  // its expiry interval passed while it waited [MQTT-3.3.2-5]
	DropNotAllowed               // the receiver may no longer read the topic
	DropStore                    // the store refused to keep it
	DropSessionEnded             // it waited for a session that ended
	NumDrops
)

func (d Drop) String() string {
	switch d {
	case DropOutboxFull:
		return "outbox full"
	case DropMemory:
		return "memory limit"
	case DropQueueFull:
		return "queue full"
	case DropTooLarge:
		return "larger than the client's maximum packet size"
	case DropExpired:
		return "expired"
	case DropNotAllowed:
		return "not allowed to read"
	case DropStore:
		return "store failed"
	case DropSessionEnded:
		return "session ended"
	}
	return "unknown"
}

// Count adds n to a counter of this turn.
func (t *Turn) Count(c Counter, n int) { t.n[c] += int64(n) }

func (t *Turn) drop(s *Session, reason Drop, n int) {
	t.n[dropBase+Counter(reason)] += int64(n)
	first := s.dropped == s.droppedReported
	s.dropped += uint32(n)
	if first && t.Dropped != nil {
		t.Dropped(s, reason)
	}
}

// Stats are the counters of the whole process.
type Stats struct{ n [numCounters]atomic.Int64 }

// Get reads a counter.
func (s *Stats) Get(c Counter) int64 { return s.n[c].Load() }

// ByQoS reads PublishReceived or PublishSent.
func (s *Stats) ByQoS(c Counter) (n [3]int64) {
	for qos := range n {
		n[qos] = s.Get(c + Counter(qos))
	}
	return n
}

// Dropped reads how many messages were dropped for a reason.
func (s *Stats) Dropped(d Drop) int64 { return s.n[dropBase+Counter(d)].Load() }

// Fold moves the turn's counts into s; called at the end of a turn, so that counting a message costs no shared write.
func (t *Turn) Fold(s *Stats) {
	for i, n := range t.n {
		if n != 0 {
			s.n[i].Add(n)
			t.n[i] = 0
		}
	}
}

// Publication is one message on its way to any number of sessions. It belongs to a turn.
type Publication struct {
	M     *message.Message
	Forms message.Forms
	// Batch collects what must be stored before the message may be acknowledged: the turn's; nil: nothing yet.
	Batch Batch
	// Gated are the outgoing QoS 2 copies that wait for the batch's commit (DESIGN rule 3).
	Gated []Gate
	// GroupGated are messages that wait in shared groups' queues.
	GroupGated []GroupGate
	// Repeats: should the commit fail, the publish will come again. So all QoS 2 copies wait for it.
	Repeats bool
	// Retained is what the message changed, to be taken back if the commit fails; Seq 0: nothing.
	Retained RetainedChange
	// Congested are sessions whose queue is long: the publisher's acknowledgement waits for one of them.
	Congested *Session
}

// RetainedChange is a change of a topic's retained message.
type RetainedChange struct {
	Topic string
	Seq   uint64
	Old   *message.Message // nil: there was none
}

// Gate is a queue entry that may be sent when its batch has been stored.
type Gate struct {
	S   *Session
	Seq uint64
	// Back is where a shared group took the message from: its queue has it again if it is not stored. nil: nowhere.
	Back *Shared
}

// GroupGate is an entry of a shared group's queue that may be given to a member when its batch has been stored.
type GroupGate struct {
	G   Group
	Seq uint64
}

// Start begins a new publication.
func (p *Publication) Start(m *message.Message, now int64) {
	p.M, p.Batch, p.Congested, p.Repeats = m, nil, nil, false
	p.Gated, p.GroupGated, p.Retained = p.Gated[:0], p.GroupGated[:0], RetainedChange{}
	p.Forms.Reset(m, now)
}

// Own makes the message one that may be kept; its forms stay valid.
func (p *Publication) Own() *message.Message {
	p.M = p.M.Own()
	return p.M
}

// Store is the batch of the publication, begun when first needed.
func (p *Publication) Store(t *Turn) Batch {
	if p.Batch == nil {
		p.Batch = t.Shared()
	}
	return p.Batch
}
