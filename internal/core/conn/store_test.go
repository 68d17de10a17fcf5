package conn_test

import (
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

// heldStore is a store that answers at once, or holds its batches back until it is told to commit or to fail them, in any
// order. What it has committed can be looked at: that is what a restart would find.
type heldStore struct {
	mu       sync.Mutex
	hold     bool
	holdAll  bool // with hold: also what lets clients connect
	pending  []*heldBatch
	disk     disk
	names    map[session.Key]string // clients by the keys of their sessions
	onBatch  func()                 // called when a batch is begun; nil: nothing
	onCommit func(changes string)   // called when one is handed over; nil: nothing
}

// disk is what has been committed. Sequence numbers order it, not the order of commits (see session.Batch).
type disk struct {
	sessions map[string]session.Record
	queues   map[string]map[uint64]string
	gone     map[string]map[uint64]bool // dequeued before they were queued
	received map[string]map[uint16]bool
	retained map[string]retainedAt
}

type retainedAt struct {
	seq     uint64
	payload string // "": deleted
}

func newHeldStore() *heldStore {
	return &heldStore{names: map[session.Key]string{}, disk: disk{
		sessions: map[string]session.Record{}, queues: map[string]map[uint64]string{}, gone: map[string]map[uint64]bool{},
		received: map[string]map[uint16]bool{}, retained: map[string]retainedAt{},
	}}
}

type heldBatch struct {
	s     *heldStore
	apply []func(d *disk)
	log   []string // what it changes, for tests that look for it
	done  func(error)
}

func (s *heldStore) NewBatch() session.Batch {
	s.mu.Lock()
	fn := s.onBatch
	s.mu.Unlock()
	if fn != nil {
		fn()
	}
	return &heldBatch{s: s}
}

func (s *heldStore) Close() error { return nil }

func (s *heldStore) Durable() bool { return false } // it does not give back what it has

func (s *heldStore) Load(session.Loader) (run uint64, err error) { return 1, nil }

func (s *heldStore) ReadQueue(_ session.Key, _, end uint64, _, _ int, done func([]session.Item, uint64, error)) {
	done(nil, end, errors.New("nothing can be read"))
}

// client names the session of a key.
func (s *heldStore) client(k session.Key) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id, ok := s.names[k]; ok {
		return id
	}
	return fmt.Sprintf("key %d", k)
}

var errDisk = errors.New("the disk is full")

// holdBack makes the store wait from now on, but for the sessions of clients that connect.
func (s *heldStore) holdBack() {
	s.mu.Lock()
	s.hold = true
	s.mu.Unlock()
}

// answer commits or fails the pending batches in the order that pick gives; nil: as they came. The store then answers at
// once again.
func (s *heldStore) answer(err error, pick func(n int) int) {
	s.mu.Lock()
	s.hold = false
	s.mu.Unlock()
	for s.answerOne(err, pick) {
	}
}

// answerOne answers one batch; false: none is pending.
func (s *heldStore) answerOne(err error, pick func(n int) int) bool {
	s.mu.Lock()
	if len(s.pending) == 0 {
		s.mu.Unlock()
		return false
	}
	i := 0
	if pick != nil {
		i = pick(len(s.pending))
	}
	b := s.pending[i]
	s.pending = slices.Delete(s.pending, i, i+1)
	if err == nil {
		b.commit()
	}
	s.mu.Unlock()
	if b.done != nil {
		b.done(err)
	}
	return true
}

// waiting are the changes that are not committed.
func (s *heldStore) waiting() (log []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.pending {
		log = append(log, strings.Join(b.log, ", "))
	}
	return log
}

// queue is what is stored for a session, oldest first.
func (s *heldStore) queue(clientID string) (payloads []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.disk.queues[clientID]
	for _, seq := range slices.Sorted(maps.Keys(q)) {
		payloads = append(payloads, q[seq])
	}
	return payloads
}

func (s *heldStore) session(clientID string) (expiry uint32, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.disk.sessions[clientID]
	return r.Expiry, ok
}

func (s *heldStore) retained(topic string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disk.retained[topic].payload
}

func (b *heldBatch) commit() {
	for _, fn := range b.apply {
		fn(&b.s.disk)
	}
}

func (b *heldBatch) change(fn func(d *disk), format string, args ...any) {
	b.apply = append(b.apply, fn)
	b.log = append(b.log, fmt.Sprintf(format, args...))
}

