package conformance

import "fmt"

// MQTT 5 §4.12 on a broker that knows the authentication method riddleMethod: it asks "1?" and "2?", expects "1!" and
// "2!", and greets. The cases for a broker without a method are in v5_auth.go.

func init() {
	part := func(id, part, title string, run func(*T)) { v5with(Options{Enhanced: true}, id, part, title, run) }
	enhanced := func(id, title string, run func(*T)) { part(id, "", title, run) }
	enhanced("MQTT-4.12.0-2", "the server's AUTH during the connect has code 0x18", func(t *T) {
		p := t.Dial()
		p.Send(riddleConnect(t.ClientID("x")))
		for i := 1; i <= riddleSteps; i++ {
			t.wantCode(p.Expect(AUTH), rcContinue)
			p.Send(answer(i))
		}
		t.wantCode(p.Expect(CONNACK), rcSuccess)
		p.ExpectNothing()
	})
	enhanced("MQTT-4.12.0-3", "a client's AUTH with another code than 0x18 before CONNACK closes", func(t *T) {
		for _, code := range []byte{rcSuccess, rcReauthenticate} {
			p := t.asked()
			p.Send(Auth(code, text(PropAuthMethod, riddleMethod), text(PropAuthData, "1!")))
			t.refusedInExchange(p, badPacketCodes...)
		}
	})
	part("MQTT-4.12.0-4", "exchange", "a wrong answer is refused by CONNACK 0x87, at the first step and at a later one", func(t *T) {
		p := t.asked()
		p.Send(riddleAuth(rcContinue, "wrong"))
		p.ExpectConnackRefusal(rcNotAuthorized)
		p = t.asked()
		p.Send(answer(1))
		t.wantProp(p.Expect(AUTH), text(PropAuthData, "2?"))
		p.Send(answer(1))
		p.ExpectConnackRefusal(rcNotAuthorized)
	})
	enhanced("MQTT-4.12.0-5", "every AUTH and the CONNACK repeat the method, and carry the data of their step", func(t *T) {
		p := t.Dial()
		p.Send(riddleConnect(t.ClientID("x")))
		for i := 1; i <= riddleSteps; i++ {
			pkt := p.Expect(AUTH)
			t.wantProp(pkt, text(PropAuthMethod, riddleMethod))
			t.wantProp(pkt, text(PropAuthData, fmt.Sprintf("%d?", i)))
			p.Send(answer(i))
		}
		ack := p.Expect(CONNACK)
		t.wantProp(ack, text(PropAuthMethod, riddleMethod))
		t.wantProp(ack, text(PropAuthData, "welcome ann"))
	})
	part("MQTT-4.12.0-5", "client", "a client's AUTH with another method, or with none, closes", func(t *T) {
		for _, props := range [][]Prop{nil, {text(PropAuthData, "1!")}, {text(PropAuthMethod, "other"), text(PropAuthData, "1!")}} {
			p := t.asked()
			p.Send(Auth(rcContinue, props...))
			t.refusedInExchange(p, append([]byte{rcBadAuthMethod}, badPacketCodes...)...)
		}
	})
}

func init() {
	part := func(id, part, title string, run func(*T)) { v5with(Options{Enhanced: true}, id, part, title, run) }
	part("MQTT-4.12.0-6", "enhanced", "a broker with a method sends none to a client without", func(t *T) {
		p, ack := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true})
		t.wantNoProp(ack, PropAuthMethod)
		t.wantNoProp(ack, PropAuthData)
		p.ExpectNothing()
	})
	part("MQTT-4.12.0-7", "enhanced", "AUTH from a client without a method closes, also at a broker that has one", func(t *T) {
		t.refused(append([]byte{rcBadAuthMethod}, badPacketCodes...),
			variant{"0x18", riddleAuth(rcContinue, "x")}, variant{"0x19", riddleAuth(rcReauthenticate, "x")})
	})
	part("MQTT-4.12.0-1", "enhanced", "another method than the broker's is refused", func(t *T) {
		t.connackRefused([]byte{rcBadAuthMethod, rcNotAuthorized}, variant{"other", connect5(refusedOne(t.ClientID("x")))})
	})
	part("MQTT-3.1.2-30", "", "anything but AUTH and DISCONNECT before CONNACK closes, and does nothing", beforeConnack)
	part("MQTT-3.1.2-30", "disconnect", "DISCONNECT before CONNACK ends the exchange", func(t *T) {
		p := t.asked()
		p.Send(Disconnect)
		p.ExpectClosed()
	})
	part("MQTT-3.14.0-1", "exchange", "what goes wrong in the exchange is not answered by DISCONNECT, as no CONNACK has come", func(t *T) {
		for _, raw := range [][]byte{Ping, connect5(Connect{ClientID: t.ClientID("y"), Clean: true}), Raw(0xf1, 0), Raw(0xf0, 0x18, 5)} {
			p := t.asked()
			p.Send(raw)
			t.refusedInExchange(p)
		}
	})
	part("MQTT-3.1.4-6", "enhanced", "what follows a refused AUTH is not processed", func(t *T) {
		sub := t.subscriber(t.Topic("a"), 1)
		p := t.asked()
		p.Send(riddleAuth(rcContinue, "wrong"), publish5(Publish{Topic: t.Topic("a"), Payload: "x", QoS: 1, ID: 1}))
		p.ExpectConnackRefusal(rcNotAuthorized)
		sub.ExpectNothing()
	})
	part("MQTT-3.2.0-1", "enhanced", "AUTH alone comes before CONNACK, whatever waits for the session", func(t *T) {
		p := t.riddled(t.ClientID("s"), expiry(600))
		p.Subscribe(t.Topic("a"), 1)
		p.Disconnect()
		t.Client().Publish(Publish{Topic: t.Topic("a"), Payload: "waits", QoS: 1})
		p = t.Dial()
		p.Send(connect5(Connect{ClientID: t.ClientID("s"), Props: props5(expiry(600), text(PropAuthMethod, riddleMethod))}))
		for i := 1; i <= riddleSteps; i++ {
			p.Expect(AUTH)
			p.Send(answer(i))
		}
		if ack := p.Expect(CONNACK); !ack.SessionPresent {
			t.Fatalf("no session present in %s", ack)
		}
		p.Receive(t.Topic("a"), "waits", 1)
	})
}

