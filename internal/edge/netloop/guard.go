package netloop

import (
	"fmt"
	"runtime/debug"
)

// A panic in one connection's handler closes that connection; the others notice nothing (DESIGN section 5, rule 8).

// call runs fn and tells whether it came back without a panic.
func (o *Options) call(loop int, c Conn, fn func(loop int, now int64), now int64) (ok bool) {
	defer func() {
		if !ok {
			o.report(loop, c, recover())
		}
	}()
	fn(loop, now)
	return true
}

// data calls h.Data; ok is false after a panic.
func (o *Options) data(loop int, c Conn, h Handler, now int64, p []byte) (n, need int, again, ok bool) {
	defer func() {
		if !ok {
			n, need, again = 0, 0, false
			o.report(loop, c, recover())
		}
	}()
	n, need, again = h.Data(loop, now, p)
	if n < 0 || n > len(p) {
		panic(fmt.Sprintf("netloop: Handler.Data consumed %d of %d bytes", n, len(p)))
	}
	return n, need, again, true
}

// closed calls h.Closed.
func (o *Options) closed(loop int, c Conn, h Handler, now int64, err error) {
	ok := false
	defer func() {
		if !ok {
			o.report(loop, c, recover())
		}
	}()
	h.Closed(loop, now, err)
	ok = true
}

// create calls newHandler; the result is nil after a panic, or if newHandler refuses the connection.
func (o *Options) create(loop int, c Conn, newHandler func(Conn) Handler) (h Handler) {
	ok := false
	defer func() {
		if !ok {
			h = nil
			o.report(loop, c, recover())
		}
	}()
	h = newHandler(c)
	ok = true
	return h
}

func (o *Options) report(loop int, c Conn, v any) {
	stack := debug.Stack()
	if o.OnPanic != nil {
		o.OnPanic(loop, c, v, stack)
		return
	}
	o.Logger.Error("a connection's handler panicked; the connection is closed, the others go on",
		"peer", c.RemoteAddr().String(), "panic", fmt.Sprint(v), "stack", string(stack))
}
