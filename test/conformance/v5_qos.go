package conformance

import "time"

// MQTT 5 §4.3: the delivery protocols of QoS 0, 1 and 2.

// again resumes a session and returns what is sent without being asked.
func again(t *T, p *Peer, id string, n int) (*Peer, []*Packet) {
	p.CloseWrite()
	p, present := t.resume(id, 600)
	if !present {
		t.Fatalf("session not present")
	}
	var all []*Packet
	for range n {
		all = append(all, p.Next())
	}
	p.ExpectNothing()
	return p, all
}

func init() {
	v5("MQTT-4.3.1-1", "QoS 0 is sent with QoS 0 and DUP 0", func(t *T) {
		topic := t.Topic("a")
		sub := t.subscriber(topic, 0)
		for q := range byte(3) {
			t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: q})
			if m := sub.ExpectPublish(topic, "x", 0); m.Dup {
				t.Fatalf("DUP 1 on QoS 0")
			}
		}
	})
	v5same("MQTT-4.3.2-1 MQTT-4.3.2-2", "QoS 1 is first sent with an identifier not in use and DUP 0", func(t *T) { newIdentifiers(t, 1) })
	v5same("MQTT-4.3.3-1 MQTT-4.3.3-2", "QoS 2 is first sent with an identifier not in use and DUP 0", func(t *T) { newIdentifiers(t, 2) })
	v5("MQTT-4.3.2-3", "QoS 1 is unacknowledged until PUBACK and then no more", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 1)
		t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 1})
		first := p.ExpectPublish(topic, "x", 1)
		for range 2 {
			var all []*Packet
			if p, all = again(t, p, id, 1); all[0].Type != PUBLISH || all[0].ID != first.ID {
				t.Fatalf("sent again as %s", all[0])
			}
		}
		p.Send(Ack(PUBACK, first.ID))
		again(t, p, id, 0)
	})
	v5("MQTT-4.3.2-4", "QoS 1: PUBACK has the identifier, and the message was taken", func(t *T) {
		topic := t.Topic("a")
		sub, p := t.subscriber(topic, 1), t.Client()
		for _, id := range []uint16{300, 2, 0xffff} {
			p.Send(publish5(Publish{Topic: topic, Payload: itoa(int(id)), QoS: 1, ID: id}))
			p.ExpectAck(PUBACK, id)
			sub.Receive(topic, itoa(int(id)), 1)
		}
	})
	v5("MQTT-4.3.2-5", "QoS 1: after PUBACK the identifier means a new message, also with DUP", func(t *T) {
		topic := t.Topic("a")
		sub, p := t.subscriber(topic, 1), t.Client()
		for _, dup := range []bool{false, false, true, true} {
			p.Send(publish5(Publish{Topic: topic, Payload: "x", QoS: 1, ID: 5, Dup: dup}))
			p.ExpectAck(PUBACK, 5)
			sub.Receive(topic, "x", 1)
		}
		sub.ExpectNothing()
	})
	v5("MQTT-4.3.3-3", "QoS 2: PUBLISH is unacknowledged until PUBREC", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 2)
		t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 2})
		first := p.ExpectPublish(topic, "x", 2)
		p, all := again(t, p, id, 1)
		if m := all[0]; m.Type != PUBLISH || m.ID != first.ID || !m.Dup {
			t.Fatalf("sent again as %s", m)
		}
		p.Acknowledge(first)
		again(t, p, id, 0)
	})
}

func init() {
	v5("MQTT-4.3.3-4", "QoS 2: PUBREC is answered by PUBREL with its identifier, a refusal is not", func(t *T) {
		topic := t.Topic("a")
		p, pub := t.subscriber(topic, 2), t.Client()
		for _, code := range []byte{0, 0x10, 0x80, 0x97} {
			pub.Publish(Publish{Topic: topic, Payload: "x", QoS: 2})
			m := p.ExpectPublish(topic, "x", 2)
			p.Send(AckReason(PUBREC, m.ID, code))
			if code < 0x80 {
				t.wantCode(p.ExpectAck(PUBREL, m.ID), 0)
				p.Send(Ack(PUBCOMP, m.ID))
			}
			p.ExpectNothing()
		}
	})
	v5same("MQTT-4.3.3-5 MQTT-4.3.3-6", "QoS 2: PUBREL, not PUBLISH, is sent again until PUBCOMP", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 2)
		t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 2})
		first := p.ExpectPublish(topic, "x", 2)
		p.Send(Ack(PUBREC, first.ID))
		p.ExpectAck(PUBREL, first.ID)
		for range 2 {
			var all []*Packet
			if p, all = again(t, p, id, 1); all[0].Type != PUBREL || all[0].ID != first.ID {
				t.Fatalf("sent again as %s", all[0])
			}
		}
		p.Send(Ack(PUBCOMP, first.ID))
		again(t, p, id, 0)
	})
	v5("MQTT-4.3.3-7", "QoS 2: a message that was sent does not expire", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 2)
		t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 2, Props: props5(num(PropMessageExpiry, 1))})
		first := p.ExpectPublish(topic, "x", 2)
		t.letPass(2200 * time.Millisecond)
		p.CloseWrite()
		p, _ = t.resume(id, 600)
		if m := p.Receive(topic, "x", 2); m.ID != first.ID || !m.Dup {
			t.Fatalf("sent again as %s", m)
		}
	})
	v5("MQTT-4.3.3-8", "QoS 2: PUBREC has the identifier, and the message is delivered once", func(t *T) {
		topic := t.Topic("a")
		sub, p := t.subscriber(topic, 2), t.Client()
		for _, id := range []uint16{300, 2, 0xffff} {
			p.Send(publish5(Publish{Topic: topic, Payload: itoa(int(id)), QoS: 2, ID: id}))
			t.wantCode(p.ExpectAck(PUBREC, id), 0)
			p.Send(Ack(PUBREL, id))
			p.ExpectAck(PUBCOMP, id)
			sub.Receive(topic, itoa(int(id)), 2)
		}
		sub.ExpectNothing()
	})
}

