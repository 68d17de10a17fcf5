package pebble

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// maxReaders is how many goroutines read pages of queues. They exist while there is something to read.
const maxReaders = 4

// reads are the pages that are asked for.
type reads struct {
	mu      sync.Mutex
	waiting []request
	readers int
	closed  bool
	group   sync.WaitGroup
	// notes tell the committer where entries lie, so that it need not look when they are removed.
	notes []note
}

// maxNotes bounds the notes: without one the committer looks the entry up.
const maxNotes = 32 << 10

type note struct {
	place
	segment uint64
}

type request struct {
	key                session.Key
	from, end          uint64
	maxItems, maxBytes int
	done               func(items []session.Item, next uint64, err error)
}

// ReadQueue reads a part of a queue; see session.Store.
func (s *Store) ReadQueue(k session.Key, from, end uint64, maxItems, maxBytes int, done func([]session.Item, uint64, error)) {
	r := &s.reads
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		done(nil, from, errors.New("store: a queue is read after Close"))
		return
	}
	r.waiting = append(r.waiting, request{k, from, end, maxItems, maxBytes, done})
	if r.readers < maxReaders {
		r.readers++
		r.group.Add(1)
		go s.readLoop()
	}
	r.mu.Unlock()
}

// readLoop reads until nothing is waiting.
func (s *Store) readLoop() {
	r := &s.reads
	defer r.group.Done()
	for {
		r.mu.Lock()
		if len(r.waiting) == 0 {
			r.waiting = nil
			r.readers--
			r.mu.Unlock()
			return
		}
		q := r.waiting[0]
		r.waiting[0] = request{}
		r.waiting = r.waiting[1:]
		r.mu.Unlock()
		items, next, err := s.page(&q)
		if err != nil {
			s.counted.readErrors.Add(1)
			err = fmt.Errorf("store: %s: reading queue %d from %d: %w", s.o.Dir, q.key, next, err)
		}
		q.done(items, next, err)
	}
}

// wait ends reading: what was asked for is still answered.
func (r *reads) wait() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.group.Wait()
}

// noted takes the notes.
func (r *reads) noted() []note {
	r.mu.Lock()
	defer r.mu.Unlock()
	notes := r.notes
	r.notes = nil
	return notes
}

func (r *reads) note(notes []note) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.notes) < maxNotes {
		r.notes = append(r.notes, notes...)
	}
}

// page reads what was asked for. The bounds keep the iterator off what has been removed at the queue's head.
func (s *Store) page(q *request) (items []session.Item, next uint64, err error) {
	if q.from >= q.end {
		return nil, q.end, nil
	}
	lower, upper := queueBounds(q.key, q.from, q.end)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, q.from, err
	}
	p := pageReader{s: s, ids: make(identities)}
	defer func() {
		err = errors.Join(err, it.Close(), p.close())
		s.reads.note(p.notes)
	}()
	size := 0
	next = q.from
	for it.First(); it.Valid(); it.Next() {
		seq := seqOf(it.Key())
		if len(items) > 0 && (len(items) >= q.maxItems || size >= q.maxBytes) {
			return items, seq, nil
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return items, next, err
		}
		item, ok, err := p.item(q.key, seq, v)
		if err != nil {
			return items, next, err
		}
		next = seq + 1
		if ok {
			items = append(items, item)
			size += item.M.Size()
		}
	}
	if err := it.Error(); err != nil {
		return items, next, err
	}
	return items, q.end, nil
}

// pageReader makes items of entries.
type pageReader struct {
	s      *Store
	ids    identities
	bodies *pebble.Iterator // nil: not needed so far
	key    []byte
	notes  []note
}

func (p *pageReader) close() error {
	if p.bodies == nil {
		return nil
	}
	return p.bodies.Close()
}

// item decodes an entry. ok is false if it has been removed meanwhile.
func (p *pageReader) item(k session.Key, seq uint64, v []byte) (item session.Item, ok bool, err error) {
	v = bytes.Clone(v) // the message will refer to it
	e, err := decodeEntry(v)
	if err != nil {
		return item, false, err
	}
	body := e.body
	if e.segment != 0 {
		if body, err = p.body(e.segment, e.index); err != nil {
			return item, false, err
		}
		if body == nil {
			return item, false, p.gone(k, seq)
		}
	}
	p.notes = append(p.notes, note{place{k, seq}, e.segment})
	item = session.Item{Seq: seq, Queued: e.Queued}
	item.M, err = decodeMessage(body, "", p.ids)
	return item, err == nil, err
}

// body reads a message of a segment; nil: it is not there.
func (p *pageReader) body(segment uint64, index uint32) ([]byte, error) {
	if p.bodies == nil {
		it, err := p.s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceBody}, UpperBound: []byte{spaceBody + 1}})
		if err != nil {
			return nil, err
		}
		p.bodies = it
	}
	p.key = appendBody(p.key[:0], segment, index)
	// Neighbours in a queue are mostly neighbours in a segment.
	if !(p.bodies.Valid() && p.bodies.Next() && bytes.Equal(p.bodies.Key(), p.key)) &&
		!(p.bodies.SeekGE(p.key) && bytes.Equal(p.bodies.Key(), p.key)) {
		return nil, p.bodies.Error()
	}
	v, err := p.bodies.ValueAndErr()
	return bytes.Clone(v), err
}

// gone makes sure that an entry whose message is not there has been removed too.
func (p *pageReader) gone(k session.Key, seq uint64) error {
	_, closer, err := p.s.db.Get(appendQueue(nil, k, seq))
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	_ = closer.Close()
	return fmt.Errorf("the message of entry %d is missing: %w", seq, errValue)
}
