//go:build linux

// Command million measures Nightjar with a million subscriptions and with a million retained messages, says of each figure
// whether it is what was aimed at, and keeps what it measured in bench/history.
//
//	go run ./bench/million
//	go run ./bench/million -only retained
//	go run ./bench/million -scale 0.1 -history ""
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/nightjar-mqtt/nightjar/bench/record"
)

type settings struct {
	only     string
	scale    float64
	duration time.Duration
	settle   time.Duration
	history  string
}

// scaled is a number of the full measurement.
func (s *settings) scaled(n int) int { return max(1, int(float64(n)*s.scale)) }

func main() {
	var s settings
	flag.StringVar(&s.only, "only", "", "match, subscriptions or retained; default: all")
	flag.Float64Var(&s.scale, "scale", 1, "share of the numbers, for a try")
	flag.DurationVar(&s.duration, "duration", 5*time.Second, "time of one measurement")
	flag.DurationVar(&s.settle, "settle", 12*time.Second, "how long the broker is left alone before its memory counts")
	flag.StringVar(&s.history, "history", "bench/history", "directory for the raw figures; empty: do not keep them")
	flag.Parse()
	debug.SetGCPercent(400)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := s.run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "million: %v\n", err)
		stop()
		os.Exit(1)
	}
}

func (s *settings) run(ctx context.Context) error {
	r := record.New(s.scale)
	parts := []struct {
		name string
		run  func(context.Context, *record.Record) error
	}{{"match", s.match}, {"subscriptions", s.subscriptions}, {"retained", s.retained}}
	var failures []error
	ran := 0
	for _, p := range parts {
		if s.only != "" && s.only != p.name {
			continue
		}
		ran++
		if err := p.run(ctx, r); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	if ran == 0 {
		return fmt.Errorf("-only: there is no %q; match, subscriptions and retained exist", s.only)
	}
	return errors.Join(append(failures, r.Finish(s.history, "million"))...)
}
