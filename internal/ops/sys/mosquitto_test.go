package sys_test

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/internal/ops/sys"
	"github.com/nightjar-mqtt/nightjar/test/mosquitto"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// watched is a broker's $SYS as a client sees it.
type watched struct {
	mu      sync.Mutex
	values  map[string]string
	uptimes map[string]bool
	more    chan struct{}
}

// watch subscribes to $SYS/#.
func watch(t *testing.T, address string) *watched {
	t.Helper()
	w := &watched{values: make(map[string]string), uptimes: make(map[string]bool), more: make(chan struct{}, 1)}
	c := connect(t, address, client.Options{ClientID: "watcher", OnMessage: func(m *client.Message) {
		w.mu.Lock()
		w.values[m.Topic] = string(m.Payload)
		if m.Topic == "$SYS/broker/uptime" {
			w.uptimes[string(m.Payload)] = true
		}
		w.mu.Unlock()
		select {
		case w.more <- struct{}{}:
		default:
		}
	}})
	if _, err := c.Subscribe(t.Context(), client.Subscription{Filter: "$SYS/#"}); err != nil {
		t.Fatal(err)
	}
	return w
}

func connect(t *testing.T, address string, o client.Options) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := client.Connect(ctx, "mqtt://"+address, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// await waits until what is seen is as ok wants it.
func (w *watched) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		w.mu.Lock()
		done := ok()
		w.mu.Unlock()
		if done {
			return
		}
		select {
		case <-w.more:
		case <-timeout:
			t.Fatalf("%s: not in %v", what, patience)
		}
	}
}

// updates waits for so many more updates: then all is published that ever is.
func (w *watched) updates(t *testing.T, n int) {
	t.Helper()
	w.mu.Lock()
	n += len(w.uptimes)
	w.mu.Unlock()
	w.await(t, "updates of $SYS", func() bool { return len(w.uptimes) >= n })
}

func (w *watched) number(t *testing.T, name string) int {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := strconv.Atoi(w.values["$SYS/broker/"+name])
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return n
}

// queued and retained are how many messages of a scene wait for an absent client and stay as retained ones.
const queued, retained = 5, 2

// scene has clients do the same things with any broker.
func scene(t *testing.T, address string) {
	t.Helper()
	ctx := t.Context()
	o := client.Options{ClientID: "away", SessionExpiry: 1000}
	away := connect(t, address, o)
	if _, err := away.Subscribe(ctx, client.Subscription{Filter: "a/#", QoS: 1}, client.Subscription{Filter: "b", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	if err := away.Disconnect(ctx); err != nil {
		t.Fatal(err)
	}
	pub := connect(t, address, client.Options{ClientID: "pub"})
	for i := range queued + retained {
		m := &client.Message{Topic: fmt.Sprint("a/", i), Payload: make([]byte, 100), QoS: 1}
		if i >= queued {
			m.Topic, m.Retain = fmt.Sprint("retained/", i), true
		}
		if _, err := pub.Publish(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
}

// serve runs a broker that publishes $SYS each second.
func serve(t *testing.T) (address string) {
	t.Helper()
	o := broker.DefaultOptions()
	o.Logger = slog.New(slog.DiscardHandler)
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := broker.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = b.Serve(l) }()
	tree, err := sys.New(b, "1.0")
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	ran := make(chan error, 1)
	go func() { ran <- tree.Run(time.Second, stop) }()
	t.Cleanup(func() {
		close(stop)
		if err := <-ran; err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// Whatever topic Debian's mosquitto publishes, this broker does too, with a value of the same form; and where the meaning can
// be compared, with the same value.
func TestAsMosquitto(t *testing.T) {
	m := mosquitto.Start(t, "sys_interval 1")
	theirs := watch(t, m.Addr)

	address := serve(t)
	ours := watch(t, address)

	theirs.updates(t, 2)
	ours.updates(t, 2)
	names := []string{
		"clients/total", "clients/connected", "clients/disconnected", "subscriptions/count", "publish/messages/received", "publish/bytes/received",
		"retained messages/count", "messages/stored", "store/messages/count", "publish/messages/dropped",
	}
	before := make(map[*watched]map[string]int)
	for _, w := range []*watched{theirs, ours} {
		before[w] = make(map[string]int)
		for _, n := range names {
			before[w][n] = w.number(t, n)
		}
	}
	scene(t, m.Addr)
	scene(t, address)
	theirs.updates(t, 2)
	ours.updates(t, 2)
	for _, n := range names {
		want, got := theirs.number(t, n)-before[theirs][n], ours.number(t, n)-before[ours][n]
		if n == "publish/messages/received" {
			want += retained // mosquitto 2.0 does not count PUBLISH packets with RETAIN or QoS 2
		}
		if got != want {
			t.Errorf("%s has risen by %d, mosquitto's by %d", n, got, want)
		}
	}

	form := regexp.MustCompile(`[0-9]+`)
	theirs.mu.Lock()
	defer theirs.mu.Unlock()
	ours.mu.Lock()
	defer ours.mu.Unlock()
	if len(theirs.values) < 50 {
		t.Errorf("mosquitto publishes only %d topics", len(theirs.values))
	}
	for topic, their := range theirs.values {
		our, published := ours.values[topic]
		switch {
		case !published:
			t.Errorf("%s is not published; mosquitto's is %q", topic, their)
		case topic == "$SYS/broker/version":
		case form.ReplaceAllString(our, "0") != form.ReplaceAllString(their, "0"):
			t.Errorf("%s: %q is not of the form of %q", topic, our, their)
		}
	}
}
