package mqtt

// Suback is a SUBACK packet (MQTT 5 §3.9, MQTT 3.1.1 §3.9).
type Suback struct {
	PacketID uint16
	Codes    []ReasonCode // one per filter of the SUBSCRIBE, in order
	Props    Properties
}

var (
	subackCodes = codes(GrantedQoS0, GrantedQoS1, GrantedQoS2, UnspecifiedError, ImplementationSpecificError,
		NotAuthorized, TopicFilterInvalid, PacketIdentifierInUse, QuotaExceeded, SharedSubscriptionsNotSupported,
		SubscriptionIdentifiersNotSupported, WildcardSubscriptionsNotSupported)
	subackCodesV3 = codes(GrantedQoS0, GrantedQoS1, GrantedQoS2, UnspecifiedError)
)

// Decode reads f as version v has it. Slices of Props are views of f.Body.
func (p *Suback) Decode(f Frame, v Version) error {
	if err := f.check(SUBACK, v); err != nil {
		return err
	}
	p.Codes = recycled(p.Codes)
	var b []byte
	var err error
	if p.PacketID, b, err = decodeReply(f, v, &p.Props); err != nil {
		return err
	}
	list := &subackCodes
	if v != V5 {
		list = &subackCodesV3
	}
	p.Codes, err = decodeCodes(p.Codes, SUBACK, b, list)
	return err
}

// Append appends the packet. Before MQTT 5, Props is left out and every failure
// is 0x80.
func (p *Suback) Append(dst []byte, v Version) ([]byte, error) {
	return appendReply(dst, v, SUBACK, p.PacketID, &p.Props, p.Codes)
}

// decodeReply reads what SUBACK and UNSUBACK begin with.
func decodeReply(f Frame, v Version, props *Properties) (id uint16, rest []byte, err error) {
	props.Reset()
	b := f.Body
	if len(b) < 2 {
		return 0, nil, truncated(f.Type, "the packet identifier")
	}
	if id = uint16At(b); id == 0 {
		return 0, nil, protocolError(f.Type, "packet identifier is 0", "MQTT-2.2.1-3")
	}
	b = b[2:]
	if v == V5 {
		if b, err = props.decode(b, place(f.Type)); err != nil {
			return id, nil, err
		}
	}
	return id, b, nil
}

// decodeCodes reads the reason codes that take up the rest of a packet.
func decodeCodes(dst []ReasonCode, t PacketType, b []byte, list *codeSet) ([]ReasonCode, error) {
	if len(b) == 0 {
		return dst, truncated(t, "the reason codes")
	}
	for _, c := range b {
		if !list.has(ReasonCode(c)) {
			return dst, badCode(t, ReasonCode(c))
		}
		dst = append(dst, ReasonCode(c))
	}
	return dst, nil
}

// appendReply appends a SUBACK, or an UNSUBACK of MQTT 5.
func appendReply(dst []byte, v Version, t PacketType, id uint16, props *Properties, codes []ReasonCode) ([]byte, error) {
	if id == 0 {
		return dst, unencodable(t, "packet identifier is 0", "MQTT-2.2.1-3")
	}
	if len(codes) == 0 {
		return dst, unencodable(t, "has no reason code", "MQTT 5 §3.9.3")
	}
	size := 2 + len(codes)
	var err error
	if v == V5 {
		if size, err = addProps(size, props, place(t)); err != nil {
			return dst, err
		}
	}
	out, err := appendHeader(dst, t, 0, size)
	if err != nil {
		return dst, err
	}
	out = AppendUint16(out, id)
	if v == V5 {
		out = props.Append(out)
	}
	for _, c := range codes {
		if v != V5 && c.IsError() {
			c = UnspecifiedError
		}
		out = append(out, byte(c))
	}
	return out, nil
}
