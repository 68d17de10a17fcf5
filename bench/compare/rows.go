//go:build linux

package main

import (
	"net/netip"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/bench"
)

// row is one scenario of the comparison.
type row struct {
	name    string
	title   string
	options bench.Options // address, process and times are set for each measurement
	over    string        // transport; empty: tcp
	durable bool          // Nightjar has its store open
	wait    time.Duration // before the measurement, beside the warm-up
	metrics []metric
	// unfit names who cannot take part, with the reason; such a cell says so.
	unfit map[string]string
}

// metric is one figure of a row. Targets are advantages: how many times better Nightjar is to be at least; 0: none.
type metric struct {
	name      string
	unit      string
	of        func(rep *bench.Report) float64
	more      bool // is better
	mosquitto float64
	best      float64 // of the others, mosquitto and the floor apart
	floor     float64
}

// advantage is how many times better Nightjar is.
func (m *metric) advantage(nightjar, other float64) float64 {
	if m.more {
		return nightjar / other
	}
	return other / nightjar
}

// target is the advantage wanted over a peer in its role.
func (m *metric) target(role string) float64 {
	return map[string]float64{mosquittoName: m.mosquitto, bestRole: m.best, floorName: m.floor}[role]
}

const bestRole = "best other"

// atMost turns "at most f times theirs" into an advantage.
func atMost(f float64) float64 { return 1 / f }

func cpu(mosquitto, best, floor float64) metric {
	return metric{name: "CPU", unit: "µs", mosquitto: mosquitto, best: best, floor: floor, of: func(r *bench.Report) float64 { return r.Broker.CPUPerMessage }}
}

func throughput(mosquitto, best float64) metric {
	return metric{name: "throughput", unit: "/s", more: true, mosquitto: mosquitto, best: best, of: func(r *bench.Report) float64 { return r.Rate }}
}

func p99() metric {
	return metric{name: "p99", unit: "µs", mosquitto: 1, best: 1, of: func(r *bench.Report) float64 { return r.Latency.P99 }}
}

var (
	onlyQoS0 = map[string]string{floorName: "QoS 0 only"}
	noLayers = map[string]string{floorName: "TCP only"}
	noQoS2   = map[string]string{floorName: "QoS 0 only", "rabbitmq": "has no QoS 2"}
)

// transport is what the row's clients speak.
func (r *row) transport() string {
	if r.over == "" {
		return "tcp"
	}
	return r.over
}

// excuse says why a broker takes no part in a row; empty: it does.
func (r *row) excuse(p *peer) string {
	if p.tcpOnly && r.over != "" {
		return "TCP only"
	}
	return r.unfit[p.name]
}

// knownRows are those of the plan.
func knownRows() []*row {
	return []*row{
		{name: "pairs-32", title: "1 to 1, QoS 0, 32 messages per write",
			options: bench.Options{Scenario: bench.Pairs, Burst: 32, Window: 2048},
			metrics: []metric{cpu(40, 5, atMost(1.5)), throughput(0, 0)}},
		{name: "pairs-1", title: "1 to 1, QoS 0, 1 message per write",
			options: bench.Options{Scenario: bench.Pairs, Window: 1000},
			metrics: []metric{throughput(4, 1.3), cpu(0, 0, atMost(1.5))}},
		{name: "fanout-100", title: "1 to 100, QoS 0",
			options: bench.Options{Scenario: bench.Fanout, Clients: 100, Window: 100},
			metrics: []metric{cpu(20, 3, atMost(1.5)), throughput(0, 0)}},
		{name: "fanout-1000", title: "1 to 1,000, QoS 0",
			options: bench.Options{Scenario: bench.Fanout, Clients: 1000, Window: 20},
			metrics: []metric{cpu(7, 2, atMost(1.5)), throughput(0, 0)}},
		{name: "pairs-50", title: "50 pairs, QoS 0, 1 message per write, window 16",
			options: bench.Options{Scenario: bench.Pairs, Clients: 50, Window: 16},
			metrics: []metric{cpu(4, 1.5, 0), throughput(0, 0)}},
		{name: "qos1", title: "10 pairs, QoS 1, 16 per write, window 256",
			options: bench.Options{Scenario: bench.Pairs, Clients: 10, QoS: 1, Burst: 16, Window: 256},
			metrics: []metric{cpu(25, 10, 0), throughput(0, 0)}, unfit: onlyQoS0},
		{name: "qos2", title: "10 pairs, QoS 2, window 256",
			options: bench.Options{Scenario: bench.Pairs, Clients: 10, QoS: 2, Window: 256},
			metrics: []metric{cpu(15, 5, 0), throughput(0, 0)}, unfit: noQoS2},
		{name: "fanin-5000", title: "5,000 publishers to 1 subscriber, 40,000 messages/s",
			options: bench.Options{Scenario: bench.Fanin, Clients: 5000, Rate: 40_000},
			metrics: []metric{cpu(1, 1, 0), p99()}},
		{name: "fanin-2000", title: "2,000 publishers to 1 subscriber, 2,000 messages/s",
			options: bench.Options{Scenario: bench.Fanin, Clients: 2000, Rate: 2000},
			metrics: []metric{cpu(atMost(1.5), 1, atMost(1.2))}},
		{name: "large", title: "1 to 10, QoS 0, 64 kB payload",
			options: bench.Options{Scenario: bench.Fanout, Clients: 10, Payload: 64 << 10, Window: 8},
			metrics: []metric{cpu(2, 1.5, 0), throughput(1, 1)}},
		{name: "fanout-tls", title: "1 to 100 over TLS, QoS 0", over: "tls",
			options: bench.Options{Scenario: bench.Fanout, Clients: 100, Window: 100},
			metrics: []metric{cpu(5, 2, 0), throughput(0, 0)}, unfit: noLayers},
		{name: "fanout-ws", title: "1 to 100 over WebSocket, QoS 0", over: "ws",
			options: bench.Options{Scenario: bench.Fanout, Clients: 100, Window: 100},
			metrics: []metric{cpu(5, 2, 0), throughput(0, 0)}, unfit: noLayers},
		{name: "idle", title: "15,000 idle connections with a subscription each, 5 s after they came", durable: true, wait: 3 * time.Second,
			options: bench.Options{Scenario: bench.Idle, Clients: 15_000},
			metrics: []metric{{name: "memory", unit: "bytes each", best: 1,
				of: func(r *bench.Report) float64 { return r.Idle.BytesPerConnection }}}},
		{name: "connect", title: "connect, subscribe, disconnect",
			options: bench.Options{Scenario: bench.Connect, Sources: loopback(8)},
			metrics: []metric{
				{name: "rate", unit: "/s", more: true, mosquitto: 1.5, best: 1.5, of: func(r *bench.Report) float64 { return r.Connect.Rate }},
				{name: "CPU", unit: "µs each", of: func(r *bench.Report) float64 { return r.Connect.CPUPerRound }},
			}},
	}
}

// loopback gives the first n loopback addresses.
func loopback(n int) (out []netip.Addr) {
	for i := range n {
		out = append(out, netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i)}))
	}
	return out
}
