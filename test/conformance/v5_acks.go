package conformance

import "strings"

// MQTT 5 §3.4 to §3.7: PUBACK, PUBREC, PUBREL, PUBCOMP; §3.12, §3.14, §3.15: PINGREQ, DISCONNECT, AUTH.

// ackCodes are the reason codes of each acknowledgement's table.
var ackCodes = map[byte]string{
	PUBACK:     "\x00\x10\x80\x83\x87\x90\x91\x97\x99",
	PUBREC:     "\x00\x10\x80\x83\x87\x90\x91\x97\x99",
	PUBREL:     "\x00\x92",
	PUBCOMP:    "\x00\x92",
	SUBACK:     "\x00\x01\x02\x80\x83\x87\x8f\x91\x97\x9e\xa1\xa2",
	UNSUBACK:   "\x00\x11\x80\x83\x87\x8f\x91",
	DISCONNECT: "\x00\x80\x81\x82\x83\x87\x89\x8b\x8d\x8e\x8f\x90\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f\xa0\xa1\xa2",
}

// codesOf provokes acknowledgements and holds those of one type to its table.
func codesOf(typ byte) func(*T) {
	return func(t *T) {
		n := 0
		for _, ack := range acksOf(t, t.Client()) {
			if ack.Type != typ {
				continue
			}
			n++
			codes := ack.Codes
			if typ != SUBACK && typ != UNSUBACK {
				codes = []byte{ack.Code}
			}
			for _, c := range codes {
				if strings.IndexByte(ackCodes[typ], c) < 0 {
					t.Fatalf("code 0x%02x is not of the table: %s", c, ack)
				}
			}
		}
		if n == 0 {
			t.Fatalf("no %s came", typeNames[typ])
		}
	}
}

// sizesOf provokes acknowledgements for clients with a small Maximum Packet Size and holds those of one type to it.
func sizesOf(typ byte) func(*T) {
	return func(t *T) {
		// The PUBLISH that provokes PUBREL has about 40 bytes and must fit.
		for _, most := range []uint32{50, 64} {
			for _, ack := range acksOf(t, t.clientWith(num(PropMaximumPacketSize, most), num(PropRequestProblemInfo, 1))) {
				if ack.Type == typ {
					t.withinSize(ack, most)
				}
			}
		}
	}
}

func init() {
	v5("MQTT-3.4.2-1", "PUBACK's codes are of its table", codesOf(PUBACK))
	v5("MQTT-3.5.2-1", "PUBREC's codes are of its table", codesOf(PUBREC))
	v5("MQTT-3.6.2-1", "PUBREL's codes are of its table", codesOf(PUBREL))
	v5("MQTT-3.7.2-1", "PUBCOMP's codes are of its table", codesOf(PUBCOMP))
	v5("MQTT-3.9.3-2", "SUBACK's codes are of its table", codesOf(SUBACK))
	v5("MQTT-3.11.3-2", "UNSUBACK's codes are of its table", codesOf(UNSUBACK))
	v5same("MQTT-3.4.2-2 MQTT-3.4.2-3", "no property that could be left out takes PUBACK above the client's maximum size", sizesOf(PUBACK))
	v5same("MQTT-3.5.2-2 MQTT-3.5.2-3", "no property that could be left out takes PUBREC above the client's maximum size", sizesOf(PUBREC))
	v5same("MQTT-3.6.2-2 MQTT-3.6.2-3", "no property that could be left out takes PUBREL above the client's maximum size", sizesOf(PUBREL))
	v5same("MQTT-3.7.2-2 MQTT-3.7.2-3", "no property that could be left out takes PUBCOMP above the client's maximum size", sizesOf(PUBCOMP))
	v5same("MQTT-3.9.2-1 MQTT-3.9.2-2", "no property that could be left out takes SUBACK above the client's maximum size", sizesOf(SUBACK))
	v5same("MQTT-3.11.2-1 MQTT-3.11.2-2", "no property that could be left out takes UNSUBACK above the client's maximum size", sizesOf(UNSUBACK))
	v5("MQTT-3.6.1-1", "PUBREL with other flags than 0010 closes", func(t *T) {
		for _, flags := range []byte{0, 1, 3, 4, 6, 8, 10, 15} {
			p := t.Client()
			p.Send(publish5(Publish{Topic: t.Topic("a"), QoS: 2, ID: 1}))
			p.ExpectAck(PUBREC, 1)
			p.Send(Raw(0x60|flags, 0, 1))
			p.ExpectRefused(badPacketCodes...)
		}
	})
	v5("MQTT-3.12.4-1", "PINGREQ is answered by PINGRESP", func(t *T) {
		p := t.Client()
		for range 3 {
			p.Send(Ping, Ping)
			p.Expect(PINGRESP)
			p.Expect(PINGRESP)
		}
	})

	v5("MQTT-3.14.0-1", "no DISCONNECT before CONNACK", func(t *T) {
		c := Connect{ClientID: t.ClientID("x"), Clean: true}
		vs := append(firstPackets(t),
			variant{"bad flags", flagged(c, 0x03)}, variant{"will QoS 3", flagged(c, 0x1e)},
			variant{"bad property", connect5(Connect{Props: props5(num(PropReceiveMaximum, 0))})},
			variant{"not UTF-8", connect5(Connect{ClientID: "\xff", Clean: true})},
			variant{"auth method", connect5(refusedOne(t.ClientID("x")))},
			variant{"wrong level", Connect{Version: 6, ClientID: t.ClientID("x")}.Bytes()},
		)
		t.each(vs, func(v variant) {
			p := t.Dial()
			p.Send(v.raw)
			for _, m := range p.Drain() {
				if m.Type == DISCONNECT {
					t.Fatalf("got %s", m)
				}
			}
		})
	})
	v5("MQTT-3.14.1-1", "DISCONNECT with reserved flags is answered by DISCONNECT 0x81", func(t *T) {
		t.disconnected([]byte{rcMalformed}, variant{"0001", Raw(0xe1)}, variant{"0010", Raw(0xe2, 0)}, variant{"1000", Raw(0xe8, 0, 0)})
	})
	v5("MQTT-3.14.2-1", "a server's DISCONNECT has a code of its table", func(t *T) {
		for _, d := range serverDisconnects(t, nil) {
			if strings.IndexByte(ackCodes[DISCONNECT], d.Code) < 0 {
				t.Fatalf("code 0x%02x is not of the table", d.Code)
			}
		}
	})
	v5("MQTT-3.14.2-2", "a server's DISCONNECT has no Session Expiry Interval", func(t *T) {
		for _, d := range serverDisconnects(t, props5(expiry(600))) {
			t.wantNoProp(d, PropSessionExpiry)
		}
	})
}

