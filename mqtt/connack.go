package mqtt

// Connack is a CONNACK packet (MQTT 5 §3.2, MQTT 3.1.1 §3.2).
type Connack struct {
	SessionPresent bool
	Code           ReasonCode // before MQTT 5 one of the Conn constants
	Props          Properties
}

func (p *Connack) Decode(f Frame, v Version) error              { return nil }
func (p *Connack) Append(dst []byte, v Version) ([]byte, error) { return dst, nil }
