package conn_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// The rules for state that several loops touch, docs/architecture.md, each with its test. Rule 8 is tested in broker,
// with real sockets.

// stubbornLoops is what a test gives loops that run in parallel: far more than they need, so that a deadlock fails.
const stubbornLoops = 60 * time.Second

// Rule 1: never two session locks at once. Two sessions on two loops publish to each other with all their might, and
// neither waits for ever for the other.
func TestRule1_NeverTwoSessionLocks(t *testing.T) {
	const each = 400
	st := defaults()
	st.loops, st.limits.MaxInflight, st.limits.MaxQueued = 2, 5, 10*each
	w := newWorld(t, &st)
	a, b := newResponder(w, "a", 0), newResponder(w, "b", 1)
	for _, r := range []*responder{a, b} {
		r.send("CONNECT v3 id=" + r.name)
		r.send("SUBSCRIBE 1 to/" + r.name + "/# qos=2")
	}
	w.run()
	stop := w.startLoops()
	for i := range each {
		for _, pair := range [][2]*responder{{a, b}, {b, a}} {
			from, to := pair[0], pair[1]
			from.send(fmt.Sprintf(`PUBLISH to/%s/0 "%d"`, to.name, i))
			from.send(fmt.Sprintf(`PUBLISH to/%s/1 "%d" qos=1 id=%d`, to.name, i, 2*i+1))
			from.send(fmt.Sprintf(`PUBLISH to/%s/2 "%d" qos=2 id=%d`, to.name, i, 2*i+2))
		}
	}
	a.await(t, each)
	b.await(t, each)
	stop()
}

// Rule 1: live never overtakes queued. A subscriber on another loop acknowledges while messages come, so that some find
// its queue empty and others do not; it gets them in the order of publishing.
func TestRule1_LiveNeverOvertakesQueued(t *testing.T) {
	const each = 2000
	st := defaults()
	st.loops, st.limits.MaxInflight, st.limits.MaxQueued = 2, 2, 10*each
	w := newWorld(t, &st)
	pub, sub := newResponder(w, "pub", 0), newResponder(w, "sub", 1)
	pub.send("CONNECT v3 clean id=pub")
	sub.send("CONNECT v5 id=sub expiry=100 receive-max=2")
	sub.send("SUBSCRIBE 1 to/sub/# qos=2")
	w.run()
	stop := w.startLoops()
	for i := range each {
		pub.send(fmt.Sprintf(`PUBLISH to/sub/0 "%d"`, i))
		pub.send(fmt.Sprintf(`PUBLISH to/sub/1 "%d" qos=1 id=%d`, i, 2*i+1))
		pub.send(fmt.Sprintf(`PUBLISH to/sub/2 "%d" qos=2 id=%d`, i, 2*i+2))
	}
	sub.await(t, each) // checks the order
	stop()
}

// Rule 1, for QoS 0 that was kept for an absent client: what comes live stands behind it.
func TestRule1_LiveQoS0BehindQueuedQoS0(t *testing.T) {
	st := defaults()
	st.limits.QueueQoS0, st.limits.MaxInflight = true, 1
	w := newWorld(t, &st)
	sub, pub := w.connect("sub", "v3"), w.connect("pub", "v3 clean")
	sub.do("SUBSCRIBE 1 a qos=1")
	sub.hangUp()
	w.run()
	pub.do(`PUBLISH a "1" qos=1 id=1`, `PUBLISH a "2" qos=1 id=2`, `PUBLISH a "zero, queued"`)
	sub = w.connect("sub", "v3")
	sub.expect("CONNACK session-present", `PUBLISH a "1" qos=1 id=1`)
	pub.do(`PUBLISH a "zero, live"`)
	sub.do("PUBACK 1")
	sub.do("PUBACK 2")
	sub.expect(`PUBLISH a "2" qos=1 id=2`, `PUBLISH a "zero, queued"`, `PUBLISH a "zero, live"`)
}

// Rule 2: acknowledgements leave in the order of the packets they answer, in whatever order the store answers
// [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-4].
func TestRule2_AcknowledgementsInOrder(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		st := defaults()
		w := newWorld(t, &st)
		absent, pub := w.connect("absent", "expiry=100"), w.connect("pub", "expiry=100")
		absent.do("SUBSCRIBE 1 stored/# qos=2")
		absent.hangUp()
		w.run()
		pub.expect("CONNACK")
		w.store.holdBack()

		var want []string
		for id := 1; id <= 12; id++ {
			switch rnd.IntN(5) {
			case 0:
				pub.do(fmt.Sprintf(`PUBLISH stored/%d "x" qos=1 id=%d`, id, id))
				want = append(want, fmt.Sprintf("PUBACK %d", id))
			case 1:
				pub.do(fmt.Sprintf(`PUBLISH nobody/%d "x" qos=1 id=%d`, id, id)) // nothing to store
				want = append(want, fmt.Sprintf("PUBACK %d 0x10", id))
			case 2:
				pub.do(fmt.Sprintf(`PUBLISH stored/%d "x" qos=2 id=%d`, id, id))
				want = append(want, fmt.Sprintf("PUBREC %d", id))
			case 3:
				pub.do(fmt.Sprintf("PUBREL %d", 100+id))
				want = append(want, fmt.Sprintf("PUBCOMP %d 0x92", 100+id))
			case 4:
				pub.do(fmt.Sprintf("SUBSCRIBE %d f/%d qos=1", id, id))
				want = append(want, fmt.Sprintf("SUBACK %d 1", id))
			}
		}
		var got []string
		for w.store.answerOne(nil, rnd.IntN) {
			w.run()
			got = append(got, pub.read()...)
			if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
				break
			}
		}
		if got = append(got, pub.read()...); !slices.Equal(got, want) {
			t.Fatalf("seed %d: answers\n%q, want\n%q", seed, got, want)
		}
	}
}

