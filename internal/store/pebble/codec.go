package pebble

import (
	"encoding/binary"
	"errors"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// errValue is what a value that cannot be read is reported with: it was not written by this program, or the file system
// gave back something else than was written without Pebble's checksums noticing.
var errValue = errors.New("a value has a form that nothing writes")

// Flags of a message.
const (
	msgQoS     = 3
	msgRetain  = 1 << 2
	msgExpires = 1 << 3
	msgFrom    = 1 << 4
	msgProps   = 1 << 5
	msgSeq     = 1 << 6
	msgTopic   = 1 << 7 // else the topic is the key's
)

// appendMessage encodes all that is kept of a message. topic false: it is in the key.
func appendMessage(dst []byte, m *message.Message, topic bool) []byte {
	flags := m.QoS & msgQoS
	set := func(bit byte, on bool) {
		if on {
			flags |= bit
		}
	}
	set(msgRetain, m.Retain)
	set(msgExpires, m.Expires != 0)
	set(msgFrom, m.From != nil)
	set(msgProps, len(m.Props) > 0)
	set(msgSeq, m.Seq != 0)
	set(msgTopic, topic)
	dst = append(dst, flags)
	if topic {
		dst = appendString(dst, m.Topic)
	}
	if m.Expires != 0 {
		dst = binary.AppendVarint(dst, m.Expires)
	}
	if m.From != nil {
		dst = appendString(dst, m.From.ClientID)
		dst = appendString(dst, m.From.Username)
	}
	if len(m.Props) > 0 {
		dst = binary.AppendUvarint(dst, uint64(len(m.Props)))
		dst = append(dst, m.Props...)
	}
	if m.Seq != 0 {
		dst = binary.AppendUvarint(dst, m.Seq)
	}
	return append(dst, m.Payload...)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// cursor reads a value. bad is set once something did not fit; what is read then means nothing.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) byte() byte {
	if len(c.b) == 0 {
		c.bad = true
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	return c.skip(n, v)
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	return int64(c.skip(n, uint64(v)))
}

func (c *cursor) skip(n int, v uint64) uint64 {
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

// bytes is the view of what has its length in front.
func (c *cursor) bytes() []byte {
	n := c.uvarint()
	if n > uint64(len(c.b)) {
		c.bad, c.b = true, nil
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) err() error {
	if c.bad {
		return errValue
	}
	return nil
}

// identities keeps one copy of each publisher's name, however many messages of its are read.
type identities map[message.Identity]*message.Identity

// maxIdentities bounds them: beyond it they are begun anew.
const maxIdentities = 10_000

func (ids identities) get(clientID, username []byte) *message.Identity {
	if id := ids[message.Identity{ClientID: message.BorrowString(clientID), Username: message.BorrowString(username)}]; id != nil {
		return id
	}
	if len(ids) >= maxIdentities {
		clear(ids)
	}
	id := &message.Identity{ClientID: string(clientID), Username: string(username)}
	ids[*id] = id
	return id
}

// decodeMessage reads an encoded message. What it returns refers to b, which the caller gives away; topic is used if the
// message was encoded without.
func decodeMessage(b []byte, topic string, ids identities) (*message.Message, error) {
	c := cursor{b: b}
	flags := c.byte()
	m := &message.Message{QoS: flags & msgQoS, Retain: flags&msgRetain != 0, Topic: topic}
	if flags&msgTopic != 0 {
		m.Topic = message.BorrowString(c.bytes())
	}
	if flags&msgExpires != 0 {
		m.Expires = c.varint()
	}
	if flags&msgFrom != 0 {
		clientID := c.bytes()
		m.From = ids.get(clientID, c.bytes())
	}
	if flags&msgProps != 0 {
		m.Props = c.bytes()
	}
	if flags&msgSeq != 0 {
		m.Seq = c.uvarint()
	}
	m.Payload = c.b
	return m.MarkOwned(), c.err()
}

// Flags of a queue entry.
const (
	entryQoS    = 3
	entryRetain = 1 << 2
	entryRef    = 1 << 3 // the message lies in a segment, else behind the entry
	entryGroup  = 1 << 4
	entrySubIDs = 1 << 5
)

// appendEntry encodes a queue entry up to its message or reference; ref tells which of the two follows.
func appendEntry(dst []byte, q *session.Queued, ref bool) []byte {
	flags := q.QoS & entryQoS
	if q.Retain {
		flags |= entryRetain
	}
	if ref {
		flags |= entryRef
	}
	if q.Group != 0 {
		flags |= entryGroup
	}
	if len(q.SubIDs) > 0 {
		flags |= entrySubIDs
	}
	dst = append(dst, flags)
	if q.Group != 0 {
		dst = binary.AppendUvarint(dst, uint64(q.Group))
	}
	if len(q.SubIDs) > 0 {
		dst = binary.AppendUvarint(dst, uint64(len(q.SubIDs)))
		for _, id := range q.SubIDs {
			dst = binary.AppendUvarint(dst, uint64(id))
		}
	}
	return dst
}

// entry is a queue entry that was read.
type entry struct {
	session.Queued        // without the message
	body           []byte // the encoded message, if segment is 0
	segment        uint64
	index          uint32
}

func decodeEntry(b []byte) (e entry, err error) {
	c := cursor{b: b}
	flags := c.byte()
	e.QoS, e.Retain = flags&entryQoS, flags&entryRetain != 0
	if flags&entryGroup != 0 {
		e.Group = session.Key(c.uvarint())
	}
	if flags&entrySubIDs != 0 {
		n := c.uvarint()
		if n > uint64(len(c.b)) {
			return e, errValue
		}
		e.SubIDs = make([]uint32, n)
		for i := range e.SubIDs {
			e.SubIDs[i] = uint32(c.uvarint())
		}
	}
	if flags&entryRef == 0 {
		e.body = c.b
		return e, c.err()
	}
	e.segment, e.index = c.uvarint(), uint32(c.uvarint())
	if e.segment == 0 {
		c.bad = true
	}
	return e, c.err()
}

// segmentOf reads of a queue entry in which segment its message lies; 0: in none.
func segmentOf(b []byte) (uint64, error) {
	if len(b) > 0 && b[0]&(entryRef|entrySubIDs) == 0 {
		return 0, nil // the most frequent, without reading more of it
	}
	e, err := decodeEntry(b)
	return e.segment, err
}

func appendRecord(dst []byte, r *session.Record) []byte {
	dst = appendString(dst, r.ClientID)
	dst = appendString(dst, r.Username)
	dst = binary.AppendUvarint(dst, uint64(r.Expiry))
	dst = binary.AppendVarint(dst, r.Left)
	return binary.AppendUvarint(dst, r.Sent)
}

func decodeRecord(k session.Key, b []byte) (*session.Record, error) {
	c := cursor{b: b}
	r := &session.Record{Key: k}
	r.ClientID, r.Username = string(c.bytes()), string(c.bytes())
	r.Expiry, r.Left, r.Sent = uint32(c.uvarint()), c.varint(), c.uvarint()
	return r, c.err()
}

func appendWill(dst []byte, w *session.Will) []byte {
	dst = binary.AppendVarint(dst, w.Due)
	expires := byte(0)
	if w.Expires {
		expires = 1
	}
	dst = binary.AppendUvarint(append(dst, expires), uint64(w.Expiry))
	return appendMessage(dst, w.M, true)
}

func decodeWill(b []byte, ids identities) (*session.Will, error) {
	c := cursor{b: b}
	w := &session.Will{Due: c.varint(), Expires: c.byte() != 0, Expiry: uint32(c.uvarint())}
	if c.bad {
		return nil, errValue
	}
	var err error
	w.M, err = decodeMessage(c.b, "", ids)
	return w, err
}
