package bench

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// usage is what a process has used.
type usage struct {
	cpu time.Duration
	rss int64 // resident bytes now
}

// Report is the result of a run, as it is written to a JSON file. Counts are of the measured time, without warm-up.
type Report struct {
	Options     Options    `json:"options"`
	Machine     Machine    `json:"machine"`
	Started     time.Time  `json:"started"`
	Seconds     float64    `json:"seconds"`
	Connections int        `json:"connections"`
	Sent        int64      `json:"sent"`
	Delivered   int64      `json:"delivered"` // copies
	SentRate    float64    `json:"sent_per_second"`
	Rate        float64    `json:"delivered_per_second"`
	BytesRate   float64    `json:"received_bytes_per_second"`
	Lost        int64      `json:"lost"` // expected and not arrived, in the whole run
	Foreign     int64      `json:"foreign,omitempty"`
	Latency     Latency    `json:"latency"`
	Broker      *Broker    `json:"broker,omitempty"`
	Generator   Generator  `json:"generator"`
	Limit       Limit      `json:"limit"`
	Connect     *Rounds    `json:"connect,omitempty"`
	Idle        *IdleCost  `json:"idle,omitempty"`
	Retained    *Replays   `json:"retained,omitempty"`
	Subscribe   *Churned   `json:"subscribe,omitempty"`
	Alone       *Alone     `json:"alone,omitempty"`
	Intervals   []Interval `json:"intervals,omitempty"`
}

// Machine is where it was measured.
type Machine struct {
	CPUs   int    `json:"cpus"`
	System string `json:"system"`
	Model  string `json:"model,omitempty"`
	Go     string `json:"go"`
}

// Broker is what the broker's process used.
type Broker struct {
	CPUSeconds    float64 `json:"cpu_seconds"`
	Cores         float64 `json:"cores"`
	CPUPerMessage float64 `json:"cpu_us_per_message"` // per delivered copy; 0 if there were none
	RSSBefore     int64   `json:"rss_before_bytes"`   // before the first connection
	RSS           int64   `json:"rss_bytes"`          // at the end of the measurement
	RSSPeak       int64   `json:"rss_peak_bytes"`     // the largest seen while measuring
}

// Generator is what the measuring itself used.
type Generator struct {
	CPUSeconds    float64 `json:"cpu_seconds"`
	Busy          float64 `json:"busy"` // share of its loops' time
	CPUPerMessage float64 `json:"cpu_us_per_message"`
	Lag           Latency `json:"lag"` // open loop: how late it was to send
}

// Limit is what kept the throughput from being higher, as far as it can be told.
type Limit string

// The limits.
const (
	LimitUnknown   Limit = ""
	LimitRate      Limit = "rate"      // the rate that was asked for
	LimitGenerator Limit = "generator" // its loops were busy all the time, and the broker was not
	LimitMachine   Limit = "machine"   // all cores were busy
	LimitBroker    Limit = "broker"
	LimitLate      Limit = "late" // the generator could not keep its timetable
)

var limitTexts = map[Limit]string{
	LimitGenerator: "The generator was the limit, not the broker: its CPU time per message is the figure that counts, best at a fixed --rate.",
	LimitMachine:   "All cores were busy, the generator's and the broker's: compare CPU time per message, not throughput.",
	LimitRate:      "The rate was given; CPU time per message and latency are the figures that count.",
	LimitBroker:    "The broker was the limit.",
	LimitLate:      "The generator was late to send, for want of CPU time, and latencies include that: do not hold them against the broker.",
}

// Rounds is the result of the scenario connect.
type Rounds struct {
	Done        int64   `json:"done"` // connect, subscribe, disconnect
	Failed      int64   `json:"failed"`
	Rate        float64 `json:"per_second"`
	CPUPerRound float64 `json:"cpu_us_per_connection"`
}

// IdleCost is the result of the scenario idle.
type IdleCost struct {
	Connections        int     `json:"connections"`
	ConnectSeconds     float64 `json:"connect_seconds"`
	ConnectRate        float64 `json:"connect_per_second"`
	BytesPerConnection float64 `json:"bytes_per_connection"`
	CPUPerConnect      float64 `json:"cpu_us_per_connect"`
}

