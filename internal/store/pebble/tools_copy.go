package pebble

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Copy copies the store in a directory, which no process has open, to one that does not exist or is empty: for a backup,
// and to bring one back. Whoever runs it owns the copy. Its files are on stable storage when it returns nil.
func Copy(from, to string) (err error) {
	fail := func(err error) error { return fmt.Errorf("store: copying %s to %s: %w", from, to, err) }
	lock, _, err := lockStore(from)
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	err = Make(to, func(dir string) error {
		names, err := os.ReadDir(from)
		if err != nil {
			return err
		}
		for _, f := range names {
			if !f.Type().IsRegular() || f.Name() == "LOCK" {
				continue
			}
			if err := copyFile(filepath.Join(from, f.Name()), filepath.Join(dir, f.Name())); err != nil {
				return err
			}
		}
		return syncDirectory(vfs.Default, dir)
	})
	if err != nil {
		return fail(err)
	}
	return nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// unfinished is where Make has a store made.
const unfinished = "unfinished.tmp"

// ErrNotEmpty is wrapped when the place for a new store is taken.
var ErrNotEmpty = errors.New("the directory is not empty, and nothing in it is overwritten")

// Make has fill make a store, and puts it into dir when it is complete: a process that is killed meanwhile leaves nothing
// that could be taken for a store. dir must not exist, or be empty; what an earlier Make left unfinished does not count.
// When fill fails, dir is as it was.
func Make(dir string, fill func(dir string) error) (err error) {
	_, err = os.Stat(dir)
	made := errors.Is(err, os.ErrNotExist)
	if err := makeDirectory(&Options{Dir: dir, FS: vfs.Default}); err != nil {
		return err
	}
	tmp := filepath.Join(dir, unfinished)
	if err := clearPlace(dir); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		err = errors.Join(err, os.RemoveAll(tmp))
		if made {
			_ = os.Remove(dir) // it stays if it is not empty
		}
	}()
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return writeError(err)
	}
	if err := fill(tmp); err != nil {
		return err
	}
	return moveUp(tmp, dir)
}

// clearPlace sees to it that dir is empty. What was left by a Make that was killed is removed: of what it was moving, only
// files that no other program has, and only while the file is missing that makes them a store.
func clearPlace(dir string) error {
	there, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	left := slices.ContainsFunc(there, func(f os.DirEntry) bool { return f.Name() == unfinished }) &&
		!slices.ContainsFunc(there, func(f os.DirEntry) bool { return f.Name() == formatFile })
	for _, f := range there {
		switch name := f.Name(); {
		case name == "LOCK" || left && (name == unfinished || isPebbles(name)): // LOCK is left by whoever looked at the directory
		default:
			return fmt.Errorf("%w: %s is in it", ErrNotEmpty, name)
		}
	}
	for _, f := range there {
		if f.Name() == "LOCK" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, f.Name())); err != nil {
			return writeError(err)
		}
	}
	return nil
}

// isPebbles reports whether Pebble gives files such names.
func isPebbles(name string) bool {
	return slices.ContainsFunc([]string{"MANIFEST-*", "OPTIONS-*", "marker.*", "[0-9]*.sst", "[0-9]*.log", "[0-9]*.blob"}, func(pattern string) bool {
		ok, _ := filepath.Match(pattern, name) // the patterns are right
		return ok
	})
}

// moveUp moves a store's files. The one without which they are no store goes last.
func moveUp(from, to string) error {
	names, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	format := false
	for _, f := range names {
		switch name := f.Name(); name {
		case formatFile:
			format = true
		case "LOCK":
			if err := os.Remove(filepath.Join(from, name)); err != nil {
				return err
			}
		default:
			if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
				return err
			}
		}
	}
	if !format {
		return fmt.Errorf("there is no file %s", formatFile)
	}
	if err := syncDirectory(vfs.Default, to); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(from, formatFile), filepath.Join(to, formatFile)); err != nil {
		return err
	}
	return errors.Join(os.Remove(from), syncDirectory(vfs.Default, to))
}

// copies are the names of checkpoints that are made within a data directory to be read, and removed again.
const copies = "inspected-*.tmp"

// CopyName is a new place for a checkpoint of the store in dir that is to be read: in dir itself, where the broker can
// write, and on the same file system, so that files are shared.
func CopyName(dir string) string {
	return filepath.Join(dir, strings.Replace(copies, "*", fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano()), 1))
}

// leftCopy is how old a copy is that nobody reads and nobody is about to read.
const leftCopy = time.Hour

// RemoveLeftCopies removes copies whose reader was killed: they keep room on the disk taken.
func RemoveLeftCopies(dir string) {
	names, _ := filepath.Glob(filepath.Join(dir, copies)) // the pattern is right
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil || time.Since(info.ModTime()) < leftCopy {
			continue
		}
		lock, _, err := lockStore(name)
		if errors.Is(err, ErrInUse) {
			continue
		}
		if err == nil {
			_ = lock.Close()
		}
		_ = os.RemoveAll(name) // the next one tries again
	}
}
