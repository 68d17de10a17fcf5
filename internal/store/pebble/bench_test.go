package pebble

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/store/storetest"
)

const (
	producers = 100
	payload   = 64
)

func benchMessage() *message.Message {
	return (&message.Message{
		Topic: "bench/topic", Payload: bytes.Repeat([]byte("x"), payload), QoS: 1, From: &message.Identity{ClientID: "producer", Username: "user"},
	}).MarkOwned()
}

// openBench opens a store on the disk, with what it says thrown away.
func openBench(tb testing.TB, o Options) (*Store, uint64) {
	tb.Helper()
	if o.Dir == "" {
		o.Dir = tb.TempDir()
	}
	o.MinFree, o.Logger = -1, slog.New(slog.NewTextHandler(io.Discard, nil))
	s, err := Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	st, err := storetest.Read(s)
	if err != nil {
		tb.Fatal(err)
	}
	return s, st.Run << session.RunShift
}

// BenchmarkEnqueue: 100 producers, each with a number of batches under way, of one message to one queue each.
func BenchmarkEnqueue(b *testing.B) {
	for _, window := range []int{1, 10, 100} {
		b.Run(fmt.Sprint("window=", window), func(b *testing.B) {
			s, base := openBench(b, Options{})
			m := benchMessage()
			var seq atomic.Uint64
			seq.Store(base)
			b.ResetTimer()
			var all sync.WaitGroup
			for p := range producers {
				all.Go(func() {
					k := session.Key(base + uint64(p) + 1)
					room := make(chan struct{}, window)
					for range (b.N + producers - 1) / producers {
						room <- struct{}{}
						batch := s.NewBatch()
						batch.Enqueue(k, seq.Add(1), &session.Queued{M: m, QoS: 1})
						batch.Commit(func(err error) {
							if err != nil {
								b.Error(err)
							}
							<-room
						})
					}
					for range window {
						room <- struct{}{}
					}
				})
			}
			all.Wait()
			b.StopTimer()
			st := s.Stats()
			b.ReportMetric(float64(st.Batches)/float64(max(st.Syncs, 1)), "msg/sync")
			b.ReportMetric(float64(st.Batches)/float64(max(st.Commits, 1)), "msg/commit")
			b.ReportMetric(float64(st.SyncTotal/time.Duration(max(st.Syncs, 1))/time.Microsecond), "µs/sync")
			if err := s.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}

// BenchmarkBare is the same keys and values from a program that does nothing else: 100 goroutines that write synced batches
// of as many messages as a producer above has under way.
func BenchmarkBare(b *testing.B) {
	for _, window := range []int{1, 10, 100} {
		b.Run(fmt.Sprint("window=", window), func(b *testing.B) {
			o := Options{Dir: b.TempDir(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
			o.complete()
			s := &Store{o: o}
			po := s.pebbleOptions()
			db, err := pebble.Open(o.Dir, po)
			if err != nil {
				b.Fatal(err)
			}
			q := session.Queued{M: benchMessage(), QoS: 1}
			value := appendMessage(appendEntry(nil, &q, false), q.M, true)
			var seq atomic.Uint64
			seq.Store(1 << session.RunShift)
			b.ResetTimer()
			var all sync.WaitGroup
			for p := range producers {
				all.Go(func() {
					k := session.Key(1<<session.RunShift + p + 1)
					for left := (b.N + producers - 1) / producers; left > 0; left -= window {
						batch := db.NewBatch()
						for range min(window, left) {
							if err := batch.Set(appendQueue(nil, k, seq.Add(1)), value, nil); err != nil {
								b.Error(err)
							}
						}
						if err := batch.Commit(pebble.Sync); err != nil {
							b.Error(err)
						}
						_ = batch.Close()
					}
				})
			}
			all.Wait()
			b.StopTimer()
			n := float64(seq.Load() - 1<<session.RunShift)
			b.ReportMetric(n/float64(max(s.syncs.n.Load(), 1)), "msg/sync")
			b.ReportMetric(float64(time.Duration(s.syncs.total.Load())/time.Duration(max(s.syncs.n.Load(), 1))/time.Microsecond), "µs/sync")
			if err := db.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}
