package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// run is one measurement.
type run struct {
	o       Options
	id      uint32
	start   time.Time
	target  netip.AddrPort
	host    string // of the broker, as it was given
	tls     *tls.Config
	shards  []*shard
	pubs    []*publisher // by the number in their stamps; complete before the first message
	senders int          // publishers that send by themselves

	mu      sync.Mutex
	failure error
	failed  chan struct{} // closed with the first failure

	last      sample
	total     *histograms // of the part that counts
	intervals []Interval
	peak      int64 // largest resident size of the broker seen
	dialled   uint32
	unwatch   func() // ends watchStalls
}

// Run does what o says and reports. It returns early when ctx ends.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	r := &run{o: o, id: rand.Uint32(), start: time.Now(), failed: make(chan struct{})}
	target, err := net.ResolveTCPAddr("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("bench: the broker's address: %w", err)
	}
	r.target = target.AddrPort()
	r.host, _, _ = net.SplitHostPort(o.Address) // resolved a moment ago
	r.tls = r.tlsConfig()
	if o.PID != 0 {
		if _, err := usageOf(o.PID); err != nil {
			return nil, fmt.Errorf("bench: reading CPU time and memory of the broker, process %d: %w", o.PID, err)
		}
	}
	for i := range o.Loops {
		s, err := newShard(r, i)
		if err != nil {
			return nil, err
		}
		r.shards = append(r.shards, s)
	}
	defer r.close()
	report := newReport(&r.o)
	if err := r.scenario(ctx, report); err != nil {
		return nil, err
	}
	return report, nil
}

func (r *run) scenario(ctx context.Context, report *Report) error {
	switch r.o.Scenario {
	case Pairs, Fanout, Fanin, Mixed:
		return r.traffic(ctx, report)
	case Retained:
		return r.retained(ctx, report)
	case Subscribe:
		return r.subscribe(ctx, report)
	case Connect:
		return r.connect(ctx, report)
	case Idle:
		return r.idle(ctx, report)
	}
	return fmt.Errorf("bench: there is no scenario %q; choose one of %q", r.o.Scenario, Scenarios)
}

// now is the time since the run began, in nanoseconds.
func (r *run) now() int64 { return int64(time.Since(r.start)) }

// fail ends the run. Only the first reason counts.
func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == nil {
		r.failure = err
		close(r.failed)
	}
}

// sleep waits for d, unless the run ends before.
func (r *run) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-r.failed:
		return r.failure
	case <-ctx.Done():
		return ctx.Err()
	}
}

// each runs fn on every shard, and waits for all.
func (r *run) each(fn func(s *shard)) {
	var done sync.WaitGroup
	for _, s := range r.shards {
		done.Add(1)
		s.engine.PostLoop(0, func(int, int64) {
			defer done.Done()
			fn(s)
		})
	}
	done.Wait()
}

// shardOf spreads things over the shards.
func (r *run) shardOf(i int) *shard { return r.shards[i%len(r.shards)] }

// open connects all clients and returns when each is ready: connected and subscribed.
func (r *run) open(ctx context.Context, clients []*client) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.o.SetupTime,
		fmt.Errorf("bench: not all of %d clients were connected and subscribed within %v", len(clients), r.o.SetupTime))
	defer cancel()
	slots := make(chan struct{}, r.o.Parallel)
	take := func() error {
		select {
		case slots <- struct{}{}:
			return nil
		case <-r.failed:
			return r.failure
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for _, c := range clients {
		if err := take(); err != nil {
			return err
		}
		c.ready = func() { <-slots }
		r.dial(c)
	}
	for range r.o.Parallel { // once all slots are free again, all are ready
		if err := take(); err != nil {
			return err
		}
	}
	return nil
}

// close says goodbye and ends the shards.
func (r *run) close() {
	if r.unwatch != nil {
		r.unwatch()
	}
	r.each(func(s *shard) { s.end() })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, s := range r.shards {
		_ = s.engine.Close(ctx) // the process has no further use for what is left
	}
}

// source is the local address for the next connection; the zero Addr leaves it to the system.
func (r *run) source() netip.Addr {
	if len(r.o.Sources) == 0 {
		return netip.Addr{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dialled++
	return r.o.Sources[int(r.dialled)%len(r.o.Sources)]
}

// sample takes the state of all shards, and what their histograms got since the last time.
func (r *run) sample() sample {
	now := sample{hist: newHistograms()}
	swapped := make([]*histograms, len(r.shards))
	counted := make([]counters, len(r.shards))
	r.each(func(s *shard) {
		counted[s.index] = s.counters
		swapped[s.index], s.hist, s.spare = s.hist, s.spare, nil
	})
	now.at = time.Since(r.start)
	now.self = ownCPU()
	if r.o.PID != 0 {
		u, err := usageOf(r.o.PID)
		if err != nil {
			r.fail(fmt.Errorf("bench: the broker, process %d, is gone: %w", r.o.PID, err))
		}
		now.broker = u
		r.peak = max(r.peak, u.rss)
	}
	for i, h := range swapped {
		now.counters.add(counted[i])
		now.hist.merge(h)
		h.reset()
	}
	r.each(func(s *shard) { s.spare = swapped[s.index] })
	return now
}

// measure counts for a time, after the warm-up, and returns the first and the last sample of it.
func (r *run) measure(ctx context.Context) (from, to sample, err error) {
	if r.o.Warmup > 0 {
		if err := r.sleep(ctx, r.o.Warmup); err != nil {
			return from, to, err
		}
	}
	from = r.sample()
	r.last, r.total, r.intervals = from, newHistograms(), nil
	r.peak = from.broker.rss
	end := from.at + r.o.Duration
	for at := from.at + r.o.Interval; err == nil; at += r.o.Interval {
		at = min(at, end)
		if err = r.sleep(ctx, at-time.Since(r.start)); err != nil {
			break
		}
		to = r.sample()
		r.total.merge(to.hist)
		r.intervals = append(r.intervals, intervalOf(from.at, r.last, to))
		r.live(to)
		r.last = to
		if at == end {
			return from, to, nil
		}
	}
	if errors.Is(err, context.Canceled) {
		err = fmt.Errorf("bench: interrupted after %v of measuring", (time.Since(r.start) - from.at).Round(time.Second))
	}
	return from, to, err
}
