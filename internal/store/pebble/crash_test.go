package pebble

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/store/storetest"
)

// script is what one loop does to a store, batch by batch: batch n puts, shares, receives and retains message n, and removes
// what is older than kept. After any crash the store must be what some number of batches have made of it, and at least as
// many as were answered.
type script struct {
	id       int
	n        int // batches handed over
	base     uint64
	seqs     []uint64 // of message n
	answered atomic.Int64
	failed   atomic.Int64
}

const (
	kept  = 10 // messages stay in a queue for so many batches
	epoch = 50 // a session lives for so many batches
)

func (c *script) lasting() session.Key { return session.Key(1_000_000*(c.id+1) + 1) }
func (c *script) group() session.Key   { return session.Key(1_000_000*(c.id+1) + 2) }
func (c *script) brief(n int) session.Key {
	return session.Key(1_000_000*(c.id+1) + 10 + n/epoch)
}

func (c *script) payload(n int) []byte {
	return fmt.Appendf(make([]byte, 0, 1000), "%d/%d ", c.id, n)[:1000]
}

func (c *script) message(n int) *message.Message {
	return (&message.Message{Topic: "t", Payload: c.payload(n), QoS: 1}).MarkOwned()
}

// fill makes the next batch.
func (c *script) fill(b session.Batch) {
	c.n++
	n := c.n
	for len(c.seqs) <= n {
		c.seqs = append(c.seqs, 0)
	}
	seq := c.base + uint64(n)
	c.seqs[n] = seq
	m := c.message(n)
	if n == 1 {
		b.PutGroup(c.group(), "g", "f")
	}
	if n == 1 || n%epoch == 0 {
		if n > 1 {
			b.DeleteSession(c.brief(n - 1))
		}
		b.PutSession(&session.Record{Key: c.brief(n), ClientID: fmt.Sprint("brief-", c.id)})
	}
	b.PutSession(&session.Record{Key: c.lasting(), ClientID: fmt.Sprint("c-", c.id), Sent: uint64(n), Expiry: 60})
	b.Enqueue(c.lasting(), seq, &session.Queued{M: m, QoS: 2})
	b.Enqueue(c.brief(n), seq, &session.Queued{M: m, QoS: 1})
	b.Enqueue(c.group(), seq, &session.Queued{M: c.message(n), QoS: 1})
	b.PutReceived(c.lasting(), uint16(n), m)
	r := *m
	r.Topic, r.Seq, r.Retain = fmt.Sprint("r/", c.id), seq, true
	if n%7 == 0 {
		b.DeleteRetained(r.Topic, seq)
	} else {
		b.PutRetained(&r)
	}
	b.PutSubscription(c.lasting(), fmt.Sprint("f/", n%5), 1, uint32(n))
	if old := n - kept/2; old > 0 && old%3 == 0 {
		b.Release(c.lasting(), c.seqs[old])
	}
	if old := n - kept; old > 0 {
		b.Dequeue(c.lasting(), c.seqs[old])
		b.Dequeue(c.group(), c.seqs[old])
		b.DeleteReceived(c.lasting(), uint16(old))
		if c.brief(old) == c.brief(n) {
			b.Dequeue(c.brief(old), c.seqs[old])
		}
	}
}

// step hands the next batch over; answered is called when that has been.
func (c *script) step(s *Store, answered func()) {
	b := s.NewBatch()
	c.fill(b)
	n := int64(c.n)
	b.Commit(func(err error) {
		if err == nil {
			c.answered.Store(n) // they come in order
		} else {
			c.failed.Add(1)
		}
		answered()
	})
}

// check finds out how many batches the store has seen and tells what is not as it must be.
func (c *script) check(st *storetest.State) (n int, wrong error) {
	var errs []error
	say := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	ss := st.Session(c.lasting())
	if ss == nil {
		if st.Groups[c.group()] != nil || st.Retained[fmt.Sprint("r/", c.id)] != nil {
			say("there is a part of the first batch")
		}
		return 0, errors.Join(errs...)
	}
	n = int(ss.Sent)
	var queued, received, group, brief []int
	released := map[uint64]bool{}
	subscriptions := map[string]storetest.Subscription{}
	for i := 1; i <= n; i++ {
		subscriptions[fmt.Sprint("f/", i%5)] = storetest.Subscription{Options: 1, ID: uint32(i)}
		if i <= n-kept {
			continue
		}
		received, group = append(received, i), append(group, i)
		if i <= n-kept/2 && i%3 == 0 {
			released[c.seqs[i]] = true
		} else {
			queued = append(queued, i)
		}
		if c.brief(i) == c.brief(n) {
			brief = append(brief, i)
		}
	}
	c.checkQueue(&ss.Queue, queued, say)
	if !maps.Equal(ss.Released, released) {
		say("released %v, want %v", ss.Released, released)
	}
	if !maps.Equal(ss.Subscriptions, subscriptions) {
		say("subscriptions %v, want %v", ss.Subscriptions, subscriptions)
	}
	if got := slices.Sorted(maps.Keys(ss.Received)); len(got) != len(received) || int(got[0]) != received[0] {
		say("packet ids %v, want %v", got, received)
	}
	if g := st.Groups[c.group()]; g == nil {
		say("there is no group")
	} else {
		c.checkQueue(&g.Queue, group, say)
	}
	switch b := st.Sessions[fmt.Sprint("brief-", c.id)]; {
	case b == nil:
		say("there is no brief session")
	case b.Key != c.brief(n):
		say("the brief session is %d, want %d", b.Key, c.brief(n))
	default:
		c.checkQueue(&b.Queue, brief, say)
	}
	switch m := st.Retained[fmt.Sprint("r/", c.id)]; {
	case n%7 == 0 && m != nil:
		say("%q is retained, but was removed", m.Payload)
	case n%7 != 0 && (m == nil || string(m.Payload) != string(c.payload(n))):
		say("retained is %+v, want message %d", m, n)
	}
	if len(errs) > 0 {
		errs = append(errs, fmt.Errorf("of loop %d after %d batches", c.id, n))
	}
	return n, errors.Join(errs...)
}

