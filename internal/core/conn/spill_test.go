package conn_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/store/storetest"
)

// spillWorld is a broker whose long queues lie in a store that answers late, and restarts with what that store has.
type spillWorld struct {
	*world
	t    testing.TB
	seed uint64
	st   settings
	late *storetest.Late
}

func newSpillWorld(t testing.TB, seed uint64) *spillWorld {
	s := &spillWorld{t: t, seed: seed}
	s.start(nil)
	return s
}

func (s *spillWorld) start(state *storetest.State) {
	s.late = storetest.NewLate(storetest.LateOptions{Seed: s.seed, State: state, Loose: true})
	s.st = defaults()
	s.st.limits = session.Limits{MaxInflight: 20, OutboxBytes: 1 << 20, Outboxes: new(outbox.Budget), Paged: true}
	s.st.store = s.late
	s.world = newWorld(s.t, &s.st)
}

// settle has all done that follows from what was sent.
func (s *spillWorld) settle() {
	for busy := true; busy; {
		s.run()
		s.late.Sync()
		busy = s.turn(0) || s.late.Waiting() > 0
	}
}

// restart ends the broker without a word and starts another on what the store has.
func (s *spillWorld) restart() {
	s.settle()
	state := s.late.State()
	if b := s.late.Breaches(); len(b) > 0 {
		s.t.Fatalf("seed %d: %s", s.seed, strings.Join(b, "; "))
	}
	if err := s.late.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.start(state)
}

// taker is a client that acknowledges what it gets, and keeps its side of QoS 2 over connections.
type taker struct {
	c     *client
	got   map[string]int // by payload
	order map[byte][]int // payloads in the order they first came, by QoS
	begun map[string]bool
	// lazy, if not nil, says which answers are left out, so that the flows of a connection end in another order than they began.
	lazy func() bool
}

func (k *taker) answer(text string) {
	if k.lazy == nil || !k.lazy() {
		k.c.send(text)
	}
}

func newTaker() *taker {
	return &taker{got: map[string]int{}, order: map[byte][]int{}, begun: map[string]bool{}}
}

// take reads once and answers. false: nothing had come.
func (k *taker) take(t testing.TB) bool {
	packets := k.c.read()
	for _, p := range packets {
		f := strings.Fields(p)
		switch f[0] {
		case "PUBLISH":
			payload, qos, id := strings.Trim(f[2], `"`), f[3], strings.TrimPrefix(f[4], "id=")
			if qos == "qos=1" {
				k.first(t, payload, 1)
				k.answer("PUBACK " + id)
				continue
			}
			if !k.begun[id] {
				k.begun[id] = true
				k.first(t, payload, 2)
			}
			k.answer("PUBREC " + id)
		case "PUBREL":
			delete(k.begun, f[1])
			k.answer("PUBCOMP " + f[1])
		case "PUBREC":
			k.c.send("PUBREL " + f[1])
		}
	}
	return len(packets) > 0
}

func (k *taker) first(t testing.TB, payload string, qos byte) {
	if k.got[payload]++; k.got[payload] == 1 {
		n, err := strconv.Atoi(payload)
		if err != nil {
			t.Fatal(err)
		}
		k.order[qos] = append(k.order[qos], n)
	}
}

// drain takes until nothing comes any more.
func (s *spillWorld) drain(k *taker) {
	for again := true; again; {
		s.settle()
		again = k.take(s.t)
	}
}

// publish sends numbered messages from one of the numbers on, and has them acknowledged.
func (s *spillWorld) publish(from, n int, qos func(i int) int) {
	pub := &taker{c: s.connect(fmt.Sprint("pub", from), "v3 clean")}
	for i := from; i < from+n; i++ {
		if q := qos(i); q == 0 {
			continue
		}
		pub.c.send(fmt.Sprintf(`PUBLISH t "%d" qos=%d id=%d`, i, qos(i), i-from+1))
	}
	s.drain(pub)
	pub.c.send("DISCONNECT")
	s.settle()
}

