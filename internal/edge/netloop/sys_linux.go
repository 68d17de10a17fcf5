package netloop

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The loop's system calls never wait: sockets are non-blocking, epoll_pwait has timeout 0. So they need not tell the
// scheduler that this thread may be gone for long, which is what RawSyscall leaves out: about 35 ns a call, with three
// calls for a message that comes alone; and the monitor thread does not take the P away from a loop that is 20 µs in a
// write only to hand it back. The price is that the collector cannot stop this P until the call returns, so what may
// copy more than rawMax bytes takes the ordinary way. Under the race detector everything does (see sys_race_linux.go), since that way
// tells the detector of the kernel's accesses.
const rawMax = 128 << 10

// recvfrom and sendto are read and write without what those do for files: some 60 ns less. Descriptors that are no sockets
// take the ordinary calls.
func rawRead(fd int, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.ENOTSOCK {
		n, _, errno = syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	}
	return int(n), errno
}

func rawWrite(fd int, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno == unix.ENOTSOCK {
		n, _, errno = syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	}
	return int(n), errno
}

func rawEpollWait(epfd int, events []unix.EpollEvent) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	return int(n), errno
}

// read returns 0 and no error at the end of the stream.
func read(fd int, p []byte) (n int, errno syscall.Errno) {
	for {
		if raceEnabled {
			n, errno = errnoOf(unix.Read(fd, p))
		} else {
			n, errno = rawRead(fd, p)
		}
		if errno != unix.EINTR {
			return n, errno
		}
	}
}

// write writes the slices with one system call.
func write(fd int, slices [][]byte, total int) (n int, errno syscall.Errno) {
	for {
		switch {
		case len(slices) > 1:
			n, errno = writev(fd, slices, total)
		case raceEnabled || total > rawMax:
			n, errno = errnoOf(unix.Write(fd, slices[0]))
		default:
			n, errno = rawWrite(fd, slices[0])
		}
		if errno != unix.EINTR {
			return n, errno
		}
	}
}

func writev(fd int, slices [][]byte, total int) (int, syscall.Errno) {
	if raceEnabled {
		return errnoOf(unix.Writev(fd, slices))
	}
	var iov [maxIov]unix.Iovec // on the stack: unix.Writev allocates
	for i, s := range slices {
		iov[i].Base = unsafe.SliceData(s)
		iov[i].SetLen(len(s))
	}
	var n uintptr
	var errno syscall.Errno
	if total > rawMax {
		n, _, errno = syscall.Syscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(slices)))
	} else {
		n, _, errno = syscall.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(slices)))
	}
	return int(n), errno
}

func errnoOf(n int, err error) (int, syscall.Errno) {
	if err == nil {
		return n, 0
	}
	errno := unix.EIO // not reached: package unix returns nothing but numbers
	errors.As(err, &errno)
	return 0, errno
}

// accept takes a connection from a non-blocking listener. unix.Accept4 asks for the protocol of each IPv4 socket, which is a
// system call, and allocates its address.
func accept(lfd int) (fd int, peer endpoint, errno syscall.Errno) {
	var sa unix.RawSockaddrAny
	size := uint32(unsafe.Sizeof(sa))
	const flags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	r, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(lfd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)), flags, 0, 0)
	if errno != 0 {
		return -1, peer, errno
	}
	return int(r), rawEndpoint(&sa), 0
}

// localEndpoint is a socket's own address, for the same reasons.
func localEndpoint(fd int) (e endpoint) {
	var sa unix.RawSockaddrAny
	size := uint32(unsafe.Sizeof(sa))
	if _, _, errno := syscall.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size))); errno != 0 {
		return e
	}
	return rawEndpoint(&sa)
}

// socketError takes the pending error of a socket; nil if there is none.
func socketError(fd int) error {
	v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && v != 0 {
		return syscall.Errno(v)
	}
	return nil
}

// unread is the number of bytes waiting in a socket's receive queue.
func unread(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	if err != nil {
		return 0
	}
	return n
}
