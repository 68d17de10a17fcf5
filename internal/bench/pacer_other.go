//go:build !linux

package bench

import "time"

// pacer wakes a shard when a message is due, by a goroutine that sleeps: to about a millisecond.
type pacer struct{ done chan struct{} }

func (p *pacer) start(s *shard) error {
	p.done = make(chan struct{})
	go func(done chan struct{}) {
		next := make(chan int64)
		for {
			s.engine.PostLoop(0, func(int, int64) { next <- s.pace() })
			t := time.NewTimer(max(time.Duration(<-next-s.run.now()), time.Millisecond/2))
			select {
			case <-t.C:
			case <-done:
				t.Stop()
				return
			}
		}
	}(p.done)
	return nil
}

func (p *pacer) stop() {
	if p.done != nil {
		close(p.done)
		p.done = nil
	}
}
