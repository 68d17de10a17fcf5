// Package listener opens the sockets that clients connect to and binds each connection to its protocol side.
package listener

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/nightjar-mqtt/nightjar/internal/core/conn"
	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// Listen opens a TCP socket. The error says what to do when the port is taken or not allowed.
func Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		return netloop.Own(l)
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("cannot listen on %s: another program uses the port; stop it, or choose another with --port", address)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("cannot listen on %s: not permitted; ports below 1024 need privileges, choose another with --port", address)
	}
	return nil, fmt.Errorf("cannot listen on %s: %w", address, err)
}

// Serve accepts MQTT connections on l until it is closed.
func Serve(e netloop.Engine, l net.Listener, sh *conn.Shared) error {
	return e.Serve(l, func(c netloop.Conn) netloop.Handler { return conn.New(transport{c}, sh) })
}

// transport is a netloop.Conn as the core sees it: addresses are words there.
type transport struct{ netloop.Conn }

func (t transport) Peer() string  { return t.RemoteAddr().String() }
func (t transport) Local() string { return t.LocalAddr().String() }
