// Package netloop moves bytes between sockets and the protocol: event loops on epoll (Linux), and a goroutine per
// connection everywhere. Both engines keep one promise: whatever belongs to a connection runs on its owner, one thing at a
// time, and all connections of one loop share an exclusive slot, so that per-loop state needs no lock.
//
// A connection is driven through [Handler] and commanded through [Conn]; what is to be sent goes into the connection's
// outbox and leaves with Flush. Nothing here knows MQTT.
package netloop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
)

// Errors that Handler.Closed, Serve and Adopt may report, besides io.EOF, system errors and those given to Close.
var (
	// ErrEngineClosed: the engine has been closed.
	ErrEngineClosed = errors.New("netloop: the engine is closed")
	// ErrPartialTooLarge: the handler left more than Options.MaxPartial bytes unconsumed.
	ErrPartialTooLarge = errors.New("netloop: an incomplete packet exceeds the engine's limit (Options.MaxPartial)")
	// ErrHandlerPanic: a method of the connection's handler panicked; the value and stack went to Options.OnPanic.
	ErrHandlerPanic = errors.New("netloop: the connection's handler panicked")
	// ErrNoDescriptor: the epoll engine can only adopt connections that have a file descriptor.
	ErrNoDescriptor = errors.New("netloop: the connection has no file descriptor; use the goroutine engine for it")
)

// Handler is the protocol's side of one connection. All its methods are called by the connection's owner, one at a
// time. loop is the index of an exclusive slot (0..Loops-1): while a method runs, nothing else runs with the same index.
// now is in milliseconds of Unix time, read once per batch (see Options.Now).
type Handler interface {
	// Opened comes first.
	Opened(loop int, now int64)
	// Data offers what has been read. It returns the number of bytes consumed; the rest is offered again, in front of
	// what comes next. need is the total size in bytes of the incomplete packet at the front of the rest, 0 if unknown:
	// it only bounds buffers; Data is called whenever bytes arrive, so a handler sees the progress of a partial packet.
	// again asks for another call soon without waiting for new bytes (it stopped for fairness). p is valid only during
	// the call.
	Data(loop int, now int64, p []byte) (n, need int, again bool)
	// Deadline says that the time set by SetDeadline has passed: never early, at most about 150 ms late. The deadline is
	// cleared before the call.
	Deadline(loop int, now int64)
	// Drained follows WantDrained once the outbox is empty.
	Drained(loop int, now int64)
	// Closed comes exactly once, last. err is io.EOF, a system error, or what Close was given.
	Closed(loop int, now int64, err error)
}

// Conn is one connection, as an engine offers it. Methods may be called from any goroutine unless they say otherwise,
// never block, and do nothing on a closed connection (Post excepted).
type Conn interface {
	// Out is the outbox; after Append said wake, call Flush.
	Out() *outbox.Outbox
	// Flush writes what the outbox holds without blocking; what the socket does not take follows when it does.
	Flush()
	// Close stops reading now, discards the outbox; Handler.Closed(err) follows on the owner. Only the first error given
	// to Close or CloseAfterFlush is reported.
	Close(err error)
	// CloseAfterFlush stops reading now, refuses further appends, and writes what the outbox holds for at most within.
	// Then it shuts the sending side down and reads, discarding, for a moment more (until the peer closes, at most a
	// second, and within in total), so that a peer that is still sending gets the last bytes and not a reset. Then as
	// Close. Handler.Deadline is not called any more.
	CloseAfterFlush(err error, within time.Duration)
	// Pause stops reading, Resume goes on and offers the bytes already read again. A paused connection still closes when
	// it breaks, and when the peer has closed and nothing is left unread (else Resume comes first).
	Pause()
	Resume()
	// Post runs fn on the owner, exclusive with the handler's methods. It always runs, exactly once, in the order of the
	// calls of one goroutine; also after Closed, then still exclusive with the loop of this connection.
	Post(fn func(loop int, now int64))
	// SetDeadline (owner only) asks for Handler.Deadline at the given time in Unix milliseconds; 0: never. It replaces the
	// former deadline.
	SetDeadline(at int64)
	// WantDrained (owner only) asks for one call of Handler.Drained once the outbox is empty, soon if it is already.
	WantDrained()
	// RemoteAddr and LocalAddr build a net.Addr on each call. They never return nil; LocalAddr of a closed connection is
	// unspecified.
	RemoteAddr() net.Addr
	LocalAddr() net.Addr
	// Loop is the index of the slot that owns the connection.
	Loop() int
}

