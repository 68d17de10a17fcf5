package router

import (
	"sync"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// slowReceivers are sessions with a long queue whose publishers wait for their acknowledgements. Publishers are slowed,
// not stopped: a receiver that never catches up must not hold them for ever, so a tick lets them go.
type slowReceivers struct {
	mu       sync.Mutex
	sessions []*session.Session
}

// AwaitRoom has fn called when the receiver's queue has shortened, or at the next tick. false: it is short
// already, and fn is not called.
func (w *Worker) AwaitRoom(s *session.Session, fn func(loop int, now int64)) bool {
	if !s.Await(fn) {
		return false
	}
	r := &w.r.slow
	r.mu.Lock()
	r.sessions = append(r.sessions, s)
	r.mu.Unlock()
	return true
}

func (w *Worker) releaseSlow() {
	r := &w.r.slow
	r.mu.Lock()
	sessions := r.sessions
	r.sessions = nil
	r.mu.Unlock()
	for _, s := range sessions {
		s.ReleaseWaiters(&w.Turn)
	}
}
