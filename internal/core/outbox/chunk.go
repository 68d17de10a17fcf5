package outbox

import "sync"

// RefThreshold is the payload size in bytes above which AppendPublish references a payload that it may keep instead of
// copying it.
const RefThreshold = 4096

// Chunk classes. A chunk of class ref owns no memory: it points at somebody's immutable payload.
const (
	small = iota
	medium
	large
	ref
)

var classSize = [...]int{small: 512, medium: 4 << 10, large: 64 << 10}

// chunk is one link of an outbox's list: buf[r:w] waits to be written, buf[w:] is free (never so in a ref).
type chunk struct {
	next  *chunk
	buf   []byte
	r, w  int
	class uint8
}

// One pool per class, shared by all outboxes, so that an idle outbox holds no memory.
var pools [ref + 1]sync.Pool

func getChunk(class uint8) *chunk {
	if c, _ := pools[class].Get().(*chunk); c != nil {
		return c
	}
	c := &chunk{class: class}
	if class != ref {
		c.buf = make([]byte, classSize[class])
	}
	return c
}

func putChunk(c *chunk) {
	c.next, c.r, c.w = nil, 0, 0
	if c.class == ref {
		c.buf = nil
	}
	pools[c.class].Put(c)
}
