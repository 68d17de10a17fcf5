package mqtt

// Auth is an AUTH packet (MQTT 5 §3.15).
type Auth struct {
	Code  ReasonCode
	Props Properties
}

func (p *Auth) Decode(f Frame, v Version) error              { return nil }
func (p *Auth) Append(dst []byte, v Version) ([]byte, error) { return dst, nil }
