package pebble

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// Store is a durable session.Store. Its methods may be called from any goroutine.
type Store struct {
	o    Options
	lock *pebble.Lock
	db   *pebble.DB
	wake chan struct{} // something is to be committed
	// answers are the groups that are written, for the goroutine that waits for their syncs.
	answers chan *group
	ended   chan struct{} // closed when committer and answerer have ended
	stop    chan struct{} // closed by Close, for the goroutines in the background
	work    sync.WaitGroup
	deadCh  chan struct{} // closed when the store cannot go on

	syncs   syncStats
	counted counters
	space   space
	reads   reads
	sweeps  sweeper

	gaveUp atomic.Bool // Open has failed: what Pebble still does in the background must not reach the disk
	dirty  atomic.Bool // there is something that no sync has covered; SyncInterval

	mu      sync.Mutex
	loaded  bool
	closed  bool
	dead    error
	opening func(error) // takes Pebble's fatal errors while the store is being opened
	pending []*batch
	spare   []*batch
	waiting int // of the pending, those that somebody waits for
	bytes   int // of the pending
	flying  []*group
	a       applier // the committer's
}

var _ session.Store = (*Store)(nil)

// Errors that commits are answered with when it is the caller's fault.
var (
	errClosed    = errors.New("store: the batch was handed over after Close")
	errNotLoaded = errors.New("store: the batch was handed over before Load")
)

// Bounds of what is handed over and not yet committed.
const (
	maxPending = 128 << 20 // bytes; more is refused
	maxGroup   = 1 << 20   // bytes of one commit, unless a single batch has more
)

// Durable is true.
func (s *Store) Durable() bool { return true }

// NewBatch begins a batch.
func (s *Store) NewBatch() session.Batch {
	b := batches.Get().(*batch)
	b.s = s
	return b
}

// handOver takes a batch from its Commit.
func (s *Store) handOver(b *batch) {
	refused := s.space.refuses(s, b)
	s.mu.Lock()
	err := s.dead
	switch {
	case err != nil:
	case s.closed:
		err = errClosed
	case !s.loaded:
		err = errNotLoaded
	case refused != nil:
		err = refused
	case b.adds && s.bytes > maxPending:
		err = &session.ErrRefused{Reason: "the disk does not keep up: too much waits to be written"}
	}
	done := b.done
	if err != nil {
		b.done, b.lost = nil, true
	}
	if err == nil || errors.As(err, new(*session.ErrRefused)) {
		s.append(b)
	}
	s.mu.Unlock()
	if err != nil && done != nil {
		s.counted.refused.Add(1)
		done(err)
	}
}

// append adds to what is pending. The caller has the lock.
func (s *Store) append(b *batch) {
	first := len(s.pending) == 0
	s.pending = append(s.pending, b)
	s.bytes += b.size()
	if b.done != nil {
		s.waiting++
	}
	if first || b.done != nil {
		s.nudge()
	}
}

func (s *Store) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// die is called when the store cannot go on.
func (s *Store) die(err error) {
	s.mu.Lock()
	if s.opening != nil {
		opening := s.opening
		s.mu.Unlock()
		opening(err)
		return
	}
	if s.dead != nil {
		s.mu.Unlock()
		return
	}
	s.dead = fmt.Errorf("store: %s: %w", s.o.Dir, err)
	s.mu.Unlock()
	s.o.Fatal(s.dead)
	// Whoever called may hold locks of Pebble's, and is not to go on.
	go s.bury()
}

// bury answers all that waits with why the store died.
func (s *Store) bury() {
	s.mu.Lock()
	pending, flying, err := s.pending, s.flying, s.dead
	s.pending, s.flying, s.waiting = nil, nil, 0
	close(s.deadCh)
	s.mu.Unlock()
	for _, g := range flying {
		g.answer(err, false) // the committer may be at them
	}
	for _, b := range pending {
		if b.done != nil {
			b.done(err)
		}
	}
}

// Close waits for the batches that were handed over, and ends the store. With SyncInterval and SyncNever too, all is on
// stable storage when it returns nil.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errors.New("store: closed twice")
	}
	s.closed = true
	loaded := s.loaded
	s.mu.Unlock()
	s.nudge()
	if loaded {
		select {
		case <-s.ended:
		case <-s.deadCh:
		}
	}
	s.mu.Lock()
	dead := s.dead
	s.mu.Unlock()
	if dead != nil {
		return dead // Pebble cannot be closed any more
	}
	close(s.stop)
	s.work.Wait()
	s.reads.wait()
	err := s.db.Close()
	if e := s.lock.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("store: %s: %w", s.o.Dir, err)
	}
	return nil
}

// logger is what Pebble tells.
type logger struct{ s *Store }

func (l logger) Infof(format string, args ...any) {
	l.s.o.Logger.Debug("pebble: " + fmt.Sprintf(format, args...))
}

func (l logger) Errorf(format string, args ...any) {
	l.s.o.Logger.Warn("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf never returns: Pebble's state cannot be relied on any more.
func (l logger) Fatalf(format string, args ...any) {
	l.s.die(fmt.Errorf(format, args...))
	select {}
}
