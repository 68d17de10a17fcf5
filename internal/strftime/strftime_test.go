package strftime_test

import (
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/strftime"
)

// Every conversion is compared with date(1) by the command line's test of -F; here is what it lies within.
func TestFormat(t *testing.T) {
	when := time.Date(2026, 3, 7, 4, 5, 6, 0, time.UTC)
	for format, want := range map[string]string{
		"":                    "",
		"%Y-%m-%dT%H:%M:%S%z": "2026-03-07T04:05:06+0000",
		"100%% of %j%":        "100% of 066%",
		"[%d/%b/%Y:%H:%M:%S]": "[07/Mar/2026:04:05:06]",
		"an unknown %! stays": "an unknown %! stays",
		"%s":                  "1772856306",
	} {
		if got := strftime.Format(format, when); got != want {
			t.Errorf("%q: %q, want %q", format, got, want)
		}
	}
}
