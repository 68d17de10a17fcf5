package conformance

import (
	"fmt"
	"strings"
)

// Behaviours that clients of Mosquitto rely on, beyond the statements, for MQTT 3.1.1: messages.

func init() {
	for _, v := range []Version{V31, V311} {
		register(Case{ID: "B-20", Version: v, Title: "a client gets its own messages, each QoS against each", Run: selfSubscribe})
	}
	register(
		Case{ID: "B-22", Version: V311, Part: "ignored", Title: "unsolicited PUBACK and PUBCOMP are ignored", Run: func(t *T) {
			p := t.Client()
			p.Send(Ack(PUBACK, 1), Ack(PUBCOMP, 2), Ack(PUBACK, 65535))
			p.ExpectNothing()
		}},
		Case{ID: "B-22", Version: V311, Part: "pubrel", Title: "an unsolicited PUBREL is answered by PUBCOMP", Run: func(t *T) {
			p := t.Client()
			p.Send(Ack(PUBREL, 17))
			p.ExpectAck(PUBCOMP, 17)
			p.ExpectNothing()
		}},
		Case{ID: "B-22", Version: V311, Part: "pubrec", Title: "an unsolicited PUBREC keeps the connection", Run: func(t *T) {
			p := t.Client()
			p.Send(Ack(PUBREC, 17), Ping)
			p.Await(PINGRESP)
		}},
		Case{ID: "B-22", Version: V311, Part: "wrong", Title: "the wrong acknowledgement for a flow closes", Run: wrongAcks},
		Case{ID: "B-23", Version: V311, Title: "a QoS 2 identifier with another message replaces the first", Run: qos2Replaced},
		Case{ID: "B-25", Version: V311, Part: "acl", Title: "a publish the ACL denies is acknowledged and dropped, the connection lives",
			Options: Options{ACL: "topic readwrite nj/#\ntopic read forbidden/#\n"}, Run: aclDropped},
		Case{ID: "B-25", Version: V311, Part: "size", Title: "a payload over message_size_limit is acknowledged and dropped",
			Options: Options{MessageSizeLimit: 100}, Run: oversizeDropped},
		Case{ID: "B-26", Version: V311, Title: "upgrade_outgoing_qos sends with the subscription's QoS",
			Options: Options{UpgradeOutgoingQoS: true}, Run: upgradedQoS},
		Case{ID: "B-27", Version: V311, Part: "order", Title: "SUBACK comes before the retained messages", Run: subackBeforeRetained},
		Case{ID: "B-27", Version: V311, Part: "tree", Title: "a retained tree is removed one by one", Run: removeTree},
		Case{ID: "B-29", Version: V311, Title: "with retain_available false a retained PUBLISH closes and is not kept",
			Options: Options{RefuseRetain: true}, Run: retainRefused},
		Case{ID: "B-42", Version: V311, Title: "publishing to $SYS is ignored", Run: publishToSys},
		Case{ID: "B-43", Version: V311, Title: "$share/group/filter: one member gets each message, plain subscribers all", Run: shared},
		Case{ID: "B-43", Version: V311, Part: "malformed", Title: "malformed $share filters are refused", Run: malformedShare},
		Case{ID: "B-43", Version: V311, Part: "unsubscribe", Title: "plain and shared subscriptions are ended apart", Run: sharedUnsubscribe},
		Case{ID: "B-45", Version: V311, Part: "inflight", Title: "never more than max_inflight_messages unacknowledged",
			Options: Options{MaxInflight: 3}, Run: func(t *T) { maxInflight(t, 1, 1) }},
		Case{ID: "B-45", Version: V311, Part: "inflight-mixed", Title: "the same with QoS 1 and 2 mixed",
			Options: Options{MaxInflight: 3}, Run: func(t *T) { maxInflight(t, 1, 2) }},
		Case{ID: "B-45", Version: V311, Part: "queued", Title: "over max_queued_messages the newest are dropped",
			Options: Options{MaxInflight: 2, MaxQueued: 4}, Run: maxQueued},
		Case{ID: "B-44", Version: V311, Title: "control packets are served while the window is full", Options: Options{MaxInflight: 1}, Run: controlAtFullWindow},
		Case{ID: "B-20", Version: V311, Part: "overlap", Title: "overlapping subscriptions deliver one copy", Run: overlapOneCopy},
		Case{ID: "B-20", Version: V311, Part: "large", Title: "a payload of 1 MB passes", Run: largePayload},
	)
}

