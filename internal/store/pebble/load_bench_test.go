package pebble

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// counting is a Loader that counts.
type counting struct {
	sessions, subscriptions, queues, queued int
	retained                                atomic.Int64
}

func (c *counting) Session(*session.Record)                                   { c.sessions++ }
func (c *counting) Group(session.Key, string, string)                         {}
func (c *counting) Subscription(session.Key, string, mqtt.SubOptions, uint32) { c.subscriptions++ }
func (c *counting) Queue(_ session.Key, _, _ uint64, n int) {
	c.queues, c.queued = c.queues+1, c.queued+n
}
func (c *counting) Released(session.Key, uint64)                   {}
func (c *counting) Received(session.Key, uint16, *message.Message) {}
func (c *counting) Will(session.Key, *session.Will)                {}
func (c *counting) Retained(*message.Message)                      { c.retained.Add(1) }

// fill commits n batches of many changes each and waits for all.
func fill(tb testing.TB, s *Store, n int, change func(b session.Batch, i int)) {
	tb.Helper()
	const each = 1000
	room := make(chan struct{}, 16)
	for i := 0; i < n; i += each {
		b := s.NewBatch()
		for j := i; j < min(n, i+each); j++ {
			change(b, j)
		}
		room <- struct{}{}
		b.Commit(func(err error) {
			if err != nil {
				tb.Error(err)
			}
			<-room
		})
	}
	for range cap(room) {
		room <- struct{}{}
	}
}

// BenchmarkLoad: what DESIGN section 6 asks of a start.
func BenchmarkLoad(b *testing.B) {
	for _, c := range []struct {
		name                       string
		sessions, retained, queued int
	}{
		{"sessions=100000/retained=1000000", 100_000, 1_000_000, 0},
		{"queued=1000000", 1, 0, 1_000_000},
		{"queues=100000", 100_000, 0, 100_000},
	} {
		b.Run(c.name, func(b *testing.B) {
			dir := b.TempDir()
			s, base := openBench(b, Options{Dir: dir, Sync: SyncNever})
			fill(b, s, c.sessions, func(b session.Batch, i int) {
				k := session.Key(base + uint64(i) + 1)
				b.PutSession(&session.Record{Key: k, ClientID: fmt.Sprint("client-", i), Username: "user", Expiry: 3600})
				for j := range 5 {
					b.PutSubscription(k, fmt.Sprintf("site/%d/device/%d/+", j, i), 1, 0)
				}
			})
			fill(b, s, c.retained, func(b session.Batch, i int) {
				m := *benchMessage()
				m.Topic, m.Retain, m.Seq = fmt.Sprintf("site/%d/device/%d/state", i%100, i), true, base+uint64(i)+1
				b.PutRetained(&m)
			})
			fill(b, s, c.queued, func(b session.Batch, i int) {
				m := *benchMessage()
				m.Payload = make([]byte, 200)
				b.Enqueue(session.Key(base+uint64(i%c.sessions)+1), base+uint64(i), &session.Queued{M: &m, QoS: 1})
			})
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				o := Options{Dir: dir, MinFree: -1, Logger: s.o.Logger}
				s, err := Open(o)
				if err != nil {
					b.Fatal(err)
				}
				var l counting
				if _, err := s.Load(&l); err != nil {
					b.Fatal(err)
				}
				if l.sessions != c.sessions || l.subscriptions != 5*c.sessions || int(l.retained.Load()) != c.retained || l.queued != c.queued {
					b.Fatalf("loaded %+v", &l)
				}
				b.StopTimer()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkReadQueue: a session returns to a long queue. One operation is one message, read and dequeued.
func BenchmarkReadQueue(b *testing.B) {
	for _, shared := range []bool{false, true} {
		b.Run(fmt.Sprint("shared=", shared), func(b *testing.B) {
			dir := b.TempDir()
			s, base := openBench(b, Options{Dir: dir})
			k := session.Key(base + 1)
			fill(b, s, b.N, func(b session.Batch, i int) {
				m := *benchMessage()
				m.Payload = make([]byte, 200)
				b.Enqueue(k, base+uint64(i), &session.Queued{M: &m, QoS: 1})
				if shared {
					b.Enqueue(k+1, base+uint64(i), &session.Queued{M: &m, QoS: 1})
				}
			})
			b.ResetTimer()
			read := 0
			for from, end := base, base+uint64(b.N); from < end; {
				done := make(chan struct{})
				s.ReadQueue(k, from, end, 256, 64<<10, func(items []session.Item, next uint64, err error) {
					if err != nil {
						b.Error(err)
					}
					batch := s.NewBatch()
					for i := range items {
						batch.Dequeue(k, items[i].Seq)
					}
					batch.Commit(nil)
					read += len(items)
					from = next
					close(done)
				})
				<-done
			}
			b.StopTimer()
			if read != b.N {
				b.Errorf("%d of %d messages were read", read, b.N)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(resident(b), "MB-resident")
			if err := s.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}

// resident is the process's memory in MB, 0 where that is not told.
func resident(tb testing.TB) float64 {
	runtime.GC()
	b, err := os.ReadFile(filepath.Join("/proc", "self", "statm"))
	if err != nil {
		return 0
	}
	var total, pages int64
	if _, err := fmt.Sscan(string(b), &total, &pages); err != nil {
		tb.Fatal(err)
	}
	return float64(pages*int64(os.Getpagesize())) / 1e6
}
