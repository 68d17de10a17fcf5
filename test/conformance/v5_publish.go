package conformance

import "time"

// MQTT 5 §3.3: PUBLISH, but for what is retained (v5_retain.go).

// everyProperty are the properties of a PUBLISH that go from publisher to subscriber unchanged.
func everyProperty() []Prop {
	return props5(num(PropPayloadFormat, 1), text(PropContentType, "text/plain; \u00e9"), text(PropResponseTopic, "answers/\u00e9"),
		text(PropCorrelationData, "\x00\x01\xfe\xff"), user("b", "1"), user("a", "2"), user("b", "3"), user("", ""), user("a", "2"))
}

// forwards publishes with a property to a QoS 0 and a QoS 2 subscriber, an absent one, and one with a wildcard, and
// expects it at all of them.
func forwards(t *T, props ...Prop) {
	topic, id := t.Topic("a/b"), t.ClientID("s")
	absent, _ := t.resume(id, 600)
	absent.Subscribe(topic, 1)
	absent.Disconnect()
	subs := []*Peer{t.subscriber(topic, 0), t.subscriber(topic, 2), t.subscriber(t.Topic("+/b"), 1)}
	t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 2, Props: props})
	absent, _ = t.resume(id, 600)
	var pairs []Prop
	for _, want := range props {
		if want.ID == PropUser {
			pairs = append(pairs, want)
		}
	}
	for _, p := range append(subs, absent) {
		m := p.Expect(PUBLISH)
		p.Acknowledge(m)
		if m.Topic != topic || m.Payload != "x" {
			t.Fatalf("got %s", m)
		}
		if len(pairs) > 0 {
			t.wantUser(m, pairs)
		}
		for _, want := range props {
			if want.ID != PropUser {
				t.wantProp(m, want)
			}
		}
	}
}

func init() {
	v5("MQTT-3.3.1-1", "what is sent again has DUP 1 and its packet identifier", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 2)
		pub := t.Client()
		pub.Publish(Publish{Topic: topic, Payload: "one", QoS: 1})
		pub.Publish(Publish{Topic: topic, Payload: "two", QoS: 2})
		one, two := p.ExpectPublish(topic, "one", 1), p.ExpectPublish(topic, "two", 2)
		p.CloseWrite()
		p, _ = t.resume(id, 600)
		for _, first := range []*Packet{one, two} {
			if m := p.Receive(topic, first.Payload, first.QoS); !m.Dup || m.ID != first.ID || first.Dup {
				t.Fatalf("first sent: %s; again: %s", first, m)
			}
		}
	})
	v5("MQTT-3.3.1-2", "DUP on a QoS 0 PUBLISH is refused or not forwarded", func(t *T) {
		topic := t.Topic("a")
		sub := t.subscriber(topic, 2)
		p := t.Client()
		p.Send(publish5(Publish{Topic: topic, Payload: "x", Dup: true}), Ping)
		for {
			m := p.Next()
			if m.Type == DISCONNECT {
				t.wantCode(m, badPacketCodes...)
				return
			}
			if m.Type == PINGRESP {
				break
			}
		}
		if m := sub.ExpectPublish(topic, "x", 0); m.Dup {
			t.Fatalf("forwarded with DUP")
		}
	})
	v5("MQTT-3.3.1-3", "DUP of the publisher is not the subscriber's", func(t *T) {
		topic := t.Topic("a")
		sub, pub := t.subscriber(topic, 2), t.Client()
		for q := byte(1); q < 3; q++ {
			pub.Publish(Publish{Topic: topic, Payload: "x", QoS: q, Dup: true})
			if m := sub.Receive(topic, "x", q); m.Dup {
				t.Fatalf("forwarded with DUP")
			}
		}
	})
	v5("MQTT-3.3.1-4", "QoS 3 closes", func(t *T) {
		t.refused(badPacketCodes, variant{"QoS 3", publish5(Publish{Topic: t.Topic("a"), QoS: 3, ID: 1})},
			variant{"QoS 3 with DUP", publish5(Publish{Topic: t.Topic("a"), QoS: 3, ID: 1, Dup: true})})
	})
}

