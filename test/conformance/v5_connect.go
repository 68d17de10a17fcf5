package conformance

import "time"

// MQTT 5 §3.1.2: CONNECT's variable header.

// firstPackets are all packets but CONNECT that a socket could begin with.
func firstPackets(t *T) []variant {
	topic := t.Topic("a")
	return []variant{
		{"type 0", Raw(0x00)},
		{"CONNACK", Raw(0x20, 0, 0, 0)},
		{"PUBLISH", publish5(Publish{Topic: topic, Payload: "x"})},
		{"PUBACK", Ack(PUBACK, 1)}, {"PUBREC", Ack(PUBREC, 1)}, {"PUBREL", Ack(PUBREL, 1)}, {"PUBCOMP", Ack(PUBCOMP, 1)},
		{"SUBSCRIBE", sub5(1, Sub{topic, 0})}, {"SUBACK", Raw(0x90, 0, 1, 0, 0)},
		{"UNSUBSCRIBE", unsub5(1, topic)}, {"UNSUBACK", Raw(0xb0, 0, 1, 0, 0)},
		{"PINGREQ", Ping}, {"PINGRESP", Raw(0xd0)}, {"DISCONNECT", Disconnect}, {"AUTH", Auth(0x18, text(PropAuthMethod, "m"))},
	}
}

// flagged is a CONNECT with other connect flags than its payload asks for.
func flagged(c Connect, flags byte) []byte {
	c.Flags = ptr(flags)
	return connect5(c)
}

// connectPayload is a CONNECT with flags and a payload as they come.
func connectPayload(flags byte, payload ...[]byte) []byte {
	return Raw(0x10, Cat(Str(nil, "MQTT"), bytesOf(5, flags, 0, 0, 0), Cat(payload...))...)
}

func init() {
	v5("MQTT-3.1.0-1", "a connection that begins with another packet than CONNECT is closed", func(t *T) {
		t.each(firstPackets(t), func(v variant) {
			p := t.Dial()
			p.Send(v.raw)
			p.ExpectRefused()
		})
	})
	v5("MQTT-3.1.0-2", "a second CONNECT closes", func(t *T) {
		t.refused([]byte{rcProtocolError}, variant{"CONNECT", connect5(Connect{ClientID: t.ClientID("z"), Clean: true})})
	})
	v5("MQTT-3.1.2-1", "a wrong protocol name closes", func(t *T) {
		for _, name := range []string{"MQTX", "mqtt", "MQTTT", "MQ", "MQIsdp", "HTTP"} {
			t.refusedConnect([]byte{rcBadVersion, rcProtocolError, rcMalformed, 1},
				variant{name, connect5(Connect{ProtocolName: name, ClientID: t.ClientID("x"), Clean: true})})
		}
	})
	v5("MQTT-3.1.2-2", "an unknown protocol version closes", func(t *T) {
		for _, level := range []Version{0, 6, 7, 127, 255} {
			t.refusedConnect([]byte{rcBadVersion, 1}, variant{level.String(), Connect{Version: level, ClientID: t.ClientID("x"), Clean: true}.Bytes()})
		}
	})
	v5("MQTT-3.1.2-3", "the reserved connect flag set closes", func(t *T) {
		t.refusedConnect(badPacketCodes, variant{"bit 0", flagged(Connect{ClientID: t.ClientID("x")}, 0x03)})
	})
	v5("MQTT-3.1.2-4", "clean start drops the session that was", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 1)
		p.Disconnect()
		pub := t.Client()
		pub.Publish(Publish{Topic: topic, Payload: "queued", QoS: 1})
		p, ack := t.Connect(Connect{ClientID: id, Clean: true, Props: props5(expiry(600))})
		if ack.SessionPresent {
			t.Fatalf("session present after clean start")
		}
		pub.Publish(Publish{Topic: topic, Payload: "later", QoS: 1})
		p.ExpectNothing()
	})
	v5("MQTT-3.1.2-5", "clean start 0 continues the session: subscription and queue", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 2)
		p.Disconnect()
		pub := t.Client()
		pub.Publish(Publish{Topic: topic, Payload: "one", QoS: 1})
		pub.Publish(Publish{Topic: topic, Payload: "two", QoS: 2})
		p, present := t.resume(id, 600)
		if !present {
			t.Fatalf("session not present")
		}
		p.Receive(topic, "one", 1)
		p.Receive(topic, "two", 2)
		pub.Publish(Publish{Topic: topic, Payload: "three", QoS: 1})
		p.Receive(topic, "three", 1)
	})
}

