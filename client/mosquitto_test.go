package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/test/mosquitto"
)

// testTime bounds a test that waits for something that does not come.
const testTime = 20 * time.Second

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	t.Cleanup(cancel)
	return ctx
}

// receive returns the next n messages.
func receive(t *testing.T, messages <-chan *client.Message, n int) []*client.Message {
	t.Helper()
	var got []*client.Message
	timeout := time.After(testTime)
	for len(got) < n {
		select {
		case m := <-messages:
			got = append(got, m)
		case <-timeout:
			t.Fatalf("%d messages, want %d", len(got), n)
		}
	}
	return got
}

// TestMosquitto goes through all versions and qualities of service against
// Debian's broker.
func TestMosquitto(t *testing.T) {
	broker := mosquitto.Start(t)
	for _, version := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		for qos := range byte(3) {
			t.Run(fmt.Sprintf("version %d QoS %d", version, qos), func(t *testing.T) {
				ctx := testContext(t)
				messages := make(chan *client.Message, 1000)
				c, err := client.Connect(ctx, "mqtt://"+broker.Addr, client.Options{
					Version:   version,
					OnMessage: func(m *client.Message) { messages <- m },
				})
				if err != nil {
					t.Fatal(err)
				}
				topic := fmt.Sprintf("t/%d/%d", version, qos)
				granted, err := c.Subscribe(ctx, client.Subscription{Filter: topic, QoS: qos})
				if err != nil || granted.Codes[0] != mqtt.ReasonCode(qos) {
					t.Fatalf("Subscribe: %v, %v", granted, err)
				}
				const n = 300 // more than is in flight at once
				for i := range n {
					err := c.PublishAsync(ctx, &client.Message{Topic: topic, Payload: fmt.Appendf(nil, "%d", i), QoS: qos}, nil)
					if err != nil {
						t.Fatal(err)
					}
				}
				for i, m := range receive(t, messages, n) {
					if string(m.Payload) != fmt.Sprint(i) || m.Topic != topic || m.QoS != qos || m.Duplicate {
						t.Fatalf("message %d: %+v", i, m)
					}
				}
				if _, err := c.Publish(ctx, &client.Message{Topic: topic, QoS: qos}); err != nil {
					t.Fatal(err)
				}
				if m := receive(t, messages, 1)[0]; len(m.Payload) != 0 {
					t.Fatalf("empty message: %+v", m)
				}
				if _, err := c.Unsubscribe(ctx, topic); err != nil {
					t.Fatal(err)
				}
				if err := c.Disconnect(ctx); err != nil {
					t.Fatal(err)
				}
				<-c.Done()
				if !errors.Is(c.Err(), client.ErrClosed) {
					t.Fatalf("Err: %v", c.Err())
				}
			})
		}
	}
}
