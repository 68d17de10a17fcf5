package conformance

// Behaviours of Mosquitto that MQTT 5 clients rely on, beyond the statements: QoS flows and retained messages.

func init() {
	v5part("B-20", "matrix", "a client's own messages come with the lower QoS", func(t *T) {
		for s := range byte(3) {
			for q := range byte(3) {
				topic := t.Topic(itoa(int(s*3 + q)))
				p := t.subscriber(topic, s)
				p.Publish(Publish{Topic: topic, Payload: "x", QoS: q})
				p.Receive(topic, "x", min(s, q))
			}
		}
	})
	v5part("B-20", "no-subscribers", "QoS 1 and 2 to nobody are acknowledged with 0x10, also with RETAIN and where one is retained", func(t *T) {
		t.Restart(Options{}) // a broker of its own: other cases subscribe to #
		p := t.Client()
		for _, r := range []bool{false, true, false} {
			p.Send(publish5(Publish{Topic: t.Topic("a"), Payload: "x", QoS: 1, ID: 1, Retain: r}))
			t.wantCode(p.ExpectAck(PUBACK, 1), rcNoSubscribers)
		}
		p.Subscribe(t.Topic("b"), 0)
		p.Send(publish5(Publish{Topic: t.Topic("b"), Payload: "x", QoS: 1, ID: 2}))
		t.wantCode(p.Await(PUBACK), rcSuccess)
	})
	v5part("B-21", "taken", "acknowledgements are taken in every form of their length", func(t *T) {
		topic := t.Topic("a")
		p, pub := t.subscriber(topic, 2), t.Client()
		forms := func(typ byte, id uint16) [][]byte {
			return [][]byte{Ack(typ, id), Raw(Ack(typ, id)[0], Cat(U16(id), bytesOf(0))...), AckReason(typ, id, 0),
				AckReason(typ, id, 0, text(PropReasonString, "fine"), user("a", "b"), user("a", "b"))}
		}
		for i := range 4 {
			pub.Publish(Publish{Topic: topic, Payload: "one", QoS: 1})
			p.Send(forms(PUBACK, p.ExpectPublish(topic, "one", 1).ID)[i])
			pub.Publish(Publish{Topic: topic, Payload: "two", QoS: 2})
			id := p.ExpectPublish(topic, "two", 2).ID
			p.Send(forms(PUBREC, id)[i])
			p.ExpectAck(PUBREL, id)
			p.Send(forms(PUBCOMP, id)[i])
			p.Send(publish5(Publish{Topic: t.Topic("b"), QoS: 2, ID: 9}))
			p.ExpectAck(PUBREC, 9)
			p.Send(forms(PUBREL, 9)[i])
			p.ExpectAck(PUBCOMP, 9)
		}
		p.ExpectNothing()
	})
	v5part("B-21", "sent", "acknowledgements are sent in their shortest form", func(t *T) {
		t.Restart(Options{}) // a broker of its own: other cases subscribe to #
		topic := t.Topic("a")
		p := t.subscriber(topic, 2)
		want := func(m *Packet, n int) {
			if len(m.Body) != n {
				t.Fatalf("%s has %d bytes, want %d", m, len(m.Body), n)
			}
		}
		p.Send(publish5(Publish{Topic: topic, Payload: "x", QoS: 1, ID: 1}))
		want(p.Await(PUBACK), 2)
		p.Acknowledge(p.Expect(PUBLISH))
		p.Send(publish5(Publish{Topic: t.Topic("nobody"), QoS: 1, ID: 2}))
		want(p.ExpectAck(PUBACK, 2), 3)
		p.Send(publish5(Publish{Topic: topic, Payload: "y", QoS: 2, ID: 3}))
		want(p.ExpectAck(PUBREC, 3), 2)
		p.Send(Ack(PUBREL, 3))
		want(p.Await(PUBCOMP), 2)
		m := p.Await(PUBLISH)
		p.Send(Ack(PUBREC, m.ID))
		want(p.ExpectAck(PUBREL, m.ID), 2)
	})
}

