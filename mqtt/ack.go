package mqtt

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP packet, as Type says (MQTT 5
// §3.4 to §3.7).
type Ack struct {
	Type     PacketType
	PacketID uint16
	Code     ReasonCode // Success before MQTT 5
	Props    Properties
}

// receivedCodes are those of PUBACK and PUBREC. Packet Too Large is not in the
// specification's list, but is what Mosquitto answers to a payload above its
// message_size_limit.
var receivedCodes = codes(Success, NoMatchingSubscribers, UnspecifiedError, ImplementationSpecificError,
	NotAuthorized, TopicNameInvalid, PacketIdentifierInUse, QuotaExceeded, PayloadFormatInvalid, PacketTooLarge)

// releasedCodes are those of PUBREL and PUBCOMP.
var releasedCodes = codes(Success, PacketIdentifierNotFound)

// Decode reads f, whose type is any of the four, as version v has it. Slices
// are views of f.Body.
func (p *Ack) Decode(f Frame, v Version) error {
	if f.Type < PUBACK || f.Type > PUBCOMP {
		return protocolError(f.Type, "decoded as PUBACK, PUBREC, PUBREL or PUBCOMP", "")
	}
	if err := f.check(f.Type, v); err != nil {
		return err
	}
	b := f.Body
	if len(b) < 2 {
		return truncated(f.Type, "the packet identifier")
	}
	p.Type = f.Type
	p.PacketID = uint16At(b)
	p.Code = Success
	p.Props.Reset()
	if p.PacketID == 0 {
		return protocolError(f.Type, "packet identifier is 0", "MQTT-2.2.1-3")
	}
	if len(b) == 2 {
		return nil
	}
	if v != V5 {
		return trailing(f.Type)
	}
	p.Code = ReasonCode(b[2])
	list := &receivedCodes
	if f.Type >= PUBREL {
		list = &releasedCodes
	}
	if !list.has(p.Code) {
		return badCode(f.Type, p.Code)
	}
	if len(b) == 3 {
		return nil
	}
	rest, err := p.Props.decode(b[3:], place(f.Type))
	if err == nil && len(rest) > 0 {
		return trailing(f.Type)
	}
	return err
}

// Append appends the packet in its shortest form: without properties when there
// are none, without reason code when that is Success too (MQTT 5 §3.4.2.1).
// Before MQTT 5, Code and Props are left out.
func (p *Ack) Append(dst []byte, v Version) ([]byte, error) {
	if p.Type < PUBACK || p.Type > PUBCOMP {
		return dst, unencodable(p.Type, "an Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP", "")
	}
	if p.PacketID == 0 {
		return dst, unencodable(p.Type, "packet identifier is 0", "MQTT-2.2.1-3")
	}
	size, props := 2, 0
	if v == V5 {
		var err error
		if size, props, err = measureReason(p.Code, &p.Props, place(p.Type), 2); err != nil {
			return dst, err
		}
	}
	out, err := appendHeader(dst, p.Type, fixedFlags[p.Type], size)
	if err != nil {
		return dst, err
	}
	return appendReason(AppendUint16(out, p.PacketID), p.Code, &p.Props, size-2, props), nil
}

func badCode(t PacketType, c ReasonCode) error {
	return protocolError(t, "has no reason code "+c.String(), "MQTT 5 §2.4")
}

// measureReason returns the size of a packet whose last fields are a reason
// code and properties that may be left out (base is what stands before them),
// and props, the part of it that the properties take.
func measureReason(c ReasonCode, p *Properties, at place, base int) (size, props int, err error) {
	if props, err = p.measure(at); err != nil {
		return 0, 0, err
	}
	switch {
	case props > 1:
		return base + 1 + props, props, nil
	case c != Success:
		return base + 1, 0, nil
	}
	return base, 0, nil
}

// appendReason appends what measureReason measured; tail is the size of it.
func appendReason(dst []byte, c ReasonCode, p *Properties, tail, props int) []byte {
	if tail > 0 {
		dst = append(dst, byte(c))
	}
	if props > 0 {
		dst = p.Append(dst)
	}
	return dst
}
