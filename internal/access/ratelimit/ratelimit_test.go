package ratelimit

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func connect(t testing.TB, l *Limiter, now int64, id, user string) *Meter {
	t.Helper()
	m, a := l.Connect(now, id, user)
	if a.Refuse || m == nil {
		t.Fatalf("%s is refused: %+v", id, a)
	}
	return m
}

func TestRefuse(t *testing.T) {
	l := New(Limits{Client: Rates{Publishes: Rate{PerSecond: 10, Burst: 5}, Bytes: Rate{PerSecond: 1000}, Subscribes: Rate{PerSecond: 1, Burst: 3}}, Refuse: true})
	m := connect(t, l, 0, "c", "u")
	passed := 0
	for now := int64(1); now <= 10_000; now++ {
		if !m.Publish(now, 1).Refuse {
			passed++
		}
	}
	if passed < 104 || passed > 106 { // the burst, and ten a second
		t.Errorf("%d publishes passed in ten seconds", passed)
	}
	if a := m.Publish(20_000, 1000); a.Refuse {
		t.Errorf("the first: %+v", a)
	}
	if a := m.Publish(20_000, 1); !a.Refuse || a.Limit != "bytes per client" {
		t.Errorf("%+v", a)
	}
	for i := range 4 { // what was refused for its bytes is not counted as a publish
		if a := m.Publish(20_001+int64(i), 0); a.Refuse {
			t.Errorf("publish %d: %+v", i, a)
		}
	}
	if a := m.Publish(30_000, 5000); a.Refuse {
		t.Errorf("a packet larger than the burst never passes: %+v", a)
	}
	if a := m.Publish(30_001, 1); !a.Refuse {
		t.Error("and it costs nothing")
	}
	if m.Subscribe(0, 3).Refuse || !m.Subscribe(0, 1).Refuse || m.Subscribe(1100, 1).Refuse {
		t.Error("subscribes are not counted")
	}
}

func TestSlow(t *testing.T) {
	l := New(Limits{Client: Rates{Publishes: Rate{PerSecond: 100, Burst: 10}}})
	m := connect(t, l, 0, "c", "u")
	now, sent := int64(1), 0
	for now < 10_000 {
		a := m.Publish(now, 50)
		if a.Refuse {
			t.Fatal("it is refused")
		}
		sent++
		now += a.Wait
	}
	if sent < 1005 || sent > 1015 {
		t.Errorf("%d messages in ten seconds", sent)
	}
	if a := m.Publish(now, 1); a.Wait == 0 || a.Limit != "publishes per client" {
		t.Errorf("%+v", a)
	}
	tiny := connect(t, New(Limits{Client: Rates{Publishes: Rate{PerSecond: 0.001}}}), 0, "c", "u")
	tiny.Publish(1, 1)
	if a := tiny.Publish(1, 1); a.Wait != maxWait {
		t.Errorf("it waits %d ms", a.Wait)
	}
}

// A user's connections share what it may do, and a new connection brings nothing more.
func TestUser(t *testing.T) {
	l := New(Limits{User: Rates{Publishes: Rate{PerSecond: 10}, Connections: Rate{PerSecond: 1, Burst: 3}, Subscribes: Rate{PerSecond: 1}}, Refuse: true})
	a, b, other := connect(t, l, 0, "a", "u"), connect(t, l, 0, "b", "u"), connect(t, l, 0, "c", "v")
	passed := 0
	for range 20 {
		for _, m := range []*Meter{a, b} {
			if !m.Publish(1, 1).Refuse {
				passed++
			}
		}
	}
	if passed != 10 {
		t.Errorf("%d passed", passed)
	}
	if other.Publish(1, 1).Refuse {
		t.Error("the other user pays")
	}
	a.Close()
	c := connect(t, l, 1, "d", "u")
	if !c.Publish(1, 1).Refuse {
		t.Error("a new connection brings new publishes")
	}
	if first, second := c.Subscribe(1, 1), b.Subscribe(1, 1); first.Refuse || second.Limit != "subscribes per user" {
		t.Errorf("subscribes: %+v, %+v", first, second)
	}
	if m, ans := l.Connect(1, "e", "u"); m != nil || !ans.Refuse || ans.Limit != "connections per user" {
		t.Errorf("%+v", ans)
	}
	if _, ans := l.Connect(1100, "e", "u"); ans.Refuse {
		t.Errorf("a second later: %+v", ans)
	}
}

