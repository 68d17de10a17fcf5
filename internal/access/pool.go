package access

import "sync"

// pool runs jobs on a bounded number of goroutines, which end when there is nothing to do. What waits for them is bounded,
// too: a storm of logins must not take memory without end, nor the cores from the event loops.
type pool struct {
	workers, queue int

	mu      sync.Mutex
	waiting []job
	running int
	closed  bool
	done    sync.WaitGroup
}

// job is run, or refused when the pool is closed before its turn.
type job struct {
	run, refuse func()
}

// do takes a job, or returns false if too many wait.
func (p *pool) do(j job) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.running >= p.workers && len(p.waiting) >= p.queue {
		return false
	}
	p.waiting = append(p.waiting, j)
	if p.running < p.workers {
		p.running++
		p.done.Go(p.work)
	}
	return true
}

func (p *pool) work() {
	for {
		p.mu.Lock()
		if len(p.waiting) == 0 {
			p.running--
			p.waiting = nil // let go of what it grew to
			p.mu.Unlock()
			return
		}
		j := p.waiting[0]
		p.waiting[0] = job{}
		p.waiting = p.waiting[1:]
		closed := p.closed
		p.mu.Unlock()
		if closed {
			j.refuse()
		} else {
			j.run()
		}
	}
}

// resize changes the bounds. Jobs that wait already are kept.
func (p *pool) resize(workers, queue int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.workers, p.queue = workers, queue
}

// close refuses what waits and returns when all has ended.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.done.Wait()
}
