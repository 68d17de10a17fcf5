// Package session holds what the broker knows of a client beyond its connection: the queue of messages on their way to it
// with their packet ids and windows, the QoS 2 ids it has sent, and whether a connection is there to carry them.
//
// A session is shared by all loops. Its lock is taken for one delivery or one acknowledgement at a time; never two
// sessions' locks at once, and nothing but an outbox's lock inside (docs/adr/0002-session-locking.md).
package session

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/internal/core/subtree"
)

// largestPacket is what a fixed header can say (MQTT 5 §2.1.4), in bytes, itself included.
const largestPacket = 268_435_455 + 5

// NeverExpires is the session expiry interval of a session that stays for ever (MQTT 5 §3.1.2.11.2).
const NeverExpires = math.MaxUint32

// Replay is what is left of the answer to one subscription with retained messages. It belongs to the connection that
// carries the session, and passes on to the next with it.
type Replay struct {
	Source interface {
		Next(now int64, max int, dst []*message.Message) (msgs []*message.Message, done bool)
	}
	Filter  string
	Grant   Grant
	NoLocal bool // leaves out what the client published itself [MQTT-3.8.3-3]
	Held    bool // SUBACK has not left
	Stored  bool // the store knows that it is unfinished
}

// Replays are the session's unfinished replays. Owner of the connection only.
func (s *Session) Replays() []*Replay {
	if s.replays == nil {
		return nil
	}
	return *s.replays
}

// SetReplays replaces them. Owner of the connection only.
func (s *Session) SetReplays(r []*Replay) {
	if s.replays = nil; len(r) > 0 {
		s.replays = &r
	}
}

// Backlogged reports whether something waits that a replay must not overtake or add to.
func (s *Session) Backlogged(t *Turn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return true
	}
	if s.out != nil && s.out.backlog() > 0 {
		s.replayWaits = true
		return true
	}
	if s.congested() {
		s.askDrain()
		return true
	}
	return false
}

// Limits bound what one session, and all of them together, may hold.
type Limits struct {
	MaxInflight    int   // QoS 1 and 2 messages sent and not acknowledged, per client
	MaxQueued      int   // messages waiting per session beyond those in flight; 0: no limit
	MaxQueuedBytes int64 // their size per session; 0: no limit of its own
	// MaxInflightBytes bounds the payloads of the messages sent and not acknowledged, per client: no more are sent while they
	// reach it. 0: no limit.
	MaxInflightBytes int64
	OutboxBytes      int // bytes waiting for the socket per connection, beyond which QoS 0 is dropped and QoS 1 and 2 wait
	MaxTopicAlias    uint16
	QueueQoS0        bool  // keep QoS 0 messages for absent sessions too
	UpgradeQoS       bool  // deliver at the subscription's QoS even if the message was published at a lower one
	MemoryLimit      int64 // all outboxes and queues together; 0: none
	// MaxRetainedBytes bounds the retained messages of all topics together, which MemoryLimit does not count; 0: no limit.
	MaxRetainedBytes int64
	// RetainExpiry is after how many milliseconds a retained message without an expiry of its own ends; 0: never.
	RetainExpiry int64
	// CheckRetainSource has a retained message sent only if its publisher could still publish it.
	CheckRetainSource bool
	// Duplicates has a message that several subscriptions of a session match sent once for each of them.
	Duplicates bool
	Paged      bool           // the store gives queues back, so that they need not lie in memory
	Outboxes   *outbox.Budget // what all outboxes hold
	Queued     atomic.Int64   // what all queues hold
	Kept       atomic.Int64   // how many messages that are, each counted once
	changed    atomic.Pointer[Limits]
}

// Change replaces the bounds while sessions use them: those of to count from now on. A connection that is there keeps the
// window, aliases and way of QoS 0 that it began with.
func (l *Limits) Change(to *Limits) { l.changed.Store(to) }

// Current gives the bounds that count now. Only the bounds of the result may be used.
func (l *Limits) Current() *Limits {
	if c := l.changed.Load(); c != nil {
		return c
	}
	return l
}

// Hold counts a message that one more queue refers to.
func (l *Limits) Hold(m *message.Message) {
	n, first := m.Hold()
	l.Queued.Add(n)
	if first {
		l.Kept.Add(1)
	}
}

