package mqtt

import "testing"

var subackGoldens = []golden{
	{name: "one", v: V311, hex: "90 03 0001 00", packet: &Suback{PacketID: 1, Codes: []ReasonCode{0}}},
	{name: "all codes", v: V31, hex: "90 06 0001 00010280", shorter: []int{3, 4, 5},
		packet: &Suback{PacketID: 1, Codes: []ReasonCode{GrantedQoS0, GrantedQoS1, GrantedQoS2, UnspecifiedError}}},
	{name: "one", v: V5, hex: "90 04 0001 00 02", packet: &Suback{PacketID: 1, Codes: []ReasonCode{GrantedQoS2}}},
	{name: "all", v: V5, hex: "90 0D 0007 07 26 0001'k' 0001'v' 00 A2 9E", shorter: []int{11, 12},
		packet: &Suback{PacketID: 7, Codes: []ReasonCode{GrantedQoS0, WildcardSubscriptionsNotSupported, SharedSubscriptionsNotSupported},
			Props: Properties{Has: has(PropUser), User: []UserProperty{{[]byte("k"), []byte("v")}}}}},
}

func TestSubackRefused(t *testing.T) {
	checkRefused(t, []refused{
		{"packet id 0", V311, "90 03 0000 00", ProtocolError, false},
		{"no code", V311, "90 02 0001", MalformedPacket, true},
		{"no code", V5, "90 03 0001 00", MalformedPacket, true},
		{"unknown code", V311, "90 03 0001 03", ProtocolError, false},
		{"code of MQTT 5", V311, "90 03 0001 87", ProtocolError, false},
		{"code of an UNSUBACK", V5, "90 04 0001 00 11", ProtocolError, false},
		{"flags", V5, "92 04 0001 00 00", MalformedPacket, false},
	})
}

func TestSubackReasonCodes(t *testing.T) {
	// MQTT 5 §3.9.3.
	valid := map[byte]bool{0: true, 1: true, 2: true, 0x80: true, 0x83: true, 0x87: true, 0x8F: true, 0x91: true, 0x97: true,
		0x9E: true, 0xA1: true, 0xA2: true}
	for c := range 256 {
		if _, err := decode([]byte{0x90, 4, 0, 1, 0, byte(c)}, V5); valid[byte(c)] != (err == nil) {
			t.Errorf("code 0x%02X: %v", c, err)
		}
	}
}

// Before MQTT 5 there is one failure.
func TestSubackMapsCodes(t *testing.T) {
	out, err := (&Suback{PacketID: 1, Codes: []ReasonCode{GrantedQoS2, NotAuthorized, TopicFilterInvalid}}).Append(nil, V311)
	if err != nil || string(out) != "\x90\x05\x00\x01\x02\x80\x80" {
		t.Errorf("% x, %v", out, err)
	}
}

func TestSubackUnwritable(t *testing.T) {
	checkUnwritable(t, []unwritable{
		{"packet id 0", V311, &Suback{Codes: []ReasonCode{0}}},
		{"no code", V5, &Suback{PacketID: 1}},
		{"misplaced property", V5, &Suback{PacketID: 1, Codes: []ReasonCode{0}, Props: Properties{SubscriptionIDs: []uint32{1}}}},
	})
}
