package conformance

// What a server may leave out: QoS 1 and 2, retained messages, topic aliases (MQTT 5 §3.2.2.3), and the Response
// Information that it may give.

func init() {
	for _, most := range []byte{0, 1} {
		o, part := Options{MaxQoS: ptr(most)}, "max"+itoa(int(most))
		v5with(o, "MQTT-3.2.2-9", part, "Maximum QoS "+itoa(int(most))+" is announced", func(t *T) {
			_, ack := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true})
			t.wantProp(ack, num(PropMaximumQoS, uint32(most)))
		})
		v5with(o, "MQTT-3.2.2-10", part, "SUBSCRIBE for any QoS is taken, and delivery keeps to what the server has", func(t *T) { subscribeAbove(t, most) })
		v5with(o, "MQTT-3.2.2-11", part, "a PUBLISH above Maximum QoS gets DISCONNECT 0x9B and goes to nobody", func(t *T) { publishAbove(t, most) })
		v5with(o, "MQTT-3.2.2-12", part, "a will above Maximum QoS is refused with 0x9B, one at it is taken", func(t *T) { willAbove(t, most) })
		register(Case{ID: "MQTT-3.8.4-6", Version: V311, Part: part, Options: o,
			Title: "a server of lower QoS grants less than asked, and delivers by that", Run: func(t *T) { subscribeAbove(t, most) }})
	}
	v5with(Options{RefuseRetain: true}, "MQTT-3.2.2-14", "", "RETAIN 1 where Retain Available is 0 gets DISCONNECT 0x9A, at every QoS, and goes to nobody", func(t *T) {
		_, ack := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true})
		t.wantProp(ack, num(PropRetainAvailable, 0))
		topic := t.Topic("a")
		sub := t.subscriber(topic, 2)
		for qos := byte(0); qos < 3; qos++ {
			p := t.Client()
			p.Send(publish5(Publish{Topic: topic, Payload: "x", QoS: qos, ID: 1, Retain: true}))
			p.ExpectDisconnect(rcRetainUnsupported)
		}
		sub.ExpectNothing()
		t.subscriber(topic, 2).ExpectNothing()
	})
	v5with(Options{NoTopicAlias: true}, "MQTT-3.2.2-18", "", "no Topic Alias Maximum, or 0, is announced, and any alias closes", func(t *T) {
		_, ack := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true})
		if most, ok := ack.Prop(PropTopicAliasMaximum); ok && most.Int != 0 {
			t.Fatalf("Topic Alias Maximum %d", most.Int)
		}
		t.refused([]byte{rcAliasInvalid, rcProtocolError}, variant{"1", publish5(Publish{Topic: t.Topic("a"), Props: props5(num(PropTopicAlias, 1))})})
	})
	v5with(Options{ResponseInformation: "replies/here"}, "MQTT-3.1.2-28", "set", "Response Information goes to those who ask for it, and to nobody else", func(t *T) {
		for _, c := range []struct {
			props []Prop
			want  bool
		}{{nil, false}, {props5(num(PropRequestResponseInfo, 0)), false}, {props5(num(PropRequestResponseInfo, 1)), true}} {
			_, ack := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true, Props: c.props})
			if c.want {
				t.wantProp(ack, text(PropResponseInfo, "replies/here"))
				continue
			}
			t.wantNoProp(ack, PropResponseInfo)
		}
	})
}

// subscribeAbove subscribes with each QoS; what comes is at most what the server has.
func subscribeAbove(t *T, most byte) {
	pub := t.Client()
	for asked := byte(0); asked < 3; asked++ {
		topic := t.Topic(itoa(int(asked)))
		p := t.Client()
		id := p.ID()
		p.Send(Subscribe(t.Version, id, nil, Sub{topic, asked}))
		granted := min(asked, most)
		if ack := p.ExpectAck(SUBACK, id); len(ack.Codes) != 1 || ack.Codes[0] != granted {
			t.Fatalf("QoS %d answered by codes % x, want %d", asked, ack.Codes, granted)
		}
		pub.Publish(Publish{Topic: topic, Payload: "x", QoS: most})
		p.Receive(topic, "x", min(granted, most))
		p.ExpectNothing()
	}
}

func publishAbove(t *T, most byte) {
	topic := t.Topic("a")
	sub := t.Client()
	sub.Send(sub5(9, Sub{topic, 2}))
	sub.ExpectAck(SUBACK, 9)
	for qos := most + 1; qos < 3; qos++ {
		p := t.Client()
		p.Send(publish5(Publish{Topic: topic, Payload: "x", QoS: qos, ID: 1}))
		p.ExpectDisconnect(rcQoSUnsupported)
	}
	sub.ExpectNothing()
}

func willAbove(t *T, most byte) {
	for qos := byte(0); qos < 3; qos++ {
		w := Will{Topic: t.Topic("w"), Payload: "w", QoS: qos}
		if qos <= most {
			t.withWill(w).Disconnect()
			continue
		}
		t.connackRefused([]byte{rcQoSUnsupported}, variant{itoa(int(qos)), connect5(Connect{ClientID: t.ClientID("x"), Clean: true, Will: &w})})
	}
}
