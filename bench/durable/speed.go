//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/nightjar-mqtt/nightjar/bench/record"
)

const (
	publishers = 100
	window     = 100
	payload    = 64
)

// flooded is what publishers achieved.
type flooded struct {
	rate     float64 // acknowledged messages a second
	messages int
}

// flood has all publishers send to a durable session that is away, as fast as they are acknowledged.
func flood(address string, duration time.Duration) (flooded, error) {
	clients := make([]*client, publishers)
	for i := range clients {
		var err error
		if clients[i], _, err = connect(address, fmt.Sprint("publisher-", i), true); err != nil {
			return flooded{}, err
		}
	}
	var all sync.WaitGroup
	counts, errs := make([]int, publishers), make([]error, publishers)
	began := time.Now()
	end := began.Add(duration)
	for i, c := range clients {
		all.Add(1)
		go func() {
			defer all.Done()
			topic := fmt.Sprintf("bench/%d", i)
			counts[i], errs[i] = c.flood(topic, payload, window, func(sent int) bool { return sent%50 != 0 || time.Now().Before(end) })
		}()
	}
	all.Wait()
	took := time.Since(began)
	f := flooded{}
	for i, c := range clients {
		f.messages += counts[i]
		errs = append(errs, c.disconnect())
	}
	f.rate = float64(f.messages) / took.Seconds()
	return f, errJoin(errs...)
}

// speed compares durable QoS 1 with a bare program on Pebble and with mosquitto, round by round.
func (s *settings) speed(r *record.Record) error {
	var ours, bare, bareWindow, other, perSync, enough []float64
	for range s.rounds {
		f, syncs, syncTime, err := s.speedOfNightjar()
		if err != nil {
			return err
		}
		per := float64(f.messages) / syncs
		b, err := barePebble(s.duration, int(per))
		if err != nil {
			return err
		}
		bw, err := barePebble(s.duration, window)
		if err != nil {
			return err
		}
		bareWindow = append(bareWindow, bw)
		m, err := s.speedOfMosquitto()
		if err != nil {
			return err
		}
		ours, bare, other = append(ours, f.rate), append(bare, b), append(other, m)
		perSync = append(perSync, per)
		enough = append(enough, per/min(50, 0.8*f.rate*syncTime))
	}
	r.Info("durable QoS 1, 100 publishers to an absent session", median(ours), "/s")
	r.Info("a bare program that writes the same to Pebble, as much in each sync", median(bare), "/s")
	r.Info("the same with one publisher's window in each sync", median(bareWindow), "/s")
	r.Info("mosquitto with persistence, which syncs nothing", median(other), "/s")
	r.AtLeast("of the bare program's rate with one window in each sync", median(ratios(ours, bareWindow)), 0.7, "")
	r.Info("of its rate with as much in each sync as the broker has", median(ratios(ours, bare)), "")
	r.AtLeast("of mosquitto's rate", median(ratios(ours, other)), 2, "")
	r.Info("messages in a sync", median(perSync), "")
	r.AtLeast("of the smaller of 50 and 0.8 times rate times sync time", median(enough), 1, "")
	return nil
}

func (s *settings) speedOfNightjar() (f flooded, syncs, syncTime float64, err error) {
	p, err := nightjar("")
	if err != nil {
		return f, 0, 0, err
	}
	defer p.remove()
	if err = absent(p.address, "absent", "bench/#"); err != nil {
		return f, 0, 0, err
	}
	before, err := p.sys("syncs")
	if err != nil {
		return f, 0, 0, err
	}
	if f, err = flood(p.address, s.duration); err != nil {
		return f, 0, 0, err
	}
	after, err := p.sys("syncs", "syncs/p50")
	if err != nil {
		return f, 0, 0, err
	}
	return f, after["syncs"] - before["syncs"], after["syncs/p50"] / 1e6, nil
}

func (s *settings) speedOfMosquitto() (float64, error) {
	p, err := mosquitto()
	if err != nil {
		return 0, err
	}
	defer p.remove()
	if err := absent(p.address, "absent", "bench/#"); err != nil {
		return 0, err
	}
	f, err := flood(p.address, s.duration)
	return f.rate, err
}

