// Package layer puts TLS and WebSocket between a socket and its protocol side, on the event loops: no goroutine and no
// buffer for an idle connection.
//
// A layer is a netloop.Handler to the engine below it and a netloop.Conn to the handler above it. It has an outbox of its
// own for clear bytes; Flush encodes them into the outbox below. Layers stack: secure WebSocket is WebSocket over TLS.
package layer

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// codec turns what the peer sends into clear bytes and back.
type codec interface {
	// start is called once, on the owner, before anything else.
	start(l *conn)
	// decode takes all or part of raw and appends the clear bytes to dst. n is what it took. An error ends the connection;
	// errDone ends it in good order.
	decode(raw, dst []byte) (n int, clear []byte, err error)
	// encode appends clear to the outbox below. One call at a time.
	encode(clear []byte) error
	// ready reports whether the handshake is over. Any goroutine.
	ready() bool
	// finish appends the layer's last words to the outbox below.
	finish()
	// closed is called last.
	closed()
}

var errDone = errors.New("layer: the peer closed")

// highWater is how many encoded bytes may wait below before clear bytes wait here, where the broker sees them and sheds.
const highWater = 64 << 10

// Shared is what all connections with one kind of layer have in common. Layers that are stacked need one each.
type Shared struct {
	bufs       [][]byte // per loop, for clear bytes
	budget     *outbox.Budget
	handshakes chan struct{} // TLS handshakes that may compute at a time
}

// NewShared makes it for a number of loops. budget is charged for clear outboxes and incomplete packets.
func NewShared(loops int, budget *outbox.Budget) *Shared {
	return &Shared{bufs: make([][]byte, loops), budget: budget, handshakes: make(chan struct{}, 2*loops)}
}

// conn is one layer of one connection.
type conn struct {
	below   netloop.Conn
	above   netloop.Handler
	codec   codec
	shared  *Shared
	out     outbox.Outbox
	pending []byte // clear bytes that the handler has not consumed
	asked   atomic.Bool
	closing atomic.Bool
	paused  atomic.Bool
	want    bool // the handler wants to know when all is written
	offered bool // an offer of pending bytes is posted
}

// wrap returns a function that makes the layer's handler, for an engine or for the layer below.
func wrap(sh *Shared, newCodec func() codec, newHandler func(netloop.Conn) netloop.Handler) func(netloop.Conn) netloop.Handler {
	return func(below netloop.Conn) netloop.Handler {
		l := &conn{below: below, codec: newCodec(), shared: sh}
		l.out.Init(sh.budget)
		l.above = newHandler(l)
		return l
	}
}

// Opened starts the handshake.
func (l *conn) Opened(loop int, now int64) {
	l.above.Opened(loop, now)
	l.codec.start(l)
}

// Data decodes what was read and offers it to the handler.
func (l *conn) Data(loop int, now int64, raw []byte) (n, need int, again bool) {
	if l.closing.Load() {
		return len(raw), 0, false
	}
	clear, own := l.pending, true
	if len(clear) == 0 {
		clear, own = l.shared.bufs[loop][:0], false
	}
	n, clear, err := l.codec.decode(raw, clear)
	if own {
		l.keep(clear)
	} else {
		l.shared.bufs[loop] = clear[:0]
	}
	l.offer(loop, now, clear, own)
	if err != nil {
		if errors.Is(err, errDone) {
			l.CloseAfterFlush(io.EOF, time.Second)
		} else {
			l.CloseAfterFlush(err, time.Second)
		}
		return len(raw), 0, false
	}
	if l.below.Out().Bytes() > 0 {
		l.below.Flush()
	}
	return n, 0, false
}

// offer gives clear bytes to the handler and keeps the rest.
func (l *conn) offer(loop int, now int64, clear []byte, own bool) {
	n, again := 0, false
	if len(clear) > 0 && !l.paused.Load() {
		n, _, again = l.above.Data(loop, now, clear)
	}
	switch rest := clear[n:]; {
	case len(rest) == 0:
		l.keep(nil)
	case own && n == 0:
	case own:
		l.keep(append(clear[:0], rest...))
	default:
		l.keep(append([]byte(nil), rest...))
	}
	if again {
		l.repost()
	}
}

