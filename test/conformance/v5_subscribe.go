package conformance

// MQTT 5 §3.8 to §3.11: SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.

// suback sends a SUBSCRIBE of several filters and returns the SUBACK.
func suback(p *Peer, id uint16, subs ...Sub) *Packet {
	p.Send(Subscribe(V5, id, nil, subs...))
	return p.AwaitMatch("SUBACK", func(m *Packet) bool { return m.Type == SUBACK && m.ID == id })
}

// unsuback sends an UNSUBSCRIBE of several filters and returns the UNSUBACK.
func unsuback(p *Peer, id uint16, filters ...string) *Packet {
	p.Send(Unsubscribe(V5, id, nil, filters...))
	return p.AwaitMatch("UNSUBACK", func(m *Packet) bool { return m.Type == UNSUBACK && m.ID == id })
}

func (t *T) wantCodes(ack *Packet, want ...byte) {
	if string(ack.Codes) != string(want) {
		t.Fatalf("codes % x, want % x in %s", ack.Codes, want, ack)
	}
}

func init() {
	v5("MQTT-3.8.1-1", "SUBSCRIBE with other flags than 0010 closes", func(t *T) {
		body := sub5(1, Sub{t.Topic("a"), 0})[2:]
		for _, flags := range []byte{0, 1, 3, 6, 10, 15} {
			t.refused(badPacketCodes, variant{itoa(int(flags)), Raw(0x80|flags, body...)})
		}
	})
	v5("MQTT-3.8.3-1", "a filter that is not UTF-8 closes", func(t *T) {
		t.refused(badTopicCodes, inString(badUTF8, func(s string) []byte { return sub5(1, Sub{t.Topic("a" + s), 0}) })...)
	})
	v5("MQTT-3.8.3-2", "SUBSCRIBE without a filter and options closes", func(t *T) {
		t.refused(badPacketCodes, variant{"no filter", Raw(0x82, 0, 1, 0)}, variant{"no options", Raw(0x82, Cat(U16(1), bytesOf(0), Str(nil, t.Topic("a")))...)})
	})
	v5("MQTT-3.8.3-3", "No Local: a client's own messages do not come back, others' do", func(t *T) {
		topic := t.Topic("a")
		p, other := t.Client(), t.Client()
		p.Subscribe(topic, 1|noLocal)
		other.Subscribe(topic, 1)
		p.Publish(Publish{Topic: topic, Payload: "own", QoS: 1})
		p.ExpectNothing()
		other.Receive(topic, "own", 1)
		other.Publish(Publish{Topic: topic, Payload: "other", QoS: 1})
		p.Receive(topic, "other", 1)
	})
	v5("MQTT-3.8.3-4", "No Local on a shared subscription closes", func(t *T) {
		t.refused(badPacketCodes, variant{"$share", sub5(1, Sub{"$share/g/" + t.Topic("a"), 1 | noLocal})})
	})
	v5("MQTT-3.8.3-5", "reserved option bits, QoS 3 and Retain Handling 3 close", func(t *T) {
		for _, o := range []byte{0x40, 0x80, 0xc1, 0x03, 0x30} {
			t.refused(badPacketCodes, variant{itoa(int(o)), sub5(1, Sub{t.Topic("a"), o})})
		}
	})
	v5("MQTT-3.8.4-1", "SUBSCRIBE is answered by SUBACK", func(t *T) {
		p := t.Client()
		p.Send(Subscribe(V5, 1, props5(num(PropSubscriptionID, 5), user("a", "b"), user("a", "b")), Sub{t.Topic("a"), 1}))
		t.wantCodes(p.ExpectAck(SUBACK, 1), 1)
	})
	v5("MQTT-3.8.4-2", "SUBACK has SUBSCRIBE's packet identifier, also of many at a time", func(t *T) {
		p := t.Client()
		for _, id := range []uint16{9, 3, 0xffff, 1} {
			p.Send(sub5(id, Sub{t.Topic(itoa(int(id))), 1}))
		}
		seen := map[uint16]bool{}
		for range 4 {
			seen[p.Expect(SUBACK).ID] = true
		}
		if !seen[9] || !seen[3] || !seen[0xffff] || !seen[1] {
			t.Fatalf("SUBACKs for %v, want 9, 3, 65535 and 1", seen)
		}
	})
}