// barePebble writes what a message takes, in synced batches of n, and does nothing else.
func barePebble(duration time.Duration, n int) (rate float64, err error) {
	dir, err := os.MkdirTemp("", "durable-bare-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errJoin(err, os.RemoveAll(dir)) }()
	db, err := pebble.Open(filepath.Join(dir, "data"), &pebble.Options{
		MemTableSize: 4 << 20, MemTableStopWritesThreshold: 4, FormatMajorVersion: pebble.FormatWALSyncChunks, Logger: quiet{},
	})
	if err != nil {
		return 0, err
	}
	key := make([]byte, 17)
	value := make([]byte, payload+len("bench/00")+8)
	began, written := time.Now(), 0
	for time.Since(began) < duration {
		b := db.NewBatchWithSize(n * (len(key) + len(value) + 4))
		for range max(1, n) {
			written++
			binary.BigEndian.PutUint64(key[9:], uint64(written))
			if err := b.Set(key, value, nil); err != nil {
				return 0, err
			}
		}
		if err := b.Commit(pebble.Sync); err != nil {
			return 0, err
		}
	}
	rate = float64(written) / time.Since(began).Seconds()
	return rate, db.Close()
}

// quiet keeps Pebble's lines out of the output.
type quiet struct{}

func (quiet) Infof(string, ...any)              {}
func (quiet) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	return s[len(s)/2]
}

func ratios(a, b []float64) (out []float64) {
	for i := range a {
		out = append(out, a[i]/b[i])
	}
	return out
}

// latency publishes at a given rate and looks at how late acknowledgements come, against how long the disk takes.
func (s *settings) latency(r *record.Record) error {
	const rate, senders = 1000, 10
	raw, err := fdatasyncs(s.duration)
	if err != nil {
		return err
	}
	p, err := nightjar("")
	if err != nil {
		return err
	}
	defer p.remove()
	if err := absent(p.address, "absent", "bench/#"); err != nil {
		return err
	}
	var all sync.WaitGroup
	times, errs := make([][]time.Duration, senders), make([]error, senders)
	for i := range senders {
		c, _, err := connect(p.address, fmt.Sprint("sender-", i), true)
		if err != nil {
			return err
		}
		all.Add(1)
		go func() {
			defer all.Done()
			offset := time.Duration(i) * time.Second / rate
			times[i], errs[i] = c.pace(fmt.Sprintf("bench/%d", i), offset, time.Second*senders/rate, s.duration)
		}()
	}
	all.Wait()
	if err := errJoin(errs...); err != nil {
		return err
	}
	acks := slices.Concat(times...)
	rawP99, p99 := quantile(raw, 0.99), quantile(acks, 0.99)
	r.Info("p50 of a bare fdatasync after 4 kB", float64(quantile(raw, 0.5).Microseconds())/1e3, "ms")
	r.Info("p99 of it", float64(rawP99.Microseconds())/1e3, "ms")
	r.Info("at 1,000 messages/s, p50 of an acknowledgement", float64(quantile(acks, 0.5).Microseconds())/1e3, "ms")
	r.AtMost("p99 of it", float64(p99.Microseconds())/1e3, float64((3*rawP99+time.Millisecond).Microseconds())/1e3, "ms")
	return nil
}

// pace sends a message each interval and returns how long after it was due each was acknowledged.
func (c *client) pace(topic string, offset, interval, duration time.Duration) (times []time.Duration, err error) {
	frame, _ := publish(topic, payload)
	began := time.Now().Add(offset)
	for due := began; due.Sub(began) < duration; due = due.Add(interval) {
		time.Sleep(time.Until(due))
		if _, err := c.conn.Write(frame); err != nil {
			return nil, err
		}
		if _, _, err := c.read(); err != nil {
			return nil, err
		}
		times = append(times, time.Since(due))
	}
	return times, c.disconnect()
}

// fdatasyncs are the times that the disk takes for what a quiet store writes.
func fdatasyncs(duration time.Duration) (times []time.Duration, err error) {
	f, err := os.CreateTemp("", "durable-raw-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errJoin(err, f.Close(), os.Remove(f.Name())) }()
	block := make([]byte, 4096)
	for began := time.Now(); time.Since(began) < duration; {
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		at := time.Now()
		if err := datasync(f); err != nil {
			return nil, err
		}
		times = append(times, time.Since(at))
	}
	return times, nil
}
