package layer

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// TLS makes handlers whose connections speak TLS. Handshakes compute on a bounded number of goroutines; afterwards
// everything runs on the loops. checked says that config checks client certificates itself, in VerifyConnection, so that
// what it lets pass counts though crypto/tls has built no chain.
func TLS(sh *Shared, config *tls.Config, checked bool, newHandler func(netloop.Conn) netloop.Handler) func(netloop.Conn) netloop.Handler {
	return wrap(sh, func() codec { return &tlsCodec{config: config, checked: checked, sem: sh.handshakes} }, newHandler)
}

// tlsCodec is crypto/tls over memory. After the handshake Read is fed by the loop and answers "no data yet" with an error
// that crypto/tls takes for temporary; Write appends to the outbox below.
type tlsCodec struct {
	config  *tls.Config
	checked bool
	sem     chan struct{}
	l       *conn
	tls     *tls.Conn
	mem     memory
}

// maxEarly is how much of what a peer sends is held here until the handshake takes it; the rest is not read. A peer may
// send at once what belongs behind its last handshake message.
const maxEarly = 16 << 10

func (c *tlsCodec) start(l *conn) {
	c.l = l
	c.mem.l = l
	c.mem.sem = c.sem
	c.mem.cond.L = &c.mem.mu
	c.tls = tls.Server(&c.mem, c.config)
	go c.handshake()
}

func (c *tlsCodec) handshake() {
	c.sem <- struct{}{}
	err := c.tls.HandshakeContext(context.Background()) // ended by memory.close when the connection goes
	<-c.sem
	if err != nil {
		if !errors.Is(err, io.EOF) { // that is how memory says that the connection is gone
			err = violation{err}
		}
		c.l.below.CloseAfterFlush(err, time.Second) // the alert waits for it, so that no answer to that comes first
		return
	}
	c.l.below.Post(func(loop int, now int64) {
		c.mem.up.Store(true)
		c.l.handshaken(loop, now)
	})
}

func (c *tlsCodec) ready() bool { return c.mem.up.Load() }
func (c *tlsCodec) drained()    {}

func (c *tlsCodec) decode(raw, dst []byte) (int, []byte, error) {
	if !c.mem.up.Load() {
		return c.mem.feed(raw), dst, nil
	}
	c.mem.set(raw)
	for {
		if cap(dst)-len(dst) < 4<<10 {
			dst = append(make([]byte, 0, 2*cap(dst)+16<<10), dst...)
		}
		n, err := c.tls.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case err == nil:
		case errors.Is(err, errNoData):
			return len(raw), dst, nil
		case errors.Is(err, io.EOF):
			return len(raw), dst, errDone
		default:
			return len(raw), dst, err
		}
	}
}

func (c *tlsCodec) encode(clear [][]byte, room int) (n int, err error) {
	for _, b := range clear {
		b = b[:min(len(b), room-n)]
		if len(b) == 0 {
			break
		}
		if _, err := c.tls.Write(b); err != nil {
			return n, err
		}
		n += len(b)
	}
	return n, nil
}

func (c *tlsCodec) finish() {
	if c.mem.up.Load() {
		_ = c.tls.CloseWrite() // close_notify, so that the peer knows nothing was cut off
	}
}

func (c *tlsCodec) closed() { c.mem.close() }

// noData is a temporary error: crypto/tls returns it and does not remember it.
type noData struct{}

func (noData) Error() string   { return "layer: no data yet" }
func (noData) Timeout() bool   { return true }
func (noData) Temporary() bool { return true }

var errNoData net.Error = noData{}

// memory is the net.Conn below crypto/tls.
type memory struct {
	l     *conn
	sem   chan struct{}
	up    atomic.Bool // the handshake is over: Read never blocks
	mu    sync.Mutex
	cond  sync.Cond
	early []byte // what came before the handshake was over
	held  bool   // reading is paused until early is taken
	in    []byte // a view of what the loop has read; owner only
	gone  bool
}

// feed takes bytes for the handshake, as many as there is room for.
func (m *memory) feed(p []byte) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n = min(len(p), maxEarly-len(m.early))
	if n < len(p) {
		m.held = true
		m.l.below.Pause()
	}
	m.early = append(m.early, p[:n]...)
	m.cond.Signal()
	return n
}

func (m *memory) set(p []byte) { m.in = p }

func (m *memory) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone, m.early = true, nil
	m.cond.Broadcast()
}

// Read waits for bytes during the handshake, without holding a place among those that compute.
func (m *memory) Read(p []byte) (int, error) {
	m.mu.Lock()
	if !m.up.Load() && len(m.early) == 0 && !m.gone {
		m.mu.Unlock()
		m.l.below.Flush()
		m.mu.Lock()
	}
	if !m.up.Load() && len(m.early) == 0 && !m.gone {
		<-m.sem
		for !m.up.Load() && len(m.early) == 0 && !m.gone {
			m.cond.Wait()
		}
		m.mu.Unlock()
		m.sem <- struct{}{}
		m.mu.Lock()
	}
	defer m.mu.Unlock()
	switch {
	case len(m.early) > 0:
		n := copy(p, m.early)
		if m.early = m.early[n:]; len(m.early) == 0 {
			m.early = nil
			if m.held {
				m.held = false
				m.l.below.Post(func(int, int64) { m.l.readOn() })
			}
		}
		return n, nil
	case m.gone:
		return 0, io.EOF
	case len(m.in) > 0:
		n := copy(p, m.in)
		m.in = m.in[n:]
		return n, nil
	}
	return 0, errNoData
}

// Write appends to the outbox below. During the handshake Read flushes before it waits, later the layer does: once for many
// records.
func (m *memory) Write(p []byte) (int, error) {
	if ok, _ := m.l.below.Out().Append(p); !ok {
		return 0, net.ErrClosed
	}
	return len(p), nil
}

func (m *memory) Close() error                     { return nil }
func (m *memory) LocalAddr() net.Addr              { return m.l.below.LocalAddr() }
func (m *memory) RemoteAddr() net.Addr             { return m.l.below.RemoteAddr() }
func (m *memory) SetDeadline(time.Time) error      { return nil }
func (m *memory) SetReadDeadline(time.Time) error  { return nil }
func (m *memory) SetWriteDeadline(time.Time) error { return nil }
