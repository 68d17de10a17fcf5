package layer

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// socket is a netloop.Conn that the test plays: what is posted waits for run, what is appended for take.
type socket struct {
	out     outbox.Outbox
	posted  []func(int, int64)
	drained bool // WantDrained was called
	paused  bool
	at      int64 // of the deadline
	closed  error
	within  time.Duration
}

func (s *socket) Out() *outbox.Outbox      { return &s.out }
func (s *socket) Flush()                   {}
func (s *socket) Close(err error)          { s.closed = err }
func (s *socket) Pause()                   { s.paused = true }
func (s *socket) Resume()                  { s.paused = false }
func (s *socket) Post(fn func(int, int64)) { s.posted = append(s.posted, fn) }
func (s *socket) SetDeadline(at int64)     { s.at = at }
func (s *socket) WantDrained()             { s.drained = true }
func (s *socket) RemoteAddr() net.Addr     { return &net.TCPAddr{} }
func (s *socket) LocalAddr() net.Addr      { return &net.TCPAddr{} }
func (s *socket) Loop() int                { return 0 }
func (s *socket) CloseAfterFlush(err error, within time.Duration) {
	s.closed, s.within = err, within
}

// run runs what was posted, and what that posts.
func (s *socket) run(now int64) {
	for len(s.posted) > 0 {
		fn := s.posted[0]
		s.posted = s.posted[1:]
		fn(0, now)
	}
}

// take is the socket taking everything.
func (s *socket) take() (all []byte) {
	for {
		bufs, ok := s.out.StartWrite(make([][]byte, 0, 16))
		if !ok {
			return all
		}
		n := 0
		for _, b := range bufs {
			all = append(all, b...)
			n += len(b)
		}
		s.out.FinishWrite(n, false)
	}
}

// drain takes everything and calls Drained if it was asked for.
func (s *socket) drain(l *conn, now int64) []byte {
	s.run(now)
	all := s.take()
	if s.drained {
		s.drained = false
		l.Drained(0, now)
	}
	return all
}

// sink is a handler that counts.
type sink struct {
	drained int
	got     []byte
	ended   int
}

func (s *sink) Opened(int, int64)        {}
func (s *sink) Deadline(int, int64)      { s.ended++ }
func (s *sink) Drained(int, int64)       { s.drained++ }
func (s *sink) Closed(int, int64, error) {}
func (s *sink) Data(_ int, _ int64, p []byte) (int, int, bool) {
	s.got = append(s.got, p...)
	return len(p), 0, false
}

const request = "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"

// openWS makes a WebSocket layer on a played socket, with the handshake done.
func openWS(t *testing.T) (*conn, *socket, *sink) {
	t.Helper()
	s, h := new(socket), new(sink)
	l := WebSocket(NewShared(1, new(outbox.Budget)), Requests{}, func(netloop.Conn) netloop.Handler { return h })(s).(*conn)
	l.Opened(0, 0)
	l.Data(0, 0, []byte(request+"Sec-WebSocket-Protocol: mqtt\r\n\r\n"))
	if reply := s.take(); !bytes.HasPrefix(reply, []byte("HTTP/1.1 101 ")) {
		t.Fatalf("upgrade answered by %q", reply)
	}
	return l, s, h
}

