package metrics_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/internal/ops/metrics"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

const patience = 30 * time.Second

// refuser lets nobody publish below "no/", nor log in as "nobody".
type refuser struct{}

func (refuser) Authenticate(l *broker.Login, done func(broker.Verdict)) {
	if l.Username == "nobody" {
		done(broker.Verdict{Code: mqtt.NotAuthorized})
		return
	}
	done(broker.Verdict{})
}
func (refuser) MayPublish(_ *broker.Identity, topic string, _ byte, _ bool) broker.Decision {
	return broker.Decision{Allowed: !strings.HasPrefix(topic, "no/")}
}
func (refuser) MaySubscribe(_ *broker.Identity, filter string) broker.Decision {
	return broker.Decision{Allowed: filter != "no"}
}
func (refuser) MayReceive(*broker.Identity, string) broker.Decision {
	return broker.Decision{Allowed: true}
}
func (refuser) Generation() uint64 { return 0 }

// serve runs a broker.
func serve(t *testing.T) (b *broker.Broker, url string) {
	t.Helper()
	o := broker.DefaultOptions()
	o.Logger, o.Authenticator, o.Authorizer, o.Loops = slog.New(slog.DiscardHandler), refuser{}, refuser{}, 2
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := broker.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = b.ServeListener(broker.Listener{Name: "main"}, l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return b, "mqtt://" + l.Addr().String()
}

// scrape asks for the metrics in a format.
func scrape(t *testing.T, h http.Handler, accept string) (body, contentType string) {
	t.Helper()
	s := httptest.NewServer(h)
	defer s.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	answer, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v\n%s", answer.Status, err, text)
	}
	return string(text), answer.Header.Get("Content-Type")
}

// promtool looks at metrics as Prometheus' own tool does.
func promtool(t *testing.T, body string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is not installed: run test/install.sh, or make test, which does")
	}
	cmd := exec.Command(path, "check", "metrics")
	cmd.Stdin = strings.NewReader(body)
	if said, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(said)) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, said)
	}
}

// traffic has clients do what the metrics are to tell.
func traffic(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got := make(chan struct{}, 10)
	c, err := client.Connect(ctx, url, client.Options{ClientID: "c", OnMessage: func(*client.Message) { got <- struct{}{} }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.Subscribe(ctx, client.Subscription{Filter: "a/#", QoS: 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Subscribe(ctx, client.Subscription{Filter: "no"}); err == nil {
		t.Error("the subscription is not refused")
	}
	for qos := range byte(3) {
		if _, err := c.Publish(ctx, &client.Message{Topic: "a/b", Payload: make([]byte, 10), QoS: qos, Retain: qos == 1}); err != nil {
			t.Fatal(err)
		}
		<-got
	}
	if _, err := c.Publish(ctx, &client.Message{Topic: "no/b", QoS: 1}); err == nil {
		t.Error("the publish is not refused")
	}
	if _, err := client.Connect(ctx, url, client.Options{ClientID: "x", Username: "nobody"}); err == nil {
		t.Error("the login is not refused")
	}
	gone, err := client.Connect(ctx, url, client.Options{ClientID: "g", Version: mqtt.V311})
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Disconnect(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestMetrics(t *testing.T) {
	b, url := serve(t)
	traffic(t, url)
	steps := make([]int64, 31)
	steps[0], steps[10], steps[30] = 1, 5, 1 // below 1 µs, 0.5 to 1 ms, and a quarter of an hour
	h := metrics.Handler(b, metrics.Options{
		Version: "1.2.3", LogLost: func() int64 { return 4 },
		Store: func() metrics.Store {
			return metrics.Store{DiskBytes: 1000, FreeBytes: 2000, Batches: 9, Commits: 7, SyncSteps: steps, SyncTotal: 1500 * time.Millisecond}
		},
	})
	// The other connections are counted out when their sockets have closed.
	deadline := time.Now().Add(patience)
	for b.Stats().Connections > 1 {
		if time.Now().After(deadline) {
			t.Fatal("the connections are not closed")
		}
	}
	body, _ := scrape(t, h, "text/plain")
	promtool(t, body)
	for _, want := range []string{
		`nightjar_build_info{version="1.2.3"} 1`, `nightjar_connections{listener="main"} 1`, `nightjar_clients{version="5"} 1`,
		`nightjar_clients{version="3.1.1"} 0`, `nightjar_connections_accepted_total 3`, `nightjar_connect_packets_total 3`,
		`nightjar_connections_refused_total{cause="not authorised"} 1`, `nightjar_disconnects_total{cause="disconnected"} 1`,
		`nightjar_sessions{state="connected"} 1`, `nightjar_sessions{state="absent"} 0`, `nightjar_subscriptions 1`,
		`nightjar_received_messages_total{qos="0"} 1`, `nightjar_received_messages_total{qos="1"} 2`, `nightjar_received_messages_total{qos="2"} 1`,
		`nightjar_sent_messages_total{qos="0"} 1`, `nightjar_sent_messages_total{qos="1"} 1`, `nightjar_sent_messages_total{qos="2"} 1`,
		`nightjar_received_payload_bytes_total 30`, `nightjar_sent_payload_bytes_total 30`, `nightjar_retained_messages 1`,
		`nightjar_refused_publishes_total 1`, `nightjar_refused_subscribes_total 1`, `nightjar_dropped_messages_total{reason="queue full"} 0`,
		`nightjar_log_lines_lost_total 4`, `nightjar_store_free_bytes 2000`, `nightjar_store_refusing 0`,
		`nightjar_store_sync_duration_seconds_bucket{le="6.4e-05"} 1`, `nightjar_store_sync_duration_seconds_bucket{le="0.001024"} 6`,
		`nightjar_store_sync_duration_seconds_bucket{le="+Inf"} 7`, `nightjar_store_sync_duration_seconds_sum 1.5`,
	} {
		if !strings.Contains("\n"+body, "\n"+want+"\n") {
			t.Errorf("%s is missing; there is\n%s", want, like(body, want))
		}
	}
	for _, prefix := range []string{`nightjar_loop_lag_seconds{loop="1"} `, "go_goroutines ", "process_open_fds "} {
		if !strings.Contains("\n"+body, "\n"+prefix) {
			t.Errorf("%s is missing", prefix)
		}
	}
}

// like gives the lines of the metric that a line is of.
func like(body, line string) string {
	metric := line[:strings.IndexAny(line, "{ ")]
	var out []string
	for l := range strings.Lines(body) {
		if strings.HasPrefix(l, metric) {
			out = append(out, l)
		}
	}
	return strings.Join(out, "")
}

func TestOpenMetrics(t *testing.T) {
	b, _ := serve(t)
	body, contentType := scrape(t, metrics.Handler(b, metrics.Options{}), "application/openmetrics-text;version=1.0.0")
	if !strings.HasPrefix(contentType, "application/openmetrics-text") || !strings.HasSuffix(body, "# EOF\n") {
		t.Errorf("%s: %.200s", contentType, fmt.Sprint(body))
	}
	if strings.Contains(body, "nightjar_store") {
		t.Error("there are metrics of a store where there is none")
	}
}
