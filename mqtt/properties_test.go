package mqtt

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// sample is a property with values, from MQTT 5 table 2-4 and the sections that
// it points to. It says where the property may stand in the order of that
// table, the code says it by packet: two tables that must agree.
type sample struct {
	id       PropertyID
	places   []place
	value    string     // a valid one, see unhex
	zero     string     // the smallest
	zeroCode ReasonCode // what Decode says to it
	max      string     // the largest
	maxCode  ReasonCode
}

var (
	publishing  = []place{place(PUBLISH), willPlace}
	acks        = []place{place(CONNACK), place(PUBACK), place(PUBREC), place(PUBREL), place(PUBCOMP), place(SUBACK), place(UNSUBACK), place(DISCONNECT), place(AUTH)}
	allPlaces   = append([]place{willPlace, place(CONNECT), place(PUBLISH), place(SUBSCRIBE), place(UNSUBSCRIBE)}, acks...)
	longText    = "FFFF'" + strings.Repeat("a", 65535) + "'"
	connecting  = []place{place(CONNECT), place(CONNACK)}
	authPlaces  = []place{place(CONNECT), place(CONNACK), place(AUTH)}
	connackOnly = []place{place(CONNACK)}
)

var samples = []sample{
	{1, publishing, "01", "00", 0, "FF", ProtocolError},
	{2, publishing, "0000003C", "00000000", 0, "FFFFFFFF", 0},
	{3, publishing, "0002'ct'", "0000", 0, longText, 0},
	{8, publishing, "0003'r/t'", "0000", ProtocolError, longText, 0},
	{9, publishing, "0002 00FF", "0000", 0, longText, 0},
	{11, []place{place(PUBLISH), place(SUBSCRIBE)}, "8001", "00", ProtocolError, "FFFFFF7F", 0},
	{17, []place{place(CONNECT), place(CONNACK), place(DISCONNECT)}, "0000000A", "00000000", 0, "FFFFFFFF", 0},
	{18, connackOnly, "0001'c'", "0000", 0, longText, 0},
	{19, connackOnly, "003C", "0000", 0, "FFFF", 0},
	{21, authPlaces, "0001'm'", "0000", 0, longText, 0},
	{22, authPlaces, "0002 00FF", "0000", 0, longText, 0},
	{23, []place{place(CONNECT)}, "01", "00", 0, "02", ProtocolError},
	{24, []place{willPlace}, "00000005", "00000000", 0, "FFFFFFFF", 0},
	{25, []place{place(CONNECT)}, "01", "00", 0, "FF", ProtocolError},
	{26, connackOnly, "0001'r'", "0000", 0, longText, 0},
	{28, []place{place(CONNACK), place(DISCONNECT)}, "0001's'", "0000", 0, longText, 0},
	{31, acks, "0003'why'", "0000", 0, longText, 0},
	{33, connecting, "0014", "0000", ProtocolError, "FFFF", 0},
	{34, connecting, "000A", "0000", 0, "FFFF", 0},
	{35, []place{place(PUBLISH)}, "0001", "0000", TopicAliasInvalid, "FFFF", 0},
	{36, connackOnly, "01", "00", 0, "02", ProtocolError},
	{37, connackOnly, "01", "00", 0, "02", ProtocolError},
	{38, allPlaces, "0001'k' 0002'vw'", "0000 0000", 0, longText + longText, 0},
	{39, connecting, "001E8480", "00000000", ProtocolError, "FFFFFFFF", 0},
	{40, connackOnly, "01", "00", 0, "FF", ProtocolError},
	{41, connackOnly, "01", "00", 0, "02", ProtocolError},
	{42, connackOnly, "01", "00", 0, "80", ProtocolError},
}