func init() {
	v5("MQTT-3.8.4-3", "the same filter again replaces QoS, options and identifier", func(t *T) {
		topic := t.Topic("a")
		p, pub := t.Client(), t.Client()
		subscribe5(p, topic, 2, 5)
		subscribe5(p, topic, 1, 6)
		pub.Publish(Publish{Topic: topic, Payload: "x", QoS: 2, Retain: true})
		m := p.ExpectPublish(topic, "x", 1)
		p.Acknowledge(m)
		if ids := m.PropAll(PropSubscriptionID); len(ids) != 1 || ids[0].Int != 6 {
			t.Fatalf("want identifier 6 alone: %s", m)
		}
		p.Subscribe(topic, 0|retainHandling2)
		pub.Publish(Publish{Topic: topic, Payload: "y", QoS: 2})
		t.wantNoProp(p.ExpectPublish(topic, "y", 0), PropSubscriptionID)
		p.ExpectNothing()
		if code := p.Unsubscribe(topic).Codes; len(code) != 1 || code[0] != 0 {
			t.Fatalf("UNSUBSCRIBE answered by % x", code)
		}
		pub.Publish(Publish{Topic: topic, Payload: "z", QoS: 1})
		p.ExpectNothing()
	})
	v5part("MQTT-3.8.4-3", "options", "the same filter again replaces No Local and Retain As Published", func(t *T) {
		topic := t.Topic("a")
		p := t.Client()
		p.Subscribe(topic, 1|noLocal)
		p.Subscribe(topic, 1|retainAsPublished)
		p.Publish(Publish{Topic: topic, Payload: "x", QoS: 1, Retain: true})
		if m := p.Receive(topic, "x", 1); !m.Retain {
			t.Fatalf("RETAIN 0 though Retain As Published was set by the second SUBSCRIBE")
		}
		p.Subscribe(topic, 1|retainHandling2|noLocal)
		p.Publish(Publish{Topic: topic, Payload: "y", QoS: 1})
		p.ExpectNothing()
	})
	v5("MQTT-3.8.4-4", "replacing a subscription sends retained messages again and loses no live ones", func(t *T) {
		topic := t.Topic("a")
		retain(t, topic, "kept", 1)
		p := t.Client()
		p.Subscribe(topic, 1)
		expectRetained(p, topic, "kept", 1)
		for i := range 20 {
			// Publishing to itself in one write with SUBSCRIBE fixes the order in which the broker sees them.
			p.Send(publish5(Publish{Topic: topic, Payload: "a" + itoa(i), QoS: 1, ID: 100}), sub5(101, Sub{topic, 1}),
				publish5(Publish{Topic: topic, Payload: "b" + itoa(i), QoS: 1, ID: 102}))
			got := map[string]bool{}
			for range 6 {
				if m := p.Next(); m.Type == PUBLISH {
					p.Acknowledge(m)
					got[m.Payload] = true
				}
			}
			if !got["a"+itoa(i)] || !got["b"+itoa(i)] || !got["kept"] {
				t.Fatalf("round %d: got %v, want the retained message and both live ones", i, got)
			}
		}
	})
}

func init() {
	v5("MQTT-3.8.4-5", "several filters in one SUBSCRIBE act like one after the other, with one SUBACK", func(t *T) {
		p := t.Client()
		a, b := t.Topic("a"), t.Topic("b")
		t.wantCodes(suback(p, 1, Sub{a, 0}, Sub{b, 1}, Sub{a, 2}), 0, 1, 2)
		pub := t.Client()
		pub.Publish(Publish{Topic: a, Payload: "x", QoS: 2})
		p.Receive(a, "x", 2)
		pub.Publish(Publish{Topic: b, Payload: "y", QoS: 2})
		p.Receive(b, "y", 1)
		p.ExpectNothing()
	})
	v5same("MQTT-3.8.4-6 MQTT-3.9.3-1", "SUBACK has a code for each filter, in their order", func(t *T) {
		p := t.Client()
		subs := []Sub{{t.Topic("a"), 2}, {t.Topic("b/#"), 0}, {t.Topic("+/c"), 1}, {"$share/g/" + t.Topic("d"), 2}, {t.Topic("e"), 0}}
		t.wantCodes(suback(p, 1, subs...), 2, 0, 1, 2, 0)
		many := make([]Sub, 150)
		for i := range many {
			many[i] = Sub{t.Topic(itoa(i)), byte(i % 3)}
		}
		ack := suback(p, 2, many...)
		for i, c := range ack.Codes {
			if c != byte(i%3) {
				t.Fatalf("code %d is %d, want %d", i, c, i%3)
			}
		}
		if len(ack.Codes) != len(many) {
			t.Fatalf("%d codes for %d filters", len(ack.Codes), len(many))
		}
	})
	v5same("MQTT-3.8.4-7 MQTT-3.8.4-8", "messages come with the lower of the published and the granted QoS", func(t *T) {
		pub := t.Client()
		for asked := range byte(3) {
			topic := t.Topic(itoa(int(asked)))
			p := t.Client()
			granted := suback(p, 1, Sub{topic, asked}).Codes[0]
			if granted > asked {
				t.Fatalf("asked for QoS %d, granted %d", asked, granted)
			}
			for q := range byte(3) {
				pub.Publish(Publish{Topic: topic, Payload: "x", QoS: q})
				p.Receive(topic, "x", min(q, granted))
			}
		}
	})
}

