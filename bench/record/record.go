//go:build linux

// Package record keeps figures that a measurement has to meet, prints each with its verdict, and writes them to
// bench/history.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/bench"
)

// Result is one figure.
type Result struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Limit  float64 `json:"limit,omitempty"`
	AtMost bool    `json:"at_most,omitempty"` // else the limit is the least; without limit it is for information
	Passed bool    `json:"passed"`
}

// Record is what is kept.
type Record struct {
	Started string                   `json:"started"`
	Commit  string                   `json:"commit"`
	Scale   float64                  `json:"scale,omitempty"`
	Machine bench.Machine            `json:"machine"`
	Results []Result                 `json:"results"`
	Reports map[string]*bench.Report `json:"reports,omitempty"`
	began   time.Time
}

// New begins a record. scale is the share of the full numbers.
func New(scale float64) *Record {
	began := time.Now().UTC()
	return &Record{
		Started: began.Format("2006-01-02 15:04"), Commit: commit(), Scale: scale, Machine: bench.ThisMachine(),
		Reports: map[string]*bench.Report{}, began: began,
	}
}

func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--tags").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// AtMost adds a figure with the most that it may be.
func (r *Record) AtMost(name string, v, limit float64, unit string) {
	r.add(Result{Name: name, Value: v, Unit: unit, Limit: limit, AtMost: true, Passed: v <= limit})
}

// AtLeast adds a figure with the least that it must be.
func (r *Record) AtLeast(name string, v, limit float64, unit string) {
	r.add(Result{Name: name, Value: v, Unit: unit, Limit: limit, Passed: v >= limit})
}

// Info adds a figure that may be anything.
func (r *Record) Info(name string, v float64, unit string) {
	r.add(Result{Name: name, Value: v, Unit: unit, Passed: true})
}

func (r *Record) add(x Result) {
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

// Finish writes the record to a directory, if that is not empty, under a name that ends with kind. The error names all
// figures that are not what they must be.
func (r *Record) Finish(dir, kind string) error {
	var failures []error
	for _, x := range r.Results {
		if !x.Passed {
			failures = append(failures, fmt.Errorf("%s: %g %s", x.Name, x.Value, x.Unit))
		}
	}
	if dir != "" {
		failures = append(failures, r.write(filepath.Join(dir, r.began.Format("2006-01-02-1504")+"-"+kind+".json")))
	}
	return errors.Join(failures...)
}

func (r *Record) write(name string) error {
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
