package pebble

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// formatFile names the format that the rest of the directory has. It is written before anything else.
const formatFile = "FORMAT"

// format is the one that this program writes. What changed with each is told here, and upgrades has how to get there.
//
//	1: the first
const format = 1

const formatLine = "nightjar store, format "

// beginning is in the format file while a store is being made: nothing has been kept yet. Once it is not, a directory
// without what Pebble needs is a damaged store, never a new one.
const beginning = "nightjar store, being made"

// upgrades bring a store from a format to the next.
var upgrades = map[int]func(db *pebble.DB) error{}

// Open opens the store in o.Dir, or makes a new one if the directory is empty or not there. The store takes batches once
// it was loaded.
func Open(o Options) (*Store, error) {
	o.complete()
	fail := func(err error) error { return fmt.Errorf("store: %s: %w", o.Dir, err) }
	if o.Dir == "" {
		return nil, errors.New("store: no directory is given")
	}
	if err := prepareDirectory(&o); err != nil {
		return nil, fail(err)
	}
	kept := &lockFS{FS: o.FS}
	lock, err := pebble.LockDirectory(o.Dir, kept)
	if err != nil {
		return nil, fail(lockError(err))
	}
	s := &Store{
		o: o, lock: lock, wake: make(chan struct{}, 1), answers: make(chan *group, depth), ended: make(chan struct{}),
		stop: make(chan struct{}), deadCh: make(chan struct{}),
	}
	s.sweeps.wake, s.space.look = make(chan struct{}, 1), make(chan struct{}, 1)
	if err := s.open(); err != nil {
		return nil, fail(errors.Join(err, kept.held.Close()))
	}
	s.space.check(s)
	s.work.Add(1)
	go s.spaceLoop()
	return s, nil
}

// open opens Pebble, upgraded if need be. The directory is locked.
func (s *Store) open() error {
	was, err := readFormat(s.o.FS, s.o.Dir)
	switch {
	case err != nil:
		return err
	case was > s.o.format:
		return fmt.Errorf("the store has format %d, this program knows up to %d: it was written by a newer one; start that, or restore a backup", was, s.o.format)
	case was == 0:
		if err := writeFormatLine(s.o.FS, s.o.Dir, beginning); err != nil {
			return err
		}
	}
	if s.db, err = s.openPebble(was != 0); err != nil {
		return openError(err)
	}
	switch was {
	case 0:
		if err := writeFormat(s.o.FS, s.o.Dir, s.o.format); err != nil {
			return errors.Join(err, s.db.Close())
		}
		return nil
	case s.o.format:
		return nil
	}
	if err := s.upgrade(was); err != nil {
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// upgrade brings the store to this program's format, and leaves a copy of what was.
func (s *Store) upgrade(was int) error {
	fs, backup := s.o.FS, fmt.Sprintf("%s.format%d", strings.TrimRight(s.o.Dir, "/"), was)
	s.o.Logger.Info("the store is upgraded; a copy of what was is kept", "directory", s.o.Dir, "from_format", was, "to_format", s.o.format, "copy", backup)
	if _, err := fs.Stat(backup); err == nil {
		return fmt.Errorf("the store has format %d and is to be upgraded, but the place for its copy is taken: move %s away", was, backup)
	}
	if err := s.checkpoint(backup, was); err != nil {
		return fmt.Errorf("copying the store to %s before the upgrade: %w", backup, err)
	}
	for v := was; v < s.o.format; v++ {
		up := s.o.upgrades[v]
		if up == nil {
			return fmt.Errorf("the store has format %d, which this program cannot upgrade", was)
		}
		if err := up(s.db); err != nil {
			return fmt.Errorf("upgrading the store from format %d (its copy is in %s): %w", v, backup, err)
		}
		if err := s.db.LogData(nil, pebble.Sync); err != nil {
			return err
		}
		if err := writeFormat(fs, s.o.Dir, v+1); err != nil {
			return err
		}
	}
	return nil
}

// Checkpoint writes a copy of the store, as it is now, to a directory that does not exist. It shares files with the store
// by links where that is possible, and may be called while the store is used.
func (s *Store) Checkpoint(dir string) error {
	if err := s.checkpoint(dir, s.o.format); err != nil {
		return fmt.Errorf("store: copying %s to %s: %w", s.o.Dir, dir, err)
	}
	return nil
}

func (s *Store) checkpoint(dir string, format int) error {
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return err
	}
	return writeFormat(s.o.FS, dir, format)
}

// openPebble turns Pebble's fatal errors into errors: nothing was promised yet.
func (s *Store) openPebble(exists bool) (*pebble.DB, error) {
	type result struct {
		db  *pebble.DB
		err error
	}
	opened := make(chan result, 2)
	s.opening = func(err error) {
		select {
		case opened <- result{nil, err}:
		default: // the first says enough
		}
	}
	go func() {
		defer func() {
			if v := recover(); v != nil {
				opened <- result{nil, fmt.Errorf("%v", v)}
			}
		}()
		o := s.pebbleOptions()
		o.ErrorIfNotExists = exists
		db, err := pebble.Open(s.o.Dir, o)
		opened <- result{db, err}
	}()
	r := <-opened
	s.gaveUp.Store(r.err != nil)
	s.mu.Lock()
	s.opening = nil
	s.mu.Unlock()
	return r.db, r.err
}

func (s *Store) pebbleOptions() *pebble.Options {
	o := &pebble.Options{
		FS: storeFS{s.o.FS, s}, Lock: s.lock, Logger: logger{s}, Merger: counter,
		FormatMajorVersion: pebble.FormatWALSyncChunks,
		CacheSize:          s.o.CacheBytes, MaxOpenFiles: s.o.MaxOpenFiles,
		MemTableSize: uint64(s.o.MemTableBytes), MemTableStopWritesThreshold: 4,
		L0CompactionThreshold: 4, L0StopWritesThreshold: 24, LBaseMaxBytes: 64 << 20,
		// Range deletions of consumed segments and swept queues give their room back without more being written.
		FlushDelayDeleteRange: flushDeletions,
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				_ = s.whileOpening(err)
				s.o.Logger.Error("the store could not write in the background; it tries again", "directory", s.o.Dir, "error", err.Error())
				s.space.soon()
			},
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				s.o.Logger.Error("a file of the store is damaged; what is in it cannot be read", "directory", s.o.Dir, "file", i.Path, "error", i.Details.Error())
				if compacting() {
					s.compactionFailed(i.Path, i.Details)
				}
			},
			DiskSlow: func(i pebble.DiskSlowInfo) {
				s.o.Logger.Warn("the disk is slow", "directory", s.o.Dir, "operation", i.OpType.String(), "file", i.Path, "duration", i.Duration)
			},
			WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
				s.o.Logger.Warn("the store waits for the disk", "directory", s.o.Dir, "reason", i.Reason)
			},
		},
	}
	o.Experimental.FileCacheShards = 1
	return o
}