func selfSubscribe(t *T) {
	p := t.Client()
	for granted := byte(0); granted < 3; granted++ {
		p.Subscribe(t.Topic("a"), granted)
		for qos := byte(0); qos < 3; qos++ {
			payload := fmt.Sprintf("%d at %d", qos, granted)
			p.Publish(Publish{Topic: t.Topic("a"), Payload: payload, QoS: qos})
			p.Receive(t.Topic("a"), payload, min(qos, granted))
		}
	}
	p.ExpectNothing()
}

func wrongAcks(t *T) {
	pub := t.Client()
	for _, c := range []struct {
		qos, ack byte
	}{{1, PUBREC}, {1, PUBCOMP}, {2, PUBACK}, {2, PUBCOMP}} {
		t.Logf("--- QoS %d answered by %s", c.qos, typeNames[c.ack])
		sub := t.Client()
		sub.Subscribe(t.Topic("a"), c.qos)
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: "x", QoS: c.qos})
		pkt := sub.ExpectPublish(t.Topic("a"), "x", c.qos)
		sub.Send(Ack(c.ack, pkt.ID), Ping)
		sub.ExpectClosed()
	}
}

func qos2Replaced(t *T) {
	sub, pub := t.Client(), t.Client()
	sub.Subscribe(t.Topic("a"), 2)
	for _, payload := range []string{"first", "second"} {
		pub.Send(Publish{Topic: t.Topic("a"), Payload: payload, QoS: 2, ID: 3}.Bytes(t.Version))
		pub.ExpectAck(PUBREC, 3)
	}
	pub.Send(Ack(PUBREL, 3))
	pub.ExpectAck(PUBCOMP, 3)
	sub.Receive(t.Topic("a"), "second", 2)
	sub.ExpectNothing()
}

func aclDropped(t *T) {
	sub, pub := t.Client(), t.Client()
	sub.Subscribe("forbidden/#", 2)
	sub.Subscribe(t.Topic("a"), 2)
	for qos := byte(0); qos < 3; qos++ {
		pub.Publish(Publish{Topic: "forbidden/a", Payload: "x", QoS: qos})
	}
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "allowed", QoS: 1})
	sub.Receive(t.Topic("a"), "allowed", 1)
	sub.ExpectNothing()
}

func oversizeDropped(t *T) {
	sub, pub := t.Client(), t.Client()
	sub.Subscribe(t.Topic("a"), 2)
	for qos := byte(0); qos < 3; qos++ {
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: strings.Repeat("x", 101), QoS: qos})
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: strings.Repeat("y", 100), QoS: qos})
		sub.Receive(t.Topic("a"), strings.Repeat("y", 100), qos)
	}
	sub.ExpectNothing()
}

func upgradedQoS(t *T) {
	pub := t.Client()
	pub.Publish(Publish{Topic: t.Topic("kept"), Payload: "kept", Retain: true})
	for granted := byte(0); granted < 3; granted++ {
		sub := t.Client()
		sub.Subscribe(t.Topic("kept"), granted)
		sub.Receive(t.Topic("kept"), "kept", granted)
		sub.Subscribe(t.Topic("a"), granted)
		for qos := byte(0); qos < 3; qos++ {
			pub.Publish(Publish{Topic: t.Topic("a"), Payload: "x", QoS: qos})
			sub.Receive(t.Topic("a"), "x", granted)
		}
	}
}

func subackBeforeRetained(t *T) {
	pub, sub := t.Client(), t.Client()
	for i := range 5 {
		pub.Publish(Publish{Topic: t.Topic(fmt.Sprint(i)), Payload: "kept", QoS: 1, Retain: true})
	}
	sub.Send(Subscribe(t.Version, 1, nil, Sub{t.Topic("+"), 1}))
	sub.ExpectAck(SUBACK, 1)
	for range 5 {
		sub.Acknowledge(sub.Expect(PUBLISH))
	}
	sub.ExpectNothing()
}