func init() {
	v5with(Options{MessageSizeLimit: 100}, "MQTT-4.3.3-9", "", "QoS 2: after a refusal the identifier means a new message", func(t *T) {
		topic := t.Topic("a")
		sub, p := t.subscriber(topic, 2), t.Client()
		p.Send(publish5(Publish{Topic: topic, Payload: string(make5(101)), QoS: 2, ID: 5}))
		if m := p.ExpectAck(PUBREC, 5); m.Code < 0x80 {
			t.Fatalf("a payload above the limit is not refused: %s", m)
		}
		p.Send(publish5(Publish{Topic: topic, Payload: "small", QoS: 2, ID: 5}))
		t.wantCode(p.ExpectAck(PUBREC, 5), 0)
		p.Send(Ack(PUBREL, 5))
		p.ExpectAck(PUBCOMP, 5)
		sub.Receive(topic, "small", 2)
	})
	v5("MQTT-4.3.3-10", "QoS 2: until PUBREL the identifier gets PUBREC again and nothing is delivered twice", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("p")
		sub := t.subscriber(topic, 2)
		p, _ := t.resume(id, 600)
		raw := publish5(Publish{Topic: topic, Payload: "x", QoS: 2, ID: 5, Dup: true})
		p.Send(raw)
		p.ExpectAck(PUBREC, 5)
		p.CloseWrite()
		p, _ = t.resume(id, 600)
		p.Send(raw)
		p.ExpectAck(PUBREC, 5)
		p.Send(Ack(PUBREL, 5))
		p.ExpectAck(PUBCOMP, 5)
		sub.Receive(topic, "x", 2)
		sub.ExpectNothing()
	})
	v5part("MQTT-4.3.3-10", "often", "QoS 2: that holds however often the identifier comes", func(t *T) {
		topic := t.Topic("a")
		sub, p := t.subscriber(topic, 2), t.Client()
		for i := range 5 {
			p.Send(publish5(Publish{Topic: topic, Payload: "x", QoS: 2, ID: 5, Dup: i > 0}))
			p.ExpectAck(PUBREC, 5)
		}
		p.Send(Ack(PUBREL, 5))
		p.ExpectAck(PUBCOMP, 5)
		sub.Receive(topic, "x", 2)
		sub.ExpectNothing()
	})
	v5("MQTT-4.3.3-11", "QoS 2: PUBREL is answered by PUBCOMP with its identifier, also when repeated", func(t *T) {
		p := t.Client()
		p.Send(publish5(Publish{Topic: t.Topic("a"), QoS: 2, ID: 0x1234}))
		p.ExpectAck(PUBREC, 0x1234)
		p.Send(Ack(PUBREL, 0x1234))
		t.wantCode(p.ExpectAck(PUBCOMP, 0x1234), 0)
		p.Send(Ack(PUBREL, 0x1234))
		t.wantCode(p.ExpectAck(PUBCOMP, 0x1234), 0, rcIDNotFound)
	})
	v5("MQTT-4.3.3-12", "QoS 2: after PUBCOMP the identifier means a new message", func(t *T) {
		topic := t.Topic("a")
		sub, p := t.subscriber(topic, 2), t.Client()
		for _, dup := range []bool{false, true, true} {
			p.Publish(Publish{Topic: topic, Payload: "x", QoS: 2, ID: 5, Dup: dup})
			sub.Receive(topic, "x", 2)
		}
		sub.ExpectNothing()
	})
}

func init() {
	v5("MQTT-4.3.3-13", "QoS 2: the exchange is finished even if the message has expired", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 2)
		pub := t.Client()
		pub.Send(publish5(Publish{Topic: topic, Payload: "x", QoS: 2, ID: 5, Props: props5(num(PropMessageExpiry, 1))}))
		pub.ExpectAck(PUBREC, 5)
		t.letPass(2200 * time.Millisecond)
		pub.Send(Ack(PUBREL, 5))
		pub.ExpectAck(PUBCOMP, 5)
	})
}

// newIdentifiers publishes while earlier messages are in flight and expects identifiers that are not.
func newIdentifiers(t *T, qos byte) {
	topic := t.Topic("a")
	p, pub := t.subscriber(topic, 2), t.Client()
	inUse := map[uint16]bool{}
	for i := range 30 {
		pub.Publish(Publish{Topic: topic, Payload: itoa(i), QoS: qos})
		m := p.ExpectPublish(topic, itoa(i), qos)
		if m.Dup || m.ID == 0 || inUse[m.ID] {
			t.Fatalf("%s, in flight: %v", m, inUse)
		}
		inUse[m.ID] = true
		if i%3 > 0 { // every third stays in flight
			p.Acknowledge(m)
			delete(inUse, m.ID)
		}
	}
}
