package pebble

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/store/storetest"
)

// onDisk are options for a store in a directory of the test's.
func onDisk(t *testing.T) Options {
	o := testOptions(t)
	o.Dir, o.FS = filepath.Join(t.TempDir(), "data", "store"), nil
	return o
}

// filledStore makes a store with something in its log and its tables, and closes it.
func filledStore(t *testing.T, o Options) {
	t.Helper()
	o.MemTableBytes = 512 << 10
	r := openReopened(t, o)
	base := r.run << session.RunShift
	fill(t, r.Store, 3000, func(b session.Batch, i int) {
		if i == 0 {
			b.PutSession(&session.Record{Key: 1, ClientID: "c"})
		}
		b.Enqueue(1, base+uint64(i), &session.Queued{M: benchMessage(), QoS: 1})
	})
	// The last log has many syncs in several of Pebble's blocks: what is damaged before one is told from what a crash has torn.
	m := benchMessage()
	m.Payload = make([]byte, 2000)
	for range uint64(100) {
		must1(t, answer(r.Store, func(b session.Batch) { b.PutReceived(1, 1, m) }))
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// refused opens a store and wants an error that names the directory and says all of what.
func refused(t *testing.T, o Options, what ...string) {
	t.Helper()
	s, err := Open(o)
	if err == nil {
		_, err = storetest.Read(s)
		if e := s.Close(); e != nil {
			t.Error(e)
		}
	}
	if err == nil {
		t.Error("the store is opened")
		return
	}
	for _, w := range append(what, o.Dir) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error is %q, want one with %q", err, w)
		}
	}
}

