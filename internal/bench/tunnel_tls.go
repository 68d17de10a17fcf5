package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// tlsCodec is crypto/tls over memory: the handshake runs on a goroutine of its own; then the loop feeds Read, which says
// "nothing yet" with an error that crypto/tls takes for temporary and does not remember.
type tlsCodec struct {
	config *tls.Config
	t      *tunnel
	tls    *tls.Conn
	up     atomic.Bool
	over   bool // the handshake has failed

	mu    sync.Mutex
	cond  sync.Cond
	early []byte // what came during the handshake
	gone  bool
	in    []byte // a view of what the loop has read
}

func (c *tlsCodec) start(t *tunnel) {
	c.t = t
	c.cond.L = &c.mu
	c.tls = tls.Client((*pipe)(c), c.config)
	go func() {
		err := c.tls.HandshakeContext(context.Background()) // ended by closed
		c.t.Post(func(loop int, now int64) { c.shaken(loop, now, err) })
	}()
}

// shaken is the end of the handshake.
func (c *tlsCodec) shaken(loop int, now int64, err error) {
	t := c.t
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		err = fmt.Errorf("TLS: %w", err)
	case err != nil || t.dead != nil:
		err = errCut
	}
	switch {
	case t.dead != nil:
		t.above.Closed(loop, now, err)
	case err != nil:
		t.Conn.Close(err)
		c.over = true
	default:
		c.up.Store(true)
		t.handshaken(loop, now)
	}
}

func (c *tlsCodec) ready() bool { return c.up.Load() }

func (c *tlsCodec) decode(raw, dst []byte) (int, []byte, error) {
	if !c.up.Load() {
		c.mu.Lock()
		c.early = append(c.early, raw...)
		c.cond.Signal()
		c.mu.Unlock()
		return len(raw), dst, nil
	}
	c.in = raw
	for {
		if cap(dst)-len(dst) < 16<<10 { // a whole record, so that crypto/tls keeps none
			dst = append(make([]byte, 0, 2*cap(dst)+64<<10), dst...)
		}
		n, err := c.tls.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case err == nil:
		case errors.Is(err, errNothing):
			return len(raw), dst, nil
		default:
			return len(raw), dst, err
		}
	}
}

func (c *tlsCodec) encode(clear [][]byte) error {
	for _, b := range clear {
		if _, err := c.tls.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func (c *tlsCodec) finish() { _ = c.tls.CloseWrite() } // fails only when the connection is gone

// closed ends a handshake that is under way, which then says why it had to end.
func (c *tlsCodec) closed() (wait bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	c.cond.Broadcast()
	return !c.up.Load() && !c.over
}

// pipe is the net.Conn below crypto/tls.
type pipe tlsCodec

// nothing is a temporary error.
type nothing struct{}

func (nothing) Error() string   { return "bench: nothing yet" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

var errNothing net.Error = nothing{}

// Read waits during the handshake, and never after it.
func (p *pipe) Read(b []byte) (int, error) {
	if len(p.in) > 0 && p.up.Load() && p.early == nil {
		n := copy(b, p.in)
		p.in = p.in[n:]
		return n, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.up.Load() && len(p.early) == 0 && !p.gone {
		p.cond.Wait()
	}
	switch {
	case len(p.early) > 0:
		n := copy(b, p.early)
		if p.early = p.early[n:]; len(p.early) == 0 {
			p.early = nil
		}
		return n, nil
	case p.gone:
		return 0, io.EOF
	case len(p.in) > 0:
		n := copy(b, p.in)
		p.in = p.in[n:]
		return n, nil
	}
	return 0, errNothing
}

// Write appends to the outbox below. During the handshake nobody else flushes.
func (p *pipe) Write(b []byte) (int, error) {
	below := p.t.Conn
	if ok, _ := below.Out().Append(b); !ok {
		return 0, net.ErrClosed
	}
	if !p.up.Load() {
		below.Flush()
	}
	return len(b), nil
}

func (p *pipe) conn() netloop.Conn { return p.t.Conn }

// Close and the deadlines have nothing to do: the connection below has its own.
func (p *pipe) Close() error                     { return nil }
func (p *pipe) LocalAddr() net.Addr              { return p.conn().LocalAddr() }
func (p *pipe) RemoteAddr() net.Addr             { return p.conn().RemoteAddr() }
func (p *pipe) SetDeadline(time.Time) error      { return nil }
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }
