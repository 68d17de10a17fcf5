//go:build linux

package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/nightjar-mqtt/nightjar/bench/record"
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/store/memory"
)

const (
	subscriptions = 1_000_000
	sessions      = 100_000
	connected     = 15_000
	cachedTopics  = 10_000
	wildcards     = 0.1
)

// cpuTime is what this process has used, so that others on the machine do not count.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// match times the router in this process: what a topic's receivers cost to find when the loop remembers them, and when it
// has never seen the topic.
func (s *settings) match(_ context.Context, r *record.Record) error {
	rt := router.New(router.Options{
		Limits: &session.Limits{Outboxes: new(outbox.Budget)}, Store: memory.Store{}, Loops: 1,
		Post: func(int, func(int, int64)) {},
	})
	w := rt.Worker(0, 0)
	n, clients := s.scaled(subscriptions), s.scaled(sessions)
	all := make([]*session.Session, clients)
	for i := range all {
		id := &message.Identity{ClientID: fmt.Sprint("client-", i)}
		rt.Claim(id.ClientID, nil)
		all[i], _, _ = w.Bind(id, true)
	}
	topics := make([]string, n)
	for i := range n {
		stem, last := fmt.Sprintf("million/%d/%d/", i%1000, i), "value"
		topics[i] = stem + last
		if i%int(1/wildcards) == 0 {
			last = "+"
		}
		w.Subscribe(all[i%clients], stem+last, 0, 0, nil)
	}
	lookUp := func(list []string, rounds int) (each time.Duration, err error) {
		began := cpuTime()
		for range rounds {
			for _, topic := range list {
				if got := w.Receivers(topic); got != 1 {
					return 0, fmt.Errorf("%s has %d receivers instead of 1", topic, got)
				}
			}
		}
		return (cpuTime() - began) / time.Duration(rounds*len(list)), nil
	}
	// In an order that no cache of the processor likes: neighbours were subscribed to at different times.
	const stride = 7919
	spread := make([]string, n)
	for i := range spread {
		spread[i] = topics[i*stride%n]
	}
	uncached, err := lookUp(spread, 1)
	if err != nil {
		return err
	}
	few := spread[:min(cachedTopics, n)]
	if _, err := lookUp(few, 1); err != nil { // now they are remembered
		return err
	}
	cached, err := lookUp(few, 20)
	if err != nil {
		return err
	}
	r.AtMost(fmt.Sprintf("a topic among %d subscriptions, remembered", n), float64(cached)/1e3, 1, "µs")
	r.AtMost("a topic never seen before", float64(uncached)/1e3, 5, "µs")
	return nil
}
