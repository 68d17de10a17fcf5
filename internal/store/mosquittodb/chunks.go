package mosquittodb

import (
	"bytes"
	"encoding/binary"
)

// fields takes a chunk's body apart.
type fields struct {
	f     *Reader
	at    int64 // offset of the chunk
	kind  uint32
	rest  []byte
	short bool
}

// fixed is the structure that a chunk begins with. What follows it may be of any length, so that here alone it shows that a
// chunk is too short.
func (b *fields) fixed(n int) ([]byte, bool) {
	if len(b.rest) < n {
		b.short = true
		return nil, false
	}
	head := b.rest[:n]
	b.rest = b.rest[n:]
	return head, true
}

// cut takes the next n bytes; what: for the error.
func (b *fields) cut(n int, what string) ([]byte, error) {
	if n > len(b.rest) {
		return nil, b.wrong("its %s is said to have %d bytes, but %d are left of the chunk", what, n, len(b.rest))
	}
	part := b.rest[:n:n]
	b.rest = b.rest[n:]
	return part, nil
}

func (b *fields) wrong(format string, args ...any) error {
	return b.f.wrong(b.at, b.kind, format, args...)
}

// end checks that nothing is left over.
func (b *fields) end() error {
	switch {
	case b.short:
		return b.wrong("it has %d bytes only", len(b.rest))
	case len(b.rest) > 0:
		return b.wrong("it is %d bytes longer than what is in it", len(b.rest))
	}
	return nil
}

// The C structures, without what the compiler puts behind them.
//
//	message        id 8, expiry time 8, payload length 4, source packet id 2, source id length 2, source user name length 2,
//	               topic length 2, source port 2, QoS 1, retain 1
//	client         expiry time 8, expiry interval 4, last packet id 2, id length 2; version 6: port 2, user name length 2
//	client message message id 8, packet id 2, client id length 2, QoS 1, state 1, retain and dup 1, direction 1
//	subscription   identifier 4, client id length 2, topic length 2, QoS 1, options 1, padding 2

func (b *fields) message() (*Message, error) {
	h, ok := b.fixed(32)
	if !ok {
		return nil, nil //nolint:nilnil // end reports it
	}
	m := &b.f.chunk.message
	*m = Message{
		ID: b.f.order.Uint64(h), Expires: int64(b.f.order.Uint64(h[8:])), QoS: h[30], Retain: h[31] != 0,
	}
	if m.Expires < 0 || m.Expires > lastSecond {
		return nil, b.wrong("it expires at %d, which is no time", m.Expires)
	}
	if m.QoS > 2 {
		return nil, b.wrong("its QoS is %d", m.QoS)
	}
	payload := binary.BigEndian.Uint32(h[16:])
	if payload > maxPayload {
		return nil, b.wrong("its payload is said to have %d bytes, MQTT has %d at most", payload, maxPayload)
	}
	source, err := b.cut(u16(h[22:]), "publisher's client id")
	if err != nil {
		return nil, err
	}
	user, err := b.cut(u16(h[24:]), "publisher's user name")
	if err != nil {
		return nil, err
	}
	name, err := b.cut(u16(h[26:]), "topic")
	if err != nil {
		return nil, err
	}
	if m.Payload, err = b.cut(int(payload), "payload"); err != nil {
		return nil, err
	}
	m.SourceID, m.SourceUsername, m.Topic = string(source), string(user), string(name)
	m.Properties, b.rest = b.rest, nil
	return m, nil
}

// lastSecond is the latest time that is taken for one: what lies the wrong way round is beyond it.
const lastSecond = 1 << 40

func (b *fields) client() (*Client, error) {
	h, ok := b.fixed(b.f.client)
	if !ok {
		return nil, nil //nolint:nilnil // end reports it
	}
	c := &b.f.chunk.client
	*c = Client{Ends: int64(b.f.order.Uint64(h)), Expiry: binary.BigEndian.Uint32(h[8:])}
	if c.Ends < 0 || c.Ends > lastSecond {
		return nil, b.wrong("its session ends at %d, which is no time", c.Ends)
	}
	id, err := b.cut(u16(h[14:]), "client id")
	if err != nil {
		return nil, err
	}
	c.ID = string(id)
	if b.f.Version == 5 {
		return c, nil
	}
	user, err := b.cut(u16(h[18:]), "user name")
	// Mosquitto 2.0 up to some version does not begin anew for a client without user name: it writes the length of the one
	// before, the wrong way round, and what lies behind that name in its memory.
	if bytes.IndexByte(user, 0) < 0 {
		c.Username = string(user)
	}
	return c, err
}

func (b *fields) clientMessage() (*ClientMessage, error) {
	h, ok := b.fixed(16)
	if !ok {
		return nil, nil //nolint:nilnil // end reports it
	}
	m := &b.f.chunk.clientMessage
	*m = ClientMessage{
		MessageID: b.f.order.Uint64(h), PacketID: binary.BigEndian.Uint16(h[8:]), QoS: h[12], State: State(h[13]),
		Retain: h[14]>>4 != 0, Dup: h[14]&15 != 0, Incoming: h[15] == 0,
	}
	switch {
	case m.QoS > 2:
		return nil, b.wrong("its QoS is %d", m.QoS)
	case h[15] > 1:
		return nil, b.wrong("its direction is %d; 0 is in, 1 is out", h[15])
	}
	id, err := b.cut(u16(h[10:]), "client id")
	m.ClientID = string(id)
	m.Properties, b.rest = b.rest, nil
	return m, err
}

func (b *fields) subscription() (*Subscription, error) {
	h, ok := b.fixed(12)
	if !ok {
		return nil, nil //nolint:nilnil // end reports it
	}
	s := &b.f.chunk.subscription
	*s = Subscription{Identifier: binary.BigEndian.Uint32(h), QoS: h[8], Options: h[9]}
	if s.QoS > 2 {
		return nil, b.wrong("its QoS is %d", s.QoS)
	}
	id, err := b.cut(u16(h[4:]), "client id")
	if err != nil {
		return nil, err
	}
	filter, err := b.cut(u16(h[6:]), "topic filter")
	s.ClientID, s.Filter = string(id), string(filter)
	return s, err
}

func u16(b []byte) int { return int(binary.BigEndian.Uint16(b)) }
