package conformance

import "fmt"

// Sections 4.1 to 4.6: sessions, the QoS flows, repeated delivery, order.

func init() {
	register(
		Case{ID: "MQTT-4.1.0-1", Version: V311, Title: "session state is kept for the whole session", Run: stateKept},
		Case{ID: "MQTT-4.1.0-2", Version: V311, Title: "a session lasts as long as its connection", Run: sessionLastsConnection},
		Case{ID: "MQTT-4.3.1-1", Version: V311, Title: "QoS 0 is sent with QoS 0 and DUP 0", Run: func(t *T) {
			sub, pub := t.Client(), t.Client()
			sub.Subscribe(t.Topic("a"), 0)
			for qos := byte(0); qos < 3; qos++ {
				pub.Publish(Publish{Topic: t.Topic("a"), Payload: "x", QoS: qos})
				if pkt := sub.Receive(t.Topic("a"), "x", 0); pkt.Flags != 0 {
					t.Fatalf("flags %04b", pkt.Flags)
				}
			}
		}},
		Case{ID: "MQTT-4.3.2-1", Version: V311, Title: "QoS 1 sent: DUP 0 at first, held until PUBACK", Run: qos1Sender},
		Case{ID: "MQTT-4.3.2-2", Version: V311, Title: "QoS 1 received: the identifier is new after PUBACK", Run: qos1Receiver},
		Case{ID: "MQTT-4.3.3-1", Version: V311, Title: "QoS 2 sent: PUBREL for PUBREC, never PUBLISH again", Run: qos2Sender},
		Case{ID: "MQTT-4.3.3-2", Version: V311, Title: "QoS 2 received: a copy before PUBREL is not delivered again",
			Run: func(t *T) { qos2Receiver(t, 1) }},
		Case{ID: "MQTT-4.3.3-2", Version: V311, Part: "copies", Title: "QoS 2 received: also with several copies",
			Run: func(t *T) { qos2Receiver(t, 3) }},
		Case{ID: "MQTT-4.3.3-2", Version: V311, Part: "reconnect", Title: "the QoS 2 identifier is known after a reconnect", Run: qos2ReceiverReconnect},
		Case{ID: "MQTT-4.4.0-1", Version: V311, Title: "PUBLISH and PUBREL are sent again with their identifiers", Run: resendOnReconnect},
		Case{ID: "MQTT-4.5.0-1", Version: V311, Title: "every matching session gets the message, connected or not", Run: everySessionGets},
		Case{ID: "MQTT-4.6.0-1", Version: V311, Title: "what is sent again comes in its first order", Run: resendOrder},
		Case{ID: "MQTT-4.6.0-2", Version: V311, Title: "PUBACKs in the order of the PUBLISH packets", Run: func(t *T) { ackOrder(t, 1, PUBACK) }},
		Case{ID: "MQTT-4.6.0-3", Version: V311, Title: "PUBRECs in the order of the PUBLISH packets", Run: func(t *T) { ackOrder(t, 2, PUBREC) }},
		Case{ID: "MQTT-4.6.0-4", Version: V311, Title: "PUBRELs in the order of the PUBRECs", Run: pubrelOrder},
		Case{ID: "MQTT-4.6.0-5", Version: V311, Title: "topics are ordered by default", Run: func(t *T) { topicOrder(t, 1, 2) }},
		Case{ID: "MQTT-4.6.0-6", Version: V311, Title: "messages of one topic and QoS arrive in order", Run: func(t *T) { topicOrder(t, 3, 30) }},
	)
}

func stateKept(t *T) {
	pub := t.Client()
	p, _ := t.Session(t.ClientID("s"))
	p.Subscribe(t.Topic("sub"), 2)
	p.Send(Publish{Topic: t.Topic("in"), Payload: "x", QoS: 2, ID: 40}.Bytes(t.Version)) // received, not released
	p.ExpectAck(PUBREC, 40)
	pub.Publish(Publish{Topic: t.Topic("sub"), Payload: "1", QoS: 1})
	one := p.ExpectPublish(t.Topic("sub"), "1", 1) // sent, not acknowledged
	p.CloseWrite()
	pub.Publish(Publish{Topic: t.Topic("sub"), Payload: "2", QoS: 2}) // pending
	observer := t.Client()
	observer.Subscribe(t.Topic("in"), 2)
	p, ack := t.Session(t.ClientID("s"))
	t.wantPresent(ack, true)
	if again := p.Receive(t.Topic("sub"), "1", 1); again.ID != one.ID {
		t.Fatalf("sent again with identifier %d, was %d", again.ID, one.ID)
	}
	p.Receive(t.Topic("sub"), "2", 2)
	// The QoS 2 identifier is still known: a copy is not a second message.
	p.Send(Publish{Topic: t.Topic("in"), Payload: "x", QoS: 2, ID: 40, Dup: true}.Bytes(t.Version))
	p.ExpectAck(PUBREC, 40)
	p.Send(Ack(PUBREL, 40))
	p.ExpectAck(PUBCOMP, 40)
	p.ExpectNothing()
}

