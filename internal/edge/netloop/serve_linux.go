package netloop

import (
	"errors"
	"net"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// serving is a listener on the loop that accepts from it. Only one loop does: a listener that several epoll descriptors watch
// wakes all of their loops for each connection, since EPOLLEXCLUSIVE has no effect on descriptors that are themselves watched.
type serving struct {
	engine     *epollEngine
	own        *listener
	newHandler func(Conn) Handler
	from       uint16       // what its connections have in conn.from
	taken      atomic.Int64 // connections
	failed     chan error   // why the loop has ceased to accept; it has a place for one
}

// Events of listeners have this bit in place of a slot of the table, and their index in loop.servings.
const listenerBit = 1 << 31

// acceptBatch bounds what is accepted per turn: connections that are open have their turn too.
const acceptBatch = 64

// acceptOn returns a function for acceptor.run: it has the loop accept until that fails or the listener is closed.
func (s *serving) acceptOn(home *loop, a *acceptor) func() error {
	var before int64
	return func() error {
		home.put(task{fn: func(int, int64) { home.watch(s) }})
		select {
		case err := <-s.failed:
			if n := s.taken.Load(); n != before {
				before, a.failed = n, 0
			}
			return err
		case <-s.own.done:
		}
		unwatched := make(chan struct{})
		home.put(task{fn: func(int, int64) {
			home.unwatch(s)
			close(unwatched)
		}})
		<-unwatched
		return net.ErrClosed
	}
}

// watch has epoll report connections that wait.
func (l *loop) watch(s *serving) {
	if l.stopping {
		s.failed <- ErrEngineClosed
		return
	}
	at := slices.Index(l.servings, nil)
	if at < 0 {
		at = len(l.servings)
		l.servings = append(l.servings, nil)
	}
	ok, err := s.own.watch(l.epfd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(listenerBit | uint32(at))})
	if err != nil {
		s.failed <- err
	} else if ok { // else it is closed, and who serves it sees that too
		l.servings[at] = s
	}
}

// unwatch ends that.
func (l *loop) unwatch(s *serving) {
	if at := slices.Index(l.servings, s); at >= 0 {
		s.own.unwatch()
		l.servings[at] = nil
	}
}

// acceptable takes connections that wait.
func (l *loop) acceptable(index uint32) {
	s := l.servings[index]
	if s == nil || !s.own.borrow() {
		return // an event from before unwatch, or it is closed
	}
	defer s.own.release()
	for range acceptBatch {
		fd, peer, err := s.own.accept()
		if err == nil {
			s.taken.Add(1)
			s.engine.admit(l, &conn{fd: int32(fd), peer: peer, from: s.from}, s.newHandler)
			continue
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, net.ErrClosed) { // if it is closed, unwatch follows
			l.unwatch(s)
			s.failed <- err
		}
		return
	}
}

// addressBook remembers the addresses of listeners, so that their connections need not ask the kernel for their own.
type addressBook struct{ list atomic.Pointer[[]net.Addr] }

// add returns the number of a listener's address; 0 if it does not say what its connections' is.
func (b *addressBook) add(a net.Addr) uint16 {
	t, ok := a.(*net.TCPAddr)
	if !ok || t.IP.IsUnspecified() {
		return 0
	}
	for {
		old := b.list.Load()
		var list []net.Addr
		if old != nil {
			list = *old
		}
		for i, known := range list {
			if known.String() == a.String() {
				return uint16(i + 1)
			}
		}
		if len(list) == 1<<16-1 {
			return 0
		}
		longer := append(list[:len(list):len(list)], a)
		if b.list.CompareAndSwap(old, &longer) {
			return uint16(len(longer))
		}
	}
}

func (b *addressBook) get(number uint16) net.Addr { return (*b.list.Load())[number-1] }
