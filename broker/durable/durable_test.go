package durable_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/broker/durable"
	"github.com/nightjar-mqtt/nightjar/client"
)

const patience = 20 * time.Second

// serve runs a broker on the store in a directory.
func serve(t *testing.T, dir string) (url string, stop func()) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	store, err := durable.Open(dir, durable.Options{Logger: log, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	o := broker.DefaultOptions()
	o.Store, o.Logger = store, log
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := broker.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(l) }()
	return "mqtt://" + l.Addr().String(), func() {
		t.Helper()
		if err := b.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err == nil {
			t.Error("Serve ended without a reason")
		}
	}
}

func connect(t *testing.T, url string, o client.Options) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := client.Connect(ctx, url, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestSurvives: what was acknowledged is there after a restart: session, queue in its order, and retained message.
func TestSurvives(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	got := make(chan string, 1000)
	subscriber := client.Options{
		ClientID: "s", KeepSession: true, SessionExpiry: 3600,
		OnMessage: func(m *client.Message) { got <- string(m.Payload) },
	}
	url, stop := serve(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s := connect(t, url, subscriber)
	if _, err := s.Subscribe(ctx, client.Subscription{Filter: "a/#", QoS: 2}); err != nil {
		t.Fatal(err)
	}
	if err := s.Disconnect(ctx); err != nil {
		t.Fatal(err)
	}
	const n = 100
	p := connect(t, url, client.Options{})
	for i := range n {
		if _, err := p.Publish(ctx, &client.Message{Topic: "a/b", Payload: fmt.Append(nil, i), QoS: byte(1 + i%2), Retain: i == n-1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Disconnect(ctx); err != nil {
		t.Fatal(err)
	}
	stop()

	url, stop = serve(t, dir)
	s = connect(t, url, subscriber)
	next := func() string {
		select {
		case m := <-got:
			return m
		case <-time.After(patience):
			t.Fatal("no message comes")
			return ""
		}
	}
	for i := range n {
		if m := next(); m != fmt.Sprint(i) {
			t.Fatalf("message %s comes, want %d", m, i)
		}
	}
	if _, err := s.Subscribe(ctx, client.Subscription{Filter: "a/b", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	if m := next(); m != fmt.Sprint(n-1) {
		t.Errorf("retained is %s, want %d", m, n-1)
	}
	if err := s.Disconnect(ctx); err != nil {
		t.Fatal(err)
	}
	stop()
}
