package conformance

import (
	"strings"
	"time"
)

// MQTT 5 §3.1.3 and §3.1.4 (CONNECT's payload, what the server does) and §3.2 (CONNACK).

// refusedOne is a CONNECT that every target refuses with a CONNACK: it names an authentication method nobody knows.
func refusedOne(id string, props ...Prop) Connect {
	return Connect{ClientID: id, Props: append(props5(text(PropAuthMethod, "no-such-method")), props...)}
}

func init() {
	v5("MQTT-3.1.3-1", "the payload's fields are read in their order", func(t *T) {
		topic := t.Topic("w")
		sub := t.subscriber(topic, 0)
		p, _ := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true, Username: ptr("user"), Password: ptr("pass"),
			Will: &Will{Topic: topic, Payload: "payload", Props: props5(text(PropContentType, "ct"))}})
		p.Close()
		t.wantProp(sub.ExpectPublish(topic, "payload", 0), text(PropContentType, "ct"))
	})
	v5("MQTT-3.1.3-2", "sessions are told apart by the client id alone", func(t *T) {
		a, b := t.ClientID("s"), t.ClientID("S")
		p, _ := t.resume(a, 600)
		p.Subscribe(t.Topic("a"), 1)
		p.Disconnect()
		if _, present := t.resume(b, 600); present {
			t.Fatalf("client %q got the session of %q", b, a)
		}
		if _, present := t.resume(a, 600); !present {
			t.Fatalf("the session of %q is gone", a)
		}
	})
	v5("MQTT-3.1.3-3", "a CONNECT without a client id field closes", func(t *T) {
		t.refusedConnect(badPacketCodes, variant{"empty payload", connectPayload(0x02)}, variant{"half a length", connectPayload(0x02, bytesOf(0))},
			variant{"length without text", connectPayload(0x02, bytesOf(0, 5))})
	})
	v5("MQTT-3.1.3-4", "a client id that is not UTF-8 closes", func(t *T) {
		t.refusedConnect([]byte{rcMalformed, rcProtocolError, rcBadClientID}, inString(badUTF8, func(s string) []byte {
			return connect5(Connect{ClientID: t.ClientID("x") + s, Clean: true})
		})...)
	})
	v5("MQTT-3.1.3-5", "client ids of 1 to 23 letters and digits are taken", func(t *T) {
		for _, id := range []string{"Q", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ0123456"} {
			p, ack := t.Connect(Connect{ClientID: id, Clean: true})
			t.wantNoProp(ack, PropAssignedClientID)
			p.Close()
		}
	})
	v5same("MQTT-3.1.3-6 MQTT-3.2.2-16", "empty client ids get different ones assigned", func(t *T) {
		seen := map[string]bool{}
		for range 5 {
			_, ack := t.Connect(Connect{Clean: true})
			a, _ := ack.Prop(PropAssignedClientID)
			if a.Str == "" || seen[a.Str] {
				t.Fatalf("assigned client id %q, before: %v", a.Str, seen)
			}
			seen[a.Str] = true
		}
	})
	v5("MQTT-3.1.3-7", "the assigned client id is the session's id", func(t *T) {
		p, ack := t.Connect(Connect{Props: props5(expiry(600))})
		if ack.SessionPresent {
			t.Fatalf("session present for an empty client id")
		}
		a, _ := ack.Prop(PropAssignedClientID)
		topic := t.Topic("a")
		p.Subscribe(topic, 1)
		p.Disconnect()
		t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 1})
		p, present := t.resume(a.Str, 0)
		if !present {
			t.Fatalf("no session under the assigned id %q", a.Str)
		}
		p.Receive(topic, "x", 1)
	})
	v5with(Options{RefuseEmptyClientID: true}, "MQTT-3.1.3-8", "", "a refused client id closes", func(t *T) {
		t.refusedConnect([]byte{rcBadClientID, rcUnspecified}, variant{"empty", connect5(Connect{Clean: true})})
	})
}

