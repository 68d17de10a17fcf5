package storetest

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// ErrInjected is what a Late store fails commits with.
var ErrInjected = errors.New("storetest: the commit was made to fail")

// LateOptions configure a Late store.
type LateOptions struct {
	// Seed decides the order in which waiting batches are answered and how long each rest is.
	Seed uint64
	// MaxRest is the longest rest between two rounds of answers, 0: 2 ms. A commit is answered after one rest at least.
	MaxRest time.Duration
	// Fail is asked for each batch as it is handed over, whether its commit will fail; nil: none does. A failed batch
	// changes nothing.
	Fail func(c Change) bool
}

// Change tells a LateOptions.Fail what a batch does.
type Change struct{ b *batch }

// Stores tells that the batch adds a message: to a queue, to the incoming QoS 2 messages, or as retained.
func (c Change) Stores() bool {
	return c.b.has(enqueue) || c.b.has(putReceived) || c.b.has(putRetained) || c.b.has(deleteRetained)
}

// Enqueues tells that it adds to a queue.
func (c Change) Enqueues() bool { return c.b.has(enqueue) }

// Receives tells that it keeps an incoming QoS 2 message.
func (c Change) Receives() bool { return c.b.has(putReceived) }

// Frees tells that it removes an incoming QoS 2 message, which PUBREL asks for.
func (c Change) Frees() bool { return c.b.has(deleteReceived) }

// Releases tells that it notes the PUBREC of an outgoing QoS 2 message.
func (c Change) Releases() bool { return c.b.has(release) }

// Subscribes tells that it changes subscriptions.
func (c Change) Subscribes() bool { return c.b.has(putSubscription) || c.b.has(deleteSubscription) }

// Client tells whether it touches the state of a client.
func (c Change) Client(id string) bool { return slices.Contains(c.b.clients, id) }

// Late is a store that answers late. Batches wait until its goroutine has rested; then each is answered, in an order that
// is random but for this: batches that touch the same session keep the order in which they were handed over. Batches that
// set the same retained topic do not: their sequence numbers have to do.
//
// With one seed, and the same batches waiting at the same time, the order is the same. Its methods may be called from
// any goroutine.
type Late struct {
	o    LateOptions
	wake chan struct{}
	idle *sync.Cond // signalled when nothing waits
	end  chan struct{}

	mu       sync.Mutex
	rnd      *rand.Rand
	waiting  []*batch // in the order handed over
	answered int
	failed   int
	busy     bool // a round is under way
	held     bool
	closed   bool
	state    *State
	breaches []string
	// blemished clients had a batch that failed: what is missing of theirs is not the user's fault.
	blemished map[string]bool
}

// NewLate starts a Late store. Close it.
func NewLate(o LateOptions) *Late {
	if o.MaxRest <= 0 {
		o.MaxRest = 2 * time.Millisecond
	}
	l := &Late{
		o: o, wake: make(chan struct{}, 1), end: make(chan struct{}),
		rnd: rand.New(rand.NewPCG(o.Seed, 0)), state: NewState(),
		blemished: make(map[string]bool),
	}
	l.idle = sync.NewCond(&l.mu)
	go l.run()
	return l
}

// NewBatch begins a batch.
func (l *Late) NewBatch() session.Batch { return &batch{l: l} }

func (l *Late) handOver(b *batch) {
	l.mu.Lock()
	if l.o.Fail != nil && l.o.Fail(Change{b}) {
		b.err = ErrInjected
	}
	if l.closed {
		l.breaches = append(l.breaches, "Commit after Close")
	}
	l.waiting = append(l.waiting, b)
	l.mu.Unlock()
	l.nudge()
}

func (l *Late) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run answers, round by round, until Close.
func (l *Late) run() {
	defer close(l.end)
	for range l.wake {
		l.mu.Lock()
		rest := time.Duration(l.rnd.Int64N(int64(l.o.MaxRest)))
		l.mu.Unlock()
		<-time.After(rest)
		l.round()
		l.mu.Lock()
		over := l.closed && len(l.waiting) == 0
		l.mu.Unlock()
		if over {
			return
		}
	}
}

// round answers all that waits when it begins.
func (l *Late) round() {
	l.mu.Lock()
	l.busy = true
	for n := len(l.waiting); n > 0 && !l.held; n-- {
		i := l.pick(n)
		b := l.waiting[i]
		l.waiting = slices.Delete(l.waiting, i, i+1)
		l.store(b)
		l.mu.Unlock()
		b.done(b.err)
		l.mu.Lock()
	}
	l.busy = false
	if len(l.waiting) == 0 {
		l.idle.Broadcast()
	} else if !l.held {
		l.nudge()
	}
	l.mu.Unlock()
}

// pick chooses one of the first n batches that has no session in common with an earlier one.
func (l *Late) pick(n int) int {
	i := l.rnd.IntN(n)
	for j := 0; j < i; {
		if slices.ContainsFunc(l.waiting[j].clients, func(c string) bool { return slices.Contains(l.waiting[i].clients, c) }) {
			i, j = j, 0
			continue
		}
		j++
	}
	return i
}

// store makes the batch's changes.
func (l *Late) store(b *batch) {
	l.answered++
	if b.err != nil {
		l.failed++
		for _, c := range b.clients {
			l.blemished[c] = true
		}
		return
	}
	for i := range b.ops {
		if breach := l.state.apply(&b.ops[i]); breach != "" && !l.blemished[b.ops[i].client] {
			l.breaches = append(l.breaches, breach)
		}
	}
}

func (l *Late) breach(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breaches = append(l.breaches, what)
}

// Hold keeps all answers back until Release.
func (l *Late) Hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = true
}

// Release ends Hold.
func (l *Late) Release() {
	l.mu.Lock()
	l.held = false
	l.mu.Unlock()
	l.nudge()
}

// Waiting is how many batches have been handed over and not answered.
func (l *Late) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// Answered is how many commits have been answered, and how many of them failed.
func (l *Late) Answered() (all, failed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answered, l.failed
}

// Sync waits until nothing is waiting. It must not be called while answers are held.
func (l *Late) Sync() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting) > 0 || l.busy {
		l.idle.Wait()
	}
}

// State is a copy of what the store holds now.
func (l *Late) State() *State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.Clone()
}

// Breaches are what the user of the store did that no store can be asked to bear.
func (l *Late) Breaches() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.breaches)
}

// Close answers all that waits and ends the store.
func (l *Late) Close() error {
	l.mu.Lock()
	l.closed, l.held = true, false
	l.mu.Unlock()
	l.nudge()
	<-l.end
	return nil
}
