package pebble

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/store/storetest"
)

const patience = 20 * time.Second

// fault makes an operation of a kind fail: the nth after it was armed, and all later ones too if it lasts.
type fault struct {
	kinds []errorfs.OpKind
	file  string // part of the name; "": any
	err   error
	n     atomic.Int64 // operations until it fails
	lasts bool
	met   atomic.Int64 // how many have failed
}

func (f *fault) String() string { return "fault" }

func (f *fault) MaybeError(op errorfs.Op) error {
	for _, k := range f.kinds {
		if op.Kind != k || !strings.Contains(op.Path, f.file) {
			continue
		}
		if n := f.n.Add(-1); n == 0 || n < 0 && f.lasts {
			f.met.Add(1)
			return fmt.Errorf("injected: %w", f.err)
		}
	}
	return nil
}

func (f *fault) disarm() { f.n.Store(1 << 60) }

var (
	writes = []errorfs.OpKind{errorfs.OpFileWrite, errorfs.OpFileWriteAt}
	syncs  = []errorfs.OpKind{errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo}
	makes  = []errorfs.OpKind{errorfs.OpCreate, errorfs.OpRename, errorfs.OpReuseForWrite, errorfs.OpLink, errorfs.OpRemove, errorfs.OpOpenDir}
	looks  = []errorfs.OpKind{errorfs.OpFileRead, errorfs.OpFileReadAt, errorfs.OpOpen}
)

// TestFaults: writes, syncs, reads and the making of files fail at any moment, once or for good. Whatever was answered with
// success is there when the store is opened again without the fault, and the store then takes batches.
func TestFaults(t *testing.T) {
	for name, kinds := range map[string][]errorfs.OpKind{"write": writes, "sync": syncs, "make": makes, "read": looks} {
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
			for _, lasts := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%v/lasts=%t", name, cause, lasts), func(t *testing.T) {
					t.Parallel()
					rnd := rand.New(rand.NewPCG(5, 6))
					met := 0
					for at := int64(1); at < 400; at += 1 + at/3 + rnd.Int64N(3) {
						f := &fault{kinds: kinds, err: cause, lasts: lasts}
						f.n.Store(at)
						runFault(t, f)
						if f.met.Load() > 0 {
							met++
						}
						if t.Failed() {
							t.Fatalf("the fault came at operation %d", at)
						}
					}
					if met < 5 {
						t.Errorf("the fault came in %d runs only", met)
					}
				})
			}
		}
	}
}

// runFault opens a store whose file system fails, and one without the fault on what a crash of the first leaves.
func runFault(t *testing.T, f *fault) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	o := testOptions(t)
	o.MemTableBytes, o.retryAfter = 32<<10, []time.Duration{time.Millisecond}
	var fatal atomic.Int64
	o.Fatal = func(error) { fatal.Add(1) }
	o.Logger = slog.New(slog.DiscardHandler)
	faulty := o
	faulty.FS = errorfs.Wrap(mem, f)
	c := new(script)
	s, err := Open(faulty)
	if err == nil {
		useFaulty(t, s, c, f)
	}
	if n := fatal.Load(); n > 1 {
		t.Errorf("Fatal was called %d times", n)
	}
	f.disarm()
	cr := crashed{fs: mem.CrashClone(vfs.CrashCloneCfg{}), answered: []int64{c.answered.Load()}}
	if lost, _ := cr.look(t, o, []*script{c}); lost > 0 {
		t.Errorf("%d batches that were answered are lost", lost)
	}
	c = &script{id: 1}
	crashRun(t, cr.fs, o, []*script{c}, 1, rand.New(rand.NewPCG(7, 8)))
	if c.answered.Load() == 0 || c.failed.Load() > 0 {
		t.Errorf("without the fault %d batches were taken and %d refused", c.answered.Load(), c.failed.Load())
	}
}

