//go:build linux

package dropin

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// configurations are the names of the files in testdata.
func configurations(t testing.TB) (names []string) {
	t.Helper()
	all, err := filepath.Glob("testdata/*.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		names = append(names, strings.TrimSuffix(filepath.Base(path), ".conf"))
	}
	return names
}

// TestConversations: both brokers answer alike, but for what is listed; and what is listed is so.
func TestConversations(t *testing.T) {
	names := configurations(t)
	if len(names) < 40 {
		t.Errorf("there are only %d configurations", len(names))
	}
	var mu sync.Mutex
	used := make(map[string]int)
	ran := 0
	t.Run("files", func(t *testing.T) {
		for _, name := range names {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				mine := make(map[string]int)
				converse(t, name, mine)
				mu.Lock()
				defer mu.Unlock()
				ran++
				for what, n := range mine {
					used[what] += n
				}
			})
		}
	})
	if ran < len(names) {
		return // only some were asked for
	}
	for _, r := range rules {
		if used[r.what] == 0 {
			t.Errorf("no longer so, take it out of the table: %s", r.what)
		}
	}
}

// wanted is how much Nightjar will say for each line, if it differs as is listed.
func wanted(name string, c conversation, mosquitto answers) (all []map[string]int) {
	for i, line := range c.lines {
		n := make(map[string]int)
		for client, events := range mosquitto[i] {
			n[client] = len(events)
			if len(events) == 1 && events[0] == "false" { // a line that the log has not
				n[client] = 0
			}
		}
		for _, d := range differences {
			if d.file == name && d.title == c.title && d.line == line && count(d.mosquitto) == n[d.client] {
				n[d.client] = count(d.nightjar)
			}
		}
		all = append(all, n)
	}
	return all
}

// count is how many answers a text in the table has.
func count(answers string) int {
	if answers == "nothing" || answers == "false" {
		return 0
	}
	return strings.Count(answers, "; ") + 1
}

// converse holds the conversations of one configuration.
func converse(t *testing.T, name string, used map[string]int) {
	t.Helper()
	conf, err := os.ReadFile(filepath.Join("testdata", name+".conf"))
	if err != nil {
		t.Fatal(err)
	}
	mosquitto := newDaemon(t, "mosquitto", mosquittoCommand(t), string(conf))
	nightjar := newDaemon(t, "nightjar", nightjarCommand(t), string(conf))
	for _, d := range []*daemon{mosquitto, nightjar} {
		d.start()
		t.Cleanup(d.kill)
	}
	listed := make(map[difference]bool)
	for _, d := range differences {
		if d.file == name {
			listed[d] = false
		}
	}
	for _, c := range readTalk(t, filepath.Join("testdata", name+".talk")) {
		theirs := hold(t, mosquitto, c, nil)
		ours := hold(t, nightjar, c, wanted(name, c, theirs))
		for _, f := range compare(c, theirs, ours, used) {
			known := false
			for d := range listed {
				if d.title == f.title && d.line == f.line && d.client == f.client && d.mosquitto == f.mosquitto && d.nightjar == f.nightjar {
					known, listed[d] = true, true
				}
			}
			if !known {
				t.Errorf("%v", f)
			}
		}
	}
	for d, found := range listed {
		if !found {
			t.Errorf("no longer so, take it out of the table: %+v", d)
		}
	}
	for _, d := range []*daemon{mosquitto, nightjar} {
		d.terminate()
		if t.Failed() {
			t.Logf("%s:\n%s", d.name, d.out.String())
		}
	}
}