func init() {
	v5("MQTT-3.3.2-1", "a PUBLISH without a whole topic name closes", func(t *T) {
		t.refused(badTopicCodes,
			variant{"empty packet", Raw(0x30)}, variant{"length cut", Raw(0x30, 0)}, variant{"text cut", Raw(0x30, 0, 5, 'a')},
			variant{"not UTF-8", publish5(Publish{Topic: t.Topic("\xc3\x28")})})
	})
	v5("MQTT-3.3.2-2", "wildcards in a topic name close", func(t *T) {
		var vs []variant
		for _, s := range []string{"#", "+", "a/#", "+/a", "a#", "a+b"} {
			vs = append(vs, variant{s, publish5(Publish{Topic: t.Topic(s)})})
		}
		t.refused(badTopicCodes, vs...)
	})
	v5("MQTT-3.3.2-3", "what a subscriber gets matches its filter", func(t *T) {
		all, one := t.subscriber(t.Topic("#"), 0), t.subscriber(t.Topic("a/+/c"), 0)
		pub := t.Client()
		for _, s := range []string{"a/b/c", "a/b", "a//c", "a/b/c/d", "b/b/c", "a/\u00e9/c"} {
			pub.Publish(Publish{Topic: t.Topic(s), Payload: s})
			all.ExpectPublish(t.Topic(s), s, 0)
		}
		for _, s := range []string{"a/b/c", "a//c", "a/\u00e9/c"} {
			one.ExpectPublish(t.Topic(s), s, 0)
		}
		one.ExpectNothing()
	})
	v5("MQTT-3.3.2-4", "the Payload Format Indicator is forwarded, 0 and 1", func(t *T) {
		forwards(t, num(PropPayloadFormat, 1))
		topic := t.Topic("c")
		sub := t.subscriber(topic, 0)
		t.Client().Publish(Publish{Topic: topic, Payload: "x", Props: props5(num(PropPayloadFormat, 0))})
		// 0 is the default and may be left out.
		if f, ok := sub.ExpectPublish(topic, "x", 0).Prop(PropPayloadFormat); ok && f.Int != 0 {
			t.Fatalf("Payload Format Indicator %d, published with 0", f.Int)
		}
	})
	v5("MQTT-3.3.2-5", "a message that expires while its subscriber is away is not delivered", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 2)
		p.Disconnect()
		pub := t.Client()
		for _, q := range []byte{1, 2} {
			pub.Publish(Publish{Topic: topic, Payload: "short", QoS: q, Props: props5(num(PropMessageExpiry, 1))})
			pub.Publish(Publish{Topic: topic, Payload: "long", QoS: q, Props: props5(num(PropMessageExpiry, 1000))})
		}
		t.letPass(2200 * time.Millisecond)
		p, _ = t.resume(id, 600)
		t.wantStrings("delivered", p.payloads(2), "long", "long")
		p.ExpectNothing()
	})
	v5("MQTT-3.3.2-6", "the Message Expiry Interval is less by the time the message waited", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 1)
		live := t.subscriber(topic, 1)
		p.Disconnect()
		t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 1, Props: props5(num(PropMessageExpiry, 100))})
		if e, ok := live.ExpectPublish(topic, "x", 1).Prop(PropMessageExpiry); !ok || e.Int < 99 || e.Int > 100 {
			t.Fatalf("delivered at once with expiry %d (present: %t), want 100", e.Int, ok)
		}
		t.letPass(2100 * time.Millisecond)
		p, _ = t.resume(id, 600)
		if e, ok := p.Receive(topic, "x", 1).Prop(PropMessageExpiry); !ok || e.Int < 96 || e.Int > 98 {
			t.Fatalf("delivered after 2.1 s with expiry %d (present: %t), want 97 or 98", e.Int, ok)
		}
	})
}

