package mqtt

// Connect is a CONNECT packet (MQTT 5 §3.1, MQTT 3.1.1 §3.1).
type Connect struct {
	ProtocolName []byte // set by Decode; Append derives it from Version
	Version      Version
	Bridge       bool   // 0x80 set in the protocol level: the sender is a bridge (3.1 and 3.1.1)
	CleanStart   bool   // "clean session" before MQTT 5
	KeepAlive    uint16 // seconds; 0 none
	ClientID     []byte
	HasUsername  bool
	HasPassword  bool
	Username     []byte
	Password     []byte
	HasWill      bool
	Will         Will
	Props        Properties
}

// Will is the message that a server publishes for a client that is gone.
type Will struct {
	Topic   []byte
	Payload []byte
	QoS     byte
	Retain  bool
	Props   Properties
}

func (p *Connect) Decode(f Frame) error              { return nil }
func (p *Connect) Append(dst []byte) ([]byte, error) { return dst, nil }
