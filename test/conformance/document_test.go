package conformance

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write docs/conformance.md anew")

// TestStatementsV5 holds that every statement of MQTT 5.0 has a case or a reason for none, and that at most one in ten of
// those that bind servers lacks a case.
func TestStatementsV5(t *testing.T) {
	if n := len(StatementsV5()); n != 251 {
		t.Errorf("%d statements, the standard has 251", n)
	}
	checkStatements(t, V5, StatementsV5())
}

// TestConformanceDoc holds that docs/conformance.md is what the tables and cases say.
func TestConformanceDoc(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	file, want := filepath.Join(root, "docs", "conformance.md"), Document()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; make it with: go test ./test/conformance -run TestConformanceDoc -update", err)
	}
	if string(got) != want {
		t.Error("docs/conformance.md is not current; make it anew with: go test ./test/conformance -run TestConformanceDoc -update")
	}
}
