package conformance

// MQTT 5 §4.12 (enhanced authentication) and §4.13 (handling of errors).

func init() {
	v5("MQTT-4.12.0-1", "an unknown authentication method is refused with 0x8C or 0x87", func(t *T) {
		t.refusedConnect([]byte{rcBadAuthMethod, rcNotAuthorized},
			variant{"method", connect5(refusedOne(t.ClientID("x")))},
			variant{"method and data", connect5(refusedOne(t.ClientID("x"), text(PropAuthData, "\x00secret")))})
	})
	v5("MQTT-4.12.0-4", "the refusal of an authentication method is final: AUTH after it changes nothing", func(t *T) {
		p := t.Dial()
		p.Send(connect5(refusedOne(t.ClientID("x"))), Auth(0x18, text(PropAuthMethod, "no-such-method"), text(PropAuthData, "x")))
		p.ExpectRefused(rcBadAuthMethod, rcNotAuthorized)
	})
	v5("MQTT-4.12.0-6", "without a method in CONNECT there is no AUTH and no method in CONNACK", func(t *T) {
		p, ack := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true, Username: ptr("u"), Password: ptr("p")})
		t.wantNoProp(ack, PropAuthMethod)
		t.wantNoProp(ack, PropAuthData)
		p.Subscribe(t.Topic("a"), 1)
		p.ExpectNothing()
	})
	v5("MQTT-4.12.0-7", "AUTH without a method in CONNECT closes", func(t *T) {
		t.refused(append([]byte{rcBadAuthMethod}, badPacketCodes...), variant{"0x18", Auth(0x18, text(PropAuthMethod, "m"))}, variant{"empty", Raw(0xf0)})
	})
	v5("MQTT-4.12.1-2", "a re-authentication that cannot succeed closes", func(t *T) {
		t.refused(append([]byte{rcBadAuthMethod, rcNotAuthorized}, badPacketCodes...), variant{"0x19", Auth(0x19, text(PropAuthMethod, "m"), text(PropAuthData, "x"))})
	})
	v5("MQTT-4.13.1-1", "malformed packets and protocol errors close", func(t *T) {
		topic := t.Topic("a")
		t.refused(nil,
			variant{"malformed: five-byte remaining length", bytesOf(0x30, 0xff, 0xff, 0xff, 0xff, 0x01)},
			variant{"malformed: property cut", Raw(0x30, Cat(Str(nil, topic), bytesOf(2, PropMessageExpiry, 0))...)},
			variant{"malformed: unknown property", Raw(0x30, Cat(Str(nil, topic), bytesOf(2, 0x7e, 0))...)},
			variant{"malformed: SUBSCRIBE cut", Raw(0x82, 0, 1, 0, 0, 9, 'a')},
			variant{"protocol error: property twice", publish5(Publish{Topic: topic, Props: props5(text(PropContentType, "a"), text(PropContentType, "a"))})},
			variant{"protocol error: property of CONNECT", publish5(Publish{Topic: topic, Props: props5(expiry(1))})},
			variant{"protocol error: subscription identifier 0", Subscribe(V5, 1, props5(num(PropSubscriptionID, 0)), Sub{topic, 0})},
			variant{"protocol error: CONNACK from a client", Raw(0x20, 0, 0, 0)},
		)
	})
	v5("MQTT-4.13.2-1", "a code of 0x80 or more closes, in CONNACK and in a client's DISCONNECT", func(t *T) {
		p := t.Dial()
		p.Send(connect5(refusedOne(t.ClientID("x"))))
		p.ExpectConnackRefusal()
		for _, code := range []byte{0x80, 0x81, 0x82, 0x93, 0x95, 0x98} {
			p := t.Client()
			p.Send(DisconnectReason(code))
			p.ExpectClosed()
		}
	})
}
