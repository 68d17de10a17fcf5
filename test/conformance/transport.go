package conformance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"regexp"
	"sync"
	"time"
)

// Transport is what MQTT travels in, as the scheme of a broker's URL.
type Transport string

// The transports; the zero value is TCP.
const (
	OverTCP Transport = ""
	OverTLS Transport = "mqtts"
	OverWS  Transport = "ws"
	OverWSS Transport = "wss"
)

func (tr Transport) secure() bool    { return tr == OverTLS || tr == OverWSS }
func (tr Transport) webSocket() bool { return tr == OverWS || tr == OverWSS }

// over is for names of targets.
func (tr Transport) over() string {
	if tr == OverTCP {
		return ""
	}
	return " over " + string(tr)
}

// dial opens a connection to a broker's address and goes through the handshakes.
func (tr Transport) dial(addr string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	if tr.secure() {
		id, err := testIdentity()
		if err != nil {
			return nil, err
		}
		secured := tls.Client(conn, &tls.Config{RootCAs: id.pool, ServerName: "127.0.0.1"})
		_ = conn.SetDeadline(time.Now().Add(patience))
		if err := secured.Handshake(); err != nil {
			return nil, fmt.Errorf("TLS with %s: %w", addr, err)
		}
		_ = conn.SetDeadline(time.Time{})
		conn = abrupt{secured}
	}
	if tr.webSocket() {
		return openWebSocket(conn, "mqtt")
	}
	return conn, nil
}

// abrupt is a TLS connection whose end without close_notify is an end like another: MQTT's packets tell what is whole.
type abrupt struct{ *tls.Conn }

func (a abrupt) Read(p []byte) (int, error) {
	n, err := a.Conn.Read(p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// closeWrite ends the sending direction of the outermost layer that has one; WebSocket has none but TCP's or TLS's.
func closeWrite(c net.Conn) error {
	switch c := c.(type) {
	case *webSocket:
		return closeWrite(c.Conn)
	case interface{ CloseWrite() error }:
		return c.CloseWrite()
	}
	return fmt.Errorf("%T has no CloseWrite", c)
}

// A dialer is a broker that clients reach otherwise than by TCP to its Addr.
type dialer interface{ Dial() (net.Conn, error) }

// A webSocketListener is a broker that may listen for WebSocket connections besides; "" if it does not.
type webSocketListener interface{ WebSocketAddr() string }

// DialWebSocket opens a WebSocket that offers the sub-protocols; err is for a case that expects to be
// refused. MQTT may follow on the peer.
func (t *T) DialWebSocket(protocols ...string) (*Peer, *webSocket, error) {
	l, ok := t.broker.(webSocketListener)
	if !ok || l.WebSocketAddr() == "" {
		t.Skipf("%s has no address for WebSocket", t.target.Name())
	}
	conn, err := net.DialTimeout("tcp", l.WebSocketAddr(), patience)
	if err != nil {
		t.Fatalf("dial %s: %v", l.WebSocketAddr(), err)
	}
	w, err := openWebSocket(conn, protocols...)
	if err != nil {
		t.Logf("upgrade: %v", err)
		_ = conn.Close()
		return nil, nil, err
	}
	return t.peer(w), w, nil
}

// credentials are the certificate of the brokers under test, which is its own authority.
type credentials struct {
	pair      tls.Certificate
	pool      *x509.CertPool
	cert, key []byte // PEM
}

var testIdentity = sync.OnceValues(func() (*credentials, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "conformance"}, NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	id := &credentials{
		pool: x509.NewCertPool(),
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
	id.pool.AppendCertsFromPEM(id.cert)
	id.pair, err = tls.X509KeyPair(id.cert, id.key)
	return id, err
})

// schemeAddr finds in nightjar's output the address for a scheme.
func schemeAddr(output string, tr Transport) string {
	if m := regexp.MustCompile(`\b` + string(tr) + `://(127\.0\.0\.1:[0-9]+)`).FindStringSubmatch(output); m != nil {
		return m[1]
	}
	return ""
}