// Re-authentication (MQTT 5 §4.12.1).
func init() {
	part := func(id, part, title string, run func(*T)) { v5with(Options{Enhanced: true}, id, part, title, run) }
	part("MQTT-4.12.1-1", "", "AUTH 0x19 with the original method begins a re-authentication; AUTH 0x00 ends it", func(t *T) {
		p := t.riddled(t.ClientID("x"))
		for _, name := range []string{"bob", "eve"} {
			p.Send(riddleAuth(rcReauthenticate, name))
			for i := 1; i <= riddleSteps; i++ {
				pkt := p.Expect(AUTH)
				t.wantCode(pkt, rcContinue)
				t.wantProp(pkt, text(PropAuthMethod, riddleMethod))
				t.wantProp(pkt, text(PropAuthData, fmt.Sprintf("%d?", i)))
				p.Send(answer(i))
			}
			pkt := p.Expect(AUTH)
			t.wantCode(pkt, rcSuccess)
			t.wantProp(pkt, text(PropAuthMethod, riddleMethod))
			t.wantProp(pkt, text(PropAuthData, "welcome "+name))
		}
		p.ExpectNothing()
	})
	part("MQTT-4.12.1-1", "method", "a re-authentication with another method, or with none, closes", func(t *T) {
		for _, props := range [][]Prop{nil, {text(PropAuthMethod, "other")}} {
			p := t.riddled(t.ClientID("x"))
			p.Send(Auth(rcReauthenticate, props...))
			p.ExpectRefused(append([]byte{rcBadAuthMethod}, badPacketCodes...)...)
		}
	})
	part("MQTT-4.12.1-1", "flow", "other packets pass during a re-authentication", func(t *T) {
		p := t.riddled(t.ClientID("x"))
		p.Subscribe(t.Topic("a"), 2)
		p.Send(riddleAuth(rcReauthenticate, "bob"))
		p.Expect(AUTH)
		for qos := byte(0); qos < 3; qos++ {
			t.Client().Publish(Publish{Topic: t.Topic("a"), Payload: itoa(int(qos)), QoS: qos})
			p.Receive(t.Topic("a"), itoa(int(qos)), qos)
		}
		p.Send(answer(1))
		p.Expect(AUTH)
		p.Send(answer(2))
		t.wantCode(p.Expect(AUTH), rcSuccess)
		p.ExpectNothing()
	})
}

func init() {
	part := func(id, part, title string, run func(*T)) { v5with(Options{Enhanced: true}, id, part, title, run) }
	part("MQTT-4.12.1-2", "enhanced", "a re-authentication that fails gets DISCONNECT 0x87, and the will is sent", func(t *T) {
		sub := t.subscriber(t.Topic("w"), 0)
		p := t.riddledWith(Connect{ClientID: t.ClientID("x"), Clean: true, Will: &Will{Topic: t.Topic("w"), Payload: "gone"}})
		p.Send(riddleAuth(rcReauthenticate, "bob"))
		p.Expect(AUTH)
		p.Send(riddleAuth(rcContinue, "wrong"))
		p.ExpectDisconnect(rcNotAuthorized)
		sub.ExpectPublish(t.Topic("w"), "gone", 0)
	})
	part("MQTT-4.12.0-3", "unasked", "AUTH 0x18 that answers no question closes", func(t *T) {
		p := t.riddled(t.ClientID("x"))
		p.Send(answer(1))
		p.ExpectRefused(badPacketCodes...)
	})
	part("MQTT-4.12.0-3", "out-of-turn", "AUTH before the server has answered the last one closes", func(t *T) {
		for _, second := range [][]byte{answer(1), riddleAuth(rcReauthenticate, "bob")} {
			p := t.riddled(t.ClientID("x"))
			p.Send(riddleAuth(rcReauthenticate, "bob"), second)
			p.ExpectDisconnect(rcProtocolError)
		}
	})
	part("MQTT-3.15.2-1", "enhanced", "AUTH with a code that is not its own closes, before and after CONNACK", func(t *T) {
		for _, code := range []byte{0x01, 0x17, 0x1a, 0x80, 0xff} {
			p := t.asked()
			p.Send(riddleAuth(code, "1!"))
			t.refusedInExchange(p, badPacketCodes...)
			p = t.riddled(t.ClientID("x"))
			p.Send(riddleAuth(code, "x"))
			p.ExpectRefused(badPacketCodes...)
		}
	})
	for _, id := range []string{"MQTT-3.15.2-2", "MQTT-3.15.2-3"} {
		part(id, "", "no Reason String or User Property takes AUTH above the client's maximum size", smallAuth)
	}
}