func (c *script) checkQueue(q *storetest.Queue, want []int, say func(string, ...any)) {
	if len(q.Messages) != len(want) {
		say("%d messages in a queue, want %v", len(q.Messages), want)
		return
	}
	for _, n := range want {
		if m, ok := q.Messages[c.seqs[n]]; !ok || string(m.M.Payload) != string(c.payload(n)) {
			say("message %d is not in a queue that has %d", n, len(q.Messages))
		}
	}
}

// crashed is a file system after a crash, and what had been answered before it.
type crashed struct {
	fs       *vfs.MemFS
	answered []int64
}

// crashRun runs the loops on a store in fs and crashes it at a few moments; the store is closed in the end.
func crashRun(t *testing.T, fs *vfs.MemFS, o Options, loops []*script, points int, rnd *rand.Rand) (crashes []crashed) {
	t.Helper()
	o.FS = fs
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	st, err := storetest.Read(s)
	if err != nil {
		t.Fatal(err)
	}
	tick := make(chan struct{}, 1)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for _, c := range loops {
		c.base = st.Run << session.RunShift
		all.Go(func() {
			window := make(chan struct{}, 20)
			for {
				select {
				case <-stop:
					return
				case window <- struct{}{}:
				}
				c.step(s, func() {
					<-window
					select {
					case tick <- struct{}{}:
					default:
					}
				})
			}
		})
	}
	for range points {
		for range 1 + rnd.IntN(20) {
			<-tick
		}
		var cr crashed
		for _, c := range loops {
			cr.answered = append(cr.answered, c.answered.Load())
		}
		cfg := vfs.CrashCloneCfg{}
		if rnd.IntN(2) == 0 {
			cfg = vfs.CrashCloneCfg{UnsyncedDataPercent: rnd.IntN(101), RNG: rnd}
		}
		cr.fs = fs.CrashClone(cfg)
		crashes = append(crashes, cr)
	}
	close(stop)
	all.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return crashes
}

// look opens what a crash has left and reports how many answered batches were lost.
func (cr *crashed) look(t *testing.T, o Options, loops []*script) (lost int, has []int) {
	t.Helper()
	o.FS = cr.fs
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	st, err := storetest.Read(s)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range loops {
		n, err := c.check(st)
		if err != nil {
			t.Error(err)
		}
		lost += max(0, int(cr.answered[i])-n)
		has = append(has, n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return lost, has
}

// TestCrash drops what was not synced at many moments. Nothing that was answered is lost, and of each batch there is all or
// nothing. The loops go on with what a crash has left.
func TestCrash(t *testing.T) {
	const rounds, points = 11, 20
	rnd := rand.New(rand.NewPCG(1, 2))
	o := testOptions(t)
	o.MemTableBytes = 64 << 10 // much is written out and compacted
	fs := vfs.NewCrashableMem()
	loops := []*script{{id: 0}, {id: 1}, {id: 2}}
	looked := 0
	for range rounds {
		for i, cr := range crashRun(t, fs, o, loops, points, rnd) {
			lost, has := cr.look(t, o, loops)
			if looked++; lost > 0 {
				t.Errorf("crash %d: %d batches that were answered are lost", looked, lost)
			}
			if t.Failed() {
				return
			}
			if i == points-1 {
				fs = cr.fs
				for j, c := range loops {
					c.n = has[j]
					c.answered.Store(int64(has[j]))
				}
			}
		}
	}
	t.Logf("%d crashes; the loops came to %d, %d and %d batches", looked, loops[0].n, loops[1].n, loops[2].n)
}

// TestCrashUnsynced: the check above can fail. Without syncs batches are lost, but never parts of one.
func TestCrashUnsynced(t *testing.T) {
	for _, sync := range []Sync{SyncNever, SyncInterval} {
		o := testOptions(t)
		o.Sync = sync
		loops := []*script{{id: 0}, {id: 1}}
		all := 0
		for _, cr := range crashRun(t, vfs.NewCrashableMem(), o, loops, 8, rand.New(rand.NewPCG(3, 4))) {
			lost, _ := cr.look(t, o, loops)
			all += lost
		}
		if all == 0 {
			t.Errorf("%s: nothing was lost in 8 crashes: the check cannot tell", sync)
		}
	}
}