// Unhold takes a Hold back.
func (l *Limits) Unhold(m *message.Message) {
	n, last := m.Unhold()
	l.Queued.Add(-n)
	if last {
		l.Kept.Add(-1)
	}
}

// FarOverMemory reports whether they exceed it by a quarter.
func (l *Limits) FarOverMemory() bool {
	limit := l.Current().MemoryLimit
	return limit > 0 && l.Outboxes.Used()+l.Queued.Load() > limit+limit/4
}

// OverMemory reports whether outboxes and queues together exceed the budget.
func (l *Limits) OverMemory() bool {
	limit := l.Current().MemoryLimit
	return limit > 0 && l.Outboxes.Used()+l.Queued.Load() > limit
}

// longQueue is the length of a queue from half of which on publishers are slowed down.
func (l *Limits) longQueue() int {
	if n := l.Current().MaxQueued; n != 0 {
		return n
	}
	return math.MaxInt32 // there is no end to come near to
}

// Grant is how one session receives messages of a topic: the sum of its matching subscriptions (MQTT 5 §3.3.4).
type Grant struct {
	QoS    byte     // the highest granted
	RAP    bool     // Retain As Published
	Skip   bool     // nothing matches any more
	SubIDs []uint32 // all subscription identifiers that match [MQTT-3.3.4-4]
}

// Outcome is what became of a message offered to a session.
type Outcome int

// Outcomes of Deliver.
const (
	Delivered   Outcome = iota // sent, or queued for sending
	Stale                      // the session's subscriptions changed: match again
	Ended                      // the session is no more
	Unavailable                // offline or full; only for shared subscriptions, which then try another member
	Dropped                    // counted by reason
)

// Session is the state of one client [MQTT-3.1.2.4]. Its zero value is not usable; see New.
type Session struct {
	Sub      subtree.SubscriberID
	subEpoch atomic.Uint32 // rises with each change of subscriptions, before its acknowledgement leaves, and with the connection's end
	Key      Key
	id       atomic.Pointer[message.Identity]
	limits   *Limits

	mu       sync.Mutex
	fast     atomic.Pointer[fastLane]
	conn     Conn                // nil: offline
	aliases  *aliases            // topic aliases towards the client, and its mount point; nil: none wanted
	out      *outgoing           // nil: no QoS 1 or 2 message yet
	received map[uint16]incoming // QoS 2 that waits for PUBREL
	expiry   uint32
	epoch    uint32 // rises with each connection
	// maxPacket is the client's Maximum Packet Size, maxInflight the smaller of its Receive Maximum and ours.
	maxPacket       uint32
	maxInflight     uint16
	v5              bool
	ended           bool
	stored          bool       // it had an expiry interval above 0 once, so that the store knows it
	drainAsked      bool       // the connection has been asked to tell when its outbox is empty
	replayWaits     bool       // a replay goes on when nothing waits before it
	replays         *[]*Replay // unfinished answers to subscriptions; nil: none
	dropped         uint32
	droppedReported uint32
}

// New makes a session without connection.
func New(id *message.Identity, sub subtree.SubscriberID, k Key, l *Limits) *Session {
	s := &Session{Sub: sub, Key: k, limits: l}
	s.id.Store(id)
	return s
}

// ID is who the session belongs to: the client id is always the same, the user is that of the last connection.
func (s *Session) ID() *message.Identity { return s.id.Load() }

// Rename makes id, of the same client, the one that the session belongs to, before its connection attaches.
func (s *Session) Rename(id *message.Identity) { s.id.Store(id) }

// Link is what a connection tells the session when it attaches.
type Link struct {
	ID             *message.Identity
	Conn           Conn
	V5             bool
	MaxPacket      uint32 // client's Maximum Packet Size; 0: none
	ReceiveMaximum uint16 // client's; 0: not given
	TopicAliasMax  uint16 // client's
	Expiry         uint32 // session expiry interval, seconds
	Mount          string // listener's mount point: only topics that begin with it are the client's, and it does not see it
	Connack        []byte // goes first [MQTT-3.2.0-1]: other loops may deliver as soon as there is a connection
}

