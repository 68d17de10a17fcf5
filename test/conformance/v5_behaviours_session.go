package conformance

import "time"

// Behaviours of Mosquitto that MQTT 5 clients rely on, beyond the statements: sessions, aliases, sizes, shared
// subscriptions, flow control.

const ms = time.Millisecond

func init() {
	v5part("B-35", "shorten", "DISCONNECT may shorten the session's expiry to 0", func(t *T) {
		id := t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Send(DisconnectReason(0, expiry(0)))
		p.ExpectClosed()
		if _, present := t.resume(id, 600); present {
			t.Fatalf("session present")
		}
	})
	v5part("B-35", "lengthen", "DISCONNECT may lengthen the session's expiry", func(t *T) {
		id := t.ClientID("s")
		p, _ := t.resume(id, 1)
		p.Send(DisconnectReason(0, expiry(600)))
		p.ExpectClosed()
		t.letPass(3 * time.Second)
		if _, present := t.resume(id, 600); !present {
			t.Fatalf("session not present after 3 s, DISCONNECT asked for 600")
		}
	})
	v5part("B-35", "mixed", "sessions with very different intervals expire each at its own time", func(t *T) {
		for id, seconds := range map[string]uint32{t.ClientID("m"): 0xfffffffe, t.ClientID("f"): 0xffffffff, t.ClientID("s"): 1, t.ClientID("l"): 100} {
			p, _ := t.resume(id, seconds)
			p.CloseWrite()
		}
		t.letPass(3500 * ms)
		for name, want := range map[string]bool{"m": true, "f": true, "s": false, "l": true} {
			if _, present := t.resume(t.ClientID(name), 0); present != want {
				t.Fatalf("session %s present: %t", name, present)
			}
		}
	})
	v5part("B-36", "flip-flop", "clean and lasting connections in turn neither lose nor double subscriptions", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		pub := t.Client()
		for range 3 {
			p, _ := t.Connect(Connect{ClientID: id, Clean: true})
			p.Subscribe(topic, 1)
			p.Disconnect()
			p, present := t.resume(id, 600)
			if present {
				t.Fatalf("session of a clean connection present")
			}
			p.Subscribe(topic, 1)
			p.Subscribe(topic, 1)
			p.Disconnect()
			pub.Publish(Publish{Topic: topic, Payload: "x", QoS: 1})
			pub.Publish(Publish{Topic: topic, Payload: "no", QoS: 0})
			p, _ = t.resume(id, 600)
			p.Receive(topic, "x", 1)
			p.ExpectNothing()
			p.Disconnect()
		}
	})
	v5with(Options{QueueQoS0: true}, "B-36", "qos0", "queue_qos0_messages queues QoS 0 for a session that is away", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 1)
		p.Disconnect()
		t.Client().Publish(Publish{Topic: topic, Payload: "x"})
		p, _ = t.resume(id, 600)
		p.ExpectPublish(topic, "x", 0)
	})
}

