package mosquittodb_test

import (
	"encoding/binary"

	"github.com/nightjar-mqtt/nightjar/internal/store/mosquittodb"
)

// builder writes files as the Mosquitto of one version and machine does.
type builder struct {
	b       []byte
	version int
	order   binary.AppendByteOrder // of ids and times
	narrow  bool                   // 64-bit numbers are aligned to 32 bits
}

func build(version int) *builder { return buildFor(version, binary.LittleEndian, false) }

func buildFor(version int, order binary.AppendByteOrder, narrow bool) *builder {
	f := &builder{version: version, order: order, narrow: narrow}
	f.b = append(f.b, "\x00\xb5\x00mosquitto db"...)
	f.b = append(f.b, 0, 0, 0, 0)
	f.b = be32(f.b, version)
	f.b = f.config(9, 8)
	return f
}

func (f *builder) config(lastID uint64, idSize byte) []byte {
	body := append(f.order.AppendUint64(nil, lastID), 1, idSize, 0, 0)
	if !f.narrow {
		body = append(body, 0, 0, 0, 0)
	}
	return chunk(f.b, 1, body)
}

func (f *builder) message(m mosquittodb.Message) *builder {
	body := f.order.AppendUint64(nil, m.ID)
	body = f.order.AppendUint64(body, uint64(m.Expires))
	body = be32(body, len(m.Payload))
	body = be16(body, 0, len(m.SourceID), len(m.SourceUsername), len(m.Topic), 1883)
	body = append(body, m.QoS, bit(m.Retain))
	body = append(body, m.SourceID+m.SourceUsername+m.Topic...)
	body = append(append(body, m.Payload...), m.Properties...)
	f.b = chunk(f.b, 2, body)
	return f
}

func (f *builder) client(c mosquittodb.Client) *builder {
	body := f.order.AppendUint64(nil, uint64(c.Ends))
	body = be16(be32(body, int(c.Expiry)), 0, len(c.ID))
	if f.version == 6 {
		if body = be16(body, 1883, len(c.Username)); !f.narrow {
			body = append(body, 0, 0, 0, 0)
		}
	}
	body = append(body, c.ID...)
	if f.version == 6 {
		body = append(body, c.Username...)
	}
	f.b = chunk(f.b, 6, body)
	return f
}

func (f *builder) clientMessage(m mosquittodb.ClientMessage) *builder {
	body := be16(f.order.AppendUint64(nil, m.MessageID), int(m.PacketID), len(m.ClientID))
	body = append(body, m.QoS, byte(m.State), bit(m.Retain)<<4|bit(m.Dup), bit(!m.Incoming))
	body = append(append(body, m.ClientID...), m.Properties...)
	f.b = chunk(f.b, 3, body)
	return f
}

func (f *builder) subscription(s mosquittodb.Subscription) *builder {
	body := be16(be32(nil, int(s.Identifier)), len(s.ClientID), len(s.Filter))
	body = append(body, s.QoS, s.Options, 0, 0)
	f.b = chunk(f.b, 5, append(body, s.ClientID+s.Filter...))
	return f
}

func (f *builder) retained(id uint64) *builder {
	f.b = chunk(f.b, 4, f.order.AppendUint64(nil, id))
	return f
}

func chunk(b []byte, kind int, body []byte) []byte {
	return append(be32(be32(b, kind), len(body)), body...)
}

func be32(b []byte, v int) []byte { return binary.BigEndian.AppendUint32(b, uint32(v)) }

func be16(b []byte, vs ...int) []byte {
	for _, v := range vs {
		b = binary.BigEndian.AppendUint16(b, uint16(v))
	}
	return b
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// fill puts one chunk of each kind into a file, and more where their order matters.
func (f *builder) fill() *builder {
	return f.message(mosquittodb.Message{ID: 1, Topic: "a/b", Payload: []byte("one"), QoS: 1, SourceID: "pub", SourceUsername: "carol",
		Properties: []byte("\x04\x03\x00\x01x")}).
		message(mosquittodb.Message{ID: 2, Topic: "r", Payload: []byte("two"), QoS: 2, Retain: true, Expires: 4_000_000_000}).
		client(mosquittodb.Client{ID: "c", Username: "alice", Expiry: 3600, Ends: 2_000_000_000}).
		clientMessage(mosquittodb.ClientMessage{ClientID: "c", MessageID: 1, PacketID: 300, QoS: 1, State: mosquittodb.StateWaitPuback, Dup: true}).
		clientMessage(mosquittodb.ClientMessage{ClientID: "c", MessageID: 2, PacketID: 301, QoS: 2, State: mosquittodb.StateQueued, Retain: true,
			Properties: []byte("\x02\x0b\x05")}).
		subscription(mosquittodb.Subscription{ClientID: "c", Filter: "a/#", QoS: 2, Options: 0x0C, Identifier: 5}).
		retained(2)
}