// useFaulty loads a store and hands batches over until it has died or has taken a few hundred.
func useFaulty(t *testing.T, s *Store, c *script, f *fault) {
	t.Helper()
	st, err := storetest.Read(s)
	if err != nil {
		if e := s.Close(); e != nil {
			t.Logf("after %v: %v", err, e)
		}
		return
	}
	c.base = st.Run << session.RunShift
	for range 300 {
		answered := make(chan struct{})
		c.step(s, func() { close(answered) })
		select {
		case <-answered:
		case <-time.After(time.Second):
			// It waits for room on the disk. With room it is answered.
			f.disarm()
			select {
			case <-answered:
			case <-time.After(patience):
				t.Fatalf("a batch was not answered; %d operations have failed", f.met.Load())
			}
		}
		if c.failed.Load() > 0 {
			break
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil && f.met.Load() == 0 {
			t.Errorf("Close: %v", err)
		}
	case <-time.After(patience):
		t.Fatalf("Close does not end; %d operations have failed", f.met.Load())
	}
}

// TestDead: when the log cannot be written, everybody who waits is told, and so is whoever comes later.
func TestDead(t *testing.T) {
	for name, kinds := range map[string][]errorfs.OpKind{"write": writes, "sync": syncs} {
		for _, when := range []Sync{SyncAlways, SyncInterval} {
			t.Run(fmt.Sprint(name, "/", when), func(t *testing.T) {
				f := &fault{kinds: kinds, file: ".log", err: syscall.EIO, lasts: true}
				f.disarm()
				o := testOptions(t)
				o.FS = errorfs.Wrap(o.FS, f)
				o.Sync, o.Interval = when, time.Millisecond
				fatal := make(chan error, 10)
				o.Fatal = func(err error) { fatal <- err }
				s, err := Open(o)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := storetest.Read(s); err != nil {
					t.Fatal(err)
				}
				f.n.Store(1)
				var died error
				var answered sync.WaitGroup
				for died == nil {
					for range 10 {
						answered.Add(1)
						b := s.NewBatch()
						b.PutSession(&session.Record{Key: 1, ClientID: "c"})
						b.Commit(func(error) { answered.Done() })
					}
					select {
					case died = <-fatal:
					case <-time.After(time.Millisecond):
					}
				}
				answered.Wait()
				if !strings.Contains(died.Error(), o.Dir) || !errors.Is(died, syscall.EIO) && !strings.Contains(died.Error(), syscall.EIO.Error()) {
					t.Errorf("the reason is %q, want one with the directory and the cause", died)
				}
				if err := answer(s, func(session.Batch) {}); err == nil {
					t.Error("a store that died takes a batch")
				}
				if err := s.Close(); err == nil {
					t.Error("Close of a store that died has no error")
				}
				if len(fatal) > 0 {
					t.Error("Fatal was called twice")
				}
			})
		}
	}
}

// answer commits and waits.
func answer(s session.Store, fill func(b session.Batch)) error {
	done := make(chan error, 1)
	b := s.NewBatch()
	fill(b)
	b.Commit(func(err error) { done <- err })
	return <-done
}

// TestReadFaults: what cannot be read is told, and the store goes on.
func TestReadFaults(t *testing.T) {
	mem := vfs.NewCrashableMem()
	f := &fault{kinds: looks, file: ".sst", err: syscall.EIO, lasts: true}
	f.disarm()
	o := testOptions(t)
	o.FS = errorfs.Wrap(mem, f)
	o.CacheBytes, o.MemTableBytes = 1, 64<<10
	r := openReopened(t, o)
	base := r.run << session.RunShift
	const n = 2000
	fill(t, r.Store, n, func(b session.Batch, i int) {
		if i == 0 {
			b.PutSession(&session.Record{Key: 1, ClientID: "c"})
		}
		m := benchMessage()
		m.Payload = bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 500)
		b.Enqueue(1, base+uint64(i), &session.Queued{M: m, QoS: 1})
	})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	// Opened anew, so that nothing is known of the entries.
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(new(counting)); err != nil {
		t.Fatal(err)
	}
	read := func() (got int, next uint64, err error) {
		done := make(chan struct{})
		s.ReadQueue(1, base, base+n, n, 1<<30, func(items []session.Item, nx uint64, e error) {
			got, next, err = len(items), nx, e
			close(done)
		})
		<-done
		return got, next, err
	}
	f.n.Store(5)
	items, unread, err := read()
	if err == nil || items >= n || unread != base+uint64(items) || !strings.Contains(err.Error(), syscall.EIO.Error()) {
		t.Errorf("%d items, next %d after %d, error %v; want a part, where it ends, and why", items, unread, base, err)
	}
	f.n.Store(1)
	if err := answer(s, func(b session.Batch) { b.Dequeue(1, unread) }); err == nil {
		t.Error("an entry that cannot be read was dequeued")
	}
	if err := answer(s, func(b session.Batch) { b.PutSession(&session.Record{Key: 2, ClientID: "d"}) }); err != nil {
		t.Errorf("a batch that reads nothing: %v", err)
	}
	f.disarm()
	if items, next, err := read(); err != nil || items != n || next != base+n {
		t.Errorf("%d items, next %d, error %v after the fault", items, next-base, err)
	}
	if err := answer(s, func(b session.Batch) { b.Dequeue(1, unread) }); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	startUnread(t, o, mem, n-1)
}

