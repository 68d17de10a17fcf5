package mosquittodb

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// Plan is what of a file can be carried over. It knows where the messages are, not what is in them: some 60 bytes for each
// message and each of its places.
type Plan struct {
	Version  int  // of the file's format
	Shutdown bool // Mosquitto wrote it when it ended; else it may have gone on since
	Counts   Counts
	// Left is what cannot be carried over, by reason, in the order in which it was met.
	Left []Left

	src      io.ReaderAt
	size     int64
	now      int64 // unix milliseconds
	sessions []planned
	byID     map[string]int32 // index of sessions
	// messages are by id: the place in the file, counted, or one of the marks below.
	messages map[uint64]int32
	places   []place
	subIDs   [][]uint32 // the different lists of subscription identifiers, the first is empty
	subIndex map[string]int32
	left     map[string]int // index of Left
}

// Marks of messages that cannot be had.
const (
	expired   = -1
	malformed = -2
)

// Counts of what is carried over.
type Counts struct {
	Sessions, Subscriptions int
	Queued                  int // messages that wait for a client, those in flight included
	InFlight                int // of those, sent and not acknowledged
	Released                int // outgoing QoS 2 that waits for PUBCOMP
	Received                int // incoming QoS 2 that waits for PUBREL
	Retained                int
	Messages                int // stored for those, each once
}

// Left is what is not carried over for one reason.
type Left struct {
	Reason  string
	Count   int
	Example string // the first it happened to
}

// planned is a session and what it needs.
type planned struct {
	record session.Record // Key and Sent are given when it is written
	subs   []Subscription
	skip   bool
	last   int64 // relative sequence number of the last outgoing message; -1: none
	first  int64 // of the first
	sent   int64 // below this all have been sent
}

// place is what a message is needed for.
type place struct {
	message int32 // its place in the file; below 0: it is not needed
	session int32
	seq     uint32 // relative sequence number, or packet id
	subIDs  int32
	kind    placeKind
	qos     byte
	retain  bool
}

type placeKind uint8

const (
	queued placeKind = iota
	released
	received
	retained
)

// Scan reads a file through and checks all of it. now is when the import happens: what has ended by then is left out. An
// error that is no *Error is src's.
func Scan(src io.ReaderAt, size int64, now time.Time) (*Plan, error) {
	p := &Plan{
		src: src, size: size, now: now.UnixMilli(), byID: make(map[string]int32), messages: make(map[uint64]int32),
		subIDs: [][]uint32{nil}, subIndex: make(map[string]int32), left: make(map[string]int),
	}
	r, err := p.reader()
	if err != nil {
		return nil, err
	}
	p.Version, p.Shutdown = r.Version, r.Shutdown
	var order int32
	for {
		c, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch {
		case c.Message != nil:
			err = p.message(c.Offset, c.Message, order)
			order++
		case c.Client != nil:
			err = p.client(c.Offset, c.Client)
		case c.ClientMessage != nil:
			err = p.clientMessage(c.Offset, c.ClientMessage)
		case c.Retained != nil:
			p.retained(c.Retained)
		case c.Subscription != nil:
			p.subscription(c.Subscription)
		default:
			p.leave("chunks of a kind that is not known, which Mosquitto skips too", fmt.Sprintf("at byte %d", c.Offset))
		}
		if err != nil {
			return nil, err
		}
		if order == math.MaxInt32 || len(p.sessions) == math.MaxInt32 {
			return nil, &Error{c.Offset, "the file has more than 2,147,483,646 messages or sessions"}
		}
	}
	slices.SortStableFunc(p.places, func(a, b place) int { return cmp.Compare(a.message, b.message) })
	p.count()
	return p, nil
}

func (p *Plan) reader() (*Reader, error) {
	return NewReader(io.NewSectionReader(p.src, 0, p.size), p.size)
}

// Empty reports whether there is nothing to carry over.
func (p *Plan) Empty() bool { return len(p.sessions) == 0 && len(p.places) == 0 }

func (p *Plan) leave(reason, example string) {
	i, known := p.left[reason]
	if !known {
		i = len(p.Left)
		p.left[reason] = i
		p.Left = append(p.Left, Left{Reason: reason, Example: example})
	}
	p.Left[i].Count++
}

