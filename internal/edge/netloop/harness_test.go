package netloop

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
)

// patience is how long a test waits for something that must happen; only a failing test waits that long.
const patience = 20 * time.Second

// onEachEngine runs a test on every engine that the platform has.
func onEachEngine(t *testing.T, o Options, test func(t *testing.T, b *bench)) {
	for _, name := range Engines() {
		t.Run(name, func(t *testing.T) {
			o := o
			o.Engine = name
			test(t, newBench(t, o))
		})
	}
}

// bench is an engine with a listener, and a check that slots are exclusive.
type bench struct {
	t      testing.TB
	Engine Engine
	budget *outbox.Budget
	l      net.Listener
	served chan error
	log    *lockedBuffer
	busy   []atomic.Int32
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newBench(t testing.TB, o Options) *bench {
	b := &bench{t: t, budget: new(outbox.Budget), served: make(chan error, 4), log: new(lockedBuffer)}
	if o.Loops == 0 {
		o.Loops = 2
	}
	b.busy = make([]atomic.Int32, o.Loops)
	o.Budget = b.budget
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(b.log, nil))
	}
	if end := o.EndTurn; end != nil {
		o.EndTurn = func(loop int, now int64) {
			defer b.enter(loop)()
			end(loop, now)
		}
	}
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	b.Engine = e
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
		if used := b.budget.Used(); used != 0 {
			t.Errorf("after the end the budget still holds %d bytes", used)
		}
		if t.Failed() {
			t.Log(b.log.String())
		}
	})
	return b
}

// enter marks the slot as in use; the result marks it free.
func (b *bench) enter(loop int) func() {
	if b.busy[loop].Add(1) != 1 {
		b.t.Errorf("two things run in slot %d at once", loop)
	}
	return func() { b.busy[loop].Add(-1) }
}

// serve starts to serve connections on a listener of its own; own: one that went through Own.
func (b *bench) serve(own bool, newHandler func(c Conn) Handler) {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil && own {
		l, err = Own(l)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.serveOn(l, newHandler)
}

func (b *bench) serveOn(l net.Listener, newHandler func(c Conn) Handler) {
	b.l = l
	go func() { b.served <- b.Engine.Serve(l, newHandler) }()
	b.t.Cleanup(func() { l.Close() })
}

// script serves connections whose handlers do what init sets up in them.
func (b *bench) script(init func(h *script)) {
	b.serve(true, func(c Conn) Handler { return b.newScript(c, init) })
}

func (b *bench) newScript(c Conn, init func(h *script)) *script {
	h := &script{b: b, c: c, gone: make(chan error, 1)}
	init(h)
	return h
}

func (b *bench) dial() *net.TCPConn {
	b.t.Helper()
	c, err := net.Dial("tcp", b.l.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// script is a Handler made of functions; what is not set does nothing (Data: consumes all).
type script struct {
	b        *bench
	c        Conn
	state    int // 0: new, 1: open, 2: closed
	gone     chan error
	id       atomic.Uint32 // for tests that number their connections
	opened   func(now int64)
	data     func(now int64, p []byte) (n, need int, again bool)
	deadline func(now int64)
	drained  func()
	closed   func(err error)
}

func (h *script) step(loop, from, to int, what string) func() {
	if h.state != from {
		h.b.t.Errorf("%s in state %d", what, h.state)
	}
	h.state = to
	if loop != h.c.Loop() {
		h.b.t.Errorf("%s on loop %d, the connection belongs to %d", what, loop, h.c.Loop())
	}
	return h.b.enter(loop)
}

func (h *script) Opened(loop int, now int64) {
	defer h.step(loop, 0, 1, "Opened")()
	if h.opened != nil {
		h.opened(now)
	}
}

func (h *script) Data(loop int, now int64, p []byte) (n, need int, again bool) {
	defer h.step(loop, 1, 1, "Data")()
	if h.data != nil {
		return h.data(now, p)
	}
	return len(p), 0, false
}

func (h *script) Deadline(loop int, now int64) {
	defer h.step(loop, 1, 1, "Deadline")()
	h.deadline(now)
}

func (h *script) Drained(loop int, now int64) {
	defer h.step(loop, 1, 1, "Drained")()
	h.drained()
}

func (h *script) Closed(loop int, now int64, err error) {
	defer h.step(loop, 1, 2, "Closed")()
	h.gone <- err
	if h.closed != nil {
		h.closed(err)
	}
}

// send appends and flushes.
func (h *script) send(p []byte) {
	if _, wake := h.c.Out().Append(p); wake {
		h.c.Flush()
	}
}

// Frames are a big-endian length of four bytes and that many bytes.
func frame(p []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(p))), p...)
}

// eachFrame calls fn for the whole frames in p, and returns what Data has to.
func eachFrame(p []byte, fn func(frame []byte)) (n, need int, again bool) {
	for {
		rest := p[n:]
		if len(rest) < 4 {
			return n, 0, false
		}
		need = 4 + int(binary.BigEndian.Uint32(rest))
		if len(rest) < need {
			return n, need, false
		}
		fn(rest[:need])
		n += need
	}
}

// echo makes the handler send every frame back.
func echo(h *script) {
	send := h.send // once: a method value allocates
	h.data = func(_ int64, p []byte) (int, int, bool) { return eachFrame(p, send) }
}

// lean echoes frames and does nothing else, for measurements.
type lean struct {
	c     Conn
	dirty bool
}

func (*lean) Opened(int, int64)        {}
func (*lean) Deadline(int, int64)      {}
func (*lean) Drained(int, int64)       {}
func (*lean) Closed(int, int64, error) {}

func (h *lean) Data(_ int, _ int64, p []byte) (n, need int, again bool) {
	for {
		rest := p[n:]
		if len(rest) < 4 {
			break
		}
		if need = 4 + int(binary.BigEndian.Uint32(rest)); len(rest) < need {
			break
		}
		if _, wake := h.c.Out().Append(rest[:need]); wake {
			h.dirty = true
		}
		n += need
	}
	if h.dirty {
		h.dirty = false
		h.c.Flush()
	}
	return n, need, false
}

// await receives from ch or fails.
func await[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

func mustRead(t testing.TB, r io.Reader, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if k, err := io.ReadFull(r, p); err != nil {
		t.Fatalf("read %d of %d bytes: %v", k, n, err)
	}
	return p
}

func mustWrite(t testing.TB, w io.Writer, p []byte) {
	t.Helper()
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
}

// reset closes a connection the rude way.
func reset(t testing.TB, c net.Conn) {
	t.Helper()
	if err := c.(*net.TCPConn).SetLinger(0); err != nil {
		t.Error(err)
	}
	c.Close()
}

// pattern is n bytes that show displacement.
func pattern(n int, seed byte) []byte {
	p := make([]byte, n)
	x := uint32(seed)*2654435761 + 1
	for i := range p {
		x = x*1664525 + 1013904223
		p[i] = byte(x >> 24)
	}
	return p
}

func text(format string, args ...any) []byte { return fmt.Appendf(nil, format, args...) }
