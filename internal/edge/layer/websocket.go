package layer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/gobwas/ws"

	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// Requests says which HTTP requests are taken. The zero value takes those that open a WebSocket, from anywhere.
type Requests struct {
	// Origins are the values of the Origin header that are taken; none: any.
	Origins []string
	// Plain answers requests that do not want a WebSocket, with a whole HTTP response, after which the connection is closed;
	// nil: they are refused. It is called on a goroutine of its own and may take its time.
	Plain func(request []byte) (response []byte)
}

// WebSocket makes handlers whose connections carry MQTT in binary WebSocket frames (RFC 6455; MQTT 5 §6).
func WebSocket(sh *Shared, r Requests, newHandler func(netloop.Conn) netloop.Handler) func(netloop.Conn) netloop.Handler {
	return wrap(sh, func() codec { return &wsCodec{requests: r} }, newHandler)
}

// maxRequest bounds the HTTP request that opens a WebSocket.
const maxRequest = 8 << 10

// maxWSFrame bounds what one frame to the client carries, so that its header can be written before its end is known.
const maxWSFrame = 0xFFFF

type wsCodec struct {
	l        *conn
	requests Requests
	up       bool
	rest     int   // bytes to send of a packet that is larger than a frame; for the goroutine that encodes
	left     int64 // payload bytes of the present frame still to come
	mask     [4]byte
	at       int  // place in the mask
	started  bool // a message is under way: only continuation frames may follow
	mute     bool // no close frame is due: an HTTP answer was given, or it is sent
	// last is the close frame that is due when the rest is sent; nil: the usual one.
	last *ws.Frame
	// owed is the payload of the last ping that came while much waited for the peer; only it is answered (RFC 6455 §5.5.3).
	owed []byte
}

func (c *wsCodec) start(l *conn) { c.l = l }
func (c *wsCodec) ready() bool   { return true } // nothing is sent before CONNECT came, and that comes after the handshake
func (c *wsCodec) closed()       {}

func (c *wsCodec) drained() {
	if c.owed != nil {
		c.put(ws.NewPongFrame(c.owed))
		c.owed = nil
	}
}

