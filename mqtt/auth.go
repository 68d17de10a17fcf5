package mqtt

// Auth is an AUTH packet (MQTT 5 §3.15), which earlier versions do not have.
type Auth struct {
	Code  ReasonCode // Success, ContinueAuthentication or ReAuthenticate
	Props Properties
}

var authCodes = codes(Success, ContinueAuthentication, ReAuthenticate)

// Decode reads f. Slices are views of f.Body. An AUTH without a body is legal
// and means Success; any other has an authentication method.
func (p *Auth) Decode(f Frame, v Version) error {
	if err := f.check(AUTH, v); err != nil {
		return err
	}
	if v != V5 {
		return protocolError(AUTH, "exists in MQTT 5 only", "MQTT 5 §3.15")
	}
	p.Code = Success
	p.Props.Reset()
	b := f.Body
	if len(b) == 0 {
		return nil
	}
	if p.Code = ReasonCode(b[0]); !authCodes.has(p.Code) {
		return badCode(AUTH, p.Code)
	}
	rest, err := p.Props.decode(b[1:], place(AUTH))
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return trailing(AUTH)
	}
	if !p.Props.Has.Has(PropAuthMethod) {
		return protocolError(AUTH, "has no Authentication Method", "MQTT 5 §3.15.2.2.2")
	}
	return nil
}

// Append appends the packet. Without an authentication method only Success can
// be sent, in an AUTH without a body.
func (p *Auth) Append(dst []byte, v Version) ([]byte, error) {
	if v != V5 {
		return dst, unencodable(AUTH, "exists in MQTT 5 only", "MQTT 5 §3.15")
	}
	size, props, err := measureReason(p.Code, &p.Props, place(AUTH), 0)
	if err != nil {
		return dst, err
	}
	if size > 0 && !p.Props.Has.Has(PropAuthMethod) {
		return dst, unencodable(AUTH, "has no Authentication Method", "MQTT 5 §3.15.2.2.2")
	}
	out, err := appendHeader(dst, AUTH, 0, size)
	if err != nil {
		return dst, err
	}
	return appendReason(out, p.Code, &p.Props, size, props), nil
}
