package outbox

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"unsafe"
)

// drain writes everything with slices of at most iov, as an engine would, and returns what came out.
func drain(t *testing.T, o *Outbox, iov int) []byte {
	t.Helper()
	var got []byte
	for {
		slices, ok := o.StartWrite(make([][]byte, 0, iov))
		if !ok {
			return got
		}
		n := 0
		for _, s := range slices {
			got = append(got, s...)
			n += len(s)
		}
		if again, closed := o.FinishWrite(n, false); closed {
			t.Fatal("closed")
		} else if !again {
			return got
		}
	}
}

func TestAppendAndWrite(t *testing.T) {
	var b Budget
	var o Outbox
	o.Init(&b)
	var want []byte
	for i := range 5000 {
		p := bytes.Repeat([]byte{byte(i)}, i%300)
		want = append(want, p...)
		ok, wake := o.Append(p)
		if !ok || wake != (i == 0) {
			t.Fatalf("append %d: ok=%v wake=%v", i, ok, wake)
		}
	}
	if o.Bytes() != len(want) {
		t.Errorf("Bytes is %d, want %d", o.Bytes(), len(want))
	}
	if used := b.Used(); used < int64(len(want)) || used > int64(len(want)+100_000) {
		t.Errorf("%d bytes are charged as %d", len(want), used)
	}
	if got := drain(t, &o, 3); !bytes.Equal(got, want) {
		t.Error("what comes out is not what went in")
	}
	if o.Bytes() != 0 || b.Used() != 0 || o.head != nil || o.tail != nil {
		t.Errorf("an empty outbox holds %d bytes, %d charged", o.Bytes(), b.Used())
	}
}

func TestAppendPublish(t *testing.T) {
	head := []byte{0x32, 9, 0, 1, 't', 0xff, 0xff}
	saved := bytes.Clone(head)
	large := bytes.Repeat([]byte("payload "), 2000)
	for _, tc := range []struct {
		name    string
		before  int // bytes in the chunk already
		pidAt   int
		payload []byte
		owned   bool
		refs    int
	}{
		{"small", 0, 5, []byte("hello"), true, 0},
		{"no packet identifier", 0, -1, []byte("hello"), true, 0},
		{"empty payload", 0, 5, nil, true, 0},
		{"identifier across two chunks", 512 - 6, 5, []byte("hello"), true, 0},
		{"head across two chunks", 512 - 3, 5, []byte("hello"), true, 0},
		{"head fits exactly", 512 - 7, 5, []byte("hello"), true, 0},
		{"large", 10, 5, large, true, 1},
		{"large, not to be kept", 10, 5, large, false, 0},
		{"at the threshold", 0, 5, large[:RefThreshold], true, 0},
		{"above the threshold", 0, 5, large[:RefThreshold+1], true, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b Budget
			var o Outbox
			o.Init(&b)
			want := bytes.Repeat([]byte{'.'}, tc.before)
			o.Append(want)
			for _, pid := range []uint16{0x0102, 0xfffe} {
				if ok, _ := o.AppendPublish(head, tc.pidAt, pid, tc.payload, tc.owned); !ok {
					t.Fatal("refused")
				}
				at := len(want)
				want = append(append(want, head...), tc.payload...)
				if tc.pidAt >= 0 {
					binary.BigEndian.PutUint16(want[at+tc.pidAt:], pid)
				}
			}
			o.Append([]byte("next"))
			want = append(want, "next"...)
			refs := 0
			for c := o.head; c != nil; c = c.next {
				if c.class == ref {
					refs++
					if &c.buf[0] != &tc.payload[0] {
						t.Error("a reference is a copy")
					}
				}
			}
			if refs != 2*tc.refs {
				t.Errorf("%d references, want %d", refs, 2*tc.refs)
			}
			if got := drain(t, &o, 2); !bytes.Equal(got, want) {
				t.Errorf("got\n%x\nwant\n%x", got, want)
			}
			if !bytes.Equal(head, saved) {
				t.Error("the caller's head was changed")
			}
			if b.Used() != 0 {
				t.Errorf("%d bytes are still charged", b.Used())
			}
		})
	}
}

