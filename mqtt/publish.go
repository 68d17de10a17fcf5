package mqtt

import (
	"errors"

	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

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

// Decode reads f as version v has it. Slices are views of f.Body. The topic is
// checked, the payload is not looked at, whatever its Payload Format Indicator.
func (p *Publish) Decode(f Frame, v Version) error {
	if f.Type != PUBLISH {
		return protocolError(f.Type, "decoded as PUBLISH", "")
	}
	if knownFlags[PUBLISH]>>(f.Flags&15)&1 == 0 {
		return badFlags(PUBLISH, f.Flags)
	}
	p.Dup = f.Flags&8 != 0
	p.QoS = f.Flags >> 1 & 3
	p.Retain = f.Flags&1 != 0
	name, b, ok := cutString(f.Body)
	if !ok {
		return truncated(PUBLISH, "the topic")
	}
	p.Topic = name
	p.PacketID = 0
	if p.QoS > 0 {
		if len(b) < 2 {
			return truncated(PUBLISH, "the packet identifier")
		}
		if p.PacketID = uint16At(b); p.PacketID == 0 {
			return malformed(PUBLISH, "packet identifier is 0", "MQTT-2.2.1-3")
		}
		b = b[2:]
	}
	if v == V5 {
		var err error
		if b, err = p.Props.decode(b, place(PUBLISH)); err != nil {
			return err
		}
	} else {
		p.Props.Reset()
	}
	p.Payload = b
	if err := topic.ValidName(name); err != nil {
		return p.emptyOrInvalid(v, err)
	}
	return nil
}

// emptyOrInvalid: an empty topic stands for a topic alias, in MQTT 5.
func (p *Publish) emptyOrInvalid(v Version, err error) error {
	if errors.Is(err, topic.ErrEmpty) && v == V5 {
		if p.Props.Has.Has(PropTopicAlias) {
			return nil
		}
		return protocolError(PUBLISH, "topic is empty and there is no Topic Alias", "MQTT 5 §3.3.2.1")
	}
	return topicError(PUBLISH, "topic", err)
}

// Append appends the packet in version v. Before MQTT 5, Props is left out.
func (p *Publish) Append(dst []byte, v Version) ([]byte, error) {
	flags := p.QoS << 1
	if p.Dup {
		flags |= 8
	}
	if p.Retain {
		flags |= 1
	}
	size := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		size += 2
	}
	if v == V5 {
		n, err := p.Props.measure(place(PUBLISH))
		if err != nil {
			return dst, err
		}
		size += n
	}
	if err := p.check(flags, v); err != nil {
		return dst, err
	}
	out, err := appendHeader(dst, PUBLISH, flags, size)
	if err != nil {
		return dst, err
	}
	out = AppendString(out, p.Topic)
	if p.QoS > 0 {
		out = AppendUint16(out, p.PacketID)
	}
	if v == V5 {
		out = p.Props.Append(out)
	}
	return append(out, p.Payload...), nil
}

func (p *Publish) check(flags byte, v Version) error {
	switch {
	case p.QoS > 2:
		return unencodable(PUBLISH, "QoS is above 2", "MQTT-3.3.1-4")
	case knownFlags[PUBLISH]>>flags&1 == 0:
		return unencodable(PUBLISH, "DUP with QoS 0", "MQTT-3.3.1-2")
	case p.QoS > 0 && p.PacketID == 0:
		return unencodable(PUBLISH, "QoS 1 and 2 need a packet identifier", "MQTT-2.2.1-3")
	case len(p.Topic) > MaxStringLength:
		return unencodable(PUBLISH, "topic is longer than 65535 bytes", "MQTT-4.7.3-3")
	case len(p.Topic) == 0 && (v != V5 || !p.Props.Has.Has(PropTopicAlias)):
		return unencodable(PUBLISH, "topic is empty and there is no Topic Alias", "MQTT 5 §3.3.2.1")
	}
	return nil
}