func removeTree(t *T) {
	pub := t.Client()
	names := []string{"a", "a/b", "a/b/c", "a/b/c/d", "a/x", "a/x/y"}
	for _, name := range names {
		pub.Publish(Publish{Topic: t.Topic(name), Payload: name, QoS: 1, Retain: true})
	}
	for left := len(names); left > 0; left-- {
		sub := t.Client()
		sub.Subscribe(t.Topic("a/#"), 0)
		got := map[string]bool{}
		for range left {
			got[sub.Expect(PUBLISH).Topic] = true
		}
		sub.ExpectNothing()
		for _, name := range names[len(names)-left:] {
			if !got[t.Topic(name)] {
				t.Fatalf("%s is gone though only %v were removed", name, names[:len(names)-left])
			}
		}
		pub.Publish(Publish{Topic: t.Topic(names[len(names)-left]), QoS: 1, Retain: true})
	}
	sub := t.Client()
	sub.Subscribe(t.Topic("#"), 0)
	sub.ExpectNothing()
}

func retainRefused(t *T) {
	p := t.Client()
	p.Send(Publish{Topic: t.Topic("a"), Payload: "x", Retain: true}.Bytes(t.Version), Ping)
	p.ExpectClosed()
	sub, pub := t.Client(), t.Client()
	sub.Subscribe(t.Topic("a"), 1)
	sub.ExpectNothing()
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "plain", QoS: 1})
	sub.Receive(t.Topic("a"), "plain", 1)
}

func publishToSys(t *T) {
	sub, pub := t.Client(), t.Client()
	sub.Subscribe("$SYS/broker/version", 1)
	before := sub.Expect(PUBLISH)
	sub.Acknowledge(before)
	for qos := byte(0); qos < 3; qos++ {
		pub.Publish(Publish{Topic: "$SYS/broker/version", Payload: "forged " + t.Prefix(), QoS: qos, Retain: true})
	}
	sub.ExpectNothing()
	late := t.Client()
	late.Subscribe("$SYS/broker/version", 0)
	if pkt := late.Expect(PUBLISH); pkt.Payload != before.Payload {
		t.Fatalf("version is %q after a client published, was %q", pkt.Payload, before.Payload)
	}
}

func shared(t *T) {
	pub, plain := t.Client(), t.Client()
	var members []*Peer
	filter := "$share/g" + t.ClientID("") + "/" + t.Topic("a/+")
	for range 3 {
		m := t.Client()
		m.Subscribe(filter, 1)
		members = append(members, m)
	}
	other := t.Client()
	other.Subscribe("$share/other"+t.ClientID("")+"/"+t.Topic("a/+"), 1)
	plain.Subscribe(t.Topic("a/+"), 1)
	const n = 12
	for i := range n {
		pub.Publish(Publish{Topic: t.Topic("a/b"), Payload: fmt.Sprint(i), QoS: 1})
		plain.Receive(t.Topic("a/b"), fmt.Sprint(i), 1)
		other.Receive(t.Topic("a/b"), fmt.Sprint(i), 1)
	}
	total := 0
	for i, m := range members {
		got := m.takeAll(t.Topic("a/b"))
		if got == 0 {
			t.Fatalf("member %d got none of %d messages", i, n)
		}
		total += got
	}
	if total != n {
		t.Fatalf("the group got %d messages, want %d", total, n)
	}
	plain.ExpectNothing()
	other.ExpectNothing()
}

// takeAll acknowledges all QoS 1 messages on the topic that have come, and returns how many they are.
func (p *Peer) takeAll(topic string) int {
	for n := 0; ; n++ {
		if len(p.pending) == 0 {
			p.Send(Ping)
			p.Await(PINGRESP)
			if len(p.pending) == 0 {
				return n
			}
		}
		pkt := p.Expect(PUBLISH)
		if pkt.Topic != topic {
			p.t.Fatalf("%s: unexpected %s", p.name, pkt)
		}
		p.Acknowledge(pkt)
	}
}

func malformedShare(t *T) {
	var granted []string
	for _, filter := range []string{"$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/g+/a", "$share/#/a", "$share/+/a"} {
		t.Logf("--- %q", filter)
		p := t.Client()
		p.Send(Subscribe(t.Version, 1, nil, Sub{filter, 0}))
		if pkt, closed := p.nextOrClosed(); !closed && (pkt.Type != SUBACK || pkt.Codes[0] != 0x80) {
			granted = append(granted, filter)
		}
	}
	if len(granted) > 0 {
		t.Fatalf("granted: %q", granted)
	}
}

