package netloop

import (
	"math/bits"

	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
)

const (
	// A rest up to frontMax bytes is copied in front of the next read into the loop's buffer; it bounds what a peer that
	// sends byte by byte costs per byte. A longer one gets a buffer of its own, which is read into directly.
	frontMax = 4 << 10
	// Partial packets above this many bytes are charged to the budget.
	chargeMin = frontMax
)

// partial is the unconsumed rest of what has been read on one connection; buf[off:] is offered again. There is one only while
// there is a rest. It holds at first no more memory than the rest needs, and later at most twice what has arrived: the size
// that a peer announces is never allocated before the bytes are here.
type partial struct {
	buf  []byte
	off  uint32
	need uint32 // announced size of the packet at the front; 0: unknown
}

// rest is what is to be offered again; nil has none.
func (p *partial) rest() []byte {
	if p == nil {
		return nil
	}
	return p.buf[p.off:]
}

// bufs keeps the buffers of partial packets for reuse within one slot: powers of two from 64 bytes to 256 KiB.
type bufs struct {
	free   [maxBufBits + 1][][]byte
	held   int // bytes in free
	spare  []*partial
	budget *outbox.Budget
}

const (
	minBufBits = 6
	maxBufBits = 18
	maxHeld    = 1 << 20
	maxSpare   = 256
)

func (b *bufs) get(n int) []byte {
	class := max(bits.Len(uint(n-1)), minBufBits)
	if class > maxBufBits {
		b.budget.Add(n)
		return make([]byte, 0, n)
	}
	size := 1 << class
	if size > chargeMin {
		b.budget.Add(size)
	}
	if f := b.free[class]; len(f) > 0 {
		buf := f[len(f)-1]
		b.free[class] = f[:len(f)-1]
		b.held -= size
		return buf
	}
	return make([]byte, 0, size)
}

func (b *bufs) put(buf []byte) {
	size := cap(buf)
	if size > chargeMin {
		b.budget.Add(-size)
	}
	class := bits.Len(uint(size)) - 1
	if size != 1<<max(class, 0) || class > maxBufBits || b.held+size > maxHeld {
		return // one above the classes, or the memory is better given back
	}
	b.free[class] = append(b.free[class], buf[:0])
	b.held += size
}

// release forgets the rest.
func (b *bufs) release(at **partial) {
	p := *at
	if p == nil {
		return
	}
	b.put(p.buf)
	*at, *p = nil, partial{}
	if len(b.spare) < maxSpare {
		b.spare = append(b.spare, p)
	}
}

// keep stores a copy of rest, which lies in the slot's read buffer.
func (b *bufs) keep(at **partial, rest []byte, need int) {
	if len(rest) == 0 {
		return
	}
	size := len(rest)
	if size > frontMax { // it is going to be read into
		if size *= 2; need > len(rest) {
			size = min(size, need)
		}
	}
	var p *partial
	if n := len(b.spare); n > 0 {
		p, b.spare = b.spare[n-1], b.spare[:n-1]
	} else {
		p = new(partial)
	}
	p.buf = append(b.get(size), rest...)
	p.need = uint32(min(max(need, 0), maxPacket))
	*at = p
}

// consume drops n bytes from the front of p's own buffer.
func (b *bufs) consume(at **partial, n, need int) {
	p := *at
	p.off += uint32(n)
	p.need = uint32(min(max(need, 0), maxPacket))
	switch rest, size := p.rest(), cap(p.buf); {
	case len(rest) == 0:
		b.release(at)
	case size > 2*frontMax && len(rest) <= max(frontMax, size/8): // too large for what is left
		b.keep(at, rest, need)
		b.release(&p)
	}
}

// room returns free space behind the rest, growing the buffer if there is none: to twice the rest, or to the announced
// size if that is less.
func (b *bufs) room(p *partial) []byte {
	if len(p.buf) < cap(p.buf) {
		return p.buf[len(p.buf):cap(p.buf)]
	}
	rest := p.rest()
	if int(p.off) >= len(rest) && p.off > 0 { // half of it is consumed: moving the rest down pays
		p.buf = p.buf[:copy(p.buf, rest)]
	} else {
		size := 2 * len(rest)
		if need := int(p.need); need > len(rest) {
			size = min(size, need)
		}
		bigger := append(b.get(size), rest...)
		b.put(p.buf)
		p.buf = bigger
	}
	p.off = 0
	return p.buf[len(p.buf):cap(p.buf)]
}
