package pebble

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// Compact writes the store anew without what was deleted, and gives the room back to the file system. Commits go on
// meanwhile.
func (s *Store) Compact(ctx context.Context) error {
	// All keys begin with a letter.
	if err := s.db.Compact(ctx, []byte{'a'}, []byte{'z' + 1}, true); err != nil {
		return fmt.Errorf("store: %s: compaction: %w", s.o.Dir, err)
	}
	return nil
}

// Errors that are wrapped by those of OpenReader and Copy.
var (
	// ErrInUse: another process has the store open.
	ErrInUse = errors.New("the store is in use by another process")
	// ErrNoStore: the directory is empty, or does not exist.
	ErrNoStore = errors.New("there is no store")
)

// Reader reads a store that no process has open, without changing it.
type Reader struct {
	Dir    string
	Format int // of the store
	db     *pebble.DB
	lock   *pebble.Lock
	ids    identities
	ctx    context.Context // ends reading before the end

	mu      sync.Mutex
	damaged map[string]bool // files
}

func (r *Reader) damagedFile(i pebble.DataCorruptionInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.damaged == nil {
		r.damaged = make(map[string]bool)
	}
	r.damaged[i.Path] = true
}

// damagedFiles are those that were met so far.
func (r *Reader) damagedFiles() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.damaged))
}

// OpenReader opens the store in a directory for reading, which ends with an error when ctx ends. It is locked until Close.
func OpenReader(ctx context.Context, dir string) (*Reader, error) {
	fail := func(err error) (*Reader, error) { return nil, fmt.Errorf("store: %s: %w", dir, err) }
	lock, was, err := lockStore(dir)
	if err != nil {
		return fail(err)
	}
	switch {
	case was > format:
		err = fmt.Errorf("the store has format %d, this program knows up to %d: it was written by a newer one; use that", was, format)
	case was < format:
		err = fmt.Errorf("the store has format %d, this program reads %d: start the broker with it once, which upgrades it and keeps a copy", was, format)
	}
	if err != nil {
		return fail(errors.Join(err, lock.Close()))
	}
	r := &Reader{Dir: dir, Format: was, lock: lock, ids: make(identities), ctx: ctx}
	o := &pebble.Options{
		FS: vfs.Default, ReadOnly: true, Lock: lock, Logger: quiet{}, Merger: counter,
		// Without one, Pebble ends the process when it meets a damaged file.
		EventListener: &pebble.EventListener{DataCorruption: r.damagedFile},
	}
	r.db, err = openQuietly(dir, o)
	if err != nil {
		err = fmt.Errorf("the store cannot be opened: %w; restore a backup", err)
		return fail(errors.Join(err, lock.Close()))
	}
	return r, nil
}

// openQuietly opens Pebble. What it thinks is fatal is an error.
func openQuietly(dir string, o *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%v", v)
		}
	}()
	return pebble.Open(dir, o)
}

// lockStore locks a directory that has a store, and tells its format.
func lockStore(dir string) (*pebble.Lock, int, error) {
	was, err := readFormat(vfs.Default, dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, 0, fmt.Errorf("%w, and no such directory", ErrNoStore)
	case err != nil:
		return nil, 0, err
	case was == 0:
		return nil, 0, fmt.Errorf("%w in the directory", ErrNoStore)
	}
	lock, err := pebble.LockDirectory(dir, vfs.Default)
	switch {
	case err == nil:
		return lock, was, nil
	case errors.Is(err, syscall.EAGAIN), strings.Contains(err.Error(), "lock held by current process"):
		return nil, 0, fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return nil, 0, lockError(err)
}

// Close lets others open the store.
func (r *Reader) Close() error { return errors.Join(r.db.Close(), r.lock.Close()) }

// quiet keeps to itself what Pebble tells: what matters comes as an error.
type quiet struct{}

func (quiet) Infof(string, ...any)              {}
func (quiet) Errorf(string, ...any)             {}
func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// each calls fn with all keys of a space, or, if that is 0, of all. key and value are valid during the call only.
func (r *Reader) each(space byte, fn func(key, value []byte) error) (err error) {
	o := &pebble.IterOptions{}
	if space != 0 {
		o.LowerBound, o.UpperBound = []byte{space}, []byte{space + 1}
	}
	it, err := r.db.NewIter(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err == nil {
			err = r.ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := fn(it.Key(), v); err != nil {
			return err
		}
	}
	return it.Error()
}

// owners are those that queues and the rest belong to.
type owners struct {
	sessions, groups int64
	clients          map[session.Key]string
	shared           map[session.Key][2]string // name and filter
	deleted          map[session.Key]bool      // not swept yet
}

// owners reads them. Those whose value cannot be read are there without a name.
func (r *Reader) owners() (*owners, error) {
	o := &owners{
		clients: make(map[session.Key]string), shared: make(map[session.Key][2]string), deleted: make(map[session.Key]bool),
	}
	err := r.each(spaceSession, func(key, value []byte) error {
		o.sessions++
		k := session.Key(numberOf(key))
		o.clients[k] = ""
		if rec, err := decodeRecord(k, value); err == nil {
			o.clients[k] = rec.ClientID
		}
		return nil
	})
	if err == nil {
		err = r.each(spaceGroup, func(key, value []byte) error {
			o.groups++
			c := cursor{b: value}
			name := string(c.bytes())
			o.shared[session.Key(numberOf(key))] = [2]string{name, string(c.b)}
			return nil
		})
	}
	if err == nil {
		err = r.each(spaceDeleted, func(key, _ []byte) error {
			o.deleted[session.Key(numberOf(key))] = true
			return nil
		})
	}
	return o, err
}

// known reports whether something may belong to k.
func (o *owners) known(k session.Key) bool {
	_, client := o.clients[k]
	_, group := o.shared[k]
	return client || group || o.deleted[k]
}

func (o *owners) longest(lengths map[session.Key]int64) (out []QueueLength) {
	for k, n := range lengths {
		out = append(out, QueueLength{Client: o.clients[k], Group: o.shared[k][0], Filter: o.shared[k][1], Messages: n})
	}
	slices.SortFunc(out, func(a, b QueueLength) int {
		return cmp.Or(cmp.Compare(b.Messages, a.Messages), cmp.Compare(a.Client, b.Client), cmp.Compare(a.Filter, b.Filter))
	})
	return out[:min(len(out), longestQueues)]
}
