package conformance

import (
	"bytes"
	"fmt"
	"time"
)

// Sections 3.1 and 3.2: CONNECT and CONNACK, without the will (v3_will.go).

func init() {
	register(
		Case{ID: "MQTT-3.1.0-1", Version: V311, Title: "any first packet but CONNECT closes", Run: firstPacketOther},
		Case{ID: "MQTT-3.1.0-2", Version: V311, Title: "a second CONNECT closes", Run: secondConnect},
		Case{ID: "MQTT-3.1.2-1", Version: V311, Title: "a wrong protocol name is not served", Run: wrongProtocolName},
		Case{ID: "MQTT-3.1.2-2", Version: V311, Title: "an unknown protocol level: CONNACK 0x01 and close", Run: wrongLevel},
		Case{ID: "MQTT-3.1.2-3", Version: V311, Title: "the reserved connect flag closes", Run: func(t *T) {
			t.eachConnectCloses(t.flagsCase("reserved flag", 0x01), t.flagsCase("reserved flag, clean session", 0x03))
		}},
		Case{ID: "MQTT-3.1.2-4", Version: V311, Title: "clean session 0 resumes subscriptions, and creates a session where none is", Run: sessionResumes},
		Case{ID: "MQTT-3.1.2-5", Version: V311, Title: "QoS 1 and 2 messages wait for an offline session", Run: offlineQueue},
		Case{ID: "MQTT-3.1.2-6", Version: V311, Title: "clean session 1 discards what was there and leaves nothing", Run: cleanSessionDiscards},
		Case{ID: "MQTT-3.1.2-7", Version: V311, Title: "a retained message outlives the session that sent it", Run: retainedOutlivesSession},
		Case{ID: "MQTT-3.1.2-18", Version: V311, Title: "a user name without its flag is surplus and closes", Run: func(t *T) {
			t.eachConnectCloses(packetCase{"user name without flag", t.connectBody(0x02, Str(nil, "user"))})
		}},
		Case{ID: "MQTT-3.1.2-19", Version: V311, Title: "the user name flag without a user name closes", Run: func(t *T) {
			t.eachConnectCloses(packetCase{"flag without user name", t.connectBody(0x82)})
		}},
		Case{ID: "MQTT-3.1.2-20", Version: V311, Title: "a password without its flag is surplus and closes", Run: func(t *T) {
			t.eachConnectCloses(packetCase{"password without flag", t.connectBody(0x82, Str(nil, "user"), Str(nil, "pass"))})
		}},
		Case{ID: "MQTT-3.1.2-21", Version: V311, Title: "the password flag without a password closes", Run: func(t *T) {
			t.eachConnectCloses(packetCase{"flag without password", t.connectBody(0xc2, Str(nil, "user"))})
		}},
		Case{ID: "MQTT-3.1.2-22", Version: V311, Title: "the password flag without the user name flag closes", Run: func(t *T) {
			t.eachConnectCloses(packetCase{"password without user name", t.connectBody(0x42, Str(nil, "pass"))})
		}},
		Case{ID: "MQTT-3.1.2-24", Version: V311, Title: "silence for 1.5 keep-alive intervals closes, not earlier", Run: keepAliveCloses},
	)
}