func init() {
	v5same("MQTT-3.14.2-3 MQTT-3.14.2-4", "no property that could be left out takes DISCONNECT above the client's maximum size", func(t *T) {
		for _, most := range []uint32{20, 40} {
			for _, d := range serverDisconnects(t, props5(num(PropMaximumPacketSize, most))) {
				t.withinSize(d, most)
			}
		}
	})
	v5same("MQTT-3.14.4-1 MQTT-3.14.4-2", "after its DISCONNECT the server sends nothing and closes", func(t *T) {
		topic := t.Topic("a")
		p, pub := t.subscriber(topic, 1), t.Client()
		for i := range 5 {
			pub.Publish(Publish{Topic: topic, Payload: itoa(i), QoS: 1})
		}
		p.payloads(5)
		p.Send(Raw(0x82, 0, 0), Ping, publish5(Publish{Topic: topic, QoS: 1, ID: 9}))
		p.ExpectDisconnect(badPacketCodes...)
	})
	v5part("MQTT-3.14.4-1", "received", "what a client sends after DISCONNECT is not processed", func(t *T) {
		topic := t.Topic("a")
		sub, p := t.subscriber(topic, 1), t.Client()
		p.Send(Disconnect, publish5(Publish{Topic: topic, Payload: "x"}), Ping)
		p.ExpectClosed()
		sub.ExpectNothing()
	})

	v5("MQTT-3.15.1-1", "AUTH with flags closes", func(t *T) {
		body := Auth(0x19, text(PropAuthMethod, "m"))[2:]
		t.refused(append([]byte{rcBadAuthMethod}, badPacketCodes...), variant{"0001", Raw(0xf1, body...)}, variant{"1000", Raw(0xf8, body...)})
	})
	v5("MQTT-3.15.2-1", "AUTH with a code that is not its own closes", func(t *T) {
		t.refused(append([]byte{rcBadAuthMethod}, badPacketCodes...), variant{"0x01", Auth(0x01, text(PropAuthMethod, "m"))},
			variant{"0x80", Auth(0x80, text(PropAuthMethod, "m"))})
	})
}

// serverDisconnects provokes DISCONNECTs of several kinds, each on a client with these properties.
func serverDisconnects(t *T, props []Prop) []*Packet {
	var all []*Packet
	for _, raw := range [][]byte{
		Raw(0x82, 0, 0), Raw(0x80, 0, 1), publish5(Publish{Topic: t.Topic("#")}), Auth(0x19, text(PropAuthMethod, "m")),
		publish5(Publish{Topic: t.Topic("a"), Props: props5(num(PropTopicAlias, 0xffff))}),
		connect5(Connect{ClientID: t.ClientID("z")}), sub5(1, Sub{"a/#/b", 0}),
	} {
		p := t.clientWith(props...)
		p.Send(raw)
		if d := p.ExpectRefused(); d != nil {
			all = append(all, d)
		}
	}
	if len(all) == 0 {
		t.Logf("the broker closes without DISCONNECT")
	}
	return all
}