// frames cuts what the server sent into frames.
func frames(t *testing.T, p []byte) (all []ws.Frame) {
	t.Helper()
	for r := bytes.NewReader(p); ; {
		f, err := ws.ReadFrame(r)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
}

func masked(f ws.Frame) []byte { return ws.MustCompileFrame(ws.MaskFrame(f)) }

// TestDrainedIsNotLost: another goroutine is encoding while the socket drains, so that bytes still wait above; the handler
// that asked hears of the end all the same, when those are gone.
func TestDrainedIsNotLost(t *testing.T) {
	l, s, h := openWS(t)
	_, _ = l.Out().Append([]byte("hello"))
	bufs, ok := l.out.StartWrite(make([][]byte, 0, 1)) // the other goroutine
	if !ok {
		t.Fatal("nothing to encode")
	}
	l.WantDrained()
	s.drain(l, 1)
	if h.drained != 0 {
		t.Fatal("told that all is written while bytes wait")
	}
	l.out.FinishWrite(len(bufs[0]), false)
	s.drain(l, 2)
	s.drain(l, 3)
	if h.drained != 1 {
		t.Errorf("Drained was called %d times, want once", h.drained)
	}
}

// TestPongsDoNotPileUp: a peer that sends pings and reads nothing makes us hold a bounded number of pongs; when it reads at
// last, the most recent ping is answered (RFC 6455 §5.5.3).
func TestPongsDoNotPileUp(t *testing.T) {
	l, s, _ := openWS(t)
	payload := make([]byte, 100)
	for i := range 10_000 {
		binary.BigEndian.PutUint32(payload, uint32(i))
		l.Data(0, 0, masked(ws.NewPingFrame(payload)))
	}
	if n := s.out.Bytes(); n > 2*highWater {
		t.Fatalf("%d bytes of pongs wait for a peer that does not read", n)
	}
	all := s.drain(l, 1)
	all = append(all, s.drain(l, 2)...)
	got := frames(t, all)
	if last := got[len(got)-1]; last.Header.OpCode != ws.OpPong || binary.BigEndian.Uint32(last.Payload) != 9999 {
		t.Errorf("the last of %d frames is % x, want the pong to the last ping", len(got), last.Payload)
	}
}

// TestLargePayloadIsNotCopiedWhole: a payload that the outbox only refers to is encoded in parts as the socket takes them,
// and arrives whole.
func TestLargePayloadIsNotCopiedWhole(t *testing.T) {
	l, s, _ := openWS(t)
	payload := bytes.Repeat([]byte("0123456789"), 1<<20)
	_, _ = l.Out().AppendPublish([]byte("head"), -1, 0, payload, true)
	l.Flush()
	var got []byte
	for now := int64(1); ; now++ {
		if n := s.out.Bytes(); n > 2*highWater {
			t.Fatalf("%d encoded bytes wait for a slow peer", n)
		}
		part := s.drain(l, now)
		if len(part) == 0 {
			break
		}
		for _, f := range frames(t, part) {
			got = append(got, f.Payload...)
		}
	}
	if want := append([]byte("head"), payload...); !bytes.Equal(got, want) {
		t.Errorf("%d bytes arrived, want %d equal ones", len(got), len(want))
	}
}

// TestEndOfASlowPeer: closing a connection whose peer does not read does not encode all that waits; the time given bounds
// the end, and nobody above hears of a deadline.
func TestEndOfASlowPeer(t *testing.T) {
	l, s, h := openWS(t)
	_, _ = l.Out().AppendPublish([]byte("head"), -1, 0, make([]byte, 10<<20), true)
	l.SetDeadline(100)
	l.CloseAfterFlush(io.ErrClosedPipe, time.Second)
	s.run(50)
	if n := s.out.Bytes(); n > 2*highWater {
		t.Errorf("%d encoded bytes wait for a peer that does not read", n)
	}
	if s.closed != nil {
		t.Fatal("closed before what waits was sent")
	}
	l.SetDeadline(70)
	if s.at != 1050 {
		t.Fatalf("the deadline is %d, want 1050", s.at)
	}
	l.Deadline(0, 1050)
	if !errors.Is(s.closed, io.ErrClosedPipe) || h.ended != 0 {
		t.Errorf("at the deadline: closed with %v, %d deadlines above", s.closed, h.ended)
	}
}

// TestCloseFrameComesLast: whoever closes, what waits is sent first, then a close frame, then nothing (RFC 6455 §5.5.1).
func TestCloseFrameComesLast(t *testing.T) {
	body := ws.NewCloseFrameBody(ws.StatusGoingAway, "bye")
	for _, tt := range []struct {
		name  string
		close func(l *conn)
		want  []byte
	}{
		{"the peer", func(l *conn) { l.Data(0, 0, masked(ws.NewCloseFrame(body))) }, body[:2]},
		{"the peer with half a code", func(l *conn) { l.Data(0, 0, masked(ws.NewCloseFrame([]byte{3}))) }, nil},
		{"the server", func(l *conn) { l.CloseAfterFlush(io.ErrClosedPipe, time.Second) }, ws.NewCloseFrameBody(ws.StatusNormalClosure, "")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, s, _ := openWS(t)
			_, _ = l.Out().Append(bytes.Repeat([]byte("x"), 3*highWater))
			tt.close(l)
			var all []byte
			for now := int64(1); now < 10; now++ {
				all = append(all, s.drain(l, now)...)
			}
			got, n := frames(t, all), 0
			for i, f := range got {
				n += len(f.Payload)
				if f.Header.OpCode == ws.OpClose && i < len(got)-1 {
					t.Fatalf("frame %d of %d is a close frame", i+1, len(got))
				}
			}
			last := got[len(got)-1]
			if n -= len(last.Payload); last.Header.OpCode != ws.OpClose || !bytes.Equal(last.Payload, tt.want) || n != 3*highWater {
				t.Errorf("%d bytes and then opcode %d with % x; want %d and a close frame with % x", n, last.Header.OpCode, last.Payload, 3*highWater, tt.want)
			}
			if s.closed == nil {
				t.Error("not closed")
			}
		})
	}
}

