package broker

import (
	"fmt"
	"time"
)

// Responsive reports whether every event loop begins a turn within a time: nil, or an error that names the one that does not.
// It is for watchdogs.
func (b *Broker) Responsive(within time.Duration) error {
	n := b.engine.Loops()
	begun := make(chan int, n)
	for i := range n {
		b.engine.PostLoop(i, func(loop int, _ int64) { begun <- loop })
	}
	limit := time.NewTimer(within)
	defer limit.Stop()
	seen := make([]bool, n)
	for range n {
		select {
		case loop := <-begun:
			seen[loop] = true
		case <-b.stop:
			return nil
		case <-limit.C:
			for loop := range seen {
				if !seen[loop] {
					return fmt.Errorf("broker: event loop %d has not begun a turn within %v", loop, within)
				}
			}
		}
	}
	return nil
}
