package conformance

import (
	"fmt"
	"strings"
	"time"
)

// Behaviours that clients of Mosquitto rely on, beyond the statements, for MQTT 3.1.1: connecting, malformed packets,
// wills, sessions. "B-05" is number 5 of the list the project follows. v3_behaviours_messages.go has the rest.

func init() {
	register(
		Case{ID: "B-01", Version: V311, Title: "a first packet other than CONNECT closes before its announced 256 MB come", Run: announcedFirstPackets},
		Case{ID: "B-02", Version: V311, Title: "levels 3, 4 and 5 are accepted, and 3 and 4 with the bridge bit", Run: levelsAccepted},
		Case{ID: "B-02", Version: V311, Part: "name", Title: "a wrong protocol name closes without a word", Run: func(t *T) {
			for _, name := range []string{"MQTX", "mqtt", "mqisdp"} {
				t.eachConnectCloses(packetCase{name, Connect{Version: V311, ProtocolName: name, ClientID: t.ClientID("a"), Clean: true}.Bytes()})
			}
		}},
		Case{ID: "B-02", Version: V311, Part: "accepted", Title: "a version that accept_protocol_versions leaves out: 0x01",
			Options: Options{AcceptVersions: []Version{V311, V5}}, Run: func(t *T) {
				p := t.Dial()
				p.Send(Connect{Version: V31, ClientID: t.ClientID("a"), Clean: true}.Bytes())
				p.ExpectConnackRefusal(1)
				t.Client().ExpectNothing()
			}},
		Case{ID: "B-03", Version: V311, Title: "a second CONNECT with another client id closes and leaves that client alone", Run: secondConnectOther},
		Case{ID: "B-04", Version: V311, Title: "a CONNECT cut at any byte closes", Run: connectCutAnywhere},
		Case{ID: "B-05", Version: V311, Title: "an empty client id: the session is not found again", Run: emptyIDIsNew},
		Case{ID: "B-05", Version: V311, Part: "refused", Title: "empty client ids refused: 0x02, other ids work",
			Options: Options{RefuseEmptyClientID: true}, Run: func(t *T) {
				for _, clean := range []bool{true, false} {
					p := t.Dial()
					p.Send(Connect{Version: t.Version, Clean: clean}.Bytes())
					p.ExpectConnackRefusal(2)
				}
				t.Client().ExpectNothing()
			}},
		Case{ID: "B-06", Version: V311, Part: "clientid", Title: "control characters in the client id close", Run: stringFieldCloses("clientid", controlStrings)},
		Case{ID: "B-06", Version: V311, Part: "username", Title: "control characters in the user name close", Run: stringFieldCloses("username", controlStrings)},
		Case{ID: "B-07", Version: V311, Title: "take-over continues a lasting session: subscriptions and what was in flight", Run: takeOverContinues},
		Case{ID: "B-07", Version: V311, Part: "will-clean", Title: "take-over of a clean session sends its will", Run: takeOverWillClean},
		Case{ID: "B-07", Version: V311, Part: "will-lasting", Title: "take-over that continues the session sends no will", Run: takeOverWillLasting},
		Case{ID: "B-08", Version: V311, Title: "wrong or missing password: 0x05, and no will", Options: Options{Users: map[string]string{"u": "right"}}, Run: wrongPassword},
		Case{ID: "B-10", Version: V311, Title: "AUTH closes", Run: func(t *T) {
			t.eachCloses(packetCase{"AUTH", Raw(0xf0)}, packetCase{"AUTH with reason", Raw(0xf0, 0x18, 0)})
		}},
		Case{ID: "B-11", Version: V311, Title: "more than max_connections is closed, and places come free", Options: Options{MaxConnections: 2}, Run: maxConnections},
		Case{ID: "B-12", Version: V311, Part: "maximum", Title: "a keep-alive over max_keepalive is refused with 0x02",
			Options: Options{MaxKeepAlive: 60}, Run: maxKeepAlive},
		Case{ID: "B-12", Version: V311, Part: "reset", Title: "any packet resets the keep-alive", Run: keepAliveReset},
		Case{ID: "B-12", Version: V311, Part: "never", Title: "keep-alive 0 never closes", Run: keepAliveNever},
		Case{ID: "B-12", Version: V311, Part: "will", Title: "a missed keep-alive sends the will", Run: keepAliveWill},
		Case{ID: "B-14", Version: V311, Part: "cut", Title: "cut packets close without a word", Run: malformedBodies},
		Case{ID: "B-14", Version: V311, Part: "surplus", Title: "surplus bytes close without a word", Run: surplusBodies},
		Case{ID: "B-14", Version: V311, Part: "zero", Title: "acknowledgements of identifier 0 close", Run: acksOfZero},
		Case{ID: "B-16", Version: V311, Part: "publish", Title: "control characters in a topic name close", Run: stringFieldCloses("publish", controlStrings)},
		Case{ID: "B-16", Version: V311, Part: "subscribe", Title: "control characters in a filter close", Run: stringFieldCloses("subscribe", controlStrings)},
		Case{ID: "B-16", Version: V311, Part: "levels", Title: "more than 200 levels close, 200 work", Run: topicLevels},
		Case{ID: "B-17", Version: V311, Title: "a remaining length of five bytes closes", Run: func(t *T) {
			t.eachConnectCloses(packetCase{"CONNECT", []byte{0x10, 0xff, 0xff, 0xff, 0xff, 0x01}}, packetCase{"CONNECT", []byte{0x10, 0x80, 0x80, 0x80, 0x80, 0x00}})
			t.eachCloses(packetCase{"PUBLISH", []byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}}, packetCase{"PINGREQ", []byte{0xc0, 0x80, 0x80, 0x80, 0x80, 0x00}})
		}},
		Case{ID: "B-18", Version: V311, Title: "after bad packets of one client the others are served", Run: othersAreServed},
		Case{ID: "B-32", Version: V311, Title: "an empty will payload is sent, also retained, where it removes", Run: emptyWill},
		Case{ID: "B-34", Version: V311, Title: "a will topic with wildcards or empty closes", Run: badWillTopics},
		Case{ID: "B-34", Version: V311, Part: "oversize", Title: "a will over message_size_limit: CONNACK 0x05",
			Options: Options{MessageSizeLimit: 100}, Run: oversizeWill},
		Case{ID: "B-36", Version: V311, Title: "clean and lasting connections in turn neither lose nor double subscriptions", Run: flipFlop},
		Case{ID: "B-36", Version: V311, Part: "qos0", Title: "QoS 0 is not queued for an offline session", Run: func(t *T) { qos0Offline(t, false) }},
		Case{ID: "B-36", Version: V311, Part: "queue-qos0", Title: "QoS 0 is queued with queue_qos0_messages",
			Options: Options{QueueQoS0: true}, Run: func(t *T) { qos0Offline(t, true) }},
	)
}

