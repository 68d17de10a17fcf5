package mqtt

import (
	"strings"
	"testing"
)

var publishGoldens = []golden{
	{name: "QoS 0", v: V311, hex: "30 07 0003'a/b' 'hi'", open: true, shorter: []int{5, 6},
		packet: &Publish{Topic: []byte("a/b"), Payload: []byte("hi")}},
	{name: "no payload", v: V31, hex: "31 05 0003'a/b'", open: true, packet: &Publish{Retain: true, Topic: []byte("a/b")}},
	{name: "QoS 1 again", v: V311, hex: "3A 08 0003'a/b' 1234 'x'", open: true, shorter: []int{7},
		packet: &Publish{Dup: true, QoS: 1, Topic: []byte("a/b"), PacketID: 0x1234, Payload: []byte("x")}},
	{name: "QoS 2", v: V31, hex: "35 07 0003'a/b' FFFF", open: true,
		packet: &Publish{QoS: 2, Retain: true, Topic: []byte("a/b"), PacketID: 65535}},
	{name: "QoS 0", v: V5, hex: "30 06 0001'a' 00 'hi'", open: true, shorter: []int{4, 5},
		packet: &Publish{Topic: []byte("a"), Payload: []byte("hi")}},
	{name: "topic alias", v: V5, hex: "30 06 0000 03 23 0001", open: true,
		packet: &Publish{Props: Properties{Has: has(PropTopicAlias), TopicAlias: 1}}},
	{name: "not ASCII", v: V311, hex: "30 10 000E'größe/温度'", open: true, packet: &Publish{Topic: []byte("größe/温度")}},
	{name: "all", v: V5, hex: "3D 38 0003'a/b' 0007 2E 01 01 02 FFFFFFFF 03 0002'ct' 08 0003'r/t' 09 0001 FF 0B 01 0B FFFFFF7F 23 000A" +
		"26 0001'k' 0001'1' 26 0001'k' 0001'2' '{}'", open: true, shorter: []int{54, 55},
		packet: &Publish{Dup: true, QoS: 2, Retain: true, Topic: []byte("a/b"), PacketID: 7, Payload: []byte("{}"), Props: Properties{
			Has: has(PropPayloadFormat, PropMessageExpiry, PropContentType, PropResponseTopic, PropCorrelationData, PropSubscriptionID,
				PropTopicAlias, PropUser),
			PayloadFormat: 1, MessageExpiry: 0xFFFFFFFF, ContentType: []byte("ct"), ResponseTopic: []byte("r/t"), CorrelationData: []byte{0xFF},
			SubscriptionIDs: []uint32{1, 268_435_455}, TopicAlias: 10,
			User: []UserProperty{{[]byte("k"), []byte("1")}, {[]byte("k"), []byte("2")}}}}},
}

func TestPublishRefused(t *testing.T) {
	levels := strings.Repeat("/", 201)
	checkRefused(t, []refused{
		{"empty topic", V311, "30 02 0000", MalformedPacket, false},
		{"empty topic", V31, "30 02 0000", MalformedPacket, false},
		{"empty topic without alias", V5, "30 03 0000 00", ProtocolError, false},
		{"topic alias 0", V5, "30 07 0001'a' 03 23 0000", TopicAliasInvalid, false},
		{"packet id 0", V311, "32 05 0001'a' 0000", MalformedPacket, false},
		{"packet id 0", V5, "34 06 0001'a' 0000 00", MalformedPacket, false},
		{"wildcard #", V311, "30 05 0003'a/#'", MalformedPacket, false},
		{"wildcard +", V5, "30 06 0003'+/a' 00", MalformedPacket, false},
		{"wildcard in a long topic", V311, "30 18 0016'a/long/topic/with/+/in'", MalformedPacket, false},
		{"NUL", V311, "30 05 0003'a'00'b'", MalformedPacket, false},
		{"surrogate", V5, "30 06 0003 EDA080 00", MalformedPacket, false},
		{"overlong UTF-8", V311, "30 04 0002 C0AF", MalformedPacket, false},
		{"control character", V311, "30 03 0001 1F", MalformedPacket, false},
		{"DEL", V311, "30 03 0001 7F", MalformedPacket, false},
		{"U+009F", V5, "30 05 0002 C29F 00", MalformedPacket, false},
		{"U+FFFE", V5, "30 06 0003 EFBFBE 00", MalformedPacket, false},
		{"U+FDD0", V5, "30 06 0003 EFB790 00", MalformedPacket, false},
		{"201 separators", V311, "30 CB01 00C9'" + levels + "'", MalformedPacket, false},
		{"response topic with wildcard", V5, "30 08 0001'a' 04 08 0001'#'", ProtocolError, false},
		{"response topic empty", V5, "30 07 0001'a' 03 08 0000", ProtocolError, false},
		{"response topic with control character", V5, "30 08 0001'a' 04 08 0001 01", MalformedPacket, false},
		{"payload format 2", V5, "30 06 0001'a' 02 01 02", ProtocolError, false},
		{"property length beyond the packet", V5, "30 06 0001'a' 03 01 01", MalformedPacket, true},
		{"property length not minimal", V5, "30 05 0001'a' 8000", MalformedPacket, false},
		{"property length of five bytes", V5, "30 09 0001'a' 8080808001 00", MalformedPacket, false},
	})
}

