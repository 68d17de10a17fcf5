package mqtt

// Subscribe is a SUBSCRIBE packet (MQTT 5 §3.8, MQTT 3.1.1 §3.8).
type Subscribe struct {
	PacketID      uint16
	Props         Properties
	Subscriptions []Subscription
}

// Subscription is one topic filter and its options.
type Subscription struct {
	Filter  []byte
	Options SubOptions
}

// SubOptions is the byte behind a topic filter (MQTT 5 §3.8.3.1). Before
// MQTT 5 it holds the QoS and nothing else.
type SubOptions byte

// The bits of SubOptions above the QoS.
const (
	SubNoLocal           SubOptions = 1 << 2
	SubRetainAsPublished SubOptions = 1 << 3
)

// QoS is the highest QoS the subscriber wants.
func (o SubOptions) QoS() byte { return byte(o & 3) }

// NoLocal tells that the subscriber's own messages are not sent back to it.
func (o SubOptions) NoLocal() bool { return o&SubNoLocal != 0 }

// RetainAsPublished tells that forwarded messages keep their retain flag.
func (o SubOptions) RetainAsPublished() bool { return o&SubRetainAsPublished != 0 }

// RetainHandling says when retained messages are sent: 0 always, 1 when the
// subscription is new, 2 never.
func (o SubOptions) RetainHandling() byte { return byte(o >> 4 & 3) }

func (p *Subscribe) Decode(f Frame, v Version) error              { return nil }
func (p *Subscribe) Append(dst []byte, v Version) ([]byte, error) { return dst, nil }
