package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// startBroker runs an embedded Nightjar and returns its address.
func startBroker(t *testing.T) string {
	t.Helper()
	return startBrokerWith(t, broker.Transport{})
}

// startBrokerWith is startBroker for clients that speak TLS or WebSocket.
func startBrokerWith(t *testing.T, transport broker.Transport) string {
	t.Helper()
	o := broker.DefaultOptions()
	o.Logger = slog.New(slog.DiscardHandler)
	o.MaxQueued = 0
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := broker.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.ServeTransport(l, transport) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := b.Shutdown(ctx); err != nil {
			t.Errorf("shutting the broker down: %v", err)
		}
		if err := <-served; !errors.Is(err, broker.ErrShutdown) {
			t.Errorf("the broker ended with: %v", err)
		}
	})
	return l.Addr().String()
}

// short makes a run of a fraction of a second.
func short(address string, s Scenario, change func(o *Options)) Options {
	o := DefaultOptions(s)
	o.Address, o.Duration, o.Warmup, o.Interval = address, 200*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	o.SetupTime = 20 * time.Second
	if change != nil {
		change(&o)
	}
	return o
}

// checkTraffic checks what must be true of every run in which messages flow.
func checkTraffic(t *testing.T, rep *Report) {
	t.Helper()
	if rep.Sent == 0 || rep.Delivered == 0 || rep.Latency.Count != rep.Delivered {
		t.Errorf("sent %d, delivered %d, %d latencies", rep.Sent, rep.Delivered, rep.Latency.Count)
	}
	if l := rep.Latency; !(0 < l.P50 && l.P50 <= l.P90 && l.P90 <= l.P99 && l.P99 <= l.P999 && l.P999 <= l.Max*1.001) {
		t.Errorf("latencies are not in order: %+v", l)
	}
	if rep.Lost != 0 || rep.Foreign != 0 {
		t.Errorf("%d messages lost, %d not ours", rep.Lost, rep.Foreign)
	}
	if len(rep.Intervals) == 0 || rep.Seconds <= 0 {
		t.Errorf("%d intervals, %g seconds", len(rep.Intervals), rep.Seconds)
	}
	var sum float64
	last := 0.0
	for _, i := range rep.Intervals {
		sum += i.Delivered * (i.At - last)
		last = i.At
	}
	if int64(sum+0.5) != rep.Delivered {
		t.Errorf("the intervals have %.0f messages, the report %d", sum, rep.Delivered)
	}
}

// TestTraffic runs every kind of traffic against an embedded broker.
func TestTraffic(t *testing.T) {
	address := startBroker(t)
	for _, tt := range []struct {
		name        string
		scenario    Scenario
		connections int
		change      func(o *Options)
	}{
		{"pairs", Pairs, 6, func(o *Options) { o.Clients = 3 }},
		{"pairs, bursts", Pairs, 2, func(o *Options) { o.Burst = 32 }},
		{"pairs, QoS 1, MQTT 5", Pairs, 4, func(o *Options) { o.Clients, o.QoS, o.Burst, o.Version = 2, 1, 4, mqtt.V5 }},
		{"pairs, QoS 2, MQTT 3.1", Pairs, 4, func(o *Options) { o.Clients, o.QoS, o.Version = 2, 2, mqtt.V31 }},
		{"pairs, QoS 2, MQTT 5", Pairs, 2, func(o *Options) { o.QoS, o.Version = 2, mqtt.V5 }},
		{"pairs, rate", Pairs, 8, func(o *Options) { o.Clients, o.Rate = 4, 2000 }},
		{"pairs, rate, QoS 1, MQTT 5", Pairs, 2, func(o *Options) { o.Rate, o.QoS, o.Burst, o.Version = 2000, 1, 2, mqtt.V5 }},
		{"pairs, large payload", Pairs, 2, func(o *Options) { o.Payload = 1 << 20 }},
		{"fanout", Fanout, 21, func(o *Options) { o.Clients = 20 }},
		{"fanout, two loops", Fanout, 21, func(o *Options) { o.Clients, o.Loops = 20, 2 }},
		{"fanout, large payload", Fanout, 6, func(o *Options) { o.Clients, o.Payload, o.Version = 5, 64<<10, mqtt.V5 }},
		{"fanin", Fanin, 21, func(o *Options) { o.Clients, o.Loops = 20, 2 }},
		{"fanin, shared group", Fanin, 23, func(o *Options) { o.Clients, o.Group, o.Version = 20, 3, mqtt.V5 }},
		{"mixed", Mixed, 42, func(o *Options) { o.Clients = 20 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rep, err := Run(t.Context(), short(address, tt.scenario, tt.change))
			if err != nil {
				t.Fatal(err)
			}
			checkTraffic(t, rep)
			if rep.Connections != tt.connections {
				t.Errorf("%d connections, want %d", rep.Connections, tt.connections)
			}
			if rep.Options.Rate > 0 && (rep.SentRate < 0.1*rep.Options.Rate || rep.SentRate > 3*rep.Options.Rate) {
				t.Errorf("%g messages/s instead of %g", rep.SentRate, rep.Options.Rate)
			}
		})
	}
}

