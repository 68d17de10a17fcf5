package netloop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// epollEngine spreads connections over its loops and otherwise stays out of the way.
type epollEngine struct {
	opts  Options
	loops []*loop
	next  atomic.Uint32
	book  addressBook

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	closed    bool
}

func startEpoll(o Options) (Engine, error) {
	e := &epollEngine{opts: o, listeners: map[net.Listener]struct{}{}}
	for i := range o.Loops {
		l, err := newLoop(i, &e.opts)
		if err != nil {
			for _, l := range e.loops {
				l.epfile.Close()
				l.wakeup.Close()
			}
			return nil, fmt.Errorf("%w (loop %d of %d)", err, i+1, o.Loops)
		}
		l.book = &e.book
		e.loops = append(e.loops, l)
	}
	for _, l := range e.loops {
		go l.run()
	}
	return e, nil
}

func (e *epollEngine) Loops() int { return len(e.loops) }

func (e *epollEngine) Len() int {
	n := 0
	for _, l := range e.loops {
		n += int(l.conns.Load())
	}
	return n
}

func (e *epollEngine) Each(fn func(c Conn) bool) {
	var found []*conn
	for _, l := range e.loops {
		l.tableMu.Lock()
		found = found[:0]
		for i := range l.table {
			if c := l.table[i].c; c != nil {
				found = append(found, c)
			}
		}
		l.tableMu.Unlock()
		for _, c := range found {
			if !fn(c) {
				return
			}
		}
	}
}

func (e *epollEngine) PostLoop(loop int, fn func(loop int, now int64)) {
	e.loops[loop].put(task{fn: fn})
}

// admit gives a connection to the loop that has the fewest, if there is a choice to the one that calls (nil: none does).
func (e *epollEngine) admit(here *loop, c *conn, newHandler func(Conn) Handler) {
	best := here
	start := 0
	if best == nil {
		start = int(e.next.Add(1))
		best = e.loops[start%len(e.loops)]
	}
	for i := range e.loops {
		if l := e.loops[(start+i)%len(e.loops)]; l.conns.Load() < best.conns.Load() {
			best = l
		}
	}
	c.loop, c.slot = best, noSlot
	c.out.Init(e.opts.Budget)
	c.refs.Store(1)
	best.conns.Add(1)
	if best == here {
		best.open(c, newHandler)
		return
	}
	best.put(task{c: c, open: newHandler})
}

func (e *epollEngine) Adopt(nc net.Conn, newHandler func(Conn) Handler) (Conn, error) {
	c, err := e.adopt(nc, newHandler)
	if err != nil { // not a nil *conn in a Conn
		return nil, err
	}
	return c, nil
}

// adopt duplicates the connection's descriptor and closes the original, which leaves Go's poller that way.
func (e *epollEngine) adopt(nc net.Conn, newHandler func(Conn) Handler) (*conn, error) {
	defer nc.Close()
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%w (%T)", ErrNoDescriptor, nc)
	}
	e.mu.Lock()
	closed := e.closed
	e.mu.Unlock()
	if closed {
		return nil, ErrEngineClosed
	}
	if d, ok := nc.(Descriptor); ok {
		c := &conn{fd: int32(d.Detach())}
		e.admit(nil, c, newHandler)
		return c, nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("netloop: taking over %T: %w", nc, err)
	}
	fd, sa := -1, unix.Sockaddr(nil)
	ctlErr := raw.Control(func(orig uintptr) {
		if fd, err = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			sa, _ = unix.Getpeername(fd)
		}
	})
	if err = errors.Join(ctlErr, err); err != nil {
		return nil, fmt.Errorf("netloop: taking over a connection: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		closeFD(fd)
		return nil, fmt.Errorf("netloop: taking over a connection: %w", err)
	}
	c := &conn{fd: int32(fd), peer: sockEndpoint(sa)}
	e.admit(nil, c, newHandler)
	return c, nil
}

func (e *epollEngine) Serve(l net.Listener, newHandler func(c Conn) Handler) error {
	e.mu.Lock()
	closed := e.closed
	if !closed {
		e.listeners[l] = struct{}{}
	}
	e.mu.Unlock()
	if closed {
		l.Close()
		return ErrEngineClosed
	}
	defer func() {
		e.mu.Lock()
		delete(e.listeners, l)
		e.mu.Unlock()
	}()
	a := acceptor{opts: &e.opts, addr: l.Addr()}
	defer a.close()
	once := func() error {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		_, err = e.adopt(nc, newHandler)
		if err == nil || errors.Is(err, ErrNoDescriptor) || errors.Is(err, ErrEngineClosed) {
			return err
		}
		return errRefused{err}
	}
	a.refuse = refuseFrom(l)
	if own, ok := l.(*listener); ok {
		a.refuse = own.refuse
		s := &serving{engine: e, own: own, newHandler: newHandler, from: e.book.add(own.addr), failed: make(chan error, 1)}
		once = s.acceptOn(e.loops[int(e.next.Add(1))%len(e.loops)], &a)
	}
	err := a.run(once)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrEngineClosed
	}
	return err
}

func (e *epollEngine) Close(ctx context.Context) error {
	e.mu.Lock()
	first := !e.closed
	e.closed = true
	for l := range e.listeners {
		l.Close()
	}
	e.mu.Unlock()
	for _, l := range e.loops {
		if first {
			l.put(task{fn: func(int, int64) { l.stop() }})
		}
	}
	for _, l := range e.loops {
		select {
		case <-l.done:
		case <-ctx.Done():
			return fmt.Errorf("netloop: waiting for loop %d to end: %w", l.index, ctx.Err())
		}
	}
	return nil
}
