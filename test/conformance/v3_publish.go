package conformance

import "fmt"

// Section 3.3: PUBLISH, its flags, and retained messages.

func init() {
	register(
		Case{ID: "MQTT-3.3.1-1", Version: V311, Title: "a delivery that is repeated has DUP 1", Run: repeatedHasDup},
		Case{ID: "MQTT-3.3.1-2", Version: V311, Title: "QoS 0 with DUP 1 closes", Run: func(t *T) {
			t.eachCloses(packetCase{"QoS 0 with DUP", Publish{Topic: t.Topic("a"), Dup: true}.Bytes(t.Version)})
		}},
		Case{ID: "MQTT-3.3.1-3", Version: V311, Title: "DUP of the publisher is not passed on", Run: dupNotPassedOn},
		Case{ID: "MQTT-3.3.1-4", Version: V311, Title: "QoS 3 closes", Run: func(t *T) {
			t.eachCloses(packetCase{"QoS 3", Publish{Topic: t.Topic("a"), QoS: 3, ID: 1}.Bytes(t.Version)},
				packetCase{"QoS 3, DUP, RETAIN", Publish{Topic: t.Topic("a"), QoS: 3, ID: 1, Dup: true, Retain: true}.Bytes(t.Version)})
		}},
		Case{ID: "MQTT-3.3.1-5", Version: V311, Title: "a retained message is kept with its QoS", Run: retainedKeepsQoS},
		Case{ID: "MQTT-3.3.1-6", Version: V311, Title: "a new subscription gets the last retained message of each topic", Run: retainedLast},
		Case{ID: "MQTT-3.3.1-7", Version: V311, Title: "retained QoS 0 replaces an earlier one", Run: retainedQoS0Replaces},
		Case{ID: "MQTT-3.3.1-8", Version: V311, Title: "RETAIN 1 for a new subscription", Run: retainFlagNew},
		Case{ID: "MQTT-3.3.1-9", Version: V311, Title: "RETAIN 0 for an established subscription", Run: retainFlagLive},
		Case{ID: "MQTT-3.3.1-10", Version: V311, Title: "an empty retained payload is delivered and removes", Run: emptyRetainedRemoves},
		Case{ID: "MQTT-3.3.1-11", Version: V311, Title: "an empty retained message is not stored", Run: emptyRetainedNotStored},
		Case{ID: "MQTT-3.3.1-12", Version: V311, Title: "RETAIN 0 leaves the retained message alone", Run: notRetainedLeavesAlone},
		Case{ID: "MQTT-3.3.2-2", Version: V311, Title: "wildcards in a topic name close", Run: wildcardsInName},
		Case{ID: "MQTT-3.3.2-3", Version: V311, Title: "deliveries have the topic name published", Run: deliveredTopic},
		Case{ID: "MQTT-3.3.4-1", Version: V311, Title: "PUBLISH is answered by nothing, PUBACK, PUBREC", Run: publishAnswers},
		Case{ID: "MQTT-3.3.5-1", Version: V311, Title: "overlapping subscriptions: the highest QoS", Run: overlapHighestQoS},
		Case{ID: "MQTT-3.3.5-2", Version: V311, Part: "sys", Title: "nobody may publish to $SYS: acknowledged or closed, never delivered",
			Run: func(t *T) { refusedPublish(t, "$SYS/conformance/"+t.ClientID("")) }},
		Case{ID: "MQTT-3.3.5-2", Version: V311, Part: "acl", Title: "a PUBLISH without the right: acknowledged or closed, never delivered",
			Options: Options{ACL: "topic readwrite nj/#\ntopic read forbidden/#\n"}, Run: func(t *T) { refusedPublish(t, "forbidden/a") }},
	)
}

func repeatedHasDup(t *T) {
	pub := t.Client()
	sub, _ := t.Session(t.ClientID("s"))
	sub.Subscribe(t.Topic("a"), 2)
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "1", QoS: 1})
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "2", QoS: 2})
	one, two := sub.ExpectPublish(t.Topic("a"), "1", 1), sub.ExpectPublish(t.Topic("a"), "2", 2)
	if one.Dup || two.Dup {
		t.Fatalf("DUP 1 on first delivery")
	}
	sub.CloseWrite()
	sub, _ = t.Session(t.ClientID("s"))
	if !sub.Receive(t.Topic("a"), "1", 1).Dup || !sub.Receive(t.Topic("a"), "2", 2).Dup {
		t.Fatalf("DUP 0 on a repeated delivery")
	}
}