func (c *wsCodec) decode(raw, dst []byte) (n int, clear []byte, err error) {
	if !c.up {
		if n, err = c.upgrade(raw); n == 0 || err != nil {
			return n, dst, err
		}
		if !c.up { // it is being answered
			return len(raw), dst, nil
		}
	}
	for n < len(raw) {
		if c.left > 0 {
			part := raw[n:]
			if int64(len(part)) > c.left {
				part = part[:c.left]
			}
			start := len(dst)
			dst = append(dst, part...)
			ws.Cipher(dst[start:], c.mask, c.at)
			c.at += len(part)
			c.left -= int64(len(part))
			n += len(part)
			continue
		}
		used, err := c.frame(raw[n:])
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

// frame takes a frame's header, and a control frame whole. 0: it is incomplete.
func (c *wsCodec) frame(raw []byte) (n int, err error) {
	r := bytes.NewReader(raw)
	h, err := ws.ReadHeader(r)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, nil
	}
	if err != nil {
		return 0, c.fail(ws.StatusProtocolError, err.Error())
	}
	n = len(raw) - r.Len()
	switch {
	case !h.Masked:
		return 0, c.fail(ws.StatusProtocolError, "a frame from a client that is not masked (RFC 6455 §5.1)")
	case h.Rsv != 0:
		return 0, c.fail(ws.StatusProtocolError, "reserved bits without an extension (RFC 6455 §5.2)")
	case h.OpCode.IsControl():
		return c.control(h, raw, n)
	case h.OpCode == ws.OpText:
		return 0, c.fail(ws.StatusUnsupportedData, "a text frame: MQTT needs binary ones [MQTT-6.0.0-1]")
	case h.OpCode == ws.OpBinary && c.started, h.OpCode == ws.OpContinuation && !c.started:
		return 0, c.fail(ws.StatusProtocolError, "fragments out of order (RFC 6455 §5.4)")
	case h.OpCode != ws.OpBinary && h.OpCode != ws.OpContinuation:
		return 0, c.fail(ws.StatusProtocolError, "unknown opcode")
	}
	c.started = !h.Fin
	c.left, c.mask, c.at = h.Length, h.Mask, 0
	return n, nil
}

func (c *wsCodec) control(h ws.Header, raw []byte, n int) (int, error) {
	if !h.Fin || h.Length > ws.MaxControlFramePayloadSize {
		return 0, c.fail(ws.StatusProtocolError, "a control frame that is too long or in fragments (RFC 6455 §5.5)")
	}
	end := n + int(h.Length)
	if end > len(raw) {
		return 0, nil
	}
	payload := slices.Clone(raw[n:end])
	ws.Cipher(payload, h.Mask, 0)
	switch h.OpCode {
	case ws.OpPing:
		if c.owed != nil || c.l.below.Out().Bytes() > highWater {
			c.owed = payload
			c.l.askDrained()
			break
		}
		c.put(ws.NewPongFrame(payload))
	case ws.OpClose:
		code := payload[:min(len(payload), 2)]
		if len(code) == 1 {
			code = nil
		}
		last := ws.NewCloseFrame(code)
		c.last = &last
		return end, errDone
	}
	return end, nil
}

// upgrade answers the HTTP request that opens the WebSocket. 0: it is incomplete.
func (c *wsCodec) upgrade(raw []byte) (n int, err error) {
	end := bytes.Index(raw, []byte("\r\n\r\n"))
	switch {
	case len(raw) > 0 && (raw[0] < 'A' || raw[0] > 'Z'):
		return 0, c.refuse("400 Bad Request", "what came is not HTTP; clients without WebSocket need another port")
	case end > maxRequest || end < 0 && len(raw) > maxRequest:
		return 0, c.refuse("431 Request Header Fields Too Large", "the HTTP request that opens a WebSocket is too long")
	case end < 0:
		return 0, nil
	}
	n = end + 4
	if c.mute {
		return n, nil
	}
	if c.requests.Plain != nil && !wantsWebSocket(raw[:n]) {
		return n, c.answer(slices.Clone(raw[:n]))
	}
	var reply bytes.Buffer
	u := ws.Upgrader{ReadBufferSize: maxRequest, ProtocolCustom: chooseProtocol, OnHeader: c.checkOrigin}
	_, err = u.Upgrade(struct {
		io.Reader
		io.Writer
	}{bytes.NewReader(raw[:n]), &reply})
	if errors.Is(err, ws.ErrMalformedRequest) && reply.Len() == 0 {
		return n, c.refuse("400 Bad Request", "not a WebSocket request")
	}
	_, _ = c.l.below.Out().Append(reply.Bytes())
	if err != nil {
		c.mute = true // an HTTP answer was given; a close frame would not be understood
		return n, fmt.Errorf("layer: not a WebSocket request: %w", err)
	}
	c.up = true
	return n, nil
}

// wantsWebSocket reports whether a request has the header field that every one for a WebSocket has (RFC 6455 §4.1).
func wantsWebSocket(request []byte) bool {
	for line := range bytes.Lines(request) {
		if name, _, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(bytes.TrimSpace(name), []byte("Sec-WebSocket-Key")) {
			return true
		}
	}
	return false
}

// answers bounds the requests that are answered at a time, of all listeners.
var answers = make(chan struct{}, 32)

// answer has a request answered that wants no WebSocket, and the connection closed.
func (c *wsCodec) answer(request []byte) error {
	select {
	case answers <- struct{}{}:
	default:
		return c.refuse("503 Service Unavailable", "too many HTTP requests at a time")
	}
	c.mute = true
	go func() {
		defer func() { <-answers }()
		response := c.requests.Plain(request)
		c.l.below.Post(func(loop int, now int64) {
			_, _ = c.l.below.Out().Append(response)
			c.l.eof = true
			c.l.settle(loop, now)
		})
	}()
	return nil
}

// chooseProtocol prefers mqtt [MQTT-6.0.0-4]; mqttv3.1 is what clients before MQTT 3.1.1 asked for. A client that asks for
// others only is refused, one that asks for none is not, as Mosquitto has it.
func chooseProtocol(offered []byte) (chosen string, ok bool) {
	for p := range strings.SplitSeq(string(offered), ",") {
		switch strings.TrimSpace(p) {
		case "mqtt":
			return "mqtt", true
		case "mqttv3.1":
			chosen = "mqttv3.1"
		}
	}
	return chosen, chosen != ""
}

func (c *wsCodec) checkOrigin(key, value []byte) error {
	if origins := c.requests.Origins; len(origins) > 0 && strings.EqualFold(string(key), "Origin") && !slices.Contains(origins, string(value)) {
		return ws.RejectConnectionError(ws.RejectionStatus(403), ws.RejectionReason("origin not allowed"))
	}
	return nil
}

// refuse answers what is no request for a WebSocket.
func (c *wsCodec) refuse(status, why string) error {
	c.mute = true
	_, _ = c.l.below.Out().Append([]byte("HTTP/1.1 " + status + "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
	return errors.New("layer: WebSocket: " + why)
}

// encode gives each packet a frame; one that is larger than maxWSFrame has several.
func (c *wsCodec) encode(clear [][]byte, room int) (n int, err error) {
	scratch := frameBuffers.Get().(*[]byte)
	out, in := (*scratch)[:0], rope{slices: clear}
	defer func() {
		*scratch = out
		frameBuffers.Put(scratch)
	}()
	for waiting := in.len(); n < room && waiting > 0; {
		size := c.rest
		if size == 0 {
			size = in.packet()
			if n > 0 && size > waiting && waiting <= maxWSFrame {
				break // its end is to come with the next call
			}
		}
		part := min(size, waiting, maxWSFrame)
		c.rest = size - part
		out = appendFrameHead(out, part)
		out = in.take(out, part)
		n, waiting = n+part, waiting-part
	}
	// All in one append: a pong from the loop must not come between.
	if ok, _ := c.l.below.Out().Append(out); !ok {
		return 0, errors.New("layer: the connection is closed")
	}
	return n, nil
}

// frameBuffers are for frames on their way to the outbox below.
var frameBuffers = sync.Pool{New: func() any { b := make([]byte, 0, highWater+maxWSFrame+4096); return &b }}

// appendFrameHead begins a binary frame to the client with n bytes, at most maxWSFrame.
func appendFrameHead(out []byte, n int) []byte {
	out = append(out, 0x82) // FIN, binary
	if n < 126 {
		return append(out, byte(n))
	}
	return binary.BigEndian.AppendUint16(append(out, 126), uint16(n))
}

// rope is a string of bytes in several slices.
type rope struct {
	slices [][]byte
	at     int // in the first of them
}

func (r *rope) len() (n int) {
	for _, s := range r.slices {
		n += len(s)
	}
	return n - r.at
}

// take appends the first n bytes to dst and steps over them.
func (r *rope) take(dst []byte, n int) []byte {
	for n > 0 {
		s := r.slices[0][r.at:]
		if n < len(s) {
			r.at += n
			return append(dst, s[:n]...)
		}
		dst, n = append(dst, s...), n-len(s)
		r.slices, r.at = r.slices[1:], 0
	}
	return dst
}

// packet is the size of the MQTT packet that the rope begins with, its fixed header included. Where there is none, or only
// part of the header, it is a number above all that may be in the rope.
func (r *rope) packet() int {
	var head [5]byte
	front := *r
	h := front.take(head[:0], min(len(head), r.len()))
	n, used := binary.Uvarint(h[1:])
	if used <= 0 {
		return math.MaxInt
	}
	return 1 + used + int(n)
}

// fail ends the connection with a close frame that says why.
func (c *wsCodec) fail(code ws.StatusCode, why string) error {
	last := ws.NewCloseFrame(ws.NewCloseFrameBody(code, why[:min(len(why), 120)]))
	c.last = &last
	return errors.New("layer: WebSocket: " + why)
}

func (c *wsCodec) put(f ws.Frame) {
	if b, err := ws.CompileFrame(f); err == nil {
		_, _ = c.l.below.Out().Append(b)
	}
}

// finish sends the close frame, after which nothing may come (RFC 6455 §5.5.1).
func (c *wsCodec) finish() {
	if !c.up || c.mute {
		return
	}
	c.mute = true
	if c.last == nil {
		usual := ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))
		c.last = &usual
	}
	c.put(*c.last)
}
