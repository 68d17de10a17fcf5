package bench

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Scenario is what the clients do.
type Scenario string

// The scenarios.
const (
	Pairs     Scenario = "pairs"     // n publishers to n subscribers, each pair with a topic of its own
	Fanout    Scenario = "fanout"    // 1 publisher to n subscribers
	Fanin     Scenario = "fanin"     // n publishers with a topic each, 1 subscriber with a wildcard, or a shared group
	Mixed     Scenario = "mixed"     // QoS 0, 1 and 2, exact and wildcard subscriptions, payloads of several sizes
	Connect   Scenario = "connect"   // clients that connect, subscribe, disconnect, again and again
	Idle      Scenario = "idle"      // n connections with a subscription each that do nothing
	Retained  Scenario = "retained"  // a wildcard subscription over n retained topics, beside a pair that goes on
	Subscribe Scenario = "subscribe" // n subscriptions, then some come and go, beside a pair that goes on
)

// Scenarios lists all of them.
var Scenarios = []Scenario{Pairs, Fanout, Fanin, Mixed, Connect, Idle, Retained, Subscribe}

// Options say what to do. The zero value of a field means its default, which DefaultOptions shows.
type Options struct {
	Scenario Scenario `json:"scenario"`
	Address  string   `json:"address"` // of the broker, host:port
	// Clients is the n of the scenario: pairs, subscribers of fanout, publishers of fanin, connections, retained topics.
	Clients int `json:"clients"`
	// Group makes fanin's subscriber a shared group of so many members; 0: one ordinary subscriber.
	Group   int `json:"group,omitempty"`
	QoS     int `json:"qos"`
	Payload int `json:"payload"` // bytes, at least MinPayload
	// Rate is messages sent per second, all publishers together: an open loop. Latency counts from the time at which a
	// message was to be sent, so a stall is not hidden. 0: a closed loop with Window.
	Rate float64 `json:"rate,omitempty"`
	// Window is how many messages a publisher may have on the way, to the broker's acknowledgement and to its subscribers.
	Window   int           `json:"window,omitempty"`
	Burst    int           `json:"burst"` // messages per write
	Duration time.Duration `json:"duration"`
	Warmup   time.Duration `json:"warmup"`
	Version  mqtt.Version  `json:"version"`
	Username string        `json:"-"`
	Password string        `json:"-"`
	// TLS, if not nil, is how to speak TLS; WebSocket puts MQTT into WebSocket frames, to a URL with this Path.
	TLS       *tls.Config `json:"-"`
	WebSocket bool        `json:"-"`
	Path      string      `json:"-"`
	Transport string      `json:"transport"` // tcp, tls, ws or wss: what the three above come to
	// PID is the broker's process: its CPU time and memory are read from the system. 0: they are not.
	PID int `json:"pid,omitempty"`
	// Sources are local addresses that connections are spread over: each has its own ports. Empty: the system chooses.
	Sources []netip.Addr `json:"sources,omitempty"`
	// Parallel is how many clients are being connected at a time.
	Parallel  int    `json:"parallel"`
	Loops     int    `json:"loops"` // event loops of the generator
	KeepAlive uint16 `json:"keepalive,omitempty"`
	// Subscriptions is their number in the scenario subscribe, over Sessions clients of which Clients stay connected; Wildcards
	// is the share of them with a wildcard. Churn is how many a second come and go afterwards.
	Subscriptions int     `json:"subscriptions,omitempty"`
	Sessions      int     `json:"sessions,omitempty"`
	Wildcards     float64 `json:"wildcards,omitempty"`
	Churn         float64 `json:"churn,omitempty"`
	// Keep leaves retained messages, or sessions, behind.
	Keep bool `json:"keep,omitempty"`
	// Everything has the scenario retained subscribe to # instead of its own topics: there must be no other retained messages.
	Everything bool `json:"everything,omitempty"`
	// Settle is how long the broker is left alone before its memory counts, in the scenarios subscribe and retained.
	Settle time.Duration `json:"settle,omitempty"`
	Prefix string        `json:"prefix"` // of all topics and client identifiers
	// Interval is how often counts are taken, for the live line and the plot.
	Interval time.Duration `json:"interval"`
	// Live, if not nil, gets a line each second.
	Live io.Writer `json:"-"`
	// LiveEnd is written after each live line: "\n", or "\r" on a terminal.
	LiveEnd string `json:"-"`
	// SetupTime bounds connecting, subscribing and whatever else precedes the measurement.
	SetupTime time.Duration `json:"-"`
}

