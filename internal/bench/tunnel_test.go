package bench

import (
	"bytes"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// secured makes a server's configuration and a client's that trusts it.
func secured(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	c, err := NewCertificate()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(c.Cert, c.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, &tls.Config{RootCAs: c.Pool(), MinVersion: tls.VersionTLS12}
}

// TestTunnels runs traffic of all kinds through TLS, WebSocket and both.
func TestTunnels(t *testing.T) {
	server, trusting := secured(t)
	for _, transport := range []broker.Transport{{TLS: server}, {WebSocket: true}, {TLS: server, WebSocket: true}} {
		through := func(o *Options) {
			o.WebSocket = transport.WebSocket
			if transport.TLS != nil {
				o.TLS = trusting
			}
		}
		address := startBrokerWith(t, transport)
		for name, change := range map[string]func(o *Options){
			"small":         func(o *Options) { o.Clients, o.QoS, o.Burst, o.Version = 3, 1, 8, mqtt.V5 },
			"QoS 2":         func(o *Options) { o.QoS = 2 },
			"large payload": func(o *Options) { o.Payload = 300_000 },
			"rate":          func(o *Options) { o.Clients, o.Rate, o.KeepAlive = 4, 2000, 60 },
		} {
			rep, err := Run(t.Context(), short(address, Pairs, func(o *Options) { through(o); change(o) }))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			checkTraffic(t, rep)
		}
		rep, err := Run(t.Context(), short(address, Connect, func(o *Options) { through(o); o.Parallel = 4 }))
		if err != nil {
			t.Fatal(err)
		}
		if rep.Connect.Done == 0 || rep.Connect.Failed != 0 {
			t.Errorf("%s: %+v", rep.Options.Transport, rep.Connect)
		}
	}
}

// TestTunnelRefused checks that a handshake which fails says why.
func TestTunnelRefused(t *testing.T) {
	server, _ := secured(t)
	plain, secure := startBroker(t), startBrokerWith(t, broker.Transport{TLS: server})
	for _, tt := range []struct {
		name, address, want string
		change              func(o *Options)
	}{
		{"a certificate nobody vouches for", secure, "certificate", func(o *Options) { o.TLS = &tls.Config{MinVersion: tls.VersionTLS12} }},
		{"TLS to a plain port", plain, "handshake", func(o *Options) { o.TLS = &tls.Config{MinVersion: tls.VersionTLS12} }},
		{"WebSocket to a plain port", plain, "handshake", func(o *Options) { o.WebSocket = true }},
		{"an HTTP server", answering(t, "HTTP/1.1 404 Not Found\r\n\r\n"), "404", func(o *Options) { o.WebSocket = true }},
		{"a wrong key", answering(t, "HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: x\r\n\r\n"), "Accept", func(o *Options) { o.WebSocket = true }},
	} {
		_, err := Run(t.Context(), short(tt.address, Pairs, tt.change))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; it should say %q", tt.name, err, tt.want)
		}
	}
}

// answering is a server that says one thing to everybody who sends something.
func answering(t *testing.T, what string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := c.Read(make([]byte, 1000)); err == nil {
				_, _ = c.Write([]byte(what))
			}
		}
	}()
	return l.Addr().String()
}

// TestWebSocketFrames decodes frames that come in pieces of every size, and compares the mask with the plain way.
func TestWebSocketFrames(t *testing.T) {
	frames := []byte{0x82, 3, 'a', 'b', 'c', 0x8A, 1, '?', 0x02, 126, 0, 2, 'd', 'e', 0x80, 127, 0, 0, 0, 0, 0, 0, 0, 1, 'f'}
	for piece := 1; piece <= len(frames); piece++ {
		c := &wsCodec{up: true}
		var clear, rest []byte
		for at := 0; at < len(frames); at += piece {
			rest = append(rest, frames[at:min(at+piece, len(frames))]...)
			n, out, err := c.decode(rest, clear)
			if err != nil {
				t.Fatal(err)
			}
			clear, rest = out, rest[n:]
		}
		if string(clear) != "abcdef" || len(rest) != 0 {
			t.Errorf("in pieces of %d bytes: %q, %d left", piece, clear, len(rest))
		}
	}
	for n := range 40 {
		mask := [4]byte{1, 2, 3, 0xFF}
		p := make([]byte, n)
		want := make([]byte, n)
		for i := range p {
			p[i] = byte(rand.Uint32())
			want[i] = p[i] ^ mask[i%4]
		}
		if cipher(p, mask); !bytes.Equal(p, want) {
			t.Errorf("%d bytes are masked wrongly", n)
		}
	}
}
