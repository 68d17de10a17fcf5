package mqtt

import "testing"

var unsubackGoldens = []golden{
	{name: "only form", v: V311, hex: "B0 02 0001", packet: &Unsuback{PacketID: 1}},
	{name: "only form", v: V31, hex: "B0 02 FFFF", packet: &Unsuback{PacketID: 65535}},
	{name: "two", v: V5, hex: "B0 05 0001 00 00 11", shorter: []int{4}, packet: &Unsuback{PacketID: 1, Codes: []ReasonCode{Success, NoSubscriptionExisted}}},
	{name: "all", v: V5, hex: "B0 08 0007 04 1F 0001'w' 87", packet: &Unsuback{PacketID: 7, Codes: []ReasonCode{NotAuthorized},
		Props: Properties{Has: has(PropReasonString), ReasonString: []byte("w")}}},
}

func TestUnsubackRefused(t *testing.T) {
	checkRefused(t, []refused{
		{"packet id 0", V311, "B0 02 0000", ProtocolError, false},
		{"codes before MQTT 5", V311, "B0 03 0001 00", MalformedPacket, true},
		{"no code", V5, "B0 03 0001 00", MalformedPacket, true},
		{"code of a SUBACK", V5, "B0 04 0001 00 01", ProtocolError, false},
		{"flags", V311, "B2 02 0001", MalformedPacket, false},
	})
}

func TestUnsubackReasonCodes(t *testing.T) {
	// MQTT 5 §3.11.3.
	valid := map[byte]bool{0: true, 0x11: true, 0x80: true, 0x83: true, 0x87: true, 0x8F: true, 0x91: true}
	for c := range 256 {
		if _, err := decode([]byte{0xB0, 4, 0, 1, 0, byte(c)}, V5); valid[byte(c)] != (err == nil) {
			t.Errorf("code 0x%02X: %v", c, err)
		}
	}
}

func TestUnsubackUnwritable(t *testing.T) {
	checkUnwritable(t, []unwritable{
		{"packet id 0", V311, &Unsuback{}},
		{"packet id 0", V5, &Unsuback{Codes: []ReasonCode{0}}},
		{"no code", V5, &Unsuback{PacketID: 1}},
		{"misplaced property", V5, &Unsuback{PacketID: 1, Codes: []ReasonCode{0}, Props: Properties{Has: has(PropServerReference)}}},
	})
}
