package router

import (
	"sync"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// Queues that lie in the store are read back a page at a time, off the loops (session/spill.go).

// readPage has a page of a session's queue read, and goes on with it on the loop of the client's connection.
func (w *Worker) readPage(s *session.Session, from, end uint64) {
	r := w.r
	r.o.Store.ReadQueue(s.Key, from, end, session.PageItems, session.PageBytes,
		func(items []session.Item, next uint64, err error) {
			goOn := func(loop int, now int64) { r.Worker(loop, now).paged(s, items, next, err) }
			if c := s.Carrier(); c != nil {
				c.Post(goOn)
			} else {
				r.o.Post(0, goOn)
			}
		})
}

func (w *Worker) paged(s *session.Session, items []session.Item, next uint64, err error) {
	if s.Paged(items, w.r.groups.stored.find, next, err) {
		w.r.unread.add(s, err)
	}
	w.Pump(s)
	if !s.Connected() {
		w.redistribute(s.LeaveShared(nil))
	}
}

// unreadQueues are those of which a page could not be read: it is tried again with each tick.
type unreadQueues struct {
	mu       sync.Mutex
	sessions []*session.Session
	last     error
}

func (u *unreadQueues) add(s *session.Session, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sessions, u.last = append(u.sessions, s), err
}

func (u *unreadQueues) take() (sessions []*session.Session, last error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	sessions, last = u.sessions, u.last
	u.sessions = nil
	return sessions, last
}

// rereadQueues tries those again.
func (w *Worker) rereadQueues() {
	sessions, err := w.r.unread.take()
	if len(sessions) > 0 && w.r.o.Unread != nil {
		w.r.o.Unread(len(sessions), err)
	}
	for _, s := range sessions {
		s.RetryPage()
		w.Pump(s)
	}
}
