package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
	"pgregory.net/rapid"
)

// The cases of ContractKept. Each fills the store and a model of it with the same batches, and compares.

// mirror commits to a store and to a model of it.
type mirror struct {
	t    *testing.T
	s    Kept
	want *Late
}

func newMirror(t *testing.T, s Kept) *mirror {
	m := &mirror{t, s, NewLate(LateOptions{MaxRest: 1})}
	t.Cleanup(func() {
		if err := m.want.Close(); err != nil {
			t.Error(err)
		}
		if b := m.want.Breaches(); len(b) > 0 {
			t.Errorf("the test asks what no store can be asked: %s", strings.Join(b, "; "))
		}
	})
	return m
}

// commit fills two batches and waits for both.
func (m *mirror) commit(fill func(b session.Batch)) {
	m.t.Helper()
	commit(m.t, m.s, fill)
	commit(m.t, m.want, fill)
}

// same compares, and returns what the store has.
func (m *mirror) same() *State {
	m.t.Helper()
	got := m.s.State()
	if d := m.want.State().Diff(got); d != "" {
		m.t.Errorf("%s", d)
	}
	return got
}

// keepsSession: all that a session can have. It is told by hand what must be found, because the model could forget the
// same things.
func keepsSession(t *testing.T, s Kept) {
	record := session.Record{Key: 1<<40 | 5, ClientID: "c", Username: "u", Expiry: 60, Left: 1_700_000_000_123, Sent: 1<<40 | 7}
	m1, m2, in, will := note("a/b", "one", 1), note("a/c", "two", 2), note("in", "three", 2), note("w", "gone", 0)
	m2.Expires = 1_900_000_000_000
	kept := retainedNote("r", "kept", 3)
	const k = session.Key(1<<40 | 5)
	commit(t, s, func(b session.Batch) {
		b.PutSession(&record)
		b.PutSubscription(k, "a/#", mqtt.SubOptions(2), 7)
		b.PutSubscription(k, "$share/g/x", mqtt.SubOptions(1), 0)
		b.Enqueue(k, 4, queued(m1, 1))
		b.Enqueue(k, 5, &session.Queued{M: m2, QoS: 2, Retain: true, SubIDs: []uint32{7, 268_435_455}, Group: 9})
		b.Enqueue(k, 6, queued(m2, 2))
		b.PutReceived(k, 65535, in)
		b.PutReceived(k, 1, nil)
		b.PutRetained(kept)
		b.PutWill(k, &session.Will{M: will, Due: 1_700_000_000_000, Expiry: 0, Expires: true})
	})
	commit(t, s, func(b session.Batch) { b.Release(k, 6) })
	st := s.State()
	c := st.Sessions["c"]
	if c == nil {
		t.Fatal("the session is not there")
	}
	want := &Session{
		Record: record, Subscriptions: map[string]Subscription{"a/#": {2, 7}, "$share/g/x": {1, 0}},
		Received: map[uint16]*message.Message{65535: in, 1: nil},
		Will:     &session.Will{M: will, Due: 1_700_000_000_000, Expires: true},
		Queue: Queue{Messages: map[uint64]session.Queued{
			4: {M: m1, QoS: 1}, 5: {M: m2, QoS: 2, Retain: true, SubIDs: []uint32{7, 268_435_455}, Group: 9},
		}, Released: map[uint64]bool{6: true}},
	}
	want.diff(c, t.Errorf)
	if what := diffMessage(kept, st.Retained["r"]); what != "" {
		t.Error(what)
	}
}

func keepsGroup(t *testing.T, s Kept) {
	m := newMirror(t, s)
	m.commit(func(b session.Batch) {
		b.PutGroup(1, "g", "a/#")
		b.PutGroup(2, "g", "b/#")
		put(b, 3, "c")
		b.Enqueue(1, 1, queued(note("a/x", "one", 1), 1))
		b.Enqueue(2, 1, queued(note("b/x", "two", 1), 1))
		b.Enqueue(3, 1, &session.Queued{M: note("a/x", "three", 1), QoS: 1, Group: 1})
	})
	st := m.same()
	if g := st.Groups[1]; g == nil || g.Name != "g" || g.Filter != "a/#" || string(g.Messages[1].M.Payload) != "one" {
		t.Errorf("group 1 is %+v", g)
	}
	m.commit(func(b session.Batch) { b.DeleteGroup(1) })
	if st = m.same(); st.Groups[1] != nil || len(st.Groups) != 1 {
		t.Errorf("groups %v, want 2 alone", st.Groups)
	}
}

