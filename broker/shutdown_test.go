package broker_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// shut calls Shutdown and fails if it does not return nil long before it would have to.
func shut(t *testing.T, b *broker.Broker, meanwhile func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience/2)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- b.Shutdown(ctx) }()
	meanwhile()
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// quiet serves without the clean-up's own Shutdown.
func quiet(t *testing.T, o broker.Options) (*broker.Broker, string) {
	t.Helper()
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := broker.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if err := b.Serve(l); !errors.Is(err, broker.ErrShutdown) {
			t.Errorf("Serve: %v", err)
		}
	}()
	return b, l.Addr().String()
}

// silent is an authenticator that never answers.
type silent struct{ asked chan struct{} }

func (s silent) Authenticate(*broker.Login, func(broker.Verdict)) { s.asked <- struct{}{} }

// A client that waits for an authenticator has nothing to lose: Shutdown does not wait for it.
func TestShutdownDoesNotWaitForHooks(t *testing.T) {
	o := broker.DefaultOptions()
	s := silent{make(chan struct{}, 1)}
	o.Authenticator = s
	b, address := quiet(t, o)
	p := dial(t, address)
	c := &mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("c")}
	frame, err := c.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.c.Write(frame); err != nil {
		t.Fatal(err)
	}
	<-s.asked
	shut(t, b, func() {})
	p.expectEnd()
}

// slowVerdict lets everybody in, but only when told so.
type slowVerdict struct {
	asked chan func(broker.Verdict)
}

func (s slowVerdict) Authenticate(l *broker.Login, done func(broker.Verdict)) {
	if l.ClientID == "late" {
		s.asked <- done
		return
	}
	done(broker.Verdict{})
}

// A client that is let in while the broker shuts down is told so instead; it does not keep the broker from ending.
func TestShutdownRefusesLateClients(t *testing.T) {
	o := broker.DefaultOptions()
	s := slowVerdict{make(chan func(broker.Verdict), 1)}
	o.Authenticator = s
	b, address := quiet(t, o)
	first, late := dial(t, address), dial(t, address)
	first.connect("first", nil)
	c := &mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("late")}
	frame, err := c.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.c.Write(frame); err != nil {
		t.Fatal(err)
	}
	let := <-s.asked
	shut(t, b, func() {
		first.wait(mqtt.DISCONNECT) // from now on the broker knows of no client; the socket is still open
		let(broker.Verdict{})
		var ack mqtt.Connack
		if err := ack.Decode(late.wait(mqtt.CONNACK), mqtt.V5); err != nil || ack.Code != mqtt.ServerUnavailable {
			t.Errorf("CONNACK %v, %v; want %v", ack.Code, err, mqtt.ServerUnavailable)
		}
		late.expectEnd()
		_ = first.c.Close()
	})
}

// After Shutdown nothing is published.
func TestPublishAfterShutdown(t *testing.T) {
	b, _ := quiet(t, broker.DefaultOptions())
	shut(t, b, func() {})
	for range 20 {
		if err := b.Publish("a", []byte("x"), 0, false); !errors.Is(err, broker.ErrShutdown) {
			t.Fatalf("Publish: %v, want %v", err, broker.ErrShutdown)
		}
	}
	if err := b.Shutdown(t.Context()); !errors.Is(err, broker.ErrShutdown) {
		t.Errorf("second Shutdown: %v", err)
	}
}
