package pebble

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// sweeper removes what deleted sessions and groups have left: queues of any length, in slices, each with the counts of the
// segments that it refers to. The mark that the deletion left is removed last, so that a restart goes on.
type sweeper struct {
	mu   sync.Mutex
	keys []session.Key
	wake chan struct{}
}

// sliceEntries is how many entries are removed by one batch; fewer than rangeFrom are deleted one by one, because a range
// deletion costs every later read a little.
const (
	sliceEntries = 2000
	rangeFrom    = 64
)

func (w *sweeper) add(s *Store, keys ...session.Key) {
	if len(keys) == 0 {
		return
	}
	w.mu.Lock()
	w.keys = append(w.keys, keys...)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *sweeper) next() (k session.Key, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.keys) == 0 {
		w.keys = nil
		return 0, false
	}
	k = w.keys[0]
	w.keys = w.keys[1:]
	return k, true
}

func (s *Store) sweepLoop() {
	defer s.work.Done()
	for {
		k, ok := s.sweeps.next()
		if !ok {
			select {
			case <-s.sweeps.wake:
				continue
			case <-s.stop:
				return
			case <-s.deadCh:
				return
			}
		}
		for more := true; more; {
			var err error
			if more, err = s.sweep(k); err != nil {
				if !errors.Is(err, errStopped) {
					s.o.Logger.Error("what a deleted session has left could not be removed; the next start tries again", "key", uint64(k), "error", err.Error())
				}
				break
			}
		}
		select {
		case <-s.stop:
			return
		default:
		}
	}
}

var errStopped = errors.New("store: stopped")

// sweep removes one slice of what a key has left. more: there may be another.
func (s *Store) sweep(k session.Key) (more bool, err error) {
	sl, err := s.slice(k)
	if err != nil {
		return false, err
	}
	return !sl.last, s.onCommitter(func(a *applier) { sl.remove(a, k) })
}

// onCommitter has the committer do something in the place of a batch, and waits until that is on stable storage.
func (s *Store) onCommitter(do func(a *applier)) error {
	b := batches.Get().(*batch)
	done := make(chan error, 1)
	b.s, b.internal, b.done = s, do, func(err error) { done <- err }
	s.mu.Lock()
	if s.closed || s.dead != nil {
		s.mu.Unlock()
		return errStopped
	}
	s.append(b)
	s.mu.Unlock()
	select {
	case err := <-done:
		return err
	case <-s.deadCh:
		return errStopped
	}
}

// slice is a part of what a deleted key has left.
type slice struct {
	entries  [][]byte         // keys in the queue
	parts    [][]byte         // other keys
	segments map[uint64]int64 // how many of the entries refer to each
	last     bool
}

func (s *Store) slice(k session.Key) (sl *slice, err error) {
	sl = &slice{segments: make(map[uint64]int64), last: true}
	each := func(space byte, fn func(it *pebble.Iterator) error) error {
		it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: appendKey(nil, space, uint64(k)), UpperBound: after(space, uint64(k))})
		if err != nil {
			return err
		}
		n := 0
		for it.First(); it.Valid(); it.Next() {
			if n++; n > sliceEntries {
				sl.last = false
				break
			}
			if err := fn(it); err != nil {
				return errors.Join(err, it.Close())
			}
		}
		return errors.Join(it.Error(), it.Close())
	}
	err = each(spaceQueue, func(it *pebble.Iterator) error {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		segment, err := segmentOf(v)
		if err != nil {
			return err
		}
		if segment != 0 {
			sl.segments[segment]++
		}
		sl.entries = append(sl.entries, append([]byte(nil), it.Key()...))
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = each(spacePart, func(it *pebble.Iterator) error {
		sl.parts = append(sl.parts, append([]byte(nil), it.Key()...))
		return nil
	})
	return sl, err
}

// remove is called on the committer.
func (sl *slice) remove(a *applier, k session.Key) {
	if n := len(sl.entries); n < rangeFrom {
		for _, key := range sl.entries {
			must(a.pb.SingleDelete(key, nil))
		}
	} else {
		must(a.pb.DeleteRange(sl.entries[0], append(sl.entries[n-1], 0), nil))
	}
	for _, key := range sl.parts {
		a.delete(key)
	}
	for segment, n := range sl.segments {
		a.segments.add(segment, -n)
	}
	if sl.last {
		a.key = appendKey(a.key[:0], spaceDeleted, uint64(k))
		a.delete(a.key)
		delete(a.sweeping, k)
		a.ended.put(k, struct{}{})
	}
}
