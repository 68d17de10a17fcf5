package conn_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// storeInDisorder lets the store answer in random order while loops run; the result stops it when they have stopped.
func storeInDisorder(w *world, rnd *rand.Rand) (stop func()) {
	w.store.holdBack()
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			default:
				w.store.answerOne(nil, rnd.IntN)
			}
		}
	}()
	return func() {
		close(end)
		<-ended
		w.store.answer(nil, rnd.IntN)
		w.run()
	}
}

// Rule 4: memory and store agree on a topic's retained message when two loops publish it at the same time and the store
// commits in another order: the highest sequence stays.
func TestRule4_RetainedInMemoryAndStore(t *testing.T) {
	const each, topics = 500, 4
	st := defaults()
	st.loops = 2
	w := newWorld(t, &st)
	pubs := []*responder{newResponder(w, "p0", 0), newResponder(w, "p1", 1)}
	for _, p := range pubs {
		p.send("CONNECT v3 clean id=" + p.name)
	}
	w.run()
	stopLoops := w.startLoops()
	stopStore := storeInDisorder(w, rand.New(rand.NewPCG(4, 4)))
	for i := range each {
		for _, p := range pubs {
			payload := fmt.Sprintf("%s %d", p.name, i)
			if i%7 == 3 {
				payload = "" // deletes
			}
			p.send(fmt.Sprintf(`PUBLISH r/%d "%s" retain qos=1 id=%d`, i%topics, payload, i+1))
		}
	}
	stopLoops()
	stopStore()
	sub := w.connect("sub", "v3 clean")
	sub.do("SUBSCRIBE 1 r/#")
	memory := map[string]string{}
	for _, p := range sub.read()[2:] {
		w := split(p)
		memory[w[1]] = strings.Trim(w[2], `"`)
	}
	for i := range topics {
		topic := fmt.Sprintf("r/%d", i)
		if memory[topic] != w.store.retained(topic) {
			t.Errorf("%s: memory has %q, the store %q", topic, memory[topic], w.store.retained(topic))
		}
	}
}

// Rule 4: memory and store agree on what waits for an absent client, and on its order.
func TestRule4_QueueInMemoryAndStore(t *testing.T) {
	const each = 200
	st := defaults()
	st.loops, st.limits.MaxInflight = 2, 10*each
	w := newWorld(t, &st)
	sub := w.connect("sub", "v3")
	sub.do("SUBSCRIBE 1 # qos=1")
	sub.hangUp()
	pubs := []*responder{newResponder(w, "p0", 0), newResponder(w, "p1", 1)}
	for _, p := range pubs {
		p.send("CONNECT v3 clean id=" + p.name)
	}
	w.run()
	stopLoops := w.startLoops()
	stopStore := storeInDisorder(w, rand.New(rand.NewPCG(4, 5)))
	for i := range each {
		for _, p := range pubs {
			p.send(fmt.Sprintf(`PUBLISH q/%s "%s %d" qos=1 id=%d`, p.name, p.name, i, i+1))
		}
	}
	stopLoops()
	stopStore()
	stored := w.store.queue("sub")
	sub = w.connect("sub", "v3")
	var memory []string
	got := sub.read()[1:]
	for _, p := range got {
		memory = append(memory, strings.Trim(split(p)[2], `"`))
	}
	if len(memory) != 2*each || !slices.Equal(memory, stored) {
		t.Fatalf("memory has %d messages %.5q, the store %d %.5q", len(memory), memory, len(stored), stored)
	}
	for i := range got {
		sub.send(fmt.Sprintf("PUBACK %d", i+1))
	}
	w.run()
	if q := w.store.queue("sub"); len(q) > 0 {
		t.Errorf("all is acknowledged, but the store has %.5q", q)
	}
}

// Rule 4: an acknowledgement may be quicker than the commit of what it acknowledges.
func TestRule4_AcknowledgedBeforeStored(t *testing.T) {
	st := defaults()
	st.loops = 2
	w := newWorld(t, &st)
	pub, sub := w.connect("pub", "v3 clean"), w.dialClient("sub", 1)
	sub.do("CONNECT id=sub expiry=100", "SUBSCRIBE 1 a qos=1")
	w.store.onCommit = func(changes string) {
		if changes == "queue sub x" { // it has been sent, and is about to be handed over
			sub.send("PUBACK 1")
			w.turn(1)
		}
	}
	pub.do(`PUBLISH a "x" qos=1 id=1`)
	sub.expect("CONNACK", "SUBACK 1 1", `PUBLISH a "x" qos=1 id=1`)
	if q := w.store.queue("sub"); len(q) > 0 {
		t.Errorf("the store keeps %q, which is acknowledged", q)
	}
}

