package netloop

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// What the loop does with one connection, in the order of its life: open, readable, writable, paused, lingering, closed.

const reading = unix.EPOLLIN | unix.EPOLLRDHUP

// open registers a new connection and introduces it to its handler.
func (l *loop) open(c *conn, newHandler func(Conn) Handler) {
	if l.stopping {
		l.discard(c)
		return
	}
	l.enter(c)
	c.events = reading
	if err := l.ctl(unix.EPOLL_CTL_ADD, int(c.fd), c.events, c.slot, l.table[c.slot].gen); err != nil {
		l.opts.Logger.Error("a connection is refused: epoll does not take it; see /proc/sys/fs/epoll/max_user_watches and the memory left",
			"peer", c.RemoteAddr().String(), "error", err)
		l.leave(c)
		l.discard(c)
		return
	}
	if c.h = l.opts.create(l.index, c, newHandler); c.h == nil {
		l.fail(c, nil)
		return
	}
	if !l.opts.call(l.index, c, c.h.Opened, l.now) {
		l.fail(c, ErrHandlerPanic)
	}
}

// discard drops a connection that no handler has seen.
func (l *loop) discard(c *conn) {
	c.out.Close()
	l.conns.Add(-1)
	c.release()
}

// readable reads once; epoll reports again if there is more.
func (l *loop) readable(c *conn, events uint32) {
	switch st := c.state.Load(); {
	case c.linger:
		l.discardInput(c, events)
		return
	case st&stClosing != 0: // the request is in the inbox, or on its way there
		return
	case st&stPaused != 0:
		l.pausedEvent(c, events)
		return
	case c.again: // it has not handled what it has
		return
	}
	var n int
	rest := c.part.rest()
	if len(rest) <= frontMax {
		front := copy(l.buf, rest)
		n = l.receive(c, l.buf[front:], events)
		if n == 0 {
			return
		}
		l.bufs.release(&c.part)
		p := l.buf[:front+n]
		used, need, again, ok := l.opts.data(l.index, c, c.h, l.now, p)
		if ok {
			l.bufs.keep(&c.part, p[used:], need)
		}
		l.offered(c, again, ok)
		return
	}
	n = l.receive(c, l.bufs.room(c.part), events)
	if n == 0 {
		return
	}
	c.part.buf = c.part.buf[:len(c.part.buf)+n]
	l.offerRest(c)
}

// receive reads into p. 0: nothing came, or the connection is finished, which it has then seen to.
func (l *loop) receive(c *conn, p []byte, events uint32) int {
	n, errno := read(int(c.fd), p)
	switch {
	case errno == unix.EAGAIN:
		if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			l.broken(c)
		}
		return 0
	case errno != 0:
		l.fail(c, os.NewSyscallError("read", errno))
		return 0
	case n == 0:
		l.fail(c, io.EOF)
		return 0
	}
	l.read += n
	return n
}

// offerRest offers what is kept for the connection.
func (l *loop) offerRest(c *conn) {
	n, need, again, ok := l.opts.data(l.index, c, c.h, l.now, c.part.rest())
	if ok && c.part != nil {
		l.bufs.consume(&c.part, n, need)
	}
	l.offered(c, again, ok)
}

func (l *loop) offered(c *conn, again, ok bool) {
	switch {
	case !ok:
		l.fail(c, ErrHandlerPanic)
	case len(c.part.rest()) > l.opts.MaxPartial:
		l.fail(c, ErrPartialTooLarge)
	case again && !c.again:
		c.again = true
		l.again = append(l.again, c)
	}
}

func (l *loop) serveAgain(c *conn) {
	c.again = false
	if c.slot != noSlot && !c.linger && c.state.Load()&(stPaused|stClosing) == 0 {
		l.offerRest(c)
	}
}

// writable goes on after EAGAIN.
func (l *loop) writable(c *conn) {
	c.out.Unblock()
	op := c.flush()
	if op != opArm {
		l.setEvents(c, c.events&^unix.EPOLLOUT)
	}
	switch op {
	case opFlush:
		c.notify(opFlush)
	case opDrained:
		l.drained(c)
	}
}

func (l *loop) drained(c *conn) {
	if c.out.Bytes() != 0 || c.state.Load()&stWantDrained == 0 {
		return
	}
	if c.linger {
		l.shutWrite(c)
		return
	}
	c.state.And(^stWantDrained)
	if c.state.Load()&stClosing == 0 && !l.opts.call(l.index, c, c.h.Drained, l.now) {
		l.fail(c, ErrHandlerPanic)
	}
}

// pausedEvent: epoll reports something about a connection that does not want to read.
func (l *loop) pausedEvent(c *conn, events uint32) {
	switch {
	case events&unix.EPOLLERR != 0:
		l.broken(c)
	case events&(unix.EPOLLRDHUP|unix.EPOLLHUP) == 0:
		l.setEvents(c, c.events&^unix.EPOLLIN)
	case len(c.part.rest()) == 0 && !c.again && unread(int(c.fd)) == 0:
		l.fail(c, io.EOF)
	default:
		// The peer has closed, but its last packets are unread: were they dropped, a client that said DISCONNECT would
		// get its will published. They are read after Resume; a broken connection is still seen. A Unix socket says
		// EPOLLHUP now, which cannot be masked, so it is to say it once, not all the time: hence EPOLLET.
		l.setEvents(c, c.events&^reading|unix.EPOLLET)
	}
}

