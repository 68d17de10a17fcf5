package storetest

import (
	"errors"
	"fmt"
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
	// FailRead is asked for each ReadQueue, whether it will fail; nil: none does. What fails gives one item at most.
	FailRead func(k session.Key) bool
	// Loose has batches lose their order where they touch a key by Enqueue and Dequeue alone, as session.Batch allows.
	Loose bool
	// State is what the store begins with, as an earlier one's State gave it; nil: nothing.
	State *State
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

// Key tells whether it touches what belongs to a key.
func (c Change) Key(k session.Key) bool { return slices.Contains(c.b.keys, k) }

// Client tells whether it touches the state of a client.
func (c Change) Client(id string) bool {
	return slices.ContainsFunc(c.b.keys, func(k session.Key) bool {
		name, ok := c.b.l.clients[k]
		return ok && name == id
	})
}

// Late is a store that answers late. Batches wait until its goroutine has rested; then each is answered, in an order that
// is random but for this: batches that touch the same key keep the order in which they were handed over. Batches that
// set the same retained topic do not: their sequence numbers have to do. Pages of queues come as late.
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
	waiting  []*batch // in the order handed over, with the pages asked for
	answered int
	failed   int
	busy     bool // a round is under way
	held     bool
	closed   bool
	state    *State
	breaches []string
	// blemished keys had a batch that failed: what is missing of theirs is not the user's fault.
	blemished map[session.Key]bool
	lost      map[place]bool // what was to be enqueued by batches that failed
	clients   map[session.Key]string
	loaded    bool
	began     bool // a batch was handed over
}

type place struct {
	key session.Key
	seq uint64
}

// read is a page that was asked for.
type read struct {
	key                session.Key
	from, end          uint64
	maxItems, maxBytes int
	done               func(items []session.Item, next uint64, err error)
	items              []session.Item
	next               uint64
}

// NewLate starts a Late store. Close it.
func NewLate(o LateOptions) *Late {
	if o.MaxRest <= 0 {
		o.MaxRest = 2 * time.Millisecond
	}
	l := &Late{
		o: o, wake: make(chan struct{}, 1), end: make(chan struct{}),
		rnd: rand.New(rand.NewPCG(o.Seed, 0)), state: NewState(),
		blemished: make(map[session.Key]bool), lost: make(map[place]bool), clients: make(map[session.Key]string),
	}
	if o.State != nil {
		l.state = o.State.restarted()
	}
	for k, ss := range l.state.keys {
		l.clients[k] = ss.ClientID
	}
	l.idle = sync.NewCond(&l.mu)
	go l.run()
	return l
}

// Durable is true: a test can start another store on the State of this one.
func (l *Late) Durable() bool { return true }

// Load tells what the store began with.
func (l *Late) Load(to session.Loader) (run uint64, err error) {
	l.mu.Lock()
	if l.loaded {
		l.breaches = append(l.breaches, "Load twice")
	}
	if l.began {
		l.breaches = append(l.breaches, "Load after the first batch")
	}
	l.loaded = true
	l.state.Run++
	st := l.state.Clone()
	l.mu.Unlock()
	retained := make(chan struct{})
	go func() { st.loadRetained(to); close(retained) }()
	st.load(to)
	<-retained
	return st.Run, nil
}

// ReadQueue reads a page late; see session.Store.
func (l *Late) ReadQueue(k session.Key, from, end uint64, maxItems, maxBytes int, done func([]session.Item, uint64, error)) {
	r := &read{key: k, from: from, end: end, maxItems: maxItems, maxBytes: maxBytes, done: done}
	b := &batch{l: l, read: r}
	l.mu.Lock()
	if l.o.FailRead != nil && l.o.FailRead(k) {
		b.err = ErrInjected
	}
	for _, w := range l.waiting {
		if slices.ContainsFunc(w.ops, func(o op) bool { return o.kind == enqueue && o.key == k && o.seq >= from && o.seq < end }) {
			l.breaches = append(l.breaches, fmt.Sprintf("ReadQueue under key %d from %d to %d, of which not all is stored yet", k, from, end))
		}
	}
	if l.closed {
		l.breaches = append(l.breaches, "ReadQueue after Close")
	}
	l.waiting = append(l.waiting, b)
	l.mu.Unlock()
	l.nudge()
}

// NewBatch begins a batch.
func (l *Late) NewBatch() session.Batch { return &batch{l: l} }

func (l *Late) handOver(b *batch) {
	l.mu.Lock()
	l.began = true
	for _, o := range b.ops {
		if o.kind == putSession {
			l.clients[o.key] = o.record.ClientID
		}
	}
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
		b.answer()
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

// pick chooses one of the first n batches that has no key in common with an earlier one.
func (l *Late) pick(n int) int {
	i := l.rnd.IntN(n)
	for j := 0; j < i; {
		if slices.ContainsFunc(l.waiting[j].fixed, func(k session.Key) bool { return slices.Contains(l.waiting[i].fixed, k) }) {
			i, j = j, 0
			continue
		}
		j++
	}
	return i
}

// answer calls back, without the lock.
func (b *batch) answer() {
	switch {
	case b.read != nil:
		b.read.done(b.read.items, b.read.next, b.err)
	case b.done != nil:
		b.done(b.err)
	}
}

// store makes the batch's changes.
func (l *Late) store(b *batch) {
	if b.read != nil {
		l.page(b)
		return
	}
	l.answered++
	if b.err != nil {
		l.failed++
		l.lose(b)
		return
	}
	for i := range b.ops {
		o := &b.ops[i]
		if at := (place{o.key, o.seq}); o.kind == dequeue && l.lost[at] {
			delete(l.lost, at) // it was never stored
			continue
		}
		if breach := l.state.apply(o); breach != "" && !l.blemished[o.key] {
			l.breaches = append(l.breaches, breach)
		}
	}
}

// lose notes a batch that failed. What was to be enqueued needs no removal, and one that came before needs no memory.
func (l *Late) lose(b *batch) {
	for _, k := range b.keys {
		l.blemished[k] = true
	}
	for _, o := range b.ops {
		if o.kind != enqueue {
			continue
		}
		q := l.state.queue(o.key)
		if q != nil && q.gone[o.seq] {
			delete(q.gone, o.seq)
		} else {
			l.lost[place{o.key, o.seq}] = true
		}
	}
}

// page reads what was asked for.
func (l *Late) page(b *batch) {
	r := b.read
	r.next = r.end
	maxItems := r.maxItems
	if b.err != nil {
		maxItems = 1
	}
	if q := l.state.queue(r.key); q != nil {
		r.items, r.next = q.page(r.from, r.end, maxItems, r.maxBytes)
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
	n := 0
	for _, b := range l.waiting {
		if b.read == nil {
			n++
		}
	}
	return n
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