// controlStrings hold what is UTF-8 but refused: control characters and non-characters.
var controlStrings = []struct{ what, s string }{
	{"U+0001", "a\x01"}, {"U+001F", "a\x1f"}, {"tab", "a\tb"}, {"newline", "a\nb"}, {"U+007F", "a\x7f"}, {"U+0080", "a\u0080"},
	{"U+009F", "a\u009f"}, {"U+FFFF", "a\uffff"}, {"U+FFFE", "a\ufffe"}, {"U+FDD0", "a\ufdd0"}, {"U+1FFFF", "a\U0001ffff"},
}

func announcedFirstPackets(t *T) {
	for typ := byte(0); typ < 16; typ++ {
		if typ == CONNECT {
			continue
		}
		for _, flags := range []byte{0, 2, 15} {
			p := t.Dial()
			p.Send([]byte{typ<<4 | flags, 0xff, 0xff, 0xff, 0x7f})
			p.ExpectClosed()
		}
	}
}

func levelsAccepted(t *T) {
	for _, v := range []Version{V31, V311, V5} {
		p, _ := t.Connect(Connect{Version: v, ClientID: t.ClientID("a"), Clean: true})
		p.Disconnect()
	}
	for level, name := range map[Version]string{0x83: "MQIsdp", 0x84: "MQTT"} {
		p, _ := t.Connect(Connect{Version: level, ProtocolName: name, ClientID: t.ClientID("a"), Clean: true})
		p.Disconnect()
	}
}