func (p *Plan) message(at int64, m *Message, order int32) error {
	if _, twice := p.messages[m.ID]; twice {
		return &Error{at, fmt.Sprintf("chunk (message): a second one with the id %d", m.ID)}
	}
	p.messages[m.ID] = order
	if m.Expires != 0 && m.Expires*1000 <= p.now {
		p.messages[m.ID] = expired
		p.leave("messages that have expired", "topic "+quote(m.Topic))
		return nil
	}
	var pub mqtt.Publish
	if err := decode(&pub, m); err != nil {
		p.messages[m.ID] = malformed
		p.leave("messages that are not valid MQTT", fmt.Sprintf("topic %s: %v", quote(m.Topic), err))
	}
	return nil
}

// decode checks a message and takes its properties apart; they are views.
func decode(pub *mqtt.Publish, m *Message) error {
	return decodeProperties(pub, m.Topic, m.Properties)
}

func decodeProperties(pub *mqtt.Publish, name string, props []byte) error {
	body := make([]byte, 0, 2+len(name)+max(1, len(props)))
	body = append(mqtt.AppendString(body, []byte(name)), props...)
	if len(props) == 0 {
		body = append(body, 0)
	}
	if err := pub.Decode(mqtt.Frame{Type: mqtt.PUBLISH, Body: body}, mqtt.V5); err != nil {
		return err
	}
	if len(pub.Payload) > 0 {
		return fmt.Errorf("there are %d bytes behind its properties", len(pub.Payload))
	}
	return nil
}

func (p *Plan) client(at int64, c *Client) error {
	if _, twice := p.byID[c.ID]; twice {
		return &Error{at, fmt.Sprintf("chunk (client): a second one with the client id %s", quote(c.ID))}
	}
	s := planned{
		record: session.Record{ClientID: c.ID, Username: c.Username, Expiry: c.Expiry, Left: p.now}, first: -1, last: -1,
	}
	ends := c.Ends * 1000
	switch {
	case c.ID == "" || topic.ValidCharacters([]byte(c.ID)) != nil:
		s.skip = true
		p.leave("sessions whose client id is not valid MQTT", quote(c.ID))
	case c.Expiry == 0:
		s.skip = true
		p.leave("sessions that end with their connection (MQTT 5, session expiry interval 0)", "client "+quote(c.ID))
	case ends != 0 && ends <= p.now:
		s.skip = true
		p.leave("sessions that have expired", "client "+quote(c.ID))
	case ends != 0 && c.Expiry != session.NeverExpires && ends > int64(c.Expiry)*1000 && ends <= p.now+int64(c.Expiry)*1000:
		s.record.Left = ends - int64(c.Expiry)*1000
	case ends != 0:
		// Mosquitto's persistent_client_expiration decided, not the client.
		s.record.Expiry = uint32(min((ends-p.now+999)/1000, session.NeverExpires-1))
	}
	p.byID[c.ID] = int32(len(p.sessions))
	p.sessions = append(p.sessions, s)
	return nil
}

// of finds the session something belongs to; nil: it is not carried over, which has been noted.
func (p *Plan) of(client, what string) (i int32, s *planned) {
	i, known := p.byID[client]
	if !known {
		p.leave(what+" of clients that the file does not have", "client "+quote(client))
		return 0, nil
	}
	if s = &p.sessions[i]; s.skip {
		p.leave(what+" of sessions that are not carried over", "client "+quote(client))
		return 0, nil
	}
	return i, s
}

func (p *Plan) subscription(c *Subscription) {
	_, s := p.of(c.ClientID, "subscriptions")
	if s == nil {
		return
	}
	if err := topic.ValidFilter([]byte(c.Filter)); err != nil {
		p.leave("subscriptions that are not valid MQTT", fmt.Sprintf("client %s, %s: %v", quote(c.ClientID), quote(c.Filter), err))
		return
	}
	s.subs = append(s.subs, *c)
}

func (p *Plan) retained(c *Retained) {
	at, known := p.messages[c.MessageID]
	if !known {
		p.leave("retained messages whose text the file does not have", fmt.Sprintf("message %d", c.MessageID))
		return
	}
	if at >= 0 {
		p.places = append(p.places, place{message: at, kind: retained})
	}
}

// sequenceSpan is how far in-flight packet ids may be apart: a session does not run further ahead of its oldest message.
const sequenceSpan = 8192

