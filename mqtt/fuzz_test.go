package mqtt

import (
	"errors"
	"testing"
)

// checkBytes reads b as packets until one is refused or cut short. What decodes
// must encode, and decode again to the same.
func checkBytes(t *testing.T, b []byte, v Version) {
	t.Helper()
	for len(b) > 0 {
		f, n, need, err := ParseFrame(b, 0)
		if err != nil {
			checkError(t, err)
			return
		}
		if n == 0 {
			if need != 0 && need <= len(b) {
				t.Fatalf("% x: needs %d bytes, has %d, takes none", b, need, len(b))
			}
			return
		}
		if n != need || n > len(b) {
			t.Fatalf("% x: took %d, needed %d of %d bytes", b, n, need, len(b))
		}
		b = b[n:]
		p := newPacket(f.Type)
		if p == nil {
			continue
		}
		if err := decodeInto(p, f, v); err != nil {
			checkError(t, err)
			return
		}
		if c, ok := p.(*Connect); ok {
			v = c.Version
		}
		checkAgain(t, p, f, v)
	}
}

func checkAgain(t *testing.T, p any, f Frame, v Version) {
	t.Helper()
	out, err := appendPacket(nil, p, v)
	if err != nil {
		t.Fatalf("%+v decodes, but does not encode: %v", p, err)
	}
	f2, n, _, err := ParseFrame(out, 0)
	if err != nil || n != len(out) || len(f2.Body) > len(f.Body)+1 {
		// One byte more: the CONNACK of an older server, written as one of MQTT 5.
		t.Fatalf("%+v encodes to % x: took %d, %v", p, out, n, err)
	}
	// Into a struct that held the same before.
	again := newPacket(f.Type)
	for range 2 {
		if err := decodeInto(again, f2, v); err != nil {
			t.Fatalf("%+v encodes to % x: %v", p, out, err)
		}
		if diff := same(p, again); diff != "" {
			t.Fatalf("(-first +again):\n%s", diff)
		}
	}
}

func checkError(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !e.Code.IsError() || e.Detail == "" {
		t.Fatalf("%T %v", err, err)
	}
}

// fromClient are the packets that a server reads; the rest is for clients.
// Acknowledgements of QoS 1 and 2, PUBLISH, DISCONNECT and AUTH go both ways.
var fromClient = map[PacketType]bool{CONNECT: true, PUBLISH: true, PUBACK: true, PUBREC: true, PUBREL: true, PUBCOMP: true,
	SUBSCRIBE: true, UNSUBSCRIBE: true, PINGREQ: true, DISCONNECT: true, AUTH: true}

var fromServer = map[PacketType]bool{CONNACK: true, PUBLISH: true, PUBACK: true, PUBREC: true, PUBREL: true, PUBCOMP: true,
	SUBACK: true, UNSUBACK: true, PINGRESP: true, DISCONNECT: true, AUTH: true}

// fuzz seeds f with the golden packets of one direction. The corpus holds bytes
// as they come off a socket, and the version of the connection.
func fuzz(f *testing.F, direction map[PacketType]bool) {
	stream := map[Version][]byte{}
	for _, g := range allGoldens() {
		b := unhex(f, g.hex)
		if direction[PacketType(b[0]>>4)] {
			f.Add(b, byte(g.v))
			stream[g.v] = append(stream[g.v], b...)
		}
	}
	for v, b := range stream {
		f.Add(b, byte(v))
	}
	f.Fuzz(func(t *testing.T, b []byte, version byte) {
		if len(b) > 0 && b[0]>>4 != 0 && !direction[PacketType(b[0]>>4)] {
			t.Skip("a packet of the other direction")
		}
		checkBytes(t, b, Version(version%3+3))
	})
}

func FuzzFromClient(f *testing.F) { fuzz(f, fromClient) }

func FuzzFromServer(f *testing.F) { fuzz(f, fromServer) }
