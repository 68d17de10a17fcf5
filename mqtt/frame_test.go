package mqtt

import (
	"bytes"
	"fmt"
	"testing"
)

// Fed byte by byte, ParseFrame waits, tells the size as soon as it can, and
// takes exactly one packet.
func TestParseFrameByteByByte(t *testing.T) {
	for _, g := range allGoldens() {
		t.Run(g.String(), func(t *testing.T) {
			b := unhex(t, g.hex)
			_, k := readVarint(b[1:])
			for n := range b {
				_, took, need, err := ParseFrame(b[:n:n], 0)
				want := 0
				if n >= 1+k {
					want = len(b)
				}
				if took != 0 || err != nil || need != want {
					t.Fatalf("%d of %d bytes: took %d, need %d, error %v; want need %d", n, len(b), took, need, err, want)
				}
			}
			f, took, need, err := ParseFrame(append(bytes.Clone(b), 0xC0, 0), 0)
			if took != len(b) || need != len(b) || err != nil || len(f.Body) != len(b)-1-k || f.Type != PacketType(b[0]>>4) || f.Flags != b[0]&15 {
				t.Fatalf("took %d, need %d, error %v, frame %+v", took, need, err, f)
			}
			if cap(f.Body) != len(f.Body) {
				t.Error("appending to the body would overwrite the next packet")
			}
		})
	}
}

func TestParseFrameLengths(t *testing.T) {
	for _, c := range []struct {
		hex  string
		need int
	}{
		{"30 7F", 2 + 127},
		{"30 80", 0}, {"30 8001", 3 + 128}, {"30 FF7F", 3 + 16383},
		{"30 8080", 0}, {"30 808001", 4 + 16384}, {"30 FFFF7F", 4 + 2_097_151},
		{"30 808080", 0}, {"30 80808001", 5 + 2_097_152}, {"30 FFFFFF7F", 5 + 268_435_455},
	} {
		_, n, need, err := ParseFrame(unhex(t, c.hex), 0)
		if n != 0 || need != c.need || err != nil {
			t.Errorf("%s: took %d, need %d, error %v; want need %d", c.hex, n, need, err, c.need)
		}
	}
}

// What is wrong is said as soon as its byte is there: none of these has a body.
func TestParseFrameRefused(t *testing.T) {
	for _, c := range []struct {
		hex  string
		max  int
		code ReasonCode
	}{
		{"00", 0, MalformedPacket},
		{"0F", 0, MalformedPacket},
		{"36", 0, MalformedPacket},          // PUBLISH QoS 3
		{"38", 0, MalformedPacket},          // PUBLISH DUP with QoS 0
		{"C1", 0, MalformedPacket},          // PINGREQ with flags
		{"C0 01", 0, MalformedPacket},       // PINGREQ with a body
		{"D0 01", 0, MalformedPacket},       // PINGRESP with a body
		{"30 8000", 0, MalformedPacket},     // 0 in two bytes
		{"30 FF00", 0, MalformedPacket},     // 127 in two bytes
		{"30 808000", 0, MalformedPacket},   // in three
		{"30 FFFFFF00", 0, MalformedPacket}, // in four
		{"30 80808080", 0, MalformedPacket}, // five bytes
		{"30 FFFFFFFF", 0, MalformedPacket},
		{"30 FFFFFFFF7F", 0, MalformedPacket},
		{"30 09", 10, PacketTooLarge},
		{"30 FFFFFF7F", 2_000_000, PacketTooLarge},
		{"10 FFFFFF7F", 2_000_000, PacketTooLarge},
	} {
		b := unhex(t, c.hex)
		_, n, _, err := ParseFrame(b, c.max)
		if n != 0 {
			t.Errorf("%s: took %d", c.hex, n)
		}
		wantCode(t, err, c.code, PacketType(b[0]>>4))
	}
	if _, _, need, err := ParseFrame(unhex(t, "30 08"), 10); need != 10 || err != nil {
		t.Errorf("a packet of the largest size: need %d, error %v", need, err)
	}
}

// Every first byte there is, against MQTT 5 table 2-2.
func TestParseFrameFlags(t *testing.T) {
	for b := range 256 {
		typ, flags := PacketType(b>>4), b&15
		var valid bool
		switch typ {
		case 0:
		case PUBLISH:
			valid = flags&6 != 6 && flags&14 != 8
		case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
			valid = flags == 2 || flags == 10 // DUP: 3.1, refused by Decode in other versions
		default:
			valid = flags == 0
		}
		_, _, _, err := ParseFrame([]byte{byte(b)}, 0)
		if valid != (err == nil) {
			t.Errorf("first byte 0x%02X: %v", b, err)
		}
		if err != nil {
			wantCode(t, err, MalformedPacket, typ)
		}
	}
}

func TestPing(t *testing.T) {
	for typ, b := range map[PacketType][]byte{PINGREQ: PingreqBytes, PINGRESP: PingrespBytes} {
		f, n, _, err := ParseFrame(b, 0)
		if f.Type != typ || n != 2 || err != nil {
			t.Errorf("%v: %+v, %d, %v", typ, f, n, err)
		}
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[fmt.Stringer]string{
		CONNECT: "CONNECT", AUTH: "AUTH", PacketType(0): "packet type 0", PacketType(16): "packet type 16",
		V31: "3.1", V311: "3.1.1", V5: "5", Version(9): "level 9",
		PropWillDelay: "Will Delay Interval", PropertyID(4): "property 4", PropertyID(200): "property 200",
		UnsupportedProtocolVersion: "Unsupported Protocol Version", ReasonCode(0x77): "Reason Code 0x77",
	} {
		if got.String() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