func init() {
	v5("MQTT-3.1.3-11", "a will topic that is not UTF-8 closes", func(t *T) {
		t.refusedConnect(badTopicCodes, inString(badUTF8, func(s string) []byte {
			return connect5(Connect{ClientID: t.ClientID("x"), Clean: true, Will: &Will{Topic: t.Topic("w" + s)}})
		})...)
	})
	v5("MQTT-3.1.3-12", "a user name that is not UTF-8 closes", func(t *T) {
		t.refusedConnect([]byte{rcMalformed, rcProtocolError, rcBadPassword, rcNotAuthorized}, inString(badUTF8, func(s string) []byte {
			return connect5(Connect{ClientID: t.ClientID("x"), Clean: true, Username: ptr("u" + s)})
		})...)
	})

	v5("MQTT-3.1.4-1", "a CONNECT that is not well formed closes", func(t *T) {
		id := Str(nil, t.ClientID("x"))
		c := func(props ...Prop) []byte {
			return connect5(Connect{ClientID: t.ClientID("x"), Clean: true, Props: props})
		}
		t.refusedConnect(badPacketCodes,
			variant{"bytes after the end", connectPayload(0x02, id, bytesOf(0))},
			variant{"empty", Raw(0x10)},
			variant{"no keep alive", Raw(0x10, Cat(Str(nil, "MQTT"), bytesOf(5, 2))...)},
			variant{"no properties", Raw(0x10, Cat(Str(nil, "MQTT"), bytesOf(5, 2, 0, 0))...)},
			variant{"unknown property", Raw(0x10, Cat(Str(nil, "MQTT"), bytesOf(5, 2, 0, 0, 2, 0x7f, 0), id)...)},
			variant{"property of PUBLISH", c(num(PropTopicAlias, 1))},
			variant{"session expiry twice", c(expiry(1), expiry(1))},
			variant{"receive maximum 0", c(num(PropReceiveMaximum, 0))},
			variant{"maximum packet size 0", c(num(PropMaximumPacketSize, 0))},
			variant{"request problem information 2", c(num(PropRequestProblemInfo, 2))},
			variant{"request response information 2", c(num(PropRequestResponseInfo, 2))},
		)
	})
	v5part("MQTT-3.1.4-1", "auth-data", "authentication data without a method closes", func(t *T) {
		t.refusedConnect(badPacketCodes, variant{"data", connect5(Connect{ClientID: t.ClientID("x"), Clean: true, Props: props5(text(PropAuthData, "x"))})})
	})
	v5with(Options{RefuseEmptyClientID: true}, "MQTT-3.1.4-2", "", "a CONNECT that fails a check of the configuration closes", func(t *T) {
		t.refusedConnect([]byte{rcBadClientID, rcUnspecified}, variant{"empty client id", connect5(Connect{Clean: true})})
		t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true})
	})
	v5with(Options{Users: map[string]string{"ann": "secret"}}, "MQTT-3.1.4-2", "password", "wrong credentials close", func(t *T) {
		c := Connect{ClientID: t.ClientID("x"), Clean: true, Username: ptr("ann"), Password: ptr("wrong")}
		t.refusedConnect([]byte{rcBadPassword, rcNotAuthorized}, variant{"wrong password", connect5(c)},
			variant{"anonymous", connect5(Connect{ClientID: t.ClientID("x"), Clean: true})})
		c.Password = ptr("secret")
		t.Connect(c)
	})
	v5("MQTT-3.1.4-3", "a take-over disconnects the old connection with 0x8E", func(t *T) {
		id := t.ClientID("s")
		old, _ := t.resume(id, 600)
		p, present := t.resume(id, 600)
		if !present {
			t.Fatalf("the session taken over is not present")
		}
		old.ExpectDisconnect(rcTakenOver)
		p.ExpectNothing()
	})
	v5("MQTT-3.1.4-4", "a take-over with clean start drops the session of the connection taken over", func(t *T) {
		id, topic := t.ClientID("s"), t.Topic("a")
		old, _ := t.resume(id, 600)
		old.Subscribe(topic, 1)
		p, ack := t.Connect(Connect{ClientID: id, Clean: true})
		if ack.SessionPresent {
			t.Fatalf("session present after clean start")
		}
		old.ExpectRefused(rcTakenOver)
		t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 1})
		p.ExpectNothing()
	})
}

