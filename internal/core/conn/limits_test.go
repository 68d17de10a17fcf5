package conn_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// A packet id is not used again as long as its message is in flight, however many messages have expired in the queue
// meanwhile [MQTT-2.2.1-4]: ids follow from sequence numbers, and those go on.
func TestPacketIDNotReusedInFlight(t *testing.T) {
	st := defaults()
	st.conn.ReceiveMaximum = 65535 // acknowledgements wait while the queue is long
	st.limits.MaxQueued = 923      // the queue is full, and emptied of what has expired, 71 times until ids come round
	w := newWorld(t, &st)
	sub, pub := w.connect("sub", "expiry=100 receive-max=2"), w.connect("pub", "clean")
	sub.do("SUBSCRIBE 1 a qos=1")
	pub.do(`PUBLISH a "first" qos=1 id=1`, `PUBLISH a "second" qos=1 id=1`)
	sub.expect("CONNACK", "SUBACK 1 1", `PUBLISH a "first" qos=1 id=1`, `PUBLISH a "second" qos=1 id=2`)
	for i := 2; i < 65535; i++ {
		if (i-2)%923 == 0 {
			w.advance(2 * time.Second)
		}
		pub.do(`PUBLISH a "short-lived" qos=1 id=1 expiry=1`)
		pub.read()
	}
	w.advance(2 * time.Second)
	pub.do(`PUBLISH a "a round later" qos=1 id=1`)
	sub.do("PUBACK 2")
	if got := sub.read(); slices.Contains(got, `PUBLISH a "a round later" qos=1 id=1`) {
		t.Fatalf("packet id 1 is used again before it is acknowledged: %q", got)
	}
	sub.do("PUBACK 1")
	sub.expect(`PUBLISH a "a round later" qos=1 id=1`)
}

// A publisher is slowed down as long as a receiver's queue is full, not only while it fills up.
func TestFullQueueSlowsPublisher(t *testing.T) {
	st := defaults()
	st.limits.MaxQueued = 10
	w := newWorld(t, &st)
	sub, pub := w.connect("sub", "clean receive-max=1"), w.connect("pub", "clean")
	sub.do("SUBSCRIBE 1 a qos=1")
	for i := 1; i <= 12; i++ {
		pub.do(fmt.Sprintf(`PUBLISH a "%d" qos=1 id=%d`, i, i))
	}
	w.advance(time.Second)
	if n := count(pub.read(), "PUBACK"); n != 12 {
		t.Fatalf("%d of 12 publishes are acknowledged after a second", n)
	}
	pub.do(`PUBLISH a "13" qos=1 id=13`) // dropped: the queue is full
	pub.expect()
	w.advance(time.Second)
	pub.expect("PUBACK 13")
}

// Without a bound on queues, a message that waits does not slow its publisher.
func TestUnboundedQueueDoesNotSlow(t *testing.T) {
	st := defaults()
	st.limits.MaxQueued = 0
	w := newWorld(t, &st)
	sub, pub := w.connect("sub", "clean receive-max=1"), w.connect("pub", "clean")
	sub.do("SUBSCRIBE 1 a qos=1")
	pub.do(`PUBLISH a "1" qos=1 id=1`, `PUBLISH a "2" qos=1 id=2`, `PUBLISH a "3" qos=1 id=3`)
	pub.expect("CONNACK", "PUBACK 1", "PUBACK 2", "PUBACK 3")
}

// A client that has as many subscriptions as it may have can renew each of them.
func TestResubscribeAtLimit(t *testing.T) {
	st := defaults()
	st.conn.MaxSubscriptions = 2
	w := newWorld(t, &st)
	c := w.connect("c", "clean")
	c.do("SUBSCRIBE 1 a , $share/g/b", "SUBSCRIBE 2 a qos=1 , $share/g/b qos=1 , c qos=1")
	c.expect("CONNACK", "SUBACK 1 0 0", "SUBACK 2 1 1 0x97")
}

// byUser lets the users read who are named.
type byUser struct{ may []string }

func (*byUser) MayPublish(*message.Identity, string, byte, bool) router.Decision {
	return router.Decision{Allowed: true}
}
func (*byUser) MaySubscribe(*message.Identity, string) router.Decision {
	return router.Decision{Allowed: true}
}
func (a *byUser) MayReceive(who *message.Identity, _ string) router.Decision {
	return router.Decision{Allowed: slices.Contains(a.may, who.Username)}
}
func (*byUser) Generation() uint64 { return 1 }

// A session that another user goes on with has that user's rights from then on, also for topics whose receivers were
// looked up before.
func TestRightsFollowTheUser(t *testing.T) {
	st := defaults()
	st.authorizer = &byUser{may: []string{"alice"}}
	w := newWorld(t, &st)
	pub := w.connect("pub", "clean user=alice")
	c := w.connect("c", "expiry=100 user=alice")
	c.do("SUBSCRIBE 1 a")
	pub.do(`PUBLISH a "1"`)
	c.expect("CONNACK", "SUBACK 1 0", `PUBLISH a "1"`)
	c = w.connect("c", "expiry=100 user=bob")
	pub.do(`PUBLISH a "2"`)
	c.expect("CONNACK session-present")
	c = w.connect("c", "expiry=100 user=alice")
	pub.do(`PUBLISH a "3"`)
	c.expect("CONNACK session-present", `PUBLISH a "3"`)
}

// changing lets everybody read until it is told otherwise.
type changing struct {
	byUser
	revoked bool
}

func (a *changing) MayReceive(*message.Identity, string) router.Decision {
	return router.Decision{Allowed: !a.revoked}
}

// What waits for an absent client is not sent once its right to read the topic has been taken away.
func TestRevokedWhileQueued(t *testing.T) {
	rights := &changing{}
	st := defaults()
	st.authorizer = rights
	w := newWorld(t, &st)
	c, pub := w.connect("c", "expiry=100"), w.connect("pub", "clean")
	c.do("SUBSCRIBE 1 a qos=1", "DISCONNECT")
	c.expect("CONNACK", "SUBACK 1 1", "closed")
	pub.do(`PUBLISH a "1" qos=1 id=1`)
	rights.revoked = true
	c = w.connect("c", "expiry=100")
	c.expect("CONNACK session-present")
	if n := w.router.Stats().Dropped(session.DropNotAllowed); n != 1 {
		t.Errorf("%d messages are counted as not allowed, want 1", n)
	}
	rights.revoked = false
	pub.do(`PUBLISH a "2" qos=1 id=2`)
	c.expect(`PUBLISH a "2" qos=1 id=2`)
}
