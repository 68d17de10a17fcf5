package crash

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/test/crash/history"
	"github.com/nightjar-mqtt/nightjar/test/crash/workload"
)

var (
	long    = flag.Bool("crash.long", false, "300 kills, 1,000 power cuts and all failing calls instead of a few")
	program = flag.String("crash.program", "", "test this nightjar instead of building one")
	starts  = flag.Bool("crash.starts", false, "TestFaults: have the disk fail while the broker starts, too")
	seed    = flag.Uint64("crash.seed", 0, "begin with this seed; 0: another one each time")
)

// newSeed returns the seed of a test, and says how to use it again. What goroutines and disks do is not in it.
func newSeed(t testing.TB) uint64 {
	s := *seed
	if s == 0 {
		s = rand.Uint64()>>1 | 1
	}
	t.Logf("seed: -crash.seed=%d", s)
	return s
}

// run is one broker, its clients, and the plan by which it dies.
type run struct {
	t       testing.TB
	target  target
	rec     *history.Recorder
	load    *workload.Load
	rng     *rand.Rand
	life    int
	clean   int // one death in this many is a shutdown; 0: none, 1: all
	early   int // one start in this many fails while the broker recovers; 0: none
	minLoad time.Duration
	maxLoad time.Duration
	deaths  int
	wait    []time.Duration // how long each start took
}

// newRun starts the broker, and its clients with their sessions.
func newRun(t testing.TB, target target, o workload.Options) (*run, error) {
	rec := history.NewRecorder()
	if e, ok := target.(interface{ record(*history.Recorder) }); ok {
		e.record(rec)
	}
	r := &run{t: t, target: target, rec: rec, load: workload.New(o, rec), rng: rand.New(rand.NewPCG(o.Seed, 1)), minLoad: 20 * time.Millisecond, maxLoad: 250 * time.Millisecond}
	t.Cleanup(r.load.Close)
	if err := r.revive(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return r, r.load.Setup(ctx)
}

// revive starts the broker, looks at the retained messages and lets the clients in.
func (r *run) revive() error {
	began := time.Now()
	r.life = r.rec.Begin()
	addr, err := r.target.start(r.life)
	if err != nil {
		return fmt.Errorf("life %d: %w", r.life, err)
	}
	r.wait = append(r.wait, time.Since(began))
	if err := r.load.Probe(addr, r.life); err != nil {
		return fmt.Errorf("life %d: %w\n%s", r.life, err, r.target.log())
	}
	r.load.Gate.Open(addr, r.life)
	return nil
}

// work lets the load run for a while.
func (r *run) work() {
	time.Sleep(r.minLoad + time.Duration(r.rng.Int64N(int64(r.maxLoad-r.minLoad)))) // a random moment is what is wanted
}

// die ends the broker at a random moment.
func (r *run) die() error {
	r.work()
	r.load.Gate.Shut()
	r.deaths++
	if r.clean > 0 && r.rng.IntN(r.clean) == 0 {
		return r.target.stop()
	}
	if err := r.target.kill(); err != nil {
		return err
	}
	if r.early == 0 || r.rng.IntN(r.early) > 0 {
		return nil
	}
	r.deaths++
	return r.target.falter()
}

// round is a load with some deaths in it, and the drain behind it.
func (r *run) round(deaths int) error {
	r.load.Start()
	for until := r.deaths + deaths; r.deaths < until; {
		if err := errors.Join(r.die(), r.revive()); err != nil {
			r.load.Stop()
			return err
		}
	}
	if deaths == 0 {
		r.work()
	}
	return r.load.Drain()
}

// report logs what the test was made of, so that nobody takes a test of nothing for a test.
func (r *run) report() history.Totals {
	n := r.rec.Totals()
	longest := time.Duration(0)
	for _, w := range r.wait {
		longest = max(longest, w)
	}
	r.t.Logf("%d deaths; %+v; slowest start %v", r.deaths, n, longest.Round(time.Millisecond))
	return n
}
