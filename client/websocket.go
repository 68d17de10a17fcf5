package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// webSocket carries a stream of bytes in binary WebSocket frames (RFC 6455; MQTT
// 5 §6). Reads are for one goroutine, writes for any number of them.
type webSocket struct {
	net.Conn
	r    io.Reader // the connection, after what came with the server's answer
	left int64     // bytes of the present frame not yet read

	mu     sync.Mutex // held while a frame is written
	closed bool       // our close frame has been sent
}

// openWebSocket makes the opening handshake on conn.
func openWebSocket(ctx context.Context, conn net.Conn, u *url.URL) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	br, hs, err := ws.Dialer{Protocols: []string{"mqtt"}}.Upgrade(conn, u)
	if !stop() {
		err = context.Cause(ctx)
	}
	var status ws.StatusError
	switch {
	case errors.As(err, &status):
		err = fmt.Errorf("the server answers with HTTP status %d instead of a WebSocket: is the path %q right, and is the port one for MQTT over WebSocket?", int(status), u.Path)
	case err == nil && hs.Protocol != "" && hs.Protocol != "mqtt":
		err = fmt.Errorf("the server speaks %q instead of mqtt", hs.Protocol)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("WebSocket with %s: %w", u.Host, err)
	}
	w := &webSocket{Conn: conn, r: conn}
	if br != nil {
		w.r = io.MultiReader(bufferedOnly(br), conn)
	}
	return w, nil
}

// bufferedOnly reads what a reader holds already.
func bufferedOnly(br *bufio.Reader) io.Reader {
	return io.LimitReader(br, int64(br.Buffered()))
}

// Read gives the payload of binary frames.
func (w *webSocket) Read(p []byte) (int, error) {
	for w.left == 0 {
		h, err := ws.ReadHeader(w.r)
		if err != nil {
			return 0, err
		}
		switch {
		case h.Masked:
			return 0, errors.New("WebSocket: a masked frame from the server (RFC 6455 §5.1)")
		case h.Rsv != 0:
			return 0, errors.New("WebSocket: a frame with reserved bits (RFC 6455 §5.2)")
		case h.OpCode.IsControl():
			if err := w.control(h); err != nil {
				return 0, err
			}
		case h.OpCode == ws.OpBinary || h.OpCode == ws.OpContinuation:
			w.left = h.Length
		default:
			return 0, fmt.Errorf("WebSocket: a frame with opcode %d; MQTT goes in binary frames [MQTT-6.0.0-1]", h.OpCode)
		}
	}
	n, err := w.r.Read(p[:min(int64(len(p)), w.left)])
	w.left -= int64(n)
	return n, err
}

func (w *webSocket) control(h ws.Header) error {
	if h.Length > ws.MaxControlFramePayloadSize || !h.Fin {
		return errors.New("WebSocket: a control frame that is too long or in fragments (RFC 6455 §5.5)")
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(w.r, payload); err != nil {
		return err
	}
	switch h.OpCode {
	case ws.OpPing:
		return w.send(ws.NewPongFrame(payload))
	case ws.OpClose:
		_ = w.close() // the stream has ended, whether or not the server hears this
		return io.EOF
	}
	return nil
}

// Write sends p as one binary frame.
func (w *webSocket) Write(p []byte) (int, error) {
	if err := w.send(ws.NewBinaryFrame(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// send writes a frame, masked, in one piece.
func (w *webSocket) send(f ws.Frame) error {
	frame, err := ws.CompileFrame(ws.MaskFrame(f))
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return net.ErrClosed
	}
	w.closed = f.Header.OpCode == ws.OpClose
	_, err = w.Conn.Write(frame)
	return err
}

func (w *webSocket) close() error {
	return w.send(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))
}

// CloseWrite says that nothing more comes (RFC 6455 §5.5.1).
func (w *webSocket) CloseWrite() error { return w.close() }