// Rule 4: the store knows when a session ends, whenever its expiry was decided, and for how long it is to be kept.
func TestRule4_SessionInMemoryAndStore(t *testing.T) {
	st := defaults()
	w := newWorld(t, &st)
	stored := func(want string) {
		t.Helper()
		got := "none"
		if e, ok := w.store.session("a"); ok {
			got = fmt.Sprint(e)
		}
		if got != want {
			t.Errorf("the store has the session with expiry %s, want %s", got, want)
		}
	}
	a := w.connect("a", "expiry=100")
	stored("100")
	a.do("DISCONNECT expiry=500")
	stored("500")
	a = w.connect("a", "expiry=100")
	a.do("SUBSCRIBE 1 t qos=1")
	pub := w.connect("pub", "v3 clean")
	pub.do(`PUBLISH t "x" qos=1 id=1`)
	stored("100")
	a.do("DISCONNECT expiry=0")
	stored("none")

	w.connect("a", "expiry=100").do("SUBSCRIBE 1 t qos=1", "DISCONNECT")
	pub.do(`PUBLISH t "x" qos=1 id=2`)
	a = w.connect("a", "") // goes on with the session, for as long as the connection lasts
	a.expect("CONNACK session-present", `PUBLISH t "x" qos=1 id=1`)
	a.do("PUBACK 1")
	if q := w.store.queue("a"); len(q) > 0 {
		t.Errorf("the store keeps %q, which is acknowledged", q)
	}
	a.hangUp()
	w.run()
	stored("none")
}

// takeover makes a client with a will on loop 0 and someone who hears it.
func takeover(t *testing.T, will string) (w *world, old, watcher *client) {
	st := defaults()
	st.loops = 2
	w = newWorld(t, &st)
	watcher = w.connect("watcher", "v5 clean")
	watcher.do("SUBSCRIBE 1 will")
	old = w.connect("a", "expiry=100 "+will)
	watcher.expect("CONNACK", "SUBACK 1 0")
	old.expect("CONNACK")
	return w, old, watcher
}

func (w *world) turns(loop int) {
	for w.turn(loop) {
	}
}

// Rule 5: the old connection's handler has left and its will is decided before the new CONNACK.
func TestRule5_TakeOverInOrder(t *testing.T) {
	w, old, watcher := takeover(t, `will-topic=will will="gone"`)
	next := w.dialClient("a", 1)
	next.send("CONNECT id=a expiry=100")
	w.turns(1)
	next.expect() // the old one has not left
	next.send("PINGREQ")
	w.turns(1)
	next.expect()
	w.turns(0)
	old.expect("DISCONNECT 0x8E", "closed")
	watcher.expect(`PUBLISH will "gone"`)
	next.expect()
	w.turns(1)
	next.expect("CONNACK session-present", "PINGRESP")
}

// Rule 5: of three connections that want the same id, the last one has it, and each is told by the one after it.
func TestRule5_ChainOfThree(t *testing.T) {
	for _, order := range [][]int{{0, 1}, {1, 0}} {
		w, old, watcher := takeover(t, `will-topic=will will="gone"`)
		second, third := w.dialClient("a", 1), w.dialClient("a", 1)
		second.send(`CONNECT id=a expiry=100 will-topic=will will="never"`)
		third.send("CONNECT id=a expiry=100")
		w.turns(1)
		second.expect()
		third.expect()
		for range 4 {
			for _, loop := range order {
				w.turns(loop)
			}
		}
		old.expect("DISCONNECT 0x8E", "closed")
		second.expect("closed") // it never was connected
		watcher.expect(`PUBLISH will "gone"`)
		third.expect("CONNACK session-present")
		w.connect("other", "").expect("CONNACK")
		third.do("PINGREQ")
		third.expect("PINGRESP")
	}
}

