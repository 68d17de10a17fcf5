package bench

import (
	"context"
	"fmt"
	"time"
)

// Churned is the result of the scenario subscribe. The report's other figures are those of the pair while subscriptions
// came and went; Report.Alone are those before.
type Churned struct {
	Subscriptions        int     `json:"subscriptions"`
	Sessions             int     `json:"sessions"`
	Rate                 float64 `json:"subscribed_per_second"`
	CPUPerSubscription   float64 `json:"cpu_us_per_subscription"`
	BytesPerSubscription float64 `json:"bytes_per_subscription"` // sessions and connections included
	Bytes                int64   `json:"bytes"`                  // of all of them together
	Churn                float64 `json:"churn_per_second"`
	Kept                 float64 `json:"throughput_kept"` // the pair's throughput with churn by that without
}

func (c *Churned) rows(row func(name, format string, args ...any), measured bool) {
	row("subscriptions", "%d of %d sessions, %s/s", c.Subscriptions, c.Sessions, thousands(c.Rate))
	if measured {
		row("subscription cost", "%.0f bytes, %.2f µs", c.BytesPerSubscription, c.CPUPerSubscription)
	}
	row("churn", "%s/s came and went; the pair kept %.0f %% of its throughput", thousands(c.Churn), 100*c.Kept)
}

// subscribe makes many subscriptions, then lets some come and go beside a pair.
func (r *run) subscribe(ctx context.Context, report *Report) error {
	if err := r.openPair(ctx); err != nil {
		return err
	}
	before, began := r.sample(), time.Now()
	connected, absent := r.sessions()
	if err := r.open(ctx, absent); err != nil {
		return err
	}
	if err := r.open(ctx, connected); err != nil {
		return err
	}
	took := time.Since(began)
	subscribed := r.sample() // before it settles: what follows is not the price of subscribing
	if err := r.sleep(ctx, r.o.Settle); err != nil {
		return err
	}
	after := r.sample()
	n := r.o.Subscriptions
	report.Subscribe = &Churned{Subscriptions: n, Sessions: r.o.Sessions, Rate: float64(n) / took.Seconds()}
	if r.o.PID != 0 {
		report.Subscribe.CPUPerSubscription = per((subscribed.broker.cpu-before.broker.cpu).Seconds()*1e6, int64(n))
		report.Subscribe.Bytes = after.broker.rss - before.broker.rss
		report.Subscribe.BytesPerSubscription = per(float64(after.broker.rss-before.broker.rss), int64(n))
		report.Broker = &Broker{RSSBefore: before.broker.rss}
	}
	r.begin(ctx)
	if err := r.alone(ctx, report); err != nil {
		return err
	}
	r.each(func(s *shard) { s.churn.begin(s, r.o.Churn/float64(len(r.shards))) })
	from, to, err := r.measure(ctx)
	if err != nil {
		return err
	}
	report.fill(r, from, to)
	report.Connections = 2 + len(connected)
	report.Subscribe.Churn = float64(to.counters.since(from.counters).unsubacks) / report.Seconds
	if report.Alone.Rate > 0 {
		report.Subscribe.Kept = report.Rate / report.Alone.Rate
	}
	if report.Lost, err = r.finish(ctx); err != nil || r.o.Keep {
		return err
	}
	return r.forget(ctx, absent)
}

// sessions makes the clients that hold the subscriptions: those that stay, and those that leave their session behind.
func (r *run) sessions() (connected, absent []*client) {
	o := &r.o
	filters := make([][]string, o.Sessions)
	wild := 0
	for i := range o.Subscriptions {
		last := "value"
		if float64(wild) < o.Wildcards*float64(i+1) {
			last = "+"
			wild++
		}
		k := i % o.Sessions
		filters[k] = append(filters[k], fmt.Sprintf("%s/subscribe/%d/%d/%s", o.Prefix, i%1000, i, last))
	}
	for i := range o.Sessions {
		c := r.newClient(r.shardOf(i), fmt.Sprintf("%s-subscribe-%d", o.Prefix, i), filters[i]...)
		if i < o.Clients {
			connected = append(connected, c)
			c.shard.churn.clients = append(c.shard.churn.clients, c)
			continue
		}
		c.keep = true
		r.comeAndGo(c)
		absent = append(absent, c)
	}
	return connected, absent
}

// comeAndGo has a client leave as soon as it is ready.
func (r *run) comeAndGo(c *client) {
	c.once = true
	c.closed = func(err error) {
		if c.stage != leaving {
			r.fail(fmt.Errorf("bench: %s was closed before it had subscribed: %w", c.id, err))
		}
	}
}

// forget ends the sessions that were left behind.
func (r *run) forget(ctx context.Context, absent []*client) error {
	again := make([]*client, len(absent))
	for i, c := range absent {
		again[i] = r.newClient(c.shard, c.id)
		r.comeAndGo(again[i])
	}
	return r.open(ctx, again)
}

// churn makes subscriptions come and go on a shard, at a steady rate.
type churn struct {
	clients []*client
	plan    schedule
	pacer   pacer
	stopped bool
	begun   int64 // unsubacks when it began
	done    int64
}

// maxChurning bounds what a shard may have under way.
const maxChurning = 1000

func (c *churn) begin(s *shard, rate float64) {
	if rate == 0 || len(c.clients) == 0 {
		return
	}
	c.plan = newSchedule(time.Duration(s.run.now()), rate, 1)
	c.begun = s.counters.unsubacks
	err := c.pacer.start(s, func() (next int64, more bool) {
		for !c.stopped {
			k, at, ok := c.plan.take(s.run.now())
			if !ok {
				return at, true
			}
			if c.done-(s.counters.unsubacks-c.begun) >= maxChurning {
				continue // this one is left out: the broker is behind
			}
			who := c.clients[k%int64(len(c.clients))]
			filter := fmt.Sprintf("%s/churn/%d/%d", s.run.o.Prefix, s.index, k)
			who.subscribe(filter)
			who.unsubscribe(filter)
			c.done++
		}
		return 0, false
	})
	if err != nil {
		s.run.fail(fmt.Errorf("bench: the clock of the subscriptions that come and go: %w", err))
	}
}

func (c *churn) stop() {
	c.stopped = true
	c.pacer.stop()
}
