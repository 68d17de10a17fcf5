package netloop

import (
	"sync/atomic"
	"time"
)

// closing is the part of a connection's state that any goroutine may change, the same in both engines: whether it reads,
// and who has closed it, why, and how.
type closing struct {
	err    error         // why it is being closed; written by whoever claims, published by stErr
	within time.Duration // how long CloseAfterFlush may take; likewise
	state  atomic.Uint32 // st…
}

const (
	stPaused  uint32 = 1 << iota
	stClosing        // Close or CloseAfterFlush has been called: no more Data, Deadline, Drained
	stErr            // err and within are set
	stHard           // closed at once: do not flush
	stWantDrained
	stOffer // goroutine engine: resumed, offer the rest again
)

// claim makes the caller the one whose error is reported; false: somebody else was first.
func (c *closing) claim(err error, within time.Duration) bool {
	if c.state.Or(stClosing)&stClosing != 0 {
		return false
	}
	c.err, c.within = err, max(within, 0)
	c.state.Or(stErr)
	return true
}