// keep holds what the handler has not consumed, charged to the budget.
func (l *conn) keep(p []byte) {
	if len(p) == 0 {
		p = nil
	}
	l.shared.budget.Add(cap(p) - cap(l.pending))
	l.pending = p
}

// repost offers the pending bytes again, soon.
func (l *conn) repost() {
	if l.offered {
		return
	}
	l.offered = true
	l.below.Post(func(loop int, now int64) {
		l.offered = false
		if len(l.pending) > 0 && !l.closing.Load() {
			l.offer(loop, now, l.pending, true)
		}
	})
}

// handshaken is posted when the handshake is over: what came behind it is decoded, what waits is sent.
func (l *conn) handshaken(loop int, now int64) {
	l.Data(loop, now, nil)
	l.Flush()
}

// Deadline passes the call on.
func (l *conn) Deadline(loop int, now int64) { l.above.Deadline(loop, now) }

// Drained goes on with clear bytes that waited.
func (l *conn) Drained(loop int, now int64) {
	l.asked.Store(false)
	l.Flush()
	if l.want && l.out.Bytes() == 0 {
		l.want = false
		l.above.Drained(loop, now)
	}
}

// Closed passes the call on.
func (l *conn) Closed(loop int, now int64, err error) {
	l.closing.Store(true)
	l.out.Close()
	l.keep(nil)
	l.codec.closed()
	l.above.Closed(loop, now, err)
}

// Out is the outbox for clear bytes.
func (l *conn) Out() *outbox.Outbox { return &l.out }

// Flush encodes what waits, as far as the outbox below has room.
func (l *conn) Flush() {
	if !l.codec.ready() {
		return // handshaken flushes
	}
	var room [16][]byte
	for {
		if l.below.Out().Bytes() > highWater && !l.closing.Load() {
			l.askDrained()
			break
		}
		bufs, ok := l.out.StartWrite(room[:0])
		if !ok {
			break
		}
		n := 0
		var err error
		for _, b := range bufs {
			if err == nil {
				err = l.codec.encode(b)
			}
			n += len(b)
		}
		again, _ := l.out.FinishWrite(n, false)
		if err != nil {
			l.Close(err)
			return
		}
		if !again {
			break
		}
	}
	l.below.Flush()
}

func (l *conn) askDrained() {
	if l.asked.CompareAndSwap(false, true) {
		l.below.Post(func(int, int64) { l.below.WantDrained() })
	}
}

// Close ends the connection at once.
func (l *conn) Close(err error) {
	l.out.Close()
	l.below.Close(err)
}

// CloseAfterFlush ends the connection when what waits has been written.
func (l *conn) CloseAfterFlush(err error, within time.Duration) {
	l.out.Seal()
	l.below.Post(func(int, int64) { l.finish(err, within, 0) })
}

// finish runs on the owner. Another goroutine may be encoding: then it comes back.
func (l *conn) finish(err error, within time.Duration, tries int) {
	l.closing.Store(true)
	l.Flush()
	if l.out.Bytes() > 0 && l.codec.ready() && tries < 1000 {
		l.below.Post(func(int, int64) { l.finish(err, within, tries+1) })
		return
	}
	l.codec.finish()
	l.below.CloseAfterFlush(err, within)
}

// Pause stops reading.
func (l *conn) Pause() {
	l.paused.Store(true)
	l.below.Pause()
}

// Resume goes on reading, with what is pending first.
func (l *conn) Resume() {
	l.below.Post(func(loop int, now int64) {
		l.paused.Store(false)
		if len(l.pending) > 0 && !l.closing.Load() {
			l.offer(loop, now, l.pending, true)
		}
		if !l.paused.Load() {
			l.below.Resume()
		}
	})
}

// Post passes the call on.
func (l *conn) Post(fn func(loop int, now int64)) { l.below.Post(fn) }

// SetDeadline passes the call on.
func (l *conn) SetDeadline(at int64) { l.below.SetDeadline(at) }

// WantDrained asks for one call of the handler's Drained.
func (l *conn) WantDrained() {
	l.want = true
	l.askDrained()
}

// RemoteAddr passes the call on.
func (l *conn) RemoteAddr() net.Addr { return l.below.RemoteAddr() }

// LocalAddr passes the call on.
func (l *conn) LocalAddr() net.Addr { return l.below.LocalAddr() }

// Loop passes the call on.
func (l *conn) Loop() int { return l.below.Loop() }