func init() {
	v5with(Options{MaxQueued: 2}, "B-37", "", "expired messages free their places in the queue", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 1)
		p.Disconnect()
		pub := t.Client()
		for range 2 {
			pub.Publish(Publish{Topic: topic, Payload: "short", QoS: 1, Props: props5(num(PropMessageExpiry, 1))})
		}
		t.letPass(2200 * ms)
		for i := range 2 {
			pub.Publish(Publish{Topic: topic, Payload: itoa(i), QoS: 1})
		}
		p, _ = t.resume(id, 600)
		t.wantStrings("delivered", p.payloads(2), "0", "1")
		p.ExpectNothing()
	})
	v5part("B-38", "connack", "CONNACK announces Topic Alias Maximum 10 and Receive Maximum 20", func(t *T) {
		_, ack := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true})
		t.wantProp(ack, num(PropTopicAliasMaximum, 10))
		t.wantProp(ack, num(PropReceiveMaximum, 20))
	})
	v5part("B-38", "redefine", "an alias is set, used and redefined, and not forwarded", func(t *T) {
		sub, p := t.subscriber(t.Topic("#"), 1), t.Client()
		for _, s := range []struct{ topic, want string }{{"a", "a"}, {"", "a"}, {"b", "b"}, {"", "b"}} {
			m := Publish{Payload: "x", QoS: 1, Props: props5(num(PropTopicAlias, 3))}
			if s.topic != "" {
				m.Topic = t.Topic(s.topic)
			}
			p.Publish(m)
			t.wantNoProp(sub.Receive(t.Topic(s.want), "x", 1), PropTopicAlias)
		}
	})
	v5part("B-38", "above", "an alias above the maximum gets DISCONNECT 0x94", func(t *T) {
		t.disconnected([]byte{rcAliasInvalid}, variant{"11", publish5(Publish{Topic: t.Topic("a"), Props: props5(num(PropTopicAlias, 11))})})
	})
	v5part("B-38", "unknown", "an alias never set gets DISCONNECT 0x81 or 0x82", func(t *T) {
		t.disconnected(badPacketCodes, variant{"5", publish5(Publish{Props: props5(num(PropTopicAlias, 5))})})
	})
	v5("B-39", "the broker uses the client's aliases, with an empty topic from the second time on", func(t *T) {
		topic := t.Topic("a")
		p := t.clientWith(num(PropTopicAliasMaximum, 3))
		p.Subscribe(topic, 1)
		pub := t.Client()
		pub.Publish(Publish{Topic: topic, Payload: "x", QoS: 1})
		first := p.Receive(topic, "x", 1)
		pub.Publish(Publish{Topic: topic, Payload: "y"})
		second := p.Expect(PUBLISH)
		a, ok := first.Prop(PropTopicAlias)
		b, _ := second.Prop(PropTopicAlias)
		if !ok || a != b || second.Topic != "" || a.Int < 1 || a.Int > 3 {
			t.Fatalf("first %s, then %s", first, second)
		}
	})
	v5part("B-40", "announced", "CONNACK announces Maximum Packet Size 2,000,000, a larger packet gets DISCONNECT 0x95 at its header", func(t *T) {
		p, ack := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true})
		t.wantProp(ack, num(PropMaximumPacketSize, 2_000_000))
		p.Send(Varint(bytesOf(0x30), 2_000_000))
		p.ExpectDisconnect(rcPacketTooLarge)
	})
	v5part("B-41", "identifier", "subscription identifier 0, or two in one SUBSCRIBE, gets DISCONNECT 0x82", func(t *T) {
		s := Sub{t.Topic("a"), 0}
		t.disconnected(badPacketCodes, variant{"0", Subscribe(V5, 1, props5(num(PropSubscriptionID, 0)), s)},
			variant{"two", Subscribe(V5, 1, props5(num(PropSubscriptionID, 1), num(PropSubscriptionID, 2)), s)})
	})
}

func init() {
	v5part("B-41", "resumed", "subscription identifiers and options are part of the session", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		subscribe5(p, topic, 1|retainAsPublished, 77)
		p.Disconnect()
		pub := t.Client()
		pub.Publish(Publish{Topic: topic, Payload: "queued", QoS: 1, Retain: true, Props: everyProperty()})
		p, _ = t.resume(id, 600)
		m := p.Receive(topic, "queued", 1)
		t.wantProp(m, num(PropSubscriptionID, 77))
		t.wantUser(m, everyProperty()[4:])
		if !m.Retain {
			t.Fatalf("Retain As Published was lost for a queued message")
		}
		pub.Publish(Publish{Topic: topic, Payload: "live", QoS: 1})
		t.wantProp(p.Receive(topic, "live", 1), num(PropSubscriptionID, 77))
	})
	v5("B-42", "publishing to $SYS is ignored, and the connection lives", func(t *T) {
		topic := "$SYS/" + t.Topic("a")
		sub, p := t.subscriber(topic, 1), t.Client()
		p.Send(publish5(Publish{Topic: topic, Payload: "x", QoS: 1, ID: 1}))
		p.ExpectAck(PUBACK, 1)
		sub.ExpectNothing()
	})
	v5part("B-43", "one", "each message goes to one member of each group, and to every plain subscriber", func(t *T) {
		topic := t.Topic("a")
		g, h := group(t, "g", topic, 1, 3), group(t, "h", topic, 1, 2)
		plain := t.subscriber(topic, 1)
		pub := t.Client()
		for i := range 12 {
			pub.Publish(Publish{Topic: topic, Payload: itoa(i), QoS: 1})
			plain.Receive(topic, itoa(i), 1)
		}
		for name, members := range map[string][]*Peer{"g": g, "h": h} {
			n := 0
			for _, m := range members {
				got := len(held(m, topic))
				if got == 0 {
					t.Fatalf("a member of %s got none of 12 messages", name)
				}
				n += got
			}
			if n != 12 {
				t.Fatalf("group %s got %d messages, want 12", name, n)
			}
		}
	})
	v5part("B-43", "both", "a client with a shared and a plain subscription gets both, and each ends alone", func(t *T) {
		topic := t.Topic("a")
		p, pub := t.Client(), t.Client()
		p.Subscribe("$share/g/"+topic, 1)
		p.Subscribe(topic, 1)
		pub.Publish(Publish{Topic: topic, Payload: "x", QoS: 1})
		p.Receive(topic, "x", 1)
		p.Receive(topic, "x", 1)
		p.Unsubscribe(topic)
		pub.Publish(Publish{Topic: topic, Payload: "y", QoS: 1})
		p.Receive(topic, "y", 1)
		p.ExpectNothing()
		t.wantCodes(p.Unsubscribe("$share/g/"+topic), 0)
		pub.Publish(Publish{Topic: topic, Payload: "z", QoS: 1})
		p.ExpectNothing()
	})
	v5part("B-43", "no-local", "No Local on a shared subscription gets DISCONNECT 0x82", func(t *T) {
		t.disconnected([]byte{rcProtocolError}, variant{"$share", sub5(1, Sub{"$share/g/" + t.Topic("a"), 1 | noLocal})})
	})
}

