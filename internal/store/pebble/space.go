package pebble

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// space watches how much of the disk is free. Pebble cannot go on when its log cannot be written, so what adds to the
// store stops before.
type space struct {
	full atomic.Pointer[session.ErrRefused] // nil: there is room
	free atomic.Int64                       // bytes; -1: not known
	look chan struct{}                      // asks for a look at once
	// stuck is how many writes wait for room: until they have been made, the store is full whatever the file system says.
	stuck   atomic.Int64
	atClose int // how often a write has waited since Close; guarded by Store.mu
}

const (
	lookEvery   = time.Second
	defaultFree = 64 << 20
	// freePart bounds the default on small disks.
	freePart = 20
)

// refuses tells why a batch cannot be taken; nil: it can.
func (sp *space) refuses(s *Store, b *batch) error {
	full := sp.full.Load()
	if full == nil {
		return nil
	}
	if b.adds {
		return full
	}
	for i := range b.ops {
		// What a session's record says may change, but there is no room for new ones.
		if o := &b.ops[i]; o.kind == opBegin {
			_, closer, err := s.db.Get(b.bytes(o.name))
			if errors.Is(err, pebble.ErrNotFound) {
				return full
			}
			if err == nil {
				_ = closer.Close()
			}
		}
	}
	return nil
}

// check looks how much is free.
func (sp *space) check(s *Store) {
	u, err := s.o.FS.GetDiskUsage(s.o.Dir)
	if err != nil {
		sp.free.Store(-1) // not told on this file system; writes will tell
		if sp.stuck.Load() == 0 && sp.full.Swap(nil) != nil {
			s.o.Logger.Info("the disk could be written again; the store takes messages", "directory", s.o.Dir)
		}
		return
	}
	sp.free.Store(int64(u.AvailBytes))
	least := s.o.MinFree
	if least == 0 {
		least = min(defaultFree, int64(u.TotalBytes/freePart))
	}
	was := sp.full.Load()
	switch free := int64(u.AvailBytes); {
	case least < 0 && was == nil:
	case was == nil && free < least:
		sp.full.Store(&session.ErrRefused{Reason: fmt.Sprintf("the disk is full: %d MiB are free, %d MiB are needed", free>>20, least>>20)})
		s.o.Logger.Error("the disk is full: nothing more is stored until there is room; messages that need the store are refused",
			"directory", s.o.Dir, "free_bytes", free, "needed_bytes", least)
	case was != nil && sp.stuck.Load() == 0 && free >= max(least+least/4, 0): // not to and fro at the edge
		sp.full.Store(nil)
		s.o.Logger.Info("the disk has room again; the store takes messages", "directory", s.o.Dir, "free_bytes", free)
	}
}

// How a write waits for room.
const (
	roomEvery = 100 * time.Millisecond
	// roomAtClose is how often it is tried once the store is to be closed.
	roomAtClose = 30
)

// waitForRoom waits a little if err says that the disk is full; false: it says something else, or nobody waits any more.
func (s *Store) waitForRoom(err error) bool {
	if !errors.Is(err, syscall.ENOSPC) {
		return false
	}
	s.mu.Lock()
	loaded := s.loaded
	s.mu.Unlock()
	if !loaded {
		return false // nobody is served yet, so a broker that waited would only seem to hang
	}
	sp := &s.space
	sp.stuck.Add(1)
	defer sp.stuck.Add(-1)
	full := &session.ErrRefused{Reason: "the disk is full: nothing can be written"}
	if sp.full.CompareAndSwap(nil, full) {
		s.o.Logger.Error("the disk is full: what was handed over waits, new messages that need the store are refused until there is room",
			"directory", s.o.Dir, "error", err.Error())
	}
	select {
	case <-s.deadCh:
		return false
	case <-time.After(roomEvery):
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		sp.atClose++
	}
	return sp.atClose < roomAtClose
}

// soon asks for a look at once: something could not be written.
func (sp *space) soon() {
	select {
	case sp.look <- struct{}{}:
	default:
	}
}

func (s *Store) spaceLoop() {
	defer s.work.Done()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.deadCh:
			return
		case <-tick.C:
		case <-s.space.look:
		}
		s.space.check(s)
	}
}
