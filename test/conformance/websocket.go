package conformance

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// WebSocket opcodes (RFC 6455 §5.2).
const (
	wsContinuation = 0x0
	wsText         = 0x1
	wsBinary       = 0x2
	wsClose        = 0x8
	wsPing         = 0x9
	wsPong         = 0xA
)

// webSocket is the client's end of a WebSocket: Read gives the payload of binary frames as a stream, Write sends binary
// frames. It takes nothing from the server that RFC 6455 forbids servers. It is for one reader and one writer.
type webSocket struct {
	net.Conn
	r        *bufio.Reader
	protocol string // the sub-protocol that the server selected
	left     int64  // bytes of the present frame not yet given to the caller
	started  bool   // a message is under way
	closed   []byte // payload of the server's close frame; nil before it came
	pongs    chan []byte
	cut      int // Write cuts what it is given into frames, by this
}

// upgradeRefused is the server's answer when it opens no WebSocket.
type upgradeRefused struct {
	status string
	err    error // why there is no answer
}

func (u upgradeRefused) Error() string { return "the server answers the upgrade with " + u.status }
func (u upgradeRefused) Unwrap() error { return u.err }

// openWebSocket makes the opening handshake (RFC 6455 §4.1) on c, offering the sub-protocols.
func openWebSocket(c net.Conn, protocols ...string) (*webSocket, error) {
	nonce := make([]byte, 16)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	key := base64.StdEncoding.EncodeToString(nonce)
	request := "GET /mqtt HTTP/1.1\r\nHost: " + c.RemoteAddr().String() + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: " + key + "\r\nSec-WebSocket-Version: 13\r\n"
	if len(protocols) > 0 {
		request += "Sec-WebSocket-Protocol: " + strings.Join(protocols, ", ") + "\r\n"
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	defer func() { _ = c.SetDeadline(time.Time{}) }()
	if _, err := io.WriteString(c, request+"\r\n"); err != nil {
		return nil, err
	}
	w := &webSocket{Conn: c, r: bufio.NewReader(c), pongs: make(chan []byte, 100)}
	response, err := http.ReadResponse(w.r, nil) //nolint:bodyclose // what follows a 101 is frames
	if err != nil {
		return nil, upgradeRefused{"a closed connection: " + err.Error(), err}
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		return nil, upgradeRefused{response.Status, nil}
	}
	h := response.Header
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	switch {
	case !strings.EqualFold(h.Get("Upgrade"), "websocket") || !strings.EqualFold(h.Get("Connection"), "upgrade"):
		return nil, fmt.Errorf("the upgrade's answer lacks its Upgrade or Connection header: %v", h)
	case h.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]):
		return nil, fmt.Errorf("Sec-WebSocket-Accept is %q, which does not answer the key", h.Get("Sec-WebSocket-Accept"))
	case h.Get("Sec-WebSocket-Extensions") != "":
		return nil, fmt.Errorf("the server uses extensions that nobody offered: %s", h.Get("Sec-WebSocket-Extensions"))
	}
	w.protocol = h.Get("Sec-WebSocket-Protocol")
	return w, nil
}

// frame sends one masked frame.
func (w *webSocket) frame(opcode byte, fin bool, payload []byte) error {
	_, err := w.Conn.Write(wsFrame(opcode, fin, payload))
	return err
}

// wsFrame encodes one masked frame (RFC 6455 §5.2).
func wsFrame(opcode byte, fin bool, payload []byte) []byte {
	if fin {
		opcode |= 0x80
	}
	b := []byte{opcode}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n <= 0xFFFF:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{0x37, 0xFA, 0x21, 0x3D}
	b = append(b, mask[:]...)
	for i, p := range payload {
		b = append(b, p^mask[i%4])
	}
	return b
}

// Write sends p as binary messages: the first time whole, then in two messages, then in three fragments, and so on, since
// packets and frames need not be aligned [MQTT-6.0.0-2].
func (w *webSocket) Write(p []byte) (int, error) {
	w.cut++
	at := [2]int{len(p), len(p)}
	switch w.cut % 3 {
	case 2:
		at[0] = len(p) * (w.cut % 5) / 5
	case 0:
		at = [2]int{len(p) / 3, 2 * len(p) / 3}
	}
	var out bytes.Buffer
	if w.cut%3 == 0 {
		out.Write(wsFrame(wsBinary, false, p[:at[0]]))
		out.Write(wsFrame(wsContinuation, false, p[at[0]:at[1]]))
		out.Write(wsFrame(wsContinuation, true, p[at[1]:]))
	} else {
		out.Write(wsFrame(wsBinary, true, p[:at[0]]))
		if at[0] < len(p) {
			out.Write(wsFrame(wsBinary, true, p[at[0]:]))
		}
	}
	if _, err := w.Conn.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Read takes frames until one has data. After the server's close frame it is at the end.
func (w *webSocket) Read(p []byte) (int, error) {
	for w.left == 0 {
		if w.closed != nil {
			return 0, io.EOF
		}
		if err := w.header(); err != nil {
			return 0, err
		}
	}
	n, err := w.r.Read(p[:min(int64(len(p)), w.left)])
	w.left -= int64(n)
	return n, err
}

// header takes one frame's header, and a control frame whole.
func (w *webSocket) header() error {
	var h [2]byte
	if _, err := io.ReadFull(w.r, h[:]); err != nil {
		return err
	}
	fin, opcode, n := h[0]&0x80 != 0, h[0]&0x0F, int64(h[1]&0x7F)
	switch {
	case h[0]&0x70 != 0:
		return badPacket("a WebSocket frame with reserved bits")
	case h[1]&0x80 != 0:
		return badPacket("a masked WebSocket frame from the server (RFC 6455 §5.1)")
	case opcode >= 8 && (!fin || n > 125):
		return badPacket("a WebSocket control frame that is long or in fragments (RFC 6455 §5.5)")
	}
	var ext [8]byte
	var err error
	switch n {
	case 126:
		_, err = io.ReadFull(w.r, ext[6:])
		n = int64(binary.BigEndian.Uint64(ext[:]))
	case 127:
		_, err = io.ReadFull(w.r, ext[:])
		n = int64(binary.BigEndian.Uint64(ext[:]))
	}
	if err != nil {
		return err
	}
	switch {
	case opcode >= 8:
		return w.control(opcode, n)
	case opcode != wsBinary && opcode != wsContinuation:
		return badPacket(fmt.Sprintf("a WebSocket frame with opcode %d; MQTT goes in binary frames [MQTT-6.0.0-1]", opcode))
	case (opcode == wsContinuation) != w.started:
		return badPacket("WebSocket fragments out of order (RFC 6455 §5.4)")
	}
	w.started, w.left = !fin, n
	return nil
}

func (w *webSocket) control(opcode byte, n int64) error {
	payload := make([]byte, n)
	if _, err := io.ReadFull(w.r, payload); err != nil {
		return err
	}
	switch opcode {
	case wsClose:
		w.closed = payload
	case wsPing:
		return w.frame(wsPong, true, payload)
	case wsPong:
		select {
		case w.pongs <- payload:
		default:
			return errors.New("more than 100 pongs that nobody looked at")
		}
	default:
		return badPacket(fmt.Sprintf("a WebSocket frame with opcode %d", opcode))
	}
	return nil
}
