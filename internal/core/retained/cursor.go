package retained

import (
	"strings"

	"github.com/tidwall/btree"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
)

// Cursor walks the retained messages that match a filter, in the order of their topics. It holds no lock and no message
// between calls, only where to go on; so the store may change meanwhile, and a walk may take as long as its receiver
// needs. A topic that is set again after the cursor was made is passed by: the subscription exists by then and gets the
// message as it is published. A Cursor is not safe for concurrent use.
type Cursor struct {
	store  *Store
	levels []string // of the filter
	limit  uint64   // the Seq of the last change before the cursor was made
	from   []byte   // where to go on: the first topic not before it
	done   bool
	hint   btree.PathHint
	visits int // in all; tests count them
}

// Cursor returns a cursor over the messages that match filter and are in the store now. Make it after the subscription
// is in place: then no message falls between the two.
func (s *Store) Cursor(filter string) *Cursor {
	s.mu.RLock()
	limit := s.seq
	s.mu.RUnlock()
	c := &Cursor{store: s, levels: strings.Split(filter, "/"), limit: limit}
	c.literals(0)
	return c
}

// Next appends to dst up to max messages that are not expired at now (unix milliseconds). done: there are no more. As
// a call's work is bounded too, it may find fewer than max, or none, and not be done. The store's lock is shared and held
// for one call: 8*max+64 topics at most are looked at, whatever the filter.
func (c *Cursor) Next(now int64, max int, dst []*message.Message) (msgs []*message.Message, done bool) {
	if c.done || max <= 0 {
		return dst, c.done
	}
	s := c.store
	s.mu.RLock()
	defer s.mu.RUnlock()
	it := s.topics.Iter()
	ok := it.SeekHint(c.position(), &c.hint)
	for found, budget := 0, 8*max+64; ok; budget-- {
		topic, m := it.Item().topic, it.Item().m
		if budget == 0 || found == max {
			// The topic has not been looked at yet: go on with it.
			c.from = append(c.from[:0], topic...)
			return dst, false
		}
		c.visits++
		switch c.judge(topic) {
		case matches:
			if m.Seq <= c.limit && !m.Expired(now) {
				dst = append(dst, m)
				found++
			}
			ok = it.Next()
		case skips:
			ok = it.SeekHint(c.position(), &c.hint)
		case ends:
			ok = false
		}
	}
	c.done = true
	return dst, true
}

// position is where to go on, as the map wants it; a view that is good until from changes.
func (c *Cursor) position() item { return item{topic: message.BorrowString(c.from)} }

// verdict is what a topic tells about itself and those after it.
type verdict uint8

const (
	matches verdict = iota
	skips           // no topic before Cursor.from matches
	ends            // none after it matches
)

// judge matches a topic against the filter. If it does not match, it finds the first place after it where one could: the
// walk then jumps there, so that its cost follows from what matches and not from what the store holds.
func (c *Cursor) judge(topic string) verdict {
	if topic != "" && topic[0] == '$' && (c.levels[0] == "+" || c.levels[0] == "#") {
		c.from = append(c.from[:0], pastDollar...) // [MQTT-4.7.2-1]
		return skips
	}
	start, free := 0, -1 // where the level begins; where the last level that may be any ends
	for i, want := range c.levels {
		if want == "#" {
			return matches // the parent level too (MQTT 5 §4.7.1.2)
		}
		if start > len(topic) { // too short: what can match is below it
			c.from = append(append(c.from[:0], topic...), '/')
			c.literals(i)
			return skips
		}
		end := len(topic)
		if k := strings.IndexByte(topic[start:], '/'); k >= 0 {
			end = start + k
		}
		if want == "+" {
			free = end
		} else if d := compare(topic[start:end], want); d < 0 {
			c.from = append(c.from[:0], topic[:start]...)
			c.literals(i)
			return skips
		} else if d > 0 {
			return c.pass(topic, free)
		}
		start = end + 1
	}
	if start > len(topic) {
		return matches
	}
	return c.pass(topic, free) // too deep
}

// literals appends to where to go on the filter's levels from level i up to the next wildcard.
func (c *Cursor) literals(i int) {
	for k := i; k < len(c.levels) && c.levels[k] != "+" && c.levels[k] != "#"; k++ {
		if k > i {
			c.from = append(c.from, '/')
		}
		c.from = append(c.from, c.levels[k]...)
	}
}

// pass goes on after all topics below topic[:free], the last level that could be another; with none the walk is over.
func (c *Cursor) pass(topic string, free int) verdict {
	if free < 0 {
		return ends
	}
	c.from = append(append(c.from[:0], topic[:free]...), pastSubtree...)
	return skips
}
