package mosquittodb_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/store/mosquittodb"
	"github.com/nightjar-mqtt/nightjar/internal/store/pebble"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// carriedOver imports a file into a durable store and serves it.
func carriedOver(t *testing.T, file string) (addr string) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	open := func(dir string) *pebble.Store {
		s, err := pebble.Open(pebble.Options{Dir: dir, Logger: log, MinFree: -1})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := mosquittodb.Scan(f, info.Size(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	s := open(dir)
	if err := errors.Join(plan.Write(t.Context(), s, false), s.Close()); err != nil {
		t.Fatal(err)
	}
	o := broker.DefaultOptions()
	o.Logger, o.Store = log, open(dir)
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(l) }()
	t.Cleanup(func() {
		if err := b.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, broker.ErrShutdown) {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

// Clients of Mosquitto go on with Nightjar where they were.
func TestClientsGoOn(t *testing.T) {
	addr := carriedOver(t, written(t))

	// What was sent comes again under its packet id, marked; QoS 2 goes on at its step; then what waited.
	flight, ack := connect(t, addr, v311("flight", "alice"))
	if !ack.SessionPresent {
		t.Error("flight: no session is present")
	}
	var got []string
	for len(got) < 8 {
		f, ok := flight.read(patience)
		if !ok {
			t.Fatalf("flight got %q and no more", got)
		}
		switch f.Type {
		case mqtt.PUBREL:
			got = append(got, fmt.Sprintf("%d released", uint16(f.Body[0])<<8|uint16(f.Body[1])))
			flight.ack(mqtt.PUBCOMP, uint16(f.Body[0])<<8|uint16(f.Body[1]))
		case mqtt.PUBLISH:
			var p mqtt.Publish
			if err := p.Decode(f, mqtt.V311); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%d %s QoS %d dup %v", p.PacketID, p.Payload, p.QoS, p.Dup))
			flight.ack(map[byte]mqtt.PacketType{1: mqtt.PUBACK, 2: mqtt.PUBREC}[p.QoS], p.PacketID)
		}
	}
	want := []string{"1 f0 QoS 1 dup true", "2 released", "3 f2 QoS 1 dup true", "4 f3 QoS 2 dup true", "5 f4 QoS 1 dup true",
		"6 f5 QoS 2 dup false", "7 f6 QoS 1 dup false", "8 f7 QoS 2 dup false"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("flight (-want +got):\n%s", diff)
	}
	// Its own QoS 2 message is repeated, released, and delivered once.
	flight.publishOnly(&mqtt.Publish{Topic: []byte("a/in"), Payload: []byte("in"), QoS: 2, PacketID: 77, Dup: true})
	flight.await(mqtt.PUBREC)
	flight.ack(mqtt.PUBREL, 77)
	flight.await(mqtt.PUBCOMP)

	five, ack := connect(t, addr, v5("five", "bob", false, 3600))
	if !ack.SessionPresent {
		t.Error("five: no session is present")
	}
	for _, want := range []string{"a1", "a2", "a4", "a5", "a7", "a8", "in"} {
		p := five.receive()
		five.ack(mqtt.PUBACK, p.PacketID)
		if string(p.Payload) != want || p.QoS != 1 || len(p.Props.SubscriptionIDs) != 1 || p.Props.SubscriptionIDs[0] != 7 {
			t.Errorf("five got %q at QoS %d with subscription identifiers %v; want %q", p.Payload, p.QoS, p.Props.SubscriptionIDs, want)
		}
		if want == "a4" && (string(p.Props.ContentType) != "text/plain" || len(p.Props.User) != 1 || p.Props.MessageExpiry < 800) {
			t.Errorf("a4 has the properties %+v", p.Props)
		}
	}
	fresh, _ := connect(t, addr, v5("fresh", "", true, 0))
	fresh.subscribe("r/#", 2, 0)
	for i := range 3 {
		if p := fresh.receive(); !p.Retain || string(p.Topic) != fmt.Sprintf("r/%d", i) || string(p.Payload) != fmt.Sprintf("r%d", i) {
			t.Errorf("retained: %+v", p)
		}
	}
}
