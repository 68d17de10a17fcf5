package conn_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
)

// group makes a publisher and members of $share/g/a, each with an expiry and these options, one after the other.
func group(t *testing.T, st *settings, members ...string) (w *world, pub *client, out []*client) {
	w = newWorld(t, st)
	pub = w.connect("pub", "v3 clean")
	pub.expect("CONNACK")
	for i, options := range members {
		m := w.connect(fmt.Sprintf("m%d", i+1), options)
		m.do("SUBSCRIBE 1 $share/g/a qos=2")
		m.expect("CONNACK", "SUBACK 1 2")
		out = append(out, m)
	}
	return w, pub, out
}

// Rule 6: what a leaver of a shared group has not acknowledged at QoS 1 goes to another member, as a message that this
// one has not seen; and the store follows.
func TestRule6_LeaversQoS1(t *testing.T) {
	st := defaults()
	w, pub, m := group(t, &st, "expiry=100", "expiry=100")
	pub.do(`PUBLISH a "1" qos=1 id=1`, `PUBLISH a "2" qos=1 id=2`, `PUBLISH a "3" qos=1 id=3`)
	m[0].expect(`PUBLISH a "1" qos=1 id=1`, `PUBLISH a "3" qos=1 id=2`)
	m[1].expect(`PUBLISH a "2" qos=1 id=1`)
	m[0].do("PUBACK 1")
	m[0].hangUp()
	w.run()
	m[1].expect(`PUBLISH a "3" qos=1 id=2`)
	if q := w.store.queue("m1"); len(q) > 0 {
		t.Errorf("the store still has %q for the leaver", q)
	}
	if q := w.store.queue("m2"); !slices.Equal(q, []string{"2", "3"}) {
		t.Errorf("the store has %q for the other", q)
	}
	w.connect("m1", "expiry=100").expect("CONNACK session-present")
}

// Rule 6: QoS 2 that was never sent goes to another member; what has begun stays with its member, who gets it when it
// comes back [MQTT-4.8.2-5].
func TestRule6_LeaversQoS2(t *testing.T) {
	st := defaults()
	w, pub, m := group(t, &st, "expiry=100", "expiry=100")
	pub.do(`PUBLISH a "begun" qos=2 id=1`, "PUBREL 1")
	m[0].expect(`PUBLISH a "begun" qos=2 id=1`)
	pub.do(`PUBLISH a "other's" qos=2 id=2`, "PUBREL 2")
	m[1].expect(`PUBLISH a "other's" qos=2 id=1`)
	w.store.holdBack()
	pub.do(`PUBLISH a "never sent" qos=2 id=3`, "PUBREL 3")
	m[0].expect() // it waits for the commit
	m[0].hangUp()
	w.run()
	w.store.answer(nil, nil)
	w.run()
	m[1].expect(`PUBLISH a "never sent" qos=2 id=2`)
	if q := w.store.queue("m1"); !slices.Equal(q, []string{"begun"}) {
		t.Errorf("the store has %q for the leaver", q)
	}
	w.connect("m1", "expiry=100").expect("CONNACK session-present", `PUBLISH a "begun" qos=2 id=1 dup`)
}

// Rule 6: a message that a member refused goes to nobody else [MQTT-4.8.2-6].
func TestRule6_Refused(t *testing.T) {
	st := defaults()
	w, pub, m := group(t, &st, "expiry=100", "expiry=100")
	pub.do(`PUBLISH a "1" qos=2 id=1`, "PUBREL 1")
	m[0].expect(`PUBLISH a "1" qos=2 id=1`)
	m[0].do("PUBREC 1 0x83")
	m[0].hangUp()
	w.run()
	m[1].expect()
	w.connect("m1", "expiry=100").expect("CONNACK session-present")
}

