package pebble

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// storeFS is the file system as Pebble sees it. It times the syncs of the log, and takes errors where they arise that would
// end in a panic that nobody can recover: Pebble holds locks then, or is in a goroutine of its own.
type storeFS struct {
	vfs.FS
	s *Store
}

// Unwrap gives Pebble the file system below.
func (f storeFS) Unwrap() vfs.FS { return f.FS }

// isLog tells of the log's files, but not of their copies in a checkpoint.
func (f storeFS) isLog(name string) bool {
	return strings.HasSuffix(name, ".log") && f.FS.PathDir(name) == f.s.o.Dir
}

func (f storeFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if !f.isLog(name) {
		if strings.HasPrefix(f.FS.PathBase(name), "marker.") && f.FS.PathDir(name) == f.s.o.Dir {
			// The marker names a manifest: that must be found whenever the marker is.
			if err := f.s.whileOpening(syncDirectory(f.FS, f.s.o.Dir)); err != nil {
				return nil, err
			}
		}
		file, err := f.FS.Create(name, category)
		if err = f.s.whileOpening(err); err != nil {
			return nil, err
		}
		return newFile{file, f.s}, nil
	}
	return f.begin(name, func() (vfs.File, error) { return f.FS.Create(name, category) })
}

func (f storeFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if !f.isLog(newname) {
		return f.FS.ReuseForWrite(oldname, newname, category)
	}
	return f.begin(newname, func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, category) })
}

// begin makes a file of the log. If there is no room it waits for it: nothing has been written yet.
func (f storeFS) begin(name string, create func() (vfs.File, error)) (vfs.File, error) {
	for {
		file, err := create()
		switch {
		case err == nil:
			return logFile{file, f.s}, nil
		case f.s.isOpening():
			return nil, f.s.whileOpening(err)
		case !f.s.waitForRoom(err):
			f.s.logFailed("making the log "+name, err)
		}
	}
}

func (f storeFS) OpenDir(name string) (vfs.File, error) {
	dir, err := f.FS.OpenDir(name)
	if err = f.s.whileOpening(err); err != nil || name != f.s.o.Dir {
		return dir, err
	}
	return directory{dir, f.s}, nil
}

// directory is the store's own: new files are not on stable storage before it is synced.
type directory struct {
	vfs.File
	s *Store
}

func (d directory) Sync() error {
	err := d.s.whileOpening(d.File.Sync())
	if err != nil {
		d.s.logFailed("syncing the directory", err)
	}
	return err
}

// logFile is a file of the log. What cannot be written or synced ends the store: see Options.Fatal.
type logFile struct {
	vfs.File
	s *Store
}

func (f logFile) Write(p []byte) (n int, err error) {
	if f.s.gaveUp.Load() {
		select {}
	}
	for {
		m, err := f.File.Write(p[n:])
		n += m
		switch {
		case err == nil:
			return n, nil
		case f.s.isOpening():
			return n, f.s.whileOpening(err)
		case !f.s.waitForRoom(err): // what was not written may be written later
			f.s.logFailed("writing the log", err)
		}
	}
}

// Preallocate only makes writing faster.
func (f logFile) Preallocate(offset, length int64) error {
	_ = f.File.Preallocate(offset, length)
	return nil
}

func (f logFile) Sync() error { return f.synced(f.File.Sync) }

func (f logFile) SyncData() error { return f.synced(f.File.SyncData) }

func (f logFile) synced(sync func() error) error {
	start := time.Now()
	err := sync()
	f.s.syncs.note(time.Since(start))
	if err = f.s.whileOpening(err); err != nil {
		f.s.logFailed("syncing the log", err)
	}
	return err
}

// Close has nothing to lose: the log was synced before.
func (f logFile) Close() error {
	_ = f.File.Close()
	return nil
}

func (s *Store) isOpening() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opening != nil
}

// whileOpening keeps an error from Pebble while that opens the store, and has Open return it. Pebble would close its caches
// while goroutines of its own go on to use them, or would try again for ever. Who called stays here.
func (s *Store) whileOpening(err error) error {
	if s.gaveUp.Load() {
		select {} // Open has returned, and the directory may be somebody else's
	}
	if err == nil || errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrExist) {
		return err
	}
	s.mu.Lock()
	opening := s.opening
	s.mu.Unlock()
	if opening == nil {
		return err
	}
	opening(writeError(err))
	select {}
}

// lockFS remembers the lock that Pebble takes, so that it can be given back when Pebble itself does not: see whileOpening.
type lockFS struct {
	vfs.FS
	held io.Closer
}

func (f *lockFS) Lock(name string) (io.Closer, error) {
	var err error
	f.held, err = f.FS.Lock(name)
	return f.held, err
}

// newFile is a file that Pebble writes, other than the log.
type newFile struct {
	vfs.File
	s *Store
}

func (f newFile) Write(p []byte) (n int, err error) {
	n, err = f.File.Write(p)
	return n, f.s.whileOpening(err)
}

func (f newFile) Sync() error     { return f.s.whileOpening(f.File.Sync()) }
func (f newFile) SyncData() error { return f.s.whileOpening(f.File.SyncData()) }
func (f newFile) Close() error    { return f.s.whileOpening(f.File.Close()) }

// Rename is how Pebble replaces what it has written.
func (f storeFS) Rename(oldname, newname string) error {
	return f.s.whileOpening(f.FS.Rename(oldname, newname))
}

// logFailed ends the store; who called does not go on.
func (s *Store) logFailed(what string, err error) {
	s.die(fmt.Errorf("%s: %w", what, err))
	select {}
}

func (f storeFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.Open(name, opts...)
	if !strings.HasSuffix(name, ".sst") {
		return file, err
	}
	err = f.s.retry(name, err, func() (e error) {
		file, e = f.FS.Open(name, opts...)
		return e
	})
	if err != nil {
		return nil, err
	}
	return tableFile{file, name, f.s}, nil
}

// tableFile is read by queues and by compactions.
type tableFile struct {
	vfs.File
	name string
	s    *Store
}

func (f tableFile) ReadAt(p []byte, off int64) (n int, err error) {
	n, err = f.File.ReadAt(p, off)
	err = f.s.retry(f.name, err, func() (e error) {
		n, e = f.File.ReadAt(p, off)
		return e
	})
	return n, err
}

// retry keeps an error from a compaction: Pebble panics when it cannot read on behind a single deletion, in a goroutine
// where nobody can recover that. The read is tried again; if that does not help, the store dies with the reason instead.
// Everybody else gets the error.
func (s *Store) retry(name string, err error, again func() error) error {
	if err == nil || !compacting() {
		return err
	}
	for _, rest := range s.o.retryAfter {
		s.o.Logger.Error("a file of the store could not be read; trying again", "file", name, "error", err.Error())
		time.Sleep(rest)
		if err = again(); err == nil {
			return nil
		}
	}
	s.compactionFailed(name, err)
	return err
}

// compactionFailed ends the store; the compaction does not go on.
func (s *Store) compactionFailed(name string, err error) {
	s.die(fmt.Errorf("the file %s cannot be read any more: %w; look at the store with `nightjar store check`, or restore a backup", name, err))
	select {}
}

// compacting tells whether a compaction is what is running. It is asked when something has failed, not before.
func compacting() bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		if strings.Contains(f.Function, "/internal/compact.(*Iter)") || strings.Contains(f.Function, ".(*DB).compactAndWrite") {
			return true
		}
		if !more {
			return false
		}
	}
}