// withPID is the usage of this process: what can be read of a broker is tested on Linux.
func withPID(o *Options) {
	if runtime.GOOS == "linux" {
		o.PID = os.Getpid()
	}
}

func TestConnect(t *testing.T) {
	rep, err := Run(t.Context(), short(startBroker(t), Connect, func(o *Options) {
		o.Parallel = 8
		withPID(o)
	}))
	if err != nil {
		t.Fatal(err)
	}
	if c := rep.Connect; c.Done == 0 || c.Failed != 0 || rep.Latency.Count != c.Done {
		t.Errorf("%+v, %d latencies", c, rep.Latency.Count)
	}
	if rep.Broker != nil && (rep.Connect.CPUPerRound <= 0 || rep.Broker.RSS <= 0) {
		t.Errorf("CPU %g µs, %+v", rep.Connect.CPUPerRound, rep.Broker)
	}
}

func TestIdle(t *testing.T) {
	rep, err := Run(t.Context(), short(startBroker(t), Idle, func(o *Options) {
		o.Clients, o.Loops = 200, 2
		if runtime.GOOS == "linux" { // elsewhere only 127.0.0.1 is there from the start
			o.Sources = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.9")}
		}
		withPID(o)
	}))
	if err != nil {
		t.Fatal(err)
	}
	if rep.Idle.Connections != 200 || rep.Connections != 200 || rep.Idle.ConnectRate <= 0 {
		t.Errorf("%+v", rep.Idle)
	}
}

func TestRetained(t *testing.T) {
	address := startBroker(t)
	for qos := range 2 {
		rep, err := Run(t.Context(), short(address, Retained, func(o *Options) { o.Clients, o.QoS = 3000, qos }))
		if err != nil {
			t.Fatal(err)
		}
		checkTraffic(t, rep)
		if got := rep.Retained; got.Topics != 3000 || got.Complete == 0 || got.Received < 3000 {
			t.Errorf("QoS %d: %+v", qos, got)
		}
		if rep.Alone.Latency.Count == 0 {
			t.Error("the pair was not measured alone")
		}
	}
}

func TestSubscribe(t *testing.T) {
	address := startBroker(t)
	for _, version := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		rep, err := Run(t.Context(), short(address, Subscribe, func(o *Options) {
			o.Clients, o.Sessions, o.Subscriptions, o.Churn, o.Version = 10, 30, 2000, 500, version
		}))
		if err != nil {
			t.Fatal(err)
		}
		checkTraffic(t, rep)
		if got := rep.Subscribe; got.Rate <= 0 || got.Churn < 50 || got.Churn > 1500 {
			t.Errorf("%v: %+v", version, got)
		}
	}
}

// TestOutput: JSON and plot can be read again, and the table names what was measured.
func TestOutput(t *testing.T) {
	var live bytes.Buffer
	rep, err := Run(t.Context(), short(startBroker(t), Pairs, func(o *Options) {
		o.Rate, o.Live, o.Duration = 1000, &live, 1100*time.Millisecond
		withPID(o)
	}))
	if err != nil {
		t.Fatal(err)
	}
	if text := live.String(); !strings.Contains(text, "p99") {
		t.Errorf("live line: %q", text)
	}
	var file, table, plot bytes.Buffer
	if err := errors.Join(rep.WriteJSON(&file), rep.Write(&table), rep.Plot(&plot)); err != nil {
		t.Fatal(err)
	}
	var again Report
	if err := json.Unmarshal(file.Bytes(), &again); err != nil || again.Delivered != rep.Delivered || again.Latency != rep.Latency {
		t.Errorf("read again: %v, %+v", err, again.Latency)
	}
	for _, want := range []string{"pairs, 1 clients", "1000 messages/s", "p99.9", "generator late"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, table.String())
		}
	}
	for d := xml.NewDecoder(&plot); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot is not XML: %v", err)
		}
	}
}

func TestErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	address := startBroker(t)
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{short(nobody, Pairs, nil), "refused"},
		{short(nobody, Connect, nil), "could"},
		{short(address, "nonsense", nil), "no scenario"},
		{short(address, Pairs, func(o *Options) { o.QoS = 3 }), "QoS 3"},
		{short(address, Pairs, func(o *Options) { o.Payload = 3 }), "at least 16"},
		{short(address, Pairs, func(o *Options) { o.Window, o.Burst = 10, 20 }), "window of 10"},
		{short(address, Pairs, func(o *Options) { o.PID = 1 << 30 }), "process 1073741824"},
	} {
		if _, err := Run(t.Context(), tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s to %s: error %v, want one with %q", tt.o.Scenario, tt.o.Address, err, tt.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, short(address, Pairs, func(o *Options) { o.Duration = time.Minute })); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended from outside: %v", err)
	}
}