// Attach gives the session a connection and sends CONNACK on it. What waits for the client follows with Pump. It returns
// the new connection's epoch.
func (s *Session) Attach(t *Turn, l Link) (epoch uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id.Store(l.ID)
	s.conn, s.v5, s.expiry, s.drainAsked = l.Conn, l.V5, l.Expiry, false
	s.stored = s.stored || l.Expiry > 0
	s.sendFrame(t, l.Connack)
	s.epoch++
	s.maxPacket = l.MaxPacket
	if s.maxPacket == 0 {
		s.maxPacket = largestPacket
	}
	s.maxInflight = math.MaxUint16
	limits := s.limits.Current()
	if limits.MaxInflight > 0 {
		s.maxInflight = uint16(min(limits.MaxInflight, math.MaxUint16))
	}
	if l.ReceiveMaximum != 0 {
		s.maxInflight = min(s.maxInflight, l.ReceiveMaximum)
	}
	s.aliases = nil
	if n := min(l.TopicAliasMax, limits.MaxTopicAlias); n > 0 && l.V5 {
		s.aliases = &aliases{max: n}
	}
	s.aliases = s.aliases.mounted(l.Mount)
	if s.out != nil {
		s.out.rewind()
	}
	if s.aliases == nil && !limits.QueueQoS0 && !limits.UpgradeQoS {
		s.fast.Store(&fastLane{conn: l.Conn, out: l.Conn.Out(), maxPacket: s.maxPacket, v5: s.v5})
	}
	return s.epoch
}

// Detach takes the connection away. shared are the messages of shared subscriptions that another member may have
// (DESIGN section 5, rule 6).
func (s *Session) Detach(t *Turn) (shared []Shared) {
	s.mu.Lock()
	s.fast.Store(nil)
	s.subEpoch.Add(1) // nothing follows the DISCONNECT that may be sent now
	s.conn, s.aliases = nil, nil
	shared = s.takeShared(nil)
	waiters := s.takeWaiters()
	s.mu.Unlock()
	for _, w := range waiters {
		w(t.Loop, t.Now)
	}
	return shared
}

// LeaveShared gives up the messages of one shared subscription, for a member that unsubscribes from it.
func (s *Session) LeaveShared(group Group) []Shared {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takeShared(group)
}

// End marks the session as gone: nothing is delivered to it any more. It counts what was still queued as dropped.
func (s *Session) End(t *Turn) (shared []Shared) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shared = s.takeShared(nil)
	s.ended = true
	for _, in := range s.received {
		s.unhold(in.m)
	}
	s.conn, s.aliases, s.received = nil, nil, nil // Detach came before, so nobody waits
	if s.out != nil {
		limbo := s.keepLimbo()
		if n := s.out.release(s.limits) - len(limbo); n > 0 {
			t.drop(s, DropSessionEnded, n)
		}
		if s.out = nil; len(limbo) > 0 {
			s.out = &outgoing{limbo: limbo}
		}
	}
	return shared
}

// Ended reports whether End was called.
func (s *Session) Ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// Connected reports whether a connection carries the session.
func (s *Session) Connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil
}

// SubEpoch is read before matching and handed to Deliver with the result.
func (s *Session) SubEpoch() uint32 { return s.subEpoch.Load() }

// SubscriptionsChanged makes results of earlier matches stale. It returns when no delivery by such a result is under way.
func (s *Session) SubscriptionsChanged() {
	s.mu.Lock()
	s.subEpoch.Add(1)
	s.mu.Unlock()
}

// Expiry is the session expiry interval in seconds.
func (s *Session) Expiry() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiry
}

// SetExpiry changes it, as DISCONNECT may (MQTT 5 §3.14.2.2.2).
func (s *Session) SetExpiry(seconds uint32) {
	s.mu.Lock()
	s.expiry = seconds
	s.stored = s.stored || seconds > 0
	s.mu.Unlock()
}

// durable sessions outlive, or once outlived, their connection: the store knows them until they end.
func (s *Session) durable() bool { return s.stored }

// Figures of a session, for logs and $SYS.
type Figures struct {
	Inflight, Queued, Received int
	Dropped                    uint32
}

// Figures reads them.
func (s *Session) Figures() Figures {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := Figures{Dropped: s.dropped}
	for _, in := range s.received {
		if in.releasing == nil {
			f.Received++
		}
	}
	if s.out != nil {
		f.Inflight, f.Queued = s.out.inflight, s.out.backlog()
	}
	return f
}

// TakeDropped returns how many messages were dropped since it was last called.
func (s *Session) TakeDropped() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.dropped - s.droppedReported
	s.droppedReported = s.dropped
	return n
}