// Rule 5: one that goes while it waits for the id leaves it to whoever comes next.
func TestRule5_GoneWhileWaiting(t *testing.T) {
	w, old, watcher := takeover(t, `will-topic=will will="gone"`)
	second := w.dialClient("a", 1)
	second.send("CONNECT id=a expiry=100")
	w.turns(1)
	second.hangUp()
	w.turns(1)
	third := w.dialClient("a", 1)
	third.send("CONNECT id=a expiry=100")
	w.turns(1)
	third.expect()
	w.run()
	old.expect("DISCONNECT 0x8E", "closed")
	second.expect()
	watcher.expect(`PUBLISH will "gone"`)
	third.expect("CONNACK session-present")

	// And with nobody next, the id is free.
	fourth := w.dialClient("a", 1)
	fourth.send("CONNECT id=a expiry=100")
	w.turns(1)
	fourth.hangUp()
	w.run()
	third.expect("DISCONNECT 0x8E", "closed")
	w.connect("a", "expiry=100").expect("CONNACK session-present")
}

// Rule 5: hundreds of connections on two loops want the same id, and some go; each is told, and the last has it.
func TestRule5_ManyTakeOvers(t *testing.T) {
	st := defaults()
	st.loops = 2
	w := newWorld(t, &st)
	stop := w.startLoops()
	var all []*client
	for i := range 300 {
		c := w.dialClient("a", i%2)
		all = append(all, c)
		c.send("CONNECT id=a expiry=100")
		if i%5 == 3 {
			c.hangUp()
		}
	}
	stop()
	last := w.connect("a", "expiry=100")
	last.expect("CONNACK session-present")
	for i, c := range all {
		got := c.read()
		switch {
		case !c.gone:
			t.Errorf("connection %d is still open: %q", i, got)
		case i%5 == 3: // the client closed it
		case slices.ContainsFunc(got, func(p string) bool { return strings.HasPrefix(p, "CONNACK") }) && !slices.Contains(got, "DISCONNECT 0x8E"):
			t.Errorf("connection %d was not told: %q", i, got)
		}
	}
	if f := w.router.Figures(); f.Sessions != 1 || f.Connected != 1 {
		t.Errorf("%d sessions, %d connected, want 1 and 1", f.Sessions, f.Connected)
	}
}

// Nothing is sent before CONNACK [MQTT-3.2.0-1], not even by another loop that finds the session connected already.
func TestConnackComesFirst(t *testing.T) {
	st := defaults()
	st.loops = 2
	w := newWorld(t, &st)
	pub := w.connect("pub", "v3 clean")
	w.connect("a", "expiry=100").do("SUBSCRIBE 1 t qos=1", "DISCONNECT")
	a := w.dialClient("a", 1)
	a.send("CONNECT id=a expiry=100")
	w.store.onBatch = func() {
		w.store.onBatch = nil
		pub.send(`PUBLISH t "one" qos=1 id=1`) // while the other loop is in the middle of CONNECT
		w.turns(0)
	}
	w.turns(1)
	a.expect("CONNACK session-present", `PUBLISH t "one" qos=1 id=1`)
}

// Rule 7: a clock that steps back, as on a machine without one that gets the time from the network, expires nothing.
func TestRule7_ClockStepsBack(t *testing.T) {
	st := defaults()
	w := newWorld(t, &st)
	pub := w.connect("pub", "clean keepalive=60")
	pub.expect("CONNACK")
	w.connect("absent", `expiry=60 will-topic=t will="too early" will-delay=60`).do("SUBSCRIBE 1 t qos=1", "DISCONNECT 0x04")
	pub.do(`PUBLISH t "kept" qos=1 id=1 expiry=60 retain`)
	pub.expect("PUBACK 1")

	w.setClock(w.clock() - time.Hour.Milliseconds())
	w.advance(50 * time.Second)
	pub.do("PINGREQ")
	w.advance(50 * time.Second)
	pub.do("PINGREQ")
	pub.expect("PINGRESP", "PINGRESP")
	late := w.connect("late", "clean")
	late.do("SUBSCRIBE 1 t")
	if got := late.read(); len(got) != 3 || !strings.HasPrefix(got[2], `PUBLISH t "kept" retain`) {
		t.Errorf("the retained message: %q", got)
	}
	absent := w.connect("absent", "expiry=60")
	if got := absent.read(); len(got) != 2 || got[0] != "CONNACK session-present" || !strings.HasPrefix(got[1], `PUBLISH t "kept" qos=1`) {
		t.Errorf("the session and its queue: %q", got)
	}
	if n := w.router.Figures().Expired; n != 0 {
		t.Errorf("%d sessions expired", n)
	}
}