func secondConnectOther(t *T) {
	other := t.Client()
	p := t.Client()
	p.Send(Connect{Version: t.Version, ClientID: t.ClientID("c0"), Clean: true}.Bytes()) // the id of other
	p.ExpectClosed()
	other.ExpectNothing()
}

func connectCutAnywhere(t *T) {
	user, password := "u", "p"
	good := Connect{Version: t.Version, ClientID: t.ClientID("cut"), Clean: true, Username: &user, Password: &password,
		Will: &Will{Topic: t.Topic("w"), Payload: "x"}}.Bytes()[2:]
	var cases []packetCase
	for n := range len(good) {
		cases = append(cases, packetCase{fmt.Sprintf("body of %d of %d bytes", n, len(good)), Raw(CONNECT<<4, good[:n]...)})
	}
	t.eachConnectCloses(cases...)
}

func emptyIDIsNew(t *T) {
	p, ack := t.Connect(Connect{Clean: true})
	t.wantPresent(ack, false)
	p.Subscribe(t.Topic("a"), 1)
	p.CloseWrite()
	p, ack = t.Connect(Connect{Clean: true})
	t.wantPresent(ack, false)
	t.Client().Publish(Publish{Topic: t.Topic("a"), QoS: 1})
	p.ExpectNothing()
}

func takeOverContinues(t *T) {
	pub := t.Client()
	first, _ := t.Session(t.ClientID("s"))
	first.Subscribe(t.Topic("a"), 1)
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "1", QoS: 1})
	pkt := first.ExpectPublish(t.Topic("a"), "1", 1)
	second, ack := t.Session(t.ClientID("s"))
	first.ExpectClosed()
	t.wantPresent(ack, true)
	if again := second.Receive(t.Topic("a"), "1", 1); again.ID != pkt.ID || !again.Dup {
		t.Fatalf("sent again as %s, want identifier %d and DUP 1", again, pkt.ID)
	}
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "2", QoS: 1})
	second.Receive(t.Topic("a"), "2", 1)
	third, ack := t.Connect(Connect{ClientID: t.ClientID("s"), Clean: true})
	second.ExpectClosed()
	t.wantPresent(ack, false)
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "3", QoS: 1})
	third.ExpectNothing()
}

func takeOverWillClean(t *T) {
	sub := t.Client()
	sub.Subscribe(t.Prefix()+"/#", 1)
	for _, clean := range [][2]bool{{true, true}, {true, false}, {false, true}} {
		payload := fmt.Sprint(clean)
		id := t.ClientID(fmt.Sprintf("s%d", len(t.peers)))
		first, _ := t.Connect(Connect{ClientID: id, Clean: clean[0], Will: &Will{Topic: t.Topic("w"), Payload: payload, QoS: 1}})
		second, _ := t.Connect(Connect{ClientID: id, Clean: clean[1]})
		first.ExpectClosed()
		sub.Receive(t.Topic("w"), payload, 1)
		second.Disconnect()
	}
	t.sentinelWill(sub)
}

