package attack

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Connections through TLS and WebSocket, put together here.

// schemes are those of the layers.
var schemes = []string{"mqtts", "ws", "wss"}

// layered is a broker that listens for all of them.
type layered struct {
	*process
	trust *x509.CertPool
}

// startLayered is start with a listener for each scheme.
func startLayered(t *testing.T, o options) layered {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "attack"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir, out := t.TempDir(), layered{trust: x509.NewCertPool()}
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out.trust.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	o.args = append(o.args, "--cert", filepath.Join(dir, "cert"), "--key", filepath.Join(dir, "key"), "--listen", "127.0.0.1:0")
	for _, scheme := range schemes {
		o.args = append(o.args, "--listen", scheme+"://127.0.0.1:0")
	}
	out.process = start(t, o)
	return out
}

// at is the address for a scheme.
func (p layered) at(scheme string) string {
	m := regexp.MustCompile(`\b` + scheme + `://(127\.0\.0\.1:[0-9]+)`).FindStringSubmatch(p.log.String())
	if m == nil {
		p.t.Fatalf("no address for %s in the log", scheme)
	}
	return m[1]
}

// socket opens a TCP connection for a scheme and sends nothing. A small one takes little that is not read.
func (p layered) socket(t *testing.T, scheme string, small bool) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", p.at(scheme), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if small {
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
	}
	return c
}

// secure makes the TLS handshake.
func (p layered) secure(t *testing.T, c net.Conn, version uint16) *tls.Conn {
	t.Helper()
	s := tls.Client(c, &tls.Config{RootCAs: p.trust, ServerName: "127.0.0.1", MaxVersion: version})
	_ = c.SetDeadline(time.Now().Add(patience))
	if err := s.Handshake(); err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Time{})
	return s
}

// through opens a connection and goes through the handshakes of its scheme. raw is what lies below: for ws the socket, for
// wss the TLS connection, for mqtts the socket.
func (p layered) through(t *testing.T, scheme string, small bool) (c *peer, raw net.Conn) {
	t.Helper()
	raw = p.socket(t, scheme, small)
	var top = raw
	if scheme != "ws" {
		top = p.secure(t, raw, 0)
	}
	if scheme != "mqtts" {
		raw = top
		top = upgrade(t, raw)
	}
	return &peer{t, top, bufio.NewReader(top)}, raw
}

// login goes as far as CONNACK.
func (p layered) login(t *testing.T, scheme string, small bool, l login) (c *peer, raw net.Conn) {
	t.Helper()
	c, raw = p.through(t, scheme, small)
	c.send(l.packet())
	if ack := c.expect(tConnack); ack[1] != 0 {
		t.Fatalf("CONNACK refuses %q with %#x", l.id, ack[1])
	}
	return c, raw
}

const upgradeRequest = "GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"

// upgrade makes the WebSocket handshake.
func upgrade(t *testing.T, c net.Conn) *webSocket {
	t.Helper()
	if _, err := io.WriteString(c, upgradeRequest); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	w := &webSocket{Conn: c, r: bufio.NewReaderSize(c, 4096)}
	for first := true; ; first = false {
		line, err := w.r.ReadString('\n')
		if err != nil || first && !strings.HasPrefix(line, "HTTP/1.1 101 ") {
			t.Fatalf("upgrade answered by %q, %v", line, err)
		}
		if line == "\r\n" {
			_ = c.SetReadDeadline(time.Time{})
			return w
		}
	}
}

// webSocket is a client's end: a write is a frame, reads pass over all that is not in a binary frame.
type webSocket struct {
	net.Conn
	r    *bufio.Reader
	left uint64
}

func (w *webSocket) Write(p []byte) (int, error) {
	if _, err := w.Conn.Write(wsFrame(0x82, p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *webSocket) Read(p []byte) (int, error) {
	for w.left == 0 {
		var h [2]byte
		if _, err := io.ReadFull(w.r, h[:]); err != nil {
			return 0, err
		}
		n := uint64(h[1])
		var ext [8]byte
		switch n {
		case 126:
			if _, err := io.ReadFull(w.r, ext[6:]); err != nil {
				return 0, err
			}
			n = binary.BigEndian.Uint64(ext[:])
		case 127:
			return 0, fmt.Errorf("a frame of more than 64 KiB from the broker")
		}
		if h[0]&0x0F == 2 {
			w.left = n
		} else if _, err := w.r.Discard(int(n)); err != nil {
			return 0, err
		}
	}
	n, err := w.r.Read(p[:min(uint64(len(p)), w.left)])
	w.left -= uint64(n)
	return n, err
}

// wsHead is the header of a masked frame, with a mask of zeroes, so that the payload stands as it is.
func wsHead(first byte, n uint64) []byte {
	b := []byte{first}
	switch {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n <= 0xFFFF:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), n)
	}
	return append(b, 0, 0, 0, 0)
}

func wsFrame(first byte, payload []byte) []byte {
	return append(wsHead(first, uint64(len(payload))), payload...)
}
