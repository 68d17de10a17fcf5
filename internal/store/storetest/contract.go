package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// patience is how long a commit may take before a test gives it up.
const patience = 20 * time.Second

// Contract holds a store to what session.Store and session.Batch promise about commits, whatever it keeps. open starts an
// empty store; the contract closes it.
func Contract(t *testing.T, open func(t *testing.T) session.Store) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s session.Store)
	}{
		{"every change commits, and calls back once", everyChange},
		{"an empty batch commits", emptyBatch},
		{"a commit that nobody waits for", nobodyWaits},
		{"a callback may begin and commit a batch", commitInCallback},
		{"commits from many goroutines all call back", manyGoroutines},
		{"an abandoned batch does no harm", abandoned},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			c.run(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	t.Run("Close waits for what was handed over", func(t *testing.T) { closeWaits(t, open(t)) })
}

// Kept is a store whose content can be read back.
type Kept interface {
	session.Store
	// State is what the store holds of the batches whose callbacks have come. For a durable store that is what a restart
	// finds.
	State() *State
}

// ContractKept holds a store that keeps things to what they must look like afterwards.
func ContractKept(t *testing.T, open func(t *testing.T) Kept) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s Kept)
	}{
		{"a session with all it has", keepsSession},
		{"a group with its queue", keepsGroup},
		{"messages of all shapes", keepsShapes},
		{"one message in many queues", manyQueues},
		{"deletions", deletes},
		{"a deleted session does not come back", sessionGone},
		{"the highest sequence of a retained topic counts, not the last commit", highestRetained},
		{"a message dequeued before it was enqueued", earlyDequeue},
		{"PutSession again changes the record alone", newRecord},
		{"keys do not mix", separate},
		{"pages of a queue", pages},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			c.run(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	t.Run("any batches", func(t *testing.T) { anyBatches(t, open) })
}

// commit fills a batch, commits it and waits for its answer, which must be nil.
func commit(t *testing.T, s session.Store, fill func(b session.Batch)) {
	t.Helper()
	b := s.NewBatch()
	fill(b)
	answer := make(chan error, 1)
	b.Commit(func(err error) { answer <- err })
	select {
	case err := <-answer:
		if err != nil {
			t.Fatalf("commit: %v", err)
		}
	case <-time.After(patience):
		t.Fatalf("the commit was not answered within %v", patience)
	}
}

// note makes a message that may be kept.
func note(topic, payload string, qos byte) *message.Message {
	m := &message.Message{
		Topic: topic, Payload: []byte(payload), QoS: qos, From: &message.Identity{ClientID: "from", Username: "user"},
		Props: []byte{3, 0, 1, 'x'}, // a content type
	}
	return m.MarkOwned()
}

// retainedNote is note as a retained message under a sequence.
func retainedNote(topic, payload string, seq uint64) *message.Message {
	m := note(topic, payload, 1)
	m.Retain, m.Seq = true, seq
	return m
}

// put records a session that stays for an hour.
func put(b session.Batch, k session.Key, clientID string) {
	b.PutSession(&session.Record{Key: k, ClientID: clientID, Expiry: 3600})
}

// queued is a message as it waits in a queue.
func queued(m *message.Message, qos byte) *session.Queued { return &session.Queued{M: m, QoS: qos} }

// keys numbers those of a test, for stores that are given more than one filling: none is used twice.
type keys struct{ last atomic.Uint64 }

func (k *keys) next() session.Key { return session.Key(k.last.Add(1)) }

// fillAll makes every change there is, under a new key.
func (k *keys) fillAll(b session.Batch) {
	c, g := k.next(), k.next()
	put(b, c, "c")
	b.PutGroup(g, "g", "a/#")
	b.PutSubscription(c, "a/#", mqtt.SubOptions(2), 7)
	b.DeleteSubscription(c, "a/#")
	b.Enqueue(c, 1, &session.Queued{M: note("a/b", "x", 2), QoS: 2, SubIDs: []uint32{7}, Retain: true})
	b.Enqueue(g, 1, queued(note("a/b", "x", 2), 2))
	b.Release(c, 1)
	b.Dequeue(c, 1)
	b.PutReceived(c, 9, note("a/b", "x", 2))
	b.PutReceived(c, 10, nil)
	b.DeleteReceived(c, 9)
	b.PutRetained(retainedNote("a/b", "x", 1))
	b.DeleteRetained("a/b", 2)
	b.PutWill(c, &session.Will{M: note("w", "gone", 0), Due: 1_700_000_000_000})
	b.DeleteWill(c)
	b.DeleteGroup(g)
	b.DeleteSession(c)
}

func everyChange(t *testing.T, s session.Store) {
	var k keys
	var calls atomic.Int32
	b := s.NewBatch()
	k.fillAll(b)
	put(b, 1000, "other")
	b.Commit(func(err error) {
		if err != nil {
			t.Errorf("commit: %v", err)
		}
		calls.Add(1)
	})
	commit(t, s, func(b session.Batch) { // touches the same session, so that the first has been answered before
		k.fillAll(b)
		put(b, 1000, "other")
	})
	if n := calls.Load(); n != 1 {
		t.Errorf("the callback came %d times, want once", n)
	}
}

func emptyBatch(t *testing.T, s session.Store) { commit(t, s, func(session.Batch) {}) }

// nobodyWaits: what was committed so is there when a batch handed over later is.
func nobodyWaits(t *testing.T, s session.Store) {
	b := s.NewBatch()
	put(b, 1, "c")
	b.Commit(nil)
	commit(t, s, func(b session.Batch) { b.PutSubscription(1, "a", 0, 0) })
	b = s.NewBatch()
	b.DeleteSubscription(1, "a")
	b.Commit(nil)
}

func commitInCallback(t *testing.T, s session.Store) {
	var k keys
	answer := make(chan error, 1)
	b := s.NewBatch()
	k.fillAll(b)
	b.Commit(func(err error) {
		if err != nil {
			answer <- err
			return
		}
		next := s.NewBatch()
		k.fillAll(next)
		next.Commit(func(err error) { answer <- err })
	})
	select {
	case err := <-answer:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatalf("not answered within %v", patience)
	}
}

func manyGoroutines(t *testing.T, s session.Store) {
	const goroutines, each = 8, 50
	var answered sync.WaitGroup
	answered.Add(goroutines * each)
	for g := range goroutines {
		go func() {
			k := session.Key(g + 1)
			for i := range each {
				b := s.NewBatch()
				b.PutSession(&session.Record{Key: k, ClientID: fmt.Sprint("c", g), Expiry: uint32(i)})
				b.Enqueue(k, uint64(i), queued(note("t", "x", 1), 1))
				b.Commit(func(err error) {
					if err != nil {
						t.Errorf("commit: %v", err)
					}
					answered.Done()
				})
			}
		}()
	}
	all := make(chan struct{})
	go func() { answered.Wait(); close(all) }()
	select {
	case <-all:
	case <-time.After(patience):
		t.Fatalf("not all of %d commits were answered within %v", goroutines*each, patience)
	}
}

func abandoned(t *testing.T, s session.Store) {
	new(keys).fillAll(s.NewBatch())
	commit(t, s, func(b session.Batch) { put(b, 1000, "other") })
}

func closeWaits(t *testing.T, s session.Store) {
	const n = 100
	var calls atomic.Int32
	for i := range n {
		b := s.NewBatch()
		put(b, session.Key(i+1), fmt.Sprint("c", i))
		b.Commit(func(error) { calls.Add(1) })
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if got := calls.Load(); got != n {
		t.Errorf("when Close returned, %d of %d commits had been answered", got, n)
	}
}
