package conformance

// MQTT 5 chapters 1.5 and 2: strings, integers, the fixed header, packet identifiers.

var badUTF8 = []variant{
	{"a lone byte FF", []byte("\xff")},
	{"an over-long form C0 AF", []byte("\xc0\xaf")},
	{"the surrogate ED A0 80", []byte("\xed\xa0\x80")},
	{"the surrogate ED BF BF", []byte("\xed\xbf\xbf")},
	{"a code point above U+10FFFF", []byte("\xf4\x90\x80\x80")},
	{"a character cut short", []byte("\xe2\x82")},
	{"a lone continuation byte", []byte("\x80")},
}

// inString makes a variant of each bad string by a packet that holds it.
func inString(bad []variant, packet func(s string) []byte) []variant {
	var vs []variant
	for _, b := range bad {
		vs = append(vs, variant{b.what, packet(string(b.raw))})
	}
	return vs
}

func init() {
	v5part("MQTT-1.5.4-1", "topic", "ill-formed UTF-8 in a topic name closes", func(t *T) {
		t.refused(badTopicCodes, inString(badUTF8, func(s string) []byte {
			return publish5(Publish{Topic: t.Topic("a" + s), Payload: "x"})
		})...)
	})
	v5part("MQTT-1.5.4-1", "property", "ill-formed UTF-8 in a Content Type closes", func(t *T) {
		t.refused(badPacketCodes, inString(badUTF8, func(s string) []byte {
			return publish5(Publish{Topic: t.Topic("a"), Props: props5(text(PropContentType, s))})
		})...)
	})
	v5("MQTT-1.5.4-2", "U+0000 in a topic name, a filter or a property closes", func(t *T) {
		t.refused(badTopicCodes,
			variant{"topic name", publish5(Publish{Topic: t.Topic("a\x00b")})},
			variant{"filter", sub5(1, Sub{t.Topic("a\x00b"), 0})},
			variant{"content type", publish5(Publish{Topic: t.Topic("a"), Props: props5(text(PropContentType, "a\x00b"))})},
			variant{"filter of UNSUBSCRIBE", unsub5(1, t.Topic("a\x00b"))},
		)
	})
	v5("MQTT-1.5.4-3", "U+FEFF stays where it stands in a topic and a property", func(t *T) {
		topic := t.Topic("\ufeffa\ufeffb\ufeff")
		sub := t.subscriber(topic, 0)
		plain := t.subscriber(t.Topic("ab"), 0)
		t.Client().Publish(Publish{Topic: topic, Payload: "x", Props: props5(text(PropContentType, "\ufefftext"))})
		t.wantProp(sub.ExpectPublish(topic, "x", 0), text(PropContentType, "\ufefftext"))
		plain.ExpectNothing()
	})
	v5part("MQTT-1.5.5-1", "property-length", "a property length in more bytes than it needs closes", func(t *T) {
		t.refused(badPacketCodes,
			variant{"PUBLISH", Raw(0x30, Cat(Str(nil, t.Topic("a")), bytesOf(0x80, 0x00), []byte("x"))...)},
			variant{"SUBSCRIBE", Raw(0x82, Cat(U16(1), bytesOf(0x80, 0x00), Str(nil, t.Topic("a")), bytesOf(0))...)},
			variant{"five bytes", Raw(0x30, Cat(Str(nil, t.Topic("a")), bytesOf(0x80, 0x80, 0x80, 0x80, 0x01), []byte("x"))...)},
		)
	})
	v5part("MQTT-1.5.5-1", "remaining-length", "a remaining length in more bytes than it needs closes", func(t *T) {
		t.refused(badPacketCodes, variant{"PINGREQ", bytesOf(0xc0, 0x80, 0x00)})
	})
	v5part("MQTT-1.5.5-1", "sent", "the server's own lengths are minimal around 127 and 128 bytes", func(t *T) {
		// The peer's decoder refuses lengths that are not minimal.
		topic := t.Topic("a")
		sub, pub := t.subscriber(topic, 0), t.Client()
		for n := 100; n < 130; n++ {
			pub.Publish(Publish{Topic: topic, Payload: string(make([]byte, n)), Props: props5(user("k", string(make5(n))))})
			sub.ExpectPublish(topic, string(make([]byte, n)), 0)
		}
	})
	v5("MQTT-1.5.7-1", "ill-formed UTF-8 in either half of a user property closes", func(t *T) {
		t.refused(badPacketCodes, inString(badUTF8, func(s string) []byte {
			return publish5(Publish{Topic: t.Topic("a"), Props: props5(user(s, "v"))})
		})...)
		t.refused(badPacketCodes, inString(badUTF8, func(s string) []byte {
			return publish5(Publish{Topic: t.Topic("a"), Props: props5(user("k", s))})
		})...)
	})
}

