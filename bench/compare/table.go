//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/nightjar-mqtt/nightjar/internal/bench"
)

// The part of the document between these lines is this program's.
const (
	beginMark = "<!-- bench/compare: begin -->"
	endMark   = "<!-- bench/compare: end -->"
)

// history is the file of one run.
type history struct {
	Started      string            `json:"started"`
	Commit       string            `json:"commit"`
	Machine      bench.Machine     `json:"machine"`
	Duration     string            `json:"duration"`
	Warmup       string            `json:"warmup"`
	Peers        map[string]string `json:"peers"` // name → version
	Configs      map[string]string `json:"configurations"`
	Measurements []measurement     `json:"measurements"`
}

// write prints the tables and, of a complete run, puts them into the document and the figures beside it.
func (c *comparison) write(complete bool) error {
	text := c.markdown()
	fmt.Println(text)
	if c.history != "" {
		if err := c.writeHistory(); err != nil {
			return err
		}
	}
	if c.doc == "" {
		return nil
	}
	if !complete || len(c.rows) < len(knownRows()) {
		fmt.Fprintf(os.Stderr, "%s is left as it is: this run had not all brokers and scenarios\n", c.doc)
		return nil
	}
	return c.writeDocument(text)
}

func (c *comparison) writeHistory() error {
	h := history{
		Started: c.started.UTC().Format("2006-01-02 15:04"), Commit: c.commit(), Machine: bench.ThisMachine(),
		Duration: c.duration.String(), Warmup: c.warmup.String(),
		Peers: map[string]string{}, Configs: map[string]string{}, Measurements: c.results,
	}
	for _, p := range c.peers {
		h.Peers[p.name], h.Configs[p.name] = p.version, p.config
	}
	for i := range h.Measurements {
		if rep := h.Measurements[i].Report; rep != nil {
			rep.Intervals = nil // too much to keep
		}
	}
	text, err := json.MarshalIndent(h, "", " ")
	if err != nil {
		return err
	}
	dir := c.within(c.history)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, c.started.UTC().Format("2006-01-02-1504")+".json"), append(text, '\n'), 0o644)
}

// within is a path in the repository, unless it is absolute.
func (s *settings) within(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.root, name)
}

// commit is what was measured, if git knows.
func (c *comparison) commit() string {
	cmd := exec.Command("git", "describe", "--always", "--dirty", "--tags")
	cmd.Dir = c.root
	out, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func (c *comparison) writeDocument(text string) error {
	name := c.within(c.doc)
	old, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		old = []byte("# Performance\n\n" + beginMark + "\n" + endMark + "\n")
	} else if err != nil {
		return err
	}
	updated, err := between(string(old), text)
	if err != nil {
		return fmt.Errorf("%s: %w", c.doc, err)
	}
	return os.WriteFile(name, []byte(updated), 0o644)
}

// between replaces what lies between the marks.
func between(doc, text string) (string, error) {
	before, rest, found := strings.Cut(doc, beginMark)
	_, after, ended := strings.Cut(rest, endMark)
	if !found || !ended {
		return "", fmt.Errorf("the lines %q and %q are not there", beginMark, endMark)
	}
	return before + beginMark + "\n\n" + strings.TrimSpace(text) + "\n\n" + endMark + after, nil
}

// markdown is all that the program has to say.
func (c *comparison) markdown() string {
	var b strings.Builder
	m := bench.ThisMachine()
	fmt.Fprintf(&b, "Measured on %s (commit %s): %s, %d cores, %s, %s. %v for each measurement after %v of warm-up, each with a fresh process; generator and broker share the machine. "+
		"CPU is the broker's CPU time per delivered message. A broker that was %s times behind the best other in a row's first %d rounds is left out of its later ones.\n\n",
		c.started.UTC().Format("2006-01-02"), c.commit(), m.Model, m.CPUs, m.System, m.Go, c.duration, c.warmup, short(behind), enough)
	c.verdicts(&b)
	b.WriteByte('\n')
	c.ratios(&b)
	b.WriteString("\nHow each ran:\n\n")
	for _, p := range c.peers {
		fmt.Fprintf(&b, "- %s %s: %s\n", p.name, p.version, p.config)
	}
	return b.String()
}

