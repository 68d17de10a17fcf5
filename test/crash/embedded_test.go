package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/store/pebble"
	"github.com/nightjar-mqtt/nightjar/test/crash/history"
)

// embedded is the whole broker in this process, with its store on a file system in memory that knows what was synced. Killing
// it cuts the power: the next life finds what was synced, and as much of the rest as the dice say.
type embedded struct {
	rec  *history.Recorder
	rng  *rand.Rand
	sync pebble.Sync
	// keep is how much of what was not synced survives, percent; below 0: random for each cut, and half of the time nothing.
	keep int
	// roomy leaves the store its usual sizes; tiny makes it write tables and merge them all the time.
	roomy, tiny bool
	// inject is asked before each operation on the file system; nil: nothing fails.
	inject func(op errorfs.Op) error
	// cutIn counts down with operations that change something; the power is cut when it comes to 0.
	cutIn atomic.Int64

	mu     sync.Mutex
	fs     *vfs.MemFS
	next   *vfs.MemFS // what is left after the cut
	fatal  error      // why the store gave up
	fallen chan struct{}

	broker *broker.Broker
	served chan error
	logs   logBuffer
}

func newEmbedded(seed uint64, s pebble.Sync) *embedded {
	return &embedded{rng: rand.New(rand.NewPCG(seed, 2)), sync: s, keep: -1, fs: vfs.NewCrashableMem()}
}

// logBuffer keeps the log of one life.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.buf.String()
	l.buf.Reset()
	return s
}

func (e *embedded) log() string {
	e.logs.mu.Lock()
	defer e.logs.mu.Unlock()
	s := e.logs.buf.String()
	return s[max(0, len(s)-6000):]
}

// spacious is a file system that has room, and says so: MemFS cannot.
type spacious struct{ vfs.FS }

func (spacious) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{TotalBytes: 1 << 40, AvailBytes: 1 << 39, UsedBytes: 1 << 39}, nil
}

func (e *embedded) record(r *history.Recorder) { e.rec = r }

// changes tells the operations that leave something on the disk.
func changes(k errorfs.OpKind) bool {
	switch k {
	case errorfs.OpCreate, errorfs.OpLink, errorfs.OpRemove, errorfs.OpRename, errorfs.OpReuseForWrite, errorfs.OpMkdirAll,
		errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		return true
	}
	return false
}

func (e *embedded) operation(op errorfs.Op) error {
	if changes(op.Kind) && e.cutIn.Add(-1) == 0 {
		e.cut()
	}
	if op.Kind == errorfs.OpCreate && strings.Contains(op.Path, "marker.") {
		// File systems keep the order in which the entries of a directory were made, and Pebble relies on it: its marker
		// names a manifest made just before. This one forgets entries at random.
		e.mu.Lock()
		fs := e.fs
		e.mu.Unlock()
		if d, err := fs.OpenDir(fs.PathDir(op.Path)); err == nil {
			_ = errors.Join(d.Sync(), d.Close()) // in memory they do not fail
		}
	}
	if e.inject != nil {
		return e.inject(op)
	}
	return nil
}

// cut cuts the power, once in a life: what clients have not seen yet is not recorded any more, and then the disk stands as
// it is. Whatever they have seen was therefore on it.
func (e *embedded) cut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.next != nil {
		return
	}
	e.rec.Cut()
	keep := e.keep
	if keep < 0 {
		keep = max(0, e.rng.IntN(201)-100)
	}
	e.next = e.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: e.rng})
}

func (e *embedded) start(int) (string, error) {
	e.logs.take()
	e.mu.Lock()
	if e.next != nil {
		e.fs = e.next
	}
	e.next, e.fatal, e.fallen = nil, nil, make(chan struct{})
	e.mu.Unlock()
	log := slog.New(slog.NewTextHandler(&e.logs, &slog.HandlerOptions{Level: slog.LevelWarn}))
	so := pebble.Options{Dir: "data", FS: spacious{errorfs.Wrap(e.fs, errorfs.InjectorFunc(e.operation))}, Sync: e.sync, Logger: log, Fatal: e.fall}
	if !e.roomy {
		// Small, so that what a large store does now and then happens here all the time.
		so.MemTableBytes, so.CacheBytes = 128<<10, 64<<10
	}
	if e.tiny {
		so.MemTableBytes, so.CacheBytes = 16<<10, 1<<10
	}
	store, err := pebble.Open(so)
	if err != nil {
		return "", err
	}
	o := broker.DefaultOptions()
	o.Loops, o.Logger, o.Store, o.MaxQueued = 2, log, store, 0
	if e.broker, err = broker.New(o); err != nil {
		return "", errors.Join(err, store.Close())
	}
	l, err := broker.Listen("127.0.0.1:0")
	if err != nil {
		return "", errors.Join(err, e.shutdown())
	}
	e.served = make(chan error, 1)
	go func() { e.served <- e.broker.Serve(l) }()
	return l.Addr().String(), nil
}

// fall is the store's Fatal: the process would end here.
func (e *embedded) fall(err error) {
	e.cut()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fatal == nil {
		e.fatal = err
		close(e.fallen)
	}
}

func (e *embedded) kill() error {
	e.cut()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // at once; what it still does, nobody will ever see
	_ = e.end(ctx)
	return e.panics()
}

func (e *embedded) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := e.end(ctx)
	e.cut()
	return errors.Join(err, e.panics())
}

// falter starts it and cuts the power at a random operation of that.
func (e *embedded) falter() error {
	e.cutIn.Store(1 + e.rng.Int64N(60))
	if _, err := e.start(0); err != nil {
		return err
	}
	e.cutIn.Store(0)
	return e.kill()
}

func (e *embedded) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return e.end(ctx)
}

func (e *embedded) end(ctx context.Context) error {
	err := e.broker.Shutdown(ctx)
	if e.served != nil {
		if s := <-e.served; !errors.Is(s, broker.ErrShutdown) {
			err = errors.Join(err, s)
		}
		e.served = nil
	}
	return err
}

func (e *embedded) panics() error {
	if n := e.broker.Stats().Panics; n > 0 {
		return fmt.Errorf("%d connections' handlers failed:\n%s", n, e.log())
	}
	return nil
}