// scripted is a broker that treats each PUBLISH of a pair as its test says.
func scripted(t *testing.T, publish func(frame []byte, to net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	subscriber := make(chan net.Conn, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveScripted(c, subscriber, publish)
		}
	}()
	return l.Addr().String()
}

func serveScripted(c net.Conn, subscriber chan net.Conn, publish func(frame []byte, to net.Conn)) {
	defer c.Close()
	var to net.Conn
	buf, have := make([]byte, 1<<20), 0
	for {
		n, err := c.Read(buf[have:])
		if err != nil {
			return
		}
		have += n
		rest := buf[:have]
		for {
			f, n, _, err := mqtt.ParseFrame(rest, 0)
			if err != nil || n == 0 {
				break
			}
			switch f.Type {
			case mqtt.CONNECT:
				_, _ = c.Write([]byte{0x20, 2, 0, 0})
			case mqtt.SUBSCRIBE:
				_, _ = c.Write([]byte{0x90, 3, f.Body[0], f.Body[1], 0})
				subscriber <- c
			case mqtt.PUBLISH:
				if to == nil {
					to = <-subscriber
				}
				publish(rest[:n], to)
			}
			rest = rest[n:]
		}
		have = copy(buf, rest)
	}
}

// TestStallShows: a broker that stands still for a while delays the messages that are due meanwhile, whether they could be
// sent or not, and an open loop says so.
func TestStallShows(t *testing.T) {
	const stall = 150 * time.Millisecond
	count := 0
	address := scripted(t, func(frame []byte, to net.Conn) {
		if count++; count == 150 {
			time.Sleep(stall) // the stall itself is what is tested
		}
		_, _ = to.Write(frame)
	})
	rep, err := Run(t.Context(), short(address, Pairs, func(o *Options) { o.Rate, o.Duration = 1000, 500*time.Millisecond }))
	if err != nil {
		t.Fatal(err)
	}
	checkTraffic(t, rep)
	if got := time.Duration(rep.Latency.Max * 1e3); got < stall*95/100 {
		t.Errorf("the longest latency is %v after a stall of %v", got, stall)
	}
	// Of 500 messages 150 were due during the stall: those above half of it make a tenth at least.
	if got := time.Duration(rep.Latency.P90 * 1e3); got < stall/4 {
		t.Errorf("p90 is %v: the stall of %v is hidden", got, stall)
	}
}

// TestLossShows: what a broker drops is counted, and does not close the window for ever.
func TestLossShows(t *testing.T) {
	count := 0
	address := scripted(t, func(frame []byte, to net.Conn) {
		if count++; count%10 != 0 {
			_, _ = to.Write(frame)
		}
	})
	rep, err := Run(t.Context(), short(address, Pairs, func(o *Options) { o.Window, o.Duration = 50, 2500*time.Millisecond }))
	if err != nil {
		t.Fatal(err)
	}
	// Each window leads to about 10 × its size in messages until it is full of lost ones.
	if rep.Lost < 60 || rep.Sent < 100 {
		t.Errorf("sent %d, lost %d", rep.Sent, rep.Lost)
	}
}

// TestPublisherCutOff: a publisher whose connection breaks in the middle of a window ends the run as well.
func TestPublisherCutOff(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	subscriber := make(chan net.Conn, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveScripted(&cutOff{Conn: c}, subscriber, func([]byte, net.Conn) {})
		}
	}()
	_, err = Run(t.Context(), short(l.Addr().String(), Pairs, func(o *Options) { o.Clients, o.Payload = 4, 4096 }))
	if err == nil || !strings.Contains(err.Error(), "nightjar-bench-pairs-pub-") {
		t.Errorf("error: %v", err)
	}
}

// cutOff is a connection that is reset after about 100 kB received.
type cutOff struct {
	net.Conn
	received int
}

func (c *cutOff) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.received += n; c.received > 100_000 {
		_ = c.Conn.(*net.TCPConn).SetLinger(0)
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// TestBrokerLeaves: a connection that the broker closes ends the run with its name.
func TestBrokerLeaves(t *testing.T) {
	address := scripted(t, func(_ []byte, to net.Conn) { to.Close() })
	_, err := Run(t.Context(), short(address, Pairs, nil))
	if err == nil || !strings.Contains(err.Error(), "closed the connection of nightjar-bench-pairs-sub-0") {
		t.Errorf("error: %v", err)
	}
}
