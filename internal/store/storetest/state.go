package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// State is what a store holds: what a restart would find.
type State struct {
	// Run is the number of the last start.
	Run uint64
	// Sessions are by client id. While one session of a client is being replaced by the next the store may have both; here
	// is the one with the higher key.
	Sessions map[string]*Session
	Groups   map[session.Key]*Group
	Retained map[string]*message.Message // by topic

	keys map[session.Key]*Session // all sessions, and queues whose session has not come yet
	// ended are keys that were deleted: what is stored late for them goes nowhere.
	ended map[session.Key]bool
	// retainedSeq is the highest sequence given per topic, of a message or of its removal.
	retainedSeq map[string]uint64
}

// Session is one session in the store.
type Session struct {
	session.Record
	Subscriptions map[string]Subscription
	// Received are incoming QoS 2 messages by packet id; nil: refused, only its id counts.
	Received map[uint16]*message.Message
	Will     *session.Will // nil: none waits
	Queue
	there bool // the record was stored
}

// Group is a shared group with a queue of its own.
type Group struct {
	Name, Filter string
	Queue
	there bool
}

// Queue is what waits for a session or a group.
type Queue struct {
	Messages map[uint64]session.Queued // by sequence
	Released map[uint64]bool           // PUBREC was received: the sequence number without its message
	// gone are sequences that were dequeued before they were enqueued: a publish hands its batch over when it has been
	// delivered to everybody, and the first receivers may be quicker.
	gone map[uint64]bool
}

// Subscription is one subscription of a session.
type Subscription struct {
	Options mqtt.SubOptions
	ID      uint32 // subscription identifier; 0: none
}

// NewState is an empty store's.
func NewState() *State {
	return &State{
		Sessions: make(map[string]*Session), Groups: make(map[session.Key]*Group),
		Retained: make(map[string]*message.Message), keys: make(map[session.Key]*Session),
		ended: make(map[session.Key]bool), retainedSeq: make(map[string]uint64),
	}
}

func newQueue() Queue {
	return Queue{make(map[uint64]session.Queued), make(map[uint64]bool), make(map[uint64]bool)}
}

func (q *Queue) clone() Queue {
	return Queue{maps.Clone(q.Messages), maps.Clone(q.Released), maps.Clone(q.gone)}
}

// Clone copies all that can change.
func (s *State) Clone() *State {
	c := NewState()
	c.Run, c.Retained = s.Run, maps.Clone(s.Retained)
	c.ended, c.retainedSeq = maps.Clone(s.ended), maps.Clone(s.retainedSeq)
	for k, ss := range s.keys {
		cs := *ss
		cs.Subscriptions, cs.Received, cs.Queue = maps.Clone(ss.Subscriptions), maps.Clone(ss.Received), ss.clone()
		c.keys[k] = &cs
		c.show(&cs)
	}
	for k, g := range s.Groups {
		cg := *g
		cg.Queue = g.clone()
		c.Groups[k] = &cg
	}
	return c
}

// show puts a session into Sessions if it is the client's latest.
func (s *State) show(ss *Session) {
	if was := s.Sessions[ss.ClientID]; ss.there && (was == nil || was.Key < ss.Key) {
		s.Sessions[ss.ClientID] = ss
	}
}

// restarted is what a restart finds: what was remembered in memory only is gone, and so are the queues of nobody.
func (s *State) restarted() *State {
	c := s.Clone()
	for k, ss := range c.keys {
		if ss.gone = make(map[uint64]bool); !ss.there {
			delete(c.keys, k)
		}
	}
	for _, g := range c.Groups {
		g.gone = make(map[uint64]bool)
	}
	return c
}

// Session is the one with that key; nil: there is none.
func (s *State) Session(k session.Key) *Session {
	if ss := s.keys[k]; ss != nil && ss.there {
		return ss
	}
	return nil
}

// queue is a key's; nil: it has none.
func (s *State) queue(k session.Key) *Queue {
	if g := s.Groups[k]; g != nil {
		return &g.Queue
	}
	if ss := s.keys[k]; ss != nil {
		return &ss.Queue
	}
	return nil
}

// Subscriptions counts those of all sessions.
func (s *State) Subscriptions() (n int) {
	for _, ss := range s.keys {
		n += len(ss.Subscriptions)
	}
	return n
}

