//go:build !linux

package bench

import "time"

// pacer calls a function of a shard when that is due, by a goroutine that sleeps: to about a millisecond.
type pacer struct{ done chan struct{} }

// start has tick called now and then when it says: next is in nanoseconds of the run.
func (p *pacer) start(s *shard, tick func() (next int64, more bool)) error {
	p.done = make(chan struct{})
	go func(done chan struct{}) {
		pauses := make(chan time.Duration)
		for {
			s.engine.PostLoop(0, func(int, int64) {
				next, more := tick()
				if !more {
					close(pauses)
					return
				}
				pauses <- max(time.Duration(next-s.run.now()), time.Millisecond/2)
			})
			pause, more := <-pauses
			if !more {
				return
			}
			t := time.NewTimer(pause)
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
