package conformance

import "time"

// Wills: MQTT 5 §3.1.2.5 and §3.1.3.2, and how DISCONNECT decides them.

func init() {
	v5("MQTT-3.1.2-7", "a will is stored and published when the connection breaks", func(t *T) {
		topic := t.Topic("w")
		sub := t.subscriber(topic, 2)
		p := t.withWill(Will{Topic: topic, Payload: "w", QoS: 1})
		sub.ExpectNothing()
		p.Close()
		sub.Receive(topic, "w", 1)
	})
	v5part("MQTT-3.1.2-8", "delay", "the will comes when its delay has passed, not before", func(t *T) {
		topic := t.Topic("w")
		sub := t.subscriber(topic, 1)
		p := t.withWill(Will{Topic: topic, Payload: "w", Props: props5(num(PropWillDelay, 1))}, expiry(600))
		start := time.Now()
		p.CloseWrite()
		sub.ExpectNothing()
		sub.ExpectPublish(topic, "w", 0)
		if d := time.Since(start); d < 990*time.Millisecond {
			t.Fatalf("the will came after %v, its delay is 1 s", d)
		}
	})
	v5part("MQTT-3.1.2-8", "session-end", "the will comes when the session ends before the delay", func(t *T) {
		topic := t.Topic("w")
		sub := t.subscriber(topic, 1)
		t.withWill(Will{Topic: topic, Payload: "w", Props: props5(num(PropWillDelay, 600))}, expiry(1)).Close()
		sub.ExpectPublish(topic, "w", 0)
	})
	v5part("MQTT-3.1.2-8", "no-session", "session expiry 0: the will comes at once whatever its delay", func(t *T) {
		topic := t.Topic("w")
		sub := t.subscriber(topic, 1)
		t.withWill(Will{Topic: topic, Payload: "w", Props: props5(num(PropWillDelay, 600))}).Close()
		sub.ExpectPublish(topic, "w", 0)
	})
	v5part("MQTT-3.1.2-8", "clean-start", "a clean start ends the session, and the delayed will comes", func(t *T) {
		topic, id := t.Topic("w"), t.ClientID("s")
		sub := t.subscriber(topic, 1)
		w := Will{Topic: topic, Payload: "w", Props: props5(num(PropWillDelay, 600))}
		p, _ := t.Connect(Connect{ClientID: id, Clean: true, Will: &w, Props: props5(expiry(600))})
		p.CloseWrite()
		sub.ExpectNothing()
		t.Connect(Connect{ClientID: id, Clean: true})
		sub.ExpectPublish(topic, "w", 0)
	})
	v5part("MQTT-3.1.2-8", "take-over", "a take-over closes the old connection: its will without delay comes", func(t *T) {
		topic, id := t.Topic("w"), t.ClientID("s")
		sub := t.subscriber(topic, 1)
		old, _ := t.Connect(Connect{ClientID: id, Will: &Will{Topic: topic, Payload: "w"}, Props: props5(expiry(600))})
		t.resume(id, 600)
		old.ExpectRefused(rcTakenOver)
		sub.ExpectPublish(topic, "w", 0)
	})
	v5part("MQTT-3.1.2-8", "disconnect-error", "a DISCONNECT with another code than 0x00 does not delete the will", func(t *T) {
		topic := t.Topic("w")
		sub := t.subscriber(topic, 0)
		for _, code := range []byte{rcDisconnectWill, 0x80, 0x81, 0x82, 0x98} {
			p := t.withWill(Will{Topic: topic, Payload: "w"})
			p.Send(DisconnectReason(code))
			p.ExpectClosed()
			sub.ExpectPublish(topic, "w", 0)
		}
	})
}

