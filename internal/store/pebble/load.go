package pebble

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/cockroachdb/pebble/v2"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Load tells what the store holds, and opens it for batches; see session.Store. Of queues only the ends are read.
func (s *Store) Load(to session.Loader) (run uint64, err error) {
	s.mu.Lock()
	loaded, closed := s.loaded, s.closed
	s.mu.Unlock()
	if loaded || closed {
		return 0, errors.New("store: Load was called twice, or after Close")
	}
	l := &load{s: s, to: to, keys: make(map[session.Key]bool), ids: make(identities)}
	retained := make(chan error, 1)
	go func() { retained <- l.retained() }()
	err = l.all()
	if err = errors.Join(err, <-retained); err != nil {
		return 0, fmt.Errorf("store: %s cannot be read, nothing was changed: %w; look at it with `nightjar store check`, or restore a backup",
			s.o.Dir, err)
	}
	if run, err = s.nextRun(); err != nil {
		return 0, fmt.Errorf("store: counting the start: %w", err)
	}
	s.start(run, l)
	return run, nil
}

// nextRun counts the start, durably: nothing that it numbers may be numbered again.
func (s *Store) nextRun() (run uint64, err error) {
	v, closer, err := s.db.Get(keyRun)
	switch {
	case err == nil:
		was, n := binary.Uvarint(v)
		run = was
		if err := closer.Close(); err != nil || n <= 0 {
			return 0, errors.Join(errValue, err)
		}
	case !errors.Is(err, pebble.ErrNotFound):
		return 0, err
	}
	run++
	set := make(chan error, 1)
	go func() { set <- s.db.Set(keyRun, binary.AppendUvarint(nil, run), pebble.Sync) }()
	select {
	case err := <-set:
		return run, err
	case <-s.deadCh: // and Set does not return
		return 0, s.dead
	}
}

// start begins to take batches.
func (s *Store) start(run uint64, l *load) {
	s.a = applier{s: s, run: run, seed: maphash.MakeSeed(), sweeping: make(map[session.Key]struct{})}
	s.a.segments = segments{live: l.segments, delta: make(map[uint64]int64), next: run << segmentShift}
	for segment := range l.segments {
		s.a.segments.add(segment, 0) // those that nothing refers to are dropped with the first commit
	}
	for _, k := range l.orphans {
		s.a.sweeping[k] = struct{}{}
	}
	s.work.Add(1)
	go s.sweepLoop()
	if s.o.Sync == SyncInterval {
		s.work.Add(1)
		go s.syncLoop()
	}
	go s.commitLoop()
	go s.answerLoop()
	s.mu.Lock()
	s.loaded = true
	s.mu.Unlock()
	s.sweeps.add(s, l.orphans...)
}

// load is one Load.
type load struct {
	s    *Store
	to   session.Loader
	keys map[session.Key]bool // sessions and groups
	ids  identities
	// orphans are keys that have something left and are no more.
	orphans  []session.Key
	segments map[uint64]int64
}

// each calls fn for all keys of a space, until it fails.
func (l *load) each(space byte, fn func(key, value []byte) error) error {
	it, err := l.s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{space}, UpperBound: []byte{space + 1}})
	if err != nil {
		return err
	}
	for it.First(); it.Valid(); it.Next() {
		v, err := it.ValueAndErr()
		if err == nil {
			err = fn(it.Key(), v)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("key %q: %w", it.Key(), err), it.Close())
		}
	}
	return errors.Join(it.Error(), it.Close())
}

func (l *load) all() error {
	for _, step := range []func() error{l.sessions, l.groups, l.deleted, l.parts, l.queues, l.counts} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) sessions() error {
	return l.each(spaceSession, func(key, v []byte) error {
		r, err := decodeRecord(session.Key(numberOf(key)), v)
		if err != nil {
			return err
		}
		l.keys[r.Key] = true
		l.to.Session(r)
		return nil
	})
}

func (l *load) groups() error {
	return l.each(spaceGroup, func(key, v []byte) error {
		k := session.Key(numberOf(key))
		c := cursor{b: v}
		name := string(c.bytes())
		l.keys[k] = true
		l.to.Group(k, name, string(c.b))
		return c.err()
	})
}