// Leftovers counts queue entries that were removed and never came, and queues of nobody: once nothing is on its way,
// there should be none.
func (s *State) Leftovers() (n int) {
	for _, ss := range s.keys {
		if n += len(ss.gone); !ss.there {
			n++
		}
	}
	for _, g := range s.Groups {
		n += len(g.gone)
	}
	return n
}

// op is one change of a batch.
type op struct {
	kind   opKind
	key    session.Key
	record session.Record
	name   string // filter, topic, or group
	filter string // of a group
	seq    uint64
	id     uint16
	subID  uint32
	opts   mqtt.SubOptions
	m      *message.Message
	queued session.Queued
	will   session.Will
}

type opKind uint8

const (
	putSession opKind = iota
	deleteSession
	putGroup
	deleteGroup
	putSubscription
	deleteSubscription
	enqueue
	release
	dequeue
	putReceived
	deleteReceived
	putRetained
	deleteRetained
	putWill
	deleteWill
)

var opNames = [...]string{"PutSession", "DeleteSession", "PutGroup", "DeleteGroup", "PutSubscription", "DeleteSubscription",
	"Enqueue", "Release", "Dequeue", "PutReceived", "DeleteReceived", "PutRetained", "DeleteRetained", "PutWill", "DeleteWill"}

func (k opKind) String() string { return opNames[k] }

// apply makes one change. breach says what no store could make sense of; the change is then left out.
func (s *State) apply(o *op) (breach string) {
	switch o.kind {
	case putRetained, deleteRetained:
		s.retain(o)
		return ""
	case putSession, putGroup:
		if s.ended[o.key] {
			return fmt.Sprintf("%s under key %d, which was deleted", o.kind, o.key)
		}
	case deleteSession, deleteGroup:
		if ss := s.keys[o.key]; ss != nil && s.Sessions[ss.ClientID] == ss {
			delete(s.Sessions, ss.ClientID)
			delete(s.keys, o.key)
			for _, other := range s.keys {
				s.show(other)
			}
		}
		delete(s.keys, o.key)
		delete(s.Groups, o.key)
		s.ended[o.key] = true
		return ""
	default:
		if s.ended[o.key] {
			return "" // late, for a session that is no more
		}
	}
	if o.kind == putGroup || s.Groups[o.key] != nil {
		return s.applyGroup(o)
	}
	ss := s.keys[o.key]
	if ss == nil {
		ss = &Session{
			Record: session.Record{Key: o.key}, Subscriptions: make(map[string]Subscription),
			Received: make(map[uint16]*message.Message), Queue: newQueue(),
		}
		s.keys[o.key] = ss
	}
	if o.kind == putSession {
		ss.Record, ss.there = o.record, true
		s.show(ss)
		return ""
	}
	return ss.apply(o)
}

func (s *State) applyGroup(o *op) (breach string) {
	g := s.Groups[o.key]
	if g == nil {
		g = &Group{Queue: newQueue()}
		if early := s.keys[o.key]; early != nil {
			g.Queue = early.Queue // enqueued before
			delete(s.keys, o.key)
		}
		s.Groups[o.key] = g
	}
	switch o.kind {
	case putGroup:
		g.Name, g.Filter, g.there = o.name, o.filter, true
	case enqueue, release, dequeue:
		return g.apply(o)
	default:
		return fmt.Sprintf("%s under key %d, which is a group", o.kind, o.key)
	}
	return ""
}

// retain keeps the highest sequence, in whatever order they come. A removal takes away what has its own sequence too: it
// is that of the message when that has expired.
func (s *State) retain(o *op) {
	topic, seq := o.name, o.seq
	was := s.retainedSeq[topic] // sequences begin with 1
	switch {
	case o.kind == deleteRetained && seq >= was:
		delete(s.Retained, topic)
	case o.kind == putRetained && seq > was:
		s.Retained[topic] = o.m
	}
	s.retainedSeq[topic] = max(seq, was)
}