func init() {
	register(
		Case{ID: "MQTT-3.1.3-1", Version: V311, Title: "all payload fields are taken in their order", Run: payloadOrder},
		Case{ID: "MQTT-3.1.3-2", Version: V311, Title: "sessions are told apart by client id alone", Run: sessionsByClientID},
		Case{ID: "MQTT-3.1.3-3", Version: V311, Title: "a CONNECT without a client id closes", Run: func(t *T) {
			t.eachConnectCloses(packetCase{"no payload", Raw(0x10, Cat(Str(nil, "MQTT"), []byte{4, 2, 0, 0})...)})
		}},
		Case{ID: "MQTT-3.1.3-5", Version: V311, Title: "client ids of 1 to 23 letters and digits are accepted", Run: clientIDAlphabet},
		Case{ID: "MQTT-3.1.3-6", Version: V311, Title: "empty client ids get sessions of their own", Run: emptyClientIDs},
		Case{ID: "MQTT-3.1.3-8", Version: V311, Title: "empty client id with clean session 0: CONNACK 0x02 and close", Run: emptyClientIDNotClean},
		Case{ID: "MQTT-3.1.3-9", Version: V311, Title: "a rejected client id: CONNACK 0x02 and close",
			Options: Options{RefuseEmptyClientID: true}, Run: func(t *T) {
				p := t.Dial()
				p.Send(Connect{Version: t.Version, Clean: true}.Bytes())
				p.ExpectConnackRefusal(2)
				t.Client().ExpectNothing()
			}},
		Case{ID: "MQTT-3.1.4-1", Version: V311, Title: "a CONNECT that does not conform closes without CONNACK", Run: badConnects},
		Case{ID: "MQTT-3.1.4-2", Version: V311, Title: "the same client id again ends the first connection", Run: takeOver},
		Case{ID: "MQTT-3.1.4-3", Version: V311, Title: "clean and lasting sessions in turn", Run: cleanAndLastingInTurn},
		Case{ID: "MQTT-3.1.4-4", Version: V311, Title: "an accepted CONNECT is answered by CONNACK 0", Run: func(t *T) {
			_, ack := t.Connect(Connect{ClientID: t.ClientID("a"), Clean: true})
			if !bytes.Equal(ack.Body, []byte{0, 0}) {
				t.Fatalf("CONNACK is % x, want 00 00", ack.Body)
			}
		}},
		Case{ID: "MQTT-3.1.4-5", Version: V311, Title: "what follows a rejected CONNECT is not processed", Run: nothingAfterRejection},
		Case{ID: "MQTT-3.2.0-1", Version: V311, Title: "CONNACK comes first, before answers and queued messages", Run: connackFirst},
		Case{ID: "MQTT-3.2.2-1", Version: V311, Title: "clean session 1: session present 0, also with a session there", Run: presentAfterClean},
		Case{ID: "MQTT-3.2.2-2", Version: V311, Title: "a stored session: session present 1", Run: presentStored},
		Case{ID: "MQTT-3.2.2-3", Version: V311, Title: "no stored session: session present 0", Run: func(t *T) {
			_, ack := t.Session(t.ClientID("new"))
			t.wantPresent(ack, false)
		}},
		Case{ID: "MQTT-3.2.2-4", Version: V311, Title: "a refusal has session present 0", Run: func(t *T) {
			p := t.Dial()
			p.Send(Connect{Version: t.Version}.Bytes())
			t.wantPresent(p.ExpectConnackRefusal(2), false)
		}},
		Case{ID: "MQTT-3.2.2-5", Version: V311, Title: "a refusal is followed by the close", Run: func(t *T) {
			emptyClientIDNotClean(t)
			wrongLevel(t)
		}},
		Case{ID: "MQTT-3.2.2-6", Version: V311, Title: "where no code applies the close comes without CONNACK", Run: func(t *T) {
			t.eachConnectCloses(t.flagsCase("will QoS 3", 0x1e), packetCase{"user name flag without user name", t.connectBody(0x82)})
		}},
	)
}

// flagsCase is a CONNECT with these connect flags and nothing but a client id.
func (t *T) flagsCase(what string, flags byte) packetCase {
	return packetCase{what, t.connectBody(flags)}
}

// connectBody is a CONNECT with these flags, a client id and the given payload fields.
func (t *T) connectBody(flags byte, fields ...[]byte) []byte {
	head := Cat(Str(nil, "MQTT"), []byte{byte(t.Version), flags, 0, 0}, Str(nil, t.ClientID("body")))
	return Raw(CONNECT<<4, append(head, Cat(fields...)...)...)
}

func (t *T) wantPresent(ack *Packet, want bool) {
	if ack.SessionPresent != want {
		t.Fatalf("session present is %t, want %t", ack.SessionPresent, want)
	}
}

func firstPacketOther(t *T) {
	t.eachConnectCloses(
		packetCase{"PUBLISH", Publish{Topic: t.Topic("a"), Payload: "x"}.Bytes(t.Version)},
		packetCase{"SUBSCRIBE", Subscribe(t.Version, 1, nil, Sub{t.Topic("a"), 0})},
		packetCase{"UNSUBSCRIBE", Unsubscribe(t.Version, 1, nil, t.Topic("a"))},
		packetCase{"PINGREQ", Ping}, packetCase{"DISCONNECT", Disconnect},
		packetCase{"PUBACK", Ack(PUBACK, 1)}, packetCase{"PUBREC", Ack(PUBREC, 1)},
		packetCase{"PUBREL", Ack(PUBREL, 1)}, packetCase{"PUBCOMP", Ack(PUBCOMP, 1)})
}

func secondConnect(t *T) {
	id := t.ClientID("two")
	p, _ := t.Connect(Connect{ClientID: id, Clean: true})
	p.Send(Connect{Version: t.Version, ClientID: id, Clean: true}.Bytes())
	p.ExpectClosed()
}

func wrongProtocolName(t *T) {
	for _, name := range []string{"MQTX", "mqtt", "MQT", "MQTTT", "HTTP"} {
		p := t.Dial()
		p.Send(Connect{Version: t.Version, ProtocolName: name, ClientID: t.ClientID("name"), Clean: true}.Bytes())
		p.ExpectRefused()
	}
}

func wrongLevel(t *T) {
	for _, level := range []byte{2, 6, 7, 100} {
		p := t.Dial()
		p.Send(Connect{Version: Version(level), ProtocolName: "MQTT", ClientID: t.ClientID("level"), Clean: true}.Bytes())
		p.ExpectConnackRefusal(1)
	}
}

func sessionResumes(t *T) {
	id, pub := t.ClientID("s"), t.Client()
	topic := t.Topic("a")
	p, _ := t.Session(id)
	p.Subscribe(topic, 1)
	for i := range 3 { // by DISCONNECT and by losing the connection
		if i == 1 {
			p.CloseWrite()
		} else {
			p.Disconnect()
		}
		p, _ = t.Session(id)
		pub.Publish(Publish{Topic: topic, Payload: fmt.Sprint(i), QoS: 1})
		p.Receive(topic, fmt.Sprint(i), 1)
	}
}

func offlineQueue(t *T) {
	id, pub := t.ClientID("s"), t.Client()
	p, _ := t.Session(id)
	p.Subscribe(t.Topic("one"), 1)
	p.Subscribe(t.Topic("two"), 2)
	p.Disconnect()
	for i := range 5 {
		pub.Publish(Publish{Topic: t.Topic("one"), Payload: fmt.Sprint(i), QoS: 1})
		pub.Publish(Publish{Topic: t.Topic("two"), Payload: fmt.Sprint(i), QoS: 2})
	}
	p, ack := t.Session(id)
	t.wantPresent(ack, true)
	for i := range 5 {
		p.Receive(t.Topic("one"), fmt.Sprint(i), 1)
		p.Receive(t.Topic("two"), fmt.Sprint(i), 2)
	}
	p.ExpectNothing()
}

func cleanSessionDiscards(t *T) {
	id, pub := t.ClientID("s"), t.Client()
	topic := t.Topic("a")
	p, _ := t.Session(id)
	p.Subscribe(topic, 1)
	p.Disconnect()
	pub.Publish(Publish{Topic: topic, Payload: "queued", QoS: 1})
	p, ack := t.Connect(Connect{ClientID: id, Clean: true})
	t.wantPresent(ack, false)
	pub.Publish(Publish{Topic: topic, Payload: "for nobody", QoS: 1})
	p.ExpectNothing()
	p.Subscribe(topic, 1)
	p.Disconnect()
	pub.Publish(Publish{Topic: topic, Payload: "for nobody", QoS: 1})
	p, ack = t.Session(id)
	t.wantPresent(ack, false)
	pub.Publish(Publish{Topic: topic, Payload: "for nobody", QoS: 1})
	p.ExpectNothing()
}

func retainedOutlivesSession(t *T) {
	pub := t.Client()
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "kept", QoS: 1, Retain: true})
	pub.Disconnect()
	sub := t.Client()
	sub.Subscribe(t.Topic("a"), 0)
	sub.Receive(t.Topic("a"), "kept", 0)
}

func keepAliveCloses(t *T) {
	p, _ := t.Connect(Connect{ClientID: t.ClientID("k"), Clean: true, KeepAlive: 1})
	p.ExpectNothing()
	last := time.Now()
	p.ExpectClosedWithin(1500*time.Millisecond + t.KeepAliveSlack())
	// A PINGRESP and the clock of the broker may be a little apart from ours.
	if early := time.Since(last); early < 1400*time.Millisecond {
		t.Fatalf("closed %v after the last packet; the client has 1.5 s", early)
	}
}

func payloadOrder(t *T) {
	sub := t.Client()
	sub.Subscribe(t.Topic("will"), 1)
	user, password := "user", "password"
	p, _ := t.Connect(Connect{ClientID: t.ClientID("all"), Clean: true, Username: &user, Password: &password,
		Will: &Will{Topic: t.Topic("will"), Payload: "message", QoS: 1}})
	p.CloseWrite()
	sub.Receive(t.Topic("will"), "message", 1)
}

func sessionsByClientID(t *T) {
	pub := t.Client()
	for _, id := range []string{"x", "X", "xx"} {
		p, _ := t.Session(t.ClientID(id))
		p.Subscribe(t.Topic(id), 1)
		p.Disconnect()
	}
	for _, id := range []string{"x", "X", "xx"} {
		pub.Publish(Publish{Topic: t.Topic(id), Payload: id, QoS: 1})
	}
	for _, id := range []string{"X", "xx", "x"} {
		p, ack := t.Session(t.ClientID(id))
		t.wantPresent(ack, true)
		p.Receive(t.Topic(id), id, 1)
		p.ExpectNothing()
	}
}