func init() {
	v5("MQTT-3.1.2-6", "clean start 0 without a session makes one", func(t *T) {
		id := t.ClientID("s")
		p, present := t.resume(id, 600)
		if present {
			t.Fatalf("session present for a client id never seen")
		}
		p.Subscribe(t.Topic("a"), 1)
		p.Disconnect()
		if _, present = t.resume(id, 600); !present {
			t.Fatalf("the session was not kept")
		}
	})
	v5("MQTT-3.1.2-9", "will flag without will fields in the payload closes", func(t *T) {
		id := Str(nil, t.ClientID("x"))
		t.refusedConnect(badPacketCodes,
			variant{"nothing", connectPayload(0x06, id)},
			variant{"no topic", connectPayload(0x06, id, bytesOf(0))},
			variant{"no payload", connectPayload(0x06, id, bytesOf(0), Str(nil, t.Topic("w")))},
			variant{"no properties", connectPayload(0x06, id, Str(nil, t.Topic("w")), Str(nil, "x"))},
		)
	})
	v5("MQTT-3.1.2-11", "will QoS without will flag closes", func(t *T) {
		c := Connect{ClientID: t.ClientID("x")}
		t.refusedConnect(badPacketCodes, variant{"QoS 1", flagged(c, 0x0a)}, variant{"QoS 2", flagged(c, 0x12)})
	})
	v5part("MQTT-3.1.2-12", "qos3", "will QoS 3 closes", func(t *T) {
		t.refusedConnect(badPacketCodes, variant{"QoS 3",
			flagged(Connect{ClientID: t.ClientID("x"), Will: &Will{Topic: t.Topic("w"), Payload: "w"}}, 0x1e)})
	})
	v5("MQTT-3.1.2-12", "a will is published with its QoS 0, 1 or 2", func(t *T) {
		for q := range byte(3) {
			topic := t.Topic("w" + itoa(int(q)))
			sub := t.subscriber(topic, 2)
			t.withWill(Will{Topic: topic, Payload: "w", QoS: q}).Close()
			sub.Receive(topic, "w", q)
		}
	})
	v5("MQTT-3.1.2-13", "will retain without will flag closes", func(t *T) {
		t.refusedConnect(badPacketCodes, variant{"retain", flagged(Connect{ClientID: t.ClientID("x")}, 0x22)})
	})
	v5("MQTT-3.1.2-16", "a user name without its flag closes", func(t *T) {
		t.refusedConnect(badPacketCodes, variant{"user name", flagged(Connect{ClientID: t.ClientID("x"), Username: ptr("u")}, 0x02)})
	})
	v5("MQTT-3.1.2-17", "the user name flag without a user name closes", func(t *T) {
		t.refusedConnect(badPacketCodes, variant{"flag", flagged(Connect{ClientID: t.ClientID("x")}, 0x82)})
	})
	v5("MQTT-3.1.2-18", "a password without its flag closes", func(t *T) {
		t.refusedConnect(badPacketCodes, variant{"password",
			flagged(Connect{ClientID: t.ClientID("x"), Username: ptr("u"), Password: ptr("p")}, 0x82)})
	})
	v5("MQTT-3.1.2-19", "the password flag without a password closes", func(t *T) {
		t.refusedConnect(badPacketCodes, variant{"with a user name", flagged(Connect{ClientID: t.ClientID("x"), Username: ptr("u")}, 0xc2)},
			variant{"without", flagged(Connect{ClientID: t.ClientID("x")}, 0x42)})
	})
	v5("MQTT-3.1.2-22", "keep alive 1: silence closes after 1.5 s and sends the will", func(t *T) {
		topic := t.Topic("w")
		sub := t.subscriber(topic, 0)
		p, ack := t.Connect(Connect{ClientID: t.ClientID("k"), Clean: true, KeepAlive: 1, Will: &Will{Topic: topic, Payload: "w"}})
		t.wantNoProp(ack, PropServerKeepAlive)
		t.silentFor(p, time.Second)
		sub.ExpectPublish(topic, "w", 0)
	})
}

