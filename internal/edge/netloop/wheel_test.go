package netloop

import (
	"math/rand/v2"
	"testing"
)

type timedThing struct {
	links links[timedThing]
	want  int64 // the oracle: when it is due; 0: never
	set   int64 // when that was said
}

func (e *timedThing) timer() *links[timedThing] { return &e.links }

// change moves or clears the deadline of e, one way or another.
func (e *timedThing) change(w *wheel[timedThing, *timedThing], rnd *rand.Rand, now int64) {
	switch rnd.IntN(10) {
	case 0, 1:
		e.want = 0
	case 2:
		e.want = now + rnd.Int64N(300_000) // some turns of the wheel ahead
	case 3:
		e.want = now - rnd.Int64N(1000) // due already
	default:
		e.want = now + rnd.Int64N(3000)
	}
	if e.want == 0 && rnd.IntN(2) == 0 {
		w.remove(e)
		return
	}
	w.set(e, e.want)
}

// The wheel against the obvious: a list that is searched. Random deadlines, near and far, moved and cleared, with a clock
// that sometimes jumps.
func TestWheelAgainstList(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var w wheel[timedThing, *timedThing]
		now := int64(1_700_000_000_000) + rnd.Int64N(1000)
		w.start(now)
		things := make([]timedThing, 200)
		for range 5000 {
			for range rnd.IntN(20) {
				e := &things[rnd.IntN(len(things))]
				e.set = now
				e.change(&w, rnd, now)
			}
			if rnd.IntN(100) == 0 {
				now += rnd.Int64N(200_000)
			} else {
				now += rnd.Int64N(250)
			}
			if next := w.next(); next != 0 && next <= w.last*tickMillis {
				t.Fatalf("seed %d: next is %d, that is past", seed, next)
			}
			fired := map[*timedThing]bool{}
			for _, e := range w.expired(now) {
				if !w.still(e, now) {
					t.Fatalf("seed %d: an entry that nobody has touched expired and is not due", seed)
				}
				fired[e] = true
				if e.want == 0 || e.want > now {
					t.Fatalf("seed %d: fired at %d, due at %d", seed, now, e.want)
				}
				e.want = 0
			}
			earliest := int64(0)
			for i := range things {
				e := &things[i]
				if e.want != 0 && max(e.want, e.set)+2*tickMillis <= now {
					t.Fatalf("seed %d: at %d an entry due at %d has not fired", seed, now, e.want)
				}
				if e.want != 0 && (earliest == 0 || e.want < earliest) {
					earliest = e.want
				}
			}
			next := w.next()
			if (next == 0) != (earliest == 0) || next > max(earliest, now)+2*tickMillis {
				t.Fatalf("seed %d: next is %d, the earliest deadline %d, now %d", seed, next, earliest, now)
			}
		}
		for i := range things {
			w.remove(&things[i])
		}
		if w.count != 0 || w.used != [wheelSlots / 64]uint64{} {
			t.Fatalf("seed %d: %d entries left, used %x", seed, w.count, w.used)
		}
	}
}

// What one expired entry does to another counts.
func TestWheelStill(t *testing.T) {
	var w wheel[timedThing, *timedThing]
	w.start(1000)
	var a, b, c timedThing
	for _, e := range []*timedThing{&a, &b, &c} {
		w.set(e, 1050)
	}
	expired := w.expired(1100)
	if len(expired) != 3 {
		t.Fatalf("%d expired, want 3", len(expired))
	}
	w.set(&a, 5000)
	w.remove(&b)
	w.set(&c, 1060)
	if w.still(&a, 1100) || w.still(&b, 1100) || !w.still(&c, 1100) || w.still(&c, 1100) {
		t.Error("a moved, b removed, c due once: still says otherwise")
	}
	if w.next() != 5000 {
		t.Errorf("next is %d, want 5000", w.next())
	}
}

// Keep-alive moves deadlines all day; that costs nothing.
func TestWheelAllocatesNothing(t *testing.T) {
	var w wheel[timedThing, *timedThing]
	now := int64(1_000_000)
	w.start(now)
	things := make([]timedThing, 100)
	step := func() {
		now += 90
		for i := range things {
			w.set(&things[i], now+int64(i)*50)
		}
		for _, e := range w.expired(now) {
			w.still(e, now)
		}
	}
	for range 1000 {
		step()
	}
	if n := testing.AllocsPerRun(1000, step); n != 0 {
		t.Errorf("%v allocations per round", n)
	}
}

func BenchmarkWheelPostpone(b *testing.B) {
	var w wheel[timedThing, *timedThing]
	w.start(1_000_000)
	var e timedThing
	for i := 0; b.Loop(); i++ {
		w.set(&e, int64(1_090_000+i))
	}
}
