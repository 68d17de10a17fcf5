package listener

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// errNoDevices: this system cannot bind a socket to an interface.
var errNoDevices = errors.New("sockets cannot be bound to an interface here")

// bindToDevice has a socket take only what comes by an interface.
func bindToDevice(name string) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if ctl := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), name) }); ctl != nil {
			return ctl
		}
		if err != nil {
			return fmt.Errorf("binding to interface %s: %w", name, err)
		}
		return nil
	}
}

// presetMode gives a Unix socket its permissions before it has a name: Linux gives the file those of the socket, less the
// umask. 0: it leaves them alone.
func presetMode(mode os.FileMode) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if mode == 0 {
			return nil
		}
		if ctl := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), uint32(mode.Perm())) }); ctl != nil {
			return ctl
		}
		return err
	}
}
