package netloop

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// listener is a TCP listener whose descriptor is ours, so that the engine accepts with one system call: going through
// net.TCPListener.Accept, each connection would enter Go's poller, be duplicated, and leave it again.
type listener struct {
	file *os.File
	raw  syscall.RawConn
	addr net.Addr
	shut atomic.Bool
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
	own := &listener{file: os.NewFile(uintptr(fd), "listener"), addr: l.Addr()}
	if own.raw, err = own.file.SyscallConn(); err != nil {
		own.file.Close()
		return nil, fmt.Errorf("netloop: taking over the listener %s: %w", l.Addr(), err)
	}
	return own, nil
}

// accept waits for a connection.
func (l *listener) accept() (fd int, peer unix.Sockaddr, err error) {
	rawErr := l.raw.Read(func(lfd uintptr) bool {
		fd, peer, err = accept4(int(lfd))
		return !errors.Is(err, unix.EAGAIN)
	})
	switch {
	case rawErr != nil && l.shut.Load(): // what Read says then is private to package os
		return -1, nil, net.ErrClosed
	case rawErr != nil:
		return -1, nil, rawErr
	}
	return fd, peer, err
}

func accept4(lfd int) (fd int, peer unix.Sockaddr, err error) {
	for {
		fd, peer, err = unix.Accept4(lfd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case unix.EINTR:
		// What has gone wrong with the connection in the queue, says accept(2), is to be treated like EAGAIN.
		case unix.ENETDOWN, unix.EPROTO, unix.ENOPROTOOPT, unix.EHOSTDOWN, unix.ENONET, unix.EHOSTUNREACH,
			unix.EOPNOTSUPP, unix.ENETUNREACH, unix.ECONNABORTED, unix.EPERM:
		default:
			return fd, peer, err
		}
	}
}

// refuse accepts one connection and closes it; it does not wait.
func (l *listener) refuse() error {
	var err error
	ctlErr := l.raw.Control(func(fd uintptr) {
		var nfd int
		if nfd, _, err = unix.Accept4(int(fd), unix.SOCK_CLOEXEC); err == nil {
			closeFD(nfd)
		}
	})
	if ctlErr != nil {
		return ctlErr
	}
	return err
}

// Accept is for those who use the listener without an engine.
func (l *listener) Accept() (net.Conn, error) {
	fd, _, err := l.accept()
	if err != nil {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: err}
	}
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	return net.FileConn(f)
}

func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) Close() error {
	l.shut.Store(true)
	return l.file.Close()
}