func clientIDAlphabet(t *T) {
	for _, id := range []string{"0", "Z", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"} {
		p, _ := t.Connect(Connect{ClientID: id, Clean: true})
		p.Disconnect()
	}
}

func emptyClientIDs(t *T) {
	a, _ := t.Connect(Connect{Clean: true})
	b, _ := t.Connect(Connect{Clean: true})
	a.Subscribe(t.Topic("a"), 1)
	b.Publish(Publish{Topic: t.Topic("a"), Payload: "x", QoS: 1})
	a.Receive(t.Topic("a"), "x", 1)
	b.ExpectNothing()
}

func emptyClientIDNotClean(t *T) {
	p := t.Dial()
	p.Send(Connect{Version: t.Version}.Bytes())
	p.ExpectConnackRefusal(2)
}

func badConnects(t *T) {
	good := Connect{Version: t.Version, ClientID: t.ClientID("bad"), Clean: true, Will: &Will{Topic: t.Topic("w"), Payload: "x"}}.Bytes()
	surplus := Raw(CONNECT<<4, append(append([]byte(nil), good[2:]...), 0)...)
	cases := []packetCase{
		t.flagsCase("reserved flag", 0x03), t.flagsCase("will retain without will", 0x22), {"a byte after the end", surplus},
	}
	for _, n := range []int{0, 1, 5, 6, 7, 8, 9, 11, 14, len(good) - 3} {
		cases = append(cases, packetCase{fmt.Sprintf("cut to a body of %d bytes", n), Raw(CONNECT<<4, good[2:2+n]...)})
	}
	t.eachConnectCloses(cases...)
}

func takeOver(t *T) {
	id := t.ClientID("s")
	first, _ := t.Connect(Connect{ClientID: id, Clean: true})
	second, _ := t.Connect(Connect{ClientID: id, Clean: true})
	first.ExpectClosed()
	second.ExpectNothing()
}

func cleanAndLastingInTurn(t *T) {
	id, pub := t.ClientID("s"), t.Client()
	topic := t.Topic("a")
	for range 3 {
		p, ack := t.Session(id)
		t.wantPresent(ack, false)
		p.Subscribe(topic, 1)
		p.Disconnect()
		pub.Publish(Publish{Topic: topic, Payload: "kept", QoS: 1})
		p, ack = t.Session(id)
		t.wantPresent(ack, true)
		p.Receive(topic, "kept", 1)
		p.ExpectNothing()
		p.Disconnect()
		p, ack = t.Connect(Connect{ClientID: id, Clean: true})
		t.wantPresent(ack, false)
		p.Disconnect()
	}
}

func nothingAfterRejection(t *T) {
	p := t.Dial()
	p.Send(Connect{Version: t.Version}.Bytes(), // refused: empty client id, clean session 0
		Publish{Topic: t.Topic("a"), Payload: "must not be seen", QoS: 1, ID: 1, Retain: true}.Bytes(t.Version),
		Subscribe(t.Version, 2, nil, Sub{t.Topic("a"), 0}))
	p.ExpectConnackRefusal(2)
	sub := t.Client()
	sub.Subscribe(t.Topic("a"), 0)
	sub.ExpectNothing()
}

func connackFirst(t *T) {
	id, pub := t.ClientID("s"), t.Client()
	p, _ := t.Session(id)
	p.Subscribe(t.Topic("a"), 1)
	p.Disconnect()
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "x", QoS: 1})
	p = t.Dial()
	p.Send(Connect{Version: t.Version, ClientID: id}.Bytes(), Ping, Subscribe(t.Version, 1, nil, Sub{t.Topic("b"), 0}))
	t.wantPresent(p.Expect(CONNACK), true)
	p.Await(PINGRESP)
	p.Await(SUBACK)
	p.Receive(t.Topic("a"), "x", 1)
}

func presentAfterClean(t *T) {
	id := t.ClientID("s")
	p, _ := t.Session(id)
	p.Disconnect()
	p, ack := t.Connect(Connect{ClientID: id, Clean: true})
	t.wantPresent(ack, false)
	_, ack = t.Connect(Connect{ClientID: id, Clean: true}) // also over a clean session that is connected
	t.wantPresent(ack, false)
	p.ExpectClosed()
}

func presentStored(t *T) {
	id := t.ClientID("s")
	p, _ := t.Session(id)
	p.Disconnect()
	_, ack := t.Session(id) // an empty session is a session
	t.wantPresent(ack, true)
	_, ack = t.Session(id) // and one that is connected
	t.wantPresent(ack, true)
}
