// Package durable gives an embedded broker a store on disk: what it acknowledges is kept. It brings Pebble into the program,
// about 13 MB of code, which package broker alone does not.
//
//	store, err := durable.Open("/var/lib/nightjar", durable.Options{})
//	if err != nil { … }
//	o := broker.DefaultOptions()
//	o.Store = store
//	b, err := broker.New(o)
//	…
//	err = b.Shutdown(ctx) // closes the store too
package durable

import (
	"log/slog"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/store/pebble"
)

// Store is a store on disk; see broker.Options.Store. Stats gives its figures, Checkpoint a copy while it is used.
type Store = pebble.Store

var _ broker.Store = (*Store)(nil)

// Stats are a store's figures.
type Stats = pebble.Stats

// Sync says when a commit is answered, and with it PUBACK and PUBREC.
type Sync = pebble.Sync

// The values of Sync.
const (
	// SyncAlways answers once it is on stable storage: nothing that was acknowledged is lost.
	SyncAlways = pebble.SyncAlways
	// SyncInterval answers at once and syncs every Options.Interval: a crash of the machine loses at most what was
	// acknowledged in that time; a crash of the process loses nothing.
	SyncInterval = pebble.SyncInterval
	// SyncNever leaves it to the operating system: a crash of the machine loses what that had not written, usually up to
	// half a minute; a crash of the process loses nothing.
	SyncNever = pebble.SyncNever
)

// ExitFatal is the exit code of a process that ends because its store could not go on; see Options.Fatal.
const ExitFatal = pebble.ExitFatal

// Options configure a store. The zero value is for a small machine, and loses nothing.
type Options struct {
	Sync     Sync
	Interval time.Duration // for SyncInterval; 0: one second

	// CacheBytes is for what is read of the store; 0: 8 MiB.
	CacheBytes int64
	// MemTableBytes is how much is collected in memory before it is written out in order; up to four of them are held. 0: 4 MiB.
	MemTableBytes int64
	// MaxOpenFiles bounds the store's open files; 0: 256.
	MaxOpenFiles int
	// MinFree is how many bytes must be free on the disk. With less, what would add to the store is refused, and taken again
	// when there is more. 0: 64 MiB, or a twentieth of the disk if that is less. Negative: no bound.
	MinFree int64

	// Logger gets what an operator has to know; nil: slog.Default.
	Logger *slog.Logger
	// Fatal is called, once, when a write or sync of the store's log has failed. That must not be tried again, and the store
	// takes no more; starting anew recovers what was acknowledged. It should end the process. nil: the reason is logged, and
	// the process exits with ExitFatal.
	Fatal func(err error)
}

// Open opens the store in dir, or makes one if dir is empty or not there. One process at a time may have it open. A directory
// that has something else in it, or a store that cannot be read, is refused with an error that says what to do.
func Open(dir string, o Options) (*Store, error) {
	return pebble.Open(pebble.Options{
		Dir: dir, Sync: o.Sync, Interval: o.Interval, CacheBytes: o.CacheBytes, MemTableBytes: o.MemTableBytes,
		MaxOpenFiles: o.MaxOpenFiles, MinFree: o.MinFree, Logger: o.Logger, Fatal: o.Fatal,
	})
}
