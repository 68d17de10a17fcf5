package pebble

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Line is one thing that is in a store, for people and programs to read. What a type does not have is left out.
type Line struct {
	// Type is session, group, subscription, queued, released, received, will or retained; or unreadable: Error says why.
	Type  string `json:"type"`
	Error string `json:"error,omitempty"`

	// Client is whom it belongs to; or it is a shared group's, by name and topic filter.
	Client string `json:"client,omitempty"`
	Group  string `json:"group,omitempty"`
	// Filter is that of a subscription too.
	Filter string `json:"filter,omitempty"`

	Username string  `json:"username,omitempty"`
	Expiry   *uint32 `json:"expiry,omitempty"` // session expiry interval, seconds; 4294967295: never
	Left     string  `json:"left,omitempty"`   // when the client left; none: it is connected, or was at a crash

	NoLocal           bool     `json:"no_local,omitempty"`
	RetainAsPublished bool     `json:"retain_as_published,omitempty"`
	RetainHandling    *byte    `json:"retain_handling,omitempty"`
	Identifiers       []uint32 `json:"subscription_ids,omitempty"`

	Sequence *uint64 `json:"sequence,omitempty"`
	PacketID uint16  `json:"packet_id,omitempty"` // that a client has given, or that follows from the sequence
	Due      string  `json:"due,omitempty"`       // of a will

	QoS     *byte        `json:"qos,omitempty"`
	Retain  bool         `json:"retain,omitempty"`
	Message *MessageLine `json:"message,omitempty"`
	Segment uint64       `json:"segment,omitempty"` // where the message lies, if several queues share it
}

// MessageLine is a message in a Line.
type MessageLine struct {
	Topic        string `json:"topic"`
	QoS          byte   `json:"qos"` // as it was published
	PayloadBytes int    `json:"payload_bytes"`
	Properties   int    `json:"properties_bytes,omitempty"`
	From         string `json:"from,omitempty"` // client id
	FromUsername string `json:"from_username,omitempty"`
	Expires      string `json:"expires,omitempty"`
	// Payload is there if it was asked for: as text if it is UTF-8, else in PayloadBinary.
	Payload       *string `json:"payload,omitempty"`
	PayloadBinary []byte  `json:"payload_base64,omitempty"`
}

// dumper makes lines.
type dumper struct {
	r       *Reader
	own     *owners
	payload bool
}

