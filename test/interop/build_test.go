//go:build linux

package interop

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// outDir takes everything that a test run compiles and is removed at its end.
var outDir string

// compiling counts the compile steps under way.
var compiling sync.WaitGroup

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "nightjar-interop-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop: no directory for compiled clients:", err)
		os.Exit(1)
	}
	outDir = dir
	code := m.Run()
	compiling.Wait() // a run of few tests may end before a compiler that nobody waited for
	os.RemoveAll(dir)
	os.Exit(code)
}

// readTree opens every folder of the repository. `go test` repeats an old result unless something that the test itself
// opened has changed; the broker and the clients are read by other processes only. For a folder it looks at the names,
// sizes and times in it. Listing without os.Open does not count, nor does what TestMain does before m.Run.
func readTree() error {
	return filepath.WalkDir(filepath.Join("..", ".."), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return ignoreGone(err)
		}
		if d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == "bin" {
			return filepath.SkipDir
		}
		f, err := os.Open(path)
		if err != nil {
			return ignoreGone(err)
		}
		return f.Close()
	})
}

// ignoreGone forgives a folder that went away meanwhile: another test's temporary one.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// A requirement is something a client can't run without and the package that brings it.
type requirement struct {
	what string // a command in PATH, or an absolute or relative path of a file
	from string // as the message names it
}

// need fails the test, never skips it, when a requirement is missing.
func need(t *testing.T, reqs ...requirement) {
	t.Helper()
	for _, r := range reqs {
		if err := r.check(); err != nil {
			t.Fatal(err)
		}
	}
}

func (r requirement) check() error {
	var err error
	if strings.ContainsRune(r.what, filepath.Separator) {
		_, err = os.Stat(r.what)
	} else {
		_, err = exec.LookPath(r.what)
	}
	if err != nil {
		return fmt.Errorf("%s is missing; %s brings it: run test/interop/install.sh (%w)", r.what, r.from, err)
	}
	return nil
}

// A compile step turns a client's source into something in outDir, at most once per test run.
type compile struct {
	needs []requirement
	dir   string   // where argv runs, relative to this folder
	argv  []string // OUT stands for outDir

	once sync.Once
	err  error
}

// compileLimit is generous: a cold Go build cache and two busy cores.
const compileLimit = 3 * time.Minute

// run compiles, or waits for whoever does, and returns the compiler's words if it failed.
func (c *compile) run() error {
	c.once.Do(func() {
		for _, r := range c.needs {
			if c.err = r.check(); c.err != nil {
				return
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), compileLimit)
		defer cancel()
		cmd := exec.CommandContext(ctx, c.argv[0], inOutDir(c.argv[1:])...)
		cmd.Dir = c.dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly -buildvcs=false")
		if out, err := cmd.CombinedOutput(); err != nil {
			c.err = fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
		}
	})
	return c.err
}

// inOutDir replaces OUT in each argument.
func inOutDir(argv []string) []string {
	out := make([]string, len(argv))
	for i, a := range argv {
		out[i] = strings.ReplaceAll(a, "OUT", outDir)
	}
	return out
}

// A machine without a language has to hear which package brings it.
func TestMissingRequirementNamesItsPackage(t *testing.T) {
	for _, what := range []string{"no-such-runtime", "/no/such/header.h"} {
		err := requirement{what, "Debian's no-such-package"}.check()
		if err == nil {
			t.Fatalf("%s is said to be there", what)
		}
		for _, part := range []string{what, "Debian's no-such-package", "test/interop/install.sh"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not contain %q", err, part)
			}
		}
	}
}