func init() {
	v5("MQTT-3.3.2-7", "an alias of one connection means nothing on the next", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		sub := t.subscriber(topic, 0)
		p, _ := t.resume(id, 600)
		p.Publish(Publish{Topic: topic, Payload: "x", Props: props5(num(PropTopicAlias, 1))})
		p.Publish(Publish{Payload: "y", Props: props5(num(PropTopicAlias, 1))})
		p.Disconnect()
		sub.ExpectPublish(topic, "x", 0)
		sub.ExpectPublish(topic, "y", 0)
		p, _ = t.resume(id, 600)
		p.Send(publish5(Publish{Payload: "z", Props: props5(num(PropTopicAlias, 1))}))
		p.ExpectRefused(rcProtocolError, rcMalformed, rcAliasInvalid)
		sub.ExpectNothing()
	})
	v5("MQTT-3.3.2-8", "alias 0 closes", func(t *T) {
		t.refused([]byte{rcAliasInvalid, rcProtocolError, rcMalformed},
			variant{"with a topic", publish5(Publish{Topic: t.Topic("a"), Props: props5(num(PropTopicAlias, 0))})},
			variant{"without", publish5(Publish{Props: props5(num(PropTopicAlias, 0))})})
	})
	v5("MQTT-3.3.2-12", "every alias up to the server's maximum is taken", func(t *T) {
		sub := t.subscriber(t.Topic("#"), 0)
		p, ack := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true})
		most, _ := ack.Prop(PropTopicAliasMaximum)
		for a := uint32(1); a <= most.Int; a++ {
			p.Publish(Publish{Topic: t.Topic(itoa(int(a))), Payload: "set", Props: props5(num(PropTopicAlias, a))})
			sub.ExpectPublish(t.Topic(itoa(int(a))), "set", 0)
		}
		for a := most.Int; a > 0; a-- {
			p.Publish(Publish{Payload: "use", Props: props5(num(PropTopicAlias, a)), QoS: 1})
			t.wantNoProp(sub.ExpectPublish(t.Topic(itoa(int(a))), "use", 0), PropTopicAlias)
		}
	})
	v5("MQTT-3.3.2-13", "a Response Topic that is not UTF-8 closes", func(t *T) {
		t.refused(badTopicCodes, inString(badUTF8, func(s string) []byte {
			return publish5(Publish{Topic: t.Topic("a"), Props: props5(text(PropResponseTopic, "r"+s))})
		})...)
	})
	v5("MQTT-3.3.2-14", "a Response Topic with wildcards closes", func(t *T) {
		var vs []variant
		for _, s := range []string{"#", "+", "a/#", "+/a"} {
			vs = append(vs, variant{s, publish5(Publish{Topic: t.Topic("a"), QoS: 1, ID: 1, Props: props5(text(PropResponseTopic, s))})})
		}
		t.refused(badTopicCodes, vs...)
	})
	v5("MQTT-3.3.2-15", "the Response Topic is forwarded", func(t *T) { forwards(t, text(PropResponseTopic, "answers/\u00e9")) })
	v5("MQTT-3.3.2-16", "the Correlation Data is forwarded", func(t *T) { forwards(t, text(PropCorrelationData, "\x00\x01\xfe\xff")) })
	v5("MQTT-3.3.2-17", "all User Properties are forwarded, beside the others", func(t *T) { forwards(t, everyProperty()...) })
	v5("MQTT-3.3.2-18", "User Properties keep their order", func(t *T) {
		forwards(t, user("z", "1"), user("a", "2"), user("z", "0"), user("m", ""), user("a", "2"))
	})
	v5("MQTT-3.3.2-19", "a Content Type that is not UTF-8 closes", func(t *T) {
		t.refused(badPacketCodes, inString(badUTF8, func(s string) []byte {
			return publish5(Publish{Topic: t.Topic("a"), QoS: 1, ID: 1, Props: props5(text(PropContentType, "text/"+s))})
		})...)
	})
	v5("MQTT-3.3.2-20", "the Content Type is forwarded", func(t *T) { forwards(t, text(PropContentType, "text/plain; \u00e9")) })
}

