package conformance

import (
	"bytes"
	"fmt"
)

// Sections 3.8 to 3.11: SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.

func init() {
	register(
		Case{ID: "MQTT-3.8.3-2", Version: V311, Title: "wildcard filters are granted, or refused with 0x80", Run: wildcardGranted},
		Case{ID: "MQTT-3.8.3-3", Version: V311, Title: "SUBSCRIBE without a filter closes", Run: func(t *T) {
			t.eachCloses(packetCase{"no filter", Subscribe(t.Version, 1, nil)},
				packetCase{"filter without QoS", Raw(0x82, Cat(U16(1), Str(nil, t.Topic("a")))...)},
				packetCase{"filter cut short", Raw(0x82, Cat(U16(1), []byte{0, 9, 'a', 0})...)},
				packetCase{"no packet identifier", Raw(0x82)}, packetCase{"half a packet identifier", Raw(0x82, 1)})
		}},
		Case{ID: "MQTT-3.8.3-4", Version: V311, Title: "reserved bits in the requested QoS, or QoS 3, close", Run: badRequestedQoS},
		Case{ID: "MQTT-3.8.4-1", Version: V311, Title: "SUBSCRIBE is answered by SUBACK", Run: func(t *T) {
			p := t.Client()
			for range 3 {
				p.Subscribe(t.Topic("a"), 0)
			}
			p.ExpectNothing()
		}},
		Case{ID: "MQTT-3.8.4-2", Version: V311, Title: "SUBACK has the identifier of its SUBSCRIBE", Run: func(t *T) {
			p := t.Client()
			p.Send(Subscribe(t.Version, 513, nil, Sub{t.Topic("a"), 0}), Subscribe(t.Version, 2, nil, Sub{t.Topic("b"), 0}))
			p.ExpectAck(SUBACK, 513)
			p.ExpectAck(SUBACK, 2)
		}},
		Case{ID: "MQTT-3.8.4-3", Version: V311, Title: "the same filter replaces: one copy, new QoS, retained again", Run: sameFilterReplaces},
		Case{ID: "MQTT-3.8.4-3", Version: V311, Part: "flow", Title: "re-subscribing does not interrupt the flow", Run: resubscribeKeepsFlow},
		Case{ID: "MQTT-3.8.4-4", Version: V311, Title: "several filters count as several SUBSCRIBEs", Run: severalFilters},
		Case{ID: "MQTT-3.8.4-5", Version: V311, Title: "one code per filter", Run: codePerFilter},
		Case{ID: "MQTT-3.8.4-6", Version: V311, Title: "deliveries have the lower of both QoS", Run: lowerQoS},
		Case{ID: "MQTT-3.9.3-1", Version: V311, Title: "codes stand in the order of the filters", Run: codeOrder},
		Case{ID: "MQTT-3.9.3-2", Version: V311, Title: "codes are 0, 1, 2 or 0x80", Run: codeValues},
		Case{ID: "MQTT-3.10.3-2", Version: V311, Title: "UNSUBSCRIBE without a filter closes", Run: func(t *T) {
			t.eachCloses(packetCase{"no filter", Unsubscribe(t.Version, 1, nil)}, packetCase{"no packet identifier", Raw(0xa2)},
				packetCase{"filter cut short", Raw(0xa2, Cat(U16(1), []byte{0, 9, 'a'})...)})
		}},
		Case{ID: "MQTT-3.10.4-1", Version: V311, Title: "only the equal filter is deleted", Run: unsubscribeExact},
		Case{ID: "MQTT-3.10.4-2", Version: V311, Title: "nothing is delivered after UNSUBACK", Run: unsubscribeStops},
		Case{ID: "MQTT-3.10.4-3", Version: V311, Title: "deliveries that have begun are completed", Run: unsubscribeCompletes},
		Case{ID: "MQTT-3.10.4-4", Version: V311, Title: "UNSUBACK has the identifier", Run: func(t *T) {
			p := t.Client()
			p.Subscribe(t.Topic("a"), 0)
			p.Send(Unsubscribe(t.Version, 0xabcd, nil, t.Topic("a")))
			if pkt := p.ExpectAck(UNSUBACK, 0xabcd); len(pkt.Body) != 2 {
				t.Fatalf("UNSUBACK has a body of %d bytes, want 2", len(pkt.Body))
			}
		}},
		Case{ID: "MQTT-3.10.4-5", Version: V311, Title: "UNSUBACK comes also when nothing was subscribed", Run: func(t *T) {
			p := t.Client()
			p.Unsubscribe(t.Topic("never"))
			p.ExpectNothing()
		}},
		Case{ID: "MQTT-3.10.4-6", Version: V311, Title: "several filters, one UNSUBACK", Run: unsubscribeSeveral},
	)
}

