package mqtt

import (
	"fmt"

	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

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
// MQTT 5 it holds the QoS and nothing else. Retain handling is in bits 4 and 5.
type SubOptions byte

// The bits of SubOptions that are flags.
const (
	SubNoLocal           SubOptions = 1 << 2
	SubRetainAsPublished SubOptions = 1 << 3

	subReserved SubOptions = 3 << 6
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

// invalid says what is wrong with the options, or returns "".
func (o SubOptions) invalid(v Version) (detail, statement string) {
	switch {
	case o.QoS() == 3:
		return "QoS of a subscription is 3", "MQTT 5 §3.8.3.1"
	case v != V5 && o > 2:
		return "bits above the QoS of a subscription are set, which only MQTT 5 has", "MQTT 3.1.1 MQTT-3.8.3-4"
	case o&subReserved != 0:
		return "reserved bits of the subscription options are set", "MQTT-3.8.3-5"
	case o.RetainHandling() == 3:
		return "retain handling is 3", "MQTT 5 §3.8.3.1"
	}
	return "", ""
}

// Decode reads f as version v has it. Slices are views of f.Body.
func (p *Subscribe) Decode(f Frame, v Version) error {
	if err := f.check(SUBSCRIBE, v); err != nil {
		return err
	}
	clear(p.Subscriptions)
	p.Subscriptions = recycled(p.Subscriptions)
	var b []byte
	var err error
	if p.PacketID, b, err = decodeRequest(f, v, &p.Props); err != nil {
		return err
	}
	if len(b) == 0 {
		return malformed(SUBSCRIBE, "has no topic filter", "MQTT-3.8.3-2")
	}
	for len(b) > 0 {
		var s Subscription
		var ok bool
		if s.Filter, b, ok = cutString(b); !ok {
			return truncated(SUBSCRIBE, "a topic filter")
		}
		if err := topic.ValidFilter(s.Filter); err != nil {
			return topicError(SUBSCRIBE, "topic filter", err)
		}
		if len(b) == 0 {
			return truncated(SUBSCRIBE, "the subscription options")
		}
		s.Options = SubOptions(b[0])
		b = b[1:]
		if detail, statement := s.Options.invalid(v); detail != "" {
			return malformed(SUBSCRIBE, detail, statement)
		}
		if s.Options.NoLocal() && isShared(s.Filter) {
			return protocolError(SUBSCRIBE, "no local on a shared subscription", "MQTT-3.8.3-4")
		}
		p.Subscriptions = append(p.Subscriptions, s)
	}
	return nil
}

// isShared: the filter is valid, so the prefix decides.
func isShared(filter []byte) bool {
	const prefix = "$share/"
	return len(filter) > len(prefix) && string(filter[:len(prefix)]) == prefix
}

// decodeRequest reads what SUBSCRIBE and UNSUBSCRIBE begin with.
func decodeRequest(f Frame, v Version, props *Properties) (id uint16, rest []byte, err error) {
	props.Reset()
	b := f.Body
	if len(b) < 2 {
		return 0, nil, truncated(f.Type, "the packet identifier")
	}
	if id = uint16At(b); id == 0 {
		return 0, nil, malformed(f.Type, "packet identifier is 0", "MQTT-2.2.1-3")
	}
	b = b[2:]
	if v == V5 {
		if b, err = props.decode(b, place(f.Type)); err != nil {
			return id, nil, err
		}
	}
	return id, b, nil
}

// Append appends the packet. Before MQTT 5, Props is left out, and options
// other than the QoS are an error.
func (p *Subscribe) Append(dst []byte, v Version) ([]byte, error) {
	if p.PacketID == 0 {
		return dst, unencodable(SUBSCRIBE, "packet identifier is 0", "MQTT-2.2.1-3")
	}
	if len(p.Subscriptions) == 0 {
		return dst, unencodable(SUBSCRIBE, "has no topic filter", "MQTT-3.8.3-2")
	}
	size := 2
	for _, s := range p.Subscriptions {
		if err := checkFilterLength(SUBSCRIBE, s.Filter); err != nil {
			return dst, err
		}
		if detail, statement := s.Options.invalid(v); detail != "" {
			return dst, unencodable(SUBSCRIBE, detail, statement)
		}
		if s.Options.NoLocal() && isShared(s.Filter) {
			return dst, unencodable(SUBSCRIBE, "no local on a shared subscription", "MQTT-3.8.3-4")
		}
		size += 2 + len(s.Filter) + 1
	}
	var err error
	if v == V5 {
		if size, err = addProps(size, &p.Props, place(SUBSCRIBE)); err != nil {
			return dst, err
		}
	}
	out, err := appendHeader(dst, SUBSCRIBE, fixedFlags[SUBSCRIBE], size)
	if err != nil {
		return dst, err
	}
	out = AppendUint16(out, p.PacketID)
	if v == V5 {
		out = p.Props.Append(out)
	}
	for _, s := range p.Subscriptions {
		out = append(AppendString(out, s.Filter), byte(s.Options))
	}
	return out, nil
}

func checkFilterLength(t PacketType, filter []byte) error {
	if len(filter) == 0 || len(filter) > MaxStringLength {
		return unencodable(t, fmt.Sprintf("a topic filter has %d bytes, must have 1 to %d", len(filter), MaxStringLength), "MQTT-4.7.3-1")
	}
	return nil
}
