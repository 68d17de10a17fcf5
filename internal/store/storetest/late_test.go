package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/store/memory"
)

func openLate(t *testing.T) *Late {
	l := NewLate(LateOptions{Seed: 1})
	t.Cleanup(func() {
		if b := l.Breaches(); len(b) > 0 {
			t.Errorf("breaches: %s", strings.Join(b, "; "))
		}
	})
	return l
}

func TestLateContract(t *testing.T) {
	Contract(t, func(t *testing.T) session.Store { return openLate(t) })
	ContractKept(t, func(t *testing.T) Kept { return openLate(t) })
}

func TestMemoryContract(t *testing.T) {
	Contract(t, func(*testing.T) session.Store { return memory.Store{} })
}

// answersOf hands over 5 batches for each of 10 sessions at once and returns the order of their answers.
func answersOf(t *testing.T, seed uint64) []string {
	t.Helper()
	l := NewLate(LateOptions{Seed: seed})
	l.Hold()
	var mu sync.Mutex
	var order []string
	for n := range 5 {
		for c := range 10 {
			b := l.NewBatch()
			put(b, session.Key(c+1), fmt.Sprint(c))
			b.Commit(func(error) {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, fmt.Sprintf("%d/%d", c, n))
			})
		}
	}
	if w := l.Waiting(); w != 50 {
		t.Fatalf("%d batches wait while the store is held, want 50", w)
	}
	l.Release()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return order
}

// TestLateOrder: random between sessions, kept within one, the same for the same seed.
func TestLateOrder(t *testing.T) {
	a, again, other := answersOf(t, 1), answersOf(t, 1), answersOf(t, 2)
	if !slices.Equal(a, again) {
		t.Errorf("one seed, two orders:\n%v\n%v", a, again)
	}
	if slices.Equal(a, other) {
		t.Error("two seeds, one order")
	}
	if len(a) != 50 {
		t.Fatalf("%d answers, want 50", len(a))
	}
	next := map[byte]byte{}
	inOrder := true
	for i, s := range a {
		c, n := s[0], s[2]-'0'
		if n != next[c] {
			t.Errorf("session %c: answer %d came when %d was due", c, n, next[c])
		}
		next[c] = n + 1
		inOrder = inOrder && s == fmt.Sprintf("%d/%d", i%10, i/10)
	}
	if inOrder {
		t.Error("the answers came in the order of the commits")
	}
}

// TestLateSharedBatch: a batch of two sessions keeps its place among the batches of both.
func TestLateSharedBatch(t *testing.T) {
	for seed := range uint64(50) {
		l := NewLate(LateOptions{Seed: seed})
		l.Hold()
		var order []int
		for i, clients := range [][]session.Key{{1}, {2}, {1, 2}, {1}, {2}} {
			b := l.NewBatch()
			for _, k := range clients {
				put(b, k, fmt.Sprint(k))
			}
			b.Commit(func(error) { order = append(order, i) }) // one goroutine calls back
		}
		l.Release()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if slices.Index(order, 2) != 2 {
			t.Errorf("seed %d: order %v, want batch 2 in the middle", seed, order)
		}
	}
}