func (p *Plan) clientMessage(at int64, c *ClientMessage) error {
	i, s := p.of(c.ClientID, "queued messages")
	if s == nil {
		return nil
	}
	pl := place{session: i, qos: c.QoS, retain: c.Retain}
	var known bool
	if pl.message, known = p.messages[c.MessageID]; !known {
		pl.message = malformed
	}
	if c.Incoming {
		if c.QoS != 2 || c.PacketID == 0 {
			p.leave("incoming messages in a state that no QoS 2 message has", "client "+quote(c.ClientID))
			return nil
		}
		pl.kind, pl.seq = received, uint32(c.PacketID)
		p.places = append(p.places, pl)
		return nil
	}
	sent := c.QoS > 0 && c.State != StateQueued && c.PacketID != 0 &&
		(c.Dup || c.State != StatePublishQoS1 && c.State != StatePublishQoS2)
	if c.QoS == 2 && (c.State == StateResendPubrel || c.State == StateWaitPubcomp) {
		pl.kind, pl.message = released, malformed // its text is not needed any more
	} else if pl.message < 0 {
		if !known {
			p.leave("queued messages whose text the file does not have", "client "+quote(c.ClientID))
		}
		return nil
	}
	wanted := c.PacketID
	if c.State == StateQueued {
		wanted = 0 // no packet has had it yet
	}
	seq, kept := s.sequence(wanted)
	switch {
	case !kept && pl.kind == released:
		p.leave("QoS 2 deliveries before their last step, whose packet ids are out of order or far apart", "client "+quote(c.ClientID))
		return nil
	case !kept && sent && c.QoS == 2:
		p.leave("packet ids of QoS 2 messages in flight that are out of order or far apart: the message is carried over, the client may get it twice",
			fmt.Sprintf("client %s, packet id %d", quote(c.ClientID), c.PacketID))
		sent = false
	}
	if seq >= math.MaxUint32 {
		return &Error{at, fmt.Sprintf("chunk (client message): too many for client %s", quote(c.ClientID))}
	}
	if s.last = seq; s.first < 0 {
		s.first = seq
	}
	if sent || pl.kind == released {
		s.sent = seq + 1
	}
	pl.seq = uint32(seq)
	var err error
	if pl.subIDs, err = p.identifiers(c.Properties); err != nil {
		return &Error{at, fmt.Sprintf("chunk (client message): its properties: %v", err)}
	}
	p.places = append(p.places, pl)
	return nil
}

// sequence gives the next outgoing message its relative sequence number, from which its packet id follows: kept tells that
// it is the one that is wanted; 0: any. Mosquitto counts packet ids up, so that they rise from the start of a queue.
func (s *planned) sequence(packetID uint16) (seq int64, kept bool) {
	if packetID == 0 {
		return s.last + 1, true
	}
	id := int64(packetID) - 1
	if s.last < 0 {
		return id, true
	}
	step := (id - s.last%65535 + 65535) % 65535
	if step == 0 || s.last+step-s.first > sequenceSpan {
		return s.last + 1, false
	}
	return s.last + step, true
}

// identifiers finds a list of subscription identifiers among those met.
func (p *Plan) identifiers(props []byte) (int32, error) {
	if len(props) == 0 {
		return 0, nil
	}
	if i, known := p.subIndex[string(props)]; known {
		return i, nil
	}
	var pub mqtt.Publish
	if err := decodeProperties(&pub, "t", props); err != nil {
		return 0, err
	}
	i := int32(len(p.subIDs))
	p.subIDs = append(p.subIDs, slices.Clone(pub.Props.SubscriptionIDs))
	p.subIndex[string(props)] = i
	return i, nil
}

func (p *Plan) count() {
	c := &p.Counts
	for i := range p.sessions {
		if s := &p.sessions[i]; !s.skip {
			c.Sessions++
			c.Subscriptions += len(s.subs)
		}
	}
	before := int32(-1)
	for i := range p.places {
		pl := &p.places[i]
		switch pl.kind {
		case queued:
			c.Queued++
			if s := &p.sessions[pl.session]; pl.qos > 0 && int64(pl.seq) < s.sent {
				c.InFlight++
			}
		case released:
			c.Released++
		case received:
			c.Received++
		case retained:
			c.Retained++
		}
		if pl.message > before {
			c.Messages++
			before = pl.message
		}
	}
}

// quote shows a name that may hold anything, of any length.
func quote(s string) string {
	if len(s) > 80 {
		return fmt.Sprintf("%.80q...", s)
	}
	return fmt.Sprintf("%q", s)
}
