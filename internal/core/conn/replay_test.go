package conn_test

import (
	"fmt"
	"strings"
	"testing"
)

// count is how many packets of a type have come.
func count(packets []string, name string) (n int) {
	for _, p := range packets {
		if strings.HasPrefix(p, name+" ") {
			n++
		}
	}
	return n
}

// retain has n messages retained on t/0, t/1, ...
func retain(w *world, n int, payload string) {
	pub := w.connect("retainer", "v3 clean")
	for i := range n {
		pub.do(fmt.Sprintf(`PUBLISH t/%03d %s qos=2 id=1 retain`, i, payload), "PUBREL 1")
	}
	pub.hangUp()
	w.run()
}

// Once UNSUBACK has been sent, no more retained messages come by the filter, but what was under way
// [MQTT-3.10.4-2].
func TestUnsubscribeEndsReplay(t *testing.T) {
	st := defaults()
	w := newWorld(t, &st)
	retain(w, 200, `"x"`)
	c := w.connect("c", "clean receive-max=1")
	c.do("SUBSCRIBE 1 t/+ qos=1")
	c.expect("CONNACK", "SUBACK 1 1", `PUBLISH t/000 "x" qos=1 id=1 retain`)
	c.do("UNSUBSCRIBE 2 t/+")
	c.expect("UNSUBACK 2 0")
	var got []string
	for id := 1; id <= 200; id++ {
		c.do(fmt.Sprintf("PUBACK %d", id))
		got = append(got, c.read()...)
	}
	// What was in the session's queue by then may still be delivered; the replay may not go on.
	if n := count(got, "PUBLISH"); n > 40 {
		t.Errorf("%d retained messages came after UNSUBACK", n)
	}
}

// Retained messages that are given up once they are stored (here: too large for the client) do not end the replay.
func TestReplayGoesOnAfterGivenUp(t *testing.T) {
	st := defaults()
	w := newWorld(t, &st)
	retain(w, 40, "500B")
	last := w.connect("last", "v3 clean")
	last.do(`PUBLISH t/z "last" qos=2 id=1 retain`, "PUBREL 1")
	c := w.connect("c", "expiry=100 max-packet=100")
	w.store.holdBack()
	c.do("SUBSCRIBE 1 t/+ qos=2")
	for range 20 {
		w.store.answer(nil, nil)
		w.store.holdBack()
		w.run()
	}
	w.store.answer(nil, nil)
	w.run()
	c.expect("CONNACK", "SUBACK 1 2", `PUBLISH t/z "last" qos=2 id=41 retain`)
}

// No Local holds for retained messages too: the client's own do not come back to it [MQTT-3.8.3-3].
func TestNoLocalRetained(t *testing.T) {
	st := defaults()
	w := newWorld(t, &st)
	other := w.connect("other", "clean")
	other.do(`PUBLISH t/other "x" retain`)
	other.expect("CONNACK")
	c := w.connect("c", "clean")
	c.do(`PUBLISH t/own "x" retain`)
	c.do("SUBSCRIBE 1 t/+ no-local")
	c.expect("CONNACK", "SUBACK 1 0", `PUBLISH t/other "x" retain`)
	other.do("SUBSCRIBE 1 t/+ no-local")
	other.expect("SUBACK 1 0", `PUBLISH t/own "x" retain`)
}
