package mqtt

// Unsuback is an UNSUBACK packet (MQTT 5 §3.11, MQTT 3.1.1 §3.11).
type Unsuback struct {
	PacketID uint16
	Codes    []ReasonCode // one per filter of the UNSUBSCRIBE, in order; none before MQTT 5
	Props    Properties
}

var unsubackCodes = codes(Success, NoSubscriptionExisted, UnspecifiedError, ImplementationSpecificError,
	NotAuthorized, TopicFilterInvalid, PacketIdentifierInUse)

// Decode reads f as version v has it. Slices of Props are views of f.Body.
func (p *Unsuback) Decode(f Frame, v Version) error {
	if err := f.check(UNSUBACK, v); err != nil {
		return err
	}
	p.Codes = recycled(p.Codes)
	var b []byte
	var err error
	if p.PacketID, b, err = decodeReply(f, v, &p.Props); err != nil {
		return err
	}
	if v != V5 {
		if len(b) > 0 {
			return trailing(UNSUBACK)
		}
		return nil
	}
	p.Codes, err = decodeCodes(p.Codes, UNSUBACK, b, &unsubackCodes)
	return err
}

// Append appends the packet. Before MQTT 5, Codes and Props are left out.
func (p *Unsuback) Append(dst []byte, v Version) ([]byte, error) {
	if v == V5 {
		return appendReply(dst, v, UNSUBACK, p.PacketID, &p.Props, p.Codes)
	}
	if p.PacketID == 0 {
		return dst, unencodable(UNSUBACK, "packet identifier is 0", "MQTT-2.2.1-3")
	}
	return AppendUint16(append(dst, byte(UNSUBACK)<<4, 2), p.PacketID), nil
}