// TestUpgrade: what is asked for and what is answered.
func TestUpgrade(t *testing.T) {
	for _, tt := range []struct{ name, headers, status, protocol string }{
		{"mqtt", "Sec-WebSocket-Protocol: mqtt\r\n", "101", "mqtt"},
		{"the old name", "Sec-WebSocket-Protocol: mqttv3.1\r\n", "101", "mqttv3.1"},
		{"mqtt after others", "Sec-WebSocket-Protocol: chat, mqttv3.1, mqtt\r\n", "101", "mqtt"},
		{"headers of 100 KB", "X: " + string(bytes.Repeat([]byte("y"), 100<<10)) + "\r\n", "431", ""},
		{"many headers", string(bytes.Repeat([]byte("X: y\r\n"), 2000)), "431", ""},
		{"another sub-protocol", "Sec-WebSocket-Protocol: chat\r\n", "400", ""},
		{"no sub-protocol", "", "101", ""},
		{"another version", "Sec-WebSocket-Version: 8\r\n", "426", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := new(socket)
			l := WebSocket(NewShared(1, nil), Requests{}, func(netloop.Conn) netloop.Handler { return new(sink) })(s).(*conn)
			l.Opened(0, 0)
			l.Data(0, 0, []byte(request+tt.headers+"\r\n"))
			reply := string(s.drain(l, 1))
			if len(reply) < 13 || reply[:13] != "HTTP/1.1 "+tt.status+" " {
				t.Fatalf("answered by %.100q, want %s", reply, tt.status)
			}
			if has := bytes.Contains([]byte(reply), []byte("\r\nSec-WebSocket-Protocol: "+tt.protocol+"\r\n")); tt.protocol != "" && !has {
				t.Errorf("the answer does not choose %s: %q", tt.protocol, reply)
			}
			if (s.closed != nil) != (tt.status != "101") {
				t.Errorf("closed: %v", s.closed)
			}
		})
	}
}

// TestNotHTTP: MQTT without WebSocket is told apart at its first byte.
func TestNotHTTP(t *testing.T) {
	s := new(socket)
	l := WebSocket(NewShared(1, nil), Requests{}, func(netloop.Conn) netloop.Handler { return new(sink) })(s).(*conn)
	l.Opened(0, 0)
	l.Data(0, 0, []byte("\x10\x0e\x00\x04MQTT"))
	s.run(1)
	if s.closed == nil {
		t.Error("it waits for the end of the headers")
	}
}

// gather is a client's socket that, once told to, holds its writes back until they are released in one piece.
type gather struct {
	net.Conn
	hold bool
	held []byte
}

func (g *gather) Write(p []byte) (int, error) {
	if g.hold {
		g.held = append(g.held, p...)
		return len(p), nil
	}
	return g.Conn.Write(p)
}

// Read: once the server has answered, the client holds its Finished back.
func (g *gather) Read(p []byte) (int, error) {
	g.hold = true
	return g.Conn.Read(p)
}