func dupNotPassedOn(t *T) {
	sub, pub := t.Client(), t.Client()
	sub.Subscribe(t.Topic("a"), 2)
	for qos := byte(1); qos < 3; qos++ {
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: "x", QoS: qos, Dup: true})
		if sub.Receive(t.Topic("a"), "x", qos).Dup {
			t.Fatalf("DUP 1 on a first delivery, as the publisher's was")
		}
	}
}

func retainedKeepsQoS(t *T) {
	pub := t.Client()
	for qos := byte(0); qos < 3; qos++ {
		pub.Publish(Publish{Topic: t.Topic(fmt.Sprint(qos)), Payload: "x", QoS: qos, Retain: true})
	}
	for max := byte(0); max < 3; max++ {
		sub := t.Client()
		for qos := byte(0); qos < 3; qos++ {
			sub.Subscribe(t.Topic(fmt.Sprint(qos)), max)
			sub.Receive(t.Topic(fmt.Sprint(qos)), "x", min(qos, max))
		}
	}
}

func retainedLast(t *T) {
	pub, sub := t.Client(), t.Client()
	for i := range 3 {
		for _, name := range []string{"a", "b", "b/c"} {
			pub.Publish(Publish{Topic: t.Topic(name), Payload: name + fmt.Sprint(i), QoS: 1, Retain: true})
		}
	}
	sub.Subscribe(t.Topic("#"), 1)
	got := map[string]string{}
	for range 3 {
		pkt := sub.Expect(PUBLISH)
		sub.Acknowledge(pkt)
		got[pkt.Topic] = pkt.Payload
	}
	sub.ExpectNothing()
	for _, name := range []string{"a", "b", "b/c"} {
		if got[t.Topic(name)] != name+"2" {
			t.Fatalf("retained messages received: %v, want the last of a, b and b/c", got)
		}
	}
}

func retainedQoS0Replaces(t *T) {
	pub, sub := t.Client(), t.Client()
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "old", QoS: 2, Retain: true})
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "new", Retain: true})
	sub.Subscribe(t.Topic("a"), 2)
	sub.Receive(t.Topic("a"), "new", 0)
	sub.ExpectNothing()
}

func retainFlagNew(t *T) {
	pub, sub := t.Client(), t.Client()
	for qos := byte(0); qos < 3; qos++ {
		topic := t.Topic(fmt.Sprint(qos))
		pub.Publish(Publish{Topic: topic, Payload: "x", QoS: qos, Retain: true})
		for range 2 { // the same filter again sends again, as "new" as the first
			sub.Subscribe(topic, 2)
			if !sub.Receive(topic, "x", qos).Retain {
				t.Fatalf("RETAIN 0 for a new subscription at QoS %d", qos)
			}
		}
	}
}

func retainFlagLive(t *T) {
	pub, sub := t.Client(), t.Client()
	sub.Subscribe(t.Topic("a"), 2)
	for qos := byte(0); qos < 3; qos++ {
		for _, retain := range []bool{true, false} {
			pub.Publish(Publish{Topic: t.Topic("a"), Payload: "x", QoS: qos, Retain: retain})
			if sub.Receive(t.Topic("a"), "x", qos).Retain {
				t.Fatalf("RETAIN 1 for an established subscription at QoS %d", qos)
			}
		}
	}
}

func emptyRetainedRemoves(t *T) {
	pub, live, late := t.Client(), t.Client(), t.Client()
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "x", QoS: 1, Retain: true})
	live.Subscribe(t.Topic("a"), 1)
	live.Receive(t.Topic("a"), "x", 1)
	pub.Publish(Publish{Topic: t.Topic("a"), QoS: 1, Retain: true})
	if live.Receive(t.Topic("a"), "", 1).Retain {
		t.Fatalf("the empty message came with RETAIN 1")
	}
	late.Subscribe(t.Topic("a"), 1)
	late.ExpectNothing()
}

func emptyRetainedNotStored(t *T) {
	pub, sub := t.Client(), t.Client()
	for qos := byte(0); qos < 3; qos++ {
		pub.Publish(Publish{Topic: t.Topic("never"), QoS: qos, Retain: true})
	}
	sub.Subscribe(t.Topic("#"), 1)
	sub.ExpectNothing()
}

