package mqtt

import "testing"

var disconnectGoldens = []golden{
	{name: "only form", v: V311, hex: "E0 00", packet: &Disconnect{}},
	{name: "only form", v: V31, hex: "E0 00", packet: &Disconnect{}},
	{name: "normal", v: V5, hex: "E0 00", packet: &Disconnect{}, open: true},
	{name: "normal with reason", v: V5, hex: "E0 01 00", packet: &Disconnect{}, shorter: []int{0}, oneWay: true},
	{name: "with will", v: V5, hex: "E0 01 04", packet: &Disconnect{Code: DisconnectWithWill}, shorter: []int{0}},
	{name: "empty properties", v: V5, hex: "E0 02 8E 00", packet: &Disconnect{Code: SessionTakenOver}, shorter: []int{0, 1}, oneWay: true},
	{name: "unknown reason", v: V5, hex: "E0 01 FE", packet: &Disconnect{Code: 0xFE}, shorter: []int{0}},
	{name: "all", v: V5, hex: "E0 16 9C 14 11 00000000 1C 0001's' 1F 0001'w' 26 0001'k' 0001'v'", shorter: []int{0, 1},
		packet: &Disconnect{Code: UseAnotherServer, Props: Properties{Has: has(PropSessionExpiry, PropServerReference, PropReasonString, PropUser),
			ServerReference: []byte("s"), ReasonString: []byte("w"), User: []UserProperty{{[]byte("k"), []byte("v")}}}}},
}

func TestDisconnectRefused(t *testing.T) {
	checkRefused(t, []refused{
		{"flags", V311, "E1 00", MalformedPacket, false},
		{"flags", V5, "E2 00", MalformedPacket, false},
		{"reason before MQTT 5", V311, "E0 01 00", MalformedPacket, true},
		{"property of a CONNECT", V5, "E0 05 00 03 21 0001", ProtocolError, false},
		{"session expiry twice", V5, "E0 0C 00 0A 11 00000001 11 00000001", ProtocolError, false},
	})
}

func TestDisconnectUnwritable(t *testing.T) {
	checkUnwritable(t, []unwritable{
		{"misplaced property", V5, &Disconnect{Props: Properties{Has: has(PropWillDelay)}}},
		{"long reason", V5, &Disconnect{Props: Properties{Has: has(PropReasonString), ReasonString: make([]byte, 65536)}}},
	})
}
