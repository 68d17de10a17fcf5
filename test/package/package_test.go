// Package packaging builds the Debian package, and lives with it: in a Debian of its own with systemd as process 1, where it is
// installed, used, broken, upgraded, removed and purged.
//
// package_test.go builds and boots, installed_test.go is what runs there, documents_test.go what the
// documents tell users to do, boot.sh makes the place; files_test.go looks at the
// other files in deploy.
package packaging

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const root = "../.."

// patience is how long a build may take on a busy machine that has compiled nothing yet.
const patience = 10 * time.Minute

// TestPackage: the package is the same wherever it is built, and does what it should in TestInstalled.
func TestPackage(t *testing.T) {
	if os.Getenv(insideMark) != "" {
		t.Skip("it is running here")
	}
	one := filepath.Join(t.TempDir(), "one")
	copySource(t, root, one)
	another := filepath.Join(t.TempDir(), "another", "folder")
	copySource(t, one, another)
	for _, folder := range []string{"go.mod", "deploy/debian/nfpm.yaml"} {
		if _, err := os.Stat(filepath.Join(another, folder)); err != nil {
			t.Fatalf("the source was not copied: %v", err)
		}
	}
	first, second := build(t, one, "022"), build(t, another, "077")
	if sha256.Sum256(first) != sha256.Sum256(second) {
		t.Errorf("two builds of the same source in two folders differ: %d and %d bytes; diffoscope shows where", len(first), len(second))
	}
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("only root can boot a system to install the package in")
		}
		t.Skip("only root can boot a system to install the package in; the package itself is built and the same twice")
	}
	boot(t, first)
}

// copySource copies the source to a folder: what git has, with what was changed since, or all that is there.
func copySource(t *testing.T, from, to string) {
	t.Helper()
	var names []string
	if out, err := exec.Command("git", "-C", from, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output(); err == nil {
		names = strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	} else if err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(path, from+"/"))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if top, _, _ := strings.Cut(name, "/"); top != "test" && top != "bench" {
			copyFile(t, filepath.Join(from, name), filepath.Join(to, name))
		}
	}
}

// build builds the package in a copy of the source.
func build(t *testing.T, folder, umask string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", "umask "+umask+" && exec deploy/debian/build.sh \"$(dpkg --print-architecture)\"")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "VERSION=v0.1.0-test", "SOURCE_DATE_EPOCH=1764032258")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build.sh: %v\n%s", err, out)
	}
	made, err := filepath.Glob(filepath.Join(folder, "bin", "nightjar_0.1.0~test_*.deb"))
	if err != nil || len(made) != 1 {
		t.Fatalf("packages: %q, %v", made, err)
	}
	deb, err := os.ReadFile(made[0])
	if err != nil {
		t.Fatal(err)
	}
	return deb
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if errors.Is(err, os.ErrNotExist) { // git still lists what was just deleted
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	mode := os.FileMode(0o644)
	if info, err := os.Stat(from); err == nil && info.Mode()&0o100 != 0 {
		mode = 0o755
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, mode); err != nil {
		t.Fatal(err)
	}
}

// boot runs TestInstalled in a system where the package lies ready.
func boot(t *testing.T, deb []byte) {
	t.Helper()
	folder, err := os.MkdirTemp("", "nightjar-package") //nolint:usetesting // what is mounted in it goes with the last process
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, self, filepath.Join(folder, "package.test"))
	copyFile(t, "boot.sh", filepath.Join(folder, "boot.sh"))
	copyFile(t, root+"/deploy/docker/Dockerfile", filepath.Join(folder, "Dockerfile"))
	copyFile(t, root+"/deploy/docker/nightjar.conf", filepath.Join(folder, "docker.conf"))
	for _, document := range []string{"install.md", "home-assistant.md"} {
		copyFile(t, root+"/docs/"+document, filepath.Join(folder, document))
	}
	if err := os.WriteFile(filepath.Join(folder, "nightjar.deb"), deb, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(folder, "boot.sh"), folder, "/usr/bin/env", insideMark+"=1", "/test/package.test", "-test.v", "-test.run=^TestInstalled$")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	bootErr := cmd.Run()
	out, err := os.ReadFile(filepath.Join(folder, "out"))
	if bootErr != nil || err != nil || !bytes.Contains(out, []byte("--- PASS: TestInstalled")) {
		t.Fatalf("the system ended with %v: %s\n%s", bootErr, &said, out)
	}
	if testing.Verbose() {
		t.Logf("%s", out)
	}
}