func (ss *Session) apply(o *op) (breach string) {
	switch o.kind {
	case enqueue, release, dequeue:
		return ss.Queue.apply(o)
	}
	if !ss.there {
		return fmt.Sprintf("%s under key %d, which has no session in the store", o.kind, o.key)
	}
	switch o.kind {
	case putSubscription:
		ss.Subscriptions[o.name] = Subscription{o.opts, o.subID}
	case deleteSubscription:
		delete(ss.Subscriptions, o.name)
	case putReceived:
		ss.Received[o.id] = o.m
	case deleteReceived:
		if _, ok := ss.Received[o.id]; !ok {
			return fmt.Sprintf("DeleteReceived under key %d (client %q) of packet id %d, which was not stored", o.key, ss.ClientID, o.id)
		}
		delete(ss.Received, o.id)
	case putWill:
		w := o.will
		ss.Will = &w
	case deleteWill:
		ss.Will = nil
	}
	return ""
}

func (q *Queue) apply(o *op) (breach string) {
	_, waits := q.Messages[o.seq]
	switch o.kind {
	case enqueue:
		switch {
		case waits || q.Released[o.seq]:
			return fmt.Sprintf("Enqueue under key %d with sequence %d, which is in its queue", o.key, o.seq)
		case q.gone[o.seq]:
			delete(q.gone, o.seq)
		default:
			q.Messages[o.seq] = o.queued
		}
	case release:
		if !waits {
			return fmt.Sprintf("Release under key %d of sequence %d, which is not in its queue", o.key, o.seq)
		}
		delete(q.Messages, o.seq)
		q.Released[o.seq] = true
	case dequeue:
		switch {
		case waits || q.Released[o.seq]:
			delete(q.Messages, o.seq)
			delete(q.Released, o.seq)
		case q.gone[o.seq]:
			return fmt.Sprintf("Dequeue twice under key %d of sequence %d, which is not in its queue", o.key, o.seq)
		default:
			q.gone[o.seq] = true
		}
	}
	return ""
}

// page is a part of the queue, as session.Store.ReadQueue gives it.
func (q *Queue) page(from, end uint64, maxItems, maxBytes int) (items []session.Item, next uint64) {
	size := 0
	for _, seq := range slices.Sorted(maps.Keys(q.Messages)) {
		if seq < from || seq >= end {
			continue
		}
		if len(items) > 0 && (len(items) >= maxItems || size >= maxBytes) {
			return items, seq
		}
		it := session.Item{Seq: seq, Queued: q.Messages[seq]}
		it.SubIDs = slices.Clone(it.SubIDs)
		items, size = append(items, it), size+it.M.Size()
	}
	return items, end
}

// load tells all of it.
func (s *State) load(to session.Loader) {
	sessions := slices.SortedFunc(maps.Values(s.keys), func(a, b *Session) int { return cmp.Compare(a.Key, b.Key) })
	sessions = slices.DeleteFunc(sessions, func(ss *Session) bool { return !ss.there })
	for _, ss := range sessions {
		r := ss.Record
		to.Session(&r)
	}
	groups := slices.Sorted(maps.Keys(s.Groups))
	for _, k := range groups {
		to.Group(k, s.Groups[k].Name, s.Groups[k].Filter)
	}
	for _, ss := range sessions {
		for _, f := range slices.Sorted(maps.Keys(ss.Subscriptions)) {
			to.Subscription(ss.Key, f, ss.Subscriptions[f].Options, ss.Subscriptions[f].ID)
		}
		for _, id := range slices.Sorted(maps.Keys(ss.Received)) {
			to.Received(ss.Key, id, ss.Received[id])
		}
		if ss.Will != nil {
			w := *ss.Will
			to.Will(ss.Key, &w)
		}
		ss.tell(ss.Key, to)
	}
	for _, k := range groups {
		s.Groups[k].tell(k, to)
	}
}

func (q *Queue) tell(k session.Key, to session.Loader) {
	if seqs := slices.Sorted(maps.Keys(q.Messages)); len(seqs) > 0 {
		to.Queue(k, seqs[0], seqs[len(seqs)-1], len(seqs))
	}
	for _, seq := range slices.Sorted(maps.Keys(q.Released)) {
		to.Released(k, seq)
	}
}

func (s *State) loadRetained(to session.Loader) {
	for _, topic := range slices.Sorted(maps.Keys(s.Retained)) {
		to.Retained(s.Retained[topic])
	}
}
