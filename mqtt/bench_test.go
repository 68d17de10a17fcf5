package mqtt

import (
	"fmt"
	"strings"
	"testing"
)

var hotPublish = []struct {
	name string
	v    Version
	p    Publish
}{
	{"QoS 0", V311, Publish{Topic: []byte("home/ground/kitchen/temperature"), Payload: make([]byte, 64)}},
	{"QoS 1 v5", V5, Publish{QoS: 1, PacketID: 7, Topic: []byte("home/ground/kitchen/temperature"), Payload: make([]byte, 64)}},
	{"properties", V5, Publish{QoS: 2, PacketID: 7, Topic: []byte("home/ground/kitchen/temperature"), Payload: make([]byte, 64), Props: Properties{
		Has:           has(PropPayloadFormat, PropMessageExpiry, PropContentType, PropTopicAlias, PropCorrelationData, PropResponseTopic),
		PayloadFormat: 1, MessageExpiry: 60, ContentType: []byte("application/json"), ResponseTopic: []byte("home/answers/17"),
		CorrelationData: []byte("12345678"), TopicAlias: 3, SubscriptionIDs: []uint32{1, 300},
		User: []UserProperty{{[]byte("unit"), []byte("K")}, {[]byte("source"), []byte("sensor 17")}}}}},
}

// The way of a PUBLISH and its acknowledgement allocates nothing.
func TestNoAllocations(t *testing.T) {
	for _, c := range hotPublish {
		t.Run(c.name, func(t *testing.T) {
			in, err := c.p.Append(nil, c.v)
			if err != nil {
				t.Fatal(err)
			}
			ack, err := (&Ack{Type: PUBACK, PacketID: 7, Code: QuotaExceeded, Props: Properties{User: c.p.Props.User}}).Append(nil, V5)
			if err != nil {
				t.Fatal(err)
			}
			out := make([]byte, 0, 1024)
			var p Publish
			var a Ack
			if got := testing.AllocsPerRun(200, func() {
				f, n, _, err := ParseFrame(in, 2_000_000)
				if err != nil || n != len(in) || p.Decode(f, c.v) != nil {
					t.Fatal("not decoded")
				}
				if out, err = p.Append(out[:0], c.v); err != nil || len(out) != len(in) {
					t.Fatal("not encoded")
				}
				f, _, _, _ = ParseFrame(ack, 0)
				if a.Decode(f, V5) != nil {
					t.Fatal("acknowledgement not decoded")
				}
				if out, err = a.Append(out[:0], V5); err != nil || len(out) != len(ack) {
					t.Fatal("acknowledgement not encoded")
				}
			}); got != 0 {
				t.Errorf("%v allocations", got)
			}
		})
	}
}

// Every other packet, too, once its struct has room.
func TestNoAllocationsElsewhere(t *testing.T) {
	for _, g := range allGoldens() {
		t.Run(g.String(), func(t *testing.T) {
			in := unhex(t, g.hex)
			p := newPacket(PacketType(in[0] >> 4))
			out := make([]byte, 0, 1024)
			if got := testing.AllocsPerRun(50, func() {
				f, _, _, _ := ParseFrame(in, 0)
				if decodeInto(p, f, g.v) != nil {
					t.Fatal("not decoded")
				}
				if _, err := appendPacket(out, p, g.v); err != nil {
					t.Fatal("not encoded")
				}
			}); got != 0 {
				t.Errorf("%v allocations", got)
			}
		})
	}
}

// manyProperties is a CONNECT with that many user properties.
func manyProperties(tb testing.TB, n int) []byte {
	p := Connect{Version: V5, ClientID: []byte("c")}
	for i := range n {
		p.Props.User = append(p.Props.User, UserProperty{fmt.Appendf(nil, "key %d", i), []byte("value")})
	}
	b, err := p.Append(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// A CONNECT made of 5,000 properties costs a few growths of one slice, and
// keeps their order. That time grows with their number and no faster is what
// BenchmarkConnectProperties shows.
func TestConnectManyProperties(t *testing.T) {
	f, _, _, err := ParseFrame(manyProperties(t, 5000), 0)
	if err != nil {
		t.Fatal(err)
	}
	var p Connect
	if got := testing.AllocsPerRun(5, func() {
		p = Connect{}
		if err := p.Decode(f); err != nil {
			t.Fatal(err)
		}
	}); got > 25 {
		t.Errorf("%v allocations", got)
	}
	if len(p.Props.User) != 5000 {
		t.Fatalf("%d properties", len(p.Props.User))
	}
	for i, u := range p.Props.User {
		if string(u.Key) != fmt.Sprintf("key %d", i) {
			t.Fatalf("property %d is %q", i, u.Key)
		}
	}
}

func BenchmarkConnectProperties(b *testing.B) {
	for _, n := range []int{50, 500, 5000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f, _, _, _ := ParseFrame(manyProperties(b, n), 0)
			for b.Loop() {
				var p Connect
				if err := p.Decode(f); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/property")
		})
	}
}

func BenchmarkPublishDecode(b *testing.B) {
	for _, c := range hotPublish {
		b.Run(c.name, func(b *testing.B) {
			in, _ := c.p.Append(nil, c.v)
			var p Publish
			b.ReportAllocs()
			for b.Loop() {
				f, _, _, _ := ParseFrame(in, 2_000_000)
				if p.Decode(f, c.v) != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkPublishAppend(b *testing.B) {
	for _, c := range hotPublish {
		b.Run(c.name, func(b *testing.B) {
			out := make([]byte, 0, 1024)
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if out, err = c.p.Append(out[:0], c.v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAck(b *testing.B) {
	var p Ack
	in, out := []byte{0x40, 2, 0, 7}, make([]byte, 0, 16)
	b.ReportAllocs()
	for b.Loop() {
		f, _, _, _ := ParseFrame(in, 2_000_000)
		if p.Decode(f, V5) != nil {
			b.Fatal("refused")
		}
		out, _ = p.Append(out[:0], V5)
	}
}

func BenchmarkSubscribeDecode(b *testing.B) {
	var s Subscribe
	s.PacketID = 1
	for range 10 {
		s.Subscriptions = append(s.Subscriptions, Subscription{[]byte(strings.Repeat("level/", 5) + "#"), 1})
	}
	in, _ := s.Append(nil, V5)
	b.ReportAllocs()
	for b.Loop() {
		f, _, _, _ := ParseFrame(in, 0)
		if s.Decode(f, V5) != nil {
			b.Fatal("refused")
		}
	}
}