// riddleAuth is a client's AUTH of the broker's method.
func riddleAuth(code byte, data string) []byte {
	return Auth(code, text(PropAuthMethod, riddleMethod), text(PropAuthData, data))
}

// answer is the right one to question i.
func answer(i int) []byte { return riddleAuth(rcContinue, fmt.Sprintf("%d!", i)) }

func riddleConnect(clientID string, props ...Prop) []byte {
	return connect5(Connect{ClientID: clientID, Clean: true, Props: riddleProps("ann", props...)})
}

func riddleProps(name string, props ...Prop) []Prop {
	return append([]Prop{text(PropAuthMethod, riddleMethod), text(PropAuthData, name)}, props...)
}

// asked is a client that has been asked the first question.
func (t *T) asked() *Peer {
	p := t.Dial()
	p.Send(riddleConnect(t.ClientID("x")))
	t.wantProp(p.Expect(AUTH), text(PropAuthData, "1?"))
	return p
}

// riddled is a client that has authenticated itself.
func (t *T) riddled(clientID string, props ...Prop) *Peer {
	return t.riddledWith(Connect{ClientID: clientID, Clean: true, Props: props})
}

func (t *T) riddledWith(c Connect) *Peer {
	c.Props = riddleProps("ann", c.Props...)
	p := t.Dial()
	p.Send(connect5(c))
	for i := 1; i <= riddleSteps; i++ {
		p.Expect(AUTH)
		p.Send(answer(i))
	}
	t.wantCode(p.Expect(CONNACK), rcSuccess)
	return p
}

// refusedInExchange expects the close, before which CONNACK may come, but not DISCONNECT [MQTT-3.14.0-1].
func (t *T) refusedInExchange(p *Peer, codes ...byte) {
	if last := p.ExpectRefused(codes...); last != nil && last.Type != CONNACK {
		t.Fatalf("%s before any CONNACK, see [MQTT-3.14.0-1]", last)
	}
}

func beforeConnack(t *T) {
	topic := t.Topic("a")
	sub := t.subscriber(topic, 2)
	t.each([]variant{
		{"PUBLISH QoS 0", publish5(Publish{Topic: topic, Payload: "x"})},
		{"PUBLISH QoS 1", publish5(Publish{Topic: topic, Payload: "x", QoS: 1, ID: 1})},
		{"PUBLISH QoS 2", publish5(Publish{Topic: topic, Payload: "x", QoS: 2, ID: 1})},
		{"PUBLISH retained", publish5(Publish{Topic: topic, Payload: "x", Retain: true})},
		{"SUBSCRIBE", sub5(1, Sub{topic, 0})},
		{"UNSUBSCRIBE", unsub5(1, topic)},
		{"PUBACK", Ack(PUBACK, 1)}, {"PUBREC", Ack(PUBREC, 1)}, {"PUBREL", Ack(PUBREL, 1)}, {"PUBCOMP", Ack(PUBCOMP, 1)},
		{"PINGREQ", Ping},
	}, func(v variant) {
		p := t.asked()
		p.Send(v.raw, answer(1))
		t.refusedInExchange(p, badPacketCodes...)
	})
	sub.ExpectNothing()
	t.subscriber(topic, 0).ExpectNothing()
}

// smallAuth: the toy gives a long reason with every step.
func smallAuth(t *T) {
	const most = 40
	p := t.Dial()
	p.Send(riddleConnect(t.ClientID("x"), num(PropMaximumPacketSize, most)))
	exchange := func() {
		for i := 1; i <= riddleSteps; i++ {
			pkt := p.Expect(AUTH)
			t.withinSize(pkt, most)
			p.Send(answer(i))
		}
	}
	exchange()
	t.wantCode(p.Expect(CONNACK), rcSuccess)
	p.Send(riddleAuth(rcReauthenticate, "ann"))
	exchange()
	t.withinSize(p.Expect(AUTH), most)
	p.Send(riddleAuth(rcReauthenticate, "ann"))
	p.Expect(AUTH)
	p.Send(riddleAuth(rcContinue, "wrong"))
	t.withinSize(p.ExpectDisconnect(rcNotAuthorized), most)
}
