package layer

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// unit is what the test's protocol consists of: units of this many bytes, echoed whole.
const unit = 1000

// echo consumes whole units only, and pauses and stops for fairness now and then, as a protocol might.
type echo struct {
	c      netloop.Conn
	calls  int
	closed chan error
}

func (e *echo) Opened(int, int64)   {}
func (e *echo) Deadline(int, int64) {}
func (e *echo) Drained(int, int64)  {}
func (e *echo) Closed(_ int, _ int64, err error) {
	if e.closed != nil {
		e.closed <- err
	}
}
func (e *echo) Data(_ int, _ int64, p []byte) (n, need int, again bool) {
	e.calls++
	for len(p)-n >= unit {
		if bytes.HasPrefix(p[n:], []byte("bye")) {
			_, _ = e.c.Out().Append(p[n : n+unit])
			e.c.CloseAfterFlush(io.ErrClosedPipe, 2*time.Second)
			return len(p), 0, false
		}
		_, _ = e.c.Out().Append(p[n : n+unit])
		n += unit
		if n/unit%7 == 6 && len(p)-n >= unit {
			again = true
			break
		}
	}
	e.c.Flush()
	if e.calls%5 == 0 {
		e.c.Pause()
		e.c.Post(func(int, int64) { e.c.Resume() })
	}
	return n, unit, again
}

