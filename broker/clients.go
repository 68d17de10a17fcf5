package broker

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/conn"
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// Client is what there is to tell of a connected client, and its figures.
type Client = conn.Info

// Clients lists the connected clients of which match says so (nil: all), by client id. match is called on the event loops
// and must not block.
func (b *Broker) Clients(match func(*Identity) bool) []Client {
	var mu sync.Mutex
	var out []Client
	b.forConnections(func(c *conn.Conn, done func()) {
		c.Inspect(match, func(i Client) {
			mu.Lock()
			defer mu.Unlock()
			out = append(out, i)
		}, done)
	})
	mu.Lock()
	defer mu.Unlock()
	slices.SortFunc(out, func(a, b Client) int { return cmp.Compare(a.ClientID, b.ClientID) })
	return out
}

// Retained goes through the retained messages that match a filter, by topic, until fn returns false.
func (b *Broker) Retained(filter string, fn func(topic string, payload []byte) bool) error {
	if err := topic.ValidFilter([]byte(filter)); err != nil {
		return fmt.Errorf("broker: filter %q: %w", filter, err)
	}
	const page = 64
	for c, done := b.router.Retained(filter), false; !done; {
		var msgs []*message.Message
		msgs, done = c.Next(time.Now().UnixMilli(), page, nil)
		for _, m := range msgs {
			if !fn(m.Topic, m.Payload) {
				return nil
			}
		}
	}
	return nil
}

// Disconnect ends the connections of the clients of which match says so, and returns how many. MQTT 5 clients get DISCONNECT
// with the code, mqtt.NotAuthorized or mqtt.AdministrativeAction as a rule, and why as reason string; for the others the
// connection closes. Their wills are sent, their sessions stay as long as they outlive their connections. match is called
// on the event loops and must not block.
func (b *Broker) Disconnect(match func(*Identity) bool, code mqtt.ReasonCode, why string) int {
	var mu sync.Mutex
	n := 0
	b.forConnections(func(c *conn.Conn, done func()) {
		c.DropIf(match, code, why, func(dropped bool) {
			if dropped {
				mu.Lock()
				n++
				mu.Unlock()
			}
			done()
		})
	})
	mu.Lock()
	defer mu.Unlock()
	return n
}

// forConnections has fn done for all connections that have a client id, and waits for that or for Shutdown.
func (b *Broker) forConnections(fn func(c *conn.Conn, done func())) {
	var all sync.WaitGroup
	for _, h := range b.router.Holders() {
		if c, ok := h.(*conn.Conn); ok {
			all.Add(1)
			fn(c, all.Done)
		}
	}
	b.await(&all)
}

// await waits for what was posted to the loops, or for the end of the broker.
func (b *Broker) await(all *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-b.stop:
	}
}