func (l *loop) resumed(c *conn) {
	if c.state.Load()&(stPaused|stClosing) != 0 {
		return
	}
	l.setEvents(c, c.events&^unix.EPOLLET|reading)
	if len(c.part.rest()) > 0 && !c.again {
		l.offerRest(c)
	}
}

// broken ends a connection of which epoll says EPOLLERR or EPOLLHUP.
func (l *loop) broken(c *conn) {
	if err := socketError(int(c.fd)); err != nil {
		l.fail(c, os.NewSyscallError("socket", err))
		return
	}
	l.fail(c, io.EOF)
}

// fail closes the connection at once, unless somebody else has called Close or CloseAfterFlush: then that request follows
// through the inbox.
func (l *loop) fail(c *conn, err error) {
	if c.claim(err, 0) || c.linger {
		l.detach(c)
	}
}

// closeRequested: somebody has called Close or CloseAfterFlush.
func (l *loop) closeRequested(c *conn) {
	st := c.state.Load()
	switch {
	case c.slot == noSlot || st&stErr == 0:
	case st&stHard != 0 || l.stopping:
		l.detach(c)
	case !c.linger:
		l.startLinger(c)
	}
}

// startLinger begins CloseAfterFlush: what arrives is discarded while the outbox is written.
func (l *loop) startLinger(c *conn) {
	c.linger = true
	c.state.Or(stWantDrained)
	l.bufs.release(&c.part)
	l.wheel.set(c, l.now+int64(c.within))
	l.setEvents(c, c.events&^unix.EPOLLET|reading)
	switch op := c.flush(); op {
	case opArm:
		l.setEvents(c, c.events|unix.EPOLLOUT)
	case opFlush:
		c.notify(opFlush)
	default: // empty, or another writer is at it, who reports when it is
		l.drained(c)
	}
}

// shutWrite: all is written. Reading goes on for a moment, since closing with unread bytes makes the kernel send a reset,
// which would make the peer's kernel throw away what it has not read yet.
func (l *loop) shutWrite(c *conn) {
	if c.shut {
		return
	}
	c.shut = true
	if err := unix.Shutdown(int(c.fd), unix.SHUT_WR); err != nil || c.readEnd {
		l.detach(c)
		return
	}
	l.wheel.set(c, min(c.links.due, l.now+lingerTime.Milliseconds()))
}

func (l *loop) discardInput(c *conn, events uint32) {
	n, errno := read(int(c.fd), l.buf)
	switch {
	case errno == unix.EAGAIN && events&(unix.EPOLLERR|unix.EPOLLHUP) == 0:
	case errno != 0 || n == 0 && (c.shut || events&(unix.EPOLLERR|unix.EPOLLHUP) != 0):
		l.detach(c)
	case n == 0: // it may still be reading
		c.readEnd = true
		l.setEvents(c, c.events&^reading)
	}
}

// detach takes the connection off the loop and tells its handler. The descriptor is closed at the end of the batch, or by
// a writer that is using it.
func (l *loop) detach(c *conn) {
	if c.slot == noSlot {
		return
	}
	c.state.Or(stHard)
	busy := c.out.Close()
	if busy { // else closing the descriptor does it, at the end of the batch
		_ = l.ctl(unix.EPOLL_CTL_DEL, int(c.fd), 0, c.slot, 0)
	}
	l.leave(c)
	l.wheel.remove(c)
	l.bufs.release(&c.part)
	l.conns.Add(-1)
	if h := c.h; h != nil {
		c.h = nil
		l.opts.closed(l.index, c, h, l.now, c.err)
	}
	if !busy {
		l.closing = append(l.closing, c)
	}
}

// enter gives the connection a place in the table.
func (l *loop) enter(c *conn) {
	l.tableMu.Lock()
	defer l.tableMu.Unlock()
	if n := len(l.free); n > 0 {
		c.slot = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		c.slot = uint32(len(l.table))
		l.table = append(l.table, entry{})
	}
	l.table[c.slot].c = c
	l.live++
}

// leave removes it from the table. Events that epoll still reports, a process just forked may hold a copy of the descriptor,
// find another generation.
func (l *loop) leave(c *conn) {
	l.tableMu.Lock()
	defer l.tableMu.Unlock()
	l.table[c.slot].c = nil
	l.table[c.slot].gen++
	l.free = append(l.free, c.slot)
	c.slot = noSlot
	l.live--
}

// setEvents tells epoll what to report, if that is news.
func (l *loop) setEvents(c *conn, events uint32) {
	if c.events == events || c.slot == noSlot {
		return
	}
	c.events = events
	if err := l.ctl(unix.EPOLL_CTL_MOD, int(c.fd), events, c.slot, l.table[c.slot].gen); err != nil {
		panic("netloop: epoll_ctl(MOD) on a registered connection: " + err.Error())
	}
}

func (l *loop) ctl(op, fd int, events, slot, gen uint32) error {
	return unix.EpollCtl(l.epfd, op, fd, &unix.EpollEvent{Events: events, Fd: int32(slot), Pad: int32(gen)})
}
