package conformance

import "fmt"

// Sections 1.5 and 2: strings, the fixed header, packet identifiers.

// packetCase is a packet to be sent and what is wrong with it.
type packetCase struct {
	what string
	raw  []byte
}

// eachCloses sends every packet on a fresh connection of its own after CONNECT, and expects the broker to close without
// a word, as MQTT 3 has no way to say why. A PINGREQ follows, so that a broker that goes on shows it at once.
func (t *T) eachCloses(cases ...packetCase) {
	for _, c := range cases {
		t.Logf("--- %s", c.what)
		p := t.Client()
		p.Send(c.raw, Ping)
		p.ExpectClosed()
	}
	t.Client().ExpectNothing() // and it still serves
}

// eachConnectCloses is eachCloses for first packets.
func (t *T) eachConnectCloses(cases ...packetCase) {
	for _, c := range cases {
		t.Logf("--- %s", c.what)
		p := t.Dial()
		p.Send(c.raw)
		p.ExpectClosed()
	}
	t.Client().ExpectNothing()
}

// notUTF8 are strings that RFC 3629 does not allow.
var notUTF8 = []struct{ what, s string }{
	{"a lone continuation byte", "a\x80"}, {"a cut sequence", "a\xc3"}, {"an overlong U+0000", "a\xc0\x80"},
	{"an overlong slash", "a\xc0\xafb"}, {"the first surrogate", "a\xed\xa0\x80"}, {"the last surrogate", "a\xed\xbf\xbf"},
	{"U+110000", "a\xf4\x90\x80\x80"}, {"byte FF", "a\xff"},
}

// stringFields builds, for each place a client can put a string, the packet with s there. The map's bool tells that the
// packet is a CONNECT.
func (t *T) stringFields(s string) map[string][]byte {
	id := t.ClientID("utf8")
	return map[string][]byte{
		"clientid":    Connect{Version: t.Version, ClientID: id + s, Clean: true}.Bytes(),
		"willtopic":   Connect{Version: t.Version, ClientID: id, Clean: true, Will: &Will{Topic: t.Topic(s)}}.Bytes(),
		"username":    Connect{Version: t.Version, ClientID: id, Clean: true, Username: &s}.Bytes(),
		"publish":     Publish{Topic: t.Topic(s)}.Bytes(t.Version),
		"subscribe":   Subscribe(t.Version, 1, nil, Sub{t.Topic(s), 0}),
		"unsubscribe": Unsubscribe(t.Version, 1, nil, t.Topic(s)),
	}
}

// stringFieldCloses runs one field of stringFields through bad strings.
func stringFieldCloses(field string, bad []struct{ what, s string }) func(t *T) {
	return func(t *T) {
		var cases []packetCase
		for _, b := range bad {
			cases = append(cases, packetCase{field + " with " + b.what, t.stringFields(b.s)[field]})
		}
		switch field {
		case "clientid", "willtopic", "username":
			t.eachConnectCloses(cases...)
		default:
			t.eachCloses(cases...)
		}
	}
}