func TestConnectionsPerClient(t *testing.T) {
	l := New(Limits{Client: Rates{Connections: Rate{PerSecond: 1, Burst: 2}}})
	for i := range 2 {
		connect(t, l, int64(i), "c", "").Close()
	}
	if _, a := l.Connect(2, "c", ""); !a.Refuse || a.Limit != "connections per client" {
		t.Errorf("%+v", a)
	}
	connect(t, l, 2, "d", "")
	connect(t, l, 1500, "c", "")
}

func TestNoLimits(t *testing.T) {
	for _, refuse := range []bool{true, false} {
		m := connect(t, New(Limits{Refuse: refuse}), 0, "c", "u")
		for range 1000 {
			if a := m.Publish(1, 1<<20); a != (Answer{}) {
				t.Fatalf("%+v", a)
			}
			if a := m.Subscribe(1, 100); a != (Answer{}) {
				t.Fatalf("%+v", a)
			}
		}
	}
}

// Clients that come and go, each with a name of its own, leave nothing.
func TestBounded(t *testing.T) {
	r := Rate{PerSecond: 100}
	l := New(Limits{Client: Rates{Connections: r}, User: Rates{Connections: r, Publishes: r, Bytes: r, Subscribes: r}})
	long := strings.Repeat("x", 1000)
	for i := range int64(100_000) {
		m := connect(t, l, i, fmt.Sprint(long, i), fmt.Sprint(long, i))
		m.Publish(i, 10)
		m.Close()
	}
	if n := len(l.users) + len(l.clients); n > 3*firstSweep {
		t.Errorf("%d entries are left", n)
	}
}

func TestClockStepsBack(t *testing.T) {
	m := connect(t, New(Limits{Client: Rates{Publishes: Rate{PerSecond: 1}}, Refuse: true}), 1000, "c", "")
	if m.Publish(10_000, 1).Refuse || !m.Publish(1000, 1).Refuse || !m.Publish(5000, 1).Refuse || m.Publish(11_000, 1).Refuse {
		t.Error("a step back is worth something")
	}
}

func TestReload(t *testing.T) {
	l := New(Limits{})
	m := connect(t, l, 0, "c", "u")
	l.Set(Limits{Client: Rates{Publishes: Rate{PerSecond: 1}}, Refuse: true})
	if m.Publish(1, 1).Refuse || !m.Publish(1, 1).Refuse {
		t.Error("new limits are not for connections that are open")
	}
	l.Set(Limits{})
	if m.Publish(1, 1).Refuse {
		t.Error("the limit stays")
	}
}

func TestConcurrent(t *testing.T) {
	l := New(Limits{User: Rates{Publishes: Rate{PerSecond: 1, Burst: 500}}, Refuse: true})
	passed := make([]int, 8)
	var wg sync.WaitGroup
	for i := range passed {
		wg.Go(func() {
			m := connect(t, l, 0, fmt.Sprint(i), "u")
			defer m.Close()
			for range 1000 {
				if !m.Publish(1, 1).Refuse {
					passed[i]++
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, n := range passed {
		sum += n
	}
	if sum != 500 {
		t.Errorf("%d passed", sum)
	}
}

func TestNoAllocations(t *testing.T) {
	r := Rate{PerSecond: 1e9}
	for _, refuse := range []bool{true, false} {
		rates := Rates{r, r, r, r}
		m := connect(t, New(Limits{rates, rates, refuse}), 0, "c", "u")
		now := int64(0)
		if n := testing.AllocsPerRun(1000, func() { now++; m.Publish(now, 100); m.Subscribe(now, 1) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	r := Rate{PerSecond: 1e9}
	m := connect(b, New(Limits{Rates{r, r, r, r}, Rates{r, r, r, r}, false}), 0, "c", "u")
	now := int64(0)
	for b.Loop() {
		now++
		m.Publish(now, 100)
	}
}
