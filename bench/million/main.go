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
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/bench"
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

// result is one figure.
type result struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Limit  float64 `json:"limit,omitempty"`
	AtMost bool    `json:"at_most,omitempty"` // else the limit is the least; without limit it is for information
	Passed bool    `json:"passed"`
}

// record is what is kept.
type record struct {
	Started string                   `json:"started"`
	Commit  string                   `json:"commit"`
	Scale   float64                  `json:"scale"`
	Machine bench.Machine            `json:"machine"`
	Results []result                 `json:"results"`
	Reports map[string]*bench.Report `json:"reports"`
}

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
	started := time.Now().UTC()
	r := &record{
		Started: started.Format("2006-01-02 15:04"), Commit: commit(), Scale: s.scale, Machine: bench.ThisMachine(),
		Reports: map[string]*bench.Report{},
	}
	parts := []struct {
		name string
		run  func(context.Context, *record) error
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
	for _, x := range r.Results {
		if !x.Passed {
			failures = append(failures, fmt.Errorf("%s: %g %s", x.Name, x.Value, x.Unit))
		}
	}
	if s.history != "" {
		failures = append(failures, r.write(filepath.Join(s.history, started.Format("2006-01-02-1504")+"-million.json")))
	}
	return errors.Join(failures...)
}

func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--tags").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// atMost and atLeast add a figure with its limit, info one without.
func (r *record) atMost(name string, v, limit float64, unit string) {
	r.add(result{Name: name, Value: v, Unit: unit, Limit: limit, AtMost: true, Passed: v <= limit})
}

func (r *record) atLeast(name string, v, limit float64, unit string) {
	r.add(result{Name: name, Value: v, Unit: unit, Limit: limit, Passed: v >= limit})
}

func (r *record) info(name string, v float64, unit string) {
	r.add(result{Name: name, Value: v, Unit: unit, Passed: true})
}

func (r *record) add(x result) {
	r.Results = append(r.Results, x)
	verdict, bound := "passed", "at least"
	if x.AtMost {
		bound = "at most"
	}
	if !x.Passed {
		verdict = "FAILED"
	}
	if x.Limit == 0 && !x.AtMost {
		fmt.Printf("%-62s %12.4g %s\n", x.Name, x.Value, x.Unit)
		return
	}
	fmt.Printf("%-62s %12.4g %-10s %s %g: %s\n", x.Name, x.Value, x.Unit, bound, x.Limit, verdict)
}

func (r *record) write(name string) error {
	for _, rep := range r.Reports {
		rep.Intervals = nil // too much to keep
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}
