//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/bench"
)

// comparison is one run of the program.
type comparison struct {
	*settings
	work    string
	rows    []*row
	peers   []*peer
	started time.Time
	results []measurement
}

// measurement is one scenario with one broker, once.
type measurement struct {
	Row    string        `json:"row"`
	Peer   string        `json:"peer"`
	Round  int           `json:"round"`
	Report *bench.Report `json:"report,omitempty"`
	Failed string        `json:"failed,omitempty"` // why there is no report, or why it does not count
}

// maxFailed is how often a broker may fail in a row before it is left alone there.
const maxFailed = 2

// measure fills c.results. An error does not make worthless what is there by then.
func (c *comparison) measure(ctx context.Context) error {
	var failures []error
	for i, r := range c.rows {
		// Rounds beyond those asked for take what is left of the row's share of the time.
		share := time.Duration(float64(c.budget) * float64(i+1) / float64(len(c.rows)))
		if err := c.row(ctx, r, c.started.Add(share)); err != nil {
			failures = append(failures, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: %w", ctx.Err())
		}
	}
	return errors.Join(failures...)
}

// row measures one scenario: at least c.rounds rounds, more while it is undecided and until is not reached.
func (c *comparison) row(ctx context.Context, r *row, until time.Time) error {
	failed := map[string]int{}
	for round := range c.most {
		if round >= c.rounds && (c.decided(r) || time.Now().After(until)) {
			break
		}
		for i := range c.peers {
			p := c.peers[(i+round)%len(c.peers)] // nobody is always the one after a certain other
			if r.excuse(p) != "" || failed[p.name] >= maxFailed || round >= enough && c.outrun(r, p) {
				continue
			}
			m := c.once(ctx, r, p, round)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.results = append(c.results, m)
			c.tell(r, &m)
			if m.Failed == "" {
				continue
			}
			failed[p.name]++
			if p.name == nightjarName && failed[p.name] >= maxFailed {
				return fmt.Errorf("%s: Nightjar itself failed: %s", r.name, m.Failed)
			}
		}
	}
	return nil
}

const (
	enough = 2   // rounds after which a broker may be left out of a row
	behind = 1.5 // times the best other's figure
)

// outrun tells whether a broker cannot be the best other in a row any more: in every round and figure it was far behind the
// one that is.
func (c *comparison) outrun(r *row, p *peer) bool {
	if p.name == nightjarName || p.name == mosquittoName || p.name == floorName {
		return false
	}
	for i := range r.metrics {
		m := &r.metrics[i]
		best := c.best(r, m)
		top := c.series(r, m, best)
		for round, v := range c.series(r, m, p.name) {
			if t, both := top[round]; best == p.name || both && m.advantage(t, v) < behind {
				return false
			}
		}
	}
	return true
}

// once starts the broker, measures, and stops it.
func (c *comparison) once(ctx context.Context, r *row, p *peer, round int) measurement {
	m := measurement{Row: r.name, Peer: p.name, Round: round}
	o := r.options
	process, err := p.start(ctx, c.work, r, &o)
	if err != nil {
		m.Failed = err.Error()
		return m
	}
	defer process.stop()
	o.Duration, o.Warmup, o.SetupTime = c.duration, c.warmup+r.wait, 3*time.Minute
	runtime.GC() // what the last measurement left is not to be collected in this one
	if m.Report, err = bench.Run(ctx, o); err != nil {
		m.Failed = err.Error()
		return m
	}
	m.Failed = unusable(m.Report)
	return m
}

// unusable says why a report does not count: a broker that drops a part of what it is sent, or takes less than it is sent
// at a given rate, does not do the same work as the others.
func unusable(rep *bench.Report) string {
	switch expected := rep.Options.Rate; {
	case rep.Broker == nil || rep.Broker.CPUSeconds <= 0 && rep.Idle == nil:
		return "its CPU time could not be read"
	case rep.Delivered == 0 && rep.Idle == nil && rep.Connect == nil:
		return "delivered nothing"
	case expected > 0 && rep.Rate < 0.97*expected:
		return fmt.Sprintf("delivered %.0f of %.0f messages/s", rep.Rate, expected)
	case rep.Connect != nil && rep.Connect.Failed*100 > rep.Connect.Done:
		return fmt.Sprintf("%d of %d connections failed", rep.Connect.Failed, rep.Connect.Failed+rep.Connect.Done)
	case float64(rep.Lost) > 0.001*float64(rep.Delivered):
		return fmt.Sprintf("lost %d messages, delivered %d", rep.Lost, rep.Delivered)
	}
	return ""
}

func (c *comparison) tell(r *row, m *measurement) {
	if m.Failed != "" {
		fmt.Fprintf(os.Stderr, "%-12s %2d  %-10s failed: %s\n", r.name, m.Round+1, m.Peer, m.Failed)
		return
	}
	fmt.Fprintf(os.Stderr, "%-12s %2d  %-10s", r.name, m.Round+1, m.Peer)
	for i := range r.metrics {
		fmt.Fprintf(os.Stderr, "  %s %s", r.metrics[i].name, figure(r.metrics[i].of(m.Report), r.metrics[i].unit))
	}
	fmt.Fprintf(os.Stderr, "  (%s)\n", m.Report.Limit)
}

// series is a metric of one broker by round.
func (c *comparison) series(r *row, m *metric, peer string) map[int]float64 {
	out := map[int]float64{}
	for i := range c.results {
		if x := &c.results[i]; x.Row == r.name && x.Peer == peer && x.Failed == "" {
			out[x.Round] = m.of(x.Report)
		}
	}
	return out
}

// decided tells whether each target of a row is clearly reached or clearly missed.
func (c *comparison) decided(r *row) bool {
	for i := range r.metrics {
		m := &r.metrics[i]
		for _, role := range []string{mosquittoName, bestRole, floorName} {
			target := m.target(role)
			if target == 0 {
				continue
			}
			if ratio, _, ok := c.against(r, m, role); ok && ratio.contains(target) {
				return false
			}
		}
	}
	return true
}

// against compares Nightjar with a broker, or with the best of the others. ok is false if there is nothing to compare.
func (c *comparison) against(r *row, m *metric, role string) (advantage interval, name string, ok bool) {
	name = role
	if role == bestRole {
		if name = c.best(r, m); name == "" {
			return interval{}, "", false
		}
	}
	nightjar, other := c.series(r, m, nightjarName), c.series(r, m, name)
	var ratios []float64
	for round, mine := range nightjar {
		if theirs, both := other[round]; both && mine > 0 && theirs > 0 {
			ratios = append(ratios, m.advantage(mine, theirs))
		}
	}
	return intervalOf(ratios), name, len(ratios) > 0
}

// best names the broker with the best median, Nightjar, mosquitto and the floor apart.
func (c *comparison) best(r *row, m *metric) (name string) {
	var top float64
	for _, p := range c.peers {
		if p.name == nightjarName || p.name == mosquittoName || p.name == floorName {
			continue
		}
		v := medianOf(c.series(r, m, p.name))
		if v > 0 && (name == "" || m.more && v > top || !m.more && v < top) {
			name, top = p.name, v
		}
	}
	return name
}
