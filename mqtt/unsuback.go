package mqtt

// Unsuback is an UNSUBACK packet (MQTT 5 §3.11, MQTT 3.1.1 §3.11).
type Unsuback struct {
	PacketID uint16
	Codes    []ReasonCode // one per filter of the UNSUBSCRIBE, in order; none before MQTT 5
	Props    Properties
}

func (p *Unsuback) Decode(f Frame, v Version) error              { return nil }
func (p *Unsuback) Append(dst []byte, v Version) ([]byte, error) { return dst, nil }
