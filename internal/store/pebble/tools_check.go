package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// Report is what Check has found.
type Report struct {
	// Read is how many keys and values were read, Bytes their size.
	Read, Bytes int64
	// Problems are what is wrong, at most MaxProblems of them; Count is how many there are.
	Problems []string
	Count    int64
	// Notes are what is no fault, but not tidy: the next start of a broker sees to it.
	Notes []string
}

// MaxProblems is how many problems a Report spells out.
const MaxProblems = 1000

func (r *Report) problem(format string, args ...any) {
	if r.Count++; r.Count <= MaxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// checker verifies a store.
type checker struct {
	Report
	r       *Reader
	own     *owners
	clients map[string]session.Key
	// bodies tells of each segment which messages it has, refs how many entries refer to it.
	bodies map[uint64]map[uint32]bool
	refs   map[uint64]int64
	counts map[uint64]int64
	// orphans are what belongs to no session or group.
	orphans map[session.Key]int64
}

// Check reads all of the store, whatever the checksums say of it, and verifies that everything can be understood and is
// where what refers to it looks for it. err is not nil only if reading itself is not possible.
func (r *Reader) Check() (*Report, error) {
	c := &checker{
		r: r, clients: make(map[string]session.Key), bodies: make(map[uint64]map[uint32]bool), refs: make(map[uint64]int64),
		counts: make(map[uint64]int64), orphans: make(map[session.Key]int64),
	}
	err := c.all()
	for _, file := range r.damagedFiles() {
		c.problem("the file %s is damaged", file)
	}
	switch {
	case pebble.IsCorruptionError(err):
		c.problem("reading ended before the end, at the damage: %s", firstLine(err))
	case err != nil:
		return nil, fmt.Errorf("store: %s: %w", r.Dir, err)
	}
	return &c.Report, nil
}

// firstLine leaves out what Pebble's errors tell beyond what people read.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func (c *checker) all() (err error) {
	if c.own, err = c.r.owners(); err != nil {
		return err
	}
	if err := c.r.each(0, func(key, value []byte) error {
		c.Read++
		c.Bytes += int64(len(key) + len(value))
		c.one(key, value)
		return nil
	}); err != nil {
		return err // what has not been read cannot be compared
	}
	if err := c.references(); err != nil {
		return err
	}
	c.finish()
	if err := c.r.db.CheckLevels(nil); err != nil {
		c.problem("the order of the files' contents: %v", err)
	}
	return nil
}

// one checks a key and its value by themselves.
func (c *checker) one(key, value []byte) {
	var err error
	k := session.Key(numberOf(key))
	space := key[0]
	if space != spaceRetained && space != spaceMeta && len(key) < lenKey {
		c.problem("key %q: it is too short", key)
		return
	}
	switch space {
	case spaceSession:
		err = c.session(k, value)
	case spaceGroup:
		cur := cursor{b: value}
		name := cur.bytes()
		if err = cur.err(); err == nil {
			err = topic.ValidFilter(fmt.Appendf(nil, "$share/%s/%s", name, cur.b))
		}
	case spaceDeleted:
	case spacePart:
		c.belongs(k)
		_, err = (&dumper{r: c.r, own: c.own}).line(key, append([]byte(nil), value...))
	case spaceQueue:
		c.belongs(k)
		err = c.queued(key, value)
	case spaceBody:
		err = c.body(key, value)
	case spaceCount:
		n, read := binary.Varint(value)
		if c.counts[uint64(k)] = n; read <= 0 || n < 0 {
			err = errValue
		}
	case spaceRetained:
		err = c.retained(key, value)
	case spaceMeta:
	default:
		err = errors.New("no such keys are written by this version")
	}
	if err != nil {
		c.problem("%s: %v", c.name(key), err)
	}
}

// name says what a key is, for people.
func (c *checker) name(key []byte) string {
	k := session.Key(numberOf(key))
	owner := fmt.Sprintf("key %d", k)
	if id := c.own.clients[k]; id != "" {
		owner = fmt.Sprintf("client %q", id)
	} else if g := c.own.shared[k]; g[0] != "" {
		owner = fmt.Sprintf("shared group %q of %q", g[0], g[1])
	}
	switch key[0] {
	case spaceSession:
		return "session, " + owner
	case spaceGroup:
		return owner
	case spacePart:
		if len(key) >= lenPart {
			if what, known := map[byte]string{
				partFilter: fmt.Sprintf("subscription to %q", key[lenPart:]), partReceived: "incoming QoS 2 message",
				partReleased: "released QoS 2 message", partWill: "will",
			}[key[lenKey]]; known {
				return what + ", " + owner
			}
		}
	case spaceQueue:
		return fmt.Sprintf("message %d in the queue, %s", seqOf(key), owner)
	case spaceBody:
		return fmt.Sprintf("shared message, segment %d", k)
	case spaceCount:
		return fmt.Sprintf("count of segment %d", k)
	case spaceRetained:
		return fmt.Sprintf("retained message of %q", key[1:])
	}
	return fmt.Sprintf("key %q", key)
}

