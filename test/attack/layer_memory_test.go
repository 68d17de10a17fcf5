package attack

import (
	"fmt"
	"testing"
	"time"
)

// idleMost is what a connected client that says nothing may cost the process in bytes, by engine and scheme: about twice
// what was measured, so that it is noticed when somebody gives each a buffer or a goroutine.
var idleMost = map[string]map[string]int64{
	"epoll":     {"mqtt": 6 << 10, "ws": 7 << 10, "mqtts": 40 << 10, "wss": 42 << 10},
	"goroutine": {"mqtt": 24 << 10, "ws": 26 << 10, "mqtts": 60 << 10, "wss": 62 << 10},
}

// TestIdleConnections prints what a client costs that is connected and idle, and holds it to a bound.
func TestIdleConnections(t *testing.T) {
	const clients = 2000
	onBoth(t, func(t *testing.T, engine string) {
		for _, scheme := range append([]string{"mqtt"}, schemes...) {
			t.Run(scheme, func(t *testing.T) {
				t.Parallel()
				p := startLayered(t, options{engine: engine, args: []string{"--sys-interval", "0"}})
				// One of the kind first: what is made once is no part of the cost of each.
				open := func(i int) {
					l := login{id: fmt.Sprint("idle-", i)}
					if scheme == "mqtt" {
						connect(t, p.process, l)
					} else {
						p.login(t, scheme, false, l)
					}
				}
				open(0)
				before := p.settled()
				for i := range clients {
					open(i + 1)
				}
				each := (p.settled() - before) / clients
				t.Logf("%s %s: %d bytes for each idle client", engine, scheme, each)
				if most := idleMost[engine][scheme]; each > most {
					t.Errorf("an idle client costs %d bytes; at most %d are allowed", each, most)
				}
			})
		}
	})
}

// settled is the least resident memory within a time in which the broker, left alone, gives back what it does not need.
func (p *process) settled() int64 {
	p.t.Helper()
	least := p.resident()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 70 {
		<-tick.C
		least = min(least, p.resident())
	}
	return least
}
