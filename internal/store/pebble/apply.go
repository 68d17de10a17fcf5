package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// What the applier remembers, and how long.
const (
	// memory is how long one batch may come after another that was to come after it.
	memory = 30 * time.Second
	// knownEntries is how many queue entries' places are known without a look, for each of two halves. A group may have more:
	// halves change between groups only.
	knownEntries = 32 << 10
	// knownTopics likewise, for sequence numbers of retained topics; but never less than leastMemory.
	knownTopics = 128 << 10
	leastMemory = 3 * time.Second
	noBound     = int(^uint(0) >> 1)
)

// released is the place of an entry whose message is gone: only its mark is there. 0 is an entry with its message inside,
// everything else the segment of the message.
const released = ^uint64(0)

// applier turns batches into changes of Pebble. It belongs to the committer.
type applier struct {
	s    *Store
	run  uint64
	pb   *pebble.Batch
	seed maphash.Seed
	key  []byte
	// known are places of entries that were enqueued or read lately.
	known recent[place, uint64]
	// early are entries that were dequeued before they were enqueued.
	early recent[place, struct{}]
	// topics are the highest sequence numbers of retained topics, by their hashes.
	topics recent[uint64, uint64]
	// ended are keys that were deleted and swept; sweeping those that are not swept yet.
	ended    recent[session.Key, struct{}]
	sweeping map[session.Key]struct{}
	segments segments
	unsynced bool // the last commit was not synced
}

// apply writes a group's changes into its Pebble batch. ended are the keys that it deletes.
func (a *applier) apply(g *group) (ended []session.Key) {
	a.pb = g.pb
	a.turn()
	for _, b := range g.batches {
		switch {
		case b.lost:
			a.forget(b)
		case b.internal != nil:
			b.internal(a)
		default:
			if b.err = a.look(b); b.err == nil {
				ended = a.batch(b, ended)
			} else {
				a.forget(b)
			}
		}
	}
	a.segments.write(a.pb)
	return ended
}

// turn forgets what is old, and takes what readers have found.
func (a *applier) turn() {
	now := time.Now()
	a.early.turn(now, memory, memory, noBound)
	a.ended.turn(now, memory, memory, noBound)
	a.topics.turn(now, memory, leastMemory, knownTopics)
	a.known.turn(now, time.Hour, 0, knownEntries)
	for _, n := range a.s.reads.noted() {
		if _, ok := a.known.get(n.place); !ok {
			a.known.put(n.place, n.segment)
		}
	}
}

// forget: a batch was refused, so nobody needs to wait for what it was to enqueue.
func (a *applier) forget(b *batch) {
	if a.early.len() == 0 {
		return
	}
	for i := range b.ops {
		if o := &b.ops[i]; o.kind == opEnqueue {
			a.early.delete(place{o.key, o.seq})
		}
	}
}

// look reads the places of entries that the batch removes and that are not known. It comes before the first change, so
// that a batch fails as a whole when one of them cannot be read.
func (a *applier) look(b *batch) error {
	for i := range b.ops {
		o := &b.ops[i]
		if o.kind != opDequeue && o.kind != opRelease {
			continue
		}
		p := place{o.key, o.seq}
		if _, ok := a.known.get(p); ok || a.isEnded(o.key) {
			continue
		}
		at, ok, err := a.find(p)
		if err != nil {
			return fmt.Errorf("store: reading entry %d of queue %d: %w", o.seq, o.key, err)
		}
		if ok {
			a.known.put(p, at)
		}
	}
	return nil
}

// find looks an entry up.
func (a *applier) find(p place) (at uint64, ok bool, err error) {
	a.key = appendQueue(a.key[:0], p.key, p.seq)
	v, closer, err := a.s.db.Get(a.key)
	if err == nil {
		at, err = segmentOf(v)
		return at, err == nil, errors.Join(err, closer.Close())
	}
	if !errors.Is(err, pebble.ErrNotFound) {
		return 0, false, err
	}
	a.key = appendReleased(a.key[:0], p.key, p.seq)
	_, closer, err = a.s.db.Get(a.key)
	if err == nil {
		return released, true, closer.Close()
	}
	if errors.Is(err, pebble.ErrNotFound) {
		err = nil
	}
	return 0, false, err
}

func (a *applier) isEnded(k session.Key) bool {
	if len(a.sweeping) == 0 && a.ended.len() == 0 {
		return false
	}
	if _, ok := a.sweeping[k]; ok {
		return true
	}
	_, ok := a.ended.get(k)
	return ok
}

