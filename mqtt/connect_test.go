package mqtt

import (
	"strings"
	"testing"
)

func has(ids ...PropertyID) PropertySet { return propertySet(ids...) }

var connectGoldens = []golden{
	{name: "smallest", v: V311, hex: "10 0C 0004'MQTT' 04 02 003C 0000",
		packet: &Connect{ProtocolName: []byte("MQTT"), Version: V311, CleanStart: true, KeepAlive: 60}},
	{name: "smallest", v: V31, hex: "10 0F 0006'MQIsdp' 03 00 000A 0001'c'",
		packet: &Connect{ProtocolName: []byte("MQIsdp"), Version: V31, KeepAlive: 10, ClientID: []byte("c")}},
	{name: "smallest", v: V5, hex: "10 0D 0004'MQTT' 05 02 0000 00 0000",
		packet: &Connect{ProtocolName: []byte("MQTT"), Version: V5, CleanStart: true}},
	{name: "bridge", v: V311, hex: "10 0D 0004'MQTT' 84 00 003C 0001'b'",
		packet: &Connect{ProtocolName: []byte("MQTT"), Version: V311, Bridge: true, KeepAlive: 60, ClientID: []byte("b")}},
	{name: "bridge", v: V31, hex: "10 0F 0006'MQIsdp' 83 00 003C 0001'b'",
		packet: &Connect{ProtocolName: []byte("MQIsdp"), Version: V31, Bridge: true, KeepAlive: 60, ClientID: []byte("b")}},
	{name: "all", v: V311, hex: "10 20 0004'MQTT' 04 F6 FFFF 0003'cid' 0003'w/t' 0002'wp' 0002'un' 0002'pw'",
		packet: &Connect{ProtocolName: []byte("MQTT"), Version: V311, CleanStart: true, KeepAlive: 65535, ClientID: []byte("cid"),
			HasUsername: true, HasPassword: true, Username: []byte("un"), Password: []byte("pw"),
			HasWill: true, Will: Will{Topic: []byte("w/t"), Payload: []byte("wp"), QoS: 2, Retain: true}}},
	// A 3.1 CONNECT may end before its user name and password (MQTT 3.1 §3.1).
	{name: "all", v: V31, hex: "10 22 0006'MQIsdp' 03 CE 0005 0003'cid' 0003'w/t' 0002'wp' 0002'un' 0002'pw'", shorter: []int{26, 30},
		packet: &Connect{ProtocolName: []byte("MQIsdp"), Version: V31, CleanStart: true, KeepAlive: 5, ClientID: []byte("cid"),
			HasUsername: true, HasPassword: true, Username: []byte("un"), Password: []byte("pw"),
			HasWill: true, Will: Will{Topic: []byte("w/t"), Payload: []byte("wp"), QoS: 1}}},
	{name: "user name only, empty", v: V311, hex: "10 0F 0004'MQTT' 04 80 0000 0001'c' 0000",
		packet: &Connect{ProtocolName: []byte("MQTT"), Version: V311, ClientID: []byte("c"), HasUsername: true}},
	{name: "password only", v: V5, hex: "10 11 0004'MQTT' 05 40 0000 00 0001'c' 0001'p'",
		packet: &Connect{ProtocolName: []byte("MQTT"), Version: V5, ClientID: []byte("c"), HasPassword: true, Password: []byte("p")}},
	{name: "all", v: V5, hex: "10 79 0004'MQTT' 05 EE 003C" +
		"2C 11 0000000A 15 0003'PSK' 16 0002 00FF 17 00 19 01 21 0014 22 000A 26 0001'k' 0001'v' 26 0001'k' 0000 27 001E8480" +
		"0003'cid'" +
		"2B 01 01 02 0000003C 03 000A'text/plain' 08 0003'r/t' 09 0002 0102 18 00000005 26 0001'a' 0001'b'" +
		"0003'w/t' 0002'wp' 0002'un' 0002'pw'",
		packet: &Connect{ProtocolName: []byte("MQTT"), Version: V5, CleanStart: true, KeepAlive: 60, ClientID: []byte("cid"),
			HasUsername: true, HasPassword: true, Username: []byte("un"), Password: []byte("pw"),
			HasWill: true, Will: Will{Topic: []byte("w/t"), Payload: []byte("wp"), QoS: 1, Retain: true,
				Props: Properties{Has: has(PropPayloadFormat, PropMessageExpiry, PropContentType, PropResponseTopic, PropCorrelationData, PropWillDelay, PropUser),
					PayloadFormat: 1, MessageExpiry: 60, ContentType: []byte("text/plain"), ResponseTopic: []byte("r/t"),
					CorrelationData: []byte{1, 2}, WillDelay: 5, User: []UserProperty{{[]byte("a"), []byte("b")}}}},
			Props: Properties{Has: has(PropSessionExpiry, PropAuthMethod, PropAuthData, PropRequestProblemInfo, PropRequestResponseInfo,
				PropReceiveMaximum, PropTopicAliasMaximum, PropUser, PropMaximumPacketSize),
				SessionExpiry: 10, AuthMethod: []byte("PSK"), AuthData: []byte{0, 255}, RequestResponseInfo: 1,
				ReceiveMaximum: 20, TopicAliasMaximum: 10, MaximumPacketSize: 2_000_000,
				User: []UserProperty{{[]byte("k"), []byte("v")}, {[]byte("k"), nil}}}}},
}