// Engine runs connections. Its methods are safe for concurrent use.
type Engine interface {
	// Serve accepts connections until l is closed (it then returns nil) or the engine is (ErrEngineClosed, l is closed).
	// newHandler is called on the owner, just before Opened. Any stream listener will do; one that went through [Own] is
	// the fastest. Accepted sockets have TCP_NODELAY.
	Serve(l net.Listener, newHandler func(c Conn) Handler) error
	// Adopt takes an open connection over; c must not be used afterwards, also if an error is returned.
	Adopt(c net.Conn, newHandler func(c Conn) Handler) (Conn, error)
	// Each calls fn for the connections open now until it returns false. Some may close or open meanwhile.
	Each(fn func(c Conn) bool)
	// Len is the number of open connections.
	Len() int
	// Loops is the number of exclusive slots.
	Loops() int
	// PostLoop runs fn in a slot, exactly once.
	PostLoop(loop int, fn func(loop int, now int64))
	// Close closes the listeners being served and all connections (each Handler gets Closed(ErrEngineClosed)), stops the
	// loops and waits for them, or for ctx. Not to be called from a slot.
	Close(ctx context.Context) error
}

// Descriptor is a net.Conn that can part from its socket: Adopt then does without a duplicate. Engines that need a whole
// net.Conn do not take one.
type Descriptor interface {
	net.Conn
	// Detach gives the descriptor, which is non-blocking, away: closing the net.Conn does not close it any more.
	Detach() int
}

// Options of an engine; the zero value is a good choice.
type Options struct {
	// Engine is one of Engines(), or "" for the best on this platform.
	Engine string
	// Loops is the number of loops or slots; 0: GOMAXPROCS.
	Loops int
	// ReadBuffer is the size in bytes of a loop's read buffer; 0: 128 KiB (measured: 64 is as
	// good for small packets, 256 no better for large ones). The goroutine engine grows each connection's
	// buffer up to it, but not above 64 KiB.
	ReadBuffer int
	// MaxPartial is the largest number of bytes that a handler may leave unconsumed before the connection is closed with
	// ErrPartialTooLarge; 0: the largest MQTT packet and a read buffer. It is a backstop: a handler checks packet sizes as
	// soon as it sees them.
	MaxPartial int
	// Budget is charged for outboxes and for partial packets above a few KiB. May be nil.
	Budget *outbox.Budget
	// Logger gets what the operator has to know: descriptors exhausted, panics. nil: slog.Default().
	Logger *slog.Logger
	// Now is the clock, in milliseconds of Unix time; it must not step. nil: the wall clock at New plus monotonic time
	// since, so that a clock that is set while we run fires no deadlines.
	Now func() int64
	// EndTurn is called in the slot after each batch of events (epoll), and whenever many bytes have been read within a
	// batch, or after each call of Data, Post and so on (goroutine): flush dirty outboxes here. May be nil.
	EndTurn func(loop int, now int64)
	// OnPanic gets the value and stack of a panic in a handler or in a function given to Conn.Post; the connection is closed,
	// the rest goes on. nil: it is logged. Panics in EndTurn and in functions given to PostLoop end the process.
	OnPanic func(loop int, c Conn, v any, stack []byte)
}

const (
	defaultReadBuffer = 128 << 10
	minReadBuffer     = 8 << 10
	maxPacket         = 268_435_455 + 5 // MQTT 5 §2.1.4: the largest remaining length, and its fixed header
	lingerTime        = time.Second
	maxIov            = 32 // slices per write
)

// Engines lists the engines that this platform has, best first.
func Engines() []string {
	var names []string
	for _, e := range engines {
		names = append(names, e.name)
	}
	return names
}

// New starts an engine.
func New(o Options) (Engine, error) {
	if o.Loops <= 0 {
		o.Loops = runtime.GOMAXPROCS(0)
	}
	if o.ReadBuffer <= 0 {
		o.ReadBuffer = defaultReadBuffer
	}
	o.ReadBuffer = max(o.ReadBuffer, minReadBuffer)
	if o.MaxPartial <= 0 {
		o.MaxPartial = maxPacket + o.ReadBuffer
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = steadyClock()
	}
	for _, e := range engines {
		if o.Engine == "" || o.Engine == e.name {
			return e.start(o)
		}
	}
	return nil, fmt.Errorf("netloop: there is no engine %q on %s; choose one of %q", o.Engine, runtime.GOOS, Engines())
}

// steadyClock counts Unix milliseconds and never steps: the wall clock is read once, what has passed since is monotonic.
func steadyClock() func() int64 {
	start := time.Now()
	base := start.UnixMilli()
	return func() int64 { return base + time.Since(start).Milliseconds() }
}

type engineKind struct {
	name  string
	start func(Options) (Engine, error)
}
