package mqtt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// golden is a packet in bytes and in fields.
type golden struct {
	name   string
	v      Version
	hex    string // see unhex
	packet any
	// oneWay: decodes to packet, but Append writes a shorter form.
	oneWay bool
	// shorter are the body lengths at which the packet, cut there, is valid too.
	shorter []int
	// open: more bytes may follow the last, as a payload or another entry.
	open bool
}

func (g golden) String() string { return fmt.Sprintf("%v/%s", g.v, g.name) }

// unhex turns hex digits into bytes; blanks are skipped, 'quoted' is text.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = append(out, part...)
			continue
		}
		b, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
		if err != nil {
			t.Fatalf("%q is not hex: %v", part, err)
		}
		out = append(out, b...)
	}
	return out
}

func allGoldens() []golden {
	return slices.Concat(connectGoldens, connackGoldens, publishGoldens, ackGoldens, subscribeGoldens,
		subackGoldens, unsubscribeGoldens, unsubackGoldens, disconnectGoldens, authGoldens)
}

// same compares packets; an empty slice is as good as none.
func same(a, b any) string {
	if reflect.DeepEqual(a, b) { // fast, for the fuzzer
		return ""
	}
	return cmp.Diff(a, b, cmpopts.EquateEmpty())
}

// newPacket returns an empty packet of a type that has a body.
func newPacket(typ PacketType) any {
	switch typ {
	case CONNECT:
		return new(Connect)
	case CONNACK:
		return new(Connack)
	case PUBLISH:
		return new(Publish)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return new(Ack)
	case SUBSCRIBE:
		return new(Subscribe)
	case SUBACK:
		return new(Suback)
	case UNSUBSCRIBE:
		return new(Unsubscribe)
	case UNSUBACK:
		return new(Unsuback)
	case DISCONNECT:
		return new(Disconnect)
	case AUTH:
		return new(Auth)
	}
	return nil
}

func decodeInto(p any, f Frame, v Version) error {
	if c, ok := p.(*Connect); ok {
		return c.Decode(f)
	}
	return p.(interface {
		Decode(f Frame, v Version) error
	}).Decode(f, v)
}

func appendPacket(dst []byte, p any, v Version) ([]byte, error) {
	if c, ok := p.(*Connect); ok {
		return c.Append(dst)
	}
	return p.(interface {
		Append(dst []byte, v Version) ([]byte, error)
	}).Append(dst, v)
}

// decode reads a whole packet.
func decode(b []byte, v Version) (any, error) {
	f, n, _, err := ParseFrame(b, 0)
	if err != nil {
		return nil, err
	}
	if n != len(b) {
		return nil, fmt.Errorf("ParseFrame took %d bytes of %d", n, len(b))
	}
	p := newPacket(f.Type)
	return p, decodeInto(p, f, v)
}

// frame puts a fixed header before a body.
func frame(first byte, body []byte) []byte {
	return append(AppendVarint([]byte{first}, uint32(len(body))), body...)
}

// wantCode: err is an *Error of that code, about that packet.
func wantCode(t testing.TB, err error, code ReasonCode, typ PacketType) (detail string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v, want %v", err, code)
	}
	if e.Code != code || e.Packet != typ {
		t.Fatalf("error is %q, want %v of %v", err, code, typ)
	}
	if e.Detail == "" || strings.Contains(err.Error(), "%!") {
		t.Fatalf("error says nothing: %q", err)
	}
	return e.Detail
}

// refused is a packet that Decode must refuse.
type refused struct {
	name string
	v    Version
	hex  string
	code ReasonCode
	size bool // too few or too many bytes is what is wrong with it
}

func checkRefused(t *testing.T, list []refused) {
	t.Helper()
	for _, c := range list {
		t.Run(fmt.Sprintf("%v/%s", c.v, c.name), func(t *testing.T) {
			b := unhex(t, c.hex)
			_, err := decode(b, c.v)
			d := wantCode(t, err, c.code, PacketType(b[0]>>4))
			if (strings.Contains(d, "cut short") || strings.Contains(d, "left over")) != c.size {
				t.Errorf("refused for another reason: %v", err)
			}
		})
	}
}

// unwritable is a packet that Append must refuse, leaving dst as it was.
type unwritable struct {
	name   string
	v      Version
	packet any
}

