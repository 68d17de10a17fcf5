// Package pebble keeps what must survive in an embedded Pebble, a log-structured store on the local disk.
//
// All batches go through one committer: it turns what loops have handed over since into one commit, so that one sync serves
// all of them, and calls back when that sync has ended. Queues are read back in pages by a few goroutines. A message that
// several queues of a batch share is stored once, in a segment that is dropped as a whole when no queue refers to it any
// more. What a deleted session leaves is swept in the background.
package pebble

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Sync says when a commit is answered.
type Sync int

const (
	// SyncAlways answers once the batch is on stable storage: nothing that was acknowledged is lost.
	SyncAlways Sync = iota
	// SyncInterval answers at once and syncs every Options.Interval: a crash of the machine loses at most what was
	// acknowledged in that time; a crash of the process loses nothing.
	SyncInterval
	// SyncNever leaves it to the operating system: a crash of the machine loses what that had not written, usually up to
	// half a minute; a crash of the process loses nothing.
	SyncNever
)

func (s Sync) String() string {
	switch s {
	case SyncAlways:
		return "always"
	case SyncInterval:
		return "interval"
	case SyncNever:
		return "never"
	}
	return fmt.Sprintf("Sync(%d)", int(s))
}

// Options configure a Store. All but Dir may be left zero.
type Options struct {
	// Dir is where the store lies. It is created with mode 0700 if it is not there; what is there must be a store.
	Dir string
	// FS is the file system; nil: the operating system's.
	FS vfs.FS

	Sync     Sync
	Interval time.Duration // for SyncInterval; 0: one second

	// CacheBytes is for blocks of the store that were read; 0: 8 MiB.
	CacheBytes int64
	// MemTableBytes is how much is collected in memory before it is written out in order; up to four of them are held. 0:
	// 4 MiB. They grow to it: an idle store needs little.
	MemTableBytes int64
	// MaxOpenFiles bounds the store's files that are open; 0: 256.
	MaxOpenFiles int
	// MinFree is how many bytes must be free on the disk. With less, batches that add something are refused with
	// *session.ErrRefused until there is more. 0: 64 MiB, or a twentieth of the disk if that is less. Negative: no bound.
	MinFree int64

	// Logger gets what an operator has to know; nil: slog.Default.
	Logger *slog.Logger
	// Fatal is called, once, when the store cannot go on: a write or sync of its log has failed and must not be tried again,
	// since the kernel may have dropped what it could not write. Starting again recovers what was acknowledged. It should end
	// the process; if it returns, all further commits fail with err. nil: the reason is logged and the process exits with
	// ExitFatal.
	Fatal func(err error)

	// retryAfter is when a compaction reads again what it could not read; tests have less patience.
	retryAfter []time.Duration
	// format and upgrades are what this program knows; tests look ahead.
	format   int
	upgrades map[int]func(db *pebble.DB) error
}

// ExitFatal is the exit code of a process that ends because its store could not go on. It is not 3, a configuration that cannot
// be used: after that a service manager does not start the process again, after this it should.
const ExitFatal = 4

// flushDeletions is how long a range deletion may wait until its room is given back.
const flushDeletions = 10 * time.Second

func (o *Options) complete() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 8 << 20
	}
	if o.MemTableBytes <= 0 {
		o.MemTableBytes = 4 << 20
	}
	if o.MaxOpenFiles <= 0 {
		o.MaxOpenFiles = 256
	}
	if o.format == 0 {
		o.format, o.upgrades = format, upgrades
	}
	if o.retryAfter == nil {
		o.retryAfter = []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Fatal == nil {
		logger, dir := o.Logger, o.Dir
		o.Fatal = func(err error) {
			// At broker.LevelFatal the line is written when the call returns; others are written by the way.
			const fatal = slog.Level(12)
			logger.Log(context.Background(), fatal, "the store cannot go on; the process ends, and recovers what it acknowledged when it is started again",
				"directory", dir, "error", err)
			os.Exit(ExitFatal)
		}
	}
}