func mode(t *testing.T, dir string) os.FileMode {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func must1(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDirectoryIsPrivate(t *testing.T) {
	o := onDisk(t)
	filledStore(t, o)
	if m := mode(t, o.Dir); m != 0o700 {
		t.Errorf("a new directory has mode %o, want 700", m)
	}
	must1(t, os.Chmod(o.Dir, 0o755)) //nolint:gosec // that is the point
	again := openReopened(t, o)
	must1(t, again.Close())
	if m := mode(t, o.Dir); m != 0o700 {
		t.Errorf("a store's directory that was open to others has mode %o, want 700", m)
	}
}

func TestDirectoryRefused(t *testing.T) {
	t.Run("something else is in it", func(t *testing.T) {
		o := onDisk(t)
		must1(t, os.MkdirAll(o.Dir, 0o750))
		must1(t, os.WriteFile(filepath.Join(o.Dir, "letter.txt"), nil, 0o600))
		refused(t, o, "not empty", "letter.txt", "name another directory")
		if m := mode(t, o.Dir); m != 0o750 {
			t.Errorf("its mode was changed to %o", m)
		}
	})
	t.Run("not a directory", func(t *testing.T) {
		o := onDisk(t)
		must1(t, os.MkdirAll(filepath.Dir(o.Dir), 0o700))
		must1(t, os.WriteFile(o.Dir, nil, 0o600))
		refused(t, o, "not a directory")
	})
	t.Run("another user's", func(t *testing.T) {
		o := onDisk(t)
		if os.Geteuid() == 0 {
			must1(t, os.MkdirAll(o.Dir, 0o700))
			must1(t, os.Chown(o.Dir, 12345, -1))
			refused(t, o, "belongs to user 12345", "chown")
		} else {
			o.Dir = "/"
			refused(t, o, "belongs to user 0", "chown")
		}
	})
	t.Run("not writable", func(t *testing.T) {
		for _, cause := range []error{syscall.EACCES, syscall.EROFS, syscall.ENOSPC} {
			o := testOptions(t)
			f := &fault{kinds: []errorfs.OpKind{errorfs.OpCreate, errorfs.OpLock}, err: cause, lasts: true}
			f.n.Store(1)
			o.FS = errorfs.Wrap(o.FS, f)
			refused(t, o, map[error]string{
				syscall.EACCES: "not writable", syscall.EROFS: "read-only", syscall.ENOSPC: "the disk is full",
			}[cause])
		}
	})
	t.Run("twice in one process", func(t *testing.T) {
		o := onDisk(t)
		r := openReopened(t, o)
		refused(t, o, "in use by another process, or twice in this one")
		must1(t, r.Close())
	})
}

// TestInUse: by another process.
func TestInUse(t *testing.T) {
	const holds = "NIGHTJAR_TEST_STORE"
	if dir := os.Getenv(holds); dir != "" {
		o := onDisk(t)
		o.Dir = dir
		r := openReopened(t, o)
		_, _ = os.Stdout.WriteString("open\n")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the other end is closed
		must1(t, r.Close())
		return
	}
	o := onDisk(t)
	other := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestInUse$")
	other.Env = append(os.Environ(), holds+"="+o.Dir)
	stdin, err := other.StdinPipe()
	must1(t, err)
	stdout, err := other.StdoutPipe()
	must1(t, err)
	must1(t, other.Start())
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "open\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	refused(t, o, "in use by another process")
	must1(t, stdin.Close())
	must1(t, other.Wait())
	filledStore(t, o) // and now it is free
}

// damageFile changes a file of the store whose name has a certain form.
func damageFile(t *testing.T, dir, pattern string, change func(b []byte) []byte) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	must1(t, err)
	if len(names) == 0 {
		t.Fatalf("no file is like %s", pattern)
	}
	name := names[len(names)-1]
	b, err := os.ReadFile(name)
	must1(t, err)
	if b = change(b); b == nil {
		must1(t, os.Remove(name))
		return
	}
	must1(t, os.WriteFile(name, b, 0o600))
}

// TestDamaged: a store that cannot be read is never begun anew, and the error says what to do.
func TestDamaged(t *testing.T) {
	flip := func(b []byte) []byte {
		for i := len(b) / 3; i < len(b)/3+64 && i < len(b); i++ {
			b[i] ^= 0x55
		}
		return b
	}
	remove := func([]byte) []byte { return nil }
	for _, c := range []struct {
		name, file string
		change     func(b []byte) []byte
		says       []string
	}{
		{"no format", formatFile, remove, []string{formatFile, "restore a backup"}},
		{"format of noise", formatFile, func([]byte) []byte { return []byte("noise") }, []string{formatFile, "restore a backup"}},
		{"newer format", formatFile, func([]byte) []byte { return []byte(formatLine + "7\n") }, []string{"format 7", "knows up to 1"}},
		{"no manifest", "MANIFEST-*", remove, []string{"nightjar store check"}},
		{"no marker", "marker.manifest.*", remove, []string{"nightjar store check"}},
		{"torn manifest", "MANIFEST-*", func(b []byte) []byte { return b[:10] }, []string{"nightjar store check"}},
		{"no table", "*.sst", remove, []string{"nightjar store check"}},
		{"flipped log", "*.log", flip, []string{"nightjar store check"}},
		{"torn table", "*.sst", func(b []byte) []byte { return b[:len(b)/2] }, []string{"nightjar store check"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := onDisk(t)
			filledStore(t, o)
			damageFile(t, o.Dir, c.file, c.change)
			before := contentsOf(t, o.Dir)
			refused(t, o, c.says...)
			for name, b := range before {
				if now, err := os.ReadFile(filepath.Join(o.Dir, name)); (err != nil || !bytes.Equal(now, b)) && !strings.HasPrefix(name, "OPTIONS") {
					t.Errorf("%s was changed (%v)", name, err)
				}
			}
		})
	}
}

func contentsOf(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must1(t, err)
	all := map[string][]byte{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must1(t, err)
		all[e.Name()] = b
	}
	return all
}

// TestTornLog: a log that ends in the middle of a write is what a crash leaves.
func TestTornLog(t *testing.T) {
	o := onDisk(t)
	filledStore(t, o)
	damageFile(t, o.Dir, "*.log", func(b []byte) []byte { return b[:len(b)-5] })
	r := openReopened(t, o)
	must1(t, r.Close())
}

// TestUpgrade: an older format is brought to this one, and what was is kept.
func TestUpgrade(t *testing.T) {
	old := onDisk(t)
	filledStore(t, old)
	next := old
	next.format = 3
	mark := []byte("v upgraded")
	next.upgrades = map[int]func(db *pebble.DB) error{
		1: func(db *pebble.DB) error { return db.Set(mark, []byte{2}, pebble.Sync) },
		2: func(db *pebble.DB) error { return db.Merge(mark, nil, pebble.NoSync) },
	}
	delete(next.upgrades, 2)
	refused(t, next, "format 1", "cannot upgrade")
	backup := old.Dir + ".format1"
	must1(t, os.Rename(backup, backup+".first"))
	next.format = 2 // as far as it came
	refused(t, old, "format 2", "knows up to 1")
	r := openReopened(t, next)
	v, closer, err := r.db.Get(mark)
	if err != nil || !bytes.Equal(v, []byte{2}) {
		t.Errorf("after the upgrade the mark is %v, %v", v, err)
	}
	must1(t, closer.Close())
	must1(t, r.Close())
	kept := old
	kept.Dir = backup + ".first"
	r = openReopened(t, kept)
	if n := len(r.State().Session(1).Messages); n != 3000 {
		t.Errorf("the copy of the old store has %d messages, want 3000", n)
	}
	if _, _, err := r.db.Get(mark); !errors.Is(err, pebble.ErrNotFound) {
		t.Errorf("the copy has the mark of the upgrade: %v", err)
	}
	must1(t, r.Close())
}

// TestCheckpoint: while the store is used.
func TestCheckpoint(t *testing.T) {
	mem := vfs.NewMem()
	o := testOptions(t)
	o.FS = mem
	r := openReopened(t, o)
	base := r.run << session.RunShift
	put := func(from, n uint64) {
		for i := from; i < from+n; i++ {
			must1(t, answer(r.Store, func(b session.Batch) {
				b.PutSession(&session.Record{Key: 1, ClientID: "c"})
				b.Enqueue(1, base+i, &session.Queued{M: benchMessage(), QoS: 1})
			}))
		}
	}
	put(0, 10)
	must1(t, r.Checkpoint("copy"))
	put(10, 10)
	if err := r.Checkpoint("copy"); err == nil {
		t.Error("a checkpoint was written over another")
	}
	must1(t, r.Close())
	o.Dir = "copy"
	c := openReopened(t, o)
	if n := len(c.State().Session(1).Messages); n != 10 {
		t.Errorf("the copy has %d messages, want 10", n)
	}
	must1(t, c.Close())
}
