package conformance

import "strings"

// MQTT 5 §4.7 (topics), §4.8 (shared subscriptions), §4.9 (flow control).

// group makes n clients members of a shared subscription, each with its own session.
func group(t *T, name, filter string, qos byte, n int) []*Peer {
	var members []*Peer
	for range n {
		members = append(members, t.subscriber("$share/"+name+"/"+filter, qos))
	}
	return members
}

// held returns how many messages a client has been sent and not acknowledged since the last call; it acknowledges them.
func held(p *Peer, topic string) []*Packet {
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
	return all
}

func init() {
	v5("MQTT-4.7.0-1", "wildcards work in filters and close in topic names", func(t *T) {
		sub, pub := t.subscriber(t.Topic("+/b/#"), 0), t.Client()
		pub.Publish(Publish{Topic: t.Topic("a/b/c/d"), Payload: "x"})
		sub.ExpectPublish(t.Topic("a/b/c/d"), "x", 0)
		t.refused(badTopicCodes, variant{"+", publish5(Publish{Topic: t.Topic("+/b")})}, variant{"#", publish5(Publish{Topic: t.Topic("a/#")})})
	})
	v5("MQTT-4.7.1-1", "# not at the end, or not a level of its own, closes", func(t *T) {
		for _, f := range []string{"a/#/b", "a#", "#a", "a/b#", "##", "#/", "a/#b"} {
			t.refused(badTopicCodes, variant{f, sub5(1, Sub{t.Topic(f), 0})}, variant{"UNSUBSCRIBE " + f, unsub5(1, t.Topic(f))})
		}
		sub, pub := t.subscriber(t.Topic("a/#"), 0), t.Client()
		for _, topic := range []string{"a", "a/b", "a/b/c", "a/"} {
			pub.Publish(Publish{Topic: t.Topic(topic), Payload: topic})
			sub.ExpectPublish(t.Topic(topic), topic, 0)
		}
		pub.Publish(Publish{Topic: t.Topic("ab"), Payload: "no"})
		sub.ExpectNothing()
	})
	v5("MQTT-4.7.1-2", "+ that does not fill its level closes", func(t *T) {
		for _, f := range []string{"a+", "+a", "a/b+/c", "++", "+#"} {
			t.refused(badTopicCodes, variant{f, sub5(1, Sub{t.Topic(f), 0})})
		}
		for _, f := range []string{"+", "+/b", "a/+", "+/+"} {
			t.subscriber(t.Topic(f), 0)
		}
		sub, pub := t.subscriber(t.Topic("a/+"), 0), t.Client()
		for _, topic := range []string{"a/b", "a/"} {
			pub.Publish(Publish{Topic: t.Topic(topic), Payload: topic})
			sub.ExpectPublish(t.Topic(topic), topic, 0)
		}
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: "no"})
		pub.Publish(Publish{Topic: t.Topic("a/b/c"), Payload: "no"})
		sub.ExpectNothing()
	})
	v5("MQTT-4.7.2-1", "# and + at the front do not match topics that begin with $", func(t *T) {
		t.Restart(Options{}) // a broker of its own: its clients get everything
		own := "$" + strings.ReplaceAll(t.Prefix(), "/", "-") + "/a"
		exact := t.subscriber(own, 0)
		wild := t.Client()
		wild.Subscribe("+/a", 0|retainHandling2)
		wild.Subscribe("#", 0|retainHandling2)
		t.Client().Publish(Publish{Topic: own, Payload: "x"})
		// A server may keep such topics to itself; then the exact filter gets nothing either.
		exact.Send(Ping)
		exact.Await(PINGRESP)
		wild.Send(Ping)
		for {
			m := wild.Next()
			if m.Type == PINGRESP {
				return
			}
			if m.Type == PUBLISH && strings.HasPrefix(m.Topic, "$") {
				t.Fatalf("got %s", m)
			}
		}
	})
	v5("MQTT-4.7.3-1", "empty topics and filters close", func(t *T) {
		t.refused(append([]byte{rcAliasInvalid}, badTopicCodes...), variant{"PUBLISH", publish5(Publish{Payload: "x"})},
			variant{"SUBSCRIBE", sub5(1, Sub{"", 0})}, variant{"UNSUBSCRIBE", unsub5(1, "")})
		// One character is enough, also if it is a slash or a space.
		p := t.Client()
		for _, f := range []string{"/", " ", "a"} {
			p.Subscribe(f, 0|retainHandling2)
			p.Unsubscribe(f)
		}
	})
}