func init() {
	v5("MQTT-2.1.3-1", "reserved flags of the fixed header that are wrong close", func(t *T) {
		body := sub5(1, Sub{t.Topic("a"), 0})[2:]
		t.refused(badPacketCodes,
			variant{"PUBREL", Raw(0x60, 0, 1)}, variant{"SUBSCRIBE", Raw(0x80, body...)},
			variant{"UNSUBSCRIBE", Raw(0xa0, unsub5(1, t.Topic("a"))[2:]...)}, variant{"DISCONNECT", Raw(0xe4)},
		)
		t.refusedConnect(badPacketCodes, variant{"CONNECT", Raw(0x11, connect5(Connect{ClientID: t.ClientID("x"), Clean: true})[2:]...)})
	})
	v5part("MQTT-2.1.3-1", "acks", "reserved flags of acknowledgements and PINGREQ that are wrong close", func(t *T) {
		t.refused(badPacketCodes, variant{"PUBACK", Cat(Raw(0x41, 0, 1), Ping)}, variant{"PUBREC", Cat(Raw(0x52, 0, 1), Ping)},
			variant{"PUBCOMP", Cat(Raw(0x78, 0, 1), Ping)}, variant{"PINGREQ", Raw(0xc1)})
	})
	v5("MQTT-2.2.1-2", "QoS 0 is read and sent without a packet identifier", func(t *T) {
		topic := t.Topic("a")
		sub := t.subscriber(topic, 2)
		t.Client().Publish(Publish{Topic: topic, Payload: "\x00\x01x"})
		sub.ExpectPublish(topic, "\x00\x01x", 0)
	})
	v5("MQTT-2.2.1-3", "packet identifier 0 closes", func(t *T) {
		t.refused(badPacketCodes,
			variant{"PUBLISH QoS 1", publish5(Publish{Topic: t.Topic("a"), QoS: 1})},
			variant{"PUBLISH QoS 2", publish5(Publish{Topic: t.Topic("a"), QoS: 2})},
			variant{"SUBSCRIBE", sub5(0, Sub{t.Topic("a"), 0})},
			variant{"UNSUBSCRIBE", unsub5(0, t.Topic("a"))},
		)
	})
	v5("MQTT-2.2.1-4", "messages in flight have different packet identifiers, none of them 0", func(t *T) {
		topic := t.Topic("a")
		sub, pub := t.subscriber(topic, 2), t.Client()
		seen := map[uint16]bool{}
		for i := range 12 {
			pub.Publish(Publish{Topic: topic, Payload: itoa(i), QoS: byte(1 + i%2)})
			m := sub.ExpectPublish(topic, itoa(i), byte(1+i%2))
			if seen[m.ID] {
				t.Fatalf("packet identifier %d is used twice at a time", m.ID)
			}
			seen[m.ID] = true
		}
	})
	v5("MQTT-2.2.1-5", "acknowledgements carry the PUBLISH's packet identifier", func(t *T) {
		p := t.Client()
		for _, id := range []uint16{1, 0x1234, 0xff00, 0xffff} {
			p.Send(publish5(Publish{Topic: t.Topic("a"), QoS: 1, ID: id}))
			p.ExpectAck(PUBACK, id)
			p.Send(publish5(Publish{Topic: t.Topic("a"), QoS: 2, ID: id}))
			p.ExpectAck(PUBREC, id)
			p.Send(Ack(PUBREL, id))
			p.ExpectAck(PUBCOMP, id)
		}
	})
	v5("MQTT-2.2.1-6", "SUBACK and UNSUBACK carry the request's packet identifier", func(t *T) {
		p := t.Client()
		for _, id := range []uint16{1, 0x1234, 0xffff} {
			p.Send(sub5(id, Sub{t.Topic("a"), 0}))
			p.ExpectAck(SUBACK, id)
			p.Send(unsub5(id, t.Topic("a")))
			p.ExpectAck(UNSUBACK, id)
		}
	})
}

func init() {
	v5("MQTT-2.2.2-1", "packets without properties have the property length 0", func(t *T) {
		topic := t.Topic("a")
		p := t.Client()
		want := func(what string, got *Packet, body []byte) {
			if string(got.Body) != string(body) {
				t.Fatalf("%s has the body % x, want % x", what, got.Body, body)
			}
		}
		p.Send(sub5(1, Sub{topic, 1}))
		want("SUBACK", p.Expect(SUBACK), bytesOf(0, 1, 0, 1))
		t.Client().Publish(Publish{Topic: topic, Payload: "x"})
		want("PUBLISH", p.Expect(PUBLISH), Cat(Str(nil, topic), bytesOf(0), []byte("x")))
		p.Send(unsub5(2, topic))
		want("UNSUBACK", p.Expect(UNSUBACK), bytesOf(0, 2, 0, 0))
		// A PUBLISH that ends before its property length is malformed.
		t.refused(badPacketCodes, variant{"PUBLISH without property length", Raw(0x30, Str(nil, topic)...)},
			variant{"CONNECT-like SUBSCRIBE without property length", Raw(0x82, 0, 1)})
	})
}

// make5 returns n letters.
func make5(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'u'
	}
	return b
}