// A session that CONNACK tells of is one that a restart finds; where it cannot be stored, the client is told so, and has
// what it had before.
func TestConnackWaitsForTheStore(t *testing.T) {
	full := error(&session.ErrRefused{Reason: "the disk is full"})
	for _, failure := range []error{nil, errDisk, full} {
		st := defaults()
		w := newWorld(t, &st)
		w.store.holdAll = true
		w.store.holdBack()
		c := w.connect("a", "expiry=100")
		c.expect()
		w.store.answer(failure, nil)
		w.run()
		c.expect(map[error][]string{
			nil: {"CONNACK"}, errDisk: {"CONNACK 0x88", "closed"}, full: {"CONNACK 0x97", "closed"},
		}[failure]...)
		if f := w.router.Figures(); (failure == nil) != (f.Sessions == 1) {
			t.Errorf("after %v there are %d sessions", failure, f.Sessions)
		}
		back := w.connect("a", "expiry=100")
		if failure == nil {
			c.expect("DISCONNECT 0x8E", "closed")
			back.expect("CONNACK session-present")
		} else {
			back.expect("CONNACK")
		}
	}
}

// A retained message that the store has refused is taken back: a restart would not find it.
func TestRefusedRetainedIsTakenBack(t *testing.T) {
	st := defaults()
	w := newWorld(t, &st)
	pub := w.connect("pub", "clean")
	pub.do(`PUBLISH a "kept" qos=1 id=1 retain`)
	pub.expect("CONNACK", "PUBACK 1 0x10")
	w.store.holdBack()
	pub.do(`PUBLISH a "refused" qos=1 id=2 retain`, `PUBLISH b "refused" qos=1 id=3 retain`)
	w.store.answer(&session.ErrRefused{Reason: "the disk is full"}, nil)
	w.run()
	pub.expect("PUBACK 2 0x97", "PUBACK 3 0x97")
	sub := w.connect("sub", "clean")
	sub.do("SUBSCRIBE 1 # qos=1")
	sub.expect("CONNACK", "SUBACK 1 1", `PUBLISH a "kept" qos=1 id=1 retain`)
}

// A session that a clean start has ended is gone from the store before CONNACK says so, also when the new one is not stored.
func TestCleanStartIsStored(t *testing.T) {
	st := defaults()
	w := newWorld(t, &st)
	old := w.connect("a", "expiry=100")
	old.hangUp()
	w.run()
	w.store.holdAll = true
	w.store.holdBack()
	c := w.connect("a", "v3 clean")
	c.expect()
	w.store.answer(nil, nil)
	w.run()
	c.expect("CONNACK")
	if _, ok := w.store.session("a"); ok {
		t.Error("the store has the old session")
	}
}

// What the store has refused for a shared group's queue is not in it: the publisher repeats it, and a QoS 2 message must
// not come twice.
func TestRefusedGroupQueue(t *testing.T) {
	st := defaults()
	w := newWorld(t, &st)
	m := w.connect("m", "expiry=100")
	m.do("SUBSCRIBE 1 $share/g/t qos=2")
	m.hangUp()
	w.run()
	pub := w.connect("pub", "expiry=100")
	pub.do(`PUBLISH t "once" qos=2 id=1`)
	pub.expect("CONNACK", "PUBREC 1")
	w.store.holdBack()
	pub.do("PUBREL 1")
	w.store.answer(&session.ErrRefused{Reason: "the disk is full"}, nil)
	w.run()
	pub.expect("DISCONNECT 0x97", "closed")
	pub = w.connect("pub", "expiry=100")
	pub.do("PUBREL 1")
	pub.expect("CONNACK session-present", "PUBCOMP 1")
	m = w.connect("m", "expiry=100")
	w.run()
	m.expect("CONNACK session-present", `PUBLISH t "once" qos=2 id=1`)
}