func init() {
	nul := []struct{ what, s string }{{"U+0000", "a\x00b"}, {"U+0000 at the end", "ab\x00"}}
	for _, field := range []string{"clientid", "willtopic", "username", "publish", "subscribe", "unsubscribe"} {
		register(
			Case{ID: "MQTT-1.5.3-1", Version: V311, Part: field, Title: "a string that is not UTF-8 closes: " + field,
				Run: stringFieldCloses(field, notUTF8)},
			Case{ID: "MQTT-1.5.3-2", Version: V311, Part: field, Title: "U+0000 in a string closes: " + field,
				Run: stringFieldCloses(field, nul)})
	}
	for _, packet := range []string{"CONNECT", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "UNSUBSCRIBE", "PINGREQ", "DISCONNECT"} {
		register(Case{ID: "MQTT-2.2.2-2", Version: V311, Part: packet, Title: "wrong reserved flags close: " + packet,
			Run: wrongFlagsClose(packet)})
	}
	// The same under the number of the field's own statement.
	for id, field := range map[string]string{"MQTT-3.1.3-4": "clientid", "MQTT-3.1.3-10": "willtopic", "MQTT-3.1.3-11": "username",
		"MQTT-3.3.2-1": "publish", "MQTT-3.8.3-1": "subscribe", "MQTT-3.10.3-1": "unsubscribe"} {
		register(Case{ID: id, Version: V311, Title: "must be UTF-8: " + field, Run: stringFieldCloses(field, notUTF8[:3])})
	}
	register(
		Case{ID: "MQTT-4.7.3-2", Version: V311, Part: "name", Title: "U+0000 in a topic name closes", Run: stringFieldCloses("publish", nul)},
		Case{ID: "MQTT-4.7.3-2", Version: V311, Part: "filter", Title: "U+0000 in a filter closes", Run: stringFieldCloses("subscribe", nul)},
		Case{ID: "MQTT-1.5.3-3", Version: V311, Title: "U+FEFF is kept in topics and payloads", Run: bomIsKept},
		Case{ID: "MQTT-2.2.2-1", Version: V311, Title: "all packets of the server have the right reserved flags", Run: everyServerPacket},
		Case{ID: "MQTT-3.6.1-1", Version: V311, Title: "PUBREL with wrong flags closes", Run: wrongFlagsClose("PUBREL")},
		Case{ID: "MQTT-3.8.1-1", Version: V311, Title: "SUBSCRIBE with wrong flags closes", Run: wrongFlagsClose("SUBSCRIBE")},
		Case{ID: "MQTT-3.10.1-1", Version: V311, Title: "UNSUBSCRIBE with wrong flags closes", Run: wrongFlagsClose("UNSUBSCRIBE")},
		Case{ID: "MQTT-3.14.1-1", Version: V311, Title: "DISCONNECT with wrong flags closes", Run: wrongFlagsClose("DISCONNECT")},
		Case{ID: "MQTT-2.3.1-1", Version: V311, Title: "packet identifier 0 closes", Run: packetIDZero},
		Case{ID: "MQTT-2.3.1-4", Version: V311, Title: "identifiers of unacknowledged deliveries are all different", Run: outgoingIDsUnused},
		Case{ID: "MQTT-2.3.1-5", Version: V311, Title: "QoS 0 has no identifier in either direction", Run: qos0HasNoID},
		Case{ID: "MQTT-2.3.1-6", Version: V311, Title: "acknowledgements carry the identifier of their PUBLISH", Run: ackIDs},
		Case{ID: "MQTT-2.3.1-7", Version: V311, Title: "SUBACK and UNSUBACK carry the identifier of their request", Run: subackIDs},
	)
}

func bomIsKept(t *T) {
	sub, pub := t.Client(), t.Client()
	with, without := t.Topic("\ufeffa"), t.Topic("a")
	sub.Subscribe(with, 0)
	pub.Publish(Publish{Topic: without, Payload: "other topic", QoS: 1})
	pub.Publish(Publish{Topic: with, Payload: "\ufeffx", QoS: 1})
	sub.Receive(with, "\ufeffx", 0)
	sub.ExpectNothing()
}

// everyServerPacket makes the server send each packet type it can; the decoder checks the flags.
func everyServerPacket(t *T) {
	p := t.Client()
	topic := t.Topic("a")
	p.Subscribe(topic, 2)
	for qos := byte(0); qos < 3; qos++ {
		p.Publish(Publish{Topic: topic, Payload: "x", QoS: qos, Retain: qos == 1})
		p.Receive(topic, "x", qos)
	}
	p.Unsubscribe(topic)
	p.ExpectNothing()
}

// flagPackets are well-formed packets whose fixed header flags are reserved.
func (t *T) flagPackets() map[string][]byte {
	return map[string][]byte{
		"CONNECT": Connect{Version: t.Version, ClientID: t.ClientID("flags"), Clean: true}.Bytes(),
		"PUBACK":  Ack(PUBACK, 1), "PUBREC": Ack(PUBREC, 1), "PUBREL": Ack(PUBREL, 1), "PUBCOMP": Ack(PUBCOMP, 1),
		"SUBSCRIBE":   Subscribe(t.Version, 1, nil, Sub{t.Topic("a"), 0}),
		"UNSUBSCRIBE": Unsubscribe(t.Version, 1, nil, t.Topic("a")),
		"PINGREQ":     Ping, "DISCONNECT": Disconnect,
	}
}

