// Package sys publishes the broker's figures under $SYS/broker, with Mosquitto's names and meanings.
package sys

import (
	"fmt"
	"runtime/metrics"
	"strconv"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
)

// Publisher is what the figures come from and are published through: a broker.
type Publisher interface {
	Publish(topic string, payload []byte, qos byte, retain bool) error
	Stats() broker.Stats
	Backlog() (packets, bytes int64)
}

// Tree publishes $SYS topics, retained at QoS 2, each only when its value has changed.
type Tree struct {
	to      Publisher
	now     func() time.Time
	heap    func() int64
	last    map[string]string
	most    int64 // of the heap
	loads   loads
	updated time.Time
	more    []func() []Figure
}

// New makes a tree and publishes what never changes, and the loads, which begin with 0.
func New(to Publisher, version string) (*Tree, error) {
	return newTree(to, version, time.Now, heapBytes)
}

func newTree(to Publisher, version string, now func() time.Time, heap func() int64) (*Tree, error) {
	t := &Tree{to: to, now: now, heap: heap, last: make(map[string]string)}
	if err := t.set("version", "nightjar version "+version); err != nil {
		return nil, err
	}
	t.updated = now()
	s := to.Stats()
	t.loads.start(&s)
	return t, t.loads.publish(t.set, true)
}

// Run publishes every interval until stop is closed or publishing fails.
func (t *Tree) Run(interval time.Duration, stop <-chan struct{}) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := t.Update(); err != nil {
			return err
		}
		select {
		case <-stop:
			return nil
		case <-tick.C:
		}
	}
}

// Figure is a topic below $SYS/broker and its value.
type Figure struct {
	Name  string
	Value int64
}

// Include adds figures that are not the broker's own, such as its store's. Before Run.
func (t *Tree) Include(more func() []Figure) { t.more = append(t.more, more) }

// Update publishes what has changed.
func (t *Tree) Update() error {
	s := t.to.Stats()
	if err := t.set("uptime", fmt.Sprintf("%d seconds", int64(s.Uptime.Seconds()))); err != nil {
		return err
	}
	if now := t.now(); now.Sub(t.updated) >= time.Second {
		t.loads.update(&s, now.Sub(t.updated))
		t.updated = now
		if err := t.loads.publish(t.set, false); err != nil {
			return err
		}
	}
	figures := t.figures(&s)
	for _, more := range t.more {
		figures = append(figures, more()...)
	}
	for _, f := range figures {
		if err := t.set(f.Name, strconv.FormatInt(f.Value, 10)); err != nil {
			return err
		}
	}
	for reason, n := range s.Dropped {
		if err := t.set("publish/messages/dropped/"+reason, strconv.FormatInt(n, 10)); err != nil {
			return err
		}
	}
	return nil
}

// figures are Mosquitto's, in its order.
func (t *Tree) figures(s *broker.Stats) []Figure {
	// A retained message that waits for clients, too, counts twice here, once in Mosquitto.
	stored := int64(s.Retained + s.Queued)
	packets, bytes := t.to.Backlog()
	heap := t.heap()
	t.most = max(t.most, heap)
	return []Figure{
		{"clients/total", int64(s.Sessions)},
		{"clients/maximum", int64(s.ClientsMaximum)},
		{"clients/disconnected", int64(s.Sessions - s.Clients)},
		{"clients/inactive", int64(s.Sessions - s.Clients)}, // older name
		{"clients/connected", int64(s.Clients)},
		{"clients/active", int64(s.Clients)}, // older name
		{"clients/expired", int64(s.SessionsExpired)},
		{"messages/stored", stored}, // older name
		{"store/messages/count", stored},
		{"store/messages/bytes", s.RetainedBytes + s.QueuedBytes},
		{"subscriptions/count", int64(s.Subscriptions)},
		{"shared_subscriptions/count", int64(s.SharedSubscriptions)},
		{"retained messages/count", int64(s.Retained)},
		{"heap/current", heap},
		{"heap/maximum", t.most},
		{"messages/received", s.MessagesReceived},
		{"messages/sent", s.MessagesSent},
		{"bytes/received", s.BytesReceived},
		{"bytes/sent", s.BytesSent},
		{"publish/bytes/received", s.PublishBytesReceived},
		{"publish/bytes/sent", s.PublishBytesSent},
		{"packet/out/count", packets},
		{"packet/out/bytes", bytes},
		{"connections/socket/count", s.Accepted},          // since the start
		{"connections/socket/open", int64(s.Connections)}, // not Mosquitto's
		{"publish/messages/dropped", s.DroppedTotal},
		{"publish/messages/received", s.PublishReceived},
		{"publish/messages/sent", s.PublishSent},
	}
}

func (t *Tree) set(name, value string) error {
	if t.last[name] == value {
		return nil
	}
	t.last[name] = value
	return t.to.Publish("$SYS/broker/"+name, []byte(value), 2, true)
}

// heapBytes is what the program's objects take, those included that the collector has not looked at since they were let go.
func heapBytes() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int64(sample[0].Value.Uint64()) //nolint:gosec // far from the limit
}