func takeOverWillLasting(t *T) {
	sub := t.Client()
	sub.Subscribe(t.Prefix()+"/#", 1)
	first, _ := t.Connect(Connect{ClientID: t.ClientID("s"), Will: &Will{Topic: t.Topic("w"), Payload: "must not be seen"}})
	second, _ := t.Session(t.ClientID("s"))
	first.ExpectClosed()
	second.ExpectNothing()
	t.sentinelWill(sub)
}

func wrongPassword(t *T) {
	user, right, wrong, other := "u", "right", "wrong", "v"
	sub, _ := t.Connect(Connect{ClientID: t.ClientID("sub"), Clean: true, Username: &user, Password: &right})
	sub.Subscribe(t.Prefix()+"/#", 1)
	will := &Will{Topic: t.Topic("w"), Payload: "must not be seen"}
	for i, c := range []Connect{{Username: &user, Password: &wrong}, {Username: &user}, {}, {Username: &other, Password: &right}} {
		c.Version, c.ClientID, c.Clean, c.Will = t.Version, t.ClientID(fmt.Sprint(i)), true, will
		p := t.Dial()
		p.Send(c.Bytes())
		p.ExpectConnackRefusal(5)
	}
	ok, _ := t.Connect(Connect{ClientID: t.ClientID("ok"), Clean: true, Username: &user, Password: &right,
		Will: &Will{Topic: t.Topic("sentinel"), Payload: "x"}})
	ok.CloseWrite()
	sub.Receive(t.Topic("sentinel"), "x", 0)
}

// maxConnections: with two places taken a third client is closed; a place is free again some moments after a close.
func maxConnections(t *T) {
	for range 3 {
		a, b := t.clientWhenPlace(), t.clientWhenPlace()
		if extra := t.tryDial(); extra != nil {
			extra.Send(Connect{Version: t.Version, ClientID: t.ClientID("extra"), Clean: true}.Bytes())
			extra.ExpectClosed()
		}
		a.ExpectNothing()
		b.ExpectNothing()
		a.CloseWrite()
		b.Disconnect()
	}
	t.clientWhenPlace().ExpectNothing()
}