// keepsShapes: what is empty, long, or binary.
func keepsShapes(t *testing.T, s Kept) {
	m := newMirror(t, s)
	long := strings.Repeat("\x00long\xff", 50_000)
	nobody, anonymous := note("t", "x", 1), note("t", "x", 1)
	nobody.From, nobody.Props = nil, nil
	anonymous.From = &message.Identity{}
	list := []*message.Message{
		note("t", "", 0), note("t", long, 2), note(long[:65_535], "x", 1), nobody, anonymous, retainedNote("t", "", 1<<40|1),
	}
	m.commit(func(b session.Batch) {
		put(b, 1, "")
		put(b, 2, "two")
		for i, msg := range list {
			b.Enqueue(1, uint64(i), queued(msg, msg.QoS))
			b.PutReceived(1, uint16(i), msg)
			if i%2 == 0 { // and some by reference
				b.Enqueue(2, uint64(i)|1<<41, queued(msg, 2))
			}
		}
		b.PutRetained(retainedNote(long[:65_535], long, 1))
		b.PutRetained(retainedNote("", "", 2))
	})
	m.same()
}

// manyQueues: one body, and each queue ends on its own.
func manyQueues(t *testing.T, s Kept) {
	m := newMirror(t, s)
	const sessions = 20
	one, other := note("t", "one", 1), note("t", "other", 1)
	m.commit(func(b session.Batch) {
		for k := session.Key(1); k <= sessions; k++ {
			put(b, k, fmt.Sprint("c", k))
			b.Enqueue(k, uint64(k), &session.Queued{M: one, QoS: byte(k % 3), SubIDs: []uint32{uint32(k)}})
			b.Enqueue(k, uint64(k)+1, queued(other, 1))
		}
	})
	m.same()
	m.commit(func(b session.Batch) {
		for k := session.Key(1); k <= sessions; k++ {
			switch k % 4 {
			case 0:
				b.Dequeue(k, uint64(k))
			case 1:
				b.Release(k, uint64(k))
			case 2:
				b.DeleteSession(k)
			}
		}
	})
	m.same()
	m.commit(func(b session.Batch) {
		for k := session.Key(1); k <= sessions; k++ {
			if k%4 == 1 || k%4 == 3 {
				b.Dequeue(k, uint64(k))
			}
			if k%4 != 2 && k != sessions {
				b.Dequeue(k, uint64(k)+1)
			}
		}
	})
	st := m.same()
	if n := len(st.Session(sessions).Messages); n != 1 {
		t.Errorf("%d messages are left, want one", n)
	}
}

func deletes(t *testing.T, s Kept) {
	m := newMirror(t, s)
	m.commit(func(b session.Batch) {
		put(b, 1, "c")
		b.PutSubscription(1, "a", 0, 0)
		b.PutSubscription(1, "b", 0, 0)
		b.Enqueue(1, 1, queued(note("a", "x", 1), 1))
		b.Enqueue(1, 2, queued(note("a", "y", 1), 1))
		b.PutReceived(1, 1, note("a", "z", 2))
		b.PutReceived(1, 2, note("a", "z", 2))
		b.PutWill(1, &session.Will{M: note("w", "gone", 0), Due: 1})
		b.PutRetained(retainedNote("r", "kept", 1))
	})
	m.commit(func(b session.Batch) {
		b.DeleteSubscription(1, "a")
		b.DeleteSubscription(1, "never there")
		b.Dequeue(1, 1)
		b.DeleteReceived(1, 1)
		b.DeleteWill(1)
		b.DeleteWill(1)
		b.DeleteRetained("r", 2)
		b.DeleteRetained("never there", 3)
	})
	st := m.same()
	c := st.Sessions["c"]
	if len(c.Subscriptions) != 1 || len(c.Messages) != 1 || len(c.Received) != 1 || c.Will != nil || len(st.Retained) != 0 {
		t.Errorf("%+v is left, %d retained; want one subscription, one message, one packet id", c, len(st.Retained))
	}
}