// certificate makes a self-signed one for 127.0.0.1.
func certificate(t *testing.T) (server tls.Certificate, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// stream is the client's end as bytes.
type stream struct {
	io.Reader
	io.Writer
	net.Conn
}

func (s stream) Read(p []byte) (int, error)  { return s.Reader.Read(p) }
func (s stream) Write(p []byte) (int, error) { return s.Writer.Write(p) }

// wsWriter sends each write as one or more binary frames, cut at odd places.
type wsWriter struct{ c net.Conn }

func (w wsWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), 1+mathrand.IntN(70_000))
		f := ws.MaskFrameInPlace(ws.NewBinaryFrame(bytes.Clone(rest[:n])))
		if err := ws.WriteFrame(w.c, f); err != nil {
			return 0, err
		}
		if mathrand.IntN(4) == 0 {
			if err := ws.WriteFrame(w.c, ws.MaskFrameInPlace(ws.NewPingFrame([]byte("p")))); err != nil {
				return 0, err
			}
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// wsReader gives the payload of binary frames as a stream.
type wsReader struct {
	c    net.Conn
	rest []byte
}

func (r *wsReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		f, err := ws.ReadFrame(r.c)
		if err != nil {
			return 0, err
		}
		switch f.Header.OpCode {
		case ws.OpBinary:
			r.rest = f.Payload
		case ws.OpClose:
			return 0, io.EOF
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

type setup struct {
	name string
	wrap func(*Shared, *Shared, *tls.Config, func(netloop.Conn) netloop.Handler) func(netloop.Conn) netloop.Handler
	dial func(*testing.T, string, *x509.CertPool) stream
}

func dialTLS(t *testing.T, address string, pool *x509.CertPool) net.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func upgradeWS(t *testing.T, c net.Conn) stream {
	t.Helper()
	d := ws.Dialer{Protocols: []string{"mqtt"}, NetDial: func(context.Context, string, string) (net.Conn, error) { return c, nil }}
	_, br, hs, err := d.Dial(context.Background(), "ws://localhost/mqtt")
	if err != nil {
		t.Fatal(err)
	}
	if br != nil || hs.Protocol != "mqtt" {
		t.Fatalf("subprotocol %q, want mqtt [MQTT-6.0.0-4]", hs.Protocol)
	}
	return stream{&wsReader{c: c}, wsWriter{c}, c}
}

var setups = []setup{
	{"tls", func(a, _ *Shared, cfg *tls.Config, h func(netloop.Conn) netloop.Handler) func(netloop.Conn) netloop.Handler {
		return TLS(a, cfg, false, h)
	}, func(t *testing.T, address string, pool *x509.CertPool) stream {
		c := dialTLS(t, address, pool)
		return stream{c, c, c}
	}},
	{"ws", func(_, b *Shared, _ *tls.Config, h func(netloop.Conn) netloop.Handler) func(netloop.Conn) netloop.Handler {
		return WebSocket(b, Requests{}, h)
	}, func(t *testing.T, address string, _ *x509.CertPool) stream {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return upgradeWS(t, c)
	}},
	{"wss", func(a, b *Shared, cfg *tls.Config, h func(netloop.Conn) netloop.Handler) func(netloop.Conn) netloop.Handler {
		return TLS(a, cfg, false, WebSocket(b, Requests{}, h))
	}, func(t *testing.T, address string, pool *x509.CertPool) stream {
		return upgradeWS(t, dialTLS(t, address, pool))
	}},
}

// serve starts an engine with one listener.
func serve(t *testing.T, engine string, handler func(e netloop.Engine, budget *outbox.Budget) func(netloop.Conn) netloop.Handler) (address string, budget *outbox.Budget) {
	t.Helper()
	budget = new(outbox.Budget)
	e, err := netloop.New(netloop.Options{Engine: engine, Loops: 2, Budget: budget})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = e.Serve(l, handler(e, budget)) }()
	t.Cleanup(func() {
		_ = l.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), budget
}

func each(t *testing.T, fn func(t *testing.T, s setup, start func(func(netloop.Conn) netloop.Handler) (stream, *outbox.Budget))) {
	for _, engine := range netloop.Engines() {
		for _, s := range setups {
			t.Run(engine+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				cert, pool := certificate(t)
				fn(t, s, func(h func(netloop.Conn) netloop.Handler) (stream, *outbox.Budget) {
					address, budget := serve(t, engine, func(e netloop.Engine, b *outbox.Budget) func(netloop.Conn) netloop.Handler {
						return s.wrap(NewShared(e.Loops(), b), NewShared(e.Loops(), b), &tls.Config{Certificates: []tls.Certificate{cert}}, h)
					})
					c := s.dial(t, address, pool)
					t.Cleanup(func() { _ = c.Conn.Close() })
					_ = c.Conn.SetDeadline(time.Now().Add(30 * time.Second))
					return c, budget
				})
			})
		}
	}
}

// TestEcho sends megabytes through each layer while the reader is slower than the writer: all of it comes back in order,
// and nothing stays charged to the budget.
func TestEcho(t *testing.T) {
	each(t, func(t *testing.T, _ setup, start func(func(netloop.Conn) netloop.Handler) (stream, *outbox.Budget)) {
		closed := make(chan error, 1)
		c, budget := start(func(nc netloop.Conn) netloop.Handler { return &echo{c: nc, closed: closed} })
		sent := make([]byte, 4000*unit)
		for i := range sent {
			sent[i] = byte(i * 7 / 3)
		}
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			defer wg.Done()
			for rest := sent; len(rest) > 0; {
				n := min(len(rest), 1+mathrand.IntN(200_000))
				if _, err := c.Write(rest[:n]); err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
		}()
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if !bytes.Equal(got, sent) {
			t.Fatal("what came back differs from what was sent")
		}
		_ = c.Conn.Close()
		if err := <-closed; err == nil {
			t.Error("closed without a reason")
		}
		// The handler hears of the end before the last words are written.
		waitFor(t, "everything to be given back to the budget", func() bool { return budget.Used() == 0 })
	})
}

// TestLastBytes: what was appended before CloseAfterFlush arrives, then the end.
func TestLastBytes(t *testing.T) {
	each(t, func(t *testing.T, _ setup, start func(func(netloop.Conn) netloop.Handler) (stream, *outbox.Budget)) {
		closed := make(chan error, 1)
		c, _ := start(func(nc netloop.Conn) netloop.Handler { return &echo{c: nc, closed: closed} })
		want := append([]byte("bye"), bytes.Repeat([]byte("x"), unit-3)...)
		if _, err := c.Write(want); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %d bytes, %v; want %d and the end", len(got), err, len(want))
		}
		_ = c.Conn.Close()
		if err := <-closed; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("closed with %v", err)
		}
	})
}