func checkUnwritable(t *testing.T, list []unwritable) {
	t.Helper()
	for _, c := range list {
		t.Run(fmt.Sprintf("%v/%s", c.v, c.name), func(t *testing.T) {
			out, err := appendPacket([]byte("before"), c.packet, c.v)
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(e.Detail, "cannot encode") {
				t.Fatalf("error is %v", err)
			}
			if string(out) != "before" {
				t.Fatalf("dst became %q", out)
			}
		})
	}
}

func TestGolden(t *testing.T) {
	for _, g := range allGoldens() {
		t.Run(g.String(), func(t *testing.T) {
			want := unhex(t, g.hex)
			got, err := decode(want, g.v)
			if err != nil {
				t.Fatal(err)
			}
			if diff := same(g.packet, got); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
			out, err := appendPacket([]byte("before"), g.packet, g.v)
			if err != nil {
				t.Fatal(err)
			}
			out, ok := bytes.CutPrefix(out, []byte("before"))
			if !ok {
				t.Fatal("Append did not keep what was there")
			}
			if !g.oneWay && !bytes.Equal(out, want) {
				t.Errorf("encoded\n% x, want\n% x", out, want)
			}
			if again, err := decode(out, g.v); err != nil || same(g.packet, again) != "" {
				t.Errorf("what Append wrote, % x, decodes to %+v, %v", out, again, err)
			}
		})
	}
}

// Every packet cut short anywhere is refused, except where what is left is a
// packet too.
func TestTruncated(t *testing.T) {
	for _, g := range allGoldens() {
		t.Run(g.String(), func(t *testing.T) {
			whole := unhex(t, g.hex)
			f, _, _, err := ParseFrame(whole, 0)
			if err != nil {
				t.Fatal(err)
			}
			var valid []int
			for n := range len(f.Body) {
				_, err := decode(frame(whole[0], f.Body[:n]), g.v)
				if err == nil {
					valid = append(valid, n)
				} else if e := (*Error)(nil); !errors.As(err, &e) || (e.Code != MalformedPacket && e.Code != ProtocolError) {
					t.Errorf("cut to %d bytes: %v", n, err)
				}
			}
			if diff := same(g.shorter, valid); diff != "" {
				t.Errorf("body lengths that decode (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTrailingBytes(t *testing.T) {
	for _, g := range allGoldens() {
		if g.open {
			continue
		}
		t.Run(g.String(), func(t *testing.T) {
			whole := unhex(t, g.hex)
			f, _, _, err := ParseFrame(whole, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, extra := range []string{"\xFF", "\xFF\xFF\xFF\xFF\xFF"} {
				if p, err := decode(frame(whole[0], append(slices.Clone(f.Body), extra...)), g.v); err == nil {
					t.Errorf("%d bytes too many are taken: %+v", len(extra), p)
				}
			}
		})
	}
}

// A struct that held any packet holds nothing of it after the next Decode.
func TestDecodeOverwrites(t *testing.T) {
	all := allGoldens()
	for _, before := range all {
		for _, g := range all {
			b, was := unhex(t, g.hex), unhex(t, before.hex)
			p := newPacket(PacketType(was[0] >> 4))
			if fmt.Sprintf("%T", p) != fmt.Sprintf("%T", g.packet) {
				continue
			}
			fb, _, _, _ := ParseFrame(was, 0)
			f, _, _, _ := ParseFrame(b, 0)
			if err := decodeInto(p, fb, before.v); err != nil {
				t.Fatalf("%v: %v", before, err)
			}
			if err := decodeInto(p, f, g.v); err != nil {
				t.Fatalf("%v: %v", g, err)
			}
			if diff := same(g.packet, p); diff != "" {
				t.Errorf("%v after %v (-want +got):\n%s", g, before, diff)
			}
		}
	}
}

// A frame of another type is refused, not misread.
func TestDecodeChecksType(t *testing.T) {
	for typ := CONNECT; typ <= AUTH; typ++ {
		p := newPacket(typ)
		if p == nil {
			continue
		}
		other := PINGREQ
		err := decodeInto(p, Frame{Type: other}, V5)
		wantCode(t, err, ProtocolError, other)
	}
}