// clientWhenPlace is Client, tried again while the broker closes at once.
func (t *T) clientWhenPlace() *Peer {
	for deadline := time.Now().Add(patience); ; {
		if p := t.tryDial(); p != nil {
			p.Send(Connect{Version: t.Version, ClientID: t.ClientID(fmt.Sprintf("p%d", len(t.peers))), Clean: true}.Bytes())
			if pkt, closed := p.nextOrClosed(); !closed {
				if pkt.Type != CONNACK || pkt.Code != 0 {
					t.Fatalf("CONNECT answered by %s", pkt)
				}
				return p
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no place came free within %v", patience)
		}
	}
}

func maxKeepAlive(t *T) {
	for _, keepAlive := range []uint16{61, 65535} {
		p := t.Dial()
		p.Send(Connect{Version: t.Version, ClientID: t.ClientID("k"), Clean: true, KeepAlive: keepAlive}.Bytes())
		p.ExpectConnackRefusal(2)
	}
	p, _ := t.Connect(Connect{ClientID: t.ClientID("k"), Clean: true, KeepAlive: 60})
	p.ExpectNothing()
}

// keepAliveReset sends something every second, with a keep-alive of one second, for longer than any broker's patience.
func keepAliveReset(t *T) {
	p, _ := t.Connect(Connect{ClientID: t.ClientID("k"), Clean: true, KeepAlive: 1})
	tick := time.NewTicker(900 * time.Millisecond)
	defer tick.Stop()
	for i, raw := range [][]byte{Ping, Publish{Topic: t.Topic("a")}.Bytes(t.Version), Ack(PUBACK, 1), Publish{Topic: t.Topic("a"), QoS: 1, ID: 1}.Bytes(t.Version), Subscribe(t.Version, 2, nil, Sub{t.Topic("b"), 0})} {
		<-tick.C
		p.Send(raw)
		want := map[int]byte{0: PINGRESP, 3: PUBACK, 4: SUBACK}[i]
		if want != 0 {
			p.Expect(want)
		}
	}
	p.ExpectNothing()
}

// keepAliveNever watches a silent client for longer than the broker needs to close one with a keep-alive of 1 s.
func keepAliveNever(t *T) {
	silent, _ := t.Connect(Connect{ClientID: t.ClientID("silent"), Clean: true})
	measure, _ := t.Connect(Connect{ClientID: t.ClientID("measure"), Clean: true, KeepAlive: 1})
	measure.ExpectClosedWithin(1500*time.Millisecond + t.KeepAliveSlack())
	silent.ExpectNothing()
}

func keepAliveWill(t *T) {
	sub := t.Client()
	sub.Subscribe(t.Topic("w"), 1)
	p, _ := t.Connect(Connect{ClientID: t.ClientID("k"), Clean: true, KeepAlive: 1, Will: &Will{Topic: t.Topic("w"), Payload: "late", QoS: 1}})
	p.ExpectClosedWithin(1500*time.Millisecond + t.KeepAliveSlack())
	sub.Receive(t.Topic("w"), "late", 1)
}

// malformedBodies are packets of the right type whose body is cut short.
func malformedBodies(t *T) {
	t.eachCloses(
		packetCase{"PUBLISH without a body", Raw(0x30)},
		packetCase{"PUBLISH with half a length", Raw(0x30, 0)},
		packetCase{"PUBLISH with a topic cut short", Raw(0x30, 0, 9, 'a')},
		packetCase{"PUBLISH QoS 1 without identifier", Raw(0x32, Str(nil, t.Topic("a"))...)},
		packetCase{"PUBLISH QoS 2 with half an identifier", Raw(0x34, append(Str(nil, t.Topic("a")), 1)...)},
		packetCase{"PUBACK without identifier", Raw(0x40)}, packetCase{"PUBREC with half an identifier", Raw(0x50, 1)},
		packetCase{"PUBREL without identifier", Raw(0x62)}, packetCase{"PUBCOMP without identifier", Raw(0x70)})
}

// surplusBodies are packets with bytes after their end.
func surplusBodies(t *T) {
	t.eachCloses(
		packetCase{"PUBACK of three bytes", Raw(0x40, 0, 1, 0)}, packetCase{"PUBREC of three bytes", Raw(0x50, 0, 1, 0)},
		packetCase{"PUBREL of three bytes", Raw(0x62, 0, 1, 0)}, packetCase{"PUBCOMP of three bytes", Raw(0x70, 0, 1, 0)},
		packetCase{"PINGREQ with a body", Raw(0xc0, 0)}, packetCase{"DISCONNECT with a body", Raw(0xe0, 0, 0)})
}

func acksOfZero(t *T) {
	t.eachCloses(
		packetCase{"PUBACK 0", Ack(PUBACK, 0)}, packetCase{"PUBREC 0", Ack(PUBREC, 0)},
		packetCase{"PUBREL 0", Ack(PUBREL, 0)}, packetCase{"PUBCOMP 0", Ack(PUBCOMP, 0)})
}

func topicLevels(t *T) {
	base := strings.Count(t.Topic(""), "/")
	levels := func(n int) string { return t.Topic(strings.Repeat("/", n-1-base)) }
	p := t.Client()
	p.Subscribe(levels(200), 1)
	p.Publish(Publish{Topic: levels(200), Payload: "deep", QoS: 1})
	p.Receive(levels(200), "deep", 1)
	t.eachCloses(packetCase{"PUBLISH to 202 levels", Publish{Topic: levels(202), QoS: 1, ID: 1}.Bytes(t.Version)},
		packetCase{"SUBSCRIBE to 202 levels", Subscribe(t.Version, 1, nil, Sub{levels(202), 0})},
		packetCase{"PUBLISH to 65,000 levels", Publish{Topic: levels(65000), QoS: 1, ID: 1}.Bytes(t.Version)})
}

func othersAreServed(t *T) {
	sub, pub := t.Client(), t.Client()
	sub.Subscribe(t.Topic("a"), 1)
	for i, c := range append(serverOnlyPackets(), packetCase{"QoS 3", Raw(0x36, 0, 1, 'a', 0, 1)}, packetCase{"garbage", []byte("GET / HTTP/1.1\r\n\r\n")}) {
		p := t.Client()
		p.Send(c.raw)
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: fmt.Sprint(i), QoS: 1})
		sub.Receive(t.Topic("a"), fmt.Sprint(i), 1)
	}
}