func init() {
	v5("B-44", "a long queue comes in order through a small window after a resume", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 2)
		p.Disconnect()
		pub := t.Client()
		var want []string
		for i := range 50 {
			pub.Publish(Publish{Topic: topic, Payload: itoa(i), QoS: byte(1 + i%2)})
			want = append(want, itoa(i))
		}
		p, _ = t.resume(id, 600, num(PropReceiveMaximum, 2))
		t.wantStrings("delivered", p.payloads(50), want...)
		p.ExpectNothing()
	})
	v5with(Options{MaxInflight: 2}, "B-45", "inflight", "max_inflight_messages bounds the window below the client's Receive Maximum", func(t *T) {
		topic := t.Topic("a")
		p := t.clientWith(num(PropReceiveMaximum, 10))
		p.Subscribe(topic, 1)
		pub := t.Client()
		for i := range 5 {
			pub.Publish(Publish{Topic: topic, Payload: itoa(i), QoS: 1})
		}
		first := p.ExpectPublish(topic, "0", 1)
		p.ExpectPublish(topic, "1", 1)
		p.ExpectNothing()
		p.Acknowledge(first)
		p.ExpectPublish(topic, "2", 1)
	})
	v5with(Options{MaxQueued: 3}, "B-45", "queued", "max_queued_messages drops the newest", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 1)
		p.Disconnect()
		pub := t.Client()
		for i := range 6 {
			pub.Send(publish5(Publish{Topic: topic, Payload: itoa(i), QoS: 1, ID: uint16(i + 1)}))
			pub.Expect(PUBACK)
		}
		p, _ = t.resume(id, 600)
		t.wantStrings("delivered", p.payloads(3), "0", "1", "2")
		p.ExpectNothing()
	})
	v5part("B-45", "zero", "Receive Maximum 0 and Maximum Packet Size 0 get CONNACK 0x82", func(t *T) {
		c := func(p Prop) []byte {
			return connect5(Connect{ClientID: t.ClientID("x"), Clean: true, Props: props5(p)})
		}
		t.connackRefused([]byte{rcProtocolError}, variant{"receive maximum", c(num(PropReceiveMaximum, 0))}, variant{"packet size", c(num(PropMaximumPacketSize, 0))})
	})
	v5("B-46", "one message above the Receive Maximum of 20 gets DISCONNECT 0x93", func(t *T) {
		p := t.Client()
		for id := uint16(1); id <= 20; id++ {
			p.Send(publish5(Publish{Topic: t.Topic("a"), QoS: 2, ID: id}))
			p.ExpectAck(PUBREC, id)
		}
		// What was sent is finished first: the quota is counted in both directions of a flow.
		p.Send(Ack(PUBREL, 1))
		p.ExpectAck(PUBCOMP, 1)
		p.Send(publish5(Publish{Topic: t.Topic("a"), QoS: 2, ID: 21}))
		p.ExpectAck(PUBREC, 21)
		p.Send(publish5(Publish{Topic: t.Topic("a"), QoS: 2, ID: 22}))
		p.ExpectDisconnect(rcReceiveMaximum)
	})
}
