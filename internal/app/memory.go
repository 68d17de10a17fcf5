package app

import (
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
)

// The broker allocates little once clients are connected: the collector's usual slack, as much again as is in use, would
// mostly be what connecting left behind. So it gets half of that, and what an idle broker does not need goes back to the
// system: people run this on routers.

// collectAt is GOGC: how much may be allocated before the next collection, in percent of what is in use.
const collectAt = 50

// tuneMemory sets the collector up. An environment variable GOGC wins.
func tuneMemory(profiling bool) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	if !profiling {
		runtime.MemProfileRate = 0 // its tables cost a megabyte
	}
}

const trimInterval = 2 * time.Second

// trimWhenIdle gives memory back to the system when hardly anything happens: then a collection disturbs nobody.
func trimWhenIdle(b *broker.Broker, stop <-chan struct{}) {
	t := time.NewTicker(trimInterval)
	defer t.Stop()
	const fewPerSecond = 100
	var last int64
	var lastConnections, trimmedAt int
	for {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		s := b.Stats()
		n := s.MessagesReceived + s.MessagesSent
		busy := n-last > fewPerSecond*int64(trimInterval/time.Second)
		steady := s.Connections == lastConnections
		last, lastConnections = n, s.Connections
		if busy || !steady || trimmedAt == s.Connections+1 {
			if busy {
				trimmedAt = 0
			}
			continue
		}
		debug.FreeOSMemory() // what there is to be given back is known only after the collection that this begins with
		trimmedAt = s.Connections + 1
	}
}