func TestPublishAccepted(t *testing.T) {
	for _, c := range []struct {
		name string
		v    Version
		hex  string
	}{
		{"200 separators", V311, "30 CA01 00C8'" + strings.Repeat("/", 200) + "'"},
		{"control character in content type", V5, "30 08 0001'a' 04 03 0001 01"},
		{"non-character in a user property", V5, "30 0B 0001'a' 07 26 0000 0002 C280"},
		{"payload that is not the UTF-8 it claims", V5, "30 07 0001'a' 02 01 01 FF"},
		{"subscription identifier", V5, "30 06 0001'a' 02 0B 01"},
	} {
		if _, err := decode(unhex(t, c.hex), c.v); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Flags that ParseFrame refuses are refused by Decode as well: a Frame can come
// from elsewhere.
func TestPublishBadFlags(t *testing.T) {
	for flags := range byte(16) {
		qos, dup := flags>>1&3, flags&8 != 0
		want := qos == 3 || (qos == 0 && dup)
		body := unhex(t, "0001'a' 0001 00")
		_, _, _, err := ParseFrame([]byte{0x30 | flags}, 0)
		if (err != nil) != want {
			t.Errorf("flags %x: ParseFrame returns %v", flags, err)
		}
		if err := new(Publish).Decode(Frame{PUBLISH, flags, body}, V5); (err != nil) != want {
			t.Errorf("flags %x: Decode returns %v", flags, err)
		}
	}
}

func TestPublishUnwritable(t *testing.T) {
	checkUnwritable(t, []unwritable{
		{"QoS 3", V311, &Publish{QoS: 3, PacketID: 1, Topic: []byte("a")}},
		{"QoS 255", V311, &Publish{QoS: 255, PacketID: 1, Topic: []byte("a")}},
		{"DUP with QoS 0", V311, &Publish{Dup: true, Topic: []byte("a")}},
		{"no packet id", V5, &Publish{QoS: 1, Topic: []byte("a")}},
		{"no topic", V5, &Publish{}},
		{"alias before MQTT 5", V311, &Publish{Props: Properties{Has: has(PropTopicAlias), TopicAlias: 1}}},
		{"alias 0", V5, &Publish{Topic: []byte("a"), Props: Properties{Has: has(PropTopicAlias)}}},
		{"long topic", V311, &Publish{Topic: make([]byte, 65536)}},
		{"long content type", V5, &Publish{Topic: []byte("a"), Props: Properties{Has: has(PropContentType), ContentType: make([]byte, 65536)}}},
		{"long user property", V5, &Publish{Topic: []byte("a"), Props: Properties{User: []UserProperty{{Value: make([]byte, 65536)}}}}},
		{"subscription id 0", V5, &Publish{Topic: []byte("a"), Props: Properties{SubscriptionIDs: []uint32{1, 0}}}},
		{"subscription id too large", V5, &Publish{Topic: []byte("a"), Props: Properties{SubscriptionIDs: []uint32{268_435_456}}}},
		{"misplaced property", V5, &Publish{Topic: []byte("a"), Props: Properties{Has: has(PropReasonString)}}},
	})
}

// The largest packet there is, and one byte more. The payload's pages are never
// touched by the failing Append.
func TestPublishTooLarge(t *testing.T) {
	payload := make([]byte, MaxRemainingLength-3+1)
	_, err := (&Publish{Topic: []byte("a"), Payload: payload}).Append(nil, V311)
	wantCode(t, err, PacketTooLarge, PUBLISH)
}