func (b *heldBatch) Commit(done func(error)) {
	b.s.mu.Lock()
	if fn := b.s.onCommit; fn != nil {
		b.s.mu.Unlock()
		fn(strings.Join(b.log, ", "))
		b.s.mu.Lock()
	}
	if b.s.hold && (b.s.holdAll || len(b.log) != 1 || !strings.HasPrefix(b.log[0], "session ")) {
		b.done = done
		b.s.pending = append(b.s.pending, b)
		b.s.mu.Unlock()
		return
	}
	b.commit()
	b.s.mu.Unlock()
	if done != nil {
		done(nil)
	}
}

func (b *heldBatch) PutSession(r *session.Record) {
	id, kept := r.ClientID, *r
	b.s.mu.Lock()
	b.s.names[r.Key] = id
	b.s.mu.Unlock()
	what := "session"
	if r.Left != 0 {
		what = "left"
	}
	b.change(func(d *disk) { d.sessions[id] = kept }, "%s %s", what, id)
}

func (b *heldBatch) PutGroup(k session.Key, name, filter string) {
	b.s.mu.Lock()
	b.s.names[k] = "$share/" + name + "/" + filter
	b.s.mu.Unlock()
	b.change(func(*disk) {}, "group %s", name)
}

func (b *heldBatch) DeleteGroup(k session.Key) {
	b.change(func(*disk) {}, "delete group %s", b.s.client(k))
}

func (b *heldBatch) DeleteSession(k session.Key) {
	id := b.s.client(k)
	b.change(func(d *disk) {
		if d.sessions[id].Key != k {
			return // the client has another by now
		}
		delete(d.sessions, id)
		delete(d.queues, id)
		delete(d.gone, id)
		delete(d.received, id)
	}, "delete session %s", id)
}

func (b *heldBatch) PutSubscription(k session.Key, filter string, _ mqtt.SubOptions, _ uint32) {
	id := b.s.client(k)
	b.change(func(*disk) {}, "subscription %s %s", id, filter)
}

func (b *heldBatch) DeleteSubscription(k session.Key, filter string) {
	id := b.s.client(k)
	b.change(func(*disk) {}, "delete subscription %s %s", id, filter)
}

func (b *heldBatch) Enqueue(k session.Key, seq uint64, q *session.Queued) {
	id, payload := b.s.client(k), string(q.M.Payload)
	b.change(func(d *disk) {
		if d.gone[id][seq] {
			delete(d.gone[id], seq)
			return
		}
		if d.queues[id] == nil {
			d.queues[id] = map[uint64]string{}
		}
		d.queues[id][seq] = payload
	}, "queue %s %s", id, payload)
}

func (b *heldBatch) Release(k session.Key, seq uint64) {
	id := b.s.client(k)
	b.change(func(*disk) {}, "release %s", id)
}

func (b *heldBatch) Dequeue(k session.Key, seq uint64) {
	id := b.s.client(k)
	b.change(func(d *disk) {
		if _, ok := d.queues[id][seq]; ok {
			delete(d.queues[id], seq)
			return
		}
		if d.gone[id] == nil {
			d.gone[id] = map[uint64]bool{}
		}
		d.gone[id][seq] = true
	}, "dequeue %s", id)
}

func (b *heldBatch) PutReceived(k session.Key, packetID uint16, _ *message.Message) {
	id := b.s.client(k)
	b.change(func(d *disk) {
		if d.received[id] == nil {
			d.received[id] = map[uint16]bool{}
		}
		d.received[id][packetID] = true
	}, "received %s %d", id, packetID)
}

func (b *heldBatch) DeleteReceived(k session.Key, packetID uint16) {
	id := b.s.client(k)
	b.change(func(d *disk) { delete(d.received[id], packetID) }, "delete received %s %d", id, packetID)
}

func (b *heldBatch) PutRetained(m *message.Message) {
	b.putRetained(m.Topic, m.Seq, string(m.Payload))
}

func (b *heldBatch) DeleteRetained(topic string, seq uint64) {
	b.putRetained(strings.Clone(topic), seq, "")
}

func (b *heldBatch) putRetained(topic string, seq uint64, payload string) {
	b.change(func(d *disk) {
		if d.retained[topic].seq <= seq {
			d.retained[topic] = retainedAt{seq, payload}
		}
	}, "retained %s", topic)
}

func (b *heldBatch) PutWill(k session.Key, _ *session.Will) {
	id := b.s.client(k)
	b.change(func(*disk) {}, "will %s", id)
}

func (b *heldBatch) DeleteWill(k session.Key) {
	id := b.s.client(k)
	b.change(func(*disk) {}, "delete will %s", id)
}
