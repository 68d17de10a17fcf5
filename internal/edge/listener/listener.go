// Package listener opens the sockets that clients connect to and binds each connection to its protocol side.
package listener

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/nightjar-mqtt/nightjar/internal/core/conn"
	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/internal/edge/layer"
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

// Transport is what lies between the sockets of a listener and MQTT; the zero value is nothing.
type Transport struct {
	TLS       *tls.Config
	WebSocket bool
	Origins   []string // of WebSocket requests; none: any
}

// Layers is what layered connections of one engine have in common.
type Layers struct{ tls, ws *layer.Shared }

// NewLayers makes it.
func NewLayers(e netloop.Engine, budget *outbox.Budget) *Layers {
	return &Layers{tls: layer.NewShared(e.Loops(), budget), ws: layer.NewShared(e.Loops(), budget)}
}

// Serve accepts MQTT connections on l until it is closed.
func Serve(e netloop.Engine, l net.Listener, t Transport, ls *Layers, sh *conn.Shared) error {
	handler := func(c netloop.Conn) netloop.Handler { return conn.New(c, sh) }
	if t.WebSocket {
		handler = layer.WebSocket(ls.ws, t.Origins, handler)
	}
	if t.TLS != nil {
		handler = layer.TLS(ls.tls, t.TLS, handler)
	}
	return e.Serve(l, handler)
}

// Addresses are those of a transport that Serve has made.
func Addresses(t conn.Transport) (peer, local string) {
	c := t.(netloop.Conn)
	return c.RemoteAddr().String(), c.LocalAddr().String()
}
