package conformance

import (
	"bytes"
	"fmt"
)

// MQTT 3.1 (protocol name MQIsdp, level 3) has no numbered statements; these cases are its basics, with ids of our own.

func init() {
	register(
		Case{ID: "V31-connect", Version: V31, Title: "MQIsdp level 3 is accepted, CONNACK 00 00", Run: func(t *T) {
			_, ack := t.Connect(Connect{ClientID: t.ClientID("a"), Clean: true})
			if !bytes.Equal(ack.Body, []byte{0, 0}) {
				t.Fatalf("CONNACK is % x", ack.Body)
			}
		}},
		Case{ID: "V31-connect", Version: V31, Part: "name", Title: "level 3 and 4 with the other's name are not served", Run: func(t *T) {
			for _, c := range []Connect{{Version: V31, ProtocolName: "MQTT"}, {Version: V311, ProtocolName: "MQIsdp"}} {
				c.ClientID, c.Clean = t.ClientID("a"), true
				p := t.Dial()
				p.Send(c.Bytes())
				p.ExpectRefused(1)
			}
		}},
		Case{ID: "V31-connect", Version: V31, Part: "session-present", Title: "session present does not exist in 3.1: always 0", Run: func(t *T) {
			p, _ := t.Session(t.ClientID("s"))
			p.Disconnect()
			_, ack := t.Session(t.ClientID("s"))
			t.wantPresent(ack, false)
		}},
		Case{ID: "V31-connect", Version: V31, Part: "empty-id", Title: "an empty client id is refused with 0x02", Run: func(t *T) {
			for _, clean := range []bool{true, false} {
				p := t.Dial()
				p.Send(Connect{Version: V31, Clean: clean}.Bytes())
				p.ExpectConnackRefusal(2)
			}
		}},
		Case{ID: "V31-session", Version: V31, Title: "clean session 0 keeps subscriptions and messages", Run: v31Session},
		Case{ID: "V31-qos", Version: V31, Title: "QoS 0, 1 and 2 both ways", Run: everyServerPacket},
		Case{ID: "V31-retain", Version: V31, Title: "retained messages are kept and removed", Run: emptyRetainedRemoves},
		Case{ID: "V31-will", Version: V31, Title: "the will is sent", Run: willOnClose},
		Case{ID: "V31-ping", Version: V31, Title: "PINGREQ and DISCONNECT", Run: func(t *T) {
			p := t.Client()
			p.ExpectNothing()
			p.Disconnect()
		}},
		Case{ID: "V31-mixed", Version: V31, Title: "messages pass between 3.1, 3.1.1 and 5", Run: mixedVersions},
	)
}

func v31Session(t *T) {
	pub := t.Client()
	p, _ := t.Session(t.ClientID("s"))
	p.Subscribe(t.Topic("a"), 2)
	p.Disconnect()
	for qos := byte(1); qos < 3; qos++ {
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: fmt.Sprint(qos), QoS: qos})
	}
	p, _ = t.Session(t.ClientID("s"))
	for qos := byte(1); qos < 3; qos++ {
		p.Receive(t.Topic("a"), fmt.Sprint(qos), qos)
	}
	p.ExpectNothing()
}

func mixedVersions(t *T) {
	var peers []*Peer
	for _, v := range []Version{V31, V311, V5} {
		p, _ := t.Connect(Connect{Version: v, ClientID: t.ClientID(v.String()), Clean: true})
		p.Subscribe(t.Topic("+"), 2)
		peers = append(peers, p)
	}
	for i, from := range peers {
		for qos := byte(0); qos < 3; qos++ {
			payload := fmt.Sprintf("%d at %d", i, qos)
			from.Publish(Publish{Topic: t.Topic("a"), Payload: payload, QoS: qos})
			for _, to := range peers {
				to.Receive(t.Topic("a"), payload, qos)
			}
		}
	}
}
