package conformance

import (
	"fmt"
	"strings"
)

// Section 4.7: topic names and filters; 4.8: errors; 7: conformance.

func init() {
	register(
		Case{ID: "MQTT-4.7.1-1", Version: V311, Title: "wildcards are for filters alone", Run: func(t *T) {
			p := t.Client()
			p.Subscribe(t.Topic("+/#"), 0)
			t.eachCloses(packetCase{"# in a name", Publish{Topic: t.Topic("a/#"), QoS: 1, ID: 1}.Bytes(t.Version)},
				packetCase{"+ in a name", Publish{Topic: t.Topic("a/+"), QoS: 1, ID: 1}.Bytes(t.Version)})
			p.ExpectNothing()
		}},
		Case{ID: "MQTT-4.7.1-2", Version: V311, Part: "form", Title: "# not alone in the last level closes", Run: func(t *T) {
			badFilters(t, "tennis#", "#/ranking", "a/#/b", "##", "#+", "+#", "a/b#", "#a", "a/#/")
		}},
		Case{ID: "MQTT-4.7.1-2", Version: V311, Title: "# matches the parent and all below", Run: func(t *T) {
			matching(t, "sport/tennis/player1/#", []string{"sport/tennis/player1", "sport/tennis/player1/ranking",
				"sport/tennis/player1/score/wimbledon", "sport/tennis/player1/", "sport/tennis/player1//"},
				[]string{"sport/tennis", "sport/tennis/player10", "sport/tennis/player1x/a", "sport"})
		}},
		Case{ID: "MQTT-4.7.1-3", Version: V311, Part: "form", Title: "+ beside other characters closes", Run: func(t *T) {
			badFilters(t, "sport+", "+sport", "a/b+/c", "a/+b/c", "++", "a/++")
		}},
		Case{ID: "MQTT-4.7.1-3", Version: V311, Title: "+ matches one level, also an empty one", Run: func(t *T) {
			matching(t, "a/+/c", []string{"a/b/c", "a//c", "a/ /c"}, []string{"a/c", "a/b/b/c", "a/b/c/d", "a/b/C", "a/b"})
			matching(t, "sport/+", []string{"sport/", "sport/x"}, []string{"sport", "sport/x/y", "sport//"})
			matching(t, "x/+/+/#", []string{"x/a/b", "x/a/b/c/d", "x//"}, []string{"x/a", "x"})
		}},
		Case{ID: "MQTT-4.7.2-1", Version: V311, Title: "# and + do not match names that begin with $", Run: dollarHidden},
		Case{ID: "MQTT-4.7.3-1", Version: V311, Title: "an empty name or filter closes", Run: func(t *T) {
			t.eachCloses(packetCase{"name QoS 0", Publish{Payload: "x"}.Bytes(t.Version)},
				packetCase{"name QoS 1", Publish{Payload: "x", QoS: 1, ID: 1}.Bytes(t.Version)},
				packetCase{"filter", Subscribe(t.Version, 1, nil, Sub{"", 0})},
				packetCase{"second filter", Subscribe(t.Version, 1, nil, Sub{t.Topic("a"), 0}, Sub{"", 0})},
				packetCase{"filter in UNSUBSCRIBE", Unsubscribe(t.Version, 1, nil, "")})
		}},
		Case{ID: "MQTT-4.7.3-3", Version: V311, Title: "names and filters of 65,535 bytes work", Run: longestTopic},
		Case{ID: "MQTT-4.7.3-4", Version: V311, Title: "names are matched byte for byte", Run: noNormalization},
		Case{ID: "MQTT-7.0.0-2", Version: V311, Title: "the bare protocol is enough: every packet type, both QoS directions", Run: everyServerPacket},
		Case{ID: "MQTT-7.1.1-1", Version: V311, Title: "a stream of bytes: packets in pieces and many in one piece", Run: packetsInPieces},
	)
	for _, c := range serverOnlyPackets() {
		register(Case{ID: "MQTT-4.8.0-1", Version: V311, Part: strings.ReplaceAll(c.what, " ", "-"),
			Title: "a packet that a client must not send closes: " + c.what, Run: func(t *T) { t.eachCloses(c) }})
	}
}

// serverOnlyPackets are those that only servers send, and the two reserved types.
func serverOnlyPackets() []packetCase {
	return []packetCase{
		{"CONNACK", Raw(0x20, 0, 0)}, {"SUBACK", Raw(0x90, 0, 1, 0)}, {"UNSUBACK", Raw(0xb0, 0, 1)},
		{"PINGRESP", Raw(0xd0)}, {"type 0", Raw(0x00)}, {"type 15", Raw(0xf0)},
	}
}

