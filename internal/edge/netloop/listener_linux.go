package netloop

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// listener is a TCP listener whose descriptor is ours and not in Go's poller, so that a loop of the engine accepts from it by
// itself: going through net.TCPListener.Accept, each connection would wake a goroutine, enter Go's poller, be duplicated, and
// leave it again.
type listener struct {
	fd   int
	refs atomic.Int32 // who may use fd: the owner until Close, and short borrowers
	addr net.Addr
	shut atomic.Bool
	done chan struct{} // closed by Close

	mu   sync.Mutex
	epfd int // that watches it; -1: none does

	// For those who call Accept, a duplicate that is in Go's poller.
	polled     sync.Once
	polledFile *os.File
	polledErr  error
}

// Own prepares a listener for Engine.Serve: it takes a *net.TCPListener over (which must not be used afterwards) and
// returns one that the epoll engine accepts from with less work. Other listeners come back as they are; they work too.
// Options that accepted sockets inherit, such as SO_KEEPALIVE, are best set by net.ListenConfig.Control.
func Own(l net.Listener) (net.Listener, error) {
	t, ok := l.(*net.TCPListener)
	if !ok {
		return l, nil
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("netloop: taking over the listener %s: %w", l.Addr(), err)
	}
	defer t.Close()
	fd := -1
	ctlErr := raw.Control(func(orig uintptr) { fd, err = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, 0) })
	if ctlErr != nil {
		err = ctlErr
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err == nil { // inherited by what is accepted
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err != nil {
		if fd >= 0 {
			closeFD(fd)
		}
		return nil, fmt.Errorf("netloop: taking over the listener %s: %w", l.Addr(), err)
	}
	own := &listener{fd: fd, addr: l.Addr(), done: make(chan struct{}), epfd: -1}
	own.refs.Store(1)
	return own, nil
}

// borrow keeps the descriptor open until release; false: it is closed.
func (l *listener) borrow() bool { return borrowRef(&l.refs) }

func (l *listener) release() {
	if l.refs.Add(-1) == 0 {
		closeFD(l.fd)
	}
}

// watch has an epoll descriptor report connections that wait. false: the listener is closed, or err says why not.
func (l *listener) watch(epfd int, ev *unix.EpollEvent) (ok bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut.Load() {
		return false, nil
	}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, l.fd, ev); err != nil {
		return false, err
	}
	l.epfd = epfd
	return true, nil
}

// unwatch ends that. Closing the descriptor would not: other processes may have it too.
func (l *listener) unwatch() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epfd >= 0 {
		_ = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_DEL, l.fd, nil)
		l.epfd = -1
	}
}

// accept takes a connection without waiting for one: then the error is EAGAIN. The listener is borrowed.
func (l *listener) accept() (fd int, peer endpoint, err error) {
	for {
		if l.shut.Load() {
			return -1, peer, net.ErrClosed
		}
		fd, peer, errno := accept(l.fd)
		switch errno {
		case 0:
			return fd, peer, nil
		case unix.EINTR:
		// What has gone wrong with the connection in the queue, says accept(2), is to be treated like EAGAIN.
		case unix.ENETDOWN, unix.EPROTO, unix.ENOPROTOOPT, unix.EHOSTDOWN, unix.ENONET, unix.EHOSTUNREACH,
			unix.EOPNOTSUPP, unix.ENETUNREACH, unix.ECONNABORTED, unix.EPERM:
		default:
			return -1, peer, errno
		}
	}
}

// refuse accepts one connection and closes it; it does not wait.
func (l *listener) refuse() error {
	if !l.borrow() {
		return net.ErrClosed
	}
	defer l.release()
	fd, _, err := l.accept()
	if err == nil {
		closeFD(fd)
	}
	return err
}

// Accept is for those who use the listener without the epoll engine.
func (l *listener) Accept() (net.Conn, error) {
	l.polled.Do(l.poll)
	fd, err := -1, l.polledErr
	if err == nil {
		var raw syscall.RawConn
		if raw, err = l.polledFile.SyscallConn(); err == nil {
			var acceptErr error
			err = raw.Read(func(uintptr) bool {
				fd, _, acceptErr = l.accept()
				return !errors.Is(acceptErr, unix.EAGAIN)
			})
			if err == nil {
				err = acceptErr
			}
		}
	}
	if l.shut.Load() {
		if fd >= 0 {
			closeFD(fd)
		}
		fd, err = -1, net.ErrClosed // what Read says then is private to package os
	}
	if err != nil {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: err}
	}
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	return net.FileConn(f)
}

// poll makes the duplicate.
func (l *listener) poll() {
	if !l.borrow() {
		l.polledErr = net.ErrClosed
		return
	}
	defer l.release()
	fd, err := unix.FcntlInt(uintptr(l.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		l.polledErr = os.NewSyscallError("fcntl", err)
		return
	}
	l.polledFile = os.NewFile(uintptr(fd), "listener")
}

func (l *listener) Addr() net.Addr { return l.addr }

// Close ends Accept and Serve. The port is free when it returns, unless a loop is just accepting.
func (l *listener) Close() error {
	if l.shut.Swap(true) {
		return net.ErrClosed
	}
	close(l.done)
	l.polled.Do(func() { l.polledErr = net.ErrClosed })
	if l.polledFile != nil {
		l.polledFile.Close()
	}
	l.unwatch()
	l.release()
	return nil
}
