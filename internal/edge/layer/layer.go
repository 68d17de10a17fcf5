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
	// encode takes some of clear, about room bytes, and appends them to the outbox below. One call at a time. What it leaves
	// is the beginning of clear the next time; it always takes something.
	encode(clear [][]byte, room int) (n int, err error)
	// ready reports whether the handshake is over. Any goroutine.
	ready() bool
	// drained says that the outbox below was empty a moment ago. Owner.
	drained()
	// finish appends the layer's last words to the outbox below.
	finish()
	// closed is called last.
	closed()
}

// violation is an error of a peer that does not keep to a layer's protocol, as opposed to one of the network's.
type violation struct{ error }

func (v violation) Unwrap() error { return v.error }

// ProtocolError tells the log what kind of error it is.
func (violation) ProtocolError() bool { return true }

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
	end     *end // not nil: CloseAfterFlush was called

	// The end of the peer's stream. All but the atomic ones belong to the owner.
	eof    bool        // it has come: what is pending is the last
	told   bool        // the handler has had its Closed
	dead   error       // not nil: closed below, but what is pending still waits for the handler
	waits  atomic.Bool // dead is set
	ending atomic.Bool // the handler has called Close or CloseAfterFlush
}

// lastWords is how long what a peer sent before it closed may wait for a handler that has paused.
const lastWords = 10 * time.Second

// end is how a connection ends once what waits is encoded.
type end struct {
	err error
	by  int64 // in milliseconds of Unix time
}

// wrap returns a function that makes the layer's handler, for an engine or for the layer below.
func wrap(sh *Shared, newCodec func() codec, newHandler func(netloop.Conn) netloop.Handler) func(netloop.Conn) netloop.Handler {
	return func(below netloop.Conn) netloop.Handler {
		l := newConn(sh, below, newCodec())
		l.above = newHandler(l)
		return l
	}
}

func newConn(sh *Shared, below netloop.Conn, c codec) *conn {
	l := &conn{below: below, codec: c, shared: sh}
	l.out.Init(sh.budget)
	return l
}

// Opened starts the handshake.
func (l *conn) Opened(loop int, now int64) {
	l.above.Opened(loop, now)
	l.codec.start(l)
}

// Data decodes what was read and offers it to the handler.
func (l *conn) Data(loop int, now int64, raw []byte) (n, need int, again bool) {
	if l.over() || l.eof {
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
			l.eof = true
			l.settle(loop, now)
		} else {
			l.CloseAfterFlush(violation{err}, time.Second)
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
	l.settle(loop, now)
}

// over reports whether the handler gets no more data.
func (l *conn) over() bool { return l.told || l.closing.Load() }

// settle tells the handler that the peer has ended its stream, once it has had all of it: it need not wait until the last
// words have been exchanged, or that a session has ended would be known to the peer first.
func (l *conn) settle(loop int, now int64) {
	if !l.eof || l.ending.Load() || len(l.pending) > 0 && (l.paused.Load() || l.offered) {
		return
	}
	if l.dead != nil {
		l.tell(loop, now, l.dead)
		return
	}
	l.tell(loop, now, io.EOF)
	l.CloseAfterFlush(io.EOF, time.Second)
}

// tell is the handler's Closed.
func (l *conn) tell(loop int, now int64, err error) {
	l.keep(nil)
	if !l.told {
		l.told = true
		l.above.Closed(loop, now, err)
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
		if len(l.pending) > 0 && !l.over() {
			l.offer(loop, now, l.pending, true)
		}
	})
}

// handshaken is posted when the handshake is over: what came behind it is decoded, what waits is sent.
func (l *conn) handshaken(loop int, now int64) {
	l.Data(loop, now, nil)
	l.Flush()
}

// Deadline passes the call on, unless the time for the end is over.
func (l *conn) Deadline(loop int, now int64) {
	if l.end != nil {
		l.Close(l.end.err)
	} else if !l.told {
		l.above.Deadline(loop, now)
	}
}