func sessionLastsConnection(t *T) {
	pub, sub := t.Client(), t.Client()
	sub.Subscribe(t.Topic("a"), 1)
	for i := range 20 { // other clients and sessions come and go
		p, _ := t.Session(t.ClientID("other"))
		p.Disconnect()
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: fmt.Sprint(i), QoS: 1})
		sub.Receive(t.Topic("a"), fmt.Sprint(i), 1)
	}
}

func qos1Sender(t *T) {
	pub := t.Client()
	sub, _ := t.Session(t.ClientID("s"))
	sub.Subscribe(t.Topic("a"), 1)
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "1", QoS: 1})
	first := sub.ExpectPublish(t.Topic("a"), "1", 1)
	if first.Dup {
		t.Fatalf("DUP 1 on first delivery")
	}
	for range 2 {
		sub.CloseWrite()
		sub, _ = t.Session(t.ClientID("s"))
		if again := sub.ExpectPublish(t.Topic("a"), "1", 1); again.ID != first.ID || !again.Dup {
			t.Fatalf("sent again as %s, want identifier %d and DUP 1", again, first.ID)
		}
	}
	sub.Send(Ack(PUBACK, first.ID))
	sub.ExpectNothing()
	sub.CloseWrite()
	sub, _ = t.Session(t.ClientID("s"))
	sub.ExpectNothing() // acknowledged is done with
}

func qos1Receiver(t *T) {
	sub, pub := t.Client(), t.Client()
	sub.Subscribe(t.Topic("a"), 1)
	for i, dup := range []bool{false, true, true, false} {
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: fmt.Sprint(i), QoS: 1, ID: 5, Dup: dup})
		sub.Receive(t.Topic("a"), fmt.Sprint(i), 1)
	}
}

func qos2Sender(t *T) {
	pub := t.Client()
	sub, _ := t.Session(t.ClientID("s"))
	sub.Subscribe(t.Topic("a"), 2)
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "1", QoS: 2})
	pkt := sub.ExpectPublish(t.Topic("a"), "1", 2)
	if pkt.Dup {
		t.Fatalf("DUP 1 on first delivery")
	}
	sub.Send(Ack(PUBREC, pkt.ID))
	sub.ExpectAck(PUBREL, pkt.ID)
	for range 2 {
		sub.CloseWrite()
		sub, _ = t.Session(t.ClientID("s"))
		sub.ExpectAck(PUBREL, pkt.ID)
		sub.ExpectNothing()
	}
	sub.Send(Ack(PUBCOMP, pkt.ID))
	sub.ExpectNothing()
	sub.CloseWrite()
	sub, _ = t.Session(t.ClientID("s"))
	sub.ExpectNothing()
}

func qos2Receiver(t *T, copies int) {
	sub, pub := t.Client(), t.Client()
	sub.Subscribe(t.Topic("a"), 2)
	for i := range 2 { // the same identifier again is a new message after PUBCOMP
		m := Publish{Topic: t.Topic("a"), Payload: fmt.Sprint(i), QoS: 2, ID: 9}
		pub.Send(m.Bytes(t.Version))
		pub.ExpectAck(PUBREC, 9)
		m.Dup = true
		for range copies {
			pub.Send(m.Bytes(t.Version))
			pub.ExpectAck(PUBREC, 9)
		}
		for range 2 {
			pub.Send(Ack(PUBREL, 9))
			pub.ExpectAck(PUBCOMP, 9)
		}
		sub.Receive(t.Topic("a"), fmt.Sprint(i), 2)
		sub.ExpectNothing()
	}
}

func qos2ReceiverReconnect(t *T) {
	sub := t.Client()
	sub.Subscribe(t.Topic("a"), 2)
	pub, _ := t.Session(t.ClientID("p"))
	m := Publish{Topic: t.Topic("a"), Payload: "once", QoS: 2, ID: 9}
	pub.Send(m.Bytes(t.Version))
	pub.ExpectAck(PUBREC, 9)
	pub.CloseWrite()
	pub, _ = t.Session(t.ClientID("p"))
	m.Dup = true
	pub.Send(m.Bytes(t.Version))
	pub.ExpectAck(PUBREC, 9)
	pub.CloseWrite()
	pub, _ = t.Session(t.ClientID("p"))
	pub.Send(Ack(PUBREL, 9))
	pub.ExpectAck(PUBCOMP, 9)
	sub.Receive(t.Topic("a"), "once", 2)
	sub.ExpectNothing()
}

func resendOnReconnect(t *T) {
	pub := t.Client()
	sub, _ := t.Session(t.ClientID("s"))
	sub.Subscribe(t.Topic("a"), 2)
	var ids [3]uint16
	for i, qos := range []byte{1, 2, 2} {
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: fmt.Sprint(i), QoS: qos})
		ids[i] = sub.ExpectPublish(t.Topic("a"), fmt.Sprint(i), qos).ID
	}
	sub.Send(Ack(PUBREC, ids[2]))
	sub.ExpectAck(PUBREL, ids[2])
	sub.CloseWrite()
	sub, _ = t.Session(t.ClientID("s"))
	got := map[uint16]*Packet{}
	for range 3 {
		pkt := sub.Next()
		got[pkt.ID] = pkt
	}
	for i, want := range []byte{PUBLISH, PUBLISH, PUBREL} {
		pkt := got[ids[i]]
		if pkt == nil || pkt.Type != want || want == PUBLISH && (!pkt.Dup || pkt.Payload != fmt.Sprint(i)) {
			t.Fatalf("identifier %d: sent again as %v, want %s", ids[i], pkt, typeNames[want])
		}
	}
	sub.ExpectNothing()
}