// Rule 6: with no member that can take it, a message waits in the group's queue for the first who can.
func TestRule6_GroupQueue(t *testing.T) {
	st := defaults()
	w, pub, m := group(t, &st, "expiry=100 receive-max=1", "expiry=100 receive-max=1")
	for i := range 4 {
		pub.do(fmt.Sprintf(`PUBLISH a "%d" qos=1 id=%d`, i, i+1))
	}
	m[0].expect(`PUBLISH a "0" qos=1 id=1`)
	m[1].expect(`PUBLISH a "1" qos=1 id=1`)
	m[1].do("PUBACK 1")
	m[1].expect(`PUBLISH a "2" qos=1 id=2`)
	m[0].hangUp() // leaves "0"; "3" waits before it
	m[1].hangUp() // leaves "2"
	w.run()
	back := w.connect("m2", "expiry=100")
	back.expect("CONNACK session-present", `PUBLISH a "3" qos=1 id=3`, `PUBLISH a "0" qos=1 id=4`, `PUBLISH a "2" qos=1 id=5`)
}

// Rule 6: who unsubscribes completes what was sent [MQTT-3.10.4-3]; nobody else gets it.
func TestRule6_Unsubscribed(t *testing.T) {
	st := defaults()
	w, pub, m := group(t, &st, "expiry=100", "expiry=100")
	pub.do(`PUBLISH a "1" qos=1 id=1`)
	m[0].expect(`PUBLISH a "1" qos=1 id=1`)
	m[0].do("UNSUBSCRIBE 2 $share/g/a")
	m[0].expect("UNSUBACK 2 0")
	m[1].expect()
	m[0].hangUp()
	w.run()
	m[1].expect()
	m[0] = w.connect("m1", "expiry=100")
	m[0].expect("CONNACK session-present", `PUBLISH a "1" qos=1 id=1 dup`)
}

// Rule 6: a member whose socket was full takes what waits in the group's queue when it is empty again, though nothing
// else happens to it.
func TestRule6_CongestedMember(t *testing.T) {
	st := defaults()
	st.limits.OutboxBytes = 1000
	_, pub, m := group(t, &st, "expiry=100")
	m[0].do("SUBSCRIBE 2 fill")
	m[0].expect("SUBACK 2 0")
	m[0].stick(true)
	pub.do(`PUBLISH fill 2000B`, `PUBLISH a "1" qos=1 id=1`)
	m[0].stick(false)
	m[0].w.run()
	m[0].expect("PUBLISH fill 2000B", `PUBLISH a "1" qos=1 id=1`)
}

// Rule 6: a member that gets room just when the group has found it full still gets the message.
func TestRule6_RoomJustThen(t *testing.T) {
	st := defaults()
	st.loops = 2
	just := &roomJustThen{deny: "m2"}
	st.authorizer = just
	w := newWorld(t, &st)
	pub, full := w.connect("pub", "v3 clean"), w.dialClient("m1", 1)
	full.do("CONNECT id=m1 expiry=100 receive-max=1", "SUBSCRIBE 1 $share/g/a qos=1")
	w.connect("m2", "expiry=100").do("SUBSCRIBE 1 $share/g/a qos=1")
	w.connect("m3", "expiry=100 receive-max=1").do("SUBSCRIBE 1 $share/g/a qos=1")
	pub.do(`PUBLISH a "1" qos=1 id=1`, `PUBLISH a "to m3" qos=1 id=2`)
	full.expect("CONNACK", "SUBACK 1 1", `PUBLISH a "1" qos=1 id=1`)

	// The second member may not read the topic. When that is asked, the first has been found full, and acknowledges.
	done := make(chan struct{})
	just.then = func() {
		full.send("PUBACK 1")
		go func() {
			w.turns(1)
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(100 * time.Millisecond): // it waits for the group, and sees the message then
		}
	}
	pub.send(`PUBLISH a "2" qos=1 id=3`)
	w.turns(0)
	<-done
	w.run()
	full.expect(`PUBLISH a "2" qos=1 id=2`)
}

// roomJustThen denies one client to read, and calls then when it is asked about it.
type roomJustThen struct {
	deny string
	then func()
}

func (*roomJustThen) MayPublish(*message.Identity, string, byte, bool) router.Decision {
	return router.Decision{Allowed: true}
}
func (*roomJustThen) MaySubscribe(*message.Identity, string) router.Decision {
	return router.Decision{Allowed: true}
}
func (a *roomJustThen) MayReceive(who *message.Identity, _ string) router.Decision {
	if who.ClientID == a.deny {
		if then := a.then; then != nil {
			a.then = nil
			then()
		}
		return router.Decision{}
	}
	return router.Decision{Allowed: true}
}
func (*roomJustThen) Generation() uint64 { return 1 }
