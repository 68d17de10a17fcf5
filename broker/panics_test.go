package broker

import (
	"runtime/debug"
	"testing"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

func stackOf(fn func()) (stack []byte) {
	defer func() {
		if recover() != nil {
			stack = debug.Stack()
		}
	}()
	fn()
	return nil
}

// TestSharedPanic: only what fails in shared state itself is fatal, not a hook that shared state has called.
func TestSharedPanic(t *testing.T) {
	var none *session.Session
	if !inSharedState(stackOf(func() { none.Ended() })) {
		t.Error("a nil session inside package session was not taken for shared state")
	}
	if inSharedState(stackOf(func() { panic("a hook") })) {
		t.Error("a panic of the caller's was taken for shared state")
	}
	turn := &session.Turn{Dropped: nil}
	waiting := &hookedConn{}
	if inSharedState(stackOf(func() { turn.Touch(waiting); turn.Flush() })) {
		t.Error("a panic in what shared state called was taken for its own")
	}
}

type hookedConn struct{ session.Conn }

func (*hookedConn) Flush() { panic("in a hook") }
