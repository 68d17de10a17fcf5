//go:build linux

// Command durable measures what it costs to keep promises: how fast messages are acknowledged that are on disk, against a
// bare program that writes the same to Pebble and against Debian's mosquitto, which syncs nothing; how late; what a million
// queued messages cost in memory; how long a start takes with a full store. It says of each figure whether it is what was
// aimed at, and keeps what it measured in bench/history.
//
//	go run ./bench/durable
//	go run ./bench/durable -only speed,latency
//	go run ./bench/durable -scale 0.1 -history ""
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nightjar-mqtt/nightjar/bench/record"
)

type settings struct {
	only     string
	scale    float64
	duration time.Duration
	rounds   int
	history  string
	dir      string
}

// extra are more arguments for the broker.
var extra string

// scaled is a number of the full measurement.
func (s *settings) scaled(n int) int { return max(1, int(float64(n)*s.scale)) }

func main() {
	var s settings
	flag.StringVar(&s.only, "only", "", "parts to run, separated by commas: speed, latency, queue, start, fanout, idle; default: all")
	flag.Float64Var(&s.scale, "scale", 1, "share of the numbers, for a try")
	flag.DurationVar(&s.duration, "duration", 5*time.Second, "time of one measurement")
	flag.IntVar(&s.rounds, "rounds", 5, "alternating rounds of the speed measurement; the median counts")
	flag.StringVar(&s.history, "history", "bench/history", "directory for the raw figures; empty: do not keep them")
	flag.StringVar(&extra, "args", "", "more arguments for the broker, such as --profile 127.0.0.1:6060")
	flag.StringVar(&s.dir, "dir", "", "directory on the disk that is measured; default: that for temporary files")
	flag.Parse()
	if err := s.run(); err != nil {
		fmt.Fprintf(os.Stderr, "durable: %v\n", err)
		os.Exit(1)
	}
}

func (s *settings) run() error {
	if s.dir != "" {
		if err := os.Setenv("TMPDIR", s.dir); err != nil {
			return err
		}
	}
	r := record.New(s.scale)
	parts := []struct {
		name string
		run  func(*record.Record) error
	}{{"idle", s.idle}, {"speed", s.speed}, {"latency", s.latency}, {"queue", s.queue}, {"fanout", s.fanout}, {"start", s.start}}
	var failures []error
	wanted := map[string]bool{}
	for _, name := range strings.FieldsFunc(s.only, func(c rune) bool { return c == ',' }) {
		wanted[name] = true
	}
	for _, p := range parts {
		if s.only != "" && !wanted[p.name] {
			continue
		}
		delete(wanted, p.name)
		if err := p.run(r); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	for name := range wanted {
		failures = append(failures, fmt.Errorf("-only: there is no part %q", name))
	}
	return errJoin(append(failures, r.Finish(s.history, "durable"))...)
}

func errJoin(errs ...error) error { return errors.Join(errs...) }