func init() {
	v5("MQTT-3.1.2-23", "a session with an expiry interval outlives its connection", func(t *T) {
		id, topic := t.ClientID("s"), t.Topic("a")
		for _, seconds := range []uint32{1000, 0xffffffff} {
			p, _ := t.resume(id, seconds)
			p.Subscribe(topic, 1)
			p.CloseWrite()
			t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 1})
			p, present := t.resume(id, seconds)
			if !present {
				t.Fatalf("the session with expiry %d is gone", seconds)
			}
			p.Receive(topic, "x", 1)
			p.Disconnect()
		}
	})
	v5("MQTT-3.1.2-24", "nothing larger than the client's Maximum Packet Size is sent", func(t *T) { sizesUpTo(t, 100, 20) })
	v5part("MQTT-3.1.2-24", "exact", "the client's Maximum Packet Size holds to the byte", func(t *T) { sizesUpTo(t, 100, 1) })
	v5("MQTT-3.1.2-25", "a message too large takes no place in the client's window", func(t *T) {
		topic := t.Topic("a")
		p := t.clientWith(num(PropMaximumPacketSize, 100), num(PropReceiveMaximum, 1))
		p.Subscribe(topic, 2)
		pub := t.Client()
		for i := range 4 {
			pub.Publish(Publish{Topic: topic, Payload: string(make5(200)), QoS: byte(1 + i%2)})
		}
		pub.Publish(Publish{Topic: topic, Payload: "small", QoS: 1})
		p.Receive(topic, "small", 1)
	})
	v5("MQTT-3.1.2-26", "no alias above the client's maximum is sent", func(t *T) { aliasesUpTo(t, 2) })
	v5("MQTT-3.3.2-11", "no alias above the client's maximum of 1 is sent", func(t *T) { aliasesUpTo(t, 1) })
	v5("MQTT-3.1.2-27", "without Topic Alias Maximum, or with 0, no alias is sent", func(t *T) {
		aliasesUpTo(t, 0)
		topic := t.Topic("absent")
		sub, pub := t.subscriber(topic, 0), t.Client()
		for range 5 {
			pub.Publish(Publish{Topic: topic, Payload: "x"})
			t.wantNoProp(sub.ExpectPublish(topic, "x", 0), PropTopicAlias)
		}
	})
	v5("MQTT-3.1.2-28", "Request Response Information 0, or absent: no Response Information", func(t *T) {
		for _, props := range [][]Prop{nil, {num(PropRequestResponseInfo, 0)}} {
			_, ack := t.Connect(Connect{ClientID: t.ClientID("r"), Clean: true, Props: props})
			t.wantNoProp(ack, PropResponseInfo)
		}
	})
	v5("MQTT-3.1.2-29", "Request Problem Information 0: acknowledgements without Reason String and User Property", func(t *T) {
		p := t.clientWith(num(PropRequestProblemInfo, 0))
		for _, ack := range acksOf(t, p) {
			t.wantNoProp(ack, PropReasonString)
			t.wantNoProp(ack, PropUser)
		}
	})
}