// packetWith returns a packet that is valid but for props, which it carries in
// that place. length is what it announces as their length.
func packetWith(t testing.TB, at place, props []byte, length int) []byte {
	t.Helper()
	around := map[place][2]string{
		willPlace:          {"0004'MQTT' 05 06 003C 00 0001'c'", "0001'w' 0001'p'"},
		place(CONNECT):     {"0004'MQTT' 05 02 003C", "0001'c'"},
		place(CONNACK):     {"00 00", ""},
		place(PUBLISH):     {"0001'a'", "'payload'"},
		place(PUBACK):      {"0001 00", ""},
		place(PUBREC):      {"0001 00", ""},
		place(PUBREL):      {"0001 00", ""},
		place(PUBCOMP):     {"0001 00", ""},
		place(SUBSCRIBE):   {"0001", "0001'f' 01"},
		place(SUBACK):      {"0001", "01"},
		place(UNSUBSCRIBE): {"0001", "0001'f'"},
		place(UNSUBACK):    {"0001", "00"},
		place(DISCONNECT):  {"00", ""},
		place(AUTH):        {"18", ""},
	}[at]
	before, after := around[0], around[1]
	body := AppendVarint(unhex(t, before), uint32(length))
	body = append(append(body, props...), unhex(t, after)...)
	return frame(byte(at.packet())<<4|fixedFlags[at.packet()], body)
}

// companion is what must stand beside a property in that place.
func companion(at place, id PropertyID) string {
	if id != PropAuthMethod && (at == place(AUTH) || at == place(CONNECT) && id == PropAuthData) {
		return "15 0001'm'"
	}
	return ""
}

func decodeProps(t testing.TB, at place, props []byte) error {
	t.Helper()
	_, err := decode(packetWith(t, at, props, len(props)), V5)
	return err
}

// forEachProperty calls f with every property in every place, and the bytes
// that must stand before it there.
func forEachProperty(t *testing.T, f func(t *testing.T, s sample, at place, first []byte)) {
	t.Helper()
	for _, s := range samples {
		for _, at := range allPlaces {
			t.Run(fmt.Sprintf("%v in %v", s.id, at), func(t *testing.T) {
				f(t, s, at, unhex(t, companion(at, s.id)))
			})
		}
	}
}

func property(t testing.TB, first []byte, id PropertyID, value string) []byte {
	t.Helper()
	return append(append(slices.Clone(first), byte(id)), unhex(t, value)...)
}

func expect(t *testing.T, what string, err error, code ReasonCode, at place) {
	t.Helper()
	if code == Success {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return
	}
	wantCode(t, err, code, at.packet())
}

func TestPropertySamplesAreComplete(t *testing.T) {
	if len(samples) != 27 {
		t.Errorf("%d properties, MQTT 5 has 27", len(samples))
	}
	for _, s := range samples {
		if !knownProperties.Has(s.id) {
			t.Errorf("%d is not known", s.id)
		}
	}
}

// Every property in every packet: taken where table 2-4 has it, with its value,
// its smallest and its largest; a protocol error elsewhere.
func TestPropertyPlaces(t *testing.T) {
	forEachProperty(t, func(t *testing.T, s sample, at place, first []byte) {
		if !slices.Contains(s.places, at) {
			for _, value := range []string{s.value, s.zero, s.max} {
				expect(t, value, decodeProps(t, at, property(t, first, s.id, value)), ProtocolError, at)
			}
			return
		}
		expect(t, "a valid value", decodeProps(t, at, property(t, first, s.id, s.value)), Success, at)
		expect(t, "the smallest value", decodeProps(t, at, property(t, first, s.id, s.zero)), s.zeroCode, at)
		expect(t, "the largest value", decodeProps(t, at, property(t, first, s.id, s.max)), s.maxCode, at)
	})
}