func badFilters(t *T, filters ...string) {
	var cases []packetCase
	for _, f := range filters {
		cases = append(cases, packetCase{"SUBSCRIBE " + f, Subscribe(t.Version, 1, nil, Sub{t.Topic(f), 0})},
			packetCase{"UNSUBSCRIBE " + f, Unsubscribe(t.Version, 1, nil, t.Topic(f))})
	}
	t.eachCloses(cases...)
}

// matching subscribes to the filter and publishes to all names: those of yes must come, those of no must not.
func matching(t *T, filter string, yes, no []string) {
	sub, pub := t.Client(), t.Client()
	sub.Subscribe(t.Topic(filter), 0)
	for i := range max(len(yes), len(no)) {
		if i < len(no) {
			pub.Publish(Publish{Topic: t.Topic(no[i]), Payload: "no", QoS: 1})
		}
		if i < len(yes) {
			pub.Publish(Publish{Topic: t.Topic(yes[i]), Payload: "yes", QoS: 1})
		}
	}
	for _, name := range yes {
		sub.Receive(t.Topic(name), "yes", 0)
	}
	sub.ExpectNothing()
}

// dollarHidden uses the broker's own $SYS and a name of its own.
func dollarHidden(t *T) {
	all, plus, own := t.Client(), t.Client(), t.Client()
	all.Subscribe("#", 0)
	plus.Subscribe("+/broker/version", 0)
	own.Subscribe("$SYS/broker/version", 0)
	own.ExpectPublishTopic("$SYS/broker/version")
	plus.ExpectNothing()
	pub := t.Client()
	pub.Publish(Publish{Topic: "$" + t.Topic("a"), Payload: "hidden", QoS: 1})
	pub.Publish(Publish{Topic: t.Topic("a"), Payload: "seen", QoS: 1})
	// Other cases' messages come on # too.
	for {
		pkt := all.Expect(PUBLISH)
		if strings.HasPrefix(pkt.Topic, "$") {
			t.Fatalf("# received %s", pkt)
		}
		if pkt.Topic == t.Topic("a") {
			return
		}
	}
}

func longestTopic(t *T) {
	sub, pub := t.Client(), t.Client()
	topic := t.Topic("")
	topic += strings.Repeat("x", 65535-len(topic))
	sub.Subscribe(topic, 1)
	pub.Publish(Publish{Topic: topic, Payload: "long", QoS: 1})
	sub.Receive(topic, "long", 1)
	sub.Unsubscribe(topic)
}

func noNormalization(t *T) {
	names := []string{"é", "e\u0301", "A", "a", "a/", "/a", "a//b", "a/b", "\ufb01", "fi", "a b", "a%20b", ".", "a/../a", "\u00a0", "\u200b", "\u03a9", "\u2126"}
	sub, pub := t.Client(), t.Client()
	for i, name := range names {
		other := names[(i+1)%len(names)]
		sub.Subscribe(t.Topic(name), 0)
		pub.Publish(Publish{Topic: t.Topic(other), Payload: "no", QoS: 1})
		pub.Publish(Publish{Topic: t.Topic(name), Payload: fmt.Sprint(i), QoS: 1})
		sub.Receive(t.Topic(name), fmt.Sprint(i), 0)
		sub.Unsubscribe(t.Topic(name))
	}
	sub.ExpectNothing()
}

func packetsInPieces(t *T) {
	sub, pub := t.Client(), t.Client()
	sub.Subscribe(t.Topic("a"), 1)
	m := Publish{Topic: t.Topic("a"), Payload: strings.Repeat("p", 200), QoS: 1, ID: 1}.Bytes(t.Version)
	for i := range m {
		pub.Send(m[i : i+1])
	}
	pub.ExpectAck(PUBACK, 1)
	sub.Receive(t.Topic("a"), strings.Repeat("p", 200), 1)
	var burst []byte
	for i := range 20 {
		burst = append(burst, Publish{Topic: t.Topic("a"), Payload: fmt.Sprint(i), QoS: 1, ID: uint16(i + 2)}.Bytes(t.Version)...)
	}
	cut := len(burst) - 7
	pub.Send(burst[:cut])
	for i := range 18 {
		pub.ExpectAck(PUBACK, uint16(i+2))
	}
	pub.Send(burst[cut:])
	pub.Await(PUBACK)
	for i := range 20 {
		sub.Receive(t.Topic("a"), fmt.Sprint(i), 1)
	}
}