// Who has to flush, and who may rely on others.
func TestWake(t *testing.T) {
	var o Outbox
	iov := make([][]byte, 0, 8)
	x := []byte("x")
	wake := func(want bool, when string) {
		t.Helper()
		if ok, got := o.Append(x); !ok || got != want {
			t.Errorf("%s: ok=%v wake=%v, want %v", when, ok, got, want)
		}
	}
	start := func(want bool, when string) {
		t.Helper()
		if _, ok := o.StartWrite(iov); ok != want {
			t.Errorf("%s: StartWrite %v, want %v", when, ok, want)
		}
	}
	finish := func(n int, blocked, want bool, when string) {
		t.Helper()
		if again, _ := o.FinishWrite(n, blocked); again != want {
			t.Errorf("%s: again=%v, want %v", when, again, want)
		}
	}
	start(false, "empty")
	wake(true, "first")
	wake(false, "promised already")
	start(true, "flush")
	wake(true, "while another writes: its slices are taken already")
	start(false, "while another writes")
	finish(2, false, true, "a flush came by meanwhile")
	start(true, "again")
	finish(1, false, false, "all written")
	start(false, "empty again")

	wake(true, "appended")
	start(true, "flush")
	wake(true, "during the write, with a flush to come")
	finish(1, false, false, "the appender has promised to flush")
	start(true, "which it does")
	finish(0, true, false, "blocked")
	wake(false, "blocked: the owner goes on")
	start(false, "blocked")
	if !o.Blocked() {
		t.Error("not blocked")
	}
	o.Unblock()
	start(true, "unblocked")
	finish(1, false, true, "a part is left, and the socket is not full")
	start(true, "the rest")
	finish(1, true, false, "all written, though the socket is full")
	if o.Blocked() {
		t.Error("an empty outbox is blocked: nobody would ever unblock it")
	}
	wake(true, "after all this")
}

func TestSealAndClose(t *testing.T) {
	var b Budget
	var o Outbox
	o.Init(&b)
	o.Append(make([]byte, 1000))
	o.Seal()
	if ok, _ := o.Append([]byte("x")); ok {
		t.Error("sealed, but takes more")
	}
	if ok, _ := o.AppendPublish([]byte("x"), -1, 0, nil, false); ok {
		t.Error("sealed, but takes a publish")
	}
	if got := drain(t, &o, 8); len(got) != 1000 {
		t.Errorf("sealed, and %d of 1000 bytes come out", len(got))
	}
	if o.Close() {
		t.Error("busy with nobody writing")
	}

	var p Outbox
	p.Init(&b)
	p.Append(make([]byte, 10_000))
	slices, _ := p.StartWrite(make([][]byte, 0, 8))
	if !p.Close() {
		t.Error("not busy while somebody writes")
	}
	if p.Close() {
		t.Error("the second Close is busy too")
	}
	if p.Bytes() != 0 {
		t.Errorf("closed, and %d bytes wait", p.Bytes())
	}
	var other Outbox // must not get the memory that is being written
	other.Append(bytes.Repeat([]byte{1}, 10_000))
	for _, s := range slices {
		if bytes.Contains(s, []byte{1}) {
			t.Error("memory in use was given to another outbox")
		}
	}
	if again, closed := p.FinishWrite(5000, false); again || !closed {
		t.Errorf("again=%v closed=%v", again, closed)
	}
	if _, ok := p.StartWrite(nil); ok {
		t.Error("a closed outbox lets somebody write")
	}
	if used := b.Used(); used != 0 {
		t.Errorf("%d bytes are still charged", used)
	}
}

// The oracle is one byte slice: random appends, partial writes, blocks; what comes out is what went in.
func TestAgainstSlice(t *testing.T) {
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		var b Budget
		var o Outbox
		o.Init(&b)
		var want, got []byte
		next := byte(0)
		fresh := func(n int) []byte {
			p := make([]byte, n)
			for i := range p {
				next = next*5 + 1
				p[i] = next
			}
			return p
		}
		for range 1000 {
			switch rnd.IntN(6) {
			case 0, 1:
				p := fresh(rnd.IntN(200))
				o.Append(p)
				want = append(want, p...)
			case 2:
				p, q := fresh(rnd.IntN(40)), fresh(rnd.IntN(20_000))
				o.AppendPublish(p, -1, 0, q, rnd.IntN(2) == 0)
				want = append(append(want, p...), q...)
			case 3:
				p := fresh(rnd.IntN(100_000))
				o.Append(p)
				want = append(want, p...)
			case 4:
				o.Unblock()
			default:
				slices, ok := o.StartWrite(make([][]byte, 0, 1+rnd.IntN(5)))
				if !ok {
					continue
				}
				var all []byte
				for _, s := range slices {
					all = append(all, s...)
				}
				p := fresh(rnd.IntN(100)) // appended in the middle of a write
				o.Append(p)
				want = append(want, p...)
				n := rnd.IntN(len(all) + 1)
				got = append(got, all[:n]...)
				o.FinishWrite(n, rnd.IntN(3) == 0)
			}
			if o.Bytes() != len(want)-len(got) {
				t.Fatalf("seed %d: Bytes is %d, want %d", seed, o.Bytes(), len(want)-len(got))
			}
		}
		o.Unblock()
		for o.Bytes() > 0 {
			got = append(got, drain(t, &o, 4)...)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: what comes out is not what went in", seed)
		}
		if b.Used() != 0 {
			t.Fatalf("seed %d: %d bytes are still charged", seed, b.Used())
		}
	}
}