// TestWebSocketRefusals: frames that MQTT or RFC 6455 do not allow end the connection with a close frame.
func TestWebSocketRefusals(t *testing.T) {
	masked := func(f ws.Frame) []byte { return ws.MustCompileFrame(ws.MaskFrame(f)) }
	long := ws.NewPingFrame(make([]byte, 126))
	for _, tt := range []struct {
		name  string
		frame []byte
		code  ws.StatusCode
	}{
		{"text", masked(ws.NewTextFrame([]byte("hello"))), ws.StatusUnsupportedData},
		{"not masked", ws.MustCompileFrame(ws.NewBinaryFrame([]byte("x"))), ws.StatusProtocolError},
		{"continuation of nothing", masked(ws.NewFrame(ws.OpContinuation, true, []byte("x"))), ws.StatusProtocolError},
		{"long ping", masked(long), ws.StatusProtocolError},
		{"reserved opcode", masked(ws.NewFrame(3, true, nil)), ws.StatusProtocolError},
		{"close", masked(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))), ws.StatusNormalClosure},
	} {
		t.Run(tt.name, func(t *testing.T) {
			address, _ := serve(t, "", func(e netloop.Engine, b *outbox.Budget) func(netloop.Conn) netloop.Handler {
				return WebSocket(NewShared(e.Loops(), b), Requests{}, func(c netloop.Conn) netloop.Handler { return &echo{c: c} })
			})
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			upgradeWS(t, c)
			if _, err := c.Write(tt.frame); err != nil {
				t.Fatal(err)
			}
			_, _, err = wsutil.ReadServerData(c)
			var closed wsutil.ClosedError
			if !errors.As(err, &closed) || closed.Code != tt.code {
				t.Errorf("got %v, want a close frame with %d", err, tt.code)
			}
		})
	}
}

// TestWebSocketOrigins: a page from elsewhere is refused with 403, a request that is none with an error, and both are closed.
func TestWebSocketOrigins(t *testing.T) {
	address, _ := serve(t, "", func(e netloop.Engine, b *outbox.Budget) func(netloop.Conn) netloop.Handler {
		return WebSocket(NewShared(e.Loops(), b), Requests{Origins: []string{"https://good.example"}}, func(c netloop.Conn) netloop.Handler { return &echo{c: c} })
	})
	request := "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n"
	for _, tt := range []struct{ name, request, want string }{
		{"good", request + "Origin: https://good.example\r\n\r\n", "HTTP/1.1 101"},
		{"bad", request + "Origin: https://bad.example\r\n\r\n", "HTTP/1.1 403"},
		{"plain", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 4"},
		{"long", "GET / HTTP/1.1\r\nX: " + strings.Repeat("y", maxRequest) + "\r\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.WriteString(c, tt.request); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(tt.want))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != tt.want {
				t.Fatalf("got %q, %v; want %q", got, err, tt.want)
			}
			if tt.name != "good" {
				if _, err := io.ReadAll(c); err != nil {
					t.Errorf("not closed in good order: %v", err)
				}
			}
		})
	}
}

// TestPlainRequests: what wants no WebSocket is answered and closed, while WebSockets open as before.
func TestPlainRequests(t *testing.T) {
	address, _ := serve(t, "", func(e netloop.Engine, b *outbox.Budget) func(netloop.Conn) netloop.Handler {
		return WebSocket(NewShared(e.Loops(), b), Requests{Plain: func(request []byte) []byte {
			return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(request), request)
		}}, func(c netloop.Conn) netloop.Handler { return &echo{c: c} })
	})
	for request, want := range map[string]string{
		"GET /a HTTP/1.1\r\nHost: x\r\n\r\nmore":                                           "HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n": "HTTP/1.1 4",
	} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(got), want) || strings.Contains(want, "200") && string(got) != want {
			t.Errorf("%q: got %q, %v", request, got, err)
		}
	}
}

// TestHandshakeFloods: peers that never finish the TLS handshake, or send garbage, do not keep others from theirs.
func TestHandshakeFloods(t *testing.T) {
	cert, pool := certificate(t)
	address, _ := serve(t, "", func(e netloop.Engine, b *outbox.Budget) func(netloop.Conn) netloop.Handler {
		return TLS(NewShared(e.Loops(), b), &tls.Config{Certificates: []tls.Certificate{cert}}, false, func(c netloop.Conn) netloop.Handler { return &echo{c: c} })
	})
	for i := range 100 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			_, _ = c.Write([]byte{22, 3, 1}) // the beginning of a ClientHello, and nothing more
		} else {
			_, _ = c.Write([]byte("\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02ab"))
		}
	}
	c := dialTLS(t, address, pool)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write(make([]byte, unit)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, unit)); err != nil {
		t.Fatal(err)
	}
}