func init() {
	v5("MQTT-3.3.4-1", "QoS 0 gets no answer, QoS 1 PUBACK, QoS 2 PUBREC", func(t *T) {
		p := t.Client()
		p.Send(publish5(Publish{Topic: t.Topic("a")}))
		p.ExpectNothing()
		p.Send(publish5(Publish{Topic: t.Topic("a"), QoS: 1, ID: 5}))
		p.ExpectAck(PUBACK, 5)
		p.Send(publish5(Publish{Topic: t.Topic("a"), QoS: 2, ID: 6}))
		p.ExpectAck(PUBREC, 6)
	})
	v5("MQTT-3.3.4-2", "overlapping subscriptions: the highest QoS is there", func(t *T) {
		topic := t.Topic("a/b")
		p := t.Client()
		p.Subscribe(t.Topic("a/+"), 0)
		p.Subscribe(topic, 2)
		p.Subscribe(t.Topic("a/#"), 1)
		t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 2})
		var highest byte
		for _, m := range overlapping(p, topic) {
			highest = max(highest, m.QoS)
		}
		if highest != 2 {
			t.Fatalf("the highest QoS delivered is %d, want 2", highest)
		}
	})
	v5same("MQTT-3.3.4-3 MQTT-3.3.4-4 MQTT-3.3.4-5", "overlapping subscriptions: one copy with all identifiers, or each copy with its own", func(t *T) {
		topic := t.Topic("a/b")
		p := t.Client()
		subscribe5(p, t.Topic("a/+"), 1, 7)
		subscribe5(p, topic, 1, 268435455)
		subscribe5(p, t.Topic("a/#"), 1, 200)
		subscribe5(p, t.Topic("c/#"), 1, 9)
		p.Subscribe(t.Topic("+/b"), 1)
		t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 1})
		all := overlapping(p, topic)
		count := map[uint32]int{}
		for _, m := range all {
			ids := m.PropAll(PropSubscriptionID)
			if len(all) > 1 && len(ids) > 1 {
				t.Fatalf("one of %d copies has %d identifiers", len(all), len(ids))
			}
			for _, id := range ids {
				count[id.Int]++
			}
		}
		if len(count) != 3 || count[7] != 1 || count[200] != 1 || count[268435455] != 1 {
			t.Fatalf("identifiers (and how often) %v, want 7, 200 and 268435455 once each", count)
		}
	})
	v5("MQTT-3.3.4-6", "a subscription identifier in a client's PUBLISH closes", func(t *T) {
		t.refused(badPacketCodes, variant{"identifier", publish5(Publish{Topic: t.Topic("a"), QoS: 1, ID: 1, Props: props5(num(PropSubscriptionID, 1))})})
	})
	v5("MQTT-3.3.4-7", "more QoS 2 messages than the server's Receive Maximum are refused with 0x93", func(t *T) {
		p, ack := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true})
		most, ok := ack.Prop(PropReceiveMaximum)
		if !ok || most.Int > 2000 {
			t.Fatalf("Receive Maximum %d (present: %t): too many for this case", most.Int, ok)
		}
		for id := uint16(1); id <= uint16(most.Int); id++ {
			p.Send(publish5(Publish{Topic: t.Topic("a"), QoS: 2, ID: id}))
			p.ExpectAck(PUBREC, id)
		}
		p.Send(publish5(Publish{Topic: t.Topic("a"), QoS: 2, ID: uint16(most.Int) + 1}))
		p.ExpectRefused(rcReceiveMaximum)
	})
	v5("MQTT-3.3.4-9", "no more than the client's Receive Maximum is in flight", func(t *T) { window(t, 3, 1) })
}

