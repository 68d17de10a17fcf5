package netloop

import (
	"sync"
	"sync/atomic"
)

// inbox is how other goroutines reach a slot: a queue that the slot empties once per turn. When the slot has stopped, the
// goroutine that puts something in runs it itself, still one at a time, so that what is posted always runs.
type inbox[T any] struct {
	mu       sync.Mutex
	items    []T
	spare    []T
	some     atomic.Bool // there are items; read without the lock
	stopped  bool
	draining bool // somebody empties a stopped inbox
}

// put adds an item. drain tells the caller to call drain: the slot has stopped.
func (q *inbox[T]) put(it T) (drain bool) {
	q.mu.Lock()
	q.items = append(q.items, it)
	q.some.Store(true)
	drain = q.stopped && !q.draining
	if drain {
		q.draining = true
	}
	q.mu.Unlock()
	return drain
}

// take empties the inbox; give the slice back with recycle.
func (q *inbox[T]) take() []T {
	if !q.some.Load() {
		return nil
	}
	q.mu.Lock()
	items := q.items
	q.items, q.spare = q.spare[:0], nil
	q.some.Store(false)
	q.mu.Unlock()
	return items
}

// Above this many items a burst's slice is left to the collector.
const keepItems = 1024

func (q *inbox[T]) recycle(items []T) {
	if cap(items) == 0 || cap(items) > keepItems {
		return
	}
	clear(items)
	q.mu.Lock()
	q.spare = items[:0]
	q.mu.Unlock()
}

// stop ends the service of the slot, if the inbox is empty.
func (q *inbox[T]) stop() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = len(q.items) == 0
	return q.stopped
}

// drain runs what is in a stopped inbox, and what is put in meanwhile.
func (q *inbox[T]) drain(run func(T)) {
	for {
		q.mu.Lock()
		if len(q.items) == 0 {
			q.draining = false
			q.mu.Unlock()
			return
		}
		it := q.items[0]
		q.items = append(q.items[:0], q.items[1:]...)
		q.mu.Unlock()
		run(it)
	}
}
