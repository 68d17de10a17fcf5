package retained

import (
	"container/heap"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
)

// expiries is a queue of messages by the time they end. A message that is replaced is taken out at once, as it would keep
// its payload alive until the time had come.
type expiries struct {
	places []expiry // by number; 0 is none
	free   []uint32
	order  []uint32 // a heap of numbers
}

type expiry struct {
	m   *message.Message
	pos int // in order
}

// add queues m and returns its number.
func (e *expiries) add(m *message.Message) uint32 {
	if len(e.places) == 0 {
		e.places = append(e.places, expiry{})
	}
	var n uint32
	if k := len(e.free); k > 0 {
		n, e.free = e.free[k-1], e.free[:k-1]
	} else {
		n = uint32(len(e.places))
		e.places = append(e.places, expiry{})
	}
	e.places[n].m = m
	heap.Push(e, n)
	return n
}

// remove takes the message with that number out.
func (e *expiries) remove(n uint32) {
	heap.Remove(e, e.places[n].pos)
	e.places[n] = expiry{}
	e.free = append(e.free, n)
}

// earliest returns the message that ends first, nil if there is none.
func (e *expiries) earliest() *message.Message {
	if len(e.order) == 0 {
		return nil
	}
	return e.places[e.order[0]].m
}

// Len, Less, Swap, Push and Pop are heap.Interface.
func (e *expiries) Len() int { return len(e.order) }

func (e *expiries) Less(i, j int) bool {
	return e.places[e.order[i]].m.Expires < e.places[e.order[j]].m.Expires
}

func (e *expiries) Swap(i, j int) {
	e.order[i], e.order[j] = e.order[j], e.order[i]
	e.places[e.order[i]].pos, e.places[e.order[j]].pos = i, j
}

func (e *expiries) Push(n any) {
	e.places[n.(uint32)].pos = len(e.order)
	e.order = append(e.order, n.(uint32))
}

func (e *expiries) Pop() any {
	n := e.order[len(e.order)-1]
	e.order = e.order[:len(e.order)-1]
	return n
}
