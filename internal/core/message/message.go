// Package message holds an application message as the broker keeps it: immutable once published, so that queues, the
// retained store and the outboxes of any number of receivers share one copy without a lock.
package message

import (
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Identity names who published a message or owns a session. It is immutable and outlives the session: a retained
// message keeps it, so that the right to publish can be checked again later and so that No Local can be decided.
type Identity struct {
	ClientID string
	Username string
	// Grant is what an authenticator knows of the client beyond its names, for the authorizer; nil: nothing. It is of one
	// connection and not stored: who comes from the store has none. See router.sameGrant for when two are the same.
	Grant any
}

// Message is one application message. All fields are read-only once it has been handed to the router.
//
// A message decoded in place is borrowed: Topic, Payload and Props are views of a read buffer and are valid only until
// the handler returns. Own gives the copy that may be kept.
type Message struct {
	Topic   string
	Payload []byte
	// Props are the MQTT 5 properties that travel with the message (payload format, content type, response topic,
	// correlation data, user properties), encoded, without a length in front. Message expiry, topic alias and
	// subscription identifiers differ per receiver and are not among them.
	Props []byte
	// Expires is when the message ends, unix milliseconds; 0 is never (MQTT 5 §3.3.2.3.3).
	Expires int64
	From    *Identity // nil: the broker itself
	// Seq orders the retained messages of one store; set by the store.
	Seq    uint64
	QoS    byte
	Retain bool // as published
	owned  bool
	holds  int32 // queue entries that refer to it; see Hold
}

// Owned reports whether the message may be kept after the handler that made it has returned.
func (m *Message) Owned() bool { return m.owned }

// MarkOwned declares that nothing the message refers to will ever be overwritten.
func (m *Message) MarkOwned() *Message { m.owned = true; return m }

// Own returns the message itself if it may be kept, else a copy that may.
func (m *Message) Own() *Message {
	if m.owned {
		return m
	}
	c := *m
	backing := make([]byte, 0, len(m.Topic)+len(m.Payload)+len(m.Props))
	backing = append(backing, m.Topic...)
	backing = append(backing, m.Payload...)
	backing = append(backing, m.Props...)
	t, p := len(m.Topic), len(m.Topic)+len(m.Payload)
	c.Topic = unsafe.String(unsafe.SliceData(backing), t)
	c.Payload = backing[t:p:p]
	c.Props = backing[p:]
	c.owned, c.holds = true, 0
	return &c
}

// Hold notes one more queue that refers to the message and returns what that adds to the memory in use, in bytes: a
// message costs its size once, however many queues share it, and each of them a reference. first: no queue did before.
func (m *Message) Hold() (n int64, first bool) {
	if atomic.AddInt32(&m.holds, 1) == 1 {
		return int64(m.Size()) + referenceSize, true
	}
	return referenceSize, false
}

// Unhold takes a Hold back and returns what that frees. last: no queue refers to the message any more.
func (m *Message) Unhold() (n int64, last bool) {
	if atomic.AddInt32(&m.holds, -1) == 0 {
		return int64(m.Size()) + referenceSize, true
	}
	return referenceSize, false
}

// referenceSize is the cost of a place in a queue, in bytes.
const referenceSize = 64

// Size is what keeping the message costs, in bytes, for budgets.
func (m *Message) Size() int { return len(m.Topic) + len(m.Payload) + len(m.Props) + 128 }

// Expired reports whether the message's lifetime has passed at now (unix milliseconds).
func (m *Message) Expired(now int64) bool { return m.Expires != 0 && now >= m.Expires }

// loopSkew is how far apart the clocks of two loops may be, in milliseconds: each reads its own once in a turn.
const loopSkew = 100

// Remaining is the lifetime left at now in whole seconds, rounded up, for the property of an outgoing PUBLISH
// [MQTT-3.3.2-6]. A receiver's loop whose clock is behind the publisher's does not make it longer than it was.
func (m *Message) Remaining(now int64) uint32 {
	if m.Expires <= now {
		return 0
	}
	return uint32(max(1, (m.Expires-now-loopSkew+999)/1000))
}

// forwarded are the properties of a PUBLISH or will that reach the receivers unaltered (MQTT 5 §3.3.2.3).
var forwarded = mqtt.PropertySet(0).
	With(mqtt.PropPayloadFormat).
	With(mqtt.PropContentType).
	With(mqtt.PropResponseTopic).
	With(mqtt.PropCorrelationData).
	With(mqtt.PropUser)

// AppendForwarded encodes those of p that reach receivers unaltered.
func AppendForwarded(dst []byte, p *mqtt.Properties) []byte {
	if p.Has&forwarded == 0 {
		return dst
	}
	return p.AppendSelected(dst, forwarded)
}

// BorrowString views b as a string; it is valid only as long as b is not overwritten.
func BorrowString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// IsSys reports whether topic belongs to the server itself: clients cannot publish there (MQTT 5 §4.7.2).
func IsSys(topic string) bool { return topic == "$SYS" || strings.HasPrefix(topic, "$SYS/") }
