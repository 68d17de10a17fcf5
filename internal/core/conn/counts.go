package conn

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Counts are what connections were refused, ended and refused for, since the start, on all listeners.
type Counts struct {
	Refused          map[string]int64 // connections that got no session, by Cause
	Ended            map[string]int64 // connections with one that ended, by Cause
	PublishRefused   int64            // PUBLISH packets that were not allowed
	SubscribeRefused int64            // filters of SUBSCRIBE packets
	Connected        map[mqtt.Version]int64
}

// counts are those of Counts while they are counted.
type counts struct {
	refused, ended            tally
	publishRefused, subscribe atomic.Int64
	connected                 [3]atomic.Int64
}

// tally counts by name. Names are of a fixed set: Cause's.
type tally struct {
	mu sync.Mutex
	n  map[string]int64
}

func (t *tally) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = make(map[string]int64)
	}
	t.n[name]++
}

func (t *tally) read() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.n)
}

// versions are what counts.connected is by.
var versions = [3]mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}

// connect counts a client that has got its session (1) or left it (-1).
func (n *counts) connect(v mqtt.Version, by int64) {
	for i := range versions {
		if versions[i] == v {
			n.connected[i].Add(by)
		}
	}
}

// Counts reads them.
func (sh *Shared) Counts() Counts {
	n := &sh.common.counts
	c := Counts{
		Refused: n.refused.read(), Ended: n.ended.read(), PublishRefused: n.publishRefused.Load(), SubscribeRefused: n.subscribe.Load(),
		Connected: make(map[mqtt.Version]int64),
	}
	for i, v := range versions {
		c.Connected[v] = n.connected[i].Load()
	}
	return c
}
