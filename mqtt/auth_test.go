package mqtt

import "testing"

var authGoldens = []golden{
	{name: "without a body", v: V5, hex: "F0 00", packet: &Auth{}},
	{name: "method", v: V5, hex: "F0 06 19 04 15 0001'm'", shorter: []int{0},
		packet: &Auth{Code: ReAuthenticate, Props: Properties{Has: has(PropAuthMethod), AuthMethod: []byte("m")}}},
	{name: "all", v: V5, hex: "F0 16 18 14 15 0001'm' 16 0002 00FF 1F 0001'w' 26 0001'k' 0001'v'", shorter: []int{0},
		packet: &Auth{Code: ContinueAuthentication, Props: Properties{Has: has(PropAuthMethod, PropAuthData, PropReasonString, PropUser),
			AuthMethod: []byte("m"), AuthData: []byte{0, 255}, ReasonString: []byte("w"), User: []UserProperty{{[]byte("k"), []byte("v")}}}}},
}

func TestAuthRefused(t *testing.T) {
	checkRefused(t, []refused{
		{"before MQTT 5", V311, "F0 00", ProtocolError, false},
		{"flags", V5, "F1 00", MalformedPacket, false},
		{"unknown reason", V5, "F0 06 01 04 15 0001'm'", ProtocolError, false},
		{"failure as reason", V5, "F0 06 87 04 15 0001'm'", ProtocolError, false},
		{"no properties", V5, "F0 01 18", MalformedPacket, true},
		{"no method", V5, "F0 02 18 00", ProtocolError, false},
		{"data without method", V5, "F0 06 18 04 16 0001'd'", ProtocolError, false},
	})
}

func TestAuthUnwritable(t *testing.T) {
	checkUnwritable(t, []unwritable{
		{"before MQTT 5", V311, &Auth{}},
		{"no method", V5, &Auth{Code: ContinueAuthentication}},
		{"misplaced property", V5, &Auth{Props: Properties{Has: has(PropTopicAlias), TopicAlias: 1}}},
	})
}