func wildcardGranted(t *T) {
	p := t.Client()
	filters := []Sub{{t.Topic("#"), 0}, {t.Topic("+"), 0}, {t.Topic("+/a/#"), 0}}
	p.Send(Subscribe(t.Version, 1, nil, filters...))
	for i, c := range p.ExpectAck(SUBACK, 1).Codes {
		if c != 0 && c != 0x80 {
			t.Fatalf("code 0x%02x for %q", c, filters[i].Filter)
		}
	}
}

func badRequestedQoS(t *T) {
	var cases []packetCase
	for _, options := range []byte{3, 4, 8, 0x10, 0x20, 0x40, 0x80, 0x81, 0xff} {
		cases = append(cases, packetCase{fmt.Sprintf("0x%02x", options), Subscribe(t.Version, 1, nil, Sub{t.Topic("a"), options})},
			packetCase{fmt.Sprintf("0x%02x in the second place", options),
				Subscribe(t.Version, 1, nil, Sub{t.Topic("a"), 1}, Sub{t.Topic("b"), options})})
	}
	t.eachCloses(cases...)
}

func sameFilterReplaces(t *T) {
	pub, sub := t.Client(), t.Client()
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "kept", QoS: 2, Retain: true})
	for _, qos := range []byte{0, 2, 1} {
		sub.Subscribe(t.Topic("a"), qos)
		sub.Receive(t.Topic("a"), "kept", qos)
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: "live", QoS: 2})
		sub.Receive(t.Topic("a"), "live", qos)
	}
	sub.ExpectNothing()
	sub.Unsubscribe(t.Topic("a")) // one subscription, so once is enough
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "live", QoS: 1})
	sub.ExpectNothing()
}

// resubscribeKeepsFlow publishes while the subscriber subscribes again and again: every message arrives exactly once.
func resubscribeKeepsFlow(t *T) {
	pub, sub := t.Client(), t.Client()
	topic := t.Topic("a")
	sub.Subscribe(topic, 1)
	const n = 40
	for i := range n {
		pub.Send(Publish{Topic: topic, Payload: fmt.Sprint(i), QoS: 1, ID: uint16(i + 1)}.Bytes(t.Version))
		if i%4 == 0 {
			sub.Subscribe(topic, 1)
		}
	}
	for i := range n {
		sub.Receive(topic, fmt.Sprint(i), 1)
	}
	sub.ExpectNothing()
}

func severalFilters(t *T) {
	pub, sub := t.Client(), t.Client()
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "kept", QoS: 2, Retain: true})
	sub.Send(Subscribe(t.Version, 1, nil, Sub{t.Topic("a"), 0}, Sub{t.Topic("b"), 1}, Sub{t.Topic("c"), 2}, Sub{t.Topic("a"), 1}))
	ack := sub.Await(SUBACK)
	if !bytes.Equal(ack.Codes, []byte{0, 1, 2, 1}) {
		t.Fatalf("codes % x, want 00 01 02 01", ack.Codes)
	}
	// The filter that stands twice was subscribed twice, so the retained message comes twice; the last QoS holds.
	sub.Receive(t.Topic("a"), "kept", 0)
	sub.Receive(t.Topic("a"), "kept", 1)
	for _, c := range []struct {
		name string
		qos  byte
	}{{"a", 1}, {"b", 1}, {"c", 2}} {
		pub.Publish(Publish{Topic: t.Topic(c.name), Payload: "live", QoS: 2})
		sub.Receive(t.Topic(c.name), "live", c.qos)
	}
	sub.ExpectNothing()
}

func codePerFilter(t *T) {
	p := t.Client()
	for n := 1; n <= 200; n += 66 {
		subs := make([]Sub, n)
		for i := range subs {
			subs[i] = Sub{t.Topic(fmt.Sprintf("f%d", i)), byte(i % 3)}
		}
		p.Send(Subscribe(t.Version, uint16(n), nil, subs...))
		ack := p.ExpectAck(SUBACK, uint16(n))
		if len(ack.Codes) != n {
			t.Fatalf("%d codes for %d filters", len(ack.Codes), n)
		}
		for i, c := range ack.Codes {
			if c != byte(i%3) && c != 0x80 {
				t.Fatalf("code 0x%02x for requested QoS %d", c, i%3)
			}
		}
	}
}

