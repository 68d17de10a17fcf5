package netloop

import (
	"math"
	"sync/atomic"
	"time"
)

// closing is the part of a connection's state that any goroutine may change, the same in both engines: whether it reads,
// and who has closed it, why, and how.
type closing struct {
	err    error         // why it is being closed; written by whoever claims, published by stErr
	within int32         // how long CloseAfterFlush may take, in milliseconds; likewise
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
	c.err = err
	c.within = int32(min(max(within+time.Millisecond-1, 0)/time.Millisecond, math.MaxInt32))
	c.state.Or(stErr)
	return true
}