func TestPropertyTwice(t *testing.T) {
	forEachProperty(t, func(t *testing.T, s sample, at place, first []byte) {
		if !slices.Contains(s.places, at) {
			return
		}
		code := ProtocolError
		if s.id == PropUser || (s.id == PropSubscriptionID && at == place(PUBLISH)) {
			code = Success
		}
		two := property(t, property(t, first, s.id, s.value), s.id, s.value)
		expect(t, "side by side", decodeProps(t, at, two), code, at)
		apart := property(t, property(t, property(t, first, s.id, s.value), PropUser, "0000 0000"), s.id, s.value)
		expect(t, "apart", decodeProps(t, at, apart), code, at)
	})
}

// A property that ends with the properties before its value does, and one that
// ends with the packet.
func TestPropertyCutShort(t *testing.T) {
	forEachProperty(t, func(t *testing.T, s sample, at place, first []byte) {
		if !slices.Contains(s.places, at) {
			return
		}
		whole := property(t, first, s.id, s.value)
		for n := len(first) + 1; n < len(whole); n++ {
			expect(t, fmt.Sprintf("%d bytes", n), decodeProps(t, at, whole[:n]), MalformedPacket, at)
			packet := packetWith(t, at, whole, len(whole))
			f, _, _, _ := ParseFrame(packet, 0)
			body := f.Body[:bytes.Index(f.Body, whole)+n]
			_, err := decode(frame(packet[0], body), V5)
			expect(t, fmt.Sprintf("packet ends after %d bytes", n), err, MalformedPacket, at)
		}
	})
}

// The properties' length is that of the properties: neither shorter nor longer.
func TestPropertyLengthWrong(t *testing.T) {
	for _, at := range allPlaces {
		props := unhex(t, companion(at, PropUser)+"26 0001'k' 0001'v'")
		for _, length := range []int{len(props) - 1, len(props) + 100, MaxRemainingLength} {
			_, err := decode(packetWith(t, at, props, length), V5)
			expect(t, fmt.Sprint(at, length), err, MalformedPacket, at)
		}
	}
}

// Identifiers that no property has, and those of properties in more bytes than
// one: §2.2.2.2 makes them variable byte integers, §1.5.5 wants them short.
func TestPropertyUnknown(t *testing.T) {
	for _, at := range allPlaces {
		first := companion(at, PropUser)
		for id := range 256 {
			if knownProperties.Has(PropertyID(id)) && id < 64 {
				for _, form := range [][]byte{{byte(id) | 0x80, 0}, {byte(id) | 0x80, 0x80, 0}, {byte(id) | 0x80, 0x80, 0x80, 0}, {byte(id) | 0x80, 0x80, 0x80, 0x80, 0}} {
					props := slices.Concat(unhex(t, first), form, []byte{0, 0, 0, 0})
					expect(t, fmt.Sprintf("% x", form), decodeProps(t, at, props), MalformedPacket, at)
				}
				continue
			}
			props := append(AppendVarint(unhex(t, first), uint32(id)), 0, 0, 0, 0)
			expect(t, fmt.Sprint(id), decodeProps(t, at, props), MalformedPacket, at)
		}
	}
}

func TestPropertyText(t *testing.T) {
	for _, s := range samples {
		if kinds[s.id] != kindText && kinds[s.id] != kindUser {
			continue
		}
		at := s.places[0]
		first := unhex(t, companion(at, s.id))
		for _, bad := range []string{"\x00", "a\x00b", "\xED\xA0\x80", "\xED\xBF\xBF", "\xC0\x80", "\xC3", "\xFF", "\xF4\x90\x80\x80", "long enough for words \xE6\xB8"} {
			text := AppendString(nil, []byte(bad))
			values := [][]byte{text}
			if s.id == PropUser {
				values = [][]byte{slices.Concat(text, []byte{0, 0}), slices.Concat([]byte{0, 0}, text)}
			}
			for _, v := range values {
				expect(t, fmt.Sprintf("%v %q", s.id, bad), decodeProps(t, at, slices.Concat(first, []byte{byte(s.id)}, v)), MalformedPacket, at)
			}
		}
		// Only topics are held to more than the specification's must.
		code := Success
		if s.id == PropResponseTopic {
			code = MalformedPacket
		}
		for _, odd := range []string{"\x01", "a\tb", "\x7F", "\u0085", "\uFFFF", "\uFDD0"} {
			text := AppendString(nil, []byte(odd))
			if s.id == PropUser {
				text = append(text, text...)
			}
			expect(t, fmt.Sprintf("%v %q", s.id, odd), decodeProps(t, at, slices.Concat(first, []byte{byte(s.id)}, text)), code, at)
		}
	}
}

