package crash

import (
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/store/pebble"
	"github.com/nightjar-mqtt/nightjar/test/crash/history"
	"github.com/nightjar-mqtt/nightjar/test/crash/workload"
)

// TestPowerCut cuts the power of a broker that syncs always, and holds that nothing that it acknowledged is lost.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	cuts := 60
	if *long {
		cuts = 1000
	}
	s := newSeed(t)
	r, err := newRun(t, newEmbedded(s, pebble.SyncAlways), workload.Options{Seed: s, Every: time.Millisecond, WillDelay: 1})
	if err != nil {
		t.Fatal(err)
	}
	r.clean, r.early, r.minLoad, r.maxLoad = 12, 5, time.Millisecond, 60*time.Millisecond
	for n := 0; r.deaths < cuts; n++ {
		r.load.Wills(n%10 == 0) // waiting for them takes a second
		if err := r.round(min(1+r.rng.IntN(8), cuts-r.deaths)); err != nil {
			t.Fatal(err)
		}
		if found := r.rec.Check(); len(found) > 0 {
			t.Fatalf("after %d cuts:\n%s\nthe broker's log:\n%s", r.deaths, r.rec.Summary(found), r.target.log())
		}
	}
	n := r.report()
	if n.Acknowledged < 5*r.deaths || n.Resent == 0 || n.Repeats == 0 {
		t.Errorf("the load was too light to show anything: %+v", n)
	}
	if err := r.target.stop(); err != nil {
		t.Error(err)
	}
}

// TestPowerCutNever shows that this can fail: a broker that never syncs loses what it has acknowledged.
func TestPowerCutNever(t *testing.T) {
	t.Parallel()
	s := newSeed(t)
	e := newEmbedded(s, pebble.SyncNever)
	e.keep, e.roomy = 0, true
	r, err := newRun(t, e, workload.Options{Seed: s, Every: time.Millisecond, Patience: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[history.Kind]int)
	// What the store wrote out in the background just before is kept, so the first cut may find nothing to take.
	for n := 0; n < 10 && kinds[history.Lost] == 0 && kinds[history.SessionLost] == 0; n++ {
		if err := r.round(1); err != nil {
			t.Fatal(err)
		}
		for _, v := range r.rec.Check() {
			kinds[v.Kind]++
		}
	}
	t.Logf("found: %v", kinds)
	if kinds[history.Lost] == 0 && kinds[history.SessionLost] == 0 {
		t.Error("a broker that never syncs had its power cut, and nothing was found to be lost")
	}
	if err := r.target.stop(); err != nil {
		t.Error(err)
	}
}