func init() {
	v5("MQTT-3.3.4-10", "with the window full SUBACK, UNSUBACK, PUBACK and PINGRESP still come", func(t *T) { servedWithFullWindow(t, 1) })
}

// subscribe5 subscribes with a subscription identifier.
func subscribe5(p *Peer, filter string, options byte, identifier uint32) {
	id := p.ID()
	p.Send(Subscribe(V5, id, props5(num(PropSubscriptionID, identifier)), Sub{filter, options}))
	ack := p.AwaitMatch("SUBACK", func(q *Packet) bool { return q.Type == SUBACK && q.ID == id })
	if len(ack.Codes) != 1 || ack.Codes[0] != options&3 {
		p.t.Fatalf("SUBSCRIBE %q answered by codes % x", filter, ack.Codes)
	}
}

// overlapping takes and acknowledges all copies of one message that has reached a client with several subscriptions.
func overlapping(p *Peer, topic string) []*Packet {
	var all []*Packet
	p.Send(Ping)
	for {
		m := p.Next()
		if m.Type == PINGRESP {
			break
		}
		if m.Type != PUBLISH || m.Topic != topic {
			p.t.Fatalf("want PUBLISH %q, got %s", topic, m)
		}
		all = append(all, m)
	}
	for _, m := range all {
		p.Acknowledge(m)
	}
	if len(all) == 0 {
		p.t.Fatalf("nothing came")
	}
	return all
}

// window publishes three times a client's Receive Maximum and expects the rest to come one by one as acknowledgements
// free the window.
func window(t *T, most uint32, qos byte) {
	topic := t.Topic("a")
	p := t.clientWith(num(PropReceiveMaximum, most))
	p.Subscribe(topic, 2)
	pub := t.Client()
	total := int(most) * 3
	for i := range total {
		pub.Publish(Publish{Topic: topic, Payload: itoa(i), QoS: qos})
	}
	var open []*Packet
	next := 0
	take := func() {
		open = append(open, p.ExpectPublish(topic, itoa(next), qos))
		next++
	}
	for range most {
		take()
	}
	p.ExpectNothing()
	for len(open) > 0 {
		if qos == 2 {
			p.Send(Ack(PUBREC, open[0].ID))
			p.ExpectAck(PUBREL, open[0].ID)
			p.ExpectNothing() // PUBREC below 0x80 frees nothing (MQTT 5 §4.9)
			p.Send(Ack(PUBCOMP, open[0].ID))
		} else {
			p.Send(Ack(PUBACK, open[0].ID))
		}
		open = open[1:]
		if next < total {
			take()
		}
		p.ExpectNothing()
	}
}

// servedWithFullWindow fills a client's window and expects everything but PUBLISH to be served.
func servedWithFullWindow(t *T, qos byte) {
	topic := t.Topic("a")
	p := t.clientWith(num(PropReceiveMaximum, 1))
	p.Subscribe(topic, 2)
	pub := t.Client()
	for i := range 3 {
		pub.Publish(Publish{Topic: topic, Payload: itoa(i), QoS: qos})
	}
	first := p.ExpectPublish(topic, "0", qos)
	p.ExpectNothing()
	p.Send(sub5(10, Sub{t.Topic("b"), 1}))
	p.ExpectAck(SUBACK, 10)
	p.Send(publish5(Publish{Topic: t.Topic("c"), QoS: 1, ID: 11}))
	p.ExpectAck(PUBACK, 11)
	p.Send(publish5(Publish{Topic: t.Topic("c"), QoS: 2, ID: 12}))
	p.ExpectAck(PUBREC, 12)
	p.Send(Ack(PUBREL, 12))
	p.ExpectAck(PUBCOMP, 12)
	p.Send(unsub5(13, t.Topic("b")))
	p.ExpectAck(UNSUBACK, 13)
	p.Acknowledge(first)
	p.Receive(topic, "1", qos)
}
