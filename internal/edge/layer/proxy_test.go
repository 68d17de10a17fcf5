package layer

import (
	"bytes"
	"errors"
	"testing"

	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// offer gives a layer bytes as an engine does: what is left is offered again in front of what comes next.
func offer(h netloop.Handler, s *socket, pieces ...[]byte) {
	var rest []byte
	for _, p := range pieces {
		rest = append(rest, p...)
		n, _, again := h.Data(0, 1, rest)
		for again {
			var more int
			more, _, again = h.Data(0, 1, rest[n:])
			n += more
		}
		rest = rest[n:]
		if s.closed != nil {
			return
		}
	}
}

// proxy makes the layer on a played socket.
func proxy(o *Proxy) (netloop.Handler, *socket, *sink) {
	s, h := new(socket), new(sink)
	l := PROXY(o, func(netloop.Conn) netloop.Handler { return h })(s)
	l.Opened(0, 0)
	return l, s, h
}

// FuzzProxy: whatever comes, in whatever pieces, the outcome is the same as in one, nothing of the header reaches the handler,
// nothing behind it is lost, and no more than its bound is waited for.
func FuzzProxy(f *testing.F) {
	const v2 = "\r\n\r\n\x00\r\nQUIT\n"
	for _, seed := range []string{
		"PROXY TCP4 192.0.2.7 203.0.113.1 12345 1883\r\nrest", "PROXY UNKNOWN\r\n", "PROXY TCP6 ::1 ::2 1 2\r\n", "PROXY\r\n", "PROX",
		v2 + "\x21\x11\x00\x0c\xc0\x00\x02\x07\xcb\x00\x71\x01\x30\x39\x07\x5brest", v2 + "\x20\x00\x00\x00rest", v2 + "\x21\x31\x00\xd8",
		v2 + "\x21\x11\x00\x17\xc0\x00\x02\x07\xcb\x00\x71\x01\x30\x39\x07\x5b\x20\x00\x08\x01\x00\x00\x00\x00\x22\x00\x00rest", "\x10\x0e",
	} {
		f.Add([]byte(seed), uint8(7))
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint8) {
		whole, s1, h1 := proxy(&Proxy{})
		offer(whole, s1, in)
		parts, s2, h2 := proxy(&Proxy{})
		var pieces [][]byte
		for p := in; len(p) > 0; {
			n := min(len(p), int(cut)+1)
			pieces, p = append(pieces, p[:n]), p[n:]
		}
		offer(parts, s2, pieces...)
		a, b := whole.(*proxied), parts.(*proxied)
		if (s1.closed != nil) != (s2.closed != nil) || a.passed != b.passed || a.RemoteAddr().String() != b.RemoteAddr().String() || a.commonName != b.commonName {
			t.Fatalf("in one piece: %v, %v; in pieces: %v, %v", s1.closed, a.passed, s2.closed, b.passed)
		}
		switch {
		case !a.passed && (len(h1.got) > 0 || len(h2.got) > 0):
			t.Fatal("bytes reach the handler without a header")
		case a.passed && !bytes.HasSuffix(in, h1.got) || !bytes.Equal(h1.got, h2.got):
			t.Fatalf("%q and %q reach the handler of %q", h1.got, h2.got, in)
		case !a.passed && s1.closed == nil && len(in) > maxProxyV2:
			t.Fatalf("%d bytes are no header, and more is waited for", len(in))
		}
	})
}

// TestMixedStaysThin: without WebSocket the handler's connection writes to the socket's own outbox, so that nothing is copied.
func TestMixedStaysThin(t *testing.T) {
	s, h := new(socket), new(sink)
	var c netloop.Conn
	l := Mixed(NewShared(1, nil), Requests{}, func(below netloop.Conn) netloop.Handler { c = below; return h })(s)
	l.Opened(0, 0)
	l.Data(0, 0, []byte{0x10, 0})
	if c.Out() != &s.out || string(h.got) != "\x10\x00" {
		t.Errorf("%p is not the socket's outbox %p; %q arrived", c.Out(), &s.out, h.got)
	}
	c.Close(errors.New("x"))
	if s.closed == nil {
		t.Error("the socket is not closed")
	}
}

// TestMixedSwitches: with WebSocket what the handler sends goes into frames, and its end too.
func TestMixedSwitches(t *testing.T) {
	s, h := new(socket), new(sink)
	var c netloop.Conn
	l := Mixed(NewShared(1, nil), Requests{}, func(below netloop.Conn) netloop.Handler { c = below; return h })(s)
	l.Opened(0, 0)
	var pieces [][]byte
	for _, b := range []byte(request + "Sec-WebSocket-Protocol: mqtt\r\n\r\n") {
		pieces = append(pieces, []byte{b})
	}
	offer(l, s, pieces...)
	if reply := s.take(); !bytes.HasPrefix(reply, []byte("HTTP/1.1 101 ")) {
		t.Fatalf("upgrade answered by %q", reply)
	}
	_, _ = c.Out().Append([]byte{0xD0, 0})
	c.Flush()
	if got := s.take(); !bytes.Equal(got, []byte{0x82, 2, 0xD0, 0}) {
		t.Errorf("sent % x, want a frame with a packet", got)
	}
}
