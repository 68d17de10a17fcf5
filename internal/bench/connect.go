package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// lingerTime is how long a broker may take to close after DISCONNECT.
const lingerTime = time.Second

// connect runs Parallel clients that each connect, subscribe, disconnect, and do so again as soon as the broker has closed.
func (r *run) connect(ctx context.Context, report *Report) error {
	before := r.sample()
	var last atomic.Pointer[error] // of the rounds that failed
	for i := range r.o.Parallel {
		s := r.shardOf(i)
		c := r.newClient(s, fmt.Sprintf("%s-%d", r.o.Prefix, i), fmt.Sprintf("%s/connect/%d", r.o.Prefix, i))
		c.once = true
		failures := 0
		c.closed = func(err error) {
			if s.ending {
				return
			}
			if c.stage == leaving {
				s.counters.ended++
				record(s.hist.latency, r.now()-c.begun, 1)
				failures = 0
			} else {
				s.counters.failed++
				last.Store(&err)
				if failures++; failures > maxFailures {
					r.fail(fmt.Errorf("bench: %s could not connect %d times in a row (out of ports? see --sources): %w", c.id, failures, err))
					return
				}
			}
			r.dial(c)
		}
		s.engine.PostLoop(0, func(int, int64) { r.dial(c) })
	}
	from, to, err := r.measure(ctx)
	if err != nil {
		return err
	}
	report.Connections = r.o.Parallel
	if r.o.PID != 0 {
		report.Broker = &Broker{RSSBefore: before.broker.rss}
	}
	report.fill(r, from, to)
	c := to.counters.since(from.counters)
	if err := last.Load(); c.ended == 0 && err != nil {
		return fmt.Errorf("bench: of %d clients none could connect, subscribe and disconnect: %w", r.o.Parallel, *err)
	}
	report.Connect = &Rounds{Done: c.ended, Failed: c.failed, Rate: float64(c.ended) / report.Seconds}
	if report.Broker != nil {
		report.Connect.CPUPerRound = per(report.Broker.CPUSeconds*1e6, c.ended)
	}
	return nil
}

const maxFailures = 100

// idle connects clients, each with a subscription of its own, and lets them be.
func (r *run) idle(ctx context.Context, report *Report) error {
	before := r.sample()
	clients := make([]*client, r.o.Clients)
	for i := range clients {
		clients[i] = r.newClient(r.shardOf(i), fmt.Sprintf("%s-idle-%d", r.o.Prefix, i), fmt.Sprintf("%s/idle/%d", r.o.Prefix, i))
	}
	if err := r.open(ctx, clients); err != nil {
		return err
	}
	opened := r.sample()
	from, to, err := r.measure(ctx)
	if err != nil {
		return err
	}
	report.Connections = len(clients)
	if r.o.PID != 0 {
		report.Broker = &Broker{RSSBefore: before.broker.rss}
	}
	report.fill(r, from, to)
	took := (opened.at - before.at).Seconds()
	report.Idle = &IdleCost{Connections: len(clients), ConnectSeconds: took, ConnectRate: float64(len(clients)) / took}
	if report.Broker != nil {
		report.Idle.BytesPerConnection = float64(to.broker.rss-before.broker.rss) / float64(len(clients))
		report.Idle.CPUPerConnect = (opened.broker.cpu - before.broker.cpu).Seconds() * 1e6 / float64(len(clients))
	}
	return nil
}
