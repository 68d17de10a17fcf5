package conn_test

import (
	"testing"
	"time"
)

// Rule 4: a client that returns while its session expires on another loop gets a new one, which the store keeps.
func TestRule4_ExpiryMeetsReturn(t *testing.T) {
	st := defaults()
	st.loops = 2
	w := newWorld(t, &st)
	w.connect("a", "expiry=1").do("SUBSCRIBE 1 t qos=1", "DISCONNECT")
	back := w.dialClient("a", 1)
	returned := make(chan struct{})
	w.store.onCommit = func(changes string) {
		if changes != "delete session a" {
			return
		}
		w.store.onCommit = nil
		go func() { // the other loop
			defer close(returned)
			back.send("CONNECT id=a expiry=100")
			w.turns(1)
		}()
		select {
		case <-returned: // it did not have to wait
		case <-time.After(100 * time.Millisecond):
		}
	}
	w.advance(2 * time.Second)
	<-returned
	w.run()
	back.expect("CONNACK")
	if e, ok := w.store.session("a"); !ok || e != 100 {
		t.Errorf("the store has the new session with expiry %d, present %t; want 100", e, ok)
	}
}
