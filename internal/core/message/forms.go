package message

import "github.com/nightjar-mqtt/nightjar/mqtt"

// Shape is what a PUBLISH frame has apart from its message: everything that makes two receivers' frames differ in more
// than the packet id.
type Shape struct {
	V5     bool
	QoS    byte
	Dup    bool
	Retain bool
	// Remaining is the message expiry interval to announce in seconds (MQTT 5 §3.3.2.3.3); used when Expires is set.
	Remaining uint32
	SubIDs    []uint32 // subscription identifiers, MQTT 5 §3.3.2.3.8
	Alias     uint16   // topic alias, 0: none
	NoTopic   bool     // the alias stands for the topic
	Mount     int      // bytes at the topic's front that the receiver does not see
}

// AppendHead encodes a PUBLISH up to, not including, its payload. pidAt is where in the appended bytes the packet id
// belongs, or -1 for QoS 0; the id itself is left zero for the caller to patch.
func AppendHead(dst []byte, m *Message, s Shape) (head []byte, pidAt int) {
	topic := m.Topic[s.Mount:]
	if s.NoTopic {
		topic = ""
	}
	props := 0
	if s.V5 {
		props = s.propertiesLen(m)
	}
	rest := 2 + len(topic) + len(m.Payload)
	if s.QoS > 0 {
		rest += 2
	}
	if s.V5 {
		rest += mqtt.VarintLen(uint32(props)) + props
	}
	first := byte(mqtt.PUBLISH)<<4 | s.QoS<<1
	if s.Dup {
		first |= 8
	}
	if s.Retain {
		first |= 1
	}
	start := len(dst)
	dst = append(dst, first)
	dst = mqtt.AppendVarint(dst, uint32(rest))
	dst = append(dst, byte(len(topic)>>8), byte(len(topic)))
	dst = append(dst, topic...)
	pidAt = -1
	if s.QoS > 0 {
		pidAt = len(dst) - start
		dst = append(dst, 0, 0)
	}
	if s.V5 {
		dst = s.appendProperties(dst, m, props)
	}
	return dst, pidAt
}

func (s *Shape) propertiesLen(m *Message) int {
	n := len(m.Props)
	if m.Expires != 0 {
		n += 5
	}
	if s.Alias != 0 {
		n += 3
	}
	for _, id := range s.SubIDs {
		n += 1 + mqtt.VarintLen(id)
	}
	return n
}

func (s *Shape) appendProperties(dst []byte, m *Message, n int) []byte {
	dst = mqtt.AppendVarint(dst, uint32(n))
	if m.Expires != 0 {
		dst = append(dst, byte(mqtt.PropMessageExpiry))
		dst = mqtt.AppendUint32(dst, s.Remaining)
	}
	if s.Alias != 0 {
		dst = append(dst, byte(mqtt.PropTopicAlias))
		dst = mqtt.AppendUint16(dst, s.Alias)
	}
	for _, id := range s.SubIDs {
		dst = append(dst, byte(mqtt.PropSubscriptionID))
		dst = mqtt.AppendVarint(dst, id)
	}
	return append(dst, m.Props...)
}

// Size is the length of the whole PUBLISH packet in this shape, payload included.
func (s *Shape) Size(m *Message) int {
	rest := 2 + len(m.Payload)
	if !s.NoTopic {
		rest += len(m.Topic) - s.Mount
	}
	if s.QoS > 0 {
		rest += 2
	}
	if s.V5 {
		n := s.propertiesLen(m)
		rest += mqtt.VarintLen(uint32(n)) + n
	}
	return 1 + mqtt.VarintLen(uint32(rest)) + rest
}

// Forms are the frames of one message, each encoded once however many receivers take it: by protocol family, QoS and
// retain flag. Frames with subscription identifiers or aliases are the receiver's own and are not kept here.
//
// A Forms is reused from message to message; it is not safe for concurrent use.
type Forms struct {
	m         *Message
	remaining uint32
	buf       []byte
	frames    [12]form
}

type form struct{ start, end, pidAt int32 }

// Reset starts a new message at now (unix milliseconds).
func (f *Forms) Reset(m *Message, now int64) {
	f.m, f.remaining = m, 0
	if m.Expires != 0 {
		f.remaining = m.Remaining(now)
	}
	f.buf = f.buf[:0]
	f.frames = [12]form{}
}

// Head is the frame's head for a receiver without subscription identifiers and aliases; see AppendHead. The result is
// valid until the next call.
func (f *Forms) Head(v5 bool, qos byte, retain bool) (head []byte, pidAt int) {
	i := int(qos)
	if retain {
		i += 3
	}
	if v5 {
		i += 6
	}
	fr := &f.frames[i]
	if fr.end == 0 {
		start := len(f.buf)
		var at int
		f.buf, at = AppendHead(f.buf, f.m, Shape{V5: v5, QoS: qos, Retain: retain, Remaining: f.remaining})
		*fr = form{int32(start), int32(len(f.buf)), int32(at)}
	}
	return f.buf[fr.start:fr.end], int(fr.pidAt)
}
