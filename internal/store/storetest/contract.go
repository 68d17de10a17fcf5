package storetest

import (
	"fmt"
	"maps"
	"slices"
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
		{"deletions", deletes},
		{"a deleted session begins anew", sessionAnew},
		{"the highest sequence of a retained topic counts, not the last commit", highestRetained},
		{"a message dequeued before it was enqueued", earlyDequeue},
		{"PutSession again changes the expiry alone", newExpiry},
		{"sessions do not mix", separate},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			c.run(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
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

// fillAll makes every change there is.
func fillAll(b session.Batch) {
	b.PutSession("c", 60)
	b.PutSubscription("c", "a/#", mqtt.SubOptions(2), 7)
	b.DeleteSubscription("c", "a/#")
	b.Enqueue("c", 1, note("a/b", "x", 2), &session.Grant{QoS: 2, SubIDs: []uint32{7}}, true)
	b.Release("c", 1)
	b.Dequeue("c", 1)
	b.PutReceived("c", 9, note("a/b", "x", 2))
	b.PutReceived("c", 10, nil)
	b.DeleteReceived("c", 9)
	b.PutRetained(retainedNote("a/b", "x", 1))
	b.DeleteRetained("a/b", 2)
	b.PutWill("c", note("w", "gone", 0), 1_700_000_000_000)
	b.DeleteWill("c")
	b.DeleteSession("c")
}

func everyChange(t *testing.T, s session.Store) {
	var calls atomic.Int32
	b := s.NewBatch()
	fillAll(b)
	b.Commit(func(err error) {
		if err != nil {
			t.Errorf("commit: %v", err)
		}
		calls.Add(1)
	})
	commit(t, s, fillAll) // touches the same session, so that the first has been answered before
	if n := calls.Load(); n != 1 {
		t.Errorf("the callback came %d times, want once", n)
	}
}

func emptyBatch(t *testing.T, s session.Store) { commit(t, s, func(session.Batch) {}) }

func commitInCallback(t *testing.T, s session.Store) {
	answer := make(chan error, 1)
	b := s.NewBatch()
	fillAll(b)
	b.Commit(func(err error) {
		if err != nil {
			answer <- err
			return
		}
		next := s.NewBatch()
		fillAll(next)
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
			for i := range each {
				b := s.NewBatch()
				id := fmt.Sprint("c", g)
				b.PutSession(id, uint32(i))
				b.Enqueue(id, uint64(i), note("t", "x", 1), &session.Grant{QoS: 1}, false)
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
	fillAll(s.NewBatch())
	commit(t, s, func(b session.Batch) { b.PutSession("other", 1) })
}

func closeWaits(t *testing.T, s session.Store) {
	const n = 100
	var calls atomic.Int32
	for i := range n {
		b := s.NewBatch()
		b.PutSession(fmt.Sprint("c", i), 1)
		b.Commit(func(error) { calls.Add(1) })
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if got := calls.Load(); got != n {
		t.Errorf("when Close returned, %d of %d commits had been answered", got, n)
	}
}

// Long: one batch with all that a session can have, and what must be found of it.
func keepsSession(t *testing.T, s Kept) {
	m1, m2, in, will := note("a/b", "one", 1), note("a/c", "two", 2), note("in", "three", 2), note("w", "gone", 0)
	m2.Expires = 1_900_000_000_000
	kept := retainedNote("r", "kept", 3)
	commit(t, s, func(b session.Batch) {
		b.PutSession("c", 60)
		b.PutSubscription("c", "a/#", mqtt.SubOptions(2), 7)
		b.PutSubscription("c", "$share/g/x", mqtt.SubOptions(1), 0)
		b.Enqueue("c", 4, m1, &session.Grant{QoS: 1}, false)
		b.Enqueue("c", 5, m2, &session.Grant{QoS: 2, SubIDs: []uint32{7, 9}}, true)
		b.PutReceived("c", 65535, in)
		b.PutReceived("c", 1, nil)
		b.PutRetained(kept)
		b.PutWill("c", will, 1_700_000_000_000)
	})
	commit(t, s, func(b session.Batch) { b.Release("c", 5) })
	st := s.State()
	c := st.Sessions["c"]
	if c == nil {
		t.Fatal("the session is not there")
	}
	if c.Expiry != 60 {
		t.Errorf("expiry %d, want 60", c.Expiry)
	}
	want := map[string]Subscription{"a/#": {2, 7}, "$share/g/x": {1, 0}}
	if !maps.Equal(c.Subscriptions, want) {
		t.Errorf("subscriptions %v, want %v", c.Subscriptions, want)
	}
	if len(c.Queue) != 2 {
		t.Fatalf("%d messages in the queue, want 2", len(c.Queue))
	}
	q4, q5 := c.Queue[4], c.Queue[5]
	sameMessage(t, "sequence 4", q4.M, m1)
	sameMessage(t, "sequence 5", q5.M, m2)
	if q4.Retain || q4.Released || q4.Grant.QoS != 1 {
		t.Errorf("sequence 4 is %+v", q4)
	}
	if !q5.Retain || !q5.Released || q5.Grant.QoS != 2 || !slices.Equal(q5.Grant.SubIDs, []uint32{7, 9}) {
		t.Errorf("sequence 5 is %+v", q5)
	}
	sameMessage(t, "packet id 65535", c.Received[65535], in)
	if m, ok := c.Received[1]; !ok || m != nil {
		t.Errorf("packet id 1 of a refused message: %v, present %t; want no message, present", m, ok)
	}
	sameMessage(t, "retained", st.Retained["r"], kept)
	sameMessage(t, "will", st.Wills["c"].M, will)
	if st.Wills["c"].Due != 1_700_000_000_000 {
		t.Errorf("the will is due at %d", st.Wills["c"].Due)
	}
}

func sameMessage(t *testing.T, what string, got, want *message.Message) {
	t.Helper()
	if got == nil {
		t.Errorf("%s: no message, want %q", what, want.Payload)
		return
	}
	if got.Topic != want.Topic || string(got.Payload) != string(want.Payload) || string(got.Props) != string(want.Props) ||
		got.QoS != want.QoS || got.Retain != want.Retain || got.Expires != want.Expires || *got.From != *want.From {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

func deletes(t *testing.T, s Kept) {
	commit(t, s, func(b session.Batch) {
		b.PutSession("c", 60)
		b.PutSubscription("c", "a", 0, 0)
		b.PutSubscription("c", "b", 0, 0)
		b.Enqueue("c", 1, note("a", "x", 1), &session.Grant{QoS: 1}, false)
		b.Enqueue("c", 2, note("a", "y", 1), &session.Grant{QoS: 1}, false)
		b.PutReceived("c", 1, note("a", "z", 2))
		b.PutReceived("c", 2, note("a", "z", 2))
		b.PutWill("c", note("w", "gone", 0), 1)
		b.PutRetained(retainedNote("r", "kept", 1))
	})
	commit(t, s, func(b session.Batch) {
		b.DeleteSubscription("c", "a")
		b.DeleteSubscription("c", "never there")
		b.Dequeue("c", 1)
		b.DeleteReceived("c", 1)
		b.DeleteWill("c")
		b.DeleteWill("nobody")
		b.DeleteRetained("r", 2)
		b.DeleteRetained("never there", 3)
	})
	st := s.State()
	c := st.Sessions["c"]
	if _, ok := c.Subscriptions["b"]; len(c.Subscriptions) != 1 || !ok {
		t.Errorf("subscriptions %v, want b alone", c.Subscriptions)
	}
	if _, ok := c.Queue[2]; len(c.Queue) != 1 || !ok {
		t.Errorf("queue %v, want sequence 2 alone", c.Queue)
	}
	if _, ok := c.Received[2]; len(c.Received) != 1 || !ok {
		t.Errorf("received %v, want packet id 2 alone", c.Received)
	}
	if len(st.Wills) != 0 || len(st.Retained) != 0 {
		t.Errorf("%d wills and %d retained messages are left", len(st.Wills), len(st.Retained))
	}
}

func sessionAnew(t *testing.T, s Kept) {
	fill := func(b session.Batch) {
		b.PutSession("c", 60)
		b.PutSubscription("c", "a", 0, 0)
		b.Enqueue("c", 1, note("a", "x", 1), &session.Grant{QoS: 1}, false)
		b.PutReceived("c", 1, nil)
	}
	commit(t, s, fill)
	commit(t, s, func(b session.Batch) { b.DeleteSession("c") })
	if st := s.State(); st.Sessions["c"] != nil {
		t.Fatal("the deleted session is still there")
	}
	commit(t, s, fill)
	commit(t, s, func(b session.Batch) {
		b.DeleteSession("c")
		b.PutSession("c", 5)
	})
	c := s.State().Sessions["c"]
	if c == nil || c.Expiry != 5 || len(c.Subscriptions)+len(c.Queue)+len(c.Received) != 0 {
		t.Errorf("the new session is %+v, want an empty one of 5 s", c)
	}
}

func highestRetained(t *testing.T, s Kept) {
	commit(t, s, func(b session.Batch) { b.PutRetained(retainedNote("a", "new", 9)) })
	commit(t, s, func(b session.Batch) { b.PutRetained(retainedNote("a", "old", 8)) })
	commit(t, s, func(b session.Batch) { b.DeleteRetained("a", 7) })
	commit(t, s, func(b session.Batch) { b.DeleteRetained("b", 12) })
	commit(t, s, func(b session.Batch) { b.PutRetained(retainedNote("expired", "x", 13)) })
	commit(t, s, func(b session.Batch) { b.DeleteRetained("expired", 13) })
	commit(t, s, func(b session.Batch) { b.DeleteRetained("expired late", 14) })
	commit(t, s, func(b session.Batch) { b.PutRetained(retainedNote("expired late", "x", 14)) })
	commit(t, s, func(b session.Batch) { b.PutRetained(retainedNote("b", "older than its removal", 11)) })
	st := s.State()
	if m := st.Retained["a"]; m == nil || string(m.Payload) != "new" {
		t.Errorf("retained on a is %v, want the message of sequence 9", m)
	}
	if m := st.Retained["b"]; m != nil {
		t.Errorf("retained on b is %q, but a later sequence removed it", m.Payload)
	}
	if st.Retained["expired"] != nil || st.Retained["expired late"] != nil {
		t.Error("a message is retained that was removed under its own sequence")
	}
}

// earlyDequeue: the batch of a publish is handed over when it has been delivered to everybody; a quick receiver's
// acknowledgement may come before.
func earlyDequeue(t *testing.T, s Kept) {
	enqueue := func(b session.Batch) { b.Enqueue("c", 5, note("a", "x", 1), &session.Grant{QoS: 1}, false) }
	commit(t, s, func(b session.Batch) { b.PutSession("c", 60) })
	commit(t, s, func(b session.Batch) { b.Dequeue("c", 5) })
	commit(t, s, enqueue)
	if q := s.State().Sessions["c"].Queue; len(q) != 0 {
		t.Errorf("queue %v, want it empty", q)
	}
	commit(t, s, func(b session.Batch) {
		b.DeleteSession("c")
		b.PutSession("c", 60)
		b.Dequeue("c", 5)
		b.DeleteSession("c")
		b.PutSession("c", 60)
	})
	commit(t, s, enqueue)
	if q := s.State().Sessions["c"].Queue; len(q) != 1 {
		t.Errorf("queue %v: what another session of the client dequeued is not this one's", q)
	}
}

func newExpiry(t *testing.T, s Kept) {
	commit(t, s, func(b session.Batch) {
		b.PutSession("c", 60)
		b.PutSubscription("c", "a", 1, 0)
	})
	commit(t, s, func(b session.Batch) { b.PutSession("c", 7) })
	if c := s.State().Sessions["c"]; c == nil || c.Expiry != 7 || len(c.Subscriptions) != 1 {
		t.Errorf("the session is %+v, want the same subscription with an expiry of 7", c)
	}
}

func separate(t *testing.T, s Kept) {
	ids := []string{"c", "c1", "c/1", "C", "c\u0000", ""}
	commit(t, s, func(b session.Batch) {
		for i, id := range ids {
			b.PutSession(id, uint32(i+1))
			b.Enqueue(id, 1, note(id+"t", "x", 1), &session.Grant{QoS: 1}, false)
		}
	})
	commit(t, s, func(b session.Batch) { b.DeleteSession("c") })
	st := s.State()
	if len(st.Sessions) != len(ids)-1 || st.Sessions["c"] != nil {
		t.Errorf("%d sessions, want %d without c", len(st.Sessions), len(ids)-1)
	}
	for _, id := range ids[1:] {
		if c := st.Sessions[id]; c == nil || len(c.Queue) != 1 || c.Queue[1].M.Topic != id+"t" {
			t.Errorf("client %q has %+v", id, c)
		}
	}
}