func init() {
	v5part("B-22", "unsolicited", "PUBACK, PUBREC and PUBCOMP nobody waits for do no harm, PUBREL gets PUBCOMP", func(t *T) {
		p := t.Client()
		p.Send(Ack(PUBACK, 77), Ack(PUBREC, 78), Ack(PUBCOMP, 79), Ping)
		for {
			m := p.Next()
			if m.Type == PINGRESP {
				break
			}
			if m.Type != PUBREL || m.ID != 78 { // PUBREL 0x92 in answer to PUBREC is the standard's own way
				t.Fatalf("got %s", m)
			}
		}
		p.Send(Ack(PUBREL, 80))
		p.ExpectAck(PUBCOMP, 80)
		p.ExpectNothing()
	})
	v5part("B-22", "wrong", "an acknowledgement of the wrong type gets DISCONNECT 0x82", func(t *T) {
		for _, c := range []struct {
			qos, ack byte
		}{{1, PUBREC}, {1, PUBCOMP}, {2, PUBACK}, {2, PUBCOMP}} {
			topic := t.Topic(typeNames[c.ack] + itoa(int(c.qos)))
			p := t.subscriber(topic, 2)
			t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: c.qos})
			p.Send(Ack(c.ack, p.ExpectPublish(topic, "x", c.qos).ID), Ping)
			p.ExpectDisconnect(rcProtocolError)
		}
	})
	v5part("B-23", "order", "what was in flight is sent again in its original order, what was queued after it", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 2)
		pub := t.Client()
		var want []string
		for i := range 10 {
			pub.Publish(Publish{Topic: topic, Payload: itoa(i), QoS: byte(1 + i%2)})
			p.ExpectPublish(topic, itoa(i), byte(1+i%2))
			want = append(want, itoa(i))
		}
		p.CloseWrite()
		for i := 10; i < 15; i++ {
			pub.Publish(Publish{Topic: topic, Payload: itoa(i), QoS: 1})
			want = append(want, itoa(i))
		}
		p, _ = t.resume(id, 600)
		var got []string
		for i := range 15 {
			m := p.Expect(PUBLISH)
			if m.Dup != (i < 10) {
				t.Fatalf("DUP %t at %s", m.Dup, m)
			}
			got = append(got, m.Payload)
		}
		t.wantStrings("sent again", got, want...)
	})
	v5part("B-23", "replaced", "a QoS 2 identifier used for another message before PUBREL replaces the first", func(t *T) {
		topic := t.Topic("a")
		sub, p := t.subscriber(topic, 2), t.Client()
		for _, payload := range []string{"first", "second"} {
			p.Send(publish5(Publish{Topic: topic, Payload: payload, QoS: 2, ID: 5}))
			p.ExpectAck(PUBREC, 5)
		}
		p.Send(Ack(PUBREL, 5))
		p.ExpectAck(PUBCOMP, 5)
		sub.Receive(topic, "second", 2)
		sub.ExpectNothing()
	})
}

func init() {
	v5part("B-24", "slot", "PUBREC of 0x80 or more frees the window", func(t *T) {
		topic := t.Topic("a")
		p := t.clientWith(num(PropReceiveMaximum, 1))
		p.Subscribe(topic, 2)
		pub := t.Client()
		for i := range 4 {
			pub.Publish(Publish{Topic: topic, Payload: itoa(i), QoS: 2})
		}
		for i := range 4 {
			p.Send(AckReason(PUBREC, p.ExpectPublish(topic, itoa(i), 2).ID, 0x97))
		}
		p.ExpectNothing()
	})
	v5part("B-24", "order", "acknowledgements leave in the order of the packets they answer", func(t *T) {
		p := t.Client()
		var raw [][]byte
		for id := uint16(1); id <= 15; id++ {
			raw = append(raw, publish5(Publish{Topic: t.Topic("a"), QoS: byte(1 + id%2), ID: id}))
		}
		p.Send(raw...)
		last := map[byte]uint16{}
		for range 15 {
			m := p.Next()
			if (m.Type != PUBACK && m.Type != PUBREC) || m.ID <= last[m.Type] {
				t.Fatalf("%s after %d", m, last[m.Type])
			}
			last[m.Type] = m.ID
		}
		raw = nil
		for id := uint16(2); id <= 15; id += 2 {
			raw = append(raw, Ack(PUBREL, id-1))
		}
		p.Send(raw...)
		for id := uint16(2); id <= 15; id += 2 {
			p.ExpectAck(PUBCOMP, id-1)
		}
	})
	v5with(Options{MessageSizeLimit: 100}, "B-25", "size", "a payload above message_size_limit gets PUBACK 0x95, the connection lives", func(t *T) {
		topic := t.Topic("a")
		sub, p := t.subscriber(topic, 1), t.Client()
		p.Send(publish5(Publish{Topic: topic, Payload: string(make5(101)), QoS: 1, ID: 1}))
		t.wantCode(p.ExpectAck(PUBACK, 1), rcPacketTooLarge)
		p.Publish(Publish{Topic: topic, Payload: string(make5(101))})
		p.Publish(Publish{Topic: topic, Payload: string(make5(100)), QoS: 1})
		sub.Receive(topic, string(make5(100)), 1)
		sub.ExpectNothing()
	})
	v5with(Options{ACL: "topic read #\ntopic write nj/+/may\n"}, "B-25", "acl", "a publish the ACL denies gets PUBACK 0x87, the connection lives", func(t *T) {
		sub, p := t.subscriber(t.Topic("#"), 2), t.Client()
		p.Send(publish5(Publish{Topic: t.Topic("not"), Payload: "x", QoS: 1, ID: 1}))
		t.wantCode(p.ExpectAck(PUBACK, 1), rcNotAuthorized)
		p.Send(publish5(Publish{Topic: t.Topic("not"), Payload: "x", QoS: 2, ID: 2}))
		t.wantCode(p.ExpectAck(PUBREC, 2), rcNotAuthorized)
		p.Publish(Publish{Topic: t.Topic("may"), Payload: "x", QoS: 1})
		sub.Receive(t.Topic("may"), "x", 1)
	})
	v5with(Options{UpgradeOutgoingQoS: true}, "B-26", "", "upgrade_outgoing_qos delivers with the subscription's QoS", func(t *T) {
		topic := t.Topic("a")
		p := t.subscriber(topic, 2)
		for q := range byte(3) {
			t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: q})
			p.Receive(topic, "x", 2)
		}
	})
}

