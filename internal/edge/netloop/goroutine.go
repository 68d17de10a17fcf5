package netloop

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// goEngine is the portable engine: a reader goroutine per connection, a writer goroutine while there is something to
// write, and exclusive slots in the place of loops. A slot is a mutex that is held while anything of a handler runs; a
// goroutine per slot runs what is posted and the timers. Nothing that may wait is done while a slot is held, so slots
// never wait for each other.
type goEngine struct {
	opts  Options
	slots []*slot
	next  atomic.Uint32

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	closed    bool
}

// goTask is fn to be run; if that is nil, Drained may be due on c.
type goTask struct {
	c  *goConn
	fn func(loop int, now int64)
}

type slot struct {
	index int
	opts  *Options
	inbox inbox[goTask]
	wake  chan struct{} // holds one: look at the inbox and the wheel
	done  chan struct{}
	count atomic.Int32

	mu       sync.Mutex // the slot itself: held while a handler's method or a posted function runs
	wheel    wheel[goConn, *goConn]
	armed    int64 // when the runner looks at the wheel next; 0: not before it is woken up
	live     int   // reader goroutines
	stopping bool

	connMu sync.Mutex
	conns  map[*goConn]struct{}
}

func startGoroutine(o Options) (Engine, error) {
	e := &goEngine{opts: o, listeners: map[net.Listener]struct{}{}}
	for i := range o.Loops {
		s := &slot{
			index: i, opts: &e.opts, conns: map[*goConn]struct{}{},
			wake: make(chan struct{}, 1), done: make(chan struct{}),
		}
		s.wheel.start(o.Now())
		e.slots = append(e.slots, s)
		go s.run()
	}
	return e, nil
}

func (e *goEngine) Loops() int { return len(e.slots) }

func (e *goEngine) Len() int {
	n := 0
	for _, s := range e.slots {
		n += int(s.count.Load())
	}
	return n
}

func (e *goEngine) Each(fn func(c Conn) bool) {
	for _, s := range e.slots {
		for _, c := range s.all() {
			if !fn(c) {
				return
			}
		}
	}
}

func (e *goEngine) PostLoop(loop int, fn func(loop int, now int64)) {
	e.slots[loop].put(goTask{fn: fn})
}

func (e *goEngine) Adopt(nc net.Conn, newHandler func(Conn) Handler) (Conn, error) {
	e.mu.Lock()
	closed := e.closed
	e.mu.Unlock()
	if closed {
		nc.Close()
		return nil, ErrEngineClosed
	}
	start := int(e.next.Add(1))
	best := e.slots[start%len(e.slots)]
	for i := range e.slots {
		if s := e.slots[(start+i)%len(e.slots)]; s.count.Load() < best.count.Load() {
			best = s
		}
	}
	c := &goConn{slot: best, nc: nc, wake: make(chan struct{}, 1)}
	c.out.Init(e.opts.Budget)
	best.count.Add(1)
	best.put(goTask{fn: func(_ int, now int64) { best.open(c, now, newHandler) }})
	return c, nil
}

func (e *goEngine) Serve(l net.Listener, newHandler func(c Conn) Handler) error {
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
	a := acceptor{opts: &e.opts, addr: l.Addr(), refuse: refuseFrom(l)}
	if r, ok := l.(interface{ refuse() error }); ok {
		a.refuse = r.refuse
	}
	defer a.close()
	err := a.run(func() error {
		nc, err := l.Accept()
		if err == nil {
			_, err = e.Adopt(nc, newHandler)
		}
		return err
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.listeners, l)
	if e.closed {
		return ErrEngineClosed
	}
	return err
}

func (e *goEngine) Close(ctx context.Context) error {
	e.mu.Lock()
	first := !e.closed
	e.closed = true
	for l := range e.listeners {
		l.Close()
	}
	e.mu.Unlock()
	for _, s := range e.slots {
		if first {
			s.put(goTask{fn: func(int, int64) { s.stop() }})
		}
	}
	for _, s := range e.slots {
		select {
		case <-s.done:
		case <-ctx.Done():
			return fmt.Errorf("netloop: waiting for slot %d to end: %w", s.index, ctx.Err())
		}
	}
	return nil
}

// put hands a task over, from any goroutine, which may hold this slot or another.
func (s *slot) put(t goTask) {
	if s.inbox.put(t) {
		s.inbox.drain(func(t goTask) { s.perform(t, s.opts.Now()) })
		return
	}
	s.signal()
}

func (s *slot) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run performs what is posted, and the timers.
func (s *slot) run() {
	defer close(s.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.mu.Lock()
		now := s.opts.Now()
		tasks := s.inbox.take()
		for _, t := range tasks {
			s.perform(t, now)
		}
		s.inbox.recycle(tasks)
		s.timers(now)
		s.endTurn(now)
		end := s.stopping && s.live == 0 && s.inbox.stop()
		s.armed = s.wheel.next()
		wait := time.Hour
		if s.armed != 0 {
			wait = time.Duration(s.armed-s.opts.Now()) * time.Millisecond
		}
		s.mu.Unlock()
		if end {
			return
		}
		timer.Reset(wait)
		select {
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// perform runs a task in the slot.
func (s *slot) perform(t goTask, now int64) {
	switch {
	case t.c == nil:
		t.fn(s.index, now)
	case t.fn == nil:
		t.c.drained(now)
	case !s.opts.call(s.index, t.c, t.fn, now):
		t.c.Close(ErrHandlerPanic)
	}
}

func (s *slot) timers(now int64) {
	for _, c := range s.wheel.expired(now) {
		if s.wheel.still(c, now) && c.state.Load()&stClosing == 0 &&
			!s.opts.call(s.index, c, c.h.Deadline, now) {
			c.Close(ErrHandlerPanic)
		}
	}
}

func (s *slot) endTurn(now int64) {
	if s.opts.EndTurn != nil {
		s.opts.EndTurn(s.index, now)
	}
}

// open introduces a new connection to its handler and starts its reader. The slot is held.
func (s *slot) open(c *goConn, now int64, newHandler func(Conn) Handler) {
	if s.stopping {
		s.discard(c)
		return
	}
	s.connMu.Lock()
	s.conns[c] = struct{}{}
	s.connMu.Unlock()
	if c.h = s.opts.create(s.index, c, newHandler); c.h == nil {
		s.leave(c)
		s.discard(c)
		return
	}
	if !s.opts.call(s.index, c, c.h.Opened, now) {
		c.Close(ErrHandlerPanic)
	}
	s.live++
	go c.read()
}

// discard drops a connection that no handler has seen. Closing may wait (TLS), so it is not done here.
func (s *slot) discard(c *goConn) {
	c.out.Close()
	s.count.Add(-1)
	go c.nc.Close()
}

func (s *slot) leave(c *goConn) {
	s.connMu.Lock()
	delete(s.conns, c)
	s.connMu.Unlock()
}

func (s *slot) all() []*goConn {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	all := make([]*goConn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	return all
}

// stop closes all connections; the runner ends when they are gone.
func (s *slot) stop() {
	s.stopping = true
	for _, c := range s.all() {
		c.Close(ErrEngineClosed)
	}
}