// TestBytesBehindTheHandshake: a client may send at once what belongs behind its Finished, however much; nothing of it is
// lost, and it is no reason to refuse.
func TestBytesBehindTheHandshake(t *testing.T) {
	for _, engine := range netloop.Engines() {
		t.Run(engine, func(t *testing.T) {
			cert, pool := certificate(t)
			address, budget := serve(t, engine, func(e netloop.Engine, b *outbox.Budget) func(netloop.Conn) netloop.Handler {
				return TLS(NewShared(e.Loops(), b), &tls.Config{Certificates: []tls.Certificate{cert}}, false, func(c netloop.Conn) netloop.Handler { return &echo{c: c} })
			})
			raw, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
			g := &gather{Conn: raw}
			c := tls.Client(g, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			sent := make([]byte, 1000*unit)
			for i := range sent {
				sent[i] = byte(i / 7)
			}
			if _, err := c.Write(sent); err != nil {
				t.Fatal(err)
			}
			got, read := make([]byte, len(sent)), make(chan error, 1)
			go func() {
				_, err := io.ReadFull(c, got)
				read <- err
			}()
			if _, err := raw.Write(g.held); err != nil {
				t.Fatal(err)
			}
			if err := <-read; err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%v; equal: %v", err, bytes.Equal(got, sent))
			}
			_ = raw.Close()
			waitFor(t, "everything to be given back to the budget", func() bool { return budget.Used() == 0 })
		})
	}
}

// waitFor polls.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// slow is a handler that takes one byte at a time, and none while it has paused its connection.
type slow struct {
	c      netloop.Conn
	got    []byte
	pause  bool // after the next byte
	closed []error
}

func (s *slow) Opened(int, int64)                { s.got = nil }
func (s *slow) Deadline(int, int64)              {}
func (s *slow) Drained(int, int64)               {}
func (s *slow) Closed(_ int, _ int64, err error) { s.closed = append(s.closed, err) }
func (s *slow) Data(_ int, _ int64, p []byte) (int, int, bool) {
	if len(s.closed) > 0 {
		panic("Data after Closed")
	}
	s.got = append(s.got, p[0])
	if s.pause {
		s.c.Pause()
		return 1, 0, false
	}
	return 1, 0, true
}

// Long: each case is a few steps on the same connection, and reads best beside the others.
//
// TestEndOfPeer: what a peer sent before it closed is handled before the handler hears of the end, also if the handler stops
// for fairness or has paused; and it hears at once, not when the last words are said.
func TestEndOfPeer(t *testing.T) {
	message := masked(ws.NewBinaryFrame([]byte("PUBLISH and DISCONNECT")))
	closing := masked(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))
	open := func(t *testing.T) (*conn, *socket, *slow) {
		s, h := new(socket), new(slow)
		l := WebSocket(NewShared(1, new(outbox.Budget)), Requests{}, func(c netloop.Conn) netloop.Handler { h.c = c; return h })(s).(*conn)
		l.Opened(0, 0)
		l.Data(0, 0, []byte(request+"\r\n"))
		return l, s, h
	}
	whole := func(t *testing.T, h *slow) {
		t.Helper()
		if string(h.got) != "PUBLISH and DISCONNECT" || len(h.closed) != 1 || !errors.Is(h.closed[0], io.EOF) {
			t.Errorf("the handler got %q and ends %v", h.got, h.closed)
		}
	}
	t.Run("close frame", func(t *testing.T) {
		l, s, h := open(t)
		l.Data(0, 0, append(bytes.Clone(message), closing...))
		s.run(1)
		whole(t, h)
		if s.closed == nil {
			t.Error("the socket is not closed")
		}
		l.Closed(0, 2, io.EOF)
		whole(t, h)
	})
	t.Run("socket", func(t *testing.T) {
		l, s, h := open(t)
		l.Data(0, 0, message)
		l.Closed(0, 1, io.EOF)
		s.run(1)
		whole(t, h)
	})
	for _, tt := range []struct {
		name string
		sent []byte
	}{{"paused, close frame and socket", append(bytes.Clone(message), closing...)}, {"paused, socket", message}} {
		t.Run(tt.name, func(t *testing.T) {
			l, s, h := open(t)
			h.pause = true
			l.Data(0, 0, tt.sent)
			s.run(1)
			l.Closed(0, 1, io.EOF)
			s.run(1)
			if len(h.got) != 1 || len(h.closed) != 0 {
				t.Fatalf("the handler, paused, got %q and ends %v", h.got, h.closed)
			}
			h.pause = false
			l.Resume()
			s.run(2)
			whole(t, h)
			if n := l.shared.budget.Used(); n != 0 {
				t.Errorf("%d bytes are still charged", n)
			}
		})
	}
	t.Run("closed while it waits", func(t *testing.T) {
		l, s, h := open(t)
		h.pause = true
		l.Data(0, 0, message)
		l.Closed(0, 1, io.EOF)
		l.Close(io.ErrClosedPipe)
		s.run(1)
		if len(h.closed) != 1 || !errors.Is(h.closed[0], io.ErrClosedPipe) {
			t.Errorf("ends %v", h.closed)
		}
	})
	t.Run("half a packet", func(t *testing.T) {
		l, s, h := open(t)
		h.pause = true
		l.Data(0, 0, message)
		h.c.Resume()
		s.run(1)
		l.Closed(0, 1, errors.New("reset")) // not in good order: nothing is waited for
		if len(h.closed) != 1 {
			t.Errorf("ends %v", h.closed)
		}
	})
}