func init() {
	v5("MQTT-3.1.4-5", "CONNECT is answered by CONNACK 0x00, with all of its properties", func(t *T) {
		_, ack := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true, KeepAlive: 60, Username: ptr("u"), Props: props5(
			expiry(10), num(PropReceiveMaximum, 5), num(PropMaximumPacketSize, 10000), num(PropTopicAliasMaximum, 3),
			num(PropRequestResponseInfo, 1), num(PropRequestProblemInfo, 1), user("a", "b"), user("a", "b"))})
		t.wantCode(ack, rcSuccess)
	})
	v5("MQTT-3.1.4-6", "what follows a refused CONNECT is not processed", func(t *T) {
		topic := t.Topic("a")
		sub := t.subscriber(topic, 1)
		for _, c := range [][]byte{connect5(refusedOne(t.ClientID("x"))), Connect{Version: 6, ClientID: t.ClientID("y")}.Bytes()} {
			p := t.Dial()
			p.Send(c, publish5(Publish{Topic: topic, Payload: "x"}), publish5(Publish{Topic: topic, Payload: "x", Retain: true}))
			p.ExpectRefused()
		}
		sub.ExpectNothing()
		t.subscriber(topic, 0).ExpectNothing()
	})

	v5("MQTT-3.2.0-1", "CONNACK comes first, before queued messages and answers to what was sent with CONNECT", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 1)
		p.Disconnect()
		pub := t.Client()
		for i := range 10 {
			pub.Publish(Publish{Topic: topic, Payload: itoa(i), QoS: 1})
		}
		p = t.Dial()
		p.Send(connect5(Connect{ClientID: id, Props: props5(expiry(600))}), Ping, publish5(Publish{Topic: t.Topic("b"), QoS: 1, ID: 1}))
		p.Expect(CONNACK)
		p.Await(PINGRESP)
		p.Await(PUBACK)
	})
	v5("MQTT-3.2.0-2", "there is one CONNACK per connection", func(t *T) {
		p := t.Client()
		p.Subscribe(t.Topic("a"), 1)
		p.Publish(Publish{Topic: t.Topic("a"), Payload: "x", QoS: 1})
		p.Receive(t.Topic("a"), "x", 1)
		p.Send(connect5(Connect{ClientID: t.ClientID("y"), Clean: true}))
		for _, m := range p.Drain() {
			if m.Type == CONNACK {
				t.Fatalf("a second CONNACK")
			}
		}
	})
	v5("MQTT-3.2.2-1", "the acknowledge flags are 0 or 1", func(t *T) {
		id := t.ClientID("s")
		for i := range 2 {
			p, ack := t.Connect(Connect{ClientID: id, Props: props5(expiry(600))})
			if ack.Body[0] != byte(i) {
				t.Fatalf("acknowledge flags %#x at connection %d", ack.Body[0], i)
			}
			p.Disconnect()
		}
	})
	v5("MQTT-3.2.2-2", "clean start: session present 0 and code 0", func(t *T) {
		id := t.ClientID("s")
		for range 2 {
			p, ack := t.Connect(Connect{ClientID: id, Clean: true, Props: props5(expiry(600))})
			if ack.SessionPresent || ack.Code != 0 {
				t.Fatalf("got %s", ack)
			}
			p.Disconnect()
		}
	})
}