// Rule 2: a commit that comes back after its connection has gone says nothing to the next one, whose client sends the
// message again.
func TestRule2_OldCallbacksEmitNothing(t *testing.T) {
	for _, failure := range []error{nil, errDisk} {
		st := defaults()
		w := newWorld(t, &st)
		absent, pub := w.connect("absent", "expiry=100"), w.connect("pub", "expiry=100")
		absent.do("SUBSCRIBE 1 a qos=1")
		absent.hangUp()
		w.run()
		pub.read()
		w.store.holdBack()
		pub.do(`PUBLISH a "one" qos=1 id=1`, `PUBLISH a "two" qos=2 id=2`)
		pub.expect()
		old := pub
		old.hangUp()
		w.run()
		pub = w.connect("pub", "expiry=100")
		pub.expect("CONNACK session-present")
		w.store.answer(failure, nil)
		w.run()
		old.expect()
		pub.expect()
		pub.do(`PUBLISH a "one" qos=1 id=1 dup`, `PUBLISH a "two" qos=2 id=2 dup`)
		pub.expect("PUBACK 1", "PUBREC 2")
	}
}

// Rule 3: what may not be forgotten is stored before it is said: PUBREC, PUBCOMP, and towards the subscriber the QoS 2
// PUBLISH and PUBREL. Copies of QoS 0 and 1 do not wait.
func TestRule3_GatedByTheCommit(t *testing.T) {
	st := defaults()
	w := newWorld(t, &st)
	pub := w.connect("pub", "expiry=100")
	subs := make([]*client, 3)
	for qos := range subs {
		subs[qos] = w.connect(fmt.Sprintf("sub%d", qos), "expiry=100")
		subs[qos].do(fmt.Sprintf("SUBSCRIBE 1 a qos=%d", qos))
		subs[qos].read()
	}
	pub.read()
	step := func(waiting string, before, after func()) {
		t.Helper()
		before()
		if got := strings.Join(w.store.waiting(), "; "); got != waiting {
			t.Errorf("the store is asked for %q, want %q", got, waiting)
		}
		w.store.answer(nil, nil)
		w.run()
		after()
		w.store.holdBack()
	}
	w.store.holdBack()
	step("received pub 1",
		func() { pub.do(`PUBLISH a "x" qos=2 id=1`); pub.expect() },
		func() { pub.expect("PUBREC 1") })
	step("delete received pub 1, queue sub1 x, queue sub2 x",
		func() {
			pub.do("PUBREL 1")
			pub.expect()
			subs[0].expect(`PUBLISH a "x"`)
			subs[1].expect(`PUBLISH a "x" qos=1 id=1`)
			subs[2].expect()
		},
		func() {
			pub.expect("PUBCOMP 1") // the packet id was removed in this very commit
			subs[2].expect(`PUBLISH a "x" qos=2 id=1`)
		})
	step("release sub2",
		func() { subs[2].do("PUBREC 1"); subs[2].expect() },
		func() { subs[2].expect("PUBREL 1") })
	step("dequeue sub2",
		func() { subs[2].do("PUBCOMP 1") },
		func() {
			if q := w.store.queue("sub2"); len(q) > 0 {
				t.Errorf("%q is still stored for sub2", q)
			}
		})
}

// Rule 3, over a reconnect: the new connection waits for the commits of the old one as well.
func TestRule3_GatedOverReconnect(t *testing.T) {
	t.Run("PUBREL", func(t *testing.T) {
		st := defaults()
		w := newWorld(t, &st)
		pub, sub := w.connect("pub", "clean"), w.connect("sub", "expiry=100")
		sub.do("SUBSCRIBE 1 a qos=2")
		pub.do(`PUBLISH a "x" qos=2 id=1`, "PUBREL 1")
		sub.expect("CONNACK", "SUBACK 1 2", `PUBLISH a "x" qos=2 id=1`)
		w.store.holdBack()
		sub.do("PUBREC 1")
		sub.hangUp()
		w.run()
		sub = w.connect("sub", "expiry=100")
		sub.expect("CONNACK session-present")
		w.store.answer(nil, nil)
		w.run()
		sub.expect("PUBREL 1")
	})
	t.Run("PUBREC", func(t *testing.T) {
		st := defaults()
		w := newWorld(t, &st)
		pub := w.connect("pub", "expiry=100")
		pub.read()
		w.store.holdBack()
		pub.do(`PUBLISH a "x" qos=2 id=1`)
		pub.hangUp()
		w.run()
		pub = w.connect("pub", "expiry=100")
		pub.expect("CONNACK session-present")
		pub.do(`PUBLISH a "x" qos=2 id=1 dup`)
		pub.expect()
		w.store.answer(nil, nil)
		w.run()
		pub.expect("PUBREC 1 0x10")
	})
}
