package config

import (
	"fmt"
	"strings"
)

// Severity says how bad a Problem is.
type Severity byte

// The severities.
const (
	Failure Severity = iota // the configuration cannot be used
	Warning
	Notice
)

func (s Severity) String() string { return [...]string{"error", "warning", "notice"}[s] }

// Problem is something that is wrong with a line, or that its writer should know.
type Problem struct {
	Position
	Severity Severity
	Option   string // empty: it is not about one
	Text     string
	// Words are Mosquitto's for the same, for scripts that look for them; empty: it has none.
	Words string
}

func (p Problem) String() string {
	if p.Option == "" {
		return fmt.Sprintf("%s: %s", p.Position, p.Text)
	}
	return fmt.Sprintf("%s: option '%s': %s", p.Position, p.Option, p.Text)
}

// Problems are all that were found, in the order of the lines.
type Problems []Problem

// Failures are those for which the configuration cannot be used.
func (ps Problems) Failures() (out Problems) {
	for _, p := range ps {
		if p.Severity == Failure {
			out = append(out, p)
		}
	}
	return out
}

// Err is nil, or an error with all failures, a line each.
func (ps Problems) Err() error {
	if failures := ps.Failures(); len(failures) > 0 {
		return failures
	}
	return nil
}

// Error has a line for each problem, then what Mosquitto says about the first: "Error: ..." and "Error found at FILE:LINE.".
func (ps Problems) Error() string {
	var b strings.Builder
	for _, p := range ps {
		fmt.Fprintln(&b, p)
	}
	for _, p := range ps {
		if p.Words == "" {
			continue
		}
		fmt.Fprintf(&b, "Error: %s\n", p.Words)
		if p.Line > 0 {
			fmt.Fprintf(&b, "Error found at %s.\n", p.Position)
		}
		break
	}
	return strings.TrimSuffix(b.String(), "\n")
}