// mqttPacket is one of n bytes in all after a fixed header.
func mqttPacket(n int) []byte {
	head := []byte{0x30}
	for left := n; ; {
		b := byte(left & 127)
		if left >>= 7; left == 0 {
			head = append(head, b)
			break
		}
		head = append(head, b|128)
	}
	return append(head, bytes.Repeat([]byte{0x55}, n)...)
}

// TestAPacketPerFrame: packets and frames need not be aligned [MQTT-6.0.0-2], but Eclipse Paho's C client waits for the
// next frame before it looks at a second packet in one. So each packet has a frame, and only those above 64 KiB several.
func TestAPacketPerFrame(t *testing.T) {
	sizes := []int{0, 1, 125, 126, 500, 510, 511, 3, 4000, 5000, 20_000, 65_000, 7, 65_531, 65_532, 65_533, 200_000, 9, 0, 100_000, 2}
	l, s, _ := openWS(t)
	var sent, starts []byte
	var want []int
	for i, n := range sizes {
		p := mqttPacket(n)
		if i%2 == 0 {
			_, _ = l.Out().Append(p)
		} else { // in two pieces, the second by reference
			_, _ = l.Out().AppendPublish(p[:min(len(p), 6)], -1, 0, p[min(len(p), 6):], true)
		}
		sent = append(sent, p...)
		want = append(want, len(p))
	}
	l.Flush()
	var got []byte
	var frame []int
	for now := int64(1); ; now++ {
		part := s.drain(l, now)
		if len(part) == 0 {
			break
		}
		for _, f := range frames(t, part) {
			got = append(got, f.Payload...)
			frame = append(frame, len(f.Payload))
			starts = append(starts, f.Payload[0])
		}
	}
	if !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes arrived, want %d equal ones", len(got), len(sent))
	}
	for i, j := 0, 0; i < len(frame); i++ {
		whole := frame[i]
		if starts[i] != 0x30 {
			t.Fatalf("frame %d does not begin with a packet", i)
		}
		for whole < want[j] && i+1 < len(frame) && frame[i] >= 60_000 {
			i++
			whole += frame[i]
		}
		if whole != want[j] {
			t.Fatalf("packet %d of %d bytes is in frames of %v", j, want[j], frame)
		}
		j++
	}
}

// TestBytesThatAreNoPackets go all the same.
func TestBytesThatAreNoPackets(t *testing.T) {
	for _, sent := range [][]byte{{0x30}, {0x30, 0xFF}, bytes.Repeat([]byte{0xFF}, 100_000), append(mqttPacket(10), 0x30, 100, 1, 2)} {
		l, s, _ := openWS(t)
		_, _ = l.Out().Append(sent)
		l.Flush()
		var got []byte
		for now := int64(1); now < 5; now++ {
			for _, f := range frames(t, s.drain(l, now)) {
				got = append(got, f.Payload...)
			}
		}
		if !bytes.Equal(got, sent) {
			t.Errorf("%d bytes arrived, want %d", len(got), len(sent))
		}
	}
}
