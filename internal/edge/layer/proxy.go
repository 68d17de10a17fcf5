package layer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// Proxy says how a listener takes the PROXY protocol, by which a proxy such as HAProxy tells whom it forwards.
type Proxy struct {
	// V1 and V2 are the versions that are taken; with neither, both are.
	V1, V2 bool
	// Trusted are the networks of the proxies. A connection from elsewhere is closed: whoever may send the header may claim any
	// address. Connections by a Unix socket are trusted, as the file's permissions say who may use it. None: everybody is, so
	// that the listener must not be reachable by anybody but the proxy.
	Trusted []netip.Prefix
	// RequireTLS refuses those who did not speak TLS with the proxy, RequireCertificate those of whom the proxy did not verify
	// a certificate. Only version 2 tells.
	RequireTLS, RequireCertificate bool
}

// Bounds of the header: a stranger who gets this far must not make the broker hold more.
const (
	maxProxyV1 = 107     // with CR LF, says the specification
	maxProxyV2 = 4 << 10 // Mosquitto takes 500 bytes; a proxy may pass the client's certificate on
)

// How a connection ends whose PROXY header is not taken.
var (
	errUntrusted     = errors.New("layer: PROXY: the connection does not come from a trusted proxy")
	errNotProxied    = errors.New("layer: PROXY: what came is no PROXY header of a version that is taken here; clients without a proxy need another port")
	errProxyTooLong  = errors.New("layer: PROXY: the header is too long")
	errNotTLS        = errors.New("layer: PROXY: the client did not connect using TLS")
	errNoCertificate = errors.New("layer: PROXY: the client did not provide a certificate that the proxy could verify")
)

// PROXY makes handlers whose connections begin with a PROXY header. It is taken off, and the connection bears the addresses
// that it tells. What follows passes without being copied.
func PROXY(o *Proxy, newHandler func(netloop.Conn) netloop.Handler) func(netloop.Conn) netloop.Handler {
	return func(below netloop.Conn) netloop.Handler {
		p := &proxied{Conn: below, o: o}
		p.above = newHandler(p)
		return p
	}
}

// proxied is one connection with a PROXY header. Until that has come its handler only keeps time.
type proxied struct {
	netloop.Conn
	o             *Proxy
	above         netloop.Handler
	remote, local net.Addr // nil: those of the socket
	commonName    string
	passed, over  bool
	itself        bool // the proxy speaks for itself, and must not say anything
}

func (p *proxied) Opened(loop int, now int64) {
	p.above.Opened(loop, now)
	if !p.o.trusts(p.Conn.RemoteAddr()) {
		p.over = true
		p.Close(violation{errUntrusted})
	}
}

func (p *proxied) Data(loop int, now int64, raw []byte) (n, need int, again bool) {
	switch {
	case p.passed && !p.itself:
		return p.above.Data(loop, now, raw)
	case p.over || len(raw) == 0:
		return len(raw), 0, false
	case p.passed:
		p.over = true
		p.Close(violation{errNotTLS})
		return len(raw), 0, false
	}
	n, err := p.header(raw)
	if err != nil {
		p.over = true
		p.Close(violation{err})
		return len(raw), 0, false
	}
	if p.passed = n > 0; !p.passed || n == len(raw) {
		return n, 0, false
	}
	used, need, again := p.Data(loop, now, raw[n:])
	return n + used, need, again
}

func (p *proxied) Deadline(loop int, now int64)          { p.above.Deadline(loop, now) }
func (p *proxied) Drained(loop int, now int64)           { p.above.Drained(loop, now) }
func (p *proxied) Closed(loop int, now int64, err error) { p.above.Closed(loop, now, err) }

// RemoteAddr is the address of the proxy's client.
func (p *proxied) RemoteAddr() net.Addr {
	if p.remote != nil {
		return p.remote
	}
	return p.Conn.RemoteAddr()
}

// LocalAddr is where the proxy's client has connected to.
func (p *proxied) LocalAddr() net.Addr {
	if p.local != nil {
		return p.local
	}
	return p.Conn.LocalAddr()
}

func (o *Proxy) trusts(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || len(o.Trusted) == 0 {
		return true
	}
	ip, _ := netip.AddrFromSlice(tcp.IP)
	ip = ip.Unmap()
	return slices.ContainsFunc(o.Trusted, func(n netip.Prefix) bool { return n.Contains(ip) })
}

// header takes the header. 0: it is incomplete.
func (p *proxied) header(raw []byte) (n int, err error) {
	any := !p.o.V1 && !p.o.V2
	switch {
	case (any || p.o.V2) && begins(raw, proxyproto.SIGV2):
		n, err = lengthV2(raw)
	case (any || p.o.V1) && begins(raw, proxyproto.SIGV1):
		n, err = lengthV1(raw)
	default:
		return 0, errNotProxied
	}
	if n == 0 || err != nil {
		return 0, err
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(raw[:n]), n))
	if err != nil {
		return 0, fmt.Errorf("layer: PROXY: the header of %s is wrong: %w", p.Conn.RemoteAddr(), err)
	}
	return n, p.take(h)
}

// begins reports whether p has sign at its front, as far as it goes.
func begins(p, sign []byte) bool {
	n := min(len(p), len(sign))
	return bytes.Equal(p[:n], sign[:n])
}

func lengthV1(raw []byte) (int, error) {
	end := bytes.IndexByte(raw[:min(len(raw), maxProxyV1)], '\n')
	if end < 0 && len(raw) >= maxProxyV1 {
		return 0, errProxyTooLong
	}
	return end + 1, nil
}

func lengthV2(raw []byte) (int, error) {
	const fixed = 16 // signature, command, family, length
	if len(raw) < fixed {
		return 0, nil
	}
	n := fixed + int(binary.BigEndian.Uint16(raw[fixed-2:]))
	switch {
	case n > maxProxyV2:
		return 0, errProxyTooLong
	case n > len(raw):
		return 0, nil
	}
	return n, nil
}

// take keeps what the header tells. A proxy that speaks for itself (LOCAL, UNKNOWN) has the socket's addresses. Mostly it only
// looks whether somebody is there: that is no offence where clients must have come by TLS.
func (p *proxied) take(h *proxyproto.Header) error {
	if h.Command.IsLocal() {
		p.itself = p.o.RequireTLS || p.o.RequireCertificate
		return nil
	}
	if !h.TransportProtocol.IsUnspec() {
		if h.TransportProtocol.IsDatagram() {
			return fmt.Errorf("layer: PROXY: %s forwards datagrams; MQTT needs a stream", p.Conn.RemoteAddr())
		}
		p.remote, p.local = h.SourceAddr, h.DestinationAddr
	}
	tlvs, err := h.TLVs()
	if err != nil {
		return fmt.Errorf("layer: PROXY: the header of %s is wrong: %w", p.Conn.RemoteAddr(), err)
	}
	ssl, found := tlvparse.FindSSL(tlvs)
	verified := found && ssl.ClientSSL() && ssl.ClientCertSess() && ssl.Verified()
	switch {
	case p.o.RequireTLS && !(found && ssl.ClientSSL()):
		return errNotTLS
	case p.o.RequireCertificate && !verified:
		return errNoCertificate
	case verified:
		p.commonName, _ = ssl.ClientCN()
	}
	return nil
}