// Many appenders, each flushing when it is told to, and nobody else: everything comes out, so no wake-up is lost.
func TestNoByteIsLeftBehind(t *testing.T) {
	const appenders, each = 8, 3000
	var o Outbox
	var mu sync.Mutex // the "socket"
	var got []byte
	flush := func(rnd *rand.Rand) {
		for {
			slices, ok := o.StartWrite(make([][]byte, 0, 4))
			if !ok {
				return
			}
			n := 0
			for _, s := range slices {
				n += len(s)
			}
			if rnd.IntN(4) == 0 {
				n /= 2
			}
			if !mu.TryLock() {
				t.Error("two writers at once")
				return
			}
			for i, rest := 0, n; rest > 0; i++ {
				k := min(rest, len(slices[i]))
				got = append(got, slices[i][:k]...)
				rest -= k
			}
			mu.Unlock()
			blocked := rnd.IntN(8) == 0
			again, _ := o.FinishWrite(n, blocked)
			if o.Blocked() && blocked { // the owner's part, played by whoever was blocked
				runtime.Gosched()
				o.Unblock()
				continue
			}
			if !again {
				return
			}
		}
	}
	var wg sync.WaitGroup
	for a := range appenders {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(a), 3))
			for i := range each {
				rec := binary.BigEndian.AppendUint32([]byte{byte(a)}, uint32(i))
				if _, wake := o.Append(rec); wake {
					runtime.Gosched()
					flush(rnd)
				}
			}
		})
	}
	wg.Wait()
	if o.Bytes() != 0 {
		t.Errorf("%d bytes are left behind", o.Bytes())
	}
	var next [appenders]int
	for ; len(got) >= 5; got = got[5:] {
		if i := int(binary.BigEndian.Uint32(got[1:])); i != next[got[0]] {
			t.Fatalf("appender %d: record %d, want %d", got[0], i, next[got[0]])
		}
		next[got[0]]++
	}
}

func TestOutboxIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Outbox{}); n >= 100 {
		t.Errorf("an outbox takes %d bytes", n)
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool drops what it is given")
	}
	var o Outbox
	head, large := make([]byte, 60), make([]byte, 20_000)
	iov := make([][]byte, 0, 32)
	cycle := func() {
		for range 100 {
			o.Append(head)
			o.AppendPublish(head, 10, 77, head, true)
		}
		o.AppendPublish(head, 10, 77, large, true)
		for again := true; again; {
			slices, ok := o.StartWrite(iov)
			if !ok {
				t.Fatal("nothing to write")
			}
			n := 0
			for _, s := range slices {
				n += len(s)
			}
			again, _ = o.FinishWrite(n, false)
		}
	}
	cycle()
	if n := testing.AllocsPerRun(1000, cycle); n != 0 {
		t.Errorf("%v allocations per cycle", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	var o Outbox
	frame := make([]byte, 80)
	iov := make([][]byte, 0, 32)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		o.Append(frame)
		if i%32 == 31 {
			s, _ := o.StartWrite(iov)
			n := 0
			for _, p := range s {
				n += len(p)
			}
			o.FinishWrite(n, false)
		}
	}
}

// One frame each to many outboxes, then a flush of each: what a fan-out does.
func BenchmarkFanOut(b *testing.B) {
	boxes := make([]Outbox, 1000)
	var budget Budget
	for i := range boxes {
		boxes[i].Init(&budget)
	}
	head, payload := make([]byte, 20), make([]byte, 64)
	iov := make([][]byte, 0, 32)
	b.ReportAllocs()
	for b.Loop() {
		for i := range boxes {
			boxes[i].AppendPublish(head, -1, 0, payload, true)
		}
		for i := range boxes {
			boxes[i].StartWrite(iov)
			boxes[i].FinishWrite(len(head)+len(payload), false)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(boxes)), "ns/delivery")
}
