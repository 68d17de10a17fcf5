package attack

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// idleMost is what a connected client that says nothing may cost the process in bytes, by engine and scheme: about twice
// what was measured, so that it is noticed when somebody gives each a buffer or a goroutine.
var idleMost = map[string]map[string]int64{
	"epoll":     {"mqtt": 3 << 10, "ws": 4 << 10, "mqtts": 20 << 10, "wss": 20 << 10},
	"goroutine": {"mqtt": 20 << 10, "ws": 20 << 10, "mqtts": 36 << 10, "wss": 36 << 10},
}

// TestIdleConnections prints what a client costs that is connected and idle, and holds it to a bound.
func TestIdleConnections(t *testing.T) {
	const clients = 1000
	type measured struct {
		layered
		engine, scheme string
		before         int64
	}
	var all []*measured
	open := func(m *measured, i int) {
		l := login{id: fmt.Sprint("idle-", i)}
		if m.scheme == "mqtt" {
			connect(t, m.process, l)
		} else {
			m.login(t, m.scheme, false, l)
		}
	}
	for _, engine := range []string{"epoll", "goroutine"} {
		for _, scheme := range append([]string{"mqtt"}, schemes...) {
			m := &measured{startLayered(t, options{engine: engine, args: []string{"--sys-interval", "0"}}), engine, scheme, 0}
			open(m, 0) // what is made once is no part of the cost of each
			all = append(all, m)
		}
	}
	settle := func(then func(m *measured, resident int64)) {
		var wg sync.WaitGroup
		for _, m := range all {
			wg.Go(func() { then(m, m.settled()) })
		}
		wg.Wait()
	}
	settle(func(m *measured, resident int64) { m.before = resident })
	for _, m := range all {
		for i := range clients {
			open(m, i+1)
		}
	}
	settle(func(m *measured, resident int64) {
		each := (resident - m.before) / clients
		t.Logf("%s %s: %d bytes for each idle client", m.engine, m.scheme, each)
		if most := idleMost[m.engine][m.scheme]; each > most {
			t.Errorf("%s %s: an idle client costs %d bytes; at most %d are allowed", m.engine, m.scheme, each, most)
		}
	})
}

// settled is the least resident memory within a time in which the broker, left alone, gives back what it does not need.
func (p *process) settled() int64 {
	least := p.resident()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 50 {
		<-tick.C
		least = min(least, p.resident())
	}
	return least
}
