package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write makes a configuration file of lines.
func write(t *testing.T, lines ...string) string {
	t.Helper()
	return writeAs(t, filepath.Join(t.TempDir(), "m.conf"), lines...)
}

func writeAs(t *testing.T, path string, lines ...string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load reads lines that must be without failures.
func load(t *testing.T, lines ...string) *Settings {
	t.Helper()
	s, problems := Load(write(t, lines...))
	if err := problems.Err(); err != nil {
		t.Fatalf("%q: %v", lines, err)
	}
	return s
}

func TestTableIsComplete(t *testing.T) {
	seen := make(map[string]bool)
	for _, o := range Options {
		for _, name := range append([]string{o.Name}, o.Aliases...) {
			if seen[name] {
				t.Errorf("%s stands in the table twice", name)
			}
			seen[name] = true
		}
		if o.bind == nil && o.parse == nil && o.Refused == "" && o.Obsolete == "" {
			t.Errorf("%s has no effect", o.Name)
		}
		if o.About == "" && o.Obsolete == "" {
			t.Errorf("%s has no description", o.Name)
		}
		_, _ = o.Usage(), o.Default()
	}
}

func TestEmptyFileIsTheDefaults(t *testing.T) {
	s := load(t, "# nothing", "", "   ")
	if changes := Diff(NoFile(), s); len(changes) > 0 {
		t.Errorf("an empty file changes %v", changes)
	}
	if len(s.Listeners) != 2 || !s.Listeners[0].Local() || s.Listeners[0].Security.AllowAnonymous != Yes {
		t.Errorf("an empty file has listeners %+v", s.Listeners)
	}
}