// Long: one random history and what must hold after it.
//
// A session that is away, comes back for a while, does not acknowledge, and is there when the broker restarts, gets each
// QoS 1 message at least once, each QoS 2 message exactly once, and in order, whatever of its queue lies in the store.
func TestSpilledQueueIsWholeAndInOrder(t *testing.T) {
	for seed := range uint64(10) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		s := newSpillWorld(t, seed)
		sub := newTaker()
		sub.c = s.connect("sub", "expiry=100000")
		sub.c.send("SUBSCRIBE 1 t qos=2")
		s.drain(sub)
		sent, there := 0, true
		qos := func(i int) int { return 1 + int((uint64(i)*2654435761+seed)>>7&1) }
		for range 12 {
			switch rnd.IntN(6) {
			case 0, 1:
				n := 1 + rnd.IntN(900)
				s.publish(sent, n, qos)
				sent += n
			case 2:
				if there {
					sub.c.hangUp()
					s.settle()
				}
				there = false
			case 3:
				if !there {
					sub.c = s.connect("sub", "expiry=100000")
					there = true
				}
			case 4, 5:
				sub.lazy = func() bool { return rnd.IntN(12) == 0 }
				for range rnd.IntN(40) {
					s.settle()
					if !there || !sub.take(t) {
						break
					}
				}
				sub.lazy = nil
				if rnd.IntN(2) == 0 {
					s.restart()
					there = false
				}
			}
		}
		if there {
			sub.c.hangUp()
			s.settle()
		}
		sub.c = s.connect("sub", "expiry=100000")
		s.drain(sub)
		for i := range sent {
			switch n := sub.got[strconv.Itoa(i)]; {
			case n == 0:
				t.Fatalf("seed %d: message %d of %d, QoS %d, is lost", seed, i, sent, qos(i))
			case n > 1 && qos(i) == 2:
				t.Fatalf("seed %d: message %d came %d times at QoS 2", seed, i, n)
			}
		}
		for q, order := range sub.order {
			for i := 1; i < len(order); i++ {
				if order[i] < order[i-1] {
					t.Fatalf("seed %d: at QoS %d message %d came after %d", seed, q, order[i], order[i-1])
				}
			}
		}
		if f := s.router.Figures(); f.QueuedBytes != 0 {
			t.Errorf("seed %d: with nothing queued, %d bytes are counted", seed, f.QueuedBytes)
		}
		s.settle()
		if q := s.late.State().Sessions["sub"].Queue; len(q.Messages) > 0 || len(q.Released) > 0 {
			t.Errorf("seed %d: %d messages are still stored", seed, len(q.Messages)+len(q.Released))
		}
	}
}

// What waits for an absent client lies in the store: memory has the front of the queue and no more.
func TestAbsentQueueCostsNoMemory(t *testing.T) {
	s := newSpillWorld(t, 1)
	sub := newTaker()
	sub.c = s.connect("sub", "expiry=100000")
	sub.c.send("SUBSCRIBE 1 t qos=1")
	s.drain(sub)
	sub.c.hangUp()
	s.settle()
	const n = 5000
	var most int64
	for at := 0; at < n; at += 500 {
		s.publish(at, 500, func(int) int { return 1 })
		most = max(most, s.router.Figures().QueuedBytes)
	}
	if most > 16<<10 {
		t.Errorf("%d bytes in memory for an absent client", most)
	}
	sub.c = s.connect("sub", "expiry=100000")
	for again := true; again; {
		s.settle()
		most = max(most, s.router.Figures().QueuedBytes)
		again = sub.take(t)
	}
	if len(sub.got) != n || most > 512<<10 {
		t.Errorf("%d messages of %d came, with at most %d bytes in memory", len(sub.got), n, most)
	}
}

// What members of a shared group had not acknowledged when the broker went down is given to others, as when they leave.
func TestSharedMessagesSurvive(t *testing.T) {
	s := newSpillWorld(t, 1)
	a := s.connect("a", "expiry=1000")
	a.send("SUBSCRIBE 1 $share/g/t qos=1")
	s.settle()
	a.read()
	s.publish(0, 30, func(int) int { return 1 }) // 20 in flight to a, 10 in the group's own queue
	s.restart()
	b := newTaker()
	b.c = s.connect("b", "expiry=1000")
	b.c.send("SUBSCRIBE 1 $share/g/t qos=1")
	s.drain(b)
	s.publish(30, 1, func(int) int { return 1 })
	s.drain(b)
	if len(b.got) != 31 {
		t.Errorf("%d messages of 31 came to the other member: %v", len(b.got), b.order[1])
	}
}

// A subscription that had not been answered with all retained messages when the broker went down is answered when the
// client comes back, which does not subscribe again; and then never more.
func TestUnfinishedReplaySurvives(t *testing.T) {
	s := newSpillWorld(t, 1)
	pub := &taker{c: s.connect("pub", "v3 clean")}
	for i := range 60 {
		pub.c.send(fmt.Sprintf(`PUBLISH r/%d "%d" qos=1 id=%d retain`, i, i, i+1))
	}
	s.drain(pub)
	sub := newTaker()
	sub.c = s.connect("sub", "expiry=1000")
	sub.c.send("SUBSCRIBE 1 r/# qos=1")
	s.settle() // 20 have been sent, and none was acknowledged
	s.restart()
	sub.c = s.connect("sub", "expiry=1000")
	s.drain(sub)
	if len(sub.got) != 60 {
		t.Errorf("%d retained messages of 60 came", len(sub.got))
	}
	s.restart()
	sub.c, sub.got = s.connect("sub", "expiry=1000"), map[string]int{}
	s.drain(sub)
	if len(sub.got) != 0 {
		t.Errorf("%d retained messages came again", len(sub.got))
	}
}

// What was never sent is not marked as if it had been, when the store knows how far the sending had come.
func TestNoDupForWhatWasNotSent(t *testing.T) {
	s := newSpillWorld(t, 1)
	c := s.connect("sub", "expiry=1000")
	c.send("SUBSCRIBE 1 t qos=1")
	s.settle()
	c.send("DISCONNECT")
	s.settle()
	s.publish(0, 2, func(int) int { return 1 })
	s.restart()
	c = s.connect("sub", "expiry=1000")
	s.settle()
	c.expect("CONNACK session-present", `PUBLISH t "0" qos=1 id=1`, `PUBLISH t "1" qos=1 id=2`)
}