func init() {
	v5("MQTT-3.1.2-10", "a will is published once, and not at all after DISCONNECT 0x00", func(t *T) {
		topic, id := t.Topic("w"), t.ClientID("s")
		sub := t.subscriber(topic, 1)
		w := Will{Topic: topic, Payload: "w", QoS: 1}
		p, _ := t.Connect(Connect{ClientID: id, Clean: true, Will: &w, Props: props5(expiry(600))})
		p.Close()
		sub.Receive(topic, "w", 1)
		// The session goes on without the will.
		p, _ = t.resume(id, 600)
		p.CloseWrite()
		sub.ExpectNothing()
		p, _ = t.Connect(Connect{ClientID: id, Will: &w, Props: props5(expiry(600))})
		p.Disconnect()
		p, _ = t.resume(id, 600)
		p.CloseWrite()
		sub.ExpectNothing()
	})
	v5("MQTT-3.1.2-14", "will retain 0: nothing is retained", func(t *T) {
		topic := t.Topic("w")
		sub := t.subscriber(topic, retainAsPublished)
		t.withWill(Will{Topic: topic, Payload: "w"}).Close()
		if m := sub.ExpectPublish(topic, "w", 0); m.Retain {
			t.Fatalf("the will has RETAIN 1")
		}
		t.subscriber(topic, 0).ExpectNothing()
	})
	v5("MQTT-3.1.2-15", "will retain 1: the will is retained", func(t *T) {
		topic := t.Topic("w")
		sub := t.subscriber(topic, retainAsPublished)
		t.withWill(Will{Topic: topic, Payload: "w", Retain: true}).Close()
		if m := sub.ExpectPublish(topic, "w", 0); !m.Retain {
			t.Fatalf("the will has RETAIN 0 though Retain As Published was asked")
		}
		if m := t.subscriber(topic, 0).ExpectPublish(topic, "w", 0); !m.Retain {
			t.Fatalf("the retained will comes with RETAIN 0")
		}
	})
	v5("MQTT-3.1.3-9", "a return within the delay cancels the will", func(t *T) {
		topic, id := t.Topic("w"), t.ClientID("s")
		sub := t.subscriber(topic, 1)
		w := Will{Topic: topic, Payload: "w", Props: props5(num(PropWillDelay, 1))}
		p, _ := t.Connect(Connect{ClientID: id, Clean: true, Will: &w, Props: props5(expiry(600))})
		p.CloseWrite()
		p, present := t.resume(id, 600)
		if !present {
			t.Fatalf("session not present")
		}
		t.letPass(2500 * time.Millisecond)
		sub.ExpectNothing()
		p.CloseWrite()
		sub.ExpectNothing()
	})
	v5("MQTT-3.1.3-10", "the will's user properties keep their order, repeated names too", func(t *T) {
		topic := t.Topic("w")
		sub := t.subscriber(topic, 0)
		pairs := props5(user("b", "1"), user("a", "2"), user("b", "3"), user("", ""), user("a", "2"))
		t.withWill(Will{Topic: topic, Payload: "w", Props: pairs}).Close()
		t.wantUser(sub.ExpectPublish(topic, "w", 0), pairs)
	})
}

func init() {
	v5("MQTT-3.14.4-3", "DISCONNECT 0x00 discards the will", func(t *T) {
		topic := t.Topic("w")
		sub := t.subscriber(topic, 0)
		for _, raw := range [][]byte{Disconnect, Raw(0xe0, 0), DisconnectReason(0)} {
			p := t.withWill(Will{Topic: topic, Payload: "w"})
			p.Send(raw)
			p.ExpectClosed()
		}
		sub.ExpectNothing()
	})

	v5part("B-32", "disconnect-04", "DISCONNECT 0x04 publishes the will", func(t *T) {
		topic := t.Topic("w")
		sub := t.subscriber(topic, 2)
		p := t.withWill(Will{Topic: topic, Payload: "w", QoS: 2})
		p.Send(DisconnectReason(rcDisconnectWill))
		p.ExpectClosed()
		sub.Receive(topic, "w", 2)
	})
	v5part("B-32", "properties", "a will carries its properties, an empty payload stays empty", func(t *T) {
		topic := t.Topic("w")
		sub := t.subscriber(topic, 1)
		props := props5(num(PropPayloadFormat, 1), num(PropMessageExpiry, 100), text(PropContentType, "ct"),
			text(PropResponseTopic, "r/t"), text(PropCorrelationData, "\x00\xff"), user("k", "v"))
		t.withWill(Will{Topic: topic, QoS: 1, Props: props}).Close()
		m := sub.Receive(topic, "", 1)
		for _, want := range props[:1] {
			t.wantProp(m, want)
		}
		for _, want := range props[2:] {
			t.wantProp(m, want)
		}
		if e, ok := m.Prop(PropMessageExpiry); !ok || e.Int < 98 || e.Int > 100 {
			t.Fatalf("message expiry %d (present: %t), want 100 or a little less", e.Int, ok)
		}
		t.wantNoProp(m, PropWillDelay)
	})
	v5part("B-32", "protocol-error", "a protocol error publishes the will", func(t *T) {
		topic := t.Topic("w")
		sub := t.subscriber(topic, 0)
		p := t.withWill(Will{Topic: topic, Payload: "w"})
		p.Send(Raw(0x82, 0, 0))
		p.ExpectRefused()
		sub.ExpectPublish(topic, "w", 0)
	})
	v5part("B-33", "exact", "a will delay of 2 s with a longer session: not before 2 s, and soon after", func(t *T) {
		topic := t.Topic("w")
		sub := t.subscriber(topic, 0)
		p := t.withWill(Will{Topic: topic, Payload: "w", Props: props5(num(PropWillDelay, 2))}, expiry(60))
		start := time.Now()
		p.CloseWrite()
		sub.ExpectPublish(topic, "w", 0)
		if d := time.Since(start); d < 1990*time.Millisecond || d > 4*time.Second {
			t.Fatalf("the will came after %v, want 2 s", d)
		}
	})
}

