package conformance

import (
	"regexp"
	"strings"
	"time"
)

// Behaviours of Mosquitto that MQTT 5 clients rely on, beyond the statements: connections, malformed packets, DISCONNECT.

var autoID = regexp.MustCompile(`^auto-[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

func init() {
	v5("B-01", "another first packet than CONNECT is closed without an answer, and without waiting for its 250 MB", func(t *T) {
		t.each(firstPackets(t), func(v variant) {
			p := t.Dial()
			p.Send(v.raw)
			p.ExpectClosed()
			p = t.Dial()
			p.Send(Varint(bytesOf(v.raw[0]), 250_000_000))
			p.ExpectClosed()
		})
	})
	v5part("B-02", "level", "protocol level 6 gets a CONNACK that says so", func(t *T) {
		t.connackRefused([]byte{1, rcBadVersion}, variant{"6", Connect{Version: 6, ClientID: t.ClientID("x"), Clean: true}.Bytes()})
	})
	v5part("B-02", "name", "a wrong protocol name is closed without an answer", func(t *T) {
		p := t.Dial()
		p.Send(connect5(Connect{ProtocolName: "MQTX", ClientID: t.ClientID("x"), Clean: true}))
		p.ExpectClosed()
	})
	v5("B-03", "a second CONNECT gets DISCONNECT 0x82", func(t *T) {
		t.disconnected([]byte{rcProtocolError}, variant{"CONNECT", connect5(Connect{ClientID: t.ClientID("z"), Clean: true})})
	})
	v5("B-04", "a bad CONNECT gets CONNACK 0x81 or 0x82 before the close", func(t *T) {
		c := Connect{ClientID: t.ClientID("x")}
		t.connackRefused(badPacketCodes, variant{"reserved flag", flagged(c, 0x03)}, variant{"will QoS 3", flagged(c, 0x1e)},
			variant{"will retain without will", flagged(c, 0x22)}, variant{"client id cut", connectPayload(0x02, bytesOf(0, 5))},
			variant{"property of PUBLISH", connect5(Connect{ClientID: t.ClientID("x"), Props: props5(num(PropTopicAlias, 1))})})
	})
	v5part("B-05", "auto", "an empty client id gets auto- and a UUID", func(t *T) {
		for _, clean := range []bool{true, false} {
			_, ack := t.Connect(Connect{Clean: clean})
			if id, _ := ack.Prop(PropAssignedClientID); !autoID.MatchString(id.Str) {
				t.Fatalf("assigned client id %q", id.Str)
			}
		}
	})
	v5with(Options{RefuseEmptyClientID: true}, "B-05", "refused", "allow_zero_length_clientid false: an empty client id gets CONNACK 0x80", func(t *T) {
		t.connackRefused([]byte{rcUnspecified}, variant{"empty", connect5(Connect{Clean: true})})
	})
	v5("B-06", "client ids and user names with control characters or U+FFFF get CONNACK 0x85 or 0x81", func(t *T) {
		for _, s := range []string{"\x01", "\x1f", "\x7f", "\u0080", "\u009f", "\uffff"} {
			t.connackRefused([]byte{rcBadClientID, rcMalformed}, variant{"client id", connect5(Connect{ClientID: t.ClientID("x" + s), Clean: true})})
			t.connackRefused([]byte{rcMalformed, rcBadPassword}, variant{"user name", connect5(Connect{ClientID: t.ClientID("x"), Clean: true, Username: ptr("u" + s)})})
		}
	})
	v5with(Options{Users: map[string]string{"ann": "secret"}}, "B-08", "", "wrong or missing credentials get CONNACK 0x87, and the refused client's will is not sent", func(t *T) {
		topic := t.Topic("w")
		ann := Connect{ClientID: t.ClientID("s"), Clean: true, Username: ptr("ann"), Password: ptr("secret")}
		sub, _ := t.Connect(ann)
		sub.Subscribe(topic, 0)
		c := func(name, password *string) []byte {
			return connect5(Connect{ClientID: t.ClientID("x"), Clean: true, Username: name, Password: password, Will: &Will{Topic: topic, Payload: "w"}})
		}
		t.connackRefused([]byte{rcNotAuthorized}, variant{"nobody", c(nil, nil)}, variant{"no password", c(ptr("ann"), nil)},
			variant{"wrong password", c(ptr("ann"), ptr("wrong"))}, variant{"unknown name", c(ptr("bob"), ptr("secret"))},
			variant{"empty password", c(ptr("ann"), ptr(""))})
		sub.ExpectNothing()
	})
	v5part("B-10", "connack", "an authentication method nobody provides gets CONNACK 0x8C", func(t *T) {
		t.connackRefused([]byte{rcBadAuthMethod}, variant{"method", connect5(refusedOne(t.ClientID("x")))})
	})
	v5part("B-10", "auth", "AUTH without a method gets DISCONNECT 0x82", func(t *T) {
		t.disconnected([]byte{rcProtocolError}, variant{"0x18", Auth(0x18, text(PropAuthMethod, "m"))}, variant{"0x19", Auth(0x19, text(PropAuthMethod, "m"))})
	})
}

func init() {
	v5with(Options{MaxKeepAlive: 10}, "B-12", "max", "max_keepalive: a longer keep alive, or none, gets Server Keep Alive; a shorter one stays", func(t *T) {
		for _, k := range []uint16{60, 11, 65535, 0} {
			_, ack := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true, KeepAlive: k})
			t.wantProp(ack, num(PropServerKeepAlive, 10))
		}
		_, ack := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true, KeepAlive: 9})
		t.wantNoProp(ack, PropServerKeepAlive)
	})
	v5part("B-12", "reset", "any packet starts the keep alive anew", func(t *T) {
		p, _ := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true, KeepAlive: 1})
		for i, raw := range [][]byte{Ping, publish5(Publish{Topic: t.Topic("a")}), Ack(PUBREL, 7), sub5(1, Sub{t.Topic("b"), 0}), Ping} {
			t.letPass(900 * time.Millisecond)
			p.Send(raw)
			if i != 1 {
				p.Next()
			}
		}
	})
	v5("B-13", "5000 user properties in CONNECT are taken", func(t *T) {
		props := make([]Prop, 5000)
		for i := range props {
			props[i] = user("k"+itoa(i), "v")
		}
		p, _ := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true, Props: props})
		p.ExpectNothing()
	})

	v5part("B-14", "malformed", "malformed packets get DISCONNECT 0x81", func(t *T) {
		topic := t.Topic("a")
		t.disconnected([]byte{rcMalformed},
			variant{"PUBLISH cut in its topic", Raw(0x30, 0, 9, 'a')},
			variant{"PUBLISH cut in a property", Raw(0x30, Cat(Str(nil, topic), bytesOf(3, PropMessageExpiry, 0, 0))...)},
			variant{"property length beyond the end", Raw(0x30, Cat(Str(nil, topic), bytesOf(9, PropPayloadFormat, 0))...)},
			variant{"topic not UTF-8", publish5(Publish{Topic: t.Topic("\xff")})},
			variant{"SUBSCRIBE flags", Raw(0x80, sub5(1, Sub{topic, 0})[2:]...)},
			variant{"SUBSCRIBE id 0", sub5(0, Sub{topic, 0})},
			variant{"UNSUBSCRIBE id 0", unsub5(0, topic)},
			variant{"SUBSCRIBE cut", Raw(0x82, Cat(U16(1), bytesOf(0), Str(nil, topic))...)},
		)
	})
	v5part("B-14", "trailing", "bytes after the end of a packet get DISCONNECT 0x81", func(t *T) {
		t.disconnected([]byte{rcMalformed},
			variant{"PUBREL", Raw(0x62, 0, 1, 0, 0, 0)}, variant{"PUBACK", Cat(Raw(0x40, 0, 1, 0, 0, 0), Ping)},
			variant{"PINGREQ", Raw(0xc0, 0)}, variant{"DISCONNECT", Raw(0xe0, 0, 0, 0)})
	})
	v5part("B-14", "protocol-error", "protocol errors get DISCONNECT 0x82", func(t *T) {
		topic := t.Topic("a")
		t.disconnected([]byte{rcProtocolError},
			variant{"property of CONNECT in PUBLISH", publish5(Publish{Topic: topic, Props: props5(expiry(1))})},
			variant{"property twice", publish5(Publish{Topic: topic, Props: props5(num(PropPayloadFormat, 1), num(PropPayloadFormat, 1))})},
			variant{"property of PUBLISH in SUBSCRIBE", Subscribe(V5, 1, props5(num(PropPayloadFormat, 1)), Sub{topic, 0})},
		)
	})
	v5part("B-14", "acks", "acknowledgements with identifier 0 or an unknown reason code get DISCONNECT 0x82", func(t *T) {
		var vs []variant
		for _, typ := range []byte{PUBACK, PUBREC, PUBREL, PUBCOMP} {
			vs = append(vs, variant{typeNames[typ] + " id 0", Cat(Ack(typ, 0), Ping)}, variant{typeNames[typ] + " reason 0x44", Cat(AckReason(typ, 1, 0x44), Ping)})
		}
		t.disconnected([]byte{rcProtocolError, rcMalformed}, vs...)
	})
	v5part("B-16", "characters", "control characters and U+FFFF in topics and filters get DISCONNECT 0x81", func(t *T) {
		for _, s := range []string{"\x01", "\x1f", "\x7f", "\u0080", "\u009f", "\uffff"} {
			t.disconnected([]byte{rcMalformed}, variant{"topic", publish5(Publish{Topic: t.Topic("a" + s)})},
				variant{"filter", sub5(1, Sub{t.Topic("a" + s), 0})})
		}
	})
}

func init() {
	v5part("B-16", "levels", "more than 200 levels get DISCONNECT 0x81, 200 are taken", func(t *T) {
		deep := func(levels int) string { return t.Topic("") + strings.Repeat("a/", levels-3) + "a" } // nj/x/ are two
		t.disconnected([]byte{rcMalformed}, variant{"topic", publish5(Publish{Topic: deep(202)})}, variant{"filter", sub5(1, Sub{deep(202), 0})})
		p := t.subscriber(deep(200), 1)
		p.Publish(Publish{Topic: deep(200), Payload: "x", QoS: 1})
		p.Receive(deep(200), "x", 1)
	})
	v5("B-17", "bad lengths and SUBSCRIBE options get DISCONNECT 0x81", func(t *T) {
		topic := t.Topic("a")
		t.refused([]byte{rcMalformed, rcProtocolError}, variant{"five bytes of remaining length", bytesOf(0x30, 0x80, 0x80, 0x80, 0x80, 0x01)})
		t.disconnected([]byte{rcMalformed, rcProtocolError}, variant{"no filters", Raw(0x82, 0, 1, 0)}, variant{"QoS 3", sub5(1, Sub{topic, 3})},
			variant{"reserved bits", sub5(1, Sub{topic, 0xc0})}, variant{"retain handling 3", sub5(1, Sub{topic, 0x30})})
	})
	v5("B-18", "packets only a server sends get DISCONNECT 0x82, and the broker serves on", func(t *T) {
		t.disconnected([]byte{rcProtocolError}, variant{"CONNACK", Raw(0x20, 0, 0, 0)}, variant{"SUBACK", Cat(Raw(0x90, 0, 1, 0, 0), Ping)},
			variant{"UNSUBACK", Cat(Raw(0xb0, 0, 1, 0, 0), Ping)}, variant{"PINGRESP", Cat(Raw(0xd0), Ping)})
		t.Client().ExpectNothing()
	})
	v5part("B-19", "codes", "DISCONNECT with any of its codes is closed without an answer", func(t *T) {
		for _, code := range []byte{0, 4, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99} {
			p := t.Client()
			p.Send(DisconnectReason(code, text(PropReasonString, "why"), user("a", "b")))
			p.ExpectClosed()
		}
	})
	v5part("B-19", "property", "DISCONNECT with a property that does not belong there gets DISCONNECT 0x82", func(t *T) {
		t.disconnected([]byte{rcProtocolError}, variant{"receive maximum", DisconnectReason(0, num(PropReceiveMaximum, 1))},
			variant{"session expiry twice", DisconnectReason(0, expiry(0), expiry(0))})
	})
	v5part("B-19", "expiry", "DISCONNECT that raises the session expiry from 0 gets DISCONNECT 0x82", func(t *T) {
		t.disconnected([]byte{rcProtocolError}, variant{"from 0 to 10", DisconnectReason(0, expiry(10))})
	})
}