const (
	// MinPayload is the smallest payload in bytes: the stamp.
	MinPayload = stampSize
	maxBatch   = 16 << 20 // bytes per write
	// windowBytes bounds the default window: brokers drop QoS 0 when too much waits for a socket.
	windowBytes = 512 << 10
)

// DefaultOptions are those of `nightjar bench` for a scenario.
func DefaultOptions(s Scenario) Options {
	o := Options{
		Scenario: s, Address: "127.0.0.1:1883", Clients: 1, Payload: 64, Burst: 1,
		Duration: 10 * time.Second, Warmup: time.Second, Version: mqtt.V311, Parallel: 64,
		Loops: max(1, runtime.GOMAXPROCS(0)/2), Prefix: "nightjar-bench", Interval: 200 * time.Millisecond,
		LiveEnd: "\n", SetupTime: 2 * time.Minute,
	}
	switch s {
	case Fanout, Fanin:
		o.Clients = 100
	case Mixed:
		o.Clients, o.Window = 50, 16
	case Connect:
		o.Parallel, o.Clients = 32, 0
	case Idle:
		o.Clients = 1000
	case Retained:
		o.Clients, o.Rate = 10_000, 1000
	case Subscribe:
		o.Clients, o.Subscriptions, o.Wildcards, o.Churn = 100, 100_000, 0.1, 1000
	}
	return o
}

func (o *Options) complete() error {
	d := DefaultOptions(o.Scenario)
	o.Address = or(o.Address, d.Address)
	o.Payload, o.Burst = or(o.Payload, d.Payload), or(o.Burst, d.Burst)
	o.Duration, o.Interval = or(o.Duration, d.Duration), or(o.Interval, d.Interval)
	o.SetupTime = or(o.SetupTime, d.SetupTime)
	o.Version, o.Parallel, o.Loops = or(o.Version, d.Version), or(o.Parallel, d.Parallel), or(o.Loops, d.Loops)
	o.Prefix, o.Clients = or(o.Prefix, d.Prefix), or(o.Clients, d.Clients)
	o.Window = or(o.Window, or(d.Window, o.defaultWindow()))
	o.Sessions = max(o.Sessions, o.Clients)
	o.Path, o.Transport = or(o.Path, "/mqtt"), o.transport()
	switch {
	case o.Clients < 0 || o.Clients == 0 && o.Scenario != Connect:
		return fmt.Errorf("bench: %d clients; at least 1 is needed", o.Clients)
	case o.QoS < 0 || o.QoS > 2:
		return fmt.Errorf("bench: QoS %d does not exist; 0, 1 and 2 do", o.QoS)
	case o.Payload < MinPayload:
		return fmt.Errorf("bench: the payload is %d bytes; it must be at least %d, because it carries the time of sending", o.Payload, MinPayload)
	case o.Burst < 1 || o.Burst*o.Payload > maxBatch:
		return fmt.Errorf("bench: %d messages of %d bytes per write; choose from 1 message up to %d bytes", o.Burst, o.Payload, maxBatch)
	case o.Rate < 0 || o.Churn < 0:
		return errors.New("bench: a rate is negative; 0 means a closed loop")
	case o.Window < o.Burst && o.Rate == 0:
		return fmt.Errorf("bench: a window of %d holds less than one write of %d messages", o.Window, o.Burst)
	case o.Version != mqtt.V31 && o.Version != mqtt.V311 && o.Version != mqtt.V5:
		return fmt.Errorf("bench: protocol level %d does not exist; 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5", byte(o.Version))
	case o.Duration <= 0 || o.Warmup < 0 || o.Interval <= 0 || o.Parallel < 1 || o.Loops < 1:
		return errors.New("bench: duration, interval, parallel and loops must be above 0")
	case o.Wildcards < 0 || o.Wildcards > 1:
		return fmt.Errorf("bench: the share of wildcards is %g; it must be from 0 to 1", o.Wildcards)
	}
	return nil
}

func (o *Options) transport() string {
	switch {
	case o.TLS != nil && o.WebSocket:
		return "wss"
	case o.TLS != nil:
		return "tls"
	case o.WebSocket:
		return "ws"
	}
	return "tcp"
}

// defaultWindow keeps a broker busy without filling it up.
func (o *Options) defaultWindow() int {
	publishers := 1
	if o.Scenario == Fanin {
		publishers = o.Clients // they fill one subscriber's socket
	}
	return max(2*o.Burst, min(1000, 5000/publishers, windowBytes/o.Payload/publishers))
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
