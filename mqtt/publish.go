package mqtt

// Publish is a PUBLISH packet (MQTT 5 §3.3, MQTT 3.1.1 §3.3).
type Publish struct {
	Dup      bool
	QoS      byte
	Retain   bool
	Topic    []byte // empty only with a topic alias
	PacketID uint16 // 0 with QoS 0
	Props    Properties
	Payload  []byte
}

func (p *Publish) Decode(f Frame, v Version) error              { return nil }
func (p *Publish) Append(dst []byte, v Version) ([]byte, error) { return dst, nil }
