package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Read loads a store that was just opened, reads all its queues, and returns what it found. err tells what was wrong, also
// when the store told things in an order that session.Loader excludes.
func Read(s session.Store) (*State, error) {
	r := &reader{State: NewState()}
	run, err := s.Load(r)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	r.Run = run
	if run == 0 {
		r.wrong("the run number is 0")
	}
	for _, k := range slices.Sorted(maps.Keys(r.told)) {
		r.readQueue(s, k)
	}
	return r.State, errors.Join(r.errs...)
}

// reader is a Loader that keeps what it is told.
type reader struct {
	*State
	told map[session.Key]told
	errs []error
	last string // topic of the last retained message

	mu sync.Mutex // guards errs: Retained has a goroutine of its own
}

type told struct {
	first, last uint64
	count       int
}

func (r *reader) wrong(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, fmt.Errorf(format, args...))
}

func (r *reader) Session(rec *session.Record) {
	if r.told != nil || r.keys[rec.Key] != nil {
		r.wrong("session %d comes twice, or after what belongs to sessions", rec.Key)
	}
	r.apply(&op{kind: putSession, key: rec.Key, record: *rec})
}

func (r *reader) Group(k session.Key, name, filter string) {
	if r.told != nil || r.Groups[k] != nil {
		r.wrong("group %d comes twice, or after what belongs to groups", k)
	}
	r.apply(&op{kind: putGroup, key: k, name: name, filter: filter})
}

// of is called for what belongs to a key: there must be one.
func (r *reader) of(k session.Key, what string) bool {
	if r.told == nil {
		r.told = make(map[session.Key]told)
	}
	if r.keys[k] == nil && r.Groups[k] == nil {
		r.wrong("%s belongs to key %d, which has no session and no group", what, k)
		return false
	}
	return true
}

func (r *reader) Subscription(k session.Key, filter string, opts mqtt.SubOptions, subID uint32) {
	if r.of(k, "subscription "+filter) {
		r.apply(&op{kind: putSubscription, key: k, name: filter, opts: opts, subID: subID})
	}
}

func (r *reader) Queue(k session.Key, first, last uint64, count int) {
	if !r.of(k, "a queue") {
		return
	}
	if _, twice := r.told[k]; twice || first > last || count < 1 {
		r.wrong("the queue of key %d is told twice, or as %d messages from %d to %d", k, count, first, last)
	}
	r.told[k] = told{first, last, count}
}

func (r *reader) Released(k session.Key, seq uint64) {
	if !r.of(k, "a released sequence number") {
		return
	}
	q := r.queue(k)
	for other := range q.Released {
		if other >= seq {
			r.wrong("key %d: released sequence %d comes after %d", k, seq, other)
		}
	}
	q.Released[seq] = true
}

func (r *reader) Received(k session.Key, packetID uint16, m *message.Message) {
	if r.of(k, "an incoming message") {
		r.apply(&op{kind: putReceived, key: k, id: packetID, m: m})
	}
}

func (r *reader) Will(k session.Key, w *session.Will) {
	if r.of(k, "a will") {
		r.apply(&op{kind: putWill, key: k, will: *w})
	}
}

func (r *reader) Retained(m *message.Message) {
	if len(r.State.Retained) > 0 && m.Topic <= r.last {
		r.wrong("retained topic %q comes after %q", m.Topic, r.last)
	}
	r.last = m.Topic
	r.State.Retained[m.Topic] = m
	r.retainedSeq[m.Topic] = m.Seq
}

// readQueue reads what Queue has told of, in pages of different lengths.
func (r *reader) readQueue(s session.Store, k session.Key) {
	t, q := r.told[k], r.queue(k)
	for from, n := t.first, 1; from <= t.last; n = n%7 + 1 {
		items, next, err := readPage(s, k, from, t.last+1, n, 1<<20)
		if err != nil {
			r.wrong("key %d from %d: %w", k, from, err)
			return
		}
		if len(items) > n || next <= from || len(items) == 0 && next != t.last+1 {
			r.wrong("key %d from %d: %d items of at most %d, next %d", k, from, len(items), n, next)
			return
		}
		for _, it := range items {
			if it.Seq < from || it.Seq >= next {
				r.wrong("key %d from %d: sequence %d on a page that ends at %d", k, from, it.Seq, next)
			}
			from = it.Seq + 1
			q.Messages[it.Seq] = it.Queued
		}
		from = next
	}
	_, first := q.Messages[t.first]
	_, last := q.Messages[t.last]
	if !first || !last {
		r.wrong("the queue of key %d was told from %d to %d; the first is there: %t, the last: %t", k, t.first, t.last, first, last)
	}
}