// sessionGone: not by what comes late for it either, and its client's next session has nothing of it.
func sessionGone(t *testing.T, s Kept) {
	m := newMirror(t, s)
	fill := func(b session.Batch, k session.Key) {
		put(b, k, "c")
		b.PutSubscription(k, "a", 0, 0)
		b.Enqueue(k, 1, queued(note("a", "x", 1), 1))
		b.Enqueue(k, 2, queued(note("a", "x", 1), 2))
		b.Release(k, 2)
		b.PutReceived(k, 1, nil)
		b.PutWill(k, &session.Will{M: note("w", "gone", 0), Due: 1})
	}
	m.commit(func(b session.Batch) { fill(b, 1) })
	m.commit(func(b session.Batch) { b.DeleteSession(1) })
	if st := m.same(); st.Sessions["c"] != nil {
		t.Fatal("the deleted session is still there")
	}
	m.commit(func(b session.Batch) { b.Enqueue(1, 3, queued(note("a", "late", 1), 1)) })
	if st := m.same(); st.Sessions["c"] != nil {
		t.Fatal("the deleted session has come back")
	}
	m.commit(func(b session.Batch) { fill(b, 2) })
	m.commit(func(b session.Batch) {
		b.DeleteSession(2)
		put(b, 3, "c")
	})
	c := m.same().Sessions["c"]
	if c == nil || c.Key != 3 || len(c.Subscriptions)+len(c.Messages)+len(c.Released)+len(c.Received) != 0 || c.Will != nil {
		t.Errorf("the new session is %+v, want an empty one", c)
	}
	m.commit(func(b session.Batch) { // all in one batch
		fill(b, 4)
		b.DeleteSession(4)
		b.Enqueue(4, 3, queued(note("a", "late", 1), 1))
	})
	m.same()
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
	commit(t, s, func(b session.Batch) { // the same within one batch
		b.PutRetained(retainedNote("c", "old", 15))
		b.PutRetained(retainedNote("c", "new", 17))
		b.PutRetained(retainedNote("c", "between", 16))
		b.PutRetained(retainedNote("d", "x", 18))
		b.DeleteRetained("d", 19)
	})
	st := s.State()
	for topic, want := range map[string]string{"a": "new", "c": "new"} {
		if m := st.Retained[topic]; m == nil || string(m.Payload) != want {
			t.Errorf("retained on %s is %+v, want %s", topic, m, want)
		}
	}
	if len(st.Retained) != 2 {
		t.Errorf("%d topics are retained, want 2; a removal under the same or a later sequence was not heeded", len(st.Retained))
	}
	commit(t, s, func(b session.Batch) { b.PutRetained(retainedNote("a", "newest", 20)) })
	if m := s.State().Retained["a"]; m == nil || string(m.Payload) != "newest" {
		t.Errorf("retained on a is %+v, want newest", m)
	}
}

// earlyDequeue: the batch of a publish is handed over when it has been delivered to everybody; a quick receiver's
// acknowledgement may come before.
func earlyDequeue(t *testing.T, s Kept) {
	m := newMirror(t, s)
	base := s.State().Run << session.RunShift
	one := note("a", "x", 1)
	enqueue := func(seq uint64) func(session.Batch) {
		return func(b session.Batch) {
			b.Enqueue(1, base|seq, queued(one, 1))
			b.Enqueue(2, base|seq, queued(one, 1))
		}
	}
	m.commit(func(b session.Batch) {
		put(b, 1, "c")
		put(b, 2, "d")
	})
	m.commit(func(b session.Batch) { b.Dequeue(1, base|5) })
	m.commit(enqueue(5))
	m.commit(func(b session.Batch) { b.Dequeue(1, base|6); enqueue(6)(b) })
	m.commit(func(b session.Batch) { b.Dequeue(2, base|7) })
	m.commit(enqueue(8))
	m.commit(enqueue(7))
	st := m.same()
	if q := st.Session(1).Messages; len(q) != 2 {
		t.Errorf("queue 1 is %v, want sequences 7 and 8", q)
	}
	if q := st.Session(2).Messages; len(q) != 3 {
		t.Errorf("queue 2 is %v, want sequences 5, 6 and 8", q)
	}
}

func newRecord(t *testing.T, s Kept) {
	m := newMirror(t, s)
	m.commit(func(b session.Batch) {
		put(b, 1, "c")
		b.PutSubscription(1, "a", 1, 0)
		b.Enqueue(1, 1, queued(note("a", "x", 1), 1))
	})
	m.commit(func(b session.Batch) {
		b.PutSession(&session.Record{Key: 1, ClientID: "c", Username: "new", Expiry: 7, Left: 5, Sent: 2})
	})
	c := m.same().Sessions["c"]
	if c == nil || c.Expiry != 7 || c.Username != "new" || len(c.Subscriptions) != 1 || len(c.Messages) != 1 {
		t.Errorf("the session is %+v, want what it had and an expiry of 7", c)
	}
}