// readFormat is the format of the store in a directory; 0: there is none, and nothing else either.
func readFormat(fs vfs.FS, dir string) (int, error) {
	f, err := fs.Open(fs.PathJoin(dir, formatFile))
	if errors.Is(err, os.ErrNotExist) {
		return 0, mustBeEmpty(fs, dir)
	}
	if err != nil {
		return 0, fmt.Errorf("its format cannot be read: %w", err)
	}
	line, err := io.ReadAll(io.LimitReader(f, 100))
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("its format cannot be read: %w", err)
	}
	if strings.TrimSpace(string(line)) == beginning {
		return 0, nil
	}
	v, ok := strings.CutPrefix(strings.TrimSpace(string(line)), formatLine)
	n, err := strconv.Atoi(v)
	if !ok || err != nil || n < 1 {
		return 0, fmt.Errorf("the file %s does not say which format the store has: it is damaged, or this is not a store; restore a backup", formatFile)
	}
	return n, nil
}

// mustBeEmpty keeps a new store from being begun over something else.
func mustBeEmpty(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return fmt.Errorf("the directory cannot be read: %w", err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "MANIFEST-") {
			return fmt.Errorf("the file %s is missing, but there is a store: it is damaged; restore a backup", formatFile)
		}
	}
	for _, name := range names {
		if name != "LOCK" && name != formatFile+".new" {
			return fmt.Errorf("the directory is not empty and has no store: %s is in it; name another directory", name)
		}
	}
	return nil
}

// writeFormat replaces the format file.
func writeFormat(fs vfs.FS, dir string, format int) error {
	return writeFormatLine(fs, dir, formatLine+strconv.Itoa(format))
}

func writeFormatLine(fs vfs.FS, dir, line string) error {
	name := fs.PathJoin(dir, formatFile)
	f, err := fs.Create(name+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return writeError(err)
	}
	_, err = io.WriteString(f, line+"\n")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return writeError(err)
	}
	if err := fs.Rename(name+".new", name); err != nil {
		return writeError(err)
	}
	return syncDirectory(fs, dir)
}

// makeDirectory makes the directory and those above it, and makes them last.
func makeDirectory(o *Options) error {
	var above []string // whose entries are new, from the innermost
	for dir := o.Dir; ; {
		parent := o.FS.PathDir(dir)
		if _, err := o.FS.Stat(dir); err == nil || parent == dir {
			break
		}
		above = append(above, parent)
		dir = parent
	}
	if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("the directory cannot be made: %w", writeError(err))
	}
	for _, dir := range slices.Backward(above) {
		if err := syncDirectory(o.FS, dir); err != nil {
			return fmt.Errorf("the directory cannot be made: syncing %s: %w", dir, err)
		}
	}
	return nil
}

func syncDirectory(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func writeError(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("the directory is not writable for user %d: %w", os.Geteuid(), err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("the disk is full: %w", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("the file system is read-only: %w", err)
	}
	return err
}

func lockError(err error) error {
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) && !errors.Is(err, os.ErrPermission) ||
		strings.Contains(err.Error(), "lock held by current process") {
		return fmt.Errorf("the store is in use by another process, or twice in this one: stop that, or name another directory (%w)", err)
	}
	return writeError(err)
}

// openError says what to do.
func openError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("the store cannot be opened: %w", writeError(err))
	}
	return fmt.Errorf("the store cannot be opened, nothing of it was changed: %w; look at it with `nightjar store check`, or restore a backup", err)
}
