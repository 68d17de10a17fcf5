package mqtt

// Connack is a CONNACK packet (MQTT 5 §3.2, MQTT 3.1.1 §3.2).
type Connack struct {
	SessionPresent bool       // false before MQTT 3.1.1
	Code           ReasonCode // before MQTT 5 one of the Conn constants
	Props          Properties
}

var connackCodes = codes(Success, UnspecifiedError, MalformedPacket, ProtocolError, ImplementationSpecificError,
	UnsupportedProtocolVersion, ClientIdentifierNotValid, BadUserNameOrPassword, NotAuthorized, ServerUnavailable,
	ServerBusy, Banned, BadAuthenticationMethod, TopicNameInvalid, PacketTooLarge, QuotaExceeded,
	PayloadFormatInvalid, RetainNotSupported, QoSNotSupported, UseAnotherServer, ServerMoved, ConnectionRateExceeded)

// Decode reads f as version v has it. Slices are views of f.Body.
//
// To a CONNECT of MQTT 5, a server that knows only earlier versions answers
// with a CONNACK of theirs. With v V5, Decode takes that for what it means:
// Code UnsupportedProtocolVersion.
func (p *Connack) Decode(f Frame, v Version) error {
	if err := f.check(CONNACK, v); err != nil {
		return err
	}
	b := f.Body
	if len(b) < 2 {
		return truncated(CONNACK, "the acknowledge flags and reason code")
	}
	if b[0] > 1 && v != V31 {
		return malformed(CONNACK, "reserved bits of the acknowledge flags are set", "MQTT-3.2.2-1")
	}
	p.SessionPresent = b[0]&1 != 0 && v != V31
	p.Code = ReasonCode(b[1])
	p.Props.Reset()
	if p.SessionPresent && p.Code != Success {
		return protocolError(CONNACK, "session present in a refusal", "MQTT-3.2.2-6")
	}
	if v != V5 {
		if p.Code > ConnRefusedNotAuthorized {
			return badCode(CONNACK, p.Code)
		}
		if len(b) > 2 {
			return trailing(CONNACK)
		}
		return nil
	}
	if len(b) == 2 && p.Code == ConnRefusedVersion {
		p.Code = UnsupportedProtocolVersion
		return nil
	}
	if !connackCodes.has(p.Code) {
		return badCode(CONNACK, p.Code)
	}
	rest, err := p.Props.decode(b[2:], place(CONNACK))
	if err == nil && len(rest) > 0 {
		return trailing(CONNACK)
	}
	return err
}

// Append appends the packet. Before MQTT 5, Props is left out and Code becomes
// what V3Connack says.
func (p *Connack) Append(dst []byte, v Version) ([]byte, error) {
	if p.SessionPresent && p.Code != Success {
		return dst, unencodable(CONNACK, "session present in a refusal", "MQTT-3.2.2-6")
	}
	var flags byte
	if p.SessionPresent && v != V31 {
		flags = 1
	}
	if v != V5 {
		return append(dst, byte(CONNACK)<<4, 2, flags, byte(p.Code.V3Connack())), nil
	}
	props, err := p.Props.measure(place(CONNACK))
	if err != nil {
		return dst, err
	}
	out, err := appendHeader(dst, CONNACK, 0, 2+props)
	if err != nil {
		return dst, err
	}
	return p.Props.Append(append(out, flags, byte(p.Code))), nil
}
