//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/nightjar-mqtt/nightjar/bench/record"
	"github.com/nightjar-mqtt/nightjar/bench/subject"
	"github.com/nightjar-mqtt/nightjar/internal/bench"
)

const (
	descriptors = connected + 1000
	churnRate   = 10_000
	publishRate = 100_000
	pairRate    = 1000
	retainedAll = 1_000_000
)

// against runs one scenario against a fresh broker.
func (s *settings) against(ctx context.Context, r *record.Record, name string, o bench.Options) (*bench.Report, error) {
	if err := subject.RaiseDescriptors(descriptors); err != nil {
		return nil, err
	}
	b, err := subject.Start(nil, "--data", "none", "--listen", "mqtt://127.0.0.1:0", "--data", "none", "--max-queued-messages", "0", "--sys-interval", "0s")
	if err != nil {
		return nil, err
	}
	defer b.Stop()
	o.Address, o.PID = b.Address, b.PID
	o.Duration, o.Warmup, o.SetupTime, o.Settle = s.duration, time.Second, 10*time.Minute, s.settle
	for i := range 8 {
		o.Sources = append(o.Sources, netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i)}))
	}
	rep, err := bench.Run(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r.Reports[name] = rep
	return rep, nil
}

func (s *settings) subscriptions(ctx context.Context, r *record.Record) error {
	o := bench.DefaultOptions(bench.Subscribe)
	o.Clients, o.Sessions, o.Subscriptions = s.scaled(connected), s.scaled(sessions), s.scaled(subscriptions)
	o.Wildcards, o.Churn, o.Keep = wildcards, churnRate, true

	empty := o
	empty.Subscriptions, empty.Rate, empty.Churn = 0, pairRate, 0
	bare, err := s.against(ctx, r, "sessions without subscriptions", empty)
	if err != nil {
		return err
	}
	steady := o
	steady.Rate = publishRate
	given, err := s.against(ctx, r, "subscriptions at a given rate", steady)
	if err != nil {
		return err
	}
	full := o
	full.Window = 1000
	most, err := s.against(ctx, r, "subscriptions at full speed", full)
	if err != nil {
		return err
	}
	n := float64(o.Subscriptions)
	r.Info(fmt.Sprintf("%d sessions, %d of them connected", o.Sessions, o.Clients), float64(bare.Subscribe.Bytes)/float64(o.Sessions), "bytes each")
	r.Info("a subscription, its share of sessions and connections included", given.Subscribe.BytesPerSubscription, "bytes")
	r.AtMost("a subscription", float64(given.Subscribe.Bytes-bare.Subscribe.Bytes)/n, 200, "bytes")
	r.Info("subscribing", given.Subscribe.Rate, "/s")
	r.AtLeast("subscriptions that came and went at the given rate", given.Subscribe.Churn, 0.98*churnRate, "/s")
	r.AtLeast(fmt.Sprintf("of %d messages/s, delivered meanwhile", publishRate), given.Rate, 0.98*publishRate, "/s")
	r.Info("p99 of these", given.Latency.P99/1e3, "ms")
	r.Info("p99 without subscriptions coming and going", given.Alone.Latency.P99/1e3, "ms")
	r.Info("messages at full speed without", most.Alone.Rate, "/s")
	r.Info("messages at full speed with", most.Rate, "/s")
	r.Info("subscriptions that came and went at full speed", most.Subscribe.Churn, "/s")
	r.AtLeast("throughput kept", most.Subscribe.Kept, 0.8, "")
	return nil
}

func (s *settings) retained(ctx context.Context, r *record.Record) error {
	o := bench.DefaultOptions(bench.Retained)
	o.Clients, o.Rate, o.Keep, o.Everything = s.scaled(retainedAll), pairRate, true, true
	o.Loops = 2 // the pair's is not the one that receives a million messages
	rep, err := s.against(ctx, r, "retained", o)
	if err != nil {
		return err
	}
	r.Info(fmt.Sprintf("storing %d retained messages", o.Clients), rep.Retained.StoreRate, "/s")
	r.Info("a retained message", rep.Retained.BytesPerTopic, "bytes")
	r.AtLeast("subscriptions to # that got all of them", float64(rep.Retained.Complete), 1, "")
	r.Info("time for one", rep.Retained.Seconds.P50/1e6, "s")
	r.Info("p99 of another client before", rep.Alone.Latency.P99/1e3, "ms")
	r.AtMost("p99 of another client meanwhile", rep.Latency.P99/1e3, 10, "ms")
	return nil
}
