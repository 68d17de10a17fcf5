package conformance

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// These tests hold the harness itself: that it refuses what a broker must not send, and that its expectations fail when
// they should. A suite that cannot fail proves nothing.

func TestReadPacketRefuses(t *testing.T) {
	for _, c := range []struct {
		what string
		v    Version
		raw  []byte
	}{
		{"CONNACK with flags in the fixed header", V311, Raw(0x21, 0, 0)},
		{"CONNACK with reserved acknowledge flags", V311, Raw(0x20, 2, 0)},
		{"CONNACK of three bytes", V311, Raw(0x20, 0, 0, 0)},
		{"CONNACK of MQTT 5 without properties", V5, Raw(0x20, 0, 0)},
		{"PUBLISH with QoS 3", V311, Publish{Topic: "a", QoS: 3, ID: 1}.Bytes(V311)},
		{"PUBLISH QoS 0 with DUP", V311, Publish{Topic: "a", Dup: true}.Bytes(V311)},
		{"PUBLISH QoS 1 with identifier 0", V311, Publish{Topic: "a", QoS: 1}.Bytes(V311)},
		{"PUBLISH with a wildcard", V311, Publish{Topic: "a/#"}.Bytes(V311)},
		{"PUBLISH with an empty topic", V311, Publish{}.Bytes(V311)},
		{"PUBLISH with a surrogate", V311, Publish{Topic: "a\xed\xa0\x80"}.Bytes(V311)},
		{"PUBLISH with U+0000", V311, Publish{Topic: "a\x00"}.Bytes(V311)},
		{"PUBLISH with a property twice", V5, Publish{Topic: "a", Props: []Prop{{ID: PropPayloadFormat}, {ID: PropPayloadFormat}}}.Bytes(V5)},
		{"PUBLISH with a CONNACK's property", V5, Publish{Topic: "a", Props: []Prop{{ID: PropMaximumQoS}}}.Bytes(V5)},
		{"PUBACK with identifier 0", V311, Ack(PUBACK, 0)},
		{"PUBACK with a reason code in 3.1.1", V311, Raw(0x40, 0, 1, 0)},
		{"PUBREL without its flags", V311, Raw(0x60, 0, 1)},
		{"UNSUBACK with codes in 3.1.1", V311, Raw(0xb0, 0, 1, 0)},
		{"DISCONNECT in 3.1.1", V311, Disconnect},
		{"a client's packet", V311, Ping},
		{"type 0", V311, Raw(0)},
		{"a remaining length in too many bytes", V311, []byte{0xd0, 0x80, 0x00}},
		{"a remaining length of five bytes", V311, []byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}},
		{"a packet cut off", V311, []byte{0x20, 2, 0}},
	} {
		if pkt, err := readPacket(bytes.NewReader(c.raw), c.v); err == nil {
			t.Errorf("%s: taken as %s", c.what, pkt)
		}
	}
}

func TestReadPacketTakes(t *testing.T) {
	m := Publish{Topic: "a/b", Payload: strings.Repeat("x", 300), QoS: 2, Retain: true, ID: 4660,
		Props: []Prop{{ID: PropUser, Key: "k", Str: "v"}, {ID: PropUser, Key: "k", Str: "w"}, {ID: PropSubscriptionID, Int: 268435455}, {ID: PropMessageExpiry, Int: 7}}}
	pkt, err := readPacket(bytes.NewReader(m.Bytes(V5)), V5)
	if err != nil {
		t.Fatal(err)
	}
	if pkt.Topic != m.Topic || pkt.Payload != m.Payload || pkt.QoS != 2 || !pkt.Retain || pkt.Dup || pkt.ID != 4660 || len(pkt.Props) != 4 {
		t.Errorf("read %s, wrote %+v", pkt, m)
	}
	for i, p := range m.Props {
		if pkt.Props[i] != p {
			t.Errorf("property %d is %+v, wrote %+v", i, pkt.Props[i], p)
		}
	}
	if _, err := readPacket(bytes.NewReader(nil), V5); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v, want io.EOF", err)
	}
}

// scripted is a broker that answers CONNECT, then sends what it was given, and closes if told so.
func scripted(t *testing.T, send []byte, closes bool) addressTarget {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1024))
			_, _ = c.Write(append(Raw(0x20, 0, 0), send...))
			if closes {
				_ = c.Close()
				continue
			}
			t.Cleanup(func() { _ = c.Close() })
		}
	}()
	return addressTarget(l.Addr().String())
}

// TestExpectationsFail runs each expectation against a broker that does the opposite.
func TestExpectationsFail(t *testing.T) {
	publish := Publish{Topic: "a", Payload: "x", QoS: 1, ID: 1}.Bytes(V311)
	for _, c := range []struct {
		what   string
		send   []byte
		closes bool
		run    func(p *Peer)
	}{
		{"ExpectNothing, but a PUBLISH comes before PINGRESP", append(publish, Raw(0xd0)...), false, (*Peer).ExpectNothing},
		{"ExpectNothing, but the broker closes", nil, true, (*Peer).ExpectNothing},
		{"ExpectClosed, but a packet comes", publish, true, (*Peer).ExpectClosed},
		{"ExpectClosed, but it stays open", nil, false, func(p *Peer) { p.ExpectClosedWithin(50 * time.Millisecond) }},
		{"ExpectPublish with another QoS", publish, true, func(p *Peer) { p.ExpectPublish("a", "x", 0) }},
		{"ExpectPublish with another payload", publish, true, func(p *Peer) { p.ExpectPublish("a", "y", 1) }},
		{"ExpectAck with another identifier", Ack(PUBACK, 2), true, func(p *Peer) { p.ExpectAck(PUBACK, 1) }},
		{"ExpectRefused, but it is accepted again", Raw(0x20, 0, 0), true, func(p *Peer) { p.ExpectRefused() }},
		{"ExpectConnackRefusal with another code", Raw(0x20, 0, 4), true, func(p *Peer) { p.ExpectConnackRefusal(5) }},
		{"Subscribe granted lower", Raw(0x90, 0, 1, 0), true, func(p *Peer) { p.Subscribe("a", 1) }},
		{"a malformed packet", Raw(0x31, 0), true, func(p *Peer) { p.Next() }},
	} {
		target := scripted(t, c.send, c.closes)
		res := Case{ID: "X", Version: V311, Title: c.what, Run: func(ct *T) { c.run(ct.Client()) }}.RunOn(target, target)
		if res.Failure == "" {
			t.Errorf("%s: passed\n%s", c.what, res.Transcript)
		}
	}
}

func TestExpectationsPass(t *testing.T) {
	publish := Publish{Topic: "a", Payload: "x", QoS: 1, ID: 1}.Bytes(V311)
	target := scripted(t, Cat(Raw(0xd0), publish, Ack(PUBACK, 1)), true)
	res := Case{ID: "X", Version: V311, Title: "in order", Run: func(ct *T) {
		p := ct.Client()
		p.ExpectNothing()
		p.Await(PUBACK)
		p.ExpectPublish("a", "x", 1)
		p.ExpectClosed()
	}}.RunOn(target, target)
	if res.Failure != "" {
		t.Errorf("%s\n%s", res.Failure, res.Transcript)
	}
}