func init() {
	v5part("B-27", "order", "SUBACK comes before the retained messages, live ones with RETAIN 0", func(t *T) {
		topic := t.Topic("a")
		retain(t, topic, "x", 1)
		p := t.Client()
		p.Send(sub5(1, Sub{topic, 1}))
		p.ExpectAck(SUBACK, 1)
		expectRetained(p, topic, "x", 1)
		retain(t, topic, "y", 1)
		if p.Receive(topic, "y", 1).Retain {
			t.Fatalf("a live message with RETAIN 1")
		}
	})
	v5part("B-27", "tree", "a tree of retained messages is emptied one by one", func(t *T) {
		names := []string{"a", "a/b", "a/b/c", "a/b/d", "a/e/f/g", "h"}
		for _, n := range names {
			retain(t, t.Topic(n), n, 1)
		}
		for i, n := range names {
			if got := t.subscriber(t.Topic("#"), 0|retainAsPublished).payloads(len(names) - i); len(got) != len(names)-i {
				t.Fatalf("%d retained messages, want %d", len(got), len(names)-i)
			}
			retain(t, t.Topic(n), "", 1)
		}
		t.subscriber(t.Topic("#"), 0).ExpectNothing()
	})
	v5("B-28", "retained messages are not sent to shared subscriptions", func(t *T) {
		topic := t.Topic("a")
		retain(t, topic, "x", 1)
		m := group(t, "g", topic, 1, 1)[0]
		m.ExpectNothing()
		retain(t, topic, "y", 1)
		m.Receive(topic, "y", 1)
	})
	v5with(Options{RefuseRetain: true}, "B-29", "", "retain_available false: CONNACK says so, a retained PUBLISH gets DISCONNECT 0x9A", func(t *T) {
		p, ack := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true})
		t.wantProp(ack, num(PropRetainAvailable, 0))
		p.Send(publish5(Publish{Topic: t.Topic("a"), Payload: "x", QoS: 1, ID: 1, Retain: true}))
		p.ExpectDisconnect(rcRetainUnsupported)
	})
	v5part("B-30", "expires", "a retained message expires", func(t *T) {
		topic := t.Topic("a")
		retain(t, topic, "x", 1, num(PropMessageExpiry, 1))
		expectRetained(t.subscriber(topic, 1), topic, "x", 1)
		t.letPass(2200 * ms)
		t.subscriber(topic, 1).ExpectNothing()
	})
	v5part("B-30", "counts", "a retained message's expiry counts down", func(t *T) {
		topic := t.Topic("a")
		retain(t, topic, "x", 1, num(PropMessageExpiry, 100))
		t.letPass(1100 * ms)
		if e, _ := expectRetained(t.subscriber(topic, 1), topic, "x", 1).Prop(PropMessageExpiry); e.Int < 97 || e.Int > 99 {
			t.Fatalf("expiry %d after 1.1 s of 100, want 98 or 99", e.Int)
		}
	})
}
