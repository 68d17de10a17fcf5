package mqtt

// Error is what Decode, ParseFrame and Append return. Code is what a CONNACK
// or DISCONNECT of MQTT 5 answers with.
type Error struct {
	Code      ReasonCode
	Packet    PacketType // the packet at fault; 0 when not even its type is known
	Detail    string     // what is wrong, in words
	Statement string     // the normative statement or section that says so; may be empty
}

// Error tells the packet, the kind of error, the detail and the statement:
// "PUBLISH: Malformed Packet: topic: wildcard in a topic name [MQTT-3.3.2-2]".
func (e *Error) Error() string {
	s := e.Code.String() + ": " + e.Detail
	if e.Packet != 0 {
		s = e.Packet.String() + ": " + s
	}
	if e.Statement != "" {
		s += " [" + e.Statement + "]"
	}
	return s
}

func malformed(t PacketType, detail, statement string) error {
	return &Error{MalformedPacket, t, detail, statement}
}

func protocolError(t PacketType, detail, statement string) error {
	return &Error{ProtocolError, t, detail, statement}
}

// unencodable is Append's error: the caller's values make no valid packet.
func unencodable(t PacketType, detail, statement string) error {
	return &Error{ImplementationSpecificError, t, "cannot encode: " + detail, statement}
}