// Dump gives all that is in the store to emit, a line at a time: sessions with what is theirs, groups, then what is
// retained. Payloads are left out unless payload is set.
func (r *Reader) Dump(payload bool, emit func(*Line) error) error {
	own, err := r.owners()
	if err != nil {
		return err
	}
	d := &dumper{r: r, own: own, payload: payload}
	for _, space := range []byte{spaceSession, spaceGroup, spacePart, spaceQueue, spaceRetained} {
		err := r.each(space, func(key, value []byte) error {
			l, err := d.line(key, append([]byte(nil), value...)) // what is decoded refers to it
			if err != nil {
				l = &Line{Type: "unreadable", Error: fmt.Sprintf("key %q: %v", key, err)}
			}
			return emit(l)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *dumper) line(key, value []byte) (*Line, error) {
	k := session.Key(numberOf(key))
	l := &Line{Client: d.own.clients[k], Group: d.own.shared[k][0], Filter: d.own.shared[k][1]}
	switch key[0] {
	case spaceSession:
		rec, err := decodeRecord(k, value)
		if err != nil {
			return nil, err
		}
		l.Type, l.Username, l.Expiry = "session", rec.Username, &rec.Expiry
		if rec.Left != 0 {
			l.Left = stamp(rec.Left)
		}
		return l, nil
	case spaceGroup:
		l.Type = "group"
		return l, nil
	case spaceQueue:
		return l, d.queued(l, key, value)
	case spaceRetained:
		m, err := decodeMessage(value, string(key[1:]), d.r.ids)
		if err != nil {
			return nil, err
		}
		*l = Line{Type: "retained", Message: d.message(m)}
		return l, nil
	}
	return l, d.part(l, key, value)
}

func (d *dumper) queued(l *Line, key, value []byte) error {
	e, err := decodeEntry(value)
	if err != nil {
		return err
	}
	l.Type, l.QoS, l.Retain, l.Identifiers, l.Segment = "queued", &e.QoS, e.Retain, e.SubIDs, e.segment
	seq := seqOf(key)
	l.Sequence, l.PacketID = &seq, packetID(seq)
	m, err := d.r.entryMessage(&e)
	if err != nil {
		return err
	}
	l.Message = d.message(m)
	return nil
}

// packetID is how a session numbers its packets.
func packetID(seq uint64) uint16 { return uint16(seq%65535) + 1 }

// entryMessage reads the message of an entry, wherever it lies.
func (r *Reader) entryMessage(e *entry) (*message.Message, error) {
	if e.segment == 0 {
		return decodeMessage(e.body, "", r.ids)
	}
	v, closer, err := r.db.Get(appendBody(nil, e.segment, e.index))
	if err != nil {
		return nil, fmt.Errorf("its message, number %d of segment %d: %w", e.index, e.segment, err)
	}
	defer closer.Close()
	return decodeMessage(append([]byte(nil), v...), "", r.ids)
}

func (d *dumper) part(l *Line, key, value []byte) error {
	if len(key) < lenPart {
		return errValue
	}
	rest := key[lenPart:]
	switch key[lenKey] {
	case partFilter:
		o, id, err := decodeSubscription(value)
		if err != nil {
			return err
		}
		qos, handling := o.QoS(), o.RetainHandling()
		l.Type, l.Filter, l.QoS, l.RetainHandling = "subscription", string(rest), &qos, &handling
		l.NoLocal, l.RetainAsPublished = o.NoLocal(), o.RetainAsPublished()
		if id != 0 {
			l.Identifiers = []uint32{id}
		}
	case partReceived:
		if len(rest) != 2 {
			return errValue
		}
		l.Type, l.PacketID = "received", uint16(rest[0])<<8|uint16(rest[1])
		if len(value) == 0 {
			return nil // it was refused
		}
		m, err := decodeMessage(value, "", d.r.ids)
		if err != nil {
			return err
		}
		l.Message = d.message(m)
	case partReleased:
		if len(key) != lenReleased {
			return errValue
		}
		seq := seqOf(key[1:])
		l.Type, l.Sequence, l.PacketID = "released", &seq, packetID(seq)
	case partWill:
		w, err := decodeWill(value, d.r.ids)
		if err != nil {
			return err
		}
		l.Type, l.Due, l.Message = "will", stamp(w.Due), d.message(w.M)
	default:
		return errValue
	}
	return nil
}

func decodeSubscription(value []byte) (o mqtt.SubOptions, id uint32, err error) {
	c := cursor{b: value}
	o = mqtt.SubOptions(c.byte())
	id = uint32(c.uvarint())
	if len(c.b) > 0 {
		c.bad = true
	}
	return o, id, c.err()
}

func (d *dumper) message(m *message.Message) *MessageLine {
	l := &MessageLine{Topic: m.Topic, QoS: m.QoS, PayloadBytes: len(m.Payload), Properties: len(m.Props)}
	if m.From != nil {
		l.From, l.FromUsername = m.From.ClientID, m.From.Username
	}
	if m.Expires != 0 {
		l.Expires = stamp(m.Expires)
	}
	switch {
	case !d.payload:
	case utf8.Valid(m.Payload):
		text := string(m.Payload)
		l.Payload = &text
	default:
		l.PayloadBinary = m.Payload
	}
	return l
}

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

// String is the line for people.
func (l *Line) String() string {
	var b strings.Builder
	b.WriteString(l.Type)
	put := func(format string, args ...any) { fmt.Fprintf(&b, " "+format, args...) }
	switch {
	case l.Error != "":
		put("%s", l.Error)
	case l.Type == "group":
		put("%q of %q", l.Group, l.Filter)
	case l.Group != "":
		put("group %q of %q", l.Group, l.Filter)
	case l.Type != "retained":
		put("%q", l.Client)
	}
	if l.Type == "subscription" {
		put("to %q", l.Filter)
	}
	if l.QoS != nil {
		put("QoS %d", *l.QoS)
	}
	b.WriteString(flags(l))
	if l.RetainHandling != nil && *l.RetainHandling != 0 {
		put("retain-handling %d", *l.RetainHandling)
	}
	if len(l.Identifiers) > 0 {
		put("id %s", strings.Trim(fmt.Sprint(l.Identifiers), "[]"))
	}
	if l.Username != "" {
		put("user %q", l.Username)
	}
	if l.Expiry != nil {
		put("expiry %s", expiry(*l.Expiry))
	}
	if l.Left != "" {
		put("left %s", l.Left)
	}
	if l.PacketID != 0 {
		put("packet id %d", l.PacketID)
	}
	if l.Due != "" {
		put("due %s", l.Due)
	}
	if l.Message != nil {
		put("%s", l.Message)
	}
	return b.String()
}

func flags(l *Line) (out string) {
	if l.NoLocal {
		out += " no-local"
	}
	if l.RetainAsPublished {
		out += " retain-as-published"
	}
	if l.Retain {
		out += " retain"
	}
	return out
}

func expiry(seconds uint32) string {
	if seconds == session.NeverExpires {
		return "never"
	}
	return strconv.FormatUint(uint64(seconds), 10) + " s"
}

// String is the message for people.
func (m *MessageLine) String() string {
	out := fmt.Sprintf("topic %q, %d bytes, published at QoS %d", m.Topic, m.PayloadBytes, m.QoS)
	if m.From != "" {
		out += fmt.Sprintf(" by %q", m.From)
	}
	if m.Expires != "" {
		out += ", expires " + m.Expires
	}
	switch {
	case m.Payload != nil:
		out += fmt.Sprintf(": %q", *m.Payload)
	case m.PayloadBinary != nil:
		out += fmt.Sprintf(": %x", m.PayloadBinary)
	}
	return out
}
