package mqtt

import "github.com/nightjar-mqtt/nightjar/mqtt/topic"

// Unsubscribe is an UNSUBSCRIBE packet (MQTT 5 §3.10, MQTT 3.1.1 §3.10).
type Unsubscribe struct {
	PacketID uint16
	Props    Properties
	Filters  [][]byte
}

// Decode reads f as version v has it. Slices are views of f.Body.
func (p *Unsubscribe) Decode(f Frame, v Version) error {
	if err := f.check(UNSUBSCRIBE, v); err != nil {
		return err
	}
	clear(p.Filters)
	p.Filters = recycled(p.Filters)
	var b []byte
	var err error
	if p.PacketID, b, err = decodeRequest(f, v, &p.Props); err != nil {
		return err
	}
	if len(b) == 0 {
		return malformed(UNSUBSCRIBE, "has no topic filter", "MQTT-3.10.3-2")
	}
	for len(b) > 0 {
		var filter []byte
		var ok bool
		if filter, b, ok = cutString(b); !ok {
			return truncated(UNSUBSCRIBE, "a topic filter")
		}
		if err := topic.ValidFilter(filter); err != nil {
			return topicError(UNSUBSCRIBE, "topic filter", err)
		}
		p.Filters = append(p.Filters, filter)
	}
	return nil
}

// Append appends the packet. Before MQTT 5, Props is left out.
func (p *Unsubscribe) Append(dst []byte, v Version) ([]byte, error) {
	if p.PacketID == 0 {
		return dst, unencodable(UNSUBSCRIBE, "packet identifier is 0", "MQTT-2.2.1-3")
	}
	if len(p.Filters) == 0 {
		return dst, unencodable(UNSUBSCRIBE, "has no topic filter", "MQTT-3.10.3-2")
	}
	size := 2
	for _, filter := range p.Filters {
		if err := checkFilterLength(UNSUBSCRIBE, filter); err != nil {
			return dst, err
		}
		size += 2 + len(filter)
	}
	var err error
	if v == V5 {
		if size, err = addProps(size, &p.Props, place(UNSUBSCRIBE)); err != nil {
			return dst, err
		}
	}
	out, err := appendHeader(dst, UNSUBSCRIBE, fixedFlags[UNSUBSCRIBE], size)
	if err != nil {
		return dst, err
	}
	out = AppendUint16(out, p.PacketID)
	if v == V5 {
		out = p.Props.Append(out)
	}
	for _, filter := range p.Filters {
		out = AppendString(out, filter)
	}
	return out, nil
}