// wrongFlagsClose sends the packet with other flags than its own.
func wrongFlagsClose(packet string) func(t *T) {
	return func(t *T) {
		good := t.flagPackets()[packet]
		var cases []packetCase
		for _, flags := range []byte{0, 1, 2, 4, 8, 15} {
			if good[0]&0x0f != flags {
				raw := append([]byte{good[0]&0xf0 | flags}, good[1:]...)
				cases = append(cases, packetCase{fmt.Sprintf("%s with flags %04b", packet, flags), raw})
			}
		}
		if packet == "CONNECT" {
			t.eachConnectCloses(cases...)
			return
		}
		t.eachCloses(cases...)
	}
}

func packetIDZero(t *T) {
	t.eachCloses(
		packetCase{"SUBSCRIBE with identifier 0", Subscribe(t.Version, 0, nil, Sub{t.Topic("a"), 0})},
		packetCase{"UNSUBSCRIBE with identifier 0", Unsubscribe(t.Version, 0, nil, t.Topic("a"))},
		packetCase{"PUBLISH QoS 1 with identifier 0", Publish{Topic: t.Topic("a"), QoS: 1}.Bytes(t.Version)},
		packetCase{"PUBLISH QoS 2 with identifier 0", Publish{Topic: t.Topic("a"), QoS: 2}.Bytes(t.Version)})
}

func outgoingIDsUnused(t *T) {
	sub, pub := t.Client(), t.Client()
	topic := t.Topic("a")
	sub.Subscribe(topic, 2)
	inUse := map[uint16]byte{}
	for i := range 10 {
		qos := byte(1 + i%2)
		pub.Publish(Publish{Topic: topic, Payload: fmt.Sprint(i), QoS: qos})
		pkt := sub.ExpectPublish(topic, fmt.Sprint(i), qos)
		if _, used := inUse[pkt.ID]; used {
			t.Fatalf("identifier %d is used again before its acknowledgement", pkt.ID)
		}
		inUse[pkt.ID] = qos
		if i == 5 { // frees some, so that a counter that only looks at the last one would be caught
			for id, q := range inUse {
				sub.Acknowledge(&Packet{ID: id, QoS: q})
				delete(inUse, id)
			}
		}
	}
}

func qos0HasNoID(t *T) {
	sub, pub := t.Client(), t.Client()
	sub.Subscribe(t.Topic("a"), 2)
	// An identifier would show up as two bytes before the payload.
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: ""})
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "\x00\x07x"})
	sub.Receive(t.Topic("a"), "", 0)
	sub.Receive(t.Topic("a"), "\x00\x07x", 0)
}

func ackIDs(t *T) {
	p := t.Client()
	for _, id := range []uint16{1, 2, 0x00ff, 0x0100, 0x1234, 0xffff} {
		p.Send(Publish{Topic: t.Topic("a"), QoS: 1, ID: id}.Bytes(t.Version))
		p.ExpectAck(PUBACK, id)
		p.Send(Publish{Topic: t.Topic("a"), QoS: 2, ID: id}.Bytes(t.Version))
		p.ExpectAck(PUBREC, id)
		p.Send(Ack(PUBREL, id))
		p.ExpectAck(PUBCOMP, id)
	}
	sub := t.Client()
	sub.Subscribe(t.Topic("b"), 2)
	p.Publish(Publish{Topic: t.Topic("b"), QoS: 2, ID: 77})
	pkt := sub.ExpectPublish(t.Topic("b"), "", 2)
	sub.Send(Ack(PUBREC, pkt.ID))
	sub.ExpectAck(PUBREL, pkt.ID)
	sub.Send(Ack(PUBCOMP, pkt.ID))
}

func subackIDs(t *T) {
	p := t.Client()
	for _, id := range []uint16{1, 0x00ff, 0x0100, 0xffff} {
		p.Send(Subscribe(t.Version, id, nil, Sub{t.Topic("a"), 1}))
		p.ExpectAck(SUBACK, id)
		p.Send(Unsubscribe(t.Version, id, nil, t.Topic("a")))
		p.ExpectAck(UNSUBACK, id)
	}
}
