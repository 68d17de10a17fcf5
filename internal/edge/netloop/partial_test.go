package netloop

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
)

// A rest that is kept, read into, partly consumed, and kept again is always the bytes that were not consumed; memory is
// bounded by what is there; the budget comes out even.
func TestPartialAgainstSlice(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	b := bufs{budget: new(outbox.Budget)}
	var p *partial
	var want []byte
	stream := pattern(1<<20, 5)
	for round := range 20_000 {
		need := 0
		switch rnd.IntN(3) {
		case 0:
			need = len(want) + rnd.IntN(100_000)
		case 1:
			need = maxPacket
		}
		if len(p.rest()) <= frontMax { // as readable does
			in := append(bytes.Clone(p.rest()), stream[:rnd.IntN(20_000)]...)
			b.release(&p)
			want = bytes.Clone(in)
			used := rnd.IntN(len(in) + 1)
			b.keep(&p, in[used:], need)
			want = want[used:]
		} else {
			room := b.room(p)
			if len(room) == 0 {
				t.Fatal("no room")
			}
			n := copy(room, stream[round:round+min(1+rnd.IntN(60_000), len(room))])
			p.buf = p.buf[:len(p.buf)+n]
			want = append(want, stream[round:round+n]...)
			used := rnd.IntN(len(want) + 1)
			if rnd.IntN(2) == 0 {
				used = 0
			}
			if len(want) > 400_000 {
				used = len(want) - rnd.IntN(5000)
			}
			b.consume(&p, used, need)
			want = want[used:]
		}
		if !bytes.Equal(p.rest(), want) {
			t.Fatalf("round %d: the rest is %d bytes, want %d, or they differ", round, len(p.rest()), len(want))
		}
		if p == nil {
			continue
		}
		if c := cap(p.buf); c > 8*len(want)+4*frontMax && p.off == 0 {
			t.Fatalf("round %d: %d bytes hold %d", round, len(want), c)
		}
	}
	b.release(&p)
	if n := b.budget.Used(); n != 0 {
		t.Errorf("%d bytes are still charged", n)
	}
	held := 0
	for _, f := range b.free {
		for _, buf := range f {
			held += cap(buf)
		}
	}
	if held != b.held || held > maxHeld {
		t.Errorf("%d bytes held, accounted %d, limit %d", held, b.held, maxHeld)
	}
}

// Bytes that trickle in are not copied over and over.
func TestTrickleIsNotQuadratic(t *testing.T) {
	var b bufs
	var p *partial
	b.keep(&p, make([]byte, frontMax+1), maxPacket)
	moved, last := 0, &p.buf[0]
	const total = 4 << 20
	for len(p.rest()) < total {
		b.room(p)
		if first := &p.buf[0]; first != last {
			moved, last = moved+len(p.buf), first
		}
		p.buf = p.buf[:len(p.buf)+1]
	}
	if moved > 2*total {
		t.Errorf("%d bytes moved for a packet of %d", moved, total)
	}
}