func init() {
	v5("MQTT-4.7.3-2", "U+0000 in topics and filters closes", func(t *T) {
		t.refused(badTopicCodes, variant{"PUBLISH", publish5(Publish{Topic: t.Topic("a\x00")})}, variant{"SUBSCRIBE", sub5(1, Sub{t.Topic("\x00a"), 0})},
			variant{"UNSUBSCRIBE", unsub5(1, t.Topic("a\x00b"))})
	})
	v5("MQTT-4.7.3-3", "topics and filters of 65,535 bytes are taken whole", func(t *T) {
		topic := t.Topic("")
		topic += string(make5(65535 - len(topic)))
		p := t.subscriber(topic, 1)
		other := t.subscriber(topic[:65534]+"v", 1)
		p.Publish(Publish{Topic: topic, Payload: "x", QoS: 1})
		p.Receive(topic, "x", 1)
		other.ExpectNothing()
	})
	v5("MQTT-4.7.3-4", "topics that look alike are different", func(t *T) {
		names := []string{"a/b", "A/b", "a//b", "a/b/", "/a/b", "a/ b", "a/b ", "caf\u00e9", "cafe\u0301", "%61", "a.b", "\ufffd", "\U0001f600"}
		pub := t.Client()
		subs := make([]*Peer, len(names))
		for i, n := range names {
			subs[i] = t.subscriber(t.Topic(n), 0)
		}
		for _, n := range names {
			pub.Publish(Publish{Topic: t.Topic(n), Payload: n})
		}
		for i, n := range names {
			subs[i].ExpectPublish(t.Topic(n), n, 0)
			subs[i].ExpectNothing()
		}
	})

	v5("MQTT-4.8.2-1", "a share name that is missing or empty is refused", func(t *T) {
		sharedRefused(t, "$share//"+t.Topic("a"), "$share//", "$share/")
		topic := t.Topic("a")
		m := group(t, "g", topic, 1, 1)[0]
		t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 1})
		m.Receive(topic, "x", 1)
	})
	v5("MQTT-4.8.2-2", "a share name with wildcards, or without a filter after it, is refused", func(t *T) {
		sharedRefused(t, "$share/g+/"+t.Topic("a"), "$share/g#/"+t.Topic("a"), "$share/+/"+t.Topic("a"), "$share/#/"+t.Topic("a"), "$share/g/", "$share/g")
	})
	v5("MQTT-4.8.2-3", "a shared message comes with the QoS granted to its receiver", func(t *T) {
		topic := t.Topic("a")
		pub := t.Client()
		for q := range byte(3) {
			m := group(t, "g"+itoa(int(q)), topic, q, 1)[0]
			pub.Publish(Publish{Topic: topic, Payload: "x", QoS: 2})
			m.Receive(topic, "x", q)
			m.Disconnect()
		}
	})
	v5("MQTT-4.8.2-4", "a QoS 2 delivery begun with a member is finished with it when it is back", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		a, _ := t.resume(id, 600)
		a.Subscribe("$share/g/"+topic, 2)
		pub := t.Client()
		pub.Publish(Publish{Topic: topic, Payload: "x", QoS: 2})
		first := a.ExpectPublish(topic, "x", 2)
		b := group(t, "g", topic, 2, 1)[0]
		a.CloseWrite()
		b.ExpectNothing()
		a, _ = t.resume(id, 600)
		if m := a.Receive(topic, "x", 2); m.ID != first.ID {
			t.Fatalf("sent again as %s, first as %s", m, first)
		}
		b.ExpectNothing()
	})
}

func init() {
	v5("MQTT-4.8.2-5", "a QoS 2 delivery begun with a member whose session ends goes to nobody else", func(t *T) {
		topic := t.Topic("a")
		a := t.clientWith()
		a.Subscribe("$share/g/"+topic, 2)
		t.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 2})
		a.ExpectPublish(topic, "x", 2)
		b := group(t, "g", topic, 2, 1)[0]
		a.CloseWrite()
		b.ExpectNothing()
	})
	v5("MQTT-4.8.2-6", "a message that a member refuses goes to nobody else", func(t *T) {
		topic := t.Topic("a")
		a := group(t, "g", topic, 2, 1)[0]
		pub := t.Client()
		pub.Publish(Publish{Topic: topic, Payload: "x", QoS: 1})
		pub.Publish(Publish{Topic: topic, Payload: "y", QoS: 2})
		b := group(t, "g", topic, 2, 1)[0]
		a.Send(AckReason(PUBACK, a.ExpectPublish(topic, "x", 1).ID, rcUnspecified))
		a.Send(AckReason(PUBREC, a.ExpectPublish(topic, "y", 2).ID, rcUnspecified))
		a.ExpectNothing()
		b.ExpectNothing()
		a.CloseWrite()
		b.ExpectNothing()
	})

	v5("MQTT-4.9.0-1", "a Receive Maximum of 1 lets one message through, on every connection anew", func(t *T) {
		topic, id := t.Topic("a"), t.ClientID("s")
		p, _ := t.resume(id, 600, num(PropReceiveMaximum, 1))
		p.Subscribe(topic, 1)
		pub := t.Client()
		pub.Publish(Publish{Topic: topic, Payload: "0", QoS: 1})
		pub.Publish(Publish{Topic: topic, Payload: "1", QoS: 1})
		p.ExpectPublish(topic, "0", 1)
		p.ExpectNothing()
		p.CloseWrite()
		p, _ = t.resume(id, 600, num(PropReceiveMaximum, 1))
		p.Receive(topic, "0", 1)
		p.Receive(topic, "1", 1)
	})
	v5("MQTT-4.9.0-2", "with QoS 2 a place is free only after PUBCOMP", func(t *T) { window(t, 2, 2) })
	v5part("MQTT-4.9.0-2", "one", "with a Receive Maximum of 1, QoS 1", func(t *T) { window(t, 1, 1) })
	v5("MQTT-4.9.0-3", "with the window full of QoS 2 all other packets are served", func(t *T) { servedWithFullWindow(t, 2) })
}

// sharedRefused expects each filter to be refused, by closing or by a SUBACK of 0x80 or more.
func sharedRefused(t *T, filters ...string) {
	var vs []variant
	for _, f := range filters {
		vs = append(vs, variant{f, sub5(1, Sub{f, 1})})
	}
	t.each(vs, func(v variant) {
		p := t.Client()
		p.Send(v.raw)
		m := p.Next()
		if m.Type == SUBACK && len(m.Codes) == 1 && m.Codes[0] >= 0x80 {
			return
		}
		if m.Type != DISCONNECT {
			t.Fatalf("not refused: %s", m)
		}
		t.wantCode(m, badTopicCodes...)
		p.ExpectClosed()
	})
}
