package crash

import (
	"slices"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/test/crash/history"
	"github.com/nightjar-mqtt/nightjar/test/crash/workload"
)

// TestKill kills the process, and holds that nothing that it acknowledged is lost.
func TestKill(t *testing.T) {
	t.Parallel() // they wait for the disk and for clients most of the time
	kills := 20
	if *long {
		kills = 300
	}
	r, err := newRun(t, nightjar(t, t.TempDir(), "always"), workload.Options{Seed: newSeed(t), Every: 2 * time.Millisecond, WillDelay: 1})
	if err != nil {
		t.Fatal(err)
	}
	r.clean, r.early = 10, 6
	for n := 0; r.deaths < kills; n++ {
		r.load.Wills(n%3 == 0) // waiting for them takes a second
		if err := r.round(min(1+r.rng.IntN(5), kills-r.deaths)); err != nil {
			t.Fatal(err)
		}
		if found := r.rec.Check(); len(found) > 0 {
			t.Fatalf("after %d deaths:\n%s\nthe broker's log:\n%s", r.deaths, r.rec.Summary(found), r.target.log())
		}
	}
	n := r.report()
	if n.Acknowledged < 20*r.deaths || n.Resent == 0 || n.Repeats == 0 || n.Deliveries < 2*n.Acknowledged {
		t.Errorf("the load was too light to show anything: %+v", n)
	}
}

// TestKillInMemory shows that the checker can fail: a broker without a store loses what it has acknowledged.
func TestKillInMemory(t *testing.T) {
	t.Parallel()
	r, err := newRun(t, nightjar(t, inMemory, ""), workload.Options{Seed: newSeed(t), Every: 2 * time.Millisecond, Patience: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.round(1); err != nil {
		t.Fatal(err)
	}
	kinds := make(map[history.Kind]int)
	for _, v := range r.rec.Check() {
		kinds[v.Kind]++
	}
	for _, k := range []history.Kind{history.Lost, history.SessionLost, history.RetainedLost} {
		if kinds[k] == 0 {
			t.Errorf("a broker in memory was killed, and this was not found: %s", k)
		}
	}
	t.Logf("found: %v", kinds)
}

// TestNoDeath shows that the checker finds nothing where nothing happens: the clients come and go, the broker stays.
func TestNoDeath(t *testing.T) {
	t.Parallel()
	r, err := newRun(t, nightjar(t, inMemory, ""), workload.Options{Seed: newSeed(t), Every: 2 * time.Millisecond, WillDelay: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := r.round(0); err != nil {
			t.Fatal(err)
		}
	}
	if found := r.rec.Check(); len(found) > 0 {
		t.Errorf("%s\nthe broker's log:\n%s", r.rec.Summary(found), r.target.log())
	}
	r.report()
}

// TestMosquitto is the same with a broker of others: what the checker finds there would be its own mistake. One thing that it
// finds is Mosquitto 2.0's: messages that wait change their order when a client takes its session over.
func TestMosquitto(t *testing.T) {
	t.Parallel()
	r, err := newRun(t, mosquitto(t, t.TempDir()), workload.Options{Seed: newSeed(t), Every: 2 * time.Millisecond, WillDelay: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := r.round(0); err != nil {
			t.Fatal(err)
		}
	}
	found := slices.DeleteFunc(r.rec.Check(), func(v history.Violation) bool { return v.Kind == history.Disorder })
	if len(found) > 0 {
		t.Errorf("%s\nthe broker's log:\n%s", r.rec.Summary(found), r.target.log())
	}
	r.report()
}