func TestConnectRefused(t *testing.T) {
	checkRefused(t, []refused{
		{"wrong protocol name", V311, "10 0C 0004'MQTZ' 04 02 003C 0000", ProtocolError, false},
		{"lower case protocol name", V311, "10 0C 0004'mqtt' 04 02 003C 0000", ProtocolError, false},
		{"empty protocol name", V311, "10 08 0000 04 02 003C 0000", ProtocolError, false},
		{"reserved flag", V311, "10 0C 0004'MQTT' 04 03 003C 0000", MalformedPacket, false},
		{"reserved flag", V5, "10 0D 0004'MQTT' 05 03 003C 00 0000", MalformedPacket, false},
		{"will QoS 3", V311, "10 12 0004'MQTT' 04 1E 003C 0000 0001'a' 0001'b'", MalformedPacket, false},
		{"will QoS without will", V311, "10 0C 0004'MQTT' 04 0A 003C 0000", MalformedPacket, false},
		{"will retain without will", V311, "10 0C 0004'MQTT' 04 22 003C 0000", MalformedPacket, false},
		{"password without user name", V311, "10 0F 0004'MQTT' 04 42 003C 0000 0001'p'", MalformedPacket, false},
		{"password without user name", V31, "10 11 0006'MQIsdp' 03 42 003C 0000 0001'p'", MalformedPacket, false},
		{"will topic empty", V311, "10 11 0004'MQTT' 04 06 003C 0000 0000 0001'b'", MalformedPacket, false},
		{"will topic with wildcard", V311, "10 14 0004'MQTT' 04 06 003C 0000 0003'a/#' 0001'b'", MalformedPacket, false},
		{"will topic with wildcard", V5, "10 16 0004'MQTT' 05 06 003C 00 0000 00 0003'+/a' 0001'b'", MalformedPacket, false},
		{"client id with NUL", V5, "10 0E 0004'MQTT' 05 02 003C 00 0001 00", ClientIdentifierNotValid, false},
		{"client id with NUL", V311, "10 0D 0004'MQTT' 04 02 003C 0001 00", MalformedPacket, false},
		{"client id with control character", V5, "10 0F 0004'MQTT' 05 02 003C 00 0002 6101", ClientIdentifierNotValid, false},
		{"client id with surrogate", V5, "10 10 0004'MQTT' 05 02 003C 00 0003 EDA080", ClientIdentifierNotValid, false},
		{"client id with U+FFFF", V31, "10 11 0006'MQIsdp' 03 02 003C 0003 EFBFBF", MalformedPacket, false},
		{"user name with control character", V5, "10 10 0004'MQTT' 05 82 003C 00 0000 0001 7F", MalformedPacket, false},
		{"user name with U+0080", V311, "10 10 0004'MQTT' 04 82 003C 0000 0002 C280", MalformedPacket, false},
		{"flags of the fixed header", V311, "11 0C 0004'MQTT' 04 02 003C 0000", MalformedPacket, false},
		{"authentication data without method", V5, "10 12 0004'MQTT' 05 02 003C 05 16 0002 0102 0000", ProtocolError, false},
		{"will delay among the packet's properties", V5, "10 12 0004'MQTT' 05 02 003C 05 18 00000001 0000", ProtocolError, false},
		{"session expiry among the will's properties", V5, "10 19 0004'MQTT' 05 06 003C 00 0000 05 11 00000001 0001'a' 0001'b'", ProtocolError, false},
	})
}