// Interval is a piece of the run. Latencies are in microseconds.
type Interval struct {
	At        float64 `json:"at_seconds"` // its end, from the start of the measurement
	Sent      float64 `json:"sent_per_second"`
	Delivered float64 `json:"delivered_per_second"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	Max       float64 `json:"max_us"`
	Cores     float64 `json:"broker_cores,omitempty"`
	RSS       int64   `json:"broker_rss_bytes,omitempty"`
}

func newReport(o *Options) *Report {
	return &Report{Options: *o, Started: time.Now().UTC(), Machine: ThisMachine()}
}

// ThisMachine describes the machine.
func ThisMachine() Machine {
	m := Machine{CPUs: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version()}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.System += " " + strings.TrimSpace(string(kernel))
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m
	}
	for _, line := range strings.Split(string(info), "\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			m.Model = strings.TrimSpace(v)
			break
		}
	}
	return m
}

func intervalOf(start time.Duration, from, to sample) Interval {
	d := (to.at - from.at).Seconds()
	c := to.counters.since(from.counters)
	l := latencyOf(to.hist.latency)
	return Interval{
		At: (to.at - start).Seconds(), Sent: float64(c.sent) / d, Delivered: float64(c.delivered) / d,
		P50: l.P50, P99: l.P99, Max: l.Max,
		Cores: (to.broker.cpu - from.broker.cpu).Seconds() / d, RSS: to.broker.rss,
	}
}

// fill sets what all scenarios have in common.
func (rep *Report) fill(r *run, from, to sample) {
	d := (to.at - from.at).Seconds()
	c := to.counters.since(from.counters)
	rep.Seconds = d
	rep.Sent, rep.Delivered, rep.Foreign = c.sent, c.delivered, c.foreign
	rep.SentRate, rep.Rate, rep.BytesRate = float64(c.sent)/d, float64(c.delivered)/d, float64(c.bytesIn)/d
	rep.Latency = latencyOf(r.total.latency)
	rep.Intervals = r.intervals
	self := (to.self - from.self).Seconds()
	rep.Generator = Generator{
		CPUSeconds: self, Busy: self / d / float64(r.o.Loops), CPUPerMessage: per(self*1e6, c.delivered), Lag: latencyOf(r.total.lag),
	}
	if r.o.PID != 0 {
		if rep.Broker == nil {
			rep.Broker = &Broker{RSSBefore: from.broker.rss}
		}
		cpu := (to.broker.cpu - from.broker.cpu).Seconds()
		b := rep.Broker
		b.CPUSeconds, b.Cores, b.CPUPerMessage = cpu, cpu/d, per(cpu*1e6, c.delivered)
		b.RSS, b.RSSPeak = to.broker.rss, r.peak
	}
	rep.Limit = rep.limit()
}

func per(total float64, n int64) float64 {
	if n == 0 {
		return 0
	}
	return total / float64(n)
}

// limit judges from how busy the two sides were.
func (rep *Report) limit() Limit {
	const full = 0.9
	busy := rep.Generator.Busy
	own := busy * float64(rep.Options.Loops)
	late := rep.Generator.Lag.P99 > 2000 // µs
	switch {
	case late:
		return LimitLate
	case rep.Options.Rate > 0 && rep.SentRate > 0.99*rep.Options.Rate:
		return LimitRate
	case rep.Broker != nil && own+rep.Broker.Cores >= full*float64(rep.Machine.CPUs):
		return LimitMachine
	case busy >= full:
		return LimitGenerator
	case rep.Broker != nil && rep.Broker.Cores >= full:
		return LimitBroker
	}
	return LimitUnknown
}

// Write prints the report for people.
func (rep *Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	o := &rep.Options
	over := map[string]string{"tls": " over TLS", "ws": " over WebSocket", "wss": " over WebSocket over TLS"}[o.Transport]
	row("scenario", "%s%s", o.describe(), over)
	row("measured", "%.1f s after %v of warm-up, %d connections", rep.Seconds, o.Warmup, rep.Connections)
	if rep.Connect != nil {
		rep.Connect.rows(row)
	}
	if rep.Idle != nil {
		rep.Idle.rows(row, rep.Broker != nil)
	}
	if rep.Retained != nil {
		rep.Retained.rows(row, rep.Broker != nil)
	}
	if rep.Subscribe != nil {
		rep.Subscribe.rows(row, rep.Broker != nil)
	}
	if a := rep.Alone; a != nil {
		row("the pair alone", "%s/s  p50 %s  p99 %s  max %s", thousands(a.Rate), micros(a.Latency.P50), micros(a.Latency.P99), micros(a.Latency.Max))
	}
	if rep.Sent > 0 {
		row("sent", "%s/s", thousands(rep.SentRate))
		row("delivered", "%s/s, %s MB/s", thousands(rep.Rate), thousands(rep.BytesRate/1e6))
		row("lost", "%d", rep.Lost)
	}
	if rep.Foreign > 0 {
		row("not ours", "%d messages", rep.Foreign)
	}
	if l := rep.Latency; l.Count > 0 {
		row("latency", "p50 %s  p90 %s  p99 %s  p99.9 %s  max %s", micros(l.P50), micros(l.P90), micros(l.P99), micros(l.P999), micros(l.Max))
	}
	if b := rep.Broker; b != nil {
		row("broker CPU", "%s, %.2f cores", perMessage(b.CPUPerMessage), b.Cores)
		row("broker memory", "%s MB before, %s MB after, %s MB at most", megabytes(b.RSSBefore), megabytes(b.RSS), megabytes(b.RSSPeak))
	}
	row("generator", "%s, %.0f %% of %d loops busy", perMessage(rep.Generator.CPUPerMessage), 100*rep.Generator.Busy, o.Loops)
	if l := rep.Generator.Lag; l.Count > 0 {
		row("generator late", "p50 %s  p99 %s  max %s", micros(l.P50), micros(l.P99), micros(l.Max))
	}
	if text := limitTexts[rep.Limit]; text != "" {
		row("limit", "%s", text)
	}
	return t.Flush()
}

// describe is the load in words.
func (o *Options) describe() string {
	switch o.Scenario {
	case Connect:
		return fmt.Sprintf("connect, %d clients at a time", o.Parallel)
	case Idle:
		return fmt.Sprintf("idle, %d connections", o.Clients)
	case Mixed:
		return fmt.Sprintf("mixed, %d publishers, %d bytes and more, %s", o.Clients, o.Payload, o.loop())
	case Retained:
		return fmt.Sprintf("retained, %d topics, QoS %d, %d bytes, a pair with %s", o.Clients, o.QoS, o.Payload, o.loop())
	case Subscribe:
		return fmt.Sprintf("subscribe, %d clients, a pair with QoS %d, %d bytes, %s", o.Clients, o.QoS, o.Payload, o.loop())
	}
	clients := fmt.Sprintf("%s, %d clients", o.Scenario, o.Clients)
	if o.Group > 0 {
		clients += fmt.Sprintf(" to a group of %d", o.Group)
	}
	return fmt.Sprintf("%s, QoS %d, %d bytes, %d per write, %s", clients, o.QoS, o.Payload, o.Burst, o.loop())
}

func (o *Options) loop() string {
	if o.Rate > 0 {
		return fmt.Sprintf("%g messages/s", o.Rate)
	}
	return fmt.Sprintf("window %d", o.Window)
}

func (c *Rounds) rows(row func(name, format string, args ...any)) {
	row("connections", "%s/s connected, subscribed and disconnected; %d failed", thousands(c.Rate), c.Failed)
	if c.CPUPerRound > 0 {
		row("broker CPU", "%.1f µs per connection", c.CPUPerRound)
	}
}

func (c *IdleCost) rows(row func(name, format string, args ...any), measured bool) {
	row("connecting", "%d connections in %.1f s, %s/s", c.Connections, c.ConnectSeconds, thousands(c.ConnectRate))
	if measured {
		row("memory", "%s bytes per connection", thousands(c.BytesPerConnection))
		row("connect CPU", "%.1f µs per connection", c.CPUPerConnect)
	}
}

func perMessage(us float64) string {
	if us == 0 {
		return "no messages"
	}
	return fmt.Sprintf("%.3f µs per message", us)
}

func micros(us float64) string {
	switch {
	case us < 1000:
		return fmt.Sprintf("%.0fµs", us)
	case us < 1e6:
		return fmt.Sprintf("%.2fms", us/1e3)
	}
	return fmt.Sprintf("%.2fs", us/1e6)
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f", float64(n)/1e6) }

// thousands writes a number with separators, and with decimals if it is small.
func thousands(f float64) string {
	if math.Abs(f) < 100 {
		return fmt.Sprintf("%.1f", f)
	}
	s := fmt.Sprintf("%.0f", f)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
