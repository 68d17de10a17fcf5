package pebble

import (
	"errors"
	"fmt"
	"sync/atomic"
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
		return
	}
	sp.free.Store(int64(u.AvailBytes))
	least := s.o.MinFree
	if least == 0 {
		least = min(defaultFree, int64(u.TotalBytes/freePart))
	}
	was := sp.full.Load()
	switch free := int64(u.AvailBytes); {
	case least < 0:
	case was == nil && free < least:
		sp.full.Store(&session.ErrRefused{Reason: fmt.Sprintf("the disk is full: %d MiB are free, %d MiB are needed", free>>20, least>>20)})
		s.o.Logger.Error("the disk is full: nothing more is stored until there is room; messages that need the store are refused",
			"directory", s.o.Dir, "free_bytes", free, "needed_bytes", least)
	case was != nil && free >= least+least/4: // not to and fro at the edge
		sp.full.Store(nil)
		s.o.Logger.Info("the disk has room again; the store takes messages", "directory", s.o.Dir, "free_bytes", free)
	}
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
