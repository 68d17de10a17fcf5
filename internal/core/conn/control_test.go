package conn_test

import (
	"testing"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
)

// What is published to $CONTROL is answered to its publisher alone; without anybody to answer it is refused.
func TestControl(t *testing.T) {
	st := defaults()
	w := newWorld(t, &st)
	other := w.connect("other", "clean")
	other.do("SUBSCRIBE 1 $CONTROL/# , #")
	c, old := w.connect("c", "clean"), w.connect("old", "v3 clean")
	c.do(`PUBLISH $CONTROL/x "1" qos=1 id=1`)
	c.expect("CONNACK", "PUBACK 1 0x87")
	w.shared.SetControl(func(who *message.Identity, topic string, payload []byte) []byte {
		if string(payload) == "silence" {
			return nil
		}
		return []byte(who.ClientID + " " + topic + " " + string(payload))
	})
	c.do(`PUBLISH $CONTROL/x "2" qos=1 id=2 retain`, `PUBLISH $CONTROL/x "silence" qos=1 id=3`, `PUBLISH $CONTROL/y "3" qos=2 id=4`, "PUBREL 4", `PUBLISH $CONTROL "x" qos=1 id=5`)
	c.expect("PUBACK 2", `PUBLISH $CONTROL/x/response "c $CONTROL/x 2"`, "PUBACK 3", "PUBREC 4", `PUBLISH $CONTROL/y/response "c $CONTROL/y 3"`, "PUBCOMP 4", "PUBACK 5 0x87")
	old.do(`PUBLISH $CONTROL/x "4"`)
	old.expect("CONNACK", `PUBLISH $CONTROL/x/response "old $CONTROL/x 4"`)
	other.expect("CONNACK", "SUBACK 1 0 0")
	if n := w.router.Figures().Retained; n != 0 {
		t.Errorf("%d are retained", n)
	}
	small := w.connect("small", "clean max-packet=30")
	small.do(`PUBLISH $CONTROL/x "0123456789" qos=1 id=1`)
	small.expect("CONNACK", "PUBACK 1")
}
