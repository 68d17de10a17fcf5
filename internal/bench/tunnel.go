package bench

import (
	"crypto/tls"
	"errors"
	"io"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// tunnel puts TLS or WebSocket between a socket and a client, from the client's side: to the client it is the connection, to
// the connection (or to another tunnel) its handler. It belongs to its loop like everything here, so it needs no lock; only the
// TLS handshake computes elsewhere.
type tunnel struct {
	netloop.Conn // below
	above        netloop.Handler
	codec        codec
	scratch      *[]byte // the loop's, for clear bytes
	out          outbox.Outbox
	pending      []byte // clear bytes that above has not consumed
	end          func() // what CloseAfterFlush has put off until the handshake is over
	dead         error  // closed during a handshake that is still to say why
}

// codec is what a tunnel speaks.
type codec interface {
	// start begins the handshake.
	start(t *tunnel)
	// decode appends the clear bytes in raw to dst and returns how much of raw it took. io.EOF: the peer has ended its stream.
	decode(raw, dst []byte) (n int, clear []byte, err error)
	// encode appends clear to the outbox below.
	encode(clear [][]byte) error
	// ready reports whether the handshake is over.
	ready() bool
	// finish appends the last words to the outbox below.
	finish()
	// closed is called last. wait: the codec calls above.Closed itself, later.
	closed() (wait bool)
}

// layered returns what makes a client's handler for a connection, through the tunnels that the options ask for.
func (s *shard) layered(c *client) func(netloop.Conn) netloop.Handler {
	handler := func(conn netloop.Conn) netloop.Handler {
		c.conn = conn
		return c
	}
	o := &s.run.o
	if o.WebSocket {
		handler = s.through(&s.clear[1], func() codec { return newWSCodec(o, c.id) }, handler)
	}
	if o.TLS != nil {
		handler = s.through(&s.clear[0], func() codec { return &tlsCodec{config: s.run.tls} }, handler)
	}
	return handler
}

func (s *shard) through(scratch *[]byte, make func() codec, handler func(netloop.Conn) netloop.Handler) func(netloop.Conn) netloop.Handler {
	return func(below netloop.Conn) netloop.Handler {
		t := &tunnel{Conn: below, codec: make(), scratch: scratch}
		t.above = handler(t)
		return t
	}
}

// Opened begins the handshake; what the client sends meanwhile waits.
func (t *tunnel) Opened(loop int, now int64) {
	t.codec.start(t)
	t.above.Opened(loop, now)
}

// Data decodes what was read.
func (t *tunnel) Data(loop int, now int64, raw []byte) (n, need int, again bool) {
	before := t.codec.ready()
	clear := append((*t.scratch)[:0], t.pending...)
	n, clear, err := t.codec.decode(raw, clear)
	*t.scratch = clear[:0]
	if !before && t.codec.ready() {
		t.Flush()
	}
	used := 0
	if len(clear) > 0 {
		used, _, _ = t.above.Data(loop, now, clear)
	}
	t.pending = append(t.pending[:0], clear[used:]...)
	if err != nil {
		t.Conn.Close(err)
		return len(raw), 0, false
	}
	if t.codec.ready() && t.Conn.Out().Bytes() > 0 {
		t.Conn.Flush() // a pong, or an answer of TLS
	}
	t.ended()
	return n, 0, false
}

// handshaken follows the handshake: what came behind it is decoded, what waits is sent.
func (t *tunnel) handshaken(loop int, now int64) {
	t.Data(loop, now, nil)
	t.Flush()
}

// Deadline passes the call on.
func (t *tunnel) Deadline(loop int, now int64) { t.above.Deadline(loop, now) }

// Drained is not used: what the socket does not take waits below.
func (t *tunnel) Drained(int, int64) {}

// Closed passes the call on, with a better reason if the handshake has one.
func (t *tunnel) Closed(loop int, now int64, err error) {
	t.out.Close()
	if !t.codec.ready() && errors.Is(err, io.EOF) {
		err = errCut
	}
	if t.codec.closed() {
		t.dead = err
		return
	}
	t.above.Closed(loop, now, err)
}

// Out is the outbox for clear bytes.
func (t *tunnel) Out() *outbox.Outbox { return &t.out }

// Flush encodes all that waits.
func (t *tunnel) Flush() {
	if !t.codec.ready() {
		return
	}
	var space [16][]byte
	for {
		bufs, ok := t.out.StartWrite(space[:0])
		if !ok {
			break
		}
		size := 0
		for _, b := range bufs {
			size += len(b)
		}
		err := t.codec.encode(bufs)
		again, _ := t.out.FinishWrite(size, false)
		if err != nil {
			t.Conn.Close(err)
			return
		}
		if !again {
			break
		}
	}
	t.Conn.Flush()
}

// Close ends the connection at once.
func (t *tunnel) Close(err error) {
	t.out.Close()
	t.Conn.Close(err)
}

// CloseAfterFlush ends it once what waits has been written.
func (t *tunnel) CloseAfterFlush(err error, within time.Duration) {
	t.out.Seal()
	t.end = func() {
		t.Flush()
		t.codec.finish()
		t.Conn.CloseAfterFlush(err, within)
	}
	t.Post(func(int, int64) { t.ended() })
}

// ended does what CloseAfterFlush has put off.
func (t *tunnel) ended() {
	if end := t.end; end != nil && t.codec.ready() {
		t.end = nil
		end()
	}
}

// tlsConfig completes what the user gave.
func (r *run) tlsConfig() *tls.Config {
	if r.o.TLS == nil {
		return nil
	}
	c := r.o.TLS.Clone()
	if c.ServerName == "" {
		c.ServerName = r.host
	}
	return c
}

var errCut = errors.New("the broker closed the connection during the handshake: is this the right port?")