func TestLateFails(t *testing.T) {
	l := NewLate(LateOptions{Fail: func(c Change) bool { return c.Enqueues() && c.Client("bad") }})
	errs := map[string]error{}
	for i, id := range []string{"good", "bad"} {
		k := session.Key(i + 1)
		for _, fill := range []func(b session.Batch){
			func(b session.Batch) { put(b, k, id) },
			func(b session.Batch) {
				b.Enqueue(k, 1, queued(note("t", "x", 1), 1))
				b.PutRetained(retainedNote("of "+id, "x", 1))
			},
		} {
			b := l.NewBatch()
			fill(b)
			b.Commit(func(err error) { errs[id] = err })
		}
		l.Sync()
	}
	if errs["good"] != nil || !errors.Is(errs["bad"], ErrInjected) {
		t.Errorf("answers %v, want an error for bad alone", errs)
	}
	st := l.State()
	if len(st.Sessions["good"].Messages) != 1 || st.Retained["of good"] == nil {
		t.Error("what was committed is not there")
	}
	if len(st.Sessions["bad"].Messages) != 0 || st.Retained["of bad"] != nil {
		t.Error("part of a batch that failed is there")
	}
	if all, failed := l.Answered(); all != 4 || failed != 1 {
		t.Errorf("%d answered, %d failed; want 4 and 1", all, failed)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLateAgain: a store that begins with another's state tells all of it.
func TestLateAgain(t *testing.T) {
	ContractKept(t, func(t *testing.T) Kept { return &again{t: t, Late: openLate(t)} })
}

// again reads the store back through a second one.
type again struct {
	*Late
	t *testing.T
}

func (a *again) State() *State {
	was := a.Late.State()
	next := NewLate(LateOptions{Seed: 2, State: was})
	defer next.Close()
	got, err := Read(next)
	if err != nil {
		a.t.Error(err)
	}
	if got.Run != was.Run+1 {
		a.t.Errorf("run %d follows %d", got.Run, was.Run)
	}
	return got
}

// TestLateEarlyDequeue: what a failed batch was to enqueue is not waited for, whichever comes first.
func TestLateEarlyDequeue(t *testing.T) {
	for _, early := range []bool{true, false} {
		l := NewLate(LateOptions{Fail: func(c Change) bool { return c.Enqueues() }})
		commit(t, l, func(b session.Batch) { put(b, 1, "c") })
		dequeue := func() { commit(t, l, func(b session.Batch) { b.Dequeue(1, 5) }) }
		if early {
			dequeue()
		}
		b := l.NewBatch()
		b.Enqueue(1, 5, queued(note("t", "x", 1), 1))
		b.Commit(nil)
		l.Sync()
		if !early {
			dequeue()
		}
		if n := l.State().Leftovers(); n != 0 {
			t.Errorf("dequeued first: %t; %d removals are left over", early, n)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLateLoose: batches that only enqueue lose their places, others do not.
func TestLateLoose(t *testing.T) {
	outOfPlace := false
	for seed := range uint64(20) {
		l := NewLate(LateOptions{Seed: seed, Loose: true})
		l.Hold()
		var order []int
		for i := range 6 {
			b := l.NewBatch()
			if i%2 == 0 {
				put(b, 1, "c")
			} else {
				b.Enqueue(1, uint64(i), queued(note("t", "x", 1), 1))
			}
			b.Commit(func(error) { order = append(order, i) })
		}
		l.Release()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if len(order) != 6 || slices.Index(order, 0) > slices.Index(order, 2) || slices.Index(order, 2) > slices.Index(order, 4) {
			t.Errorf("seed %d: order %v, want 0, 2 and 4 in order", seed, order)
		}
		outOfPlace = outOfPlace || !slices.IsSorted(order)
		if l.State().Leftovers() != 0 || len(l.State().Sessions["c"].Messages) != 3 {
			t.Errorf("seed %d: the store has %+v", seed, l.State().Sessions["c"])
		}
	}
	if !outOfPlace {
		t.Error("every batch kept its place")
	}
}

// TestLateReadFails: with what was read before.
func TestLateReadFails(t *testing.T) {
	fail := true
	l := NewLate(LateOptions{FailRead: func(session.Key) bool { return fail }})
	commit(t, l, func(b session.Batch) {
		put(b, 1, "c")
		for seq := range uint64(5) {
			b.Enqueue(1, seq, queued(note("t", "x", 1), 1))
		}
	})
	items, next, err := readPage(l, 1, 0, 5, 10, 1000)
	if !errors.Is(err, ErrInjected) || len(items) != 1 || next != 1 {
		t.Errorf("%d items, next %d, error %v; want one, 1, and the injected error", len(items), next, err)
	}
	fail = false
	if items, next, err = readPage(l, 1, 1, 5, 10, 1000); err != nil || len(items) != 4 || next != 5 {
		t.Errorf("%d items, next %d, error %v; want 4, 5, none", len(items), next, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLateBreaches: the record finds what a broker must not do.
func TestLateBreaches(t *testing.T) {
	for what, fill := range map[string]func(l *Late){
		"no session in the store": func(l *Late) {
			b := l.NewBatch()
			b.PutSubscription(1, "a", 0, 0)
			b.Commit(func(error) {})
		},
		"not in its queue": func(l *Late) {
			b := l.NewBatch()
			put(b, 1, "c")
			b.Release(1, 1)
			b.Commit(func(error) {})
		},
		"which was deleted": func(l *Late) {
			b := l.NewBatch()
			put(b, 1, "c")
			b.DeleteSession(1)
			put(b, 1, "c")
			b.Commit(func(error) {})
		},
		"of which not all is stored": func(l *Late) {
			l.Hold()
			b := l.NewBatch()
			put(b, 1, "c")
			b.Enqueue(1, 5, queued(note("t", "x", 1), 1))
			b.Commit(func(error) {})
			l.ReadQueue(1, 1, 6, 10, 10, func([]session.Item, uint64, error) {})
		},
		"without a key": func(l *Late) {
			b := l.NewBatch()
			b.Enqueue(0, 5, queued(note("t", "x", 1), 1))
			b.Commit(func(error) {})
		},
		"Load after the first batch": func(l *Late) {
			l.NewBatch().Commit(nil)
			if _, err := l.Load(&reader{State: NewState()}); err != nil {
				panic(err)
			}
		},
		"borrowed message": func(l *Late) {
			b := l.NewBatch()
			b.PutRetained(&message.Message{Topic: "a", Seq: 1})
			b.Commit(func(error) {})
		},
		"Commit twice": func(l *Late) {
			b := l.NewBatch()
			b.Commit(func(error) {})
			b.Commit(func(error) {})
		},
		"handed over": func(l *Late) {
			b := l.NewBatch()
			b.Commit(func(error) {})
			put(b, 1, "c")
		},
	} {
		l := NewLate(LateOptions{})
		fill(l)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got := l.Breaches(); len(got) != 1 || !strings.Contains(got[0], what) {
			t.Errorf("breaches %q, want one about %q", got, what)
		}
	}
}