func emptyWill(t *T) {
	pub, sub := t.Client(), t.Client()
	pub.Publish(Publish{Topic: t.Topic("w"), Payload: "kept", QoS: 1, Retain: true})
	sub.Subscribe(t.Topic("w"), 1)
	sub.Receive(t.Topic("w"), "kept", 1)
	t.clientWithWill("w", Will{Topic: t.Topic("w"), QoS: 1}).CloseWrite()
	sub.Receive(t.Topic("w"), "", 1)
	late := t.Client()
	late.Subscribe(t.Topic("w"), 1)
	late.Receive(t.Topic("w"), "kept", 1)
	t.clientWithWill("w", Will{Topic: t.Topic("w"), QoS: 1, Retain: true}).CloseWrite()
	sub.Receive(t.Topic("w"), "", 1)
	late = t.Client()
	late.Subscribe(t.Topic("w"), 1)
	late.ExpectNothing()
}

func badWillTopics(t *T) {
	var cases []packetCase
	for _, topic := range []string{"", t.Topic("#"), t.Topic("+/a"), t.Topic("a\x00"), t.Topic("a+")} {
		cases = append(cases, packetCase{fmt.Sprintf("will topic %q", topic),
			Connect{Version: t.Version, ClientID: t.ClientID("w"), Clean: true, Will: &Will{Topic: topic, Payload: "x"}}.Bytes()})
	}
	t.eachConnectCloses(cases...)
}

func oversizeWill(t *T) {
	will := Will{Topic: t.Topic("w"), Payload: strings.Repeat("x", 101)}
	p := t.Dial()
	p.Send(Connect{Version: t.Version, ClientID: t.ClientID("big"), Clean: true, Will: &will}.Bytes())
	p.ExpectConnackRefusal(5)
	will.Payload = will.Payload[1:]
	t.clientWithWill("fits", will).ExpectNothing()
}

func flipFlop(t *T) {
	pub, id := t.Client(), t.ClientID("s")
	for i := range 4 {
		clean, _ := t.Connect(Connect{ClientID: id, Clean: true})
		clean.Subscribe(t.Topic("a"), 1)
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: fmt.Sprint("clean ", i), QoS: 1})
		clean.Receive(t.Topic("a"), fmt.Sprint("clean ", i), 1)
		lasting, ack := t.Session(id)
		clean.ExpectClosed()
		t.wantPresent(ack, false)
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: "for nobody", QoS: 1})
		lasting.ExpectNothing()
		lasting.Subscribe(t.Topic("a"), 1)
		lasting.CloseWrite()
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: "offline", QoS: 1})
		lasting, _ = t.Session(id)
		lasting.Receive(t.Topic("a"), "offline", 1)
		lasting.ExpectNothing()
	}
}

func qos0Offline(t *T, queued bool) {
	pub := t.Client()
	sub, _ := t.Session(t.ClientID("s"))
	sub.Subscribe(t.Topic("a"), 1)
	sub.Disconnect()
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "0"})
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "1", QoS: 1})
	sub, _ = t.Session(t.ClientID("s"))
	if queued {
		sub.Receive(t.Topic("a"), "0", 0)
	}
	sub.Receive(t.Topic("a"), "1", 1)
	sub.ExpectNothing()
}