func (c *checker) belongs(k session.Key) {
	if !c.own.known(k) {
		c.orphans[k]++
	}
}

func (c *checker) session(k session.Key, value []byte) error {
	rec, err := decodeRecord(k, value)
	if err != nil {
		return err
	}
	if rec.ClientID == "" || !utf8.ValidString(rec.ClientID) {
		return fmt.Errorf("%q is no client id", rec.ClientID)
	}
	if other, twice := c.clients[rec.ClientID]; twice {
		c.Notes = append(c.Notes, fmt.Sprintf("client %q has two sessions, keys %d and %d: the later one counts", rec.ClientID, other, k))
	}
	c.clients[rec.ClientID] = k
	return nil
}

func (c *checker) queued(key, value []byte) error {
	if len(key) != lenQueue {
		return errValue
	}
	e, err := decodeEntry(append([]byte(nil), value...))
	if err != nil {
		return err
	}
	if e.segment != 0 {
		c.refs[e.segment]++
		return nil // see references
	}
	m, err := decodeMessage(e.body, "", c.r.ids)
	if err != nil {
		return err
	}
	return topic.ValidName([]byte(m.Topic))
}

func (c *checker) body(key, value []byte) error {
	if len(key) != lenBody {
		return errValue
	}
	segment := numberOf(key)
	if c.bodies[segment] == nil {
		c.bodies[segment] = make(map[uint32]bool)
	}
	c.bodies[segment][binary.BigEndian.Uint32(key[lenKey:])] = true
	m, err := decodeMessage(append([]byte(nil), value...), "", c.r.ids)
	if err != nil {
		return err
	}
	return topic.ValidName([]byte(m.Topic))
}

func (c *checker) retained(key, value []byte) error {
	m, err := decodeMessage(append([]byte(nil), value...), string(key[1:]), c.r.ids)
	if err != nil {
		return err
	}
	if m.Seq == 0 {
		return errors.New("it has no sequence number")
	}
	return topic.ValidName([]byte(m.Topic))
}

// references checks what refers to something else. Segments have been read by now.
func (c *checker) references() error {
	err := c.r.each(spaceQueue, func(key, value []byte) error {
		if e, err := decodeEntry(value); err == nil && e.segment != 0 && !c.bodies[e.segment][e.index] {
			c.problem("%s: its text, number %d of segment %d, is not there", c.name(key), e.index, e.segment)
		}
		return nil
	})
	if err == nil {
		err = c.r.each(spacePart, func(key, _ []byte) error { return c.releasedTwice(key) })
	}
	return err
}

// releasedTwice: a message that was released is in its queue no more.
func (c *checker) releasedTwice(key []byte) error {
	if len(key) != lenReleased || key[lenKey] != partReleased {
		return nil
	}
	k, seq := session.Key(numberOf(key)), seqOf(key[1:])
	_, closer, err := c.r.db.Get(appendQueue(nil, k, seq))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err == nil {
		c.problem("message %d of %s was released and is in the queue too", seq, c.name(key))
		err = closer.Close()
	}
	return err
}

// finish compares what was counted.
func (c *checker) finish() {
	for segment, n := range c.refs {
		if c.counts[segment] != n {
			c.problem("segment %d: %d queue entries refer to it, its count says %d", segment, n, c.counts[segment])
		}
	}
	for segment, n := range c.counts {
		if n != 0 && c.refs[segment] == 0 {
			c.problem("segment %d: no queue entry refers to it, its count says %d", segment, n)
		}
	}
	wasted := 0
	for segment := range c.bodies {
		if _, counted := c.counts[segment]; !counted && c.refs[segment] == 0 {
			wasted++
		}
	}
	if wasted > 0 {
		c.Notes = append(c.Notes, fmt.Sprintf("%d segments hold messages that nothing refers to, and that are not counted: they take room", wasted))
	}
	if len(c.orphans) > 0 {
		c.Notes = append(c.Notes, fmt.Sprintf("%d sessions or groups that are no more have left something", len(c.orphans)))
	}
	if n := len(c.own.deleted); n > 0 {
		c.Notes = append(c.Notes, fmt.Sprintf("what %d ended sessions and groups had is not swept yet", n))
	}
}
