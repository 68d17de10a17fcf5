package pebble

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Stats are figures of the store, since it was opened unless said otherwise.
type Stats struct {
	DiskBytes uint64 // now
	// FreeBytes is what the disk has left, now; -1: not known.
	FreeBytes int64
	// Refusing is why batches that add something are refused now; "": they are taken.
	Refusing string

	Batches int64 // committed
	Commits int64 // of Pebble, each of one or more batches
	Refused int64 // batches
	// ReadErrors are pages of queues that could not be read.
	ReadErrors int64

	// Syncs of the log, and how long half and nearly all of them took at most; the times are powers of two of microseconds.
	Syncs            int64
	SyncP50, SyncP99 time.Duration
	// SyncLatency counts the syncs that took less than 1, 2, 4, … microseconds and not less than the step before.
	SyncLatency [syncSteps]int64
	SyncTotal   time.Duration
}

// counters are what the store counts itself.
type counters struct {
	batches, commits, refused, readErrors atomic.Int64
}

// Stats may be called at any time. It costs some locks of Pebble's: not for every message.
func (s *Store) Stats() Stats {
	st := Stats{
		FreeBytes: s.space.free.Load(),
		Batches:   s.counted.batches.Load(), Commits: s.counted.commits.Load(),
		Refused: s.counted.refused.Load(), ReadErrors: s.counted.readErrors.Load(),
		Syncs: s.syncs.n.Load(), SyncTotal: time.Duration(s.syncs.total.Load()),
	}
	if full := s.space.full.Load(); full != nil {
		st.Refusing = full.Reason
	}
	for i := range st.SyncLatency {
		st.SyncLatency[i] = s.syncs.steps[i].Load()
	}
	st.SyncP50, st.SyncP99 = quantile(&st.SyncLatency, 50), quantile(&st.SyncLatency, 99)
	s.mu.Lock()
	gone := s.closed || s.dead != nil
	s.mu.Unlock()
	if !gone {
		st.DiskBytes = s.db.Metrics().DiskSpaceUsage()
	}
	return st
}

// quantile is the upper bound of the step in which percent of the counted lie.
func quantile(steps *[syncSteps]int64, percent int64) time.Duration {
	var all, seen int64
	for _, n := range steps {
		all += n
	}
	if all == 0 {
		return 0
	}
	for i, n := range steps {
		if seen += n; seen*100 >= all*percent {
			return time.Microsecond << i
		}
	}
	return 0
}

// syncSteps is up to 2^30 µs, a quarter of an hour.
const syncSteps = 31

// syncStats count the syncs of the log.
type syncStats struct {
	n, total atomic.Int64
	steps    [syncSteps]atomic.Int64
}

func (c *syncStats) note(d time.Duration) {
	c.n.Add(1)
	c.total.Add(int64(d))
	c.steps[min(bits.Len64(uint64(d/time.Microsecond)), syncSteps-1)].Add(1)
}