// What a server needs to answer a version that it does not know.
func TestConnectUnknownVersion(t *testing.T) {
	for _, c := range []struct {
		hex    string
		v      Version
		bridge bool
	}{
		{"10 0C 0004'MQTT' 06 02 003C 0000", 6, false},
		{"10 0C 0004'MQTT' 03 02 003C 0000", 3, false},
		{"10 0E 0006'MQIsdp' 04 02 003C 0000", 4, false},
		{"10 0C 0004'MQTT' 00 02 003C 0000", 0, false},
		{"10 0C 0004'MQTT' FF 02 003C 0000", 0x7F, true},
		{"10 0D 0004'MQTT' 85 02 003C 00 0000", 5, true},
		{"10 0C 0004'MQTT' 83 02 003C 0000", 3, true},
		// Whatever follows in a version from the future is not looked at.
		{"10 07 0004'MQTT' 07", 7, false},
	} {
		f, _, _, err := ParseFrame(unhex(t, c.hex), 0)
		if err != nil {
			t.Fatal(err)
		}
		var p Connect
		wantCode(t, p.Decode(f), UnsupportedProtocolVersion, CONNECT)
		if p.Version != c.v || p.Bridge != c.bridge {
			t.Errorf("%s: version %d bridge %v, want %d %v", c.hex, p.Version, p.Bridge, c.v, c.bridge)
		}
	}
}

// MQTT 3.1 §3.1: "the Remaining Length takes precedence over the User Name flag".
func TestConnectV31WithoutCredentials(t *testing.T) {
	for _, c := range []struct {
		hex            string
		user, password bool
	}{
		{"10 0F 0006'MQIsdp' 03 C2 003C 0001'c'", false, false},
		{"10 12 0006'MQIsdp' 03 C2 003C 0001'c' 0001'u'", true, false},
		{"10 15 0006'MQIsdp' 03 C2 003C 0001'c' 0001'u' 0001'p'", true, true},
		// In 3.1 the lowest bit of the flags is unused, not zero.
		{"10 0F 0006'MQIsdp' 03 03 003C 0001'c'", false, false},
	} {
		p, err := decode(unhex(t, c.hex), V31)
		if err != nil {
			t.Fatalf("%s: %v", c.hex, err)
		}
		if p := p.(*Connect); p.HasUsername != c.user || p.HasPassword != c.password {
			t.Errorf("%s: user name %v, password %v", c.hex, p.HasUsername, p.HasPassword)
		}
	}
}

func TestConnectUnwritable(t *testing.T) {
	long := []byte(strings.Repeat("x", MaxStringLength+1))
	checkUnwritable(t, []unwritable{
		{"no version", 0, &Connect{}},
		{"unknown version", 6, &Connect{Version: 6}},
		{"bridge bit", V5, &Connect{Version: V5, Bridge: true}},
		{"password without user name", V311, &Connect{Version: V311, HasPassword: true}},
		{"will QoS 3", V311, &Connect{Version: V311, HasWill: true, Will: Will{QoS: 3, Topic: []byte("a")}}},
		{"will without topic", V311, &Connect{Version: V311, HasWill: true}},
		{"long client id", V311, &Connect{Version: V311, ClientID: long}},
		{"long user name", V311, &Connect{Version: V311, HasUsername: true, Username: long}},
		{"long password", V5, &Connect{Version: V5, HasPassword: true, Password: long}},
		{"long will topic", V311, &Connect{Version: V311, HasWill: true, Will: Will{Topic: long}}},
		{"long will payload", V311, &Connect{Version: V311, HasWill: true, Will: Will{Topic: []byte("a"), Payload: long}}},
		{"misplaced property", V5, &Connect{Version: V5, Props: Properties{Has: has(PropWillDelay)}}},
		{"misplaced will property", V5, &Connect{Version: V5, HasWill: true, Will: Will{Topic: []byte("a"), Props: Properties{Has: has(PropSessionExpiry)}}}},
		{"receive maximum 0", V5, &Connect{Version: V5, Props: Properties{Has: has(PropReceiveMaximum)}}},
	})
}
