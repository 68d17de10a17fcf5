package certs

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// snapshot is what the files looked like at a time.
type snapshot map[string]os.FileInfo

// snapshot looks at them. Folders count with all that is in them.
func (f *Files) snapshot() snapshot {
	s := make(snapshot)
	look := func(names ...string) {
		for _, name := range names {
			if name == "" {
				continue
			}
			info, err := os.Stat(name)
			if err != nil {
				info = nil
			}
			s[name] = info
		}
	}
	look(f.CertFile, f.KeyFile, f.CAFile, f.CRLFile)
	for _, p := range f.More {
		look(p.CertFile, p.KeyFile)
	}
	if f.CAPath != "" {
		names, _ := inFolder(f.CAPath)
		look(names...)
	}
	return s
}

// same reports whether nothing has changed: neither a file's contents as far as one can tell without reading it, nor which
// file a name stands for.
func (s snapshot) same(t snapshot) bool {
	if len(s) != len(t) {
		return false
	}
	for name, a := range s {
		b, known := t[name]
		switch {
		case !known || (a == nil) != (b == nil):
			return false
		case a == nil:
		case a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime()) || !os.SameFile(a, b):
			return false
		}
	}
	return true
}

const defaultPoll = time.Second

// watch reads the files again when they have changed and then, for one interval, have not: a certificate and its key are
// seldom replaced at once.
func (s *Source) watch(stop <-chan struct{}) {
	defer close(s.done)
	every := s.files.Poll
	switch {
	case every < 0:
		return
	case every == 0:
		every = defaultPoll
	}
	t := time.NewTicker(every)
	defer t.Stop()
	var changed snapshot
	for {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		seen := s.files.snapshot()
		s.mu.Lock()
		known := seen.same(s.seen)
		s.mu.Unlock()
		switch {
		case known:
			changed = nil
		case changed == nil || !seen.same(changed):
			changed = seen
		default:
			changed = nil
			if err := s.Reload(); err != nil {
				if errors.Is(err, os.ErrPermission) {
					err = fmt.Errorf("%w (the user that the broker runs as must be able to read it)", err)
				}
				s.log.Error("the TLS files have changed, or can no longer be read, and cannot be used; what was read before stays in use", "certfile", s.files.CertFile, "error", err)
				continue
			}
			s.log.Info("the TLS files have changed and hold for new connections", "certfile", s.files.CertFile)
		}
	}
}