func (l *load) deleted() error {
	return l.each(spaceDeleted, func(key, _ []byte) error {
		l.orphan(session.Key(numberOf(key)))
		return nil
	})
}

// orphan notes a key that has something left to sweep.
func (l *load) orphan(k session.Key) {
	if _, known := l.keys[k]; !known {
		l.keys[k] = false
		l.orphans = append(l.orphans, k)
	}
}

// of tells whether a key's session or group is there. What is stored late for one that was deleted is swept.
func (l *load) of(k session.Key) bool {
	if !l.keys[k] {
		l.orphan(k)
		return false
	}
	return true
}

// parts are what belongs to sessions, apart from their queues.
func (l *load) parts() error {
	return l.each(spacePart, func(key, v []byte) error {
		if len(key) < lenPart {
			return errValue
		}
		k := session.Key(numberOf(key))
		if !l.of(k) {
			return nil
		}
		return l.part(k, key[lenKey], key[lenPart:], v)
	})
}

func (l *load) part(k session.Key, part byte, rest, v []byte) error {
	switch {
	case part == partFilter:
		c := cursor{b: v}
		opts := mqtt.SubOptions(c.byte())
		l.to.Subscription(k, string(rest), opts, uint32(c.uvarint()))
		return c.err()
	case part == partReceived && len(rest) == 2:
		var m *message.Message
		var err error
		if len(v) > 0 {
			if m, err = decodeMessage(bytes.Clone(v), "", l.ids); err != nil {
				return err
			}
		}
		l.to.Received(k, binary.BigEndian.Uint16(rest), m)
	case part == partReleased && len(rest) == 8:
		l.to.Released(k, binary.BigEndian.Uint64(rest))
	case part == partWill && len(rest) == 0:
		w, err := decodeWill(bytes.Clone(v), l.ids)
		if err != nil {
			return err
		}
		l.to.Will(k, w)
	default:
		return errValue
	}
	return nil
}

// queues finds the queues that are not empty, by seeking from one to the next.
func (l *load) queues() error {
	it, err := l.s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceQueue}, UpperBound: []byte{spaceQueue + 1}})
	if err != nil {
		return err
	}
	for it.First(); it.Valid(); {
		k := session.Key(numberOf(it.Key()))
		next := after(spaceQueue, uint64(k))
		if l.of(k) {
			first, last, count, err := ends(it, k)
			if err != nil {
				return errors.Join(err, it.Close())
			}
			l.to.Queue(k, first, last, count)
		}
		it.SeekGE(next)
	}
	return errors.Join(it.Error(), it.Close())
}

// ends finds the ends of the queue whose first entry the iterator is at. It counts by the sequence numbers that each run
// gave out, without those in between that are no more.
func ends(it *pebble.Iterator, k session.Key) (first, last uint64, count int, err error) {
	first = seqOf(it.Key())
	for from := first; ; {
		run := from >> session.RunShift
		end := after(spaceQueue, uint64(k))
		if next := (run + 1) << session.RunShift; next != 0 {
			end = appendQueue(nil, k, next)
		}
		if !it.SeekLT(end) {
			return 0, 0, 0, errors.Join(it.Error(), errValue)
		}
		last = seqOf(it.Key())
		count += int(last - from + 1)
		if !it.Next() || session.Key(numberOf(it.Key())) != k {
			return first, last, count, it.Error()
		}
		from = seqOf(it.Key())
	}
}

func (l *load) counts() error {
	l.segments = make(map[uint64]int64)
	return l.each(spaceCount, func(key, v []byte) error {
		n, read := binary.Varint(v)
		if read <= 0 {
			return errValue
		}
		l.segments[numberOf(key)] = n
		return nil
	})
}

func (l *load) retained() error {
	ids := make(identities)
	return l.each(spaceRetained, func(key, v []byte) error {
		// One copy of topic and message.
		b := make([]byte, 0, len(key)-1+len(v))
		b = append(append(b, key[1:]...), v...)
		n := len(key) - 1
		m, err := decodeMessage(b[n:], message.BorrowString(b[:n:n]), ids)
		if err != nil {
			return err
		}
		l.to.Retained(m)
		return nil
	})
}
