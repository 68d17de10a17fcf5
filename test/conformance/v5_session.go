package conformance

import "time"

// MQTT 5 §4.1 (session state), §4.2 (transport), §4.4 (delivery retry), §4.5 and §4.6 (message receipt, ordering).

func init() {
	v5("MQTT-4.1.0-1", "a session's expiry does not run while its connection is open", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 1)
		p.Subscribe(topic, 1)
		t.letPass(2500 * time.Millisecond)
		t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 1})
		p.ExpectPublish(topic, "x", 1)
		p.CloseWrite()
		p, present := t.resume(id, 1)
		if !present {
			t.Fatalf("the session is gone at once after the close")
		}
		p.Receive(topic, "x", 1)
	})
	v5("MQTT-4.1.0-2", "a session is gone once its expiry has passed after the close", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 1)
		p.Subscribe(topic, 1)
		p.CloseWrite()
		t.letPass(3500 * time.Millisecond)
		t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 1})
		p, present := t.resume(id, 600)
		if present {
			t.Fatalf("session with expiry 1 present after 3.5 s")
		}
		p.ExpectNothing()
	})
	v5part("MQTT-4.1.0-2", "zero", "a session with expiry 0, or none given, ends with its connection", func(t *T) {
		id := t.ClientID("s")
		for _, props := range [][]Prop{nil, {expiry(0)}} {
			p, ack := t.Connect(Connect{ClientID: id, Props: props})
			if ack.SessionPresent {
				t.Fatalf("session present")
			}
			p.Subscribe(t.Topic("a"), 1)
			p.CloseWrite()
		}
		if _, present := t.resume(id, 600); present {
			t.Fatalf("session present")
		}
	})
	v5("MQTT-4.2.0-1", "packets are read from a stream of bytes however it is cut, and large ones come whole", func(t *T) {
		topic := t.Topic("a")
		p := t.Dial()
		for _, b := range Cat(connect5(Connect{ClientID: t.ClientID("x"), Clean: true}), sub5(1, Sub{topic, 1})) {
			p.Send(bytesOf(b))
		}
		p.Expect(CONNACK)
		p.ExpectAck(SUBACK, 1)
		big := make([]byte, 1_500_000)
		for i := range big {
			big[i] = byte(i * 7)
		}
		p.Publish(Publish{Topic: topic, Payload: string(big), QoS: 1})
		p.Receive(topic, string(big), 1)
		p.Send(Ping, Ping, publish5(Publish{Topic: topic, Payload: "x"}), Ping)
		p.Expect(PINGRESP)
		p.Expect(PINGRESP)
		p.Await(PINGRESP)
		p.ExpectPublish(topic, "x", 0)
	})
}

func init() {
	v5("MQTT-4.4.0-1", "PUBLISH and PUBREL not acknowledged are sent again on resume, with their identifiers, and not before", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 2)
		pub := t.Client()
		for i, q := range []byte{1, 2, 2} {
			pub.Publish(Publish{Topic: topic, Payload: itoa(i), QoS: q})
		}
		one, two, three := p.ExpectPublish(topic, "0", 1), p.ExpectPublish(topic, "1", 2), p.ExpectPublish(topic, "2", 2)
		p.Send(Ack(PUBREC, three.ID))
		p.ExpectAck(PUBREL, three.ID)
		t.letPass(1200 * time.Millisecond)
		p.ExpectNothing()
		p.CloseWrite()
		p, _ = t.resume(id, 600)
		var got []string
		for range 3 {
			m := p.Next()
			got = append(got, typeNames[m.Type]+" "+itoa(int(m.ID)))
		}
		p.ExpectNothing()
		want := map[string]bool{"PUBLISH " + itoa(int(one.ID)): true, "PUBLISH " + itoa(int(two.ID)): true, "PUBREL " + itoa(int(three.ID)): true}
		for _, g := range got {
			delete(want, g)
		}
		if len(want) > 0 {
			t.Fatalf("sent again: %v, missing: %v", got, want)
		}
	})
	v5("MQTT-4.4.0-2", "PUBACK and PUBREC of 0x80 or more acknowledge: nothing is sent again", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600)
		p.Subscribe(topic, 2)
		pub := t.Client()
		pub.Publish(Publish{Topic: topic, Payload: "one", QoS: 1})
		pub.Publish(Publish{Topic: topic, Payload: "two", QoS: 2})
		p.Send(AckReason(PUBACK, p.ExpectPublish(topic, "one", 1).ID, rcUnspecified))
		p.Send(AckReason(PUBREC, p.ExpectPublish(topic, "two", 2).ID, 0x99))
		p.ExpectNothing()
		p.CloseWrite()
		p, _ = t.resume(id, 600)
		p.ExpectNothing()
	})
	v5("MQTT-4.5.0-1", "a message is added to every matching session, connected or not", func(t *T) {
		topic := t.Topic("a/b")
		var away []string
		for i := range 3 {
			id := t.ClientID("s" + itoa(i))
			p, _ := t.resume(id, 600)
			p.Subscribe([]string{topic, t.Topic("a/+"), t.Topic("#")}[i], 1)
			p.Disconnect()
			away = append(away, id)
		}
		here := []*Peer{t.subscriber(topic, 1), t.subscriber(t.Topic("+/b"), 1), t.subscriber(t.Topic("a/#"), 1)}
		t.subscriber(t.Topic("a"), 1).ExpectNothing()
		t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 1})
		for _, p := range here {
			p.Receive(topic, "x", 1)
		}
		for _, id := range away {
			p, _ := t.resume(id, 600)
			p.Receive(topic, "x", 1)
		}
	})
}

func init() {
	v5same("MQTT-4.6.0-5 MQTT-4.6.0-6", "a publisher's messages of one topic and QoS keep their order, live and queued", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		absent, _ := t.resume(id, 600)
		absent.Subscribe(topic, 2)
		absent.Disconnect()
		subs := []*Peer{t.subscriber(topic, 2), t.subscriber(t.Topic("#"), 2), t.subscriber(t.Topic("+"), 2)}
		pub := t.Client()
		var want [3][]string
		for i := range 60 {
			q := byte(i % 3)
			want[q] = append(want[q], itoa(i))
			pub.Publish(Publish{Topic: topic, Payload: itoa(i), QoS: q})
		}
		check := func(p *Peer, n int) {
			var got [3][]string
			for range n {
				m := p.Await(PUBLISH)
				p.Acknowledge(m)
				got[m.QoS] = append(got[m.QoS], m.Payload)
			}
			for q := 3 - n/20; q < 3; q++ {
				t.wantStrings("QoS "+itoa(q), got[q], want[q]...)
			}
		}
		for _, p := range subs {
			check(p, 60)
		}
		absent, _ = t.resume(id, 600)
		check(absent, 40)
	})
}
