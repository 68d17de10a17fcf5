package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad: whatever stands in a file, it is read to its end, and each problem has its place.
func FuzzLoad(f *testing.F) {
	for _, e := range effects {
		f.Add(expand(e.in))
	}
	files, err := filepath.Glob("testdata/*.conf")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	path := filepath.Join(f.TempDir(), "m.conf")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "include_dir") { // other files are none of this test's business
			return
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, problems := Load(path)
		for _, p := range problems {
			if p.File != path || p.Line < 1 || p.Line > strings.Count(text, "\n")+1 || p.Text == "" {
				t.Errorf("a problem without its place: %+v", p)
			}
		}
		if problems.Err() == nil {
			_ = s.Lint()
			if changes := Diff(s, s); len(changes) > 0 {
				t.Errorf("it differs from itself: %v", changes)
			}
		}
	})
}
