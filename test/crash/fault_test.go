package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/nightjar-mqtt/nightjar/internal/store/pebble"
	"github.com/nightjar-mqtt/nightjar/test/crash/workload"
)

// fault is one way in which a disk fails.
type fault struct {
	class   class
	errno   syscall.Errno
	forGood bool // until it is healed; else once
	start   bool // while the broker starts; else under load
	at      int  // the how manieth operation of the class, from 1
}

func (f fault) String() string {
	often, when := "once", "under load"
	if f.forGood {
		often = "for good"
	}
	if f.start {
		when = "at the start"
	}
	return fmt.Sprintf("%s %d fails %s with %s %s", f.class, f.at, often, errnoName(f.errno), when)
}

func errnoName(e syscall.Errno) string {
	if e == syscall.ENOSPC {
		return "ENOSPC"
	}
	return "EIO"
}

// class is a kind of operation on the file system.
type class string

const (
	writes class = "write"
	syncs  class = "sync"
	reads  class = "read"
)

func classOf(k errorfs.OpKind) class {
	switch k {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		return syncs
	case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpCreate, errorfs.OpLink, errorfs.OpRename, errorfs.OpReuseForWrite,
		errorfs.OpMkdirAll, errorfs.OpRemove:
		return writes
	case errorfs.OpFileRead, errorfs.OpFileReadAt, errorfs.OpOpen, errorfs.OpOpenDir, errorfs.OpList, errorfs.OpStat:
		return reads
	}
	return "" // a close, a lock: nothing of what is stored depends on it
}

// disk is where a fault is injected.
type disk struct {
	mu    sync.Mutex
	fault fault
	armed bool
	seen  int
	hit   chan struct{} // closed by the first failure
}

func (d *disk) arm(f fault) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault, d.armed, d.seen, d.hit = f, true, 0, make(chan struct{})
	return d.hit
}

func (d *disk) heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed = false
}

func (d *disk) operation(op errorfs.Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.armed || classOf(op.Kind) != d.fault.class {
		return nil
	}
	if d.seen++; d.seen < d.fault.at || d.seen > d.fault.at && !d.fault.forGood {
		return nil
	}
	if d.seen == d.fault.at {
		close(d.hit)
	}
	return &os.PathError{Op: string(d.fault.class), Path: op.Path, Err: d.fault.errno}
}

// outcome is how the broker took a fault.
type outcome string

const (
	missed  outcome = "the operation never came"
	served  outcome = "it went on"
	ended   outcome = "it ended with a reason"
	refused outcome = "it did not start, with a reason"
)

// TestFaults has every write, sync and read fail in turn, and holds that nothing acknowledged is lost, that the broker goes
// on or ends with a reason, and that it takes messages when the cause has gone.
func TestFaults(t *testing.T) {
	t.Parallel()
	each, gap := 2, 40
	if *long {
		each, gap = 60, 1
	}
	s := newSeed(t)
	r := newEmbedded(s, pebble.SyncAlways).rng
	total := make(map[outcome]int)
	for _, c := range []class{writes, syncs, reads} {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
			for _, forGood := range []bool{false, true} {
				for _, start := range phases() {
					f := fault{class: c, errno: errno, forGood: forGood, start: start}
					for n, misses := 0, 0; n < each && misses < 3; n++ {
						// The first ones in turn, or one of them; and every other one somewhere behind.
						if f.at = 1 + n*gap + r.IntN(gap); n%3 == 2 && !start {
							f.at += r.IntN(500)
						}
						if c == reads && errno == syscall.ENOSPC {
							continue // no read fails with that
						}
						s++
						began := time.Now()
						got := f.try(t, s)
						t.Logf("%s: %s (%v)", f, got, time.Since(began).Round(time.Millisecond))
						if got == missed {
							misses++
						}
						if total[got]++; t.Failed() {
							return
						}
					}
				}
			}
		}
	}
	t.Logf("%v", total)
	for _, o := range []outcome{served, ended} { // both have to have been seen
		if total[o] == 0 {
			t.Errorf("none of the faults ended so: %s", o)
		}
	}
}

// phases: under load, and at the start if that is asked for. A Pebble that cannot be opened leaves goroutines behind which
// may panic later: a process that ends for that reason does not see it, this one does.
func phases() []bool {
	if *starts {
		return []bool{false, true}
	}
	return []bool{false}
}

