package netloop

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	acceptPause   = 100 * time.Millisecond // after an error, before the next attempt
	acceptRetries = 50                     // consecutive errors before Serve gives up
	refusePerTry  = 16                     // connections turned away per pause when descriptors are exhausted
	refuseWait    = 10 * time.Millisecond
	acceptLogGap  = 10 * time.Second
)

// errRefused: the connection was accepted, but could not be taken over; it is closed.
type errRefused struct{ error }

func (e errRefused) Unwrap() error { return e.error }

// acceptor runs a listener's accept loop through the errors that accept brings.
//
// When the process has no descriptors left, connections would stay in the backlog: to the clients they look open, and
// nobody answers. So one descriptor is kept in reserve: it is given up, the next connections are accepted and closed
// at once, and it is taken again. Then the loop waits, since it would meet the same error at once.
type acceptor struct {
	opts   *Options
	addr   net.Addr
	refuse func() error // accepts one connection and closes it, without waiting for one
	spare  *os.File

	refused int
	failed  int
	logged  time.Time
}

// run accepts with once until the listener is closed (nil), or fails for good.
func (a *acceptor) run(once func() error) error {
	a.reserve()
	for {
		err := once()
		switch {
		case err == nil:
			a.failed = 0
			continue
		case errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) || errors.Is(err, ErrEngineClosed):
			return nil
		case errors.Is(err, ErrNoDescriptor):
			return err
		case errors.Is(err, syscall.ECONNABORTED): // the client has given up meanwhile
			continue
		}
		full := errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
		if full {
			if errors.As(err, new(errRefused)) {
				a.refused++
			}
			a.turnAway()
		} else if a.failed++; a.failed > acceptRetries {
			return err
		}
		a.log(err, full)
		time.Sleep(acceptPause)
	}
}

func (a *acceptor) reserve() {
	if a.spare == nil {
		a.spare, _ = os.Open(os.DevNull) // if it fails now, it is tried again
	}
}

func (a *acceptor) close() {
	if a.spare != nil {
		a.spare.Close()
		a.spare = nil
	}
}

func (a *acceptor) turnAway() {
	a.close()
	for range refusePerTry {
		if a.refuse == nil || a.refuse() != nil {
			break
		}
		a.refused++
	}
	a.reserve()
}

func (a *acceptor) log(err error, full bool) {
	if time.Since(a.logged) < acceptLogGap {
		return
	}
	a.logged = time.Now()
	if full {
		a.opts.Logger.Error("no file descriptors left: new connections are closed at once; raise the limit of open files (ulimit -n, LimitNOFILE=) or lower the number of connections allowed",
			"listener", a.addr.String(), "refused", a.refused, "error", err)
		return
	}
	a.opts.Logger.Error("accepting a connection failed; trying again", "listener", a.addr.String(), "error", err)
}

// refuseFrom is acceptor.refuse for any listener that knows deadlines: they keep it from waiting for a connection.
func refuseFrom(l net.Listener) func() error {
	d, ok := l.(interface{ SetDeadline(time.Time) error })
	if !ok {
		return nil
	}
	return func() error {
		if err := d.SetDeadline(time.Now().Add(refuseWait)); err != nil {
			return err
		}
		nc, err := l.Accept()
		if err == nil {
			nc.Close()
		}
		return errors.Join(err, d.SetDeadline(time.Time{}))
	}
}