// silentFor expects the broker to close an idle connection with this keep alive after 1.5 times of it, and not before.
func (t *T) silentFor(p *Peer, keepAlive time.Duration) {
	start, limit := time.Now(), keepAlive*3/2+t.KeepAliveSlack()
	p.expectClosed(limit, func(m *Packet) bool { return m.Type == DISCONNECT && m.Code == rcKeepAliveTimeout })
	if d := time.Since(start); d < keepAlive*3/2-50*time.Millisecond {
		t.Fatalf("closed after %v of silence with keep alive %v, want 1.5 times that", d, keepAlive)
	}
}

// sizesUpTo publishes messages that would reach a client in packets of exactly its maximum size, and larger ones.
func sizesUpTo(t *T, most, over int) {
	topic := t.Topic("a")
	p := t.clientWith(num(PropMaximumPacketSize, uint32(most)))
	p.Subscribe(topic, 1)
	pub := t.Client()
	fixed := 2 + 2 + len(topic) + 1 // header, topic, property length of a QoS 0 PUBLISH
	for _, q := range []byte{0, 1} {
		n := most - fixed - 2*int(q)
		pub.Publish(Publish{Topic: topic, Payload: string(make5(n + over)), QoS: q})
		pub.Publish(Publish{Topic: topic, Payload: string(make5(5000)), QoS: q})
		pub.Publish(Publish{Topic: topic, Payload: string(make5(n)), QoS: q})
		if m := p.Receive(topic, string(make5(n)), q); m.size() != most {
			t.Fatalf("a packet of %d bytes, want %d: the case miscounts", m.size(), most)
		}
	}
	p.ExpectNothing()
}

// aliasesUpTo publishes to more topics than the client has aliases and follows the aliases that come.
func aliasesUpTo(t *T, most uint32) {
	sub := t.clientWith(num(PropTopicAliasMaximum, most))
	sub.Subscribe(t.Topic("#"), 0)
	pub := t.Client()
	known := map[uint32]string{}
	for i := range 12 {
		topic := t.Topic("t" + itoa(i%4))
		pub.Publish(Publish{Topic: topic, Payload: itoa(i)})
		m := sub.Expect(PUBLISH)
		if a, ok := m.Prop(PropTopicAlias); ok {
			if a.Int == 0 || a.Int > most {
				t.Fatalf("alias %d, the maximum is %d", a.Int, most)
			}
			if m.Topic == "" {
				m.Topic = known[a.Int]
			}
			known[a.Int] = m.Topic
		}
		if m.Topic != topic || m.Payload != itoa(i) {
			t.Fatalf("got %q on topic %q, want %q on %q", m.Payload, m.Topic, itoa(i), topic)
		}
	}
}

// acksOf provokes every acknowledgement a client can get, some with reason codes other than success.
func acksOf(t *T, p *Peer) []*Packet {
	var acks []*Packet
	take := func(typ byte, raw []byte) {
		p.Send(raw)
		acks = append(acks, p.Await(typ))
	}
	take(PUBACK, publish5(Publish{Topic: t.Topic("nobody"), QoS: 1, ID: 1}))
	take(PUBREC, publish5(Publish{Topic: t.Topic("nobody"), QoS: 2, ID: 2}))
	take(PUBCOMP, Ack(PUBREL, 2))
	take(PUBCOMP, Ack(PUBREL, 77))
	take(SUBACK, Subscribe(V5, 3, nil, Sub{t.Topic("a"), 1}, Sub{"$share/g/" + t.Topic("a"), 1}))
	take(UNSUBACK, Unsubscribe(V5, 4, nil, t.Topic("a"), t.Topic("never")))
	topic := t.Topic("qos2")
	p.Subscribe(topic, 2)
	t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 2})
	m := p.ExpectPublish(topic, "x", 2)
	take(PUBREL, AckReason(PUBREC, m.ID, 0))
	p.Send(Ack(PUBCOMP, m.ID))
	return acks
}
