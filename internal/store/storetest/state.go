package storetest

import (
	"fmt"
	"maps"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// State is what a store holds: what a restart would find.
type State struct {
	Sessions map[string]*Session
	Retained map[string]*message.Message // by topic
	// Wills are those that wait for their delay, by client id.
	Wills map[string]Will
	// retainedSeq is the highest sequence given per topic, of a message or of its removal.
	retainedSeq map[string]uint64
}

// Session is one session in the store.
type Session struct {
	Expiry        uint32 // seconds
	Subscriptions map[string]Subscription
	Queue         map[uint64]Queued // by sequence
	// Received are incoming QoS 2 messages by packet id; nil: refused, only its id counts.
	Received map[uint16]*message.Message
	// gone are sequences that were dequeued before they were enqueued: a publish hands its batch over when it has been
	// delivered to everybody, and the first receivers may be quicker.
	gone map[uint64]bool
}

// Subscription is one subscription of a session.
type Subscription struct {
	Options mqtt.SubOptions
	ID      uint32 // subscription identifier; 0: none
}

// Queued is one message in a session's queue.
type Queued struct {
	M        *message.Message
	Grant    session.Grant
	Retain   bool
	Released bool // PUBREC was received
}

// Will is a will that waits.
type Will struct {
	M   *message.Message
	Due int64 // unix milliseconds
}

// NewState is an empty store's.
func NewState() *State {
	return &State{
		Sessions: make(map[string]*Session), Retained: make(map[string]*message.Message),
		Wills: make(map[string]Will), retainedSeq: make(map[string]uint64),
	}
}

// Clone copies all that can change.
func (s *State) Clone() *State {
	c := &State{
		Sessions: make(map[string]*Session, len(s.Sessions)), Retained: maps.Clone(s.Retained),
		Wills: maps.Clone(s.Wills), retainedSeq: maps.Clone(s.retainedSeq),
	}
	for id, ss := range s.Sessions {
		cs := *ss
		cs.Subscriptions, cs.Queue, cs.Received = maps.Clone(ss.Subscriptions), maps.Clone(ss.Queue), maps.Clone(ss.Received)
		cs.gone = maps.Clone(ss.gone)
		c.Sessions[id] = &cs
	}
	return c
}

// Subscriptions counts those of all sessions.
func (s *State) Subscriptions() (n int) {
	for _, ss := range s.Sessions {
		n += len(ss.Subscriptions)
	}
	return n
}

// Leftovers counts queue entries that were removed and never came: once nothing is on its way, there should be none.
func (s *State) Leftovers() (n int) {
	for _, ss := range s.Sessions {
		n += len(ss.gone)
	}
	return n
}

// op is one change of a batch.
type op struct {
	kind   opKind
	client string
	name   string // filter or topic
	seq    uint64
	id     uint16
	n      uint32 // expiry, or subscription identifier
	opts   mqtt.SubOptions
	m      *message.Message
	grant  session.Grant
	retain bool
	due    int64
}

type opKind uint8

const (
	putSession opKind = iota
	deleteSession
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

var opNames = [...]string{"PutSession", "DeleteSession", "PutSubscription", "DeleteSubscription", "Enqueue", "Release",
	"Dequeue", "PutReceived", "DeleteReceived", "PutRetained", "DeleteRetained", "PutWill", "DeleteWill"}

func (k opKind) String() string { return opNames[k] }

// apply makes one change. breach says what no store could make sense of; the change is then left out.
func (s *State) apply(o *op) (breach string) {
	switch o.kind {
	case putSession:
		ss := s.Sessions[o.client]
		if ss == nil {
			ss = &Session{Subscriptions: make(map[string]Subscription), Queue: make(map[uint64]Queued), Received: make(map[uint16]*message.Message), gone: make(map[uint64]bool)}
			s.Sessions[o.client] = ss
		}
		ss.Expiry = o.n
	case deleteSession:
		delete(s.Sessions, o.client)
	case putRetained, deleteRetained:
		s.retain(o)
	case putWill:
		s.Wills[o.client] = Will{o.m, o.due}
	case deleteWill:
		delete(s.Wills, o.client)
	default:
		ss := s.Sessions[o.client]
		if ss == nil {
			return fmt.Sprintf("%s for client %q, which has no session in the store", o.kind, o.client)
		}
		return ss.apply(o)
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
	case putSubscription:
		ss.Subscriptions[o.name] = Subscription{o.opts, o.n}
	case deleteSubscription:
		delete(ss.Subscriptions, o.name)
	case enqueue:
		if _, twice := ss.Queue[o.seq]; twice {
			return fmt.Sprintf("Enqueue for client %q under sequence %d, which is in its queue", o.client, o.seq)
		}
		if ss.gone[o.seq] {
			delete(ss.gone, o.seq)
			return ""
		}
		ss.Queue[o.seq] = Queued{M: o.m, Grant: o.grant, Retain: o.retain}
	case release:
		q, ok := ss.Queue[o.seq]
		if !ok {
			return fmt.Sprintf("Release for client %q of sequence %d, which is not in its queue", o.client, o.seq)
		}
		q.Released = true
		ss.Queue[o.seq] = q
	case dequeue:
		if _, ok := ss.Queue[o.seq]; !ok {
			if ss.gone[o.seq] {
				return fmt.Sprintf("Dequeue twice for client %q of sequence %d, which is not in its queue", o.client, o.seq)
			}
			ss.gone[o.seq] = true
			return ""
		}
		delete(ss.Queue, o.seq)
	case putReceived:
		ss.Received[o.id] = o.m
	case deleteReceived:
		if _, ok := ss.Received[o.id]; !ok {
			return fmt.Sprintf("DeleteReceived for client %q of packet id %d, which was not stored", o.client, o.id)
		}
		delete(ss.Received, o.id)
	}
	return ""
}
