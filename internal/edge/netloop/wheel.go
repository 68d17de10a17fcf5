package netloop

import "math/bits"

// A wheel holds one deadline per connection in slots of 100 ms. Setting, moving and clearing a deadline is O(1) and
// allocates nothing; moving one to a later time, which is what keep-alive does all day, touches no list at all: the entry
// stays where it is and is moved on when its old slot comes by.
const (
	tickMillis = 100
	wheelSlots = 512 // one turn of the wheel is 51.2 s; entries further away pass by and stay
)

// links is what a connection embeds to be on a wheel.
type links[T any] struct {
	prev, next *T
	due        int64 // Unix ms; 0: none
	tick       int64 // where the entry is linked: due at tick*tickMillis at the earliest; 0: not linked
}

type timed[T any] interface {
	*T
	timer() *links[T]
}

// wheel belongs to one slot; it takes no locks.
type wheel[T any, P timed[T]] struct {
	heads  [wheelSlots]*T
	used   [wheelSlots / 64]uint64 // a bit per slot that has entries
	last   int64                   // the tick up to which entries have been taken out
	count  int
	expire []*T
}

func (w *wheel[T, P]) start(now int64) { w.last = now / tickMillis }

// set replaces the deadline of e; at 0 clears it.
func (w *wheel[T, P]) set(e *T, at int64) {
	t := P(e).timer()
	if at == 0 {
		w.remove(e)
		return
	}
	t.due = at
	tick := w.tickOf(at)
	if t.tick != 0 {
		if t.tick <= tick {
			return // it will be moved on when that slot comes by
		}
		w.unlink(e)
	}
	w.link(e, tick)
}

// tickOf rounds up, so that nothing fires early.
func (w *wheel[T, P]) tickOf(at int64) int64 {
	return max((at+tickMillis-1)/tickMillis, w.last+1)
}

// remove clears the deadline of e.
func (w *wheel[T, P]) remove(e *T) {
	t := P(e).timer()
	if t.tick != 0 {
		w.unlink(e)
	}
	t.due = 0
}

func (w *wheel[T, P]) link(e *T, tick int64) {
	t, i := P(e).timer(), tick%wheelSlots
	t.tick, t.prev, t.next = tick, nil, w.heads[i]
	if t.next != nil {
		P(t.next).timer().prev = e
	}
	w.heads[i] = e
	w.used[i/64] |= 1 << (i % 64)
	w.count++
}

func (w *wheel[T, P]) unlink(e *T) {
	t := P(e).timer()
	i := t.tick % wheelSlots
	if t.prev != nil {
		P(t.prev).timer().next = t.next
	} else if w.heads[i] = t.next; t.next == nil {
		w.used[i/64] &^= 1 << (i % 64)
	}
	if t.next != nil {
		P(t.next).timer().prev = t.prev
	}
	t.prev, t.next, t.tick = nil, nil, 0
	w.count--
}

// expired takes the entries out whose deadline has passed. They keep their due, so that the caller, who runs code that
// may change deadlines, asks each again with still. The result is valid until the next call.
func (w *wheel[T, P]) expired(now int64) []*T {
	clear(w.expire)
	w.expire = w.expire[:0]
	first, end := w.last+1, now/tickMillis
	if end < first {
		return nil
	}
	w.last = end
	if w.count == 0 {
		return nil
	}
	for tick := first; tick <= min(end, first+wheelSlots-1); tick++ {
		for e := w.heads[tick%wheelSlots]; e != nil; {
			t := P(e).timer()
			next := t.next
			if t.tick <= end {
				w.unlink(e)
				if t.due > now {
					w.link(e, w.tickOf(t.due))
				} else {
					w.expire = append(w.expire, e)
				}
			}
			e = next
		}
	}
	return w.expire
}

// still tells whether the deadline of an expired entry still stands, and clears it.
func (w *wheel[T, P]) still(e *T, now int64) bool {
	t := P(e).timer()
	if t.due == 0 || t.due > now {
		return false
	}
	w.remove(e)
	return true
}

// next is the time in Unix ms at which the next slot that has entries comes by; 0: there is none.
func (w *wheel[T, P]) next() int64 {
	if w.count == 0 {
		return 0
	}
	for d := int64(1); d <= wheelSlots; {
		i := (w.last + d) % wheelSlots
		if m := w.used[i/64] >> (i % 64); m != 0 {
			return (w.last + d + int64(bits.TrailingZeros64(m))) * tickMillis
		}
		d += 64 - i%64
	}
	return 0
}
