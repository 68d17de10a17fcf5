package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nightjar-mqtt/nightjar/internal/cli"
	"github.com/nightjar-mqtt/nightjar/internal/config"
)

// TestPages: all commands and options have their place, and man(1) has nothing to say against the pages.
func TestPages(t *testing.T) {
	dir := t.TempDir()
	if err := run(dir, header{version: "1.2", date: "2026-11-25"}); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range cli.Commands().Commands() {
		if cmd.Name() == "help" {
			continue
		}
		printed := printPage(t, filepath.Join(dir, "man1", "nightjar-"+cmd.Name()+".1"))
		for _, want := range []string{"NAME", "nightjar-" + cmd.Name() + " - ", "nightjar 1.2", "2026-11-25"} {
			if !strings.Contains(printed, want) {
				t.Errorf("nightjar-%s(1) has no %q", cmd.Name(), want)
			}
		}
		for _, sub := range subcommands(cmd) {
			if !strings.Contains(printed, "\n   "+strings.TrimPrefix(sub.CommandPath(), "nightjar ")+"\n") {
				t.Errorf("nightjar-%s(1) does not have '%s'", cmd.Name(), sub.CommandPath())
			}
		}
	}
	root := printPage(t, filepath.Join(dir, "man1", "nightjar.1"))
	if !strings.Contains(root, "nightjar-serve(1)") {
		t.Error("nightjar(1) does not name nightjar-serve(1)")
	}
	conf := printPage(t, filepath.Join(dir, "man5", "nightjar.conf.5"))
	for _, o := range config.Options {
		if !strings.Contains(conf, "\n       "+o.Name+" ") {
			t.Errorf("nightjar.conf(5) does not have %s", o.Name)
		}
	}
	for _, shell := range []string{"nightjar", "_nightjar", "nightjar.fish"} {
		if b, err := os.ReadFile(filepath.Join(dir, "completions", shell)); err != nil || !strings.Contains(string(b), "nightjar") {
			t.Errorf("completions/%s: %v", shell, err)
		}
	}
}

// TestRoff: what troff would take for itself is printed as it is.
func TestRoff(t *testing.T) {
	const awkward = `.TH 'x' \n -- ~/a^b ` + "`c`" + ` "d" a|b`
	p := newPage(header{}, "awkward", "1", awkward)
	p.section("TEXT")
	p.prose(awkward + "\n'quoted first\n\n  .fi\n  two  spaces\nback")
	p.item(awkward, awkward)
	p.sentence(awkward)
	file := filepath.Join(t.TempDir(), "awkward.1")
	if err := write(file, p.String()); err != nil {
		t.Fatal(err)
	}
	printed := printPage(t, file)
	if n := strings.Count(printed, awkward); n != 5 {
		t.Errorf("the text is there %d times, not 5:\n%s", n, printed)
	}
	for _, want := range []string{" 'quoted first\n", "\n         .fi\n         two  spaces\n", "\n       back\n"} {
		if !strings.Contains(printed, want) {
			t.Errorf("%q is not there:\n%s", want, printed)
		}
	}
}

// printPage is a page as man(1) prints it, which must do so without a warning.
func printPage(t *testing.T, file string) string {
	t.Helper()
	cmd := exec.Command("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", file)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=200", "GROFF_NO_SGR=1")
	var warnings strings.Builder
	cmd.Stderr = &warnings
	out, err := cmd.Output()
	if err != nil || warnings.Len() > 0 {
		t.Errorf("man has something to say against %s (%v; 'make deps' installs man): %s", filepath.Base(file), err, &warnings)
	}
	return overstrike.ReplaceAllString(string(out), "")
}

// overstrike is how bold and underlined letters come out.
var overstrike = regexp.MustCompile(".\x08")