func init() {
	v5("MQTT-3.2.2-3", "without clean start session present is true to the facts", func(t *T) {
		id := t.ClientID("s")
		for i, want := range []bool{false, true, true} {
			p, present := t.resume(id, 600)
			if present != want {
				t.Fatalf("connection %d: session present %t", i, present)
			}
			p.Disconnect()
		}
	})
	v5("MQTT-3.2.2-6", "a refusal has session present 0 even where a session exists", func(t *T) {
		id := t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Disconnect()
		p = t.Dial()
		if ack := p.Connect(refusedOne(id)); ack.Code == 0 || ack.SessionPresent {
			t.Fatalf("got %s", ack)
		}
		if _, present := t.resume(id, 600); !present {
			t.Fatalf("the refused CONNECT ended the session")
		}
	})
	v5("MQTT-3.2.2-7", "a CONNACK of 0x80 or more is followed by the close", func(t *T) {
		p := t.Dial()
		p.Send(connect5(refusedOne(t.ClientID("x"))))
		if last := p.ExpectConnackRefusal(); last.Code < 0x80 {
			t.Fatalf("got %s", last)
		}
	})
	v5("MQTT-3.2.2-8", "CONNACK's codes are of its table; Maximum QoS, if there, is 0 or 1", func(t *T) {
		const table = "\x00\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8c\x90\x95\x97\x99\x9a\x9b\x9c\x9d\x9f"
		c := Connect{ClientID: t.ClientID("x"), Clean: true}
		_, ack := t.Connect(c)
		if q, ok := ack.Prop(PropMaximumQoS); ok && q.Int > 1 {
			t.Fatalf("Maximum QoS %d", q.Int)
		}
		for _, raw := range [][]byte{connect5(refusedOne(t.ClientID("x"))), flagged(c, 0x03), flagged(c, 0x0a),
			connect5(Connect{ClientID: t.ClientID("x"), Props: props5(num(PropReceiveMaximum, 0))})} {
			p := t.Dial()
			p.Send(raw)
			if last := p.ExpectRefused(); last != nil && strings.IndexByte(table, last.Code) < 0 {
				t.Fatalf("code 0x%02x is not of CONNACK's table", last.Code)
			}
		}
	})
	v5with(Options{RefuseRetain: true}, "MQTT-3.2.2-13", "", "a retained will at a server without retain is refused", func(t *T) {
		t.refusedConnect([]byte{rcRetainUnsupported}, variant{"will retain", connect5(Connect{ClientID: t.ClientID("x"), Clean: true,
			Will: &Will{Topic: t.Topic("w"), Payload: "w", Retain: true}})})
		t.withWill(Will{Topic: t.Topic("w"), Payload: "w"}).Disconnect()
	})
	v5with(Options{MaxPacketSize: 1000}, "MQTT-3.2.2-15", "", "a packet above the server's Maximum Packet Size is refused with 0x95", func(t *T) {
		aboveServersSize(t, 1000, 50)
	})
	v5with(Options{MaxPacketSize: 1000}, "MQTT-3.2.2-15", "exact", "the server's Maximum Packet Size holds to the byte", func(t *T) {
		aboveServersSize(t, 1000, 1)
	})
	v5same("MQTT-3.2.2-17 MQTT-3.3.2-9", "an alias above the server's maximum closes", func(t *T) {
		p, ack := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true})
		most, _ := ack.Prop(PropTopicAliasMaximum)
		p.Send(publish5(Publish{Topic: t.Topic("a"), Props: props5(num(PropTopicAlias, most.Int+1))}))
		p.ExpectRefused(rcAliasInvalid, rcProtocolError)
	})
}

func init() {
	v5same("MQTT-3.2.2-19 MQTT-3.2.2-20", "no Reason String or User Property takes CONNACK above the client's maximum size", func(t *T) {
		for _, most := range []uint32{20, 30, 50} {
			for _, c := range []Connect{{ClientID: t.ClientID("x")}, refusedOne(t.ClientID("x"))} {
				c.Props = append(c.Props, num(PropMaximumPacketSize, most))
				p := t.Dial()
				t.withinSize(p.Connect(c), most)
			}
		}
	})
	v5("MQTT-3.2.2-22", "without Server Keep Alive the client's own holds", func(t *T) {
		p, ack := t.Connect(Connect{ClientID: t.ClientID("k"), Clean: true, KeepAlive: 2})
		t.wantNoProp(ack, PropServerKeepAlive)
		t.silentFor(p, 2*time.Second)
	})
}

// withinSize fails if a packet with a Reason String or User Property is above the size.
func (t *T) withinSize(p *Packet, most uint32) {
	_, reason := p.Prop(PropReasonString)
	_, pair := p.Prop(PropUser)
	if (reason || pair) && p.size() > int(most) {
		t.Fatalf("%d bytes with a property that could be left out, the client's maximum is %d: %s", p.size(), most, p)
	}
}

// aboveServersSize sends a packet of exactly the server's maximum size, and one larger.
func aboveServersSize(t *T, most, over int) {
	p, ack := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true})
	t.wantProp(ack, num(PropMaximumPacketSize, uint32(most)))
	topic := t.Topic("a")
	n := most - 3 - 2 - len(topic) - 2 - 1
	fits := publish5(Publish{Topic: topic, QoS: 1, ID: 1, Payload: string(make5(n))})
	if len(fits) != most {
		t.Fatalf("the case's packet has %d bytes", len(fits))
	}
	p.Send(fits)
	p.ExpectAck(PUBACK, 1)
	p.Send(publish5(Publish{Topic: topic, QoS: 1, ID: 2, Payload: string(make5(n + over))}))
	p.ExpectDisconnect(rcPacketTooLarge)
}
