package pebble

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// count tells how many keys a space has.
func count(t *testing.T, s *Store, space byte) (n int) {
	t.Helper()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{space}, UpperBound: []byte{space + 1}})
	must1(t, err)
	for it.First(); it.Valid(); it.Next() {
		n++
	}
	must1(t, it.Close())
	return n
}

// settle waits until a space has so many keys.
func settle(t *testing.T, s *Store, space byte, want int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for got := -1; got != want; {
		select {
		case <-tick.C:
			got = count(t, s, space)
		case <-late:
			t.Fatalf("the space %c still has %d keys, want %d", space, got, want)
		}
	}
}

// sharedMessages gives every message to both queues.
func sharedMessages(t *testing.T, s *Store, base uint64, n int, keys ...session.Key) {
	t.Helper()
	fill(t, s, n, func(b session.Batch, i int) {
		m := benchMessage()
		m.Payload = make([]byte, 500)
		for _, k := range keys {
			if i == 0 {
				b.PutSession(&session.Record{Key: k, ClientID: fmt.Sprint("c", k)})
				b.PutSubscription(k, "a", 0, 0)
			}
			b.Enqueue(k, base+uint64(i), &session.Queued{M: m, QoS: 1})
		}
	})
}

// TestSegments: a message that two queues share lies there once, and is gone when both are done with it.
func TestSegments(t *testing.T) {
	r := openReopened(t, testOptions(t))
	base := r.run << session.RunShift
	const n = 3000
	sharedMessages(t, r.Store, base, n, 1, 2)
	if got := count(t, r.Store, spaceBody); got != n {
		t.Errorf("%d bodies of %d messages in two queues", got, n)
	}
	dequeue := func(k session.Key) {
		fill(t, r.Store, n, func(b session.Batch, i int) { b.Dequeue(k, base+uint64(i)) })
	}
	dequeue(1)
	if got := count(t, r.Store, spaceBody); got != n {
		t.Errorf("%d bodies of %d messages that one queue still has", got, n)
	}
	st := r.State() // opened anew: the counts are read
	if got := len(st.Session(2).Messages); got != n || len(st.Session(1).Messages) != 0 {
		t.Errorf("%d messages are left, want %d", got, n)
	}
	dequeue(2)
	if got, counts := count(t, r.Store, spaceBody), count(t, r.Store, spaceCount); got != 0 || counts != 0 {
		t.Errorf("%d bodies and %d counts are left that nobody needs", got, counts)
	}
	must1(t, r.Close())
}

// TestSweep: what a deleted session leaves goes away, with its part in the segments, also when the store was closed meanwhile.
func TestSweep(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		t.Run(fmt.Sprint("reopen=", reopen), func(t *testing.T) {
			r := openReopened(t, testOptions(t))
			base := r.run << session.RunShift
			const n = 2*sliceEntries + 500
			sharedMessages(t, r.Store, base, n, 1, 2)
			for _, k := range []session.Key{1, 2} {
				must1(t, answer(r.Store, func(b session.Batch) { b.DeleteSession(k) }))
				if reopen {
					r.State()
				}
				// Late, for a session that is no more.
				must1(t, answer(r.Store, func(b session.Batch) {
					b.Enqueue(k, base+n, &session.Queued{M: benchMessage(), QoS: 1})
					b.PutSubscription(k, "late", 0, 0)
				}))
				settle(t, r.Store, spaceDeleted, 0)
				if k == 1 {
					if got := count(t, r.Store, spaceQueue); got != n {
						t.Errorf("%d entries are left, want the other session's %d", got, n)
					}
				}
			}
			for _, space := range []byte{spaceQueue, spacePart, spaceSession} {
				if got := count(t, r.Store, space); got != 0 {
					t.Errorf("%d keys are left in the space %c", got, space)
				}
			}
			// Segments that were full go at once; the one that was being filled may wait for the next start.
			r.State()
			must1(t, answer(r.Store, func(b session.Batch) { b.PutSession(&session.Record{Key: 3, ClientID: "next"}) }))
			if bodies, counts := count(t, r.Store, spaceBody), count(t, r.Store, spaceCount); bodies != 0 || counts != 0 {
				t.Errorf("%d bodies and %d counts are left that nobody needs", bodies, counts)
			}
			must1(t, r.Close())
		})
	}
}

// TestSweepInterrupted: the store crashes at many moments while a long queue is swept.
func TestSweepInterrupted(t *testing.T) {
	mem := vfs.NewCrashableMem()
	o := testOptions(t)
	o.FS = mem
	r := openReopened(t, o)
	base := r.run << session.RunShift
	const n = 5 * sliceEntries
	sharedMessages(t, r.Store, base, n, 1, 2)
	must1(t, answer(r.Store, func(b session.Batch) { b.DeleteSession(1) }))
	var crashes []*vfs.MemFS
	for last := n; last > 0; {
		crashes = append(crashes, mem.CrashClone(vfs.CrashCloneCfg{}))
		last = count(t, r.Store, spaceQueue) - n
	}
	must1(t, r.Close())
	for _, fs := range crashes {
		o.FS = fs
		c := openReopened(t, o)
		settle(t, c.Store, spaceDeleted, 0)
		if got := count(t, c.Store, spaceQueue); got != n {
			t.Errorf("%d entries are left, want the other session's %d", got, n)
		}
		fill(t, c.Store, n, func(b session.Batch, i int) { b.Dequeue(2, base+uint64(i)) })
		st := c.State()
		must1(t, answer(c.Store, func(b session.Batch) { b.PutSession(&session.Record{Key: 3, ClientID: "next"}) }))
		if bodies := count(t, c.Store, spaceBody); bodies != 0 || len(st.Session(2).Messages) != 0 {
			t.Errorf("%d bodies are left that nobody needs: the counts are wrong", bodies)
		}
		must1(t, c.Close())
	}
	if len(crashes) < 2 {
		t.Errorf("only %d crashes while the queue was swept", len(crashes))
	}
}

