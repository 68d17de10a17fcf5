// Package listener opens the sockets that clients connect to and binds each connection to its protocol side.
package listener

import (
	"crypto/tls"
	"crypto/x509"
	"net"

	"github.com/nightjar-mqtt/nightjar/internal/core/conn"
	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/internal/edge/certs"
	"github.com/nightjar-mqtt/nightjar/internal/edge/layer"
	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// Transport is what lies between the sockets of a listener and MQTT; the zero value is nothing.
type Transport struct {
	// TLS has clients speak TLS; nil: not. Client certificates count if this has crypto/tls verify them.
	TLS *tls.Config
	// Certificates is TLS made of files, which are watched. Only one of TLS and Certificates may be given.
	Certificates *certs.Source
	// WebSocket has clients speak WebSocket (RFC 6455) with the sub-protocol mqtt or mqttv3.1.
	WebSocket bool
	// Mixed takes clients with and without WebSocket on the same port, told apart by their first byte.
	Mixed bool
	// Origins are the values of the header Origin that WebSocket requests may have; none: any.
	Origins []string
	// Plain answers HTTP requests on a WebSocket listener that do not want a WebSocket, with a whole HTTP response; the
	// connection is closed then. It is called on goroutines of its own. nil: they are refused.
	Plain func(request []byte) (response []byte)
	// Proxy has connections begin with a header of the PROXY protocol; nil: not. It comes before TLS.
	Proxy *layer.Proxy
}

// Layers is what layered connections of one engine have in common.
type Layers struct{ tls, ws *layer.Shared }

// NewLayers makes it.
func NewLayers(e netloop.Engine, budget *outbox.Budget) *Layers {
	return &Layers{tls: layer.NewShared(e.Loops(), budget), ws: layer.NewShared(e.Loops(), budget)}
}

// Factory makes the handler of a new connection.
type Factory func(netloop.Conn) netloop.Handler

// New stacks the layers of a transport: PROXY, TLS, WebSocket, MQTT.
func New(t Transport, ls *Layers, sh *conn.Shared) Factory {
	handler := func(c netloop.Conn) netloop.Handler { return conn.New(c, sh) }
	protocols := []string{"mqtt"} // as registered with IANA
	switch {
	case t.Mixed:
		handler = layer.Mixed(ls.ws, layer.Requests{Origins: t.Origins, Plain: t.Plain}, handler)
		protocols = []string{"mqtt", "http/1.1"}
	case t.WebSocket:
		handler = layer.WebSocket(ls.ws, layer.Requests{Origins: t.Origins, Plain: t.Plain}, handler)
		protocols = []string{"http/1.1"}
	}
	switch {
	case t.Certificates != nil:
		checked := t.Certificates.Files().RequireCertificate
		handler = layer.TLS(ls.tls, t.Certificates.Config(protocols...), checked, handler)
	case t.TLS != nil:
		handler = layer.TLS(ls.tls, t.TLS, false, handler)
	}
	if t.Proxy != nil {
		handler = layer.PROXY(t.Proxy, handler)
	}
	return handler
}

// Addresses are those of a transport that New has made.
func Addresses(t conn.Transport) (peer, local string) {
	c := t.(netloop.Conn)
	return words(c.RemoteAddr()), words(c.LocalAddr())
}

// words are an address as people read it. The client's end of a Unix socket has none.
func words(a net.Addr) string {
	if u, ok := a.(*net.UnixAddr); ok && (u.Name == "" || u.Name == "@") {
		return "unix"
	}
	return a.String()
}

// Certificate is the client's of a transport that New has made, and its common name.
func Certificate(t conn.Transport) (*x509.Certificate, string) {
	return layer.Certificate(t.(netloop.Conn))
}
