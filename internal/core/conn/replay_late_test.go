package conn_test

import "testing"

// A subscription is in force before its SUBACK, which may wait for the store. What is retained meanwhile comes live, and is
// not replayed as well.
func TestReplayWithLateSuback(t *testing.T) {
	st := defaults()
	w := newWorld(t, &st)
	sub, pub := w.connect("sub", "expiry=100"), w.connect("pub", "v5 clean")
	pub.do(`PUBLISH r/old "before" retain`)
	sub.expect("CONNACK")
	w.store.holdBack()
	sub.do("SUBSCRIBE 1 r/#")
	pub.do(`PUBLISH r/new "meanwhile" retain`)
	sub.expect(`PUBLISH r/new "meanwhile"`)
	w.store.answer(nil, nil)
	w.run()
	sub.expect("SUBACK 1 0", `PUBLISH r/old "before" retain`)
}

// A subscription that is withdrawn before its SUBACK has left is not answered by retained messages [MQTT-3.10.4-2].
func TestReplayWithdrawnBeforeSuback(t *testing.T) {
	st := defaults()
	w := newWorld(t, &st)
	sub, pub := w.connect("sub", "expiry=100"), w.connect("pub", "v5 clean")
	pub.do(`PUBLISH r/old "before" retain`)
	sub.expect("CONNACK")
	w.store.holdBack()
	sub.do("SUBSCRIBE 1 r/#", "UNSUBSCRIBE 2 r/#")
	w.store.answer(nil, nil)
	w.run()
	sub.expect("SUBACK 1 0", "UNSUBACK 2 0")
}

// The answer to a subscription whose SUBACK was lost with the connection comes on the next.
func TestReplayAfterLostSuback(t *testing.T) {
	st := defaults()
	w := newWorld(t, &st)
	sub, pub := w.connect("sub", "expiry=100"), w.connect("pub", "v5 clean")
	pub.do(`PUBLISH r/old "before" retain`)
	sub.expect("CONNACK")
	w.store.holdBack()
	sub.do("SUBSCRIBE 1 r/#")
	sub.hangUp()
	w.run()
	w.store.answer(nil, nil)
	w.run()
	sub = w.connect("sub", "expiry=100")
	sub.expect("CONNACK session-present", `PUBLISH r/old "before" retain`)
}