// TestFanOutSize: a message for 10,000 absent sessions grows the store by itself and small references.
func TestFanOutSize(t *testing.T) {
	r := openReopened(t, testOptions(t))
	base := r.run << session.RunShift
	const receivers = 10_000
	m := (&message.Message{Topic: "site/1/news", Payload: make([]byte, 10_000), QoS: 1}).MarkOwned()
	b := r.NewBatch().(*batch)
	for k := range session.Key(receivers) {
		b.Enqueue(session.Key(base)+k, base+1, &session.Queued{M: m, QoS: 1, SubIDs: []uint32{7}, Group: session.Key(base)})
	}
	s := r.Store
	g := &group{batches: []*batch{b}, pb: s.db.NewBatch()}
	a := applier{s: s, run: r.run, segments: segments{live: map[uint64]int64{}, delta: map[uint64]int64{}, next: r.run << segmentShift}}
	a.apply(g)
	if size := g.pb.Len(); size > len(m.Payload)+64*receivers {
		t.Errorf("the commit has %d bytes, want at most the message and 64 for each of %d receivers: it is %d for each",
			size, receivers, (size-len(m.Payload))/receivers)
	}
	must1(t, g.pb.Close())
	must1(t, r.Close())
}

// TestRecent: what was put in is found for one turn at least, and not after two.
func TestRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recent[int, string]
		turn := func(most int) { r.turn(time.Now(), memory, leastMemory, most) }
		has := func(k int) bool { _, ok := r.get(k); return ok }
		turn(10)
		r.put(1, "one")
		time.Sleep(memory - time.Second)
		turn(10)
		r.put(2, "two")
		time.Sleep(2 * time.Second)
		turn(10)
		if !has(1) || !has(2) {
			t.Error("something was forgotten after one turn")
		}
		r.delete(1)
		if has(1) {
			t.Error("a deletion left it")
		}
		time.Sleep(memory)
		turn(10)
		if has(2) || r.len() != 0 {
			t.Error("something is remembered after two turns")
		}
		for k := range 100 {
			r.put(k, "")
		}
		turn(10)
		if !has(0) {
			t.Error("forgotten before its least time, because there is much")
		}
		time.Sleep(leastMemory)
		turn(10)
		r.put(1000, "")
		if !has(0) {
			t.Error("forgotten by the first turn")
		}
		time.Sleep(memory)
		turn(10)
		if has(0) || !has(1000) {
			t.Error("much is not forgotten by the second turn")
		}
	})
}

// TestLazy: batches that nobody waits for are written soon, and not synced.
func TestLazy(t *testing.T) {
	r := openReopened(t, testOptions(t))
	synced := r.Stats().Syncs
	b := r.NewBatch()
	b.PutSession(&session.Record{Key: 1, ClientID: "c"})
	start := time.Now()
	b.Commit(nil)
	settle(t, r.Store, spaceSession, 1)
	if took := time.Since(start); took > 10*lazyTime {
		t.Errorf("it was written after %v", took)
	}
	if n := r.Stats().Syncs - synced; n != 0 {
		t.Errorf("%d syncs for what nobody waits for", n)
	}
	must1(t, answer(r.Store, func(b session.Batch) { b.PutSubscription(1, "a", 0, 0) }))
	if st := r.Stats(); st.Syncs == synced || st.Commits < 2 || st.Batches < 2 || st.SyncP99 < st.SyncP50 || st.SyncP50 == 0 {
		t.Errorf("stats %+v", st)
	}
	must1(t, r.Close())
}

// TestEarlyOfRefused: an entry that was dequeued before it was to be stored is not waited for once that was refused.
func TestEarlyOfRefused(t *testing.T) {
	r := openReopened(t, testOptions(t))
	p := place{1, r.run<<session.RunShift | 1}
	must1(t, answer(r.Store, func(b session.Batch) { b.Dequeue(p.key, p.seq) }))
	remembered := func() (ok bool) {
		must1(t, r.Store.onCommitter(func(a *applier) { _, ok = a.early.get(p) }))
		return ok
	}
	if !remembered() {
		t.Error("the removal is not remembered")
	}
	r.space.full.Store(&session.ErrRefused{Reason: "full"})
	if err := answer(r.Store, func(b session.Batch) { b.Enqueue(p.key, p.seq, &session.Queued{M: benchMessage(), QoS: 1}) }); err == nil {
		t.Error("a full store takes a message")
	}
	if remembered() {
		t.Error("the removal is still remembered")
	}
	must1(t, r.Close())
}
