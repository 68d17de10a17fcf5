package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are recorded in nanoseconds, from about a microsecond to two minutes, with three significant figures.
const (
	minLatency = int64(time.Microsecond)
	maxLatency = int64(2 * time.Minute)
)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(minLatency, maxLatency, 3) }

// record counts n values. What lies outside is counted at the edge: a latency must not vanish because it is absurd.
func record(h *hdrhistogram.Histogram, ns, n int64) {
	_ = h.RecordValues(min(max(ns, 0), maxLatency), n) // an error means out of range
}

// counters are what a shard has counted since it was made.
type counters struct {
	sent      int64 // messages
	delivered int64 // messages received by subscribers, each copy counted
	quiet     int64 // messages received by quiet clients
	acked     int64 // QoS 1 and 2: publishes completed
	bytesIn   int64
	bytesOut  int64
	foreign   int64 // received, but not of this run
	connected int64 // connections that have come as far as they should
	ended     int64 // connect: whole rounds of connect, subscribe, disconnect
	failed    int64 // connect: rounds that failed
	subacks   int64
	unsubacks int64
}

func (c *counters) add(d counters) {
	c.sent += d.sent
	c.delivered += d.delivered
	c.quiet += d.quiet
	c.acked += d.acked
	c.bytesIn += d.bytesIn
	c.bytesOut += d.bytesOut
	c.foreign += d.foreign
	c.connected += d.connected
	c.ended += d.ended
	c.failed += d.failed
	c.subacks += d.subacks
	c.unsubacks += d.unsubacks
}

func (c counters) since(b counters) counters {
	return counters{
		sent: c.sent - b.sent, delivered: c.delivered - b.delivered, quiet: c.quiet - b.quiet, acked: c.acked - b.acked,
		bytesIn: c.bytesIn - b.bytesIn, bytesOut: c.bytesOut - b.bytesOut, foreign: c.foreign - b.foreign,
		connected: c.connected - b.connected, ended: c.ended - b.ended, failed: c.failed - b.failed,
		subacks: c.subacks - b.subacks, unsubacks: c.unsubacks - b.unsubacks,
	}
}

// histograms of one shard and one interval.
type histograms struct {
	latency *hdrhistogram.Histogram // of messages, or of rounds in the scenario connect
	lag     *hdrhistogram.Histogram // open loop: how late the generator itself was
}

func newHistograms() *histograms { return &histograms{latency: newHistogram(), lag: newHistogram()} }

func (h *histograms) merge(from *histograms) {
	h.latency.Merge(from.latency)
	h.lag.Merge(from.lag)
}

func (h *histograms) reset() {
	h.latency.Reset()
	h.lag.Reset()
}

// sample is the state of the whole run at one time.
type sample struct {
	at       time.Duration // since the start of the run
	counters counters
	broker   usage
	self     time.Duration // CPU time of the generator
	hist     *histograms   // what came since the sample before
}

// Latency is a distribution in microseconds.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_us"`
	P50   float64 `json:"p50_us"`
	P90   float64 `json:"p90_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p999_us"`
	Max   float64 `json:"max_us"`
}

func latencyOf(h *hdrhistogram.Histogram) Latency {
	if h.TotalCount() == 0 {
		return Latency{}
	}
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	return Latency{
		Count: h.TotalCount(), Mean: h.Mean() / 1e3, P50: us(h.ValueAtPercentile(50)), P90: us(h.ValueAtPercentile(90)),
		P99: us(h.ValueAtPercentile(99)), P999: us(h.ValueAtPercentile(99.9)), Max: us(h.Max()),
	}
}
