//go:build !linux

package listener

import (
	"errors"
	"os"
	"syscall"
)

// errNoDevices: this system cannot bind a socket to an interface.
var errNoDevices = errors.New("sockets cannot be bound to an interface here")

func bindToDevice(string) func(network, address string, c syscall.RawConn) error {
	return func(string, string, syscall.RawConn) error { return errNoDevices }
}

func presetMode(os.FileMode) func(network, address string, c syscall.RawConn) error { return nil }
