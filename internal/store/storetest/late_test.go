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
			b.PutSession(fmt.Sprint(c), 1)
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
		for i, clients := range [][]string{{"a"}, {"b"}, {"a", "b"}, {"a"}, {"b"}} {
			b := l.NewBatch()
			for _, c := range clients {
				b.PutSession(c, 1)
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
	for _, id := range []string{"good", "bad"} {
		for _, fill := range []func(b session.Batch){
			func(b session.Batch) { b.PutSession(id, 1) },
			func(b session.Batch) {
				b.Enqueue(id, 1, note("t", "x", 1), &session.Grant{QoS: 1}, false)
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
	if len(st.Sessions["good"].Queue) != 1 || st.Retained["of good"] == nil {
		t.Error("what was committed is not there")
	}
	if len(st.Sessions["bad"].Queue) != 0 || st.Retained["of bad"] != nil {
		t.Error("part of a batch that failed is there")
	}
	if all, failed := l.Answered(); all != 4 || failed != 1 {
		t.Errorf("%d answered, %d failed; want 4 and 1", all, failed)
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
			b.PutSubscription("nobody", "a", 0, 0)
			b.Commit(func(error) {})
		},
		"not in its queue": func(l *Late) {
			b := l.NewBatch()
			b.PutSession("c", 1)
			b.Release("c", 1)
			b.Commit(func(error) {})
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
			b.PutSession("c", 1)
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