func init() {
	v5("MQTT-3.10.1-1", "UNSUBSCRIBE with other flags than 0010 closes", func(t *T) {
		body := unsub5(1, t.Topic("a"))[2:]
		for _, flags := range []byte{0, 1, 3, 6, 10, 15} {
			t.refused(badPacketCodes, variant{itoa(int(flags)), Raw(0xa0|flags, body...)})
		}
	})
	v5("MQTT-3.10.3-1", "a filter that is not UTF-8 in UNSUBSCRIBE closes", func(t *T) {
		t.refused(badTopicCodes, inString(badUTF8, func(s string) []byte { return unsub5(1, t.Topic("a"+s)) })...)
	})
	v5("MQTT-3.10.3-2", "UNSUBSCRIBE without a filter closes", func(t *T) {
		t.refused(badPacketCodes, variant{"no filter", Raw(0xa2, 0, 1, 0)})
	})
	v5("MQTT-3.10.4-1", "UNSUBSCRIBE deletes the filter that is equal, and no other", func(t *T) {
		p, pub := t.Client(), t.Client()
		for _, f := range []string{"a/b", "a/+", "A/b"} {
			p.Subscribe(t.Topic(f), 0)
		}
		t.wantCodes(unsuback(p, 9, t.Topic("a/#"), t.Topic("+/b"), t.Topic("a/B"), t.Topic("a/b/")), 0x11, 0x11, 0x11, 0x11)
		t.wantCodes(unsuback(p, 10, t.Topic("a/+")), 0)
		pub.Publish(Publish{Topic: t.Topic("a/b"), Payload: "x"})
		p.ExpectPublish(t.Topic("a/b"), "x", 0)
		p.ExpectNothing()
		pub.Publish(Publish{Topic: t.Topic("a/c"), Payload: "x"})
		p.ExpectNothing()
		pub.Publish(Publish{Topic: t.Topic("A/b"), Payload: "x"})
		p.ExpectPublish(t.Topic("A/b"), "x", 0)
	})
	v5("MQTT-3.10.4-2", "after UNSUBACK nothing new comes", func(t *T) {
		topic := t.Topic("a")
		p, pub := t.subscriber(topic, 2), t.Client()
		pub.Publish(Publish{Topic: topic, Payload: "x", QoS: 1})
		p.Receive(topic, "x", 1)
		p.Unsubscribe(topic)
		for q := range byte(3) {
			pub.Publish(Publish{Topic: topic, Payload: "y", QoS: q})
		}
		p.ExpectNothing()
	})
	v5("MQTT-3.10.4-3", "deliveries in flight are completed after UNSUBSCRIBE", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 2)
		pub := t.Client()
		pub.Publish(Publish{Topic: topic, Payload: "two", QoS: 2})
		pub.Publish(Publish{Topic: topic, Payload: "one", QoS: 1})
		two, one := p.ExpectPublish(topic, "two", 2), p.ExpectPublish(topic, "one", 1)
		p.Unsubscribe(topic)
		p.Send(Ack(PUBREC, two.ID))
		p.ExpectAck(PUBREL, two.ID)
		p.CloseWrite()
		p, _ = t.resume(id, 600)
		p.AwaitMatch("PUBREL of what was begun", func(m *Packet) bool { return m.Type == PUBREL && m.ID == two.ID })
		p.Send(Ack(PUBCOMP, two.ID))
		if m := p.Receive(topic, "one", 1); m.ID != one.ID || !m.Dup {
			t.Fatalf("sent again as %s", m)
		}
		p.ExpectNothing()
	})
	v5("MQTT-3.10.4-4", "UNSUBSCRIBE is answered by UNSUBACK", func(t *T) {
		p := t.subscriber(t.Topic("a"), 1)
		p.Send(Unsubscribe(V5, 7, props5(user("a", "b")), t.Topic("a")))
		t.wantCodes(p.ExpectAck(UNSUBACK, 7), 0)
	})
}

func init() {
	v5("MQTT-3.10.4-5", "UNSUBACK has the packet identifier, even if nothing was deleted", func(t *T) {
		p := t.Client()
		for _, id := range []uint16{1, 0x1234, 0xffff} {
			p.Send(unsub5(id, t.Topic("never")))
			t.wantCodes(p.ExpectAck(UNSUBACK, id), rcNoSubscription)
		}
	})
	v5same("MQTT-3.10.4-6 MQTT-3.11.3-1", "several filters in one UNSUBSCRIBE act like one after the other; the codes stand in their order", func(t *T) {
		p, pub := t.Client(), t.Client()
		a, b, c := t.Topic("a"), t.Topic("b"), t.Topic("c")
		suback(p, 1, Sub{a, 1}, Sub{b, 1}, Sub{c, 1})
		t.wantCodes(unsuback(p, 2, a, t.Topic("never"), c, a), 0, rcNoSubscription, 0, rcNoSubscription)
		for _, topic := range []string{a, b, c} {
			pub.Publish(Publish{Topic: topic, Payload: "x", QoS: 1})
		}
		p.Receive(b, "x", 1)
		p.ExpectNothing()
	})
}