// verdicts is the table of targets: how many times better Nightjar is, with the 95 % interval.
func (c *comparison) verdicts(b *strings.Builder) {
	b.WriteString("How many times better Nightjar is (median of the rounds' ratios, 95 % interval), and what was aimed at:\n\n")
	b.WriteString("| scenario | | Nightjar | than mosquitto | than the best other | than the byte forwarder | rounds |\n|---|---|---|---|---|---|---|\n")
	for _, r := range c.rows {
		for i := range r.metrics {
			m := &r.metrics[i]
			mine := c.series(r, m, nightjarName)
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %d |\n", r.title, m.name, figure(medianOf(mine), m.unit),
				c.verdict(r, m, mosquittoName), c.verdict(r, m, bestRole), c.verdict(r, m, floorName), len(mine))
		}
	}
}

// verdict is a cell: the advantage, and whether the target is reached.
func (c *comparison) verdict(r *row, m *metric, role string) string {
	if reason := r.unfit[role]; reason != "" {
		return reason
	}
	ratio, name, ok := c.against(r, m, role)
	if !ok {
		return c.why(r, role)
	}
	cell := short(ratio.median) + "×"
	if !math.IsInf(ratio.high, 1) {
		cell += fmt.Sprintf(" (%s to %s)", short(ratio.low), short(ratio.high))
	}
	if role == bestRole {
		cell += " " + name
	}
	target := m.target(role)
	switch {
	case target == 0:
		return cell
	case ratio.low > target:
		return cell + ", aim " + short(target) + "×: reached"
	case ratio.high < target:
		return cell + ", aim " + short(target) + "×: **missed**"
	}
	return cell + ", aim " + short(target) + "×: undecided"
}

// why tells why there is no figure.
func (c *comparison) why(r *row, peer string) string {
	for i := len(c.results) - 1; i >= 0; i-- {
		if x := &c.results[i]; x.Row == r.name && x.Peer == peer && x.Failed != "" {
			line, _, _ := strings.Cut(x.Failed, "\n")
			return "failed: " + strings.ReplaceAll(line, "|", "/")
		}
	}
	return "not measured"
}

// ratios is the table of all brokers: the median of each, and by how much it is more or less than Nightjar's.
func (c *comparison) ratios(b *strings.Builder) {
	b.WriteString("All brokers, as medians; in brackets the multiple of Nightjar's figure:\n\n| scenario | |")
	for _, p := range c.peers {
		fmt.Fprintf(b, " %s |", p.name)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(c.peers)) + "\n")
	for _, r := range c.rows {
		for i := range r.metrics {
			m := &r.metrics[i]
			fmt.Fprintf(b, "| %s | %s |", r.title, m.name)
			mine := medianOf(c.series(r, m, nightjarName))
			for _, p := range c.peers {
				fmt.Fprintf(b, " %s |", c.cell(r, m, p, mine))
			}
			b.WriteByte('\n')
		}
	}
}

func (c *comparison) cell(r *row, m *metric, p *peer, mine float64) string {
	if reason := r.excuse(p); reason != "" {
		return reason
	}
	theirs := c.series(r, m, p.name)
	if len(theirs) == 0 {
		return c.why(r, p.name)
	}
	v := medianOf(theirs)
	if p.name == nightjarName || mine <= 0 {
		return figure(v, m.unit)
	}
	return fmt.Sprintf("%s (%s)", figure(v, m.unit), short(v/mine))
}

// figure writes a value with its unit.
func figure(v float64, unit string) string {
	switch {
	case unit == "/s" && v >= 1e6:
		return fmt.Sprintf("%.2f M/s", v/1e6)
	case unit == "/s" && v >= 1e4:
		return fmt.Sprintf("%.0f k/s", v/1e3)
	case unit == "/s":
		return fmt.Sprintf("%.0f/s", v)
	}
	return short(v) + " " + unit
}

// short writes a number with about three significant figures.
func short(v float64) string {
	switch {
	case v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