// batch makes one batch's changes.
func (a *applier) batch(b *batch, ended []session.Key) []session.Key {
	for i := range b.ops {
		o := &b.ops[i]
		switch o.kind {
		case opRetain, opUnretain:
			a.retain(b, o)
			continue
		}
		if a.isEnded(o.key) {
			continue // late, for a session that is no more
		}
		switch o.kind {
		case opSet, opBegin:
			a.set(b.bytes(o.name), b.bytes(o.value))
		case opDelete:
			a.delete(b.bytes(o.name))
		case opEnd:
			a.delete(b.bytes(o.name))
			a.key = appendKey(a.key[:0], spaceDeleted, uint64(o.key))
			a.set(a.key, nil)
			if a.sweeping == nil {
				a.sweeping = make(map[session.Key]struct{})
			}
			a.sweeping[o.key] = struct{}{}
			ended = append(ended, o.key)
		case opEnqueue:
			a.enqueue(b, o)
		case opRelease:
			a.release(place{o.key, o.seq})
		case opDequeue:
			a.dequeue(place{o.key, o.seq})
		}
	}
	return ended
}

// Pebble's batches fail only where the caller's mistake is: a batch that was committed before.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (a *applier) set(key, value []byte) { must(a.pb.Set(key, value, nil)) }

func (a *applier) delete(key []byte) { must(a.pb.Delete(key, nil)) }

func (a *applier) enqueue(b *batch, o *op) {
	p := place{o.key, o.seq}
	if a.early.len() > 0 {
		if _, ok := a.early.get(p); ok {
			a.early.delete(p)
			return
		}
	}
	m, head := &b.msgs[o.msg], b.bytes(o.value)
	message := b.bytes(m.at)
	a.key = appendQueue(a.key[:0], o.key, o.seq)
	if m.times == 1 {
		d := a.pb.SetDeferred(len(a.key), len(head)+len(message))
		copy(d.Key, a.key)
		copy(d.Value[copy(d.Value, head):], message)
		must(d.Finish())
		a.known.put(p, 0)
		return
	}
	if !m.placed {
		m.segment, m.index = a.segments.place(a.pb, message)
		m.placed = true
	}
	var ref [2 * binary.MaxVarintLen64]byte
	n := binary.PutUvarint(ref[:], m.segment)
	n += binary.PutUvarint(ref[n:], uint64(m.index))
	d := a.pb.SetDeferred(len(a.key), len(head)+n)
	copy(d.Key, a.key)
	copy(d.Value[copy(d.Value, head):], ref[:n])
	d.Value[0] |= entryRef
	must(d.Finish())
	a.segments.add(m.segment, 1)
	a.known.put(p, m.segment)
}

func (a *applier) release(p place) {
	at, ok := a.known.get(p)
	if !ok || at == released {
		return
	}
	a.removeEntry(p, at)
	a.key = appendReleased(a.key[:0], p.key, p.seq)
	a.set(a.key, nil)
	a.known.put(p, released)
}

// removeEntry deletes an entry that is there. Each was set once, so that a single deletion undoes it.
func (a *applier) removeEntry(p place, at uint64) {
	a.key = appendQueue(a.key[:0], p.key, p.seq)
	must(a.pb.SingleDelete(a.key, nil))
	if at != 0 {
		a.segments.add(at, -1)
	}
}

func (a *applier) dequeue(p place) {
	at, ok := a.known.get(p)
	switch {
	case !ok:
		// An earlier run's cannot come any more. A session of this run counts from 0, and one of an earlier run from this run on.
		if max(p.seq, uint64(p.key))>>session.RunShift >= a.run {
			a.early.put(p, struct{}{})
		}
		return
	case at == released:
		a.key = appendReleased(a.key[:0], p.key, p.seq)
		must(a.pb.SingleDelete(a.key, nil))
	default:
		a.removeEntry(p, at)
	}
	a.known.delete(p)
}

// retain keeps, of what is retained or removed for a topic, that of the highest sequence number. A removal takes away what
// has its own number too.
func (a *applier) retain(b *batch, o *op) {
	name := b.bytes(o.name)
	h := maphash.Bytes(a.seed, name)
	was, ok := a.topics.get(h)
	if ok && (o.seq < was || o.seq == was && o.kind == opRetain) {
		return
	}
	if o.kind == opRetain {
		a.set(name, b.bytes(o.value))
	} else {
		a.delete(name)
	}
	a.topics.put(h, o.seq)
}
