package conn_test

import (
	"fmt"
	"testing"
	"time"
)

// A QoS 0 message does not wait behind those that the group keeps for a member with room for QoS 1: it goes to who can
// take it now.
func TestGroupQueueDoesNotStopQoS0(t *testing.T) {
	st := defaults()
	_, pub, m := group(t, &st, "expiry=100 receive-max=1")
	pub.do(`PUBLISH a "1" qos=1 id=1`, `PUBLISH a "2" qos=1 id=2`, `PUBLISH a "zero"`)
	m[0].expect(`PUBLISH a "1" qos=1 id=1`, `PUBLISH a "zero"`)
	m[0].do("PUBACK 1")
	m[0].expect(`PUBLISH a "2" qos=1 id=2`)
}

// A message that no member may read is dropped: it does not wait, and does not hold up others.
func TestGroupWithoutRights(t *testing.T) {
	st := defaults()
	rights := &byUser{may: []string{"alice"}}
	st.authorizer = rights
	w, pub, m := group(t, &st, "expiry=100 user=alice receive-max=1")
	pub.do(`PUBLISH a "1" qos=1 id=1`, `PUBLISH a "2" qos=1 id=2`)
	m[0].expect(`PUBLISH a "1" qos=1 id=1`)
	rights.may = nil
	m[0].do("PUBACK 1")
	pub.do(`PUBLISH a "3" qos=1 id=3`)
	m[0].expect()
	if n := w.router.Figures().QueuedBytes; n != 0 {
		t.Errorf("%d bytes still wait", n)
	}
	rights.may = []string{"alice"}
	pub.do(`PUBLISH a "4" qos=1 id=4`)
	m[0].expect(`PUBLISH a "4" qos=1 id=2`)
}

// A group's queue that is full of what has expired takes new messages.
func TestGroupQueuePurged(t *testing.T) {
	st := defaults()
	st.limits.MaxQueued = 10
	w, _, m := group(t, &st, "expiry=100")
	m[0].hangUp()
	w.run()
	pub := w.connect("v5", "clean")
	for i := range 10 {
		pub.do(fmt.Sprintf(`PUBLISH a "%d" qos=1 id=%d expiry=1`, i, i+1))
	}
	w.advance(2 * time.Second)
	pub.do(`PUBLISH a "last" qos=1 id=20`)
	w.connect("m1", "expiry=100").expect("CONNACK session-present", `PUBLISH a "last" qos=1 id=1`)
	if n := w.router.Figures().QueuedBytes; n > 1000 {
		t.Errorf("%d bytes are counted as waiting, of one small message", n)
	}
}
