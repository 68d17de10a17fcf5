package mqtt

// Suback is a SUBACK packet (MQTT 5 §3.9, MQTT 3.1.1 §3.9).
type Suback struct {
	PacketID uint16
	Codes    []ReasonCode // one per filter of the SUBSCRIBE, in order
	Props    Properties
}

func (p *Suback) Decode(f Frame, v Version) error              { return nil }
func (p *Suback) Append(dst []byte, v Version) ([]byte, error) { return dst, nil }
