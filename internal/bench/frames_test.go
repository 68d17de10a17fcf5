package bench

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// TestBatch reads what a publisher writes with the real decoder, and with the generator's own look at a PUBLISH.
func TestBatch(t *testing.T) {
	for _, version := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		for qos := range 3 {
			for _, size := range []struct{ payload, count int }{{16, 1}, {64, 32}, {refPayload - 1, 2}, {refPayload, 1}, {100_000, 1}, {100_000, 3}} {
				t.Run(fmt.Sprintf("%v/qos%d/%dx%d", version, qos, size.count, size.payload), func(t *testing.T) {
					testBatch(t, version, qos, size.payload, size.count)
				})
			}
		}
	}
}

func testBatch(t *testing.T, version mqtt.Version, qos, payload, count int) {
	const runID, number, at = 77, 3, 123456789
	o := &Options{Version: version}
	b, err := newBatch(o, "a/b", qos, payload, count, false, runID, number)
	if err != nil {
		t.Fatal(err)
	}
	last := uint16(65534)
	pid := b.stamp(at, last)
	stream := append(append([]byte(nil), b.buf...), b.tail...)
	if len(stream) != b.size() {
		t.Errorf("%d bytes, size says %d", len(stream), b.size())
	}
	c := &client{shard: &shard{run: &run{o: *o, id: runID, pubs: make([]*publisher, number+1)}}}
	for range count {
		head, whole := packetSize(stream)
		f, n, _, err := mqtt.ParseFrame(stream, 0)
		if err != nil || n == 0 || n != whole {
			t.Fatalf("ParseFrame: %d bytes, packetSize %d, %v", n, whole, err)
		}
		var p mqtt.Publish
		if err := p.Decode(f, version); err != nil {
			t.Fatal(err)
		}
		if qos > 0 {
			if last++; last == 0 {
				last = 1
			}
			if p.PacketID != last {
				t.Errorf("packet id %d, want %d", p.PacketID, last)
			}
		}
		gotAt, gotRun, gotPub := stampOf(p.Payload)
		if string(p.Topic) != "a/b" || int(p.QoS) != qos || len(p.Payload) != payload || gotAt != at || gotRun != runID || gotPub != number {
			t.Errorf("topic %q, QoS %d, %d bytes, stamp %d %d %d", p.Topic, p.QoS, len(p.Payload), gotAt, gotRun, gotPub)
		}
		m, ok := c.publish(stream[0], stream[head:n])
		if !ok || !m.ours || m.at != at || m.publisher != number || m.pid != p.PacketID || int(m.qos) != qos {
			t.Errorf("a look at it found %+v, %v", m, ok)
		}
		stream = stream[n:]
	}
	if len(stream) != 0 {
		t.Errorf("%d bytes too many", len(stream))
	}
	if qos > 0 && pid != last {
		t.Errorf("last packet id: %d, want %d", pid, last)
	}
}

func TestPacketSize(t *testing.T) {
	for _, tt := range []struct {
		bytes      []byte
		head, size int
	}{
		{nil, 0, 0},
		{[]byte{0x30}, 0, 0},
		{[]byte{0xD0, 0}, 2, 2},
		{[]byte{0x30, 127}, 2, 129},
		{[]byte{0x30, 0x80}, 0, 0},
		{[]byte{0x30, 0x80, 1}, 3, 131},
		{[]byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}, 5, 268_435_460},
		{[]byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF}, 0, -1},
		{[]byte{0x30, 0xFF, 0xFF, 0xFF}, 0, 0},
	} {
		if head, size := packetSize(tt.bytes); head != tt.head || size != tt.size {
			t.Errorf("% x: %d, %d; want %d, %d", tt.bytes, head, size, tt.head, tt.size)
		}
	}
}

// TestPublishCutShort: whatever a broker sends, a look at it stays within the bytes.
func TestPublishCutShort(t *testing.T) {
	p := mqtt.Publish{QoS: 1, PacketID: 9, Topic: []byte("a/b"), Payload: make([]byte, 20)}
	whole, err := p.Append(nil, mqtt.V5)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{shard: &shard{run: &run{o: Options{Version: mqtt.V5}}}}
	header := len(whole) - 2 - 20
	for n := range len(whole) - 2 {
		if _, ok := c.publish(whole[0], whole[2:2+n]); ok != (n >= header) {
			t.Errorf("cut to %d bytes behind the fixed header: %v", n, ok)
		}
	}
	long := append([]byte{}, whole...)
	binary.BigEndian.PutUint16(long[2:], 60000)
	if _, ok := c.publish(long[0], long[2:]); ok {
		t.Error("a topic longer than the packet was accepted")
	}
}