// separate: keys whose encodings might be each other's beginnings.
func separate(t *testing.T, s Kept) {
	m := newMirror(t, s)
	list := []session.Key{1, 2, 0xff, 0x100, 0x101, 0xffff, 1 << 40, 1<<40 | 1, 1<<63 | 1}
	m.commit(func(b session.Batch) {
		for _, k := range list {
			put(b, k, fmt.Sprint("c", k))
			b.PutSubscription(k, "a", 0, 0)
			b.PutReceived(k, uint16(k), nil)
			b.PutWill(k, &session.Will{M: note("w", fmt.Sprint(k), 0)})
			for _, seq := range []uint64{0, 1, 0xff, 0x100, 1 << 40, 1<<64 - 2} {
				b.Enqueue(k, seq, queued(note("t", fmt.Sprint(k, seq), 1), 1))
			}
		}
	})
	m.commit(func(b session.Batch) {
		for i, k := range list {
			if i%2 == 0 {
				b.DeleteSession(k)
			}
		}
	})
	if st := m.same(); len(st.Sessions) != len(list)/2 {
		t.Errorf("%d sessions, want %d", len(st.Sessions), len(list)/2)
	}
}

// pages: of a queue with holes, by count and by size.
func pages(t *testing.T, s Kept) {
	const k, n = session.Key(3), 100
	var want []uint64
	commit(t, s, func(b session.Batch) {
		put(b, k, "c")
		put(b, k+1, "other")
		for seq := uint64(1); seq <= n; seq++ {
			b.Enqueue(k, seq, queued(note("t", strings.Repeat("x", 1000), 1), 1))
			b.Enqueue(k+1, seq, queued(note("t", "not this one", 1), 1))
		}
	})
	commit(t, s, func(b session.Batch) {
		for seq := uint64(1); seq <= n; seq++ {
			if seq%10 == 0 || seq < 8 {
				b.Dequeue(k, seq)
			} else {
				want = append(want, seq)
			}
		}
	})
	read := func(from, end uint64, maxItems, maxBytes int) (seqs []uint64, next uint64) {
		t.Helper()
		items, next, err := readPage(s, k, from, end, maxItems, maxBytes)
		if err != nil {
			t.Fatalf("ReadQueue from %d to %d: %v", from, end, err)
		}
		for _, it := range items {
			seqs = append(seqs, it.Seq)
		}
		return seqs, next
	}
	var got []uint64
	for from := uint64(0); from < n+1; {
		seqs, next := read(from, n+1, 7, 1<<20)
		if len(seqs) > 7 {
			t.Fatalf("%d items on a page of 7", len(seqs))
		}
		got, from = append(got, seqs...), next
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages of 7 give %v, want %v", got, want)
	}
	if seqs, next := read(20, 31, 100, 1<<20); next != 31 || len(seqs) != 9 || seqs[0] != 21 || seqs[8] != 29 {
		t.Errorf("from 20 to 31: %v, next %d; want 21 to 29, next 31", seqs, next)
	}
	if seqs, next := read(0, n+1, 100, 5000); len(seqs) < 2 || len(seqs) > 8 || next <= seqs[len(seqs)-1] {
		t.Errorf("about 5000 bytes of messages of 1000: %v, next %d", seqs, next)
	}
	if seqs, next := read(0, n+1, 100, 1); len(seqs) != 1 || next > 9 {
		t.Errorf("1 byte: %v, next %d; want one item", seqs, next)
	}
	if seqs, next := read(0, 8, 100, 1000); len(seqs) != 0 || next != 8 {
		t.Errorf("where nothing is: %v, next %d; want nothing, next 8", seqs, next)
	}
	commit(t, s, func(b session.Batch) { b.DeleteSession(k) })
	if seqs, next := read(0, n+1, 100, 1000); next != n+1 && len(seqs) == 0 {
		t.Errorf("a queue that was deleted ends at %d, want %d", next, n+1)
	}
}

// anyBatches: whatever a broker may ask, in any order.
func anyBatches(t *testing.T, open func(t *testing.T) Kept) {
	rapid.Check(t, func(rt *rapid.T) {
		s := open(t)
		m := newMirror(t, s)
		g := new(script)
		look := func() {
			got := s.State()
			if d := m.want.State().Diff(got); d != "" {
				rt.Fatalf("%s", d)
			}
			g.restart(got.Run)
		}
		look()
		for range rapid.IntRange(1, 30).Draw(rt, "batches") {
			changes := g.batch(rt)
			m.commit(func(b session.Batch) {
				for _, c := range changes {
					c(b)
				}
			})
			if rapid.IntRange(0, 14).Draw(rt, "look") == 0 {
				look()
			}
		}
		look()
		if err := s.Close(); err != nil {
			rt.Fatalf("Close: %v", err)
		}
	})
}
