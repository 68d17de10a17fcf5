package conn_test

import (
	"testing"

	"github.com/nightjar-mqtt/nightjar/internal/core/conn"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// nervous is an authenticator that answers everything twice, the second time with a refusal.
type nervous struct{}

func (nervous) Authenticate(_ *conn.Login, done func(conn.Verdict)) {
	done(conn.Verdict{})
	done(conn.Verdict{Code: mqtt.NotAuthorized})
}

// A hook that answers twice is heard once, also while the client waits for its predecessor to go.
func TestAuthenticatorAnswersTwice(t *testing.T) {
	st := defaults()
	st.loops = 2
	w := newWorld(t, &st)
	w.shared.Authenticator = nervous{}
	first := w.connect("c", "expiry=100")
	first.expect("CONNACK")
	second := w.dialClient("c", 1)
	second.send("CONNECT id=c expiry=100")
	for w.turn(1) { // its CONNECT and both answers, before the first one's loop does anything
	}
	w.run()
	first.expect("DISCONNECT 0x8E", "closed")
	second.expect("CONNACK session-present")
}

// A client that cannot take a packet of this size is not sent it [MQTT-3.1.2-24]: where it must have it, its connection
// ends.
func TestAnswersWithinMaximumPacketSize(t *testing.T) {
	st := defaults()
	w := newWorld(t, &st)
	w.connect("tiny", "clean max-packet=5").expect("closed")
	c := w.connect("c", "clean max-packet=30")
	c.expect("CONNACK")
	c.do("SUBSCRIBE 1 " + filters(40))
	c.expect("DISCONNECT 0x95", "closed")
	if f := w.router.Figures(); f.Connected != 0 || f.Sessions != 0 {
		t.Errorf("%d connected, %d sessions are left", f.Connected, f.Sessions)
	}
}

func filters(n int) (s string) {
	for i := range n {
		if i > 0 {
			s += " , "
		}
		s += "f"
	}
	return s
}
