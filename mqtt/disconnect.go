package mqtt

// Disconnect is a DISCONNECT packet (MQTT 5 §3.14, MQTT 3.1.1 §3.14).
type Disconnect struct {
	Code  ReasonCode // NormalDisconnection before MQTT 5
	Props Properties
}

func (p *Disconnect) Decode(f Frame, v Version) error              { return nil }
func (p *Disconnect) Append(dst []byte, v Version) ([]byte, error) { return dst, nil }