func sharedUnsubscribe(t *T) {
	pub, p := t.Client(), t.Client()
	filter := "$share/g" + t.ClientID("") + "/" + t.Topic("a")
	p.Subscribe(filter, 1)
	p.Subscribe(t.Topic("a"), 1)
	p.Unsubscribe(t.Topic("a"))
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "shared", QoS: 1})
	p.Receive(t.Topic("a"), "shared", 1)
	p.ExpectNothing()
	p.Subscribe(t.Topic("a"), 1)
	p.Unsubscribe(filter)
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "plain", QoS: 1})
	p.Receive(t.Topic("a"), "plain", 1)
	p.ExpectNothing()
	p.Unsubscribe(t.Topic("a"))
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "for nobody", QoS: 1})
	p.ExpectNothing()
}

func maxInflight(t *T, even, odd byte) {
	qos := func(i int) byte { return []byte{even, odd}[i%2] }
	sub, pub := t.Client(), t.Client()
	sub.Subscribe(t.Topic("a"), 2)
	const n = 10
	for i := range n {
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: fmt.Sprint(i), QoS: qos(i)})
	}
	var window []*Packet
	for i := range n {
		if i >= 3 {
			sub.ExpectNothing() // the window is full
			sub.Acknowledge(window[0])
			window = window[1:]
		}
		window = append(window, sub.ExpectPublish(t.Topic("a"), fmt.Sprint(i), qos(i)))
	}
}

func maxQueued(t *T) {
	pub := t.Client()
	sub, _ := t.Session(t.ClientID("s"))
	sub.Subscribe(t.Topic("a"), 1)
	sub.Disconnect()
	for i := range 20 {
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: fmt.Sprint(i), QoS: 1})
	}
	sub, _ = t.Session(t.ClientID("s"))
	got := 0
	for ; ; got++ {
		sub.Send(Ping)
		pkt := sub.Next()
		if pkt.Type == PINGRESP {
			break
		}
		if pkt.Payload != fmt.Sprint(got) {
			t.Fatalf("message %s came, want %d: the newest are to be dropped, not the oldest", pkt.Payload, got)
		}
		sub.Acknowledge(pkt)
		sub.Await(PINGRESP)
	}
	// The limit on the queue, and the window on top if the broker counts it apart.
	if got < 4 || got > 6 {
		t.Fatalf("%d of 20 messages came; the queue holds 4, the window 2", got)
	}
}

func controlAtFullWindow(t *T) {
	sub, pub := t.Client(), t.Client()
	sub.Subscribe(t.Topic("a"), 1)
	for i := range 3 {
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: fmt.Sprint(i), QoS: 1})
	}
	first := sub.ExpectPublish(t.Topic("a"), "0", 1)
	sub.ExpectNothing()
	sub.Subscribe(t.Topic("b"), 0)
	sub.Publish(Publish{Topic: t.Topic("b"), Payload: "own", QoS: 2})
	sub.Receive(t.Topic("b"), "own", 0)
	sub.Unsubscribe(t.Topic("b"))
	sub.ExpectNothing()
	sub.Acknowledge(first)
	sub.Receive(t.Topic("a"), "1", 1)
	sub.Receive(t.Topic("a"), "2", 1)
}

func overlapOneCopy(t *T) {
	sub, pub := t.Client(), t.Client()
	for _, f := range []string{"a/b", "a/+", "a/#", "#"} {
		sub.Subscribe(t.Topic(f), 1)
	}
	pub.Publish(Publish{Topic: t.Topic("a/b"), Payload: "x", QoS: 1})
	sub.Receive(t.Topic("a/b"), "x", 1)
	sub.ExpectNothing()
}

func largePayload(t *T) {
	sub, pub := t.Client(), t.Client()
	sub.Subscribe(t.Topic("a"), 2)
	payload := strings.Repeat("0123456789abcdef", 1<<16)
	for qos := byte(0); qos < 3; qos++ {
		pub.Publish(Publish{Topic: t.Topic("a"), Payload: payload, QoS: qos})
		sub.Receive(t.Topic("a"), payload, qos)
	}
}
