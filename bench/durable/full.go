//go:build linux

package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nightjar-mqtt/nightjar/bench/record"
	"github.com/nightjar-mqtt/nightjar/broker/durable"
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

func datasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

const mega = 1 << 20

// idle is what a broker with an empty store takes.
func (s *settings) idle(r *record.Record) error {
	p, err := nightjar("")
	if err != nil {
		return err
	}
	defer p.remove()
	time.Sleep(12 * time.Second)
	now, _, err := p.resident()
	r.AtMost("resident memory of an idle broker with an empty store", float64(now)/mega, 40, "MiB")
	return err
}

// queue has a million messages wait for one absent client, and brings it back after a crash.
func (s *settings) queue(r *record.Record) error {
	const size = 200
	total := s.scaled(1_000_000)
	p, err := nightjar("")
	if err != nil {
		return err
	}
	defer func() { p.remove() }()
	if err := absent(p.address, "absent", "bench/#"); err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	before, _, err := p.resident()
	if err != nil {
		return err
	}
	if err := p.forgetPeak(); err != nil {
		return err
	}
	began := time.Now()
	if err := queueUp(p.address, total, size); err != nil {
		return err
	}
	r.Info(fmt.Sprintf("%d messages of %d bytes queued for an absent client", total, size), float64(total)/time.Since(began).Seconds(), "/s")
	now, most, err := p.resident()
	if err != nil {
		return err
	}
	r.Info("resident memory before", float64(before)/mega, "MiB")
	r.AtMost("growth of resident memory, at most, while they come", float64(most-before)/mega, 64, "MiB")
	r.AtMost("growth of resident memory with them", float64(now-before)/mega, 64, "MiB")
	p.kill()
	again, err := nightjar(p.dir)
	if err != nil {
		return err
	}
	p = again
	r.AtMost("start after kill -9 with them", p.took.Seconds(), 2, "s")
	if err := p.forgetPeak(); err != nil {
		return err
	}
	start, _, err := p.resident()
	if err != nil {
		return err
	}
	c, present, err := connect(p.address, "absent", false)
	if err != nil {
		return err
	}
	if !present {
		return fmt.Errorf("the session is gone")
	}
	began = time.Now()
	if err := c.take(total); err != nil {
		return err
	}
	r.AtLeast("replay to the returning client", float64(total)/time.Since(began).Seconds(), 100_000, "/s")
	_, most, err = p.resident()
	r.AtMost("growth of resident memory meanwhile", float64(most-start)/mega, 64, "MiB")
	return err
}

func queueUp(address string, total, size int) error {
	const senders = 8
	var all sync.WaitGroup
	errs := make([]error, senders)
	for i := range senders {
		c, _, err := connect(address, fmt.Sprint("sender-", i), true)
		if err != nil {
			return err
		}
		n := total / senders
		if i == 0 {
			n += total % senders
		}
		all.Add(1)
		go func() {
			defer all.Done()
			_, errs[i] = c.flood(fmt.Sprintf("bench/%d", i), size, 500, func(sent int) bool { return sent < n })
			errs[i] = errJoin(errs[i], c.disconnect())
		}()
	}
	all.Wait()
	return errJoin(errs...)
}

// fill writes to a store that nobody uses.
func fill(dir string, write func(run session.Key, put func(fn func(b session.Batch)) error) error) error {
	store, err := durable.Open(filepath.Join(dir, "data"), durable.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	run, err := store.Load(nobody{})
	if err != nil {
		return err
	}
	put := func(fn func(b session.Batch)) error {
		done := make(chan error, 1)
		b := store.NewBatch()
		fn(b)
		b.Commit(func(err error) { done <- err })
		return <-done
	}
	return errJoin(write(session.Key(run<<session.RunShift), put), store.Close())
}

// fanout has one message queued for ten thousand absent sessions.
func (s *settings) fanout(r *record.Record) error {
	const size = 1000
	n := s.scaled(10_000)
	dir, err := os.MkdirTemp("", "durable-")
	if err != nil {
		return err
	}
	err = fill(dir, func(first session.Key, put func(func(session.Batch)) error) error {
		return put(func(b session.Batch) {
			for i := range n {
				k := first + session.Key(i) + 1
				b.PutSession(&session.Record{Key: k, ClientID: fmt.Sprint("absent-", i), Expiry: session.NeverExpires, Left: 1})
				b.PutSubscription(k, "to/all", 1, 0)
			}
		})
	})
	if err != nil {
		return err
	}
	p, err := nightjar(dir)
	if err != nil {
		return err
	}
	defer func() { p.remove() }()
	c, _, err := connect(p.address, "publisher", true)
	if err != nil {
		return err
	}
	before, err := p.size()
	if err != nil {
		return err
	}
	frame, _ := publish("to/all", size)
	began := time.Now()
	if _, err := c.conn.Write(frame); err != nil {
		return err
	}
	if _, _, err := c.read(); err != nil {
		return err
	}
	took := time.Since(began)
	after, err := p.size()
	if err != nil {
		return err
	}
	r.AtMost(fmt.Sprintf("acknowledgement of a message to %d absent sessions", n), float64(took.Microseconds())/1e3, 200, "ms")
	r.AtMost("growth of the store for each of them, beside the message", float64(after-before-size)/float64(n), 64, "bytes")
	return p.stop()
}

// start measures how long a broker takes to start with a full store.
func (s *settings) start(r *record.Record) error {
	sessions, retained := s.scaled(100_000), s.scaled(1_000_000)
	dir, err := os.MkdirTemp("", "durable-")
	if err != nil {
		return err
	}
	err = fill(dir, func(first session.Key, put func(func(session.Batch)) error) error {
		const step = 1000
		for at := 0; at < sessions; at += step {
			err := put(func(b session.Batch) {
				for i := at; i < min(at+step, sessions); i++ {
					k := first + session.Key(i) + 1
					b.PutSession(&session.Record{Key: k, ClientID: fmt.Sprint("device-", i), Expiry: session.NeverExpires, Left: 1})
					for j := range 5 {
						b.PutSubscription(k, fmt.Sprintf("site/%d/device/%d/command/%d", i%100, i, j), 1, 0)
					}
				}
			})
			if err != nil {
				return err
			}
		}
		for at := 0; at < retained; at += step {
			err := put(func(b session.Batch) {
				for i := at; i < min(at+step, retained); i++ {
					m := &message.Message{Topic: fmt.Sprintf("site/%d/device/%d/state", i%100, i), Payload: make([]byte, payload), QoS: 1, Retain: true, Seq: uint64(i + 1)}
					b.PutRetained(m.MarkOwned())
				}
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	dropCaches()
	p, err := nightjar(dir)
	if err != nil {
		return err
	}
	defer p.remove()
	r.AtMost(fmt.Sprintf("start with %d sessions of 5 subscriptions and %d retained messages", sessions, retained), p.took.Seconds(), 5, "s")
	now, _, err := p.resident()
	r.Info("resident memory then", float64(now)/mega, "MiB")
	if _, present, e := connect(p.address, "device-0", false); e != nil || !present {
		err = errJoin(err, e, fmt.Errorf("the first session is there: %t", present))
	}
	return err
}

// dropCaches has the next start read from the disk; where that is not allowed, it reads from memory.
func dropCaches() {
	syscall.Sync()
	_ = os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}