func init() {
	v5part("B-33", "deleted", "a delayed will cancelled by a return is gone for good, its delay counts anew with the next will", func(t *T) {
		topic, id := t.Topic("w"), t.ClientID("s")
		sub := t.subscriber(topic, 0)
		old := Will{Topic: topic, Payload: "old", Props: props5(num(PropWillDelay, 1))}
		p, _ := t.Connect(Connect{ClientID: id, Will: &old, Props: props5(expiry(600))})
		p.CloseWrite()
		next := Will{Topic: topic, Payload: "next", Props: props5(num(PropWillDelay, 1))}
		p, _ = t.Connect(Connect{ClientID: id, Will: &next, Props: props5(expiry(600))})
		p.CloseWrite()
		sub.ExpectPublish(topic, "next", 0)
		sub.ExpectNothing()
	})
	v5part("B-34", "topic", "a will on a topic with wildcards, or on none, is refused", func(t *T) {
		c := func(topic string) []byte {
			return connect5(Connect{ClientID: t.ClientID("x"), Clean: true, Will: &Will{Topic: topic, Payload: "w"}})
		}
		t.refusedConnect(badTopicCodes, variant{"#", c(t.Topic("#"))}, variant{"+", c(t.Topic("+/a"))}, variant{"empty", c("")},
			variant{"control character", c(t.Topic("a\x01"))})
	})
	v5part("B-34", "properties", "properties of CONNECT in the will are refused with 0x82", func(t *T) {
		c := func(props ...Prop) []byte {
			return connect5(Connect{ClientID: t.ClientID("x"), Clean: true, Will: &Will{Topic: t.Topic("w"), Props: props}})
		}
		t.connackRefused([]byte{rcProtocolError},
			variant{"session expiry", c(expiry(1))}, variant{"receive maximum", c(num(PropReceiveMaximum, 1))},
			variant{"topic alias", c(num(PropTopicAlias, 1))}, variant{"subscription id", c(num(PropSubscriptionID, 1))},
			variant{"delay twice", c(num(PropWillDelay, 1), num(PropWillDelay, 1))})
	})
	v5with(Options{MessageSizeLimit: 100}, "B-34", "size", "a will above the payload limit is refused with 0x95", func(t *T) {
		big := Connect{ClientID: t.ClientID("x"), Clean: true, Will: &Will{Topic: t.Topic("w"), Payload: string(make5(101))}}
		t.connackRefused([]byte{rcPacketTooLarge}, variant{"101 bytes", connect5(big)})
		big.Will.Payload = string(make5(100))
		t.Connect(big)
	})
	v5part("B-07", "will-ends", "take-over with clean start: the old connection's will is published", func(t *T) {
		topic, id := t.Topic("w"), t.ClientID("s")
		sub := t.subscriber(topic, 0)
		w := Will{Topic: topic, Payload: "w"}
		old, _ := t.Connect(Connect{ClientID: id, Will: &w, Props: props5(expiry(600))})
		t.Connect(Connect{ClientID: id, Clean: true})
		old.ExpectRefused(rcTakenOver)
		sub.ExpectPublish(topic, "w", 0)
	})
	v5part("B-07", "will-expiry0", "take-over of a session with expiry 0: the old connection's will is published", func(t *T) {
		topic, id := t.Topic("w"), t.ClientID("s")
		sub := t.subscriber(topic, 0)
		old, _ := t.Connect(Connect{ClientID: id, Will: &Will{Topic: topic, Payload: "w"}})
		t.Connect(Connect{ClientID: id})
		old.ExpectRefused(rcTakenOver)
		sub.ExpectPublish(topic, "w", 0)
	})
	v5part("B-07", "will-continues", "take-over that continues the session within the delay: no will", func(t *T) {
		topic, id := t.Topic("w"), t.ClientID("s")
		sub := t.subscriber(topic, 0)
		w := Will{Topic: topic, Payload: "w", Props: props5(num(PropWillDelay, 1))}
		old, _ := t.Connect(Connect{ClientID: id, Will: &w, Props: props5(expiry(600))})
		if _, present := t.resume(id, 600); !present {
			t.Fatalf("the session taken over is not present")
		}
		old.ExpectRefused(rcTakenOver)
		t.letPass(2500 * time.Millisecond)
		sub.ExpectNothing()
	})
}

// wantUser fails unless the packet's user properties are these, in this order.
func (t *T) wantUser(p *Packet, want []Prop) {
	got := p.PropAll(PropUser)
	same := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		same = same && got[i] == want[i]
	}
	if !same {
		t.Fatalf("user properties %+v, want %+v", got, want)
	}
}
