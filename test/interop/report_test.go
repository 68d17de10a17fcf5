//go:build linux

package interop

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A report is what one client program printed: for each step an empty string (ok) or why it failed.
type report struct {
	result map[string]string
	stray  []string // lines that are neither ok nor FAIL: a program that chatters hides its verdict
}

// parseReport reads the lines `ok STEP` and `FAIL STEP why` that every client program prints.
func parseReport(stdout string) report {
	r := report{result: map[string]string{}}
	for line := range strings.Lines(stdout) {
		line = strings.TrimRight(line, "\r\n")
		word := strings.SplitN(line, " ", 3)
		switch {
		case len(word) == 2 && word[0] == "ok":
			r.add(word[1], "")
		case len(word) == 3 && word[0] == "FAIL" && word[2] != "":
			r.add(word[1], word[2])
		default:
			r.stray = append(r.stray, line)
		}
	}
	return r
}

// add notes a verdict; a second one for the same step is kept as a failure.
func (r *report) add(step, why string) {
	if _, twice := r.result[step]; twice {
		why = "reported twice"
	}
	r.result[step] = why
}

// problems compares the report with the steps that had to be run; an empty list means that every one is ok.
func (r *report) problems(steps []string) []string {
	var out []string
	for _, step := range steps {
		if why, said := r.result[step]; !said {
			out = append(out, fmt.Sprintf("step %s: not reported", step))
		} else if why != "" {
			out = append(out, fmt.Sprintf("step %s: %s", step, why))
		}
	}
	for step := range r.result {
		if !slices.Contains(steps, step) {
			out = append(out, fmt.Sprintf("step %s: reported, but not one of %v", step, steps))
		}
	}
	for _, line := range r.stray {
		out = append(out, fmt.Sprintf("stray output line: %q", line))
	}
	return out
}

func TestParseReport(t *testing.T) {
	steps := []string{"connect", "qos0"}
	for _, c := range []struct{ name, stdout, want string }{
		{"all ok", "ok connect\nok qos0\n", ""},
		{"carriage returns", "ok connect\r\nok qos0\r\n", ""},
		{"failure with a reason", "ok connect\nFAIL qos0 nothing came\n", "step qos0: nothing came"},
		{"step left out", "ok connect\n", "step qos0: not reported"},
		{"nothing at all", "", "step connect: not reported; step qos0: not reported"},
		{"unknown step", "ok connect\nok qos0\nok qos9\n", "step qos9: reported, but not one of [connect qos0]"},
		{"twice", "ok connect\nok qos0\nok qos0\n", "step qos0: reported twice"},
		{"stray line", "ok connect\nok qos0\nhello\n", `stray output line: "hello"`},
		{"failure without a reason", "ok connect\nFAIL qos0\n", `step qos0: not reported; stray output line: "FAIL qos0"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := parseReport(c.stdout)
			if got := strings.Join(r.problems(steps), "; "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
