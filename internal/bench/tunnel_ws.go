package bench

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// wsCodec is a WebSocket's client side (RFC 6455): each flush is one binary frame, masked.
type wsCodec struct {
	t     *tunnel
	host  string
	path  string
	proto string
	key   string
	up    bool
	mask  [4]byte // one for the connection: the load is nothing that could be made to look like HTTP
	left  uint64  // bytes of the present frame still to come
	frame []byte  // scratch
}

const (
	wsContinuation = 0
	wsBinary       = 2
	wsClose        = 8
	wsPing         = 9
	wsPong         = 10
	wsFin          = 0x80
	wsMasked       = 0x80
	maxWSResponse  = 8 << 10
	wsGUID         = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 §1.3
)

func newWSCodec(o *Options, id string) *wsCodec {
	c := &wsCodec{host: o.Address, path: o.Path, proto: "mqtt"}
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails, says its documentation
	_, _ = rand.Read(c.mask[:])
	c.key = base64.StdEncoding.EncodeToString(nonce[:])
	return c
}

func (c *wsCodec) start(t *tunnel) {
	c.t = t
	request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: %s\r\n\r\n", c.path, c.host, c.key, c.proto)
	t.Conn.Out().Append([]byte(request))
	t.Conn.Flush()
}

func (c *wsCodec) ready() bool  { return c.up }
func (c *wsCodec) closed() bool { return false }

func (c *wsCodec) decode(raw, dst []byte) (n int, clear []byte, err error) {
	if !c.up {
		if n, err = c.answer(raw); n == 0 || err != nil {
			return n, dst, err
		}
		c.up = true
	}
	for n < len(raw) {
		if c.left > 0 {
			part := raw[n:min(len(raw), n+int(min(c.left, uint64(len(raw)))))]
			dst = append(dst, part...)
			c.left -= uint64(len(part))
			n += len(part)
			continue
		}
		used, err := c.header(raw[n:])
		if err != nil {
			return len(raw), dst, err
		}
		if used == 0 {
			break
		}
		n += used
	}
	return n, dst, nil
}

// header takes the header of a frame, and a control frame whole. 0: it is incomplete.
func (c *wsCodec) header(raw []byte) (n int, err error) {
	if len(raw) < 2 {
		return 0, nil
	}
	size, n := uint64(raw[1]), 2
	switch {
	case size >= wsMasked:
		return 0, errors.New("WebSocket: the broker sent a frame that is masked (RFC 6455 §5.1)")
	case size == 126 && len(raw) >= 4:
		size, n = uint64(binary.BigEndian.Uint16(raw[2:])), 4
	case size == 127 && len(raw) >= 10:
		size, n = binary.BigEndian.Uint64(raw[2:]), 10
	case size >= 126:
		return 0, nil
	}
	switch op := raw[0] & 15; op {
	case wsContinuation, wsBinary:
		c.left = size
		return n, nil
	case wsPing, wsPong, wsClose:
		whole := n + int(size&0x7F)
		if len(raw) < whole {
			return 0, nil
		}
		if op == wsClose {
			return whole, io.EOF
		}
		if op == wsPing {
			c.put(wsPong, [][]byte{raw[n:whole]})
		}
		return whole, nil
	default:
		return 0, fmt.Errorf("WebSocket: the broker sent a frame with opcode %d", op)
	}
}

// answer takes the response to the request. 0: it is incomplete.
func (c *wsCodec) answer(raw []byte) (n int, err error) {
	end := bytes.Index(raw, []byte("\r\n\r\n"))
	if end < 0 {
		if len(raw) > maxWSResponse {
			return 0, errors.New("WebSocket: the broker's answer to the request has no end")
		}
		return 0, nil
	}
	lines := strings.Split(string(raw[:end]), "\r\n")
	if _, status, _ := strings.Cut(lines[0], " "); !strings.HasPrefix(status, "101") {
		return 0, fmt.Errorf("WebSocket: the broker answers %q to a request for %s", lines[0], c.path)
	}
	sum := sha1.Sum([]byte(c.key + wsGUID))
	accepted, chosen := false, ""
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); strings.ToLower(name) {
		case "sec-websocket-accept":
			accepted = value == base64.StdEncoding.EncodeToString(sum[:])
		case "sec-websocket-protocol":
			chosen = value
		}
	}
	if !accepted {
		return 0, errors.New("WebSocket: the broker's answer has not the right Sec-WebSocket-Accept (RFC 6455 §4.2.2)")
	}
	if chosen != c.proto {
		return 0, fmt.Errorf("WebSocket: the broker chose the subprotocol %q instead of %q", chosen, c.proto)
	}
	return end + 4, nil
}

func (c *wsCodec) encode(clear [][]byte) error {
	c.put(wsBinary, clear)
	return nil
}

// put appends one masked frame to the outbox below.
func (c *wsCodec) put(op byte, clear [][]byte) {
	size := 0
	for _, b := range clear {
		size += len(b)
	}
	f := append(c.frame[:0], wsFin|op)
	switch {
	case size < 126:
		f = append(f, wsMasked|byte(size))
	case size <= 0xFFFF:
		f = binary.BigEndian.AppendUint16(append(f, wsMasked|126), uint16(size))
	default:
		f = binary.BigEndian.AppendUint64(append(f, wsMasked|127), uint64(size))
	}
	f = append(f, c.mask[:]...)
	start := len(f)
	for _, b := range clear {
		f = append(f, b...)
	}
	cipher(f[start:], c.mask)
	c.t.Conn.Out().Append(f) // fails only when the connection is gone
	if c.frame = f[:0]; cap(f) > keepFrame {
		c.frame = nil
	}
}

// keepFrame bounds what a connection keeps for the next frame.
const keepFrame = 4 << 10

// cipher masks p, eight bytes at a time.
func cipher(p []byte, mask [4]byte) {
	m := uint64(binary.LittleEndian.Uint32(mask[:]))
	m |= m << 32
	for ; len(p) >= 8; p = p[8:] {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^m)
	}
	for i := range p {
		p[i] ^= mask[i&3]
	}
}

func (c *wsCodec) finish() { c.put(wsClose, [][]byte{{0x03, 0xE8}}) } // 1000: normal