func notRetainedLeavesAlone(t *T) {
	pub, sub := t.Client(), t.Client()
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "kept", QoS: 1, Retain: true})
	for qos := byte(0); qos < 3; qos++ {
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: "passing", QoS: qos})
		pub.Publish(Publish{Topic: t.Topic("a"), QoS: qos})
		pub.Publish(Publish{Topic: t.Topic("b"), Payload: "passing", QoS: qos})
	}
	sub.Subscribe(t.Topic("#"), 1)
	sub.Receive(t.Topic("a"), "kept", 1)
	sub.ExpectNothing()
}

func wildcardsInName(t *T) {
	var cases []packetCase
	for _, name := range []string{"#", "+", "a/#", "a/+/b", "+/a", "a#", "a+b"} {
		for qos := byte(0); qos < 3; qos++ {
			cases = append(cases, packetCase{fmt.Sprintf("%q QoS %d", name, qos),
				Publish{Topic: t.Topic(name), QoS: qos, ID: 1}.Bytes(t.Version)})
		}
	}
	t.eachCloses(cases...)
}

func deliveredTopic(t *T) {
	pub := t.Client()
	topic := t.Topic("sport/tennis/player1")
	for _, filter := range []string{topic, t.Topic("#"), t.Topic("sport/+/player1"), t.Topic("+/+/+"), t.Topic("sport/tennis/player1/#")} {
		sub := t.Client()
		sub.Subscribe(filter, 0)
		pub.Publish(Publish{Topic: topic, Payload: filter, QoS: 1})
		sub.Receive(topic, filter, 0)
	}
}

func publishAnswers(t *T) {
	p := t.Client()
	p.Send(Publish{Topic: t.Topic("a")}.Bytes(t.Version))
	p.ExpectNothing()
	p.Send(Publish{Topic: t.Topic("a"), QoS: 1, ID: 7}.Bytes(t.Version))
	p.ExpectAck(PUBACK, 7)
	p.Send(Publish{Topic: t.Topic("a"), QoS: 2, ID: 8}.Bytes(t.Version))
	p.ExpectAck(PUBREC, 8)
	p.ExpectNothing()
}

func overlapHighestQoS(t *T) {
	pub := t.Client()
	for i, filters := range [][3]string{{"a/b", "a/+", "a/#"}, {"a/#", "a/b", "a/+"}, {"a/+", "a/#", "a/b"}} {
		sub := t.Client()
		for qos, f := range filters {
			sub.Subscribe(t.Topic(f), byte(qos))
		}
		payload := fmt.Sprint(i)
		pub.Publish(Publish{Topic: t.Topic("a/b"), Payload: payload, QoS: 2})
		// The standard lets a server send a copy for each of the others too.
		best := byte(0)
		for copies := 0; ; copies++ {
			sub.Send(Ping)
			pkt := sub.Next()
			if pkt.Type == PINGRESP {
				if copies == 0 {
					t.Fatalf("nothing was delivered")
				}
				break
			}
			if pkt.Type != PUBLISH || pkt.Payload != payload || copies > 2 {
				t.Fatalf("unexpected %s after %d copies", pkt, copies)
			}
			best = max(best, pkt.QoS)
			sub.Await(PINGRESP)
			sub.Acknowledge(pkt)
		}
		if best != 2 {
			t.Fatalf("delivered with QoS %d at best, a subscription has QoS 2", best)
		}
	}
}

// refusedPublish publishes to a topic that no client may publish to.
func refusedPublish(t *T, topic string) {
	sub := t.Client()
	sub.Subscribe(topic, 2)
	for qos := byte(0); qos < 3; qos++ {
		p := t.Client()
		p.Send(Publish{Topic: topic, Payload: "x", QoS: qos, ID: 1, Retain: true}.Bytes(t.Version))
		p.Send(Ping)
		if _, closed := p.nextOrClosed(); closed || qos == 0 {
			continue
		}
		if qos == 2 {
			p.Send(Ack(PUBREL, 1))
			p.Await(PUBCOMP)
		}
	}
	sub.ExpectNothing()
	late := t.Client()
	late.Subscribe(topic, 2)
	late.ExpectNothing()
}
