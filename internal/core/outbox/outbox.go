// Package outbox holds the bytes that wait to be written to one connection. It does no I/O: any goroutine appends, the
// network engine takes slices, writes them to the socket without holding the outbox's lock, and reports how far it came.
//
// Who writes is decided by three bits under the lock:
//
//   - promised: someone has been told (wake=true) to call the connection's Flush, so later appenders need not;
//   - writing: someone is inside write(2) with slices of this outbox; nobody else may start, and the memory stays;
//   - blocked: the socket took no more; the owner's writable event goes on, and nobody else tries.
//
// A flush that meets a writer leaves a note (retry), and the writer goes on in its place: no byte is ever left behind.
package outbox

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
)

// Outbox is a queue of bytes for one connection. The zero value is ready; it is safe for concurrent use and must not be
// copied. It allocates nothing in steady state: chunks of 512 B, 4 KiB and 64 KiB come from pools and go back as soon as
// they are written; an empty outbox holds none.
type Outbox struct {
	mu     sync.Mutex
	bytes  atomic.Int64 // written under mu, read without it
	head   *chunk
	tail   *chunk
	budget *Budget
	taken  int // bytes handed out by StartWrite and not yet reported
	frames int64
	total  int64 // bytes that were ever appended

	promised bool
	writing  bool
	blocked  bool
	retry    bool // more to write once the present writer is done
	sealed   bool // no more appends
	closed   bool // no more writes either
}

// Init sets the budget that the outbox charges (nil: none). Call it before the first append.
func (o *Outbox) Init(b *Budget) { o.budget = b }

// Append copies frame to the tail. ok is false if the outbox is sealed or closed: nothing was appended. wake tells the
// caller to put the connection on its dirty list and to call its Flush at the end of the turn; if false, somebody else
// has been told so already, or a write is blocked and goes on by itself.
func (o *Outbox) Append(frame []byte) (ok, wake bool) {
	o.mu.Lock()
	if o.sealed {
		o.mu.Unlock()
		return false, false
	}
	o.copyIn(frame)
	o.count(len(frame))
	wake = o.promise()
	o.mu.Unlock()
	return true, wake
}

// AppendPublish appends head and payload as one unit. head is always copied; if pidAt >= 0 the two bytes of the copy at
// pidAt are overwritten by pid, big endian (head itself stays as it is, so one encoded head serves many receivers).
// payload is copied too, unless it is longer than RefThreshold and owned says that it stays immutable until written:
// then the outbox keeps a reference. The results are those of Append.
func (o *Outbox) AppendPublish(head []byte, pidAt int, pid uint16, payload []byte, owned bool) (ok, wake bool) {
	o.mu.Lock()
	if o.sealed {
		o.mu.Unlock()
		return false, false
	}
	if pidAt < 0 {
		o.copyIn(head)
	} else {
		o.copyHead(head, pidAt, pid)
	}
	o.addPayload(payload, owned)
	o.count(len(head) + len(payload))
	wake = o.promise()
	o.mu.Unlock()
	return true, wake
}

// Guarded is what became of AppendGuarded.
type Guarded int

// Outcomes of AppendGuarded.
const (
	Appended Guarded = iota
	Stale            // the guard does not stand at the expected number any more
	Full             // more bytes wait than the limit allows
	Refused          // sealed or closed
)

// AppendGuarded is AppendPublish for a frame without a packet id that may go only as long as guard stands at want and at
// most limit bytes wait. Both are looked at under the lock that orders appends: whoever changes the guard and then appends,
// appends behind all frames that were let pass before.
func (o *Outbox) AppendGuarded(guard *atomic.Uint32, want uint32, limit int, head, payload []byte, owned bool) (g Guarded, wake bool) {
	o.mu.Lock()
	switch {
	case guard.Load() != want:
		g = Stale
	case o.sealed:
		g = Refused
	case int(o.bytes.Load()) > limit:
		g = Full
	default:
		if t, n := o.tail, len(head)+len(payload); t != nil && n <= RefThreshold && len(t.buf)-t.w >= n {
			t.w += copy(t.buf[t.w:], head)
			t.w += copy(t.buf[t.w:], payload)
		} else {
			o.copyIn(head)
			o.addPayload(payload, owned)
		}
		o.count(len(head) + len(payload))
		wake = o.promise()
	}
	o.mu.Unlock()
	return g, wake
}

// count counts a frame that was appended.
func (o *Outbox) count(n int) {
	o.bytes.Add(int64(n))
	o.frames++
	o.total += int64(n)
}

// Totals are how many frames and bytes were ever appended.
func (o *Outbox) Totals() (frames, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.frames, o.total
}

// addPayload copies a payload, or refers to it if it is large and stays as it is.
func (o *Outbox) addPayload(payload []byte, owned bool) {
	if !owned || len(payload) <= RefThreshold {
		o.copyIn(payload)
		return
	}
	c := getChunk(ref)
	c.buf, c.w = payload, len(payload)
	o.push(c, len(payload))
}

