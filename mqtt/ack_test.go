package mqtt

import (
	"fmt"
	"testing"
)

var ackGoldens = []golden{
	{name: "PUBACK", v: V311, hex: "40 02 0001", packet: &Ack{Type: PUBACK, PacketID: 1}},
	{name: "PUBREC", v: V31, hex: "50 02 FFFF", packet: &Ack{Type: PUBREC, PacketID: 65535}},
	{name: "PUBREL", v: V311, hex: "62 02 0102", packet: &Ack{Type: PUBREL, PacketID: 0x102}},
	{name: "PUBCOMP", v: V311, hex: "70 02 0001", packet: &Ack{Type: PUBCOMP, PacketID: 1}},
	{name: "PUBREL again", v: V31, hex: "6A 02 0102", packet: &Ack{Type: PUBREL, PacketID: 0x102}, oneWay: true},
	{name: "PUBACK without reason", v: V5, hex: "40 02 0001", packet: &Ack{Type: PUBACK, PacketID: 1}},
	{name: "PUBACK with reason", v: V5, hex: "40 03 0001 10", shorter: []int{2},
		packet: &Ack{Type: PUBACK, PacketID: 1, Code: NoMatchingSubscribers}},
	{name: "PUBACK with success", v: V5, hex: "40 03 0001 00", shorter: []int{2}, oneWay: true,
		packet: &Ack{Type: PUBACK, PacketID: 1}},
	{name: "PUBREC with empty properties", v: V5, hex: "50 04 0001 87 00", shorter: []int{2, 3}, oneWay: true,
		packet: &Ack{Type: PUBREC, PacketID: 1, Code: NotAuthorized}},
	{name: "PUBREL with properties", v: V5, hex: "62 08 0001 92 04 1F 0001'w'", shorter: []int{2, 3},
		packet: &Ack{Type: PUBREL, PacketID: 1, Code: PacketIdentifierNotFound, Props: Properties{Has: has(PropReasonString), ReasonString: []byte("w")}}},
	{name: "PUBCOMP with success and properties", v: V5, hex: "70 0B 0001 00 07 26 0001'k' 0001'v'", shorter: []int{2, 3},
		packet: &Ack{Type: PUBCOMP, PacketID: 1, Props: Properties{Has: has(PropUser), User: []UserProperty{{[]byte("k"), []byte("v")}}}}},
}

func TestAckRefused(t *testing.T) {
	for _, first := range []string{"40", "50", "62", "70"} {
		checkRefused(t, []refused{
			{first + " packet id 0", V311, first + "02 0000", ProtocolError, false},
			{first + " packet id 0", V5, first + "02 0000", ProtocolError, false},
			{first + " reason before MQTT 5", V311, first + "03 0001 00", MalformedPacket, true},
			{first + " unknown reason", V5, first + "03 0001 FF", ProtocolError, false},
			{first + " reason of a DISCONNECT", V5, first + "03 0001 8D", ProtocolError, false},
			{first + " property of a PUBLISH", V5, first + "06 0001 00 02 01 01", ProtocolError, false},
		})
	}
	checkRefused(t, []refused{
		{"PUBREL with the reason of a PUBREC", V5, "62 03 0001 87", ProtocolError, false},
		{"PUBCOMP with the reason of a PUBACK", V5, "70 03 0001 10", ProtocolError, false},
		{"PUBREL flags", V311, "60 02 0001", MalformedPacket, false},
		{"PUBREL flags", V5, "63 02 0001", MalformedPacket, false},
		// Only 3.1 sends a PUBREL again with DUP.
		{"PUBREL again", V311, "6A 02 0001", MalformedPacket, false},
		{"PUBACK flags", V311, "42 02 0001", MalformedPacket, false},
	})
}

// The codes of each acknowledgement, from the tables of MQTT 5 §3.4.2.1,
// §3.5.2.1, §3.6.2.1 and §3.7.2.1.
func TestAckReasonCodes(t *testing.T) {
	received := map[byte]bool{0: true, 0x10: true, 0x80: true, 0x83: true, 0x87: true, 0x90: true, 0x91: true, 0x97: true, 0x99: true,
		0x95: true} // not in the tables: Mosquitto's answer to a payload that is too large
	released := map[byte]bool{0: true, 0x92: true}
	for first, valid := range map[byte]map[byte]bool{0x40: received, 0x50: received, 0x62: released, 0x70: released} {
		for c := range 256 {
			_, err := decode([]byte{first, 3, 0, 1, byte(c)}, V5)
			if valid[byte(c)] != (err == nil) {
				t.Errorf("%v with code 0x%02X: %v", PacketType(first>>4), c, err)
			}
		}
	}
}

func TestAckUnwritable(t *testing.T) {
	for typ := PUBACK; typ <= PUBCOMP; typ++ {
		checkUnwritable(t, []unwritable{
			{fmt.Sprint(typ, " packet id 0"), V311, &Ack{Type: typ}},
			{fmt.Sprint(typ, " misplaced property"), V5, &Ack{Type: typ, PacketID: 1, Props: Properties{Has: has(PropTopicAlias), TopicAlias: 1}}},
		})
	}
	checkUnwritable(t, []unwritable{
		{"no type", V5, &Ack{PacketID: 1}},
		{"another type", V5, &Ack{Type: SUBACK, PacketID: 1}},
	})
}