// readPage is ReadQueue, waited for.
func readPage(s session.Store, k session.Key, from, end uint64, maxItems, maxBytes int) (items []session.Item, next uint64, err error) {
	done := make(chan struct{})
	s.ReadQueue(k, from, end, maxItems, maxBytes, func(i []session.Item, n uint64, e error) {
		items, next, err = i, n, e
		close(done)
	})
	<-done
	return items, next, err
}

// Diff tells in what got differs from the state it should be; "": in nothing. What only memory knew is not compared.
func (s *State) Diff(got *State) string {
	var d []string
	add := func(format string, args ...any) { d = append(d, fmt.Sprintf(format, args...)) }
	diffKeys(s.Retained, got.Retained, "retained topic", add, func(topic string) {
		if what := diffMessage(s.Retained[topic], got.Retained[topic]); what != "" {
			add("retained topic %q: %s", topic, what)
		}
	})
	want := s.restarted()
	diffKeys(want.keys, got.keys, "session", add, func(k session.Key) { want.keys[k].diff(got.keys[k], add) })
	diffKeys(want.Groups, got.Groups, "group", add, func(k session.Key) {
		a, b := want.Groups[k], got.Groups[k]
		if a.Name != b.Name || a.Filter != b.Filter {
			add("group %d is %s %s, want %s %s", k, b.Name, b.Filter, a.Name, a.Filter)
		}
		a.diff(&b.Queue, k, add)
	})
	if len(d) > 10 {
		d = append(d[:10], fmt.Sprintf("and %d more", len(d)-10))
	}
	return strings.Join(d, "; ")
}

// diffKeys tells of keys that one of two maps has alone, and calls both for the others.
func diffKeys[K comparable, V, W any](want map[K]V, got map[K]W, what string, add func(string, ...any), both func(K)) {
	for k := range want {
		if _, ok := got[k]; ok {
			both(k)
		} else {
			add("%s %v is missing", what, k)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			add("%s %v should not be there", what, k)
		}
	}
}

func (ss *Session) diff(got *Session, add func(string, ...any)) {
	k := ss.Key
	if ss.Record != got.Record {
		add("session %d is %+v, want %+v", k, got.Record, ss.Record)
	}
	if !maps.Equal(ss.Subscriptions, got.Subscriptions) {
		add("session %d has subscriptions %v, want %v", k, got.Subscriptions, ss.Subscriptions)
	}
	diffKeys(ss.Received, got.Received, fmt.Sprintf("session %d: packet id", k), add, func(id uint16) {
		if what := diffMessage(ss.Received[id], got.Received[id]); what != "" {
			add("session %d, packet id %d: %s", k, id, what)
		}
	})
	switch a, b := ss.Will, got.Will; {
	case a == nil && b == nil:
	case a == nil || b == nil:
		add("session %d has will %+v, want %+v", k, b, a)
	default:
		if what := diffMessage(a.M, b.M); what != "" || a.Due != b.Due || a.Expiry != b.Expiry || a.Expires != b.Expires {
			add("session %d has will %+v, want %+v; %s", k, b, a, what)
		}
	}
	ss.Queue.diff(&got.Queue, k, add)
}

func (q *Queue) diff(got *Queue, k session.Key, add func(string, ...any)) {
	if !maps.Equal(q.Released, got.Released) {
		add("key %d has released %v, want %v", k, got.Released, q.Released)
	}
	diffKeys(q.Messages, got.Messages, fmt.Sprintf("key %d: sequence", k), add, func(seq uint64) {
		a, b := q.Messages[seq], got.Messages[seq]
		what := diffMessage(a.M, b.M)
		if what != "" || a.QoS != b.QoS || a.Retain != b.Retain || a.Group != b.Group || !slices.Equal(a.SubIDs, b.SubIDs) {
			add("key %d, sequence %d is %+v, want %+v; %s", k, seq, b, a, what)
		}
	})
}

// diffMessage compares all that a store keeps of a message.
func diffMessage(want, got *message.Message) string {
	if want == nil || got == nil {
		if want == got {
			return ""
		}
		return fmt.Sprintf("message %+v, want %+v", got, want)
	}
	from := func(m *message.Message) message.Identity {
		if m.From == nil {
			return message.Identity{ClientID: "the broker itself"}
		}
		return *m.From
	}
	if want.Topic != got.Topic || !bytes.Equal(want.Payload, got.Payload) || !bytes.Equal(want.Props, got.Props) ||
		want.QoS != got.QoS || want.Retain != got.Retain || want.Expires != got.Expires || want.Seq != got.Seq || from(want) != from(got) {
		return fmt.Sprintf("message %+v of %+v, want %+v of %+v", got, from(got), want, from(want))
	}
	if !got.Owned() {
		return fmt.Sprintf("message %+v is borrowed", got)
	}
	return ""
}