func lowerQoS(t *T) {
	pub := t.Client()
	for granted := byte(0); granted < 3; granted++ {
		sub := t.Client()
		sub.Subscribe(t.Topic("a"), granted)
		for published := byte(0); published < 3; published++ {
			pub.Publish(Publish{Topic: t.Topic("a"), Payload: "x", QoS: published})
			sub.Receive(t.Topic("a"), "x", min(granted, published))
		}
		sub.ExpectNothing()
	}
}

func codeOrder(t *T) {
	p := t.Client()
	for _, order := range [][]byte{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
		id := p.ID()
		p.Send(Subscribe(t.Version, id, nil, Sub{t.Topic("a"), order[0]}, Sub{t.Topic("b"), order[1]}, Sub{t.Topic("c"), order[2]}))
		if ack := p.ExpectAck(SUBACK, id); !bytes.Equal(ack.Codes, order) {
			t.Fatalf("codes % x for requested % x", ack.Codes, order)
		}
	}
}

func codeValues(t *T) {
	p := t.Client()
	for i, f := range []string{t.Topic("a"), t.Topic("#"), "$SYS/#", "/" + t.Topic("a")} {
		id := uint16(i + 1)
		p.Send(Subscribe(t.Version, id, nil, Sub{f, byte(i % 3)}))
		ack := p.AwaitMatch("SUBACK", func(q *Packet) bool { return q.Type == SUBACK && q.ID == id })
		if len(ack.Codes) != 1 || ack.Codes[0] > 2 && ack.Codes[0] != 0x80 {
			t.Fatalf("codes % x for %q", ack.Codes, f)
		}
	}
}

func unsubscribeExact(t *T) {
	pub, sub := t.Client(), t.Client()
	sub.Subscribe(t.Topic("a/b"), 0)
	sub.Subscribe(t.Topic("c/+"), 0)
	for _, other := range []string{"a/+", "a/#", "#", "A/b", "a/b/", "/a/b", "c/d", "c/#", "+/+"} {
		sub.Unsubscribe(t.Topic(other))
	}
	pub.Publish(Publish{Topic: t.Topic("a/b"), Payload: "1", QoS: 1})
	pub.Publish(Publish{Topic: t.Topic("c/d"), Payload: "2", QoS: 1})
	sub.Receive(t.Topic("a/b"), "1", 0)
	sub.Receive(t.Topic("c/d"), "2", 0)
	sub.Unsubscribe(t.Topic("c/+"))
	pub.Publish(Publish{Topic: t.Topic("c/d"), Payload: "3", QoS: 1})
	pub.Publish(Publish{Topic: t.Topic("a/b"), Payload: "4", QoS: 1})
	sub.Receive(t.Topic("a/b"), "4", 0)
	sub.ExpectNothing()
}

func unsubscribeStops(t *T) {
	pub, sub := t.Client(), t.Client()
	for qos := byte(0); qos < 3; qos++ {
		sub.Subscribe(t.Topic("a"), qos)
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: "before", QoS: qos})
		sub.Receive(t.Topic("a"), "before", qos)
		sub.Unsubscribe(t.Topic("a"))
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: "after", QoS: qos})
		sub.ExpectNothing()
	}
}

func unsubscribeCompletes(t *T) {
	pub := t.Client()
	sub, _ := t.Session(t.ClientID("s"))
	sub.Subscribe(t.Topic("a"), 2)
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "1", QoS: 1})
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "2", QoS: 2})
	sub.ExpectPublish(t.Topic("a"), "1", 1)
	two := sub.ExpectPublish(t.Topic("a"), "2", 2)
	sub.Unsubscribe(t.Topic("a"))
	sub.Send(Ack(PUBREC, two.ID))
	sub.ExpectAck(PUBREL, two.ID)
	sub.CloseWrite()
	// Both were begun, so both are carried on after a reconnect.
	sub, _ = t.Session(t.ClientID("s"))
	sub.Receive(t.Topic("a"), "1", 1)
	sub.ExpectAck(PUBREL, two.ID)
	sub.Send(Ack(PUBCOMP, two.ID))
	sub.ExpectNothing()
}

func unsubscribeSeveral(t *T) {
	pub, sub := t.Client(), t.Client()
	for _, name := range []string{"a", "b", "c"} {
		sub.Subscribe(t.Topic(name), 0)
	}
	sub.Send(Unsubscribe(t.Version, 9, nil, t.Topic("a"), t.Topic("never"), t.Topic("c"), t.Topic("a")))
	sub.ExpectAck(UNSUBACK, 9)
	for _, name := range []string{"a", "b", "c"} {
		pub.Publish(Publish{Topic: t.Topic(name), Payload: "x", QoS: 1})
	}
	sub.Receive(t.Topic("b"), "x", 0)
	sub.ExpectNothing()
}
