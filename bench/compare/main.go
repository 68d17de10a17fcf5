//go:build linux

// Command compare measures Nightjar against other brokers on this machine, in one run: for each scenario every broker in
// turn, several rounds, each time a fresh process. It writes a table of ratios into docs/performance.md and what it measured
// into bench/history/.
//
//	bench/compare/install.sh
//	go run ./bench/compare
//
// Ratios within a round are what counts: the machine's mood changes, and hits all brokers of a round alike.
package main

import (
	"context"
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

// settings are the command line.
type settings struct {
	root     string // of the repository
	rows     string
	peers    string
	extra    []string
	rounds   int
	most     int
	budget   time.Duration
	duration time.Duration
	warmup   time.Duration
	doc      string
	history  string
	list     bool
}

func main() {
	var s settings
	flag.StringVar(&s.rows, "rows", "", "scenarios to measure, by name, with commas; default: all")
	flag.StringVar(&s.peers, "peers", "", "brokers to compare with, by name, with commas; default: all. A run with fewer is not written into docs/performance.md")
	flag.Func("peer", "another broker: 'NAME=COMMAND', with {port} and, if it needs one, {dir} for a directory of its own; repeatable", func(v string) error {
		s.extra = append(s.extra, v)
		return nil
	})
	flag.IntVar(&s.rounds, "rounds", 5, "rounds at least")
	flag.IntVar(&s.most, "max-rounds", 15, "rounds at most, where the intervals are too wide to decide")
	flag.DurationVar(&s.duration, "duration", 2*time.Second, "time of one measurement")
	flag.DurationVar(&s.budget, "budget", 40*time.Minute, "time for all: what is left of it after the rounds asked for goes to rows that are undecided")
	flag.DurationVar(&s.warmup, "warmup", 700*time.Millisecond, "time before it")
	flag.StringVar(&s.doc, "doc", "docs/performance.md", "document with the table; empty: only print it")
	flag.StringVar(&s.history, "history", "bench/history", "directory for the raw figures; empty: do not keep them")
	flag.BoolVar(&s.list, "list", false, "list scenarios and brokers, with their configuration")
	flag.Parse()
	debug.SetGCPercent(400)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := s.run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "compare: %v\n", err)
		stop()
		os.Exit(1)
	}
}

func (s *settings) run(ctx context.Context) error {
	root, err := repository(ctx)
	if err != nil {
		return err
	}
	s.root = root
	work, err := os.MkdirTemp("", "compare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	all, err := knownPeers(root, work, s.extra)
	if err != nil {
		return err
	}
	peers, err := selectPeers(all, s.peers)
	if err != nil {
		return err
	}
	rows, err := selectRows(s.rows)
	if err != nil {
		return err
	}
	if s.list {
		list(rows, peers)
		return nil
	}
	if err := prepare(ctx, root, work, peers); err != nil {
		return err
	}
	c := &comparison{settings: s, work: work, rows: rows, peers: peers, started: time.Now()}
	err = c.measure(ctx)
	return errors.Join(err, c.write(err == nil && len(peers) >= len(all)))
}

// repository finds the root of the module.
func repository(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(out)))
	if _, err := os.Stat(filepath.Join(root, "bench", "compare")); err != nil {
		return "", fmt.Errorf("run this within Nightjar's repository: %w", err)
	}
	return root, nil
}

// selectPeers picks by name; Nightjar always takes part.
func selectPeers(all []*peer, names string) ([]*peer, error) {
	if names == "" {
		return all, nil
	}
	picked := all[:1:1]
next:
	for _, name := range strings.Split(names, ",") {
		for _, p := range all {
			if p.name != name {
				continue
			}
			if p != all[0] {
				picked = append(picked, p)
			}
			continue next
		}
		return nil, fmt.Errorf("-peers: there is no broker %q; see -list", name)
	}
	return picked, nil
}

func selectRows(names string) ([]*row, error) {
	all := knownRows()
	if names == "" {
		return all, nil
	}
	var picked []*row
next:
	for _, name := range strings.Split(names, ",") {
		for _, r := range all {
			if r.name == name {
				picked = append(picked, r)
				continue next
			}
		}
		return nil, fmt.Errorf("-rows: there is no scenario %q; see -list", name)
	}
	return picked, nil
}

func list(rows []*row, peers []*peer) {
	for _, r := range rows {
		fmt.Printf("%-12s %s\n", r.name, r.title)
	}
	for _, p := range peers {
		fmt.Printf("\n%s: %s\n", p.name, p.config)
	}
}

// prepare builds what is ours and checks that everything else is there. Whoever is missing fails the run: a comparison
// that leaves somebody out looks better than it is.
func prepare(ctx context.Context, root, work string, peers []*peer) error {
	for _, b := range []struct{ dir, what string }{
		{".", "./cmd/nightjar"}, {".", "./bench/floor"}, {"bench/peers", "./mochi"}, {"bench/peers", "./nats"},
	} {
		if !needed(peers, filepath.Base(b.what)) {
			continue
		}
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", work+"/", b.what)
		cmd.Dir, cmd.Env = filepath.Join(root, b.dir), append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", b.what, err, out)
		}
	}
	cert, err := bench.NewCertificate()
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(filepath.Join(work, certFile), cert.Cert, 0o600), os.WriteFile(filepath.Join(work, keyFile), cert.Key, 0o600)); err != nil {
		return err
	}
	var missing []error
	for _, p := range peers {
		var err error
		if p.version, err = p.findVersion(ctx); err != nil {
			missing = append(missing, fmt.Errorf("%s is missing: %w", p.name, err))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w\nrun bench/compare/install.sh, or choose with -peers", errors.Join(missing...))
	}
	return nil
}

func needed(peers []*peer, name string) bool {
	for _, p := range peers {
		if p.name == name {
			return true
		}
	}
	return false
}
