package mqtt

import "testing"

var connackGoldens = []golden{
	{name: "accepted", v: V31, hex: "20 02 00 00", packet: &Connack{}},
	{name: "refused", v: V31, hex: "20 02 00 04", packet: &Connack{Code: ConnRefusedCredentials}},
	{name: "session present", v: V311, hex: "20 02 01 00", packet: &Connack{SessionPresent: true}},
	{name: "refused", v: V311, hex: "20 02 00 05", packet: &Connack{Code: ConnRefusedNotAuthorized}},
	{name: "smallest", v: V5, hex: "20 03 00 00 00", packet: &Connack{}},
	{name: "refused", v: V5, hex: "20 09 00 87 06 1F 0003'why'", packet: &Connack{Code: NotAuthorized,
		Props: Properties{Has: has(PropReasonString), ReasonString: []byte("why")}}},
	{name: "all", v: V5, hex: "20 3F 01 00 3C 11 0000000A 12 0001'c' 13 001E 15 0001'm' 16 0001 00 1A 0001'r' 1C 0001's' 1F 0001'w'" +
		"21 0014 22 000A 24 01 25 00 26 0001'k' 0001'v' 27 001E8480 28 01 29 01 2A 00", packet: &Connack{SessionPresent: true,
		Props: Properties{Has: has(PropSessionExpiry, PropAssignedClientID, PropServerKeepAlive, PropAuthMethod, PropAuthData, PropResponseInfo,
			PropServerReference, PropReasonString, PropReceiveMaximum, PropTopicAliasMaximum, PropMaximumQoS, PropRetainAvailable, PropUser,
			PropMaximumPacketSize, PropWildcardSubAvailable, PropSubIDAvailable, PropSharedSubAvailable),
			SessionExpiry: 10, AssignedClientID: []byte("c"), ServerKeepAlive: 30, AuthMethod: []byte("m"), AuthData: []byte{0},
			ResponseInfo: []byte("r"), ServerReference: []byte("s"), ReasonString: []byte("w"), ReceiveMaximum: 20, TopicAliasMaximum: 10,
			MaximumQoS: 1, User: []UserProperty{{[]byte("k"), []byte("v")}}, MaximumPacketSize: 2_000_000,
			WildcardSubAvailable: 1, SubIDAvailable: 1}}},
	// What a server that knows only earlier versions answers to a CONNECT of MQTT 5.
	{name: "refusal of an older server", v: V5, hex: "20 02 00 01", packet: &Connack{Code: UnsupportedProtocolVersion}, oneWay: true},
}

func TestConnackRefused(t *testing.T) {
	checkRefused(t, []refused{
		{"reserved flags", V311, "20 02 02 00", MalformedPacket, false},
		{"reserved flags", V5, "20 03 80 00 00", MalformedPacket, false},
		{"session present in a refusal", V311, "20 02 01 05", ProtocolError, false},
		{"session present in a refusal", V5, "20 03 01 87 00", ProtocolError, false},
		{"unknown return code", V311, "20 02 00 06", ProtocolError, false},
		{"code of MQTT 5", V311, "20 02 00 87", ProtocolError, false},
		{"unknown reason code", V5, "20 03 00 FF 00", ProtocolError, false},
		{"reason code of a SUBACK", V5, "20 03 00 8F 00", ProtocolError, false},
		{"no property length", V5, "20 02 00 00", MalformedPacket, true},
		{"properties", V311, "20 03 00 00 00", MalformedPacket, true},
	})
}

// Before MQTT 5 every code is written as a return code.
func TestConnackMapsCodes(t *testing.T) {
	for c := range 256 {
		out, err := (&Connack{Code: ReasonCode(c)}).Append(nil, V311)
		if err != nil {
			t.Fatal(err)
		}
		p, err := decode(out, V311)
		if err != nil {
			t.Fatalf("code 0x%02X: %v", c, err)
		}
		if got := p.(*Connack).Code; (got == ConnAccepted) != (c == 0) || got != ReasonCode(c).V3Connack() {
			t.Errorf("code 0x%02X became %v", c, got.V3String())
		}
	}
}

func TestConnackUnwritable(t *testing.T) {
	checkUnwritable(t, []unwritable{
		{"session present in a refusal", V311, &Connack{SessionPresent: true, Code: ConnRefusedServer}},
		{"misplaced property", V5, &Connack{Props: Properties{Has: has(PropTopicAlias)}}},
		{"maximum QoS 2", V5, &Connack{Props: Properties{Has: has(PropMaximumQoS), MaximumQoS: 2}}},
	})
}
