package mqtt

// Disconnect is a DISCONNECT packet (MQTT 5 §3.14, MQTT 3.1.1 §3.14).
type Disconnect struct {
	Code  ReasonCode // NormalDisconnection before MQTT 5
	Props Properties
}

// Decode reads f as version v has it. Slices are views of f.Body. Any reason
// code is taken: the connection ends anyway, and Mosquitto's clients see no
// answer to a code that their server does not know.
func (p *Disconnect) Decode(f Frame, v Version) error {
	if err := f.check(DISCONNECT, v); err != nil {
		return err
	}
	p.Code = NormalDisconnection
	p.Props.Reset()
	b := f.Body
	if len(b) == 0 {
		return nil
	}
	if v != V5 {
		return trailing(DISCONNECT)
	}
	p.Code = ReasonCode(b[0])
	if len(b) == 1 {
		return nil
	}
	rest, err := p.Props.decode(b[1:], place(DISCONNECT))
	if err == nil && len(rest) > 0 {
		return trailing(DISCONNECT)
	}
	return err
}

// Append appends the packet in its shortest form. Before MQTT 5, Code and
// Props are left out.
func (p *Disconnect) Append(dst []byte, v Version) ([]byte, error) {
	size, props := 0, 0
	if v == V5 {
		var err error
		if size, props, err = measureReason(p.Code, &p.Props, place(DISCONNECT), 0); err != nil {
			return dst, err
		}
	}
	out, err := appendHeader(dst, DISCONNECT, 0, size)
	if err != nil {
		return dst, err
	}
	return appendReason(out, p.Code, &p.Props, size, props), nil
}
