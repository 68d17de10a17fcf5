package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// info is of a program with three modules, one of them replaced.
func info() *debug.BuildInfo {
	return &debug.BuildInfo{
		GoVersion: "go1.26.1", Main: debug.Module{Path: "example.org/program", Version: "(devel)"},
		Deps: []*debug.Module{
			{Path: "github.com/spf13/cobra", Version: "v1.9.0", Sum: "h1:abc="},
			{Path: "example.org/odd", Version: "v2.0.0+incompatible"},
			{Path: "example.org/old", Version: "v1.0.0", Replace: &debug.Module{Path: "github.com/spf13/pflag", Version: "v1.1.0"}},
		},
		Settings: []debug.BuildSetting{{Key: "GOARCH", Value: "arm"}, {Key: "-trimpath", Value: "true"}},
	}
}

func TestBill(t *testing.T) {
	made := time.Date(2026, 11, 25, 1, 2, 3, 0, time.UTC)
	text, err := bill(info(), "1.2", "00ff", made)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := bill(info(), "1.2", "00ff", made)
	if !bytes.Equal(text, again) {
		t.Error("two documents of one program differ")
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	// The pattern is that of CycloneDX's schema.
	if !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`).MatchString(d.Serial) {
		t.Errorf("serial number %s", d.Serial)
	}
	if other, _ := bill(info(), "1.3", "00ff", made); bytes.Contains(other, []byte(d.Serial)) {
		t.Error("two documents have the same serial number")
	}
	if d.Metadata.Timestamp != "2026-11-25T01:02:03Z" || d.Metadata.Component.PURL != "pkg:golang/example.org/program@1.2" {
		t.Errorf("metadata: %+v", d.Metadata)
	}
	var got []string
	for _, c := range d.Components {
		got = append(got, c.PURL)
	}
	want := "pkg:golang/std@1.26.1 pkg:golang/github.com/spf13/cobra@v1.9.0 pkg:golang/example.org/odd@v2.0.0%2Bincompatible pkg:golang/github.com/spf13/pflag@v1.1.0"
	if strings.Join(got, " ") != want || strings.Join(d.Dependencies[0].DependsOn, " ") != want {
		t.Errorf("components %q, of which it depends on %q", got, d.Dependencies[0].DependsOn)
	}
}

// TestNotices: every module of a real program has its licence there.
func TestNotices(t *testing.T) {
	real, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("the test does not know its modules")
	}
	real.Deps = info().Deps[:1]
	text, err := notices(real)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"github.com/spf13/cobra v1.9.0 (LICENSE.txt)", "Apache License", "The Go Authors"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not there", want)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "licenced.go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := notice(&bytes.Buffer{}, "m", "v1", dir); err == nil || !strings.Contains(err.Error(), "no file with a licence") {
		t.Errorf("a module without a licence: %v", err)
	}
}
