package sys

import (
	"fmt"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
)

// recorder stands for a broker.
type recorder struct {
	stats  broker.Stats
	values map[string]string
	sent   map[string]int
}

func (r *recorder) Stats() broker.Stats     { return r.stats }
func (r *recorder) Backlog() (int64, int64) { return 3, 300 }
func (r *recorder) Publish(topic string, payload []byte, qos byte, retain bool) error {
	if qos != 2 || !retain {
		return fmt.Errorf("%s is published at QoS %d, retain %v", topic, qos, retain)
	}
	r.values[topic] = string(payload)
	r.sent[topic]++
	return nil
}

func newRecorder() *recorder {
	return &recorder{values: make(map[string]string), sent: make(map[string]int)}
}

// The averages are Mosquitto's formula: rate + e^(-d/period) × (average − rate), the rate per minute since the last update.
func TestLoads(t *testing.T) {
	r := newRecorder()
	now := time.Unix(1000, 0)
	tree, err := newTree(r, "1", func() time.Time { return now }, func() int64 { return 1 })
	if err != nil {
		t.Fatal(err)
	}
	const topic = "$SYS/broker/load/publish/received/"
	check := func(one, five, fifteen string) {
		t.Helper()
		for name, want := range map[string]string{"1min": one, "5min": five, "15min": fifteen} {
			if got := r.values[topic+name]; got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	}
	check("0.00", "0.00", "0.00")
	step := func(seconds int, received int64) {
		t.Helper()
		now = now.Add(time.Duration(seconds) * time.Second)
		r.stats.PublishReceived += received
		if err := tree.Update(); err != nil {
			t.Fatal(err)
		}
	}
	step(10, 100) // 600 a minute: 600 × (1 − e^(−1/6)), (1 − e^(−1/30)), (1 − e^(−1/90))
	check("92.11", "19.67", "6.63")
	step(10, 0)
	check("77.97", "19.03", "6.56")
	step(0, 50) // too soon to be a rate
	check("77.97", "19.03", "6.56")
	step(60, 0) // the 50 count now
	check("60.29", "24.64", "9.36")
	before := r.sent[topic+"1min"]
	for range 200 {
		step(60, 0)
	}
	check("0.00", "0.00", "0.00")
	if n := r.sent[topic+"1min"] - before; n > 20 {
		t.Errorf("it is published %d times while it does not change", n)
	}
}

func TestFigures(t *testing.T) {
	r := newRecorder()
	heap := int64(5)
	tree, err := newTree(r, "1.2.3", time.Now, func() int64 { return heap })
	if err != nil {
		t.Fatal(err)
	}
	r.stats = broker.Stats{
		Uptime: 61500 * time.Millisecond, Clients: 2, Sessions: 5, ClientsMaximum: 4, Retained: 3, RetainedBytes: 30, Queued: 4, QueuedBytes: 40,
		Accepted: 9, Connects: 8, Dropped: map[string]int64{"queue full": 7}, DroppedTotal: 7,
	}
	if err := tree.Update(); err != nil {
		t.Fatal(err)
	}
	heap = 3
	if err := tree.Update(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"version": "nightjar version 1.2.3", "uptime": "61 seconds", "clients/total": "5", "clients/connected": "2", "clients/disconnected": "3",
		"clients/maximum": "4", "messages/stored": "7", "store/messages/count": "7", "store/messages/bytes": "70", "retained messages/count": "3",
		"heap/current": "3", "heap/maximum": "5", "packet/out/count": "3", "packet/out/bytes": "300", "connections/socket/count": "9",
		"publish/messages/dropped": "7", "publish/messages/dropped/queue full": "7",
	} {
		if got := r.values["$SYS/broker/"+name]; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if n := r.sent["$SYS/broker/clients/total"]; n != 1 {
		t.Errorf("clients/total is published %d times, but has changed once", n)
	}
	if heapBytes() <= 0 {
		t.Error("there is no heap")
	}
}
