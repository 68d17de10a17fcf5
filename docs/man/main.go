// Man writes what a package ships besides the program: a manual page for each command, nightjar.conf(5), and completions for
// bash, zsh and fish. All of it is made from the commands and from the table of options, so that it says what they do.
//
//	go run ./docs/man -out bin/doc -version 1.0 -date 2026-11-25
//
// pages.go lays out the commands, conf.go the options, roff.go writes the format of manual pages.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/nightjar-mqtt/nightjar/internal/cli"
)

func main() {
	out := flag.String("out", "", "`directory` to write man1/, man5/ and completions/ to")
	version := flag.String("version", "", "the program's version, for the foot of the pages")
	date := flag.String("date", "", "date for the foot of the pages; a build that is to be reproducible gives that of the commit")
	flag.Parse()
	if err := run(*out, header{version: *version, date: *date}); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

func run(out string, h header) error {
	if out == "" {
		return errors.New("say where to write with -out DIRECTORY")
	}
	root := cli.Commands()
	files := map[string]string{
		"man1/nightjar.1":      rootPage(h, root),
		"man5/nightjar.conf.5": configPage(h),
	}
	for _, cmd := range documented(root) {
		files["man1/"+pageName(cmd)+".1"] = commandPage(h, cmd)
	}
	for name, text := range files {
		if err := write(filepath.Join(out, name), text); err != nil {
			return err
		}
	}
	return completions(filepath.Join(out, "completions"), root)
}

func write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // documents
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644) //nolint:gosec // as above
}

// completions are named as the shells look for them.
func completions(dir string, root *cobra.Command) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // documents
		return err
	}
	return errors.Join(
		root.GenBashCompletionFileV2(filepath.Join(dir, "nightjar"), true),
		root.GenZshCompletionFile(filepath.Join(dir, "_nightjar")),
		root.GenFishCompletionFile(filepath.Join(dir, "nightjar.fish"), true),
	)
}
