//go:build linux

package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/nightjar-mqtt/nightjar/internal/bench"
)

// transport is what lies between TCP and MQTT, and what a connection may cost with it.
type transport struct {
	listen string   // scheme
	args   []string // further arguments of the broker
	limit  int      // resident bytes
	files  map[string][]byte
	wrap   func(c net.Conn) (net.Conn, error)
}

// transports are by name. The budgets for TLS and WebSocket are what was measured, and a tenth more.
func transports() (map[string]*transport, error) {
	cert, err := bench.NewCertificate()
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: cert.Pool(), ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	secure := func(c net.Conn) (net.Conn, error) {
		t := tls.Client(c, config)
		return t, t.Handshake()
	}
	files := map[string][]byte{"cert.pem": cert.Cert, "key.pem": cert.Key}
	args := []string{"--cert", "cert.pem", "--key", "key.pem"}
	return map[string]*transport{
		"tcp": {listen: "mqtt", limit: 1000, wrap: func(c net.Conn) (net.Conn, error) { return c, nil }},
		"tls": {listen: "mqtts", limit: tlsBudget, args: args, files: files, wrap: secure},
		"ws":  {listen: "ws", limit: wsBudget, wrap: upgrade},
		"wss": {listen: "wss", limit: tlsBudget + wsBudget, args: args, files: files, wrap: func(c net.Conn) (net.Conn, error) {
			t, err := secure(c)
			if err != nil {
				return t, err
			}
			return upgrade(t)
		}},
	}, nil
}

const (
	tlsBudget = 10_000
	wsBudget  = 1500
)

// webSocket speaks just enough of RFC 6455: one masked frame for each Write, and no frames above 125 bytes either way.
type webSocket struct {
	net.Conn
	left int // bytes of the present frame still to come
}

func upgrade(c net.Conn) (net.Conn, error) {
	const request = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	if _, err := io.WriteString(c, request); err != nil {
		return c, err
	}
	answer, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil) // the broker sends nothing behind it unasked
	if err != nil {
		return c, err
	}
	_ = answer.Body.Close() // a 101 has none
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return c, fmt.Errorf("the broker answers %s", answer.Status)
	}
	return &webSocket{Conn: c}, nil
}

func (w *webSocket) Write(p []byte) (int, error) {
	frame := append([]byte{0x82, 0x80 | byte(len(p)), 0, 0, 0, 0}, p...) // masked with zeros
	_, err := w.Conn.Write(frame)
	return len(p), err
}

func (w *webSocket) Read(p []byte) (int, error) {
	for w.left == 0 {
		var head [2]byte
		if _, err := io.ReadFull(w.Conn, head[:]); err != nil {
			return 0, err
		}
		if head[0] != 0x82 || head[1] > 125 {
			return 0, fmt.Errorf("a frame that begins with % x", head)
		}
		w.left = int(head[1])
	}
	n, err := w.Conn.Read(p[:min(len(p), w.left)])
	w.left -= n
	return n, err
}