// startUnread: a start that cannot read says so, and changes nothing.
func startUnread(t *testing.T, o Options, mem *vfs.MemFS, want int) {
	t.Helper()
	f := &fault{kinds: looks, file: ".sst", err: syscall.EIO, lasts: true}
	f.n.Store(1)
	faulty := o
	faulty.FS = errorfs.Wrap(mem.CrashClone(vfs.CrashCloneCfg{}), f)
	s, err := Open(faulty)
	if err == nil {
		_, err = storetest.Read(s)
		if e := s.Close(); e != nil {
			t.Error(e)
		}
	}
	if err == nil || !strings.Contains(err.Error(), "nightjar store check") || !strings.Contains(err.Error(), o.Dir) {
		t.Errorf("a store that cannot be read: %v", err)
	}
	o.FS = mem
	if s, err = Open(o); err != nil {
		t.Fatal(err)
	}
	st, err := storetest.Read(s)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(st.Session(1).Messages); got != want {
		t.Errorf("%d messages after that, want %d", got, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFull: what adds is refused while the disk is full, what removes is not, and it ends by itself.
func TestFull(t *testing.T) {
	mem := vfs.NewMem()
	usage := func(free uint64) {
		mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: free, TotalBytes: 1 << 40, UsedBytes: 1<<40 - free})
	}
	usage(1 << 30)
	o := testOptions(t)
	o.FS, o.MinFree = mem, 0
	s := openReopened(t, o)
	base := s.run << session.RunShift
	commit := func(fill func(b session.Batch)) error { return answer(s, fill) }
	enqueue := func(seq uint64) func(b session.Batch) {
		return func(b session.Batch) { b.Enqueue(1, base+seq, &session.Queued{M: benchMessage(), QoS: 1}) }
	}
	record := func(k session.Key) func(b session.Batch) {
		return func(b session.Batch) { b.PutSession(&session.Record{Key: k, ClientID: fmt.Sprint(k), Left: 5}) }
	}
	look := func(free uint64) {
		usage(free)
		s.space.check(s.Store)
	}
	for _, fill := range []func(b session.Batch){record(1), enqueue(1), func(b session.Batch) { b.PutReceived(1, 1, nil) }} {
		if err := commit(fill); err != nil {
			t.Fatal(err)
		}
	}
	look(64<<20 - 1)
	if st := s.Stats(); st.Refusing == "" || st.FreeBytes != 64<<20-1 {
		t.Errorf("stats %+v", st)
	}
	for name, fill := range map[string]func(b session.Batch){
		"Enqueue": enqueue(2), "a new session": record(2), "PutReceived": func(b session.Batch) { b.PutReceived(1, 2, nil) },
		"PutSubscription": func(b session.Batch) { b.PutSubscription(1, "a", 0, 0) },
		"PutRetained": func(b session.Batch) {
			m := benchMessage()
			m.Seq = base + 1
			b.PutRetained(m)
		},
	} {
		var refused *session.ErrRefused
		if err := commit(fill); !errors.As(err, &refused) || !strings.Contains(refused.Reason, "63 MiB") {
			t.Errorf("%s: %v, want ErrRefused with how much is free", name, err)
		}
	}
	for name, fill := range map[string]func(b session.Batch){
		"Dequeue": func(b session.Batch) { b.Dequeue(1, base+1) }, "a session that is there": record(1),
		"DeleteReceived": func(b session.Batch) { b.DeleteReceived(1, 1) }, "DeleteRetained": func(b session.Batch) { b.DeleteRetained("t", base+1) },
	} {
		if err := commit(fill); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	look(64<<20 + 1)
	if err := commit(enqueue(3)); err == nil {
		t.Error("at the edge the store takes messages again at once")
	}
	look(81 << 20)
	if err := commit(enqueue(4)); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if n := s.Stats().Refused; n != 6 {
		t.Errorf("%d batches count as refused, want 6", n)
	}
	if st := s.State(); len(st.Session(1).Messages) != 1 || len(st.Sessions) != 1 {
		t.Errorf("the store has %+v", st.Session(1))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