// Len is what AppendFields appends, and Append adds the length before it.
func TestPropertiesLen(t *testing.T) {
	for _, g := range connackGoldens {
		p := g.packet.(*Connack).Props
		fields := p.AppendFields(nil)
		if p.Len() != len(fields) {
			t.Errorf("%v: Len %d, %d bytes", g, p.Len(), len(fields))
		}
		if got := p.Append(nil); !bytes.Equal(got, append(AppendVarint(nil, uint32(len(fields))), fields...)) {
			t.Errorf("%v: Append writes % x", g, got)
		}
	}
}

func TestPropertiesAppendSelected(t *testing.T) {
	p := publishGoldens[len(publishGoldens)-1].packet.(*Publish).Props
	if got := p.AppendSelected(nil, ^PropertySet(0)); !bytes.Equal(got, p.AppendFields(nil)) {
		t.Errorf("all: % x", got)
	}
	if got := p.AppendSelected(nil, has(PropPayloadFormat, PropUser, PropReasonString)); string(got) !=
		"\x01\x01\x26\x00\x01k\x00\x011\x26\x00\x01k\x00\x012" {
		t.Errorf("three, of which two are there: % x", got)
	}
	if got := p.AppendSelected(nil, 0); len(got) != 0 {
		t.Errorf("none: % x", got)
	}
}

// The bits decide: a field without its bit is not written, User and
// SubscriptionIDs need none, and bits that no property has do no harm.
func TestPropertiesBits(t *testing.T) {
	p := Properties{MessageExpiry: 7, ContentType: []byte("ct"), SubscriptionIDs: []uint32{1}, User: []UserProperty{{[]byte("k"), nil}}}
	if got := p.AppendFields(nil); string(got) != "\x0b\x01\x26\x00\x01k\x00\x00" {
		t.Errorf("without bits: % x", got)
	}
	p = Properties{Has: ^PropertySet(0)}
	fields := p.AppendFields(nil)
	if p.Len() != len(fields) || bytes.IndexByte(fields, byte(PropUser)) >= 0 {
		t.Errorf("all bits: Len %d, % x", p.Len(), fields)
	}
}

func TestPropertySet(t *testing.T) {
	var s PropertySet
	s.Set(PropUser)
	s.Set(PropPayloadFormat)
	s.Clear(PropPayloadFormat)
	if !s.Has(PropUser) || s.Has(PropPayloadFormat) || s != 1<<38 || s.With(PropTopicAlias) != 1<<38|1<<35 {
		t.Errorf("%x", s)
	}
}

// Reset keeps room, but not that of a packet made to take a lot of it, and not
// the buffer that the old views point to.
func TestPropertiesReset(t *testing.T) {
	p := Properties{User: make([]UserProperty, 3, 10), SubscriptionIDs: make([]uint32, 3, 10)}
	p.User[2].Key = []byte("k")
	p.Reset()
	if cap(p.User) != 10 || cap(p.SubscriptionIDs) != 10 || len(p.User)+len(p.SubscriptionIDs) != 0 || p.User[:3][2].Key != nil {
		t.Errorf("%+v", p)
	}
	p = Properties{Has: has(PropUser), User: make([]UserProperty, maxKept+1), SubscriptionIDs: make([]uint32, maxKept+1)}
	p.Reset()
	if cap(p.User)+cap(p.SubscriptionIDs) != 0 {
		t.Errorf("keeps room for %d and %d", cap(p.User), cap(p.SubscriptionIDs))
	}
}
