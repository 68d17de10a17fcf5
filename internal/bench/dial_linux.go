package bench

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// dial opens a connection without waiting for it: what is sent before it stands is kept in the outbox, and a failure is
// reported as any other of the connection is. Go's net would wait on a goroutine and register the socket with its own
// poller first, which doubles the cost.
func dial(to netip.AddrPort, from netip.Addr, engine netloop.Engine, handler func(netloop.Conn) netloop.Handler, failed func(error)) {
	fd, err := openSocket(to, from)
	if err == nil {
		_, err = engine.Adopt(&socket{fd: fd}, handler)
	}
	if err != nil {
		failed(err)
	}
}

func openSocket(to netip.AddrPort, from netip.Addr) (fd int, err error) {
	family := unix.AF_INET
	if to.Addr().Unmap().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err = connectSocket(fd, to, from); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func connectSocket(fd int, to netip.AddrPort, from netip.Addr) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if from.IsValid() {
		// The port is chosen at connect, when the peer is known: it must be free for this pair of addresses only.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(from, 0))); err != nil {
			return os.NewSyscallError("bind", err)
		}
	}
	if err := unix.Connect(fd, sockaddr(to)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return os.NewSyscallError("connect", err)
	}
	return nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if ip := a.Addr().Unmap(); ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// socket is a descriptor in the form that netloop adopts: it is only taken over.
type socket struct {
	net.Conn // nil: nothing else is called
	fd       int
}

func (s *socket) Detach() int {
	fd := s.fd
	s.fd = -1
	return fd
}

func (s *socket) Close() error {
	if s.fd < 0 {
		return nil
	}
	return unix.Close(s.fd)
}

// SyscallConn says that there is a descriptor; Detach is used instead.
func (s *socket) SyscallConn() (syscall.RawConn, error) { return nil, syscall.EINVAL }
