package mqtt

// Unsubscribe is an UNSUBSCRIBE packet (MQTT 5 §3.10, MQTT 3.1.1 §3.10).
type Unsubscribe struct {
	PacketID uint16
	Props    Properties
	Filters  [][]byte
}

func (p *Unsubscribe) Decode(f Frame, v Version) error              { return nil }
func (p *Unsubscribe) Append(dst []byte, v Version) ([]byte, error) { return dst, nil }