func everySessionGets(t *T) {
	pub := t.Client()
	filters := []string{"a/b", "a/+", "#", "+/b"}
	for _, f := range filters {
		s, _ := t.Session(t.ClientID("s" + fmt.Sprint(len(f)) + fmt.Sprint(len(t.peers))))
		s.Subscribe(t.Topic(f), 1)
		if len(f)%2 == 1 {
			s.Disconnect()
		}
	}
	sessions := append([]*Peer(nil), t.peers[1:]...)
	for i := range 3 {
		pub.Publish(Publish{Topic: t.Topic("a/b"), Payload: fmt.Sprint(i), QoS: 1})
	}
	for i, f := range filters {
		s := sessions[i]
		if len(f)%2 == 1 {
			s, _ = t.Session(t.ClientID("s" + fmt.Sprint(len(f)) + fmt.Sprint(i+1)))
		}
		for i := range 3 {
			s.Receive(t.Topic("a/b"), fmt.Sprint(i), 1)
		}
		s.ExpectNothing()
	}
}

func resendOrder(t *T) {
	pub := t.Client()
	sub, _ := t.Session(t.ClientID("s"))
	sub.Subscribe(t.Topic("a"), 2)
	const n = 12
	for i := range n {
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: fmt.Sprint(i), QoS: byte(1 + i/6)})
	}
	var ids [n]uint16
	for i := range n {
		ids[i] = sub.ExpectPublish(t.Topic("a"), fmt.Sprint(i), byte(1+i/6)).ID
	}
	sub.Send(Ack(PUBACK, ids[2]), Ack(PUBACK, ids[4])) // leaves gaps
	sub.ExpectNothing()
	for range 2 {
		sub.CloseWrite()
		sub, _ = t.Session(t.ClientID("s"))
		for i := range n {
			if i != 2 && i != 4 {
				if pkt := sub.ExpectPublish(t.Topic("a"), fmt.Sprint(i), byte(1+i/6)); pkt.ID != ids[i] {
					t.Fatalf("message %d has identifier %d, first had %d", i, pkt.ID, ids[i])
				}
			}
		}
	}
}

func ackOrder(t *T, qos, ack byte) {
	p := t.Client()
	var burst []byte
	ids := []uint16{50, 3, 900, 1, 2, 65535, 4, 77, 12, 11, 10, 9}
	for i, id := range ids {
		burst = append(burst, Publish{Topic: t.Topic(fmt.Sprint(i % 3)), Payload: "x", QoS: qos, ID: id, Retain: i%4 == 0}.Bytes(t.Version)...)
	}
	p.Send(burst)
	for _, id := range ids {
		p.ExpectAck(ack, id)
	}
}

func pubrelOrder(t *T) {
	sub, pub := t.Client(), t.Client()
	sub.Subscribe(t.Topic("a"), 2)
	var ids []uint16
	for i := range 6 {
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: fmt.Sprint(i), QoS: 2})
		ids = append(ids, sub.ExpectPublish(t.Topic("a"), fmt.Sprint(i), 2).ID)
	}
	var burst []byte
	for _, id := range ids {
		burst = append(burst, Ack(PUBREC, id)...)
	}
	sub.Send(burst)
	for _, id := range ids {
		sub.ExpectAck(PUBREL, id)
	}
}

// topicOrder has several publishers send n messages of each QoS to a topic each, mixed, to a connected subscriber, and
// expects each topic's and QoS's messages in order.
func topicOrder(t *T, publishers, n int) {
	sub := t.Client()
	sub.Subscribe(t.Topic("+"), 2)
	var pubs []*Peer
	for range publishers {
		pubs = append(pubs, t.Client())
	}
	for i := range n {
		for k, pub := range pubs {
			for qos := byte(0); qos < 3; qos++ {
				m := Publish{Topic: t.Topic(fmt.Sprint(k)), Payload: fmt.Sprint(i), QoS: qos, ID: uint16(1 + 3*i + int(qos))}
				pub.Send(m.Bytes(t.Version))
				if qos == 2 {
					pub.Send(Ack(PUBREL, m.ID))
				}
			}
		}
	}
	next := map[string]int{}
	for range publishers * n * 3 {
		pkt := sub.AwaitMatch("PUBLISH", func(p *Packet) bool { return p.Type == PUBLISH })
		key := fmt.Sprintf("%s at QoS %d", pkt.Topic, pkt.QoS)
		if pkt.Payload != fmt.Sprint(next[key]) {
			t.Fatalf("%s: message %s came, want %d", key, pkt.Payload, next[key])
		}
		next[key]++
		sub.Acknowledge(pkt)
	}
}