// try runs a broker into the fault.
func (f fault) try(t *testing.T, seed uint64) (got outcome) {
	fail := func(r *run, err error) outcome {
		t.Errorf("%s (seed %d): %v\nthe broker's log:\n%s", f, seed, err, r.target.log())
		return got
	}
	e, d := newEmbedded(seed, pebble.SyncAlways), new(disk)
	e.inject = d.operation
	// When Pebble cannot be opened, it leaves behind what it had begun in the background, which then fails in this process. So
	// there is to be little of that at a start.
	e.tiny, e.roomy = !f.start, f.start
	r, err := newRun(t, e, workload.Options{Seed: seed, Every: time.Millisecond, Tolerant: true})
	if err != nil {
		t.Errorf("%s: %v", f, err)
		return missed
	}
	defer r.load.Close()
	r.minLoad, r.maxLoad = 10*time.Millisecond, 30*time.Millisecond
	r.load.Start()
	if f.start {
		got, err = f.tryStart(r, e, d)
	} else {
		got, err = f.tryLoad(r, e, d)
	}
	if err == nil {
		err = r.knock()
	}
	if err != nil && got == served && e.hasFallen() { // it took its time to fall
		if got, err = f.fell(r, e); err == nil {
			err = r.knock()
		}
	}
	if err != nil {
		r.load.Stop()
		return fail(r, err)
	}
	// What it acknowledged meanwhile has to be on the disk too.
	if err := errors.Join(r.die(), r.revive()); err != nil {
		r.load.Stop()
		return fail(r, err)
	}
	if err := r.load.Drain(); err != nil {
		return fail(r, err)
	}
	if found := r.rec.Check(); len(found) > 0 {
		return fail(r, fmt.Errorf("%s:\n%s", got, r.rec.Summary(found)))
	}
	if err := r.target.stop(); err != nil {
		return fail(r, err)
	}
	return got
}

// tryLoad has it happen under load. When it returns, the disk is sound and the broker there.
func (f fault) tryLoad(r *run, e *embedded, d *disk) (outcome, error) {
	hit := d.arm(f)
	wait := time.NewTimer(300 * time.Millisecond)
	defer wait.Stop()
	select {
	case <-hit:
	case <-wait.C:
		d.heal()
		return missed, nil
	}
	r.work() // it has to live with it for a while
	d.heal()
	if !e.hasFallen() {
		return served, nil
	}
	return f.fell(r, e)
}

// fell starts a broker again that has ended itself, if the reason was the right one.
func (f fault) fell(r *run, e *embedded) (outcome, error) {
	r.load.Gate.Shut()
	r.deaths++
	if !strings.Contains(e.fatal.Error(), f.errno.Error()) { // some of Pebble's reasons are text
		return ended, fmt.Errorf("it ended because of %w, not of %w", e.fatal, f.errno)
	}
	return ended, errors.Join(r.target.kill(), r.revive())
}

// knock has a publish accepted.
func (r *run) knock() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return r.load.Knock(ctx)
}

func (e *embedded) hasFallen() bool {
	select {
	case <-e.fallen:
		return true
	default:
		return false
	}
}

// tryStart has it happen while the broker starts.
func (f fault) tryStart(r *run, e *embedded, d *disk) (outcome, error) {
	if err := r.die(); err != nil {
		return missed, err
	}
	hit := d.arm(f)
	tried := make(chan error, 1)
	go func() {
		_, err := e.start(0) // nobody is let in: it is started again as after a crash
		tried <- err
	}()
	var err error
	limit := time.NewTimer(startTimeout)
	defer limit.Stop()
	select {
	case err = <-tried:
	case <-limit.C:
		d.heal()
		return served, errors.Join(fmt.Errorf("for %v it neither started nor gave up", startTimeout), <-tried)
	}
	d.heal()
	got := served
	select {
	case <-hit:
	default:
		got = missed
	}
	select {
	case <-e.fallen:
		got = ended
	default:
	}
	if err != nil {
		if got == missed {
			return got, err
		}
		return refused, r.revive()
	}
	return got, errors.Join(r.target.kill(), r.revive())
}
