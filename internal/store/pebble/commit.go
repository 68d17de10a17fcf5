package pebble

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// How commits are grouped.
const (
	// lazyTime is how long batches that nobody waits for may wait for company.
	lazyTime = 100 * time.Millisecond
	// lazyBytes is from when on they do not.
	lazyBytes = 256 << 10
	// depth is how many groups may be written whose syncs have not ended: see docs/adr/0008-pebble.md.
	depth = 4
)

// group is what is written by one commit.
type group struct {
	batches  []*batch
	waits    bool // somebody waits for one of them
	pb       *pebble.Batch
	syncing  bool // pb.SyncWait is to be called
	answered atomic.Bool
}

// answer calls everybody back, once. reuse: nobody else has the batches any more; else the committer may be writing to them,
// and all get err. false: that has been done, or is being done, by somebody else.
func (g *group) answer(err error, reuse bool) bool {
	if g.answered.Swap(true) {
		return false
	}
	for _, b := range g.batches {
		done, failed := b.done, err
		if reuse {
			failed = b.failure(err)
			b.free()
		}
		if done != nil {
			done(failed)
		}
	}
	return true
}

// failure is the batch's own error, or that of its group.
func (b *batch) failure(err error) error {
	if b.err != nil {
		return b.err
	}
	return err
}

// commitLoop is the committer.
func (s *Store) commitLoop() {
	defer close(s.answers)
	lazy := time.NewTimer(time.Hour)
	defer lazy.Stop()
	armed, due := false, false
	for {
		g, rest := s.take(due)
		due = false
		switch {
		case g != nil:
			if !s.commit(g) {
				return
			}
			continue
		case rest == nothingMore:
			return
		case rest == notDue && !armed:
			lazy.Reset(lazyTime)
			armed = true
		}
		select {
		case <-s.wake:
		case <-lazy.C:
			armed, due = false, true
		case <-s.deadCh:
			return
		}
	}
}

// rest is why take gave nothing.
type rest int

const (
	nothing rest = iota
	notDue       // batches that nobody waits for
	nothingMore
)

// take gives what is to be committed next, if anything is. due: the lazy ones are too.
func (s *Store) take(due bool) (*group, rest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.dead != nil:
		return nil, nothingMore
	case len(s.pending) == 0:
		if s.closed {
			return nil, nothingMore
		}
		return nil, nothing
	case s.waiting == 0 && !due && !s.closed && s.bytes < lazyBytes:
		return nil, notDue
	}
	g := new(group)
	n, size := 0, 0
	for ; n < len(s.pending) && (n == 0 || size < maxGroup); n++ {
		b := s.pending[n]
		size += b.size()
		if b.done != nil {
			g.waits = true
			s.waiting--
		}
	}
	s.bytes -= size
	if n == len(s.pending) {
		g.batches, s.pending, s.spare = s.pending, s.spare, nil
	} else {
		g.batches, s.pending = s.pending[:n:n], s.pending[n:]
	}
	s.flying = append(s.flying, g)
	return g, nothing
}

// landed answers a group that is on stable storage.
func (s *Store) landed(g *group) {
	ours := g.answer(nil, true)
	if ours {
		clear(g.batches)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flying) > 0 && s.flying[0] == g { // they end in order
		s.flying[0] = nil
		s.flying = s.flying[1:]
	}
	if ours && cap(s.spare) < cap(g.batches) && cap(g.batches) <= keepOps {
		s.spare = g.batches[:0]
	}
}

// commit writes a group. false: the store died.
func (s *Store) commit(g *group) (ok bool) {
	defer func() {
		// Pebble panics when its log cannot be written.
		if v := recover(); v != nil {
			s.die(fmt.Errorf("writing the log: %v", v))
			ok = false
		}
	}()
	g.pb = s.db.NewBatch()
	ended := s.a.apply(g)
	sync := g.waits && s.o.Sync == SyncAlways
	if sync && g.pb.Empty() && s.a.unsynced {
		// What makes this group's changes needless may not be on stable storage itself.
		if err := g.pb.LogData(nil, nil); err != nil {
			panic(err)
		}
	}
	switch {
	case g.pb.Empty():
	case sync:
		s.a.unsynced = false
		g.syncing = true
		if err := s.db.ApplyNoSyncWait(g.pb, pebble.Sync); err != nil {
			panic(err)
		}
	default:
		s.a.unsynced = true
		if err := s.db.Apply(g.pb, pebble.NoSync); err != nil {
			panic(err)
		}
		s.dirty.Store(true)
	}
	s.counted.commits.Add(1)
	s.counted.batches.Add(int64(len(g.batches)))
	s.sweeps.add(s, ended...)
	select {
	case s.answers <- g:
		return true
	case <-s.deadCh:
		return false
	}
}

// answerLoop waits for the syncs, in order, and calls back.
func (s *Store) answerLoop() {
	defer close(s.ended)
	for g := range s.answers {
		var err error
		if g.syncing {
			err = g.pb.SyncWait()
		}
		if err != nil {
			s.die(fmt.Errorf("syncing the log: %w", err))
			return
		}
		_ = g.pb.Close() // gives its room back; it has no error to tell
		s.landed(g)
	}
}

// syncLoop syncs every now and then: SyncInterval.
func (s *Store) syncLoop() {
	defer s.work.Done()
	defer func() {
		if v := recover(); v != nil {
			s.die(fmt.Errorf("writing the log: %v", v))
		}
	}()
	tick := time.NewTicker(s.o.Interval)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.deadCh:
			return
		case <-tick.C:
		}
		if s.dirty.Swap(false) {
			if err := s.db.LogData(nil, pebble.Sync); err != nil {
				s.die(fmt.Errorf("syncing the log: %w", err))
				return
			}
		}
	}
}