// promise tells whether the appender has to flush.
func (o *Outbox) promise() bool {
	if o.promised || o.blocked {
		return false
	}
	o.promised = true
	return true
}

func (o *Outbox) copyHead(head []byte, pidAt int, pid uint16) {
	var id [2]byte
	binary.BigEndian.PutUint16(id[:], pid)
	if t := o.tail; t != nil && len(t.buf)-t.w >= len(head) {
		copy(t.buf[t.w:], head)
		copy(t.buf[t.w+pidAt:], id[:])
		t.w += len(head)
		return
	}
	// The head may come to lie across two chunks, the packet identifier too.
	o.copyIn(head[:pidAt])
	o.copyIn(id[:])
	o.copyIn(head[pidAt+2:])
}

func (o *Outbox) copyIn(p []byte) {
	if t := o.tail; t != nil {
		n := copy(t.buf[t.w:], p)
		t.w += n
		p = p[n:]
	}
	for len(p) > 0 {
		c := o.grow(len(p))
		c.w = copy(c.buf, p)
		p = p[c.w:]
	}
}

// grow adds a chunk that suits n more bytes: a size above the tail's, because a queue that has outgrown one is likely to
// go on growing, and few large slices make a cheap writev.
func (o *Outbox) grow(n int) *chunk {
	class := uint8(small)
	if o.tail != nil && o.tail.class < large {
		class = o.tail.class + 1
	} else if o.tail != nil && o.tail.class == large {
		class = large
	}
	for class < large && classSize[class] < n {
		class++
	}
	c := getChunk(class)
	o.push(c, classSize[class])
	return c
}

func (o *Outbox) push(c *chunk, charge int) {
	o.budget.Add(charge)
	if o.tail == nil {
		o.head = c
	} else {
		o.tail.next = c
	}
	o.tail = c
}

// Bytes is the number of bytes not yet written, those inside a write included. It takes no lock.
func (o *Outbox) Bytes() int { return int(o.bytes.Load()) }

// Blocked tells whether the last write left something behind that waits for Unblock.
func (o *Outbox) Blocked() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.blocked
}

// StartWrite is for the engine. It claims the writer's role and appends up to cap(iov)-len(iov) slices to iov, oldest
// bytes first; the slices stay valid until FinishWrite. ok is false if there is nothing to write, somebody else is
// writing (who then goes on for this caller), the socket is blocked, or the outbox is closed. In every case the promise
// of an earlier Append counts as kept.
func (o *Outbox) StartWrite(iov [][]byte) (bufs [][]byte, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.promised = false
	if o.writing {
		o.retry = true
		return iov, false
	}
	if o.head == nil || o.blocked || o.closed {
		return iov, false
	}
	c := o.head
	for ; c != nil && len(iov) < cap(iov); c = c.next {
		iov = append(iov, c.buf[c.r:c.w])
		o.taken += c.w - c.r
	}
	o.writing, o.retry = true, c != nil
	return iov, true
}

// FinishWrite reports that the first n of the bytes that StartWrite handed out are written, and gives the role back.
// blocked says that the socket takes no more: nobody writes until Unblock. again asks for another StartWrite at once:
// bytes were left over, or a flush came by meanwhile. closed says that Close was called during the write; it is true for
// one caller only, and that caller finishes closing the descriptor.
func (o *Outbox) FinishWrite(n int, blocked bool) (again, closed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	left := n < o.taken
	o.writing, o.taken = false, 0
	if o.closed {
		o.drop()
		return false, true
	}
	o.bytes.Add(int64(-n))
	for c := o.head; c != nil; c = o.head {
		if waiting := c.w - c.r; n < waiting {
			c.r += n
			break
		} else {
			n -= waiting
		}
		o.pop()
	}
	o.blocked = blocked && o.head != nil
	again = (left || o.retry) && !o.blocked && o.head != nil
	o.retry = false
	return again, false
}

// pop gives the first chunk back.
func (o *Outbox) pop() {
	c := o.head
	if o.head = c.next; o.head == nil {
		o.tail = nil
	}
	o.budget.Add(-len(c.buf))
	putChunk(c)
}

func (o *Outbox) drop() {
	for o.head != nil {
		o.pop()
	}
	o.bytes.Store(0)
}

// Unblock says that the socket is writable again; the caller flushes next.
func (o *Outbox) Unblock() {
	o.mu.Lock()
	o.blocked = false
	o.mu.Unlock()
}

// Seal refuses all further appends; what is queued is still written.
func (o *Outbox) Seal() {
	o.mu.Lock()
	o.sealed = true
	o.mu.Unlock()
}

// Close drops everything and refuses further appends and writes. busy means that a writer is inside write(2): the memory
// it uses is dropped by its FinishWrite, which then reports closed. Closing twice does nothing and reports busy=false.
func (o *Outbox) Close() (busy bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	o.sealed, o.closed, o.blocked = true, true, false
	if o.writing {
		o.bytes.Store(0)
		return true
	}
	o.drop()
	return false
}
