package mqtt

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP packet, as Type says (MQTT 5
// §3.4 to §3.7).
type Ack struct {
	Type     PacketType
	PacketID uint16
	Code     ReasonCode // Success before MQTT 5
	Props    Properties
}

func (p *Ack) Decode(f Frame, v Version) error              { return nil }
func (p *Ack) Append(dst []byte, v Version) ([]byte, error) { return dst, nil }