// Drained goes on with clear bytes that waited.
func (l *conn) Drained(loop int, now int64) {
	l.asked.Store(false)
	if l.codec.ready() {
		l.codec.drained()
	}
	if l.end != nil {
		l.finish(now)
		return
	}
	l.Flush()
	switch {
	case !l.want || l.told:
	case l.out.Bytes() > 0:
		l.askDrained() // another goroutine is encoding, or the outbox below is full again
	default:
		l.want = false
		l.above.Drained(loop, now)
	}
}

// Closed passes the call on, when the handler has had what the peer sent before its end.
func (l *conn) Closed(loop int, now int64, err error) {
	l.out.Close()
	l.codec.closed()
	if !l.over() && errors.Is(err, io.EOF) && len(l.pending) > 0 && (l.paused.Load() || l.offered) {
		l.eof, l.dead = true, err
		l.waits.Store(true)
		if !l.ending.Load() {
			time.AfterFunc(lastWords, func() { l.below.Post(func(loop int, now int64) { l.tell(loop, now, err) }) })
			return
		}
	}
	l.closing.Store(true)
	l.tell(loop, now, err)
}

// Out is the outbox for clear bytes.
func (l *conn) Out() *outbox.Outbox { return &l.out }

// Flush encodes what waits, as far as the outbox below has room: the rest waits here, where the broker counts it, and
// payloads that are only referred to are not copied for a peer that does not read.
func (l *conn) Flush() {
	if !l.codec.ready() {
		return // handshaken flushes
	}
	var space [16][]byte
	for {
		room := highWater - l.below.Out().Bytes()
		if room < highWater/4 {
			l.below.Flush()
			if room = highWater - l.below.Out().Bytes(); room < highWater/4 {
				l.askDrained()
				break
			}
		}
		bufs, ok := l.out.StartWrite(space[:0])
		if !ok {
			break
		}
		n, err := l.codec.encode(bufs, room)
		again, _ := l.out.FinishWrite(n, false)
		if err != nil { // closed below; what came from the peer may still wait for the handler
			l.out.Close()
			l.below.Close(err)
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
	l.ending.Store(true)
	l.out.Close()
	l.below.Close(err)
	if l.waits.Load() {
		l.below.Post(func(loop int, now int64) { l.tell(loop, now, err) })
	}
}

// CloseAfterFlush ends the connection when what waits has been written.
func (l *conn) CloseAfterFlush(err error, within time.Duration) {
	l.ending.Store(true)
	l.out.Seal()
	l.below.Post(func(loop int, now int64) {
		if l.dead != nil {
			l.tell(loop, now, err)
			return
		}
		if l.closing.Swap(true) {
			return
		}
		l.end = &end{err, now + within.Milliseconds()}
		l.below.SetDeadline(l.end.by)
		l.finish(now)
	})
}

// finish encodes what waits, as the peer takes it, and then hands the end over to the layer below.
func (l *conn) finish(now int64) {
	l.Flush()
	if l.codec.ready() && l.out.Bytes() > 0 {
		l.askDrained()
		return
	}
	l.codec.finish()
	l.below.CloseAfterFlush(l.end.err, time.Duration(max(l.end.by-now, 0))*time.Millisecond)
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
		if len(l.pending) > 0 && !l.over() {
			l.offer(loop, now, l.pending, true)
		}
		l.readOn()
	})
}

// readOn resumes reading unless the handler has paused it. Owner.
func (l *conn) readOn() {
	if !l.paused.Load() {
		l.below.Resume()
	}
}

// Post passes the call on.
func (l *conn) Post(fn func(loop int, now int64)) { l.below.Post(fn) }

// SetDeadline passes the call on, until the end has a time of its own.
func (l *conn) SetDeadline(at int64) {
	if l.end == nil {
		l.below.SetDeadline(at)
	}
}

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
