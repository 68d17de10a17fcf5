package client

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// maxPending is how many bytes may wait for the socket before publishers have
// to wait as well.
const maxPending = 1 << 20

// farewell is how long a connection may linger after our DISCONNECT, so that
// the server reads it before it sees the connection reset.
const farewell = time.Second

// link is one network connection. Whoever has something to send appends it to
// out; one goroutine writes it, as much as has come together since the last
// write in one call.
type link struct {
	conn    net.Conn
	version mqtt.Version
	limits  limits // what the server's CONNACK allows

	mu        sync.Mutex
	out       []byte // not yet given to the socket
	writing   int    // bytes in the write that is under way
	congested bool   // somebody waits for room; onRoom tells him
	closing   bool   // write what is there, then say goodbye
	down      bool
	err       error // why it went down

	wake   chan struct{} // capacity 1: out has something
	gone   chan struct{} // closed when the link is down
	onRoom func()
	trace  func(sent bool, f mqtt.Frame) // may be nil
	once   sync.Once

	lastRead  atomic.Int64 // unix nanoseconds
	lastWrite atomic.Int64
	stalled   atomic.Bool // the reader waits for OnMessage and cannot see a PINGRESP
}

func newLink(conn net.Conn, o *Options, onRoom func()) *link {
	l := &link{conn: conn, version: o.Version, wake: make(chan struct{}, 1), gone: make(chan struct{}), onRoom: onRoom, trace: o.Trace}
	now := time.Now().UnixNano()
	l.lastRead.Store(now)
	l.lastWrite.Store(now)
	return l
}

// errLinkDown is what send returns on a link that takes nothing more; reason
// tells why.
var errLinkDown = errors.New("mqtt client: connection lost")

// send appends what encode makes. Its error is encode's, or errLinkDown.
func (l *link) send(encode func(dst []byte) ([]byte, error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down || l.closing {
		return errLinkDown
	}
	grown, err := encode(l.out)
	if err != nil {
		return err
	}
	l.out = grown
	l.kick()
	return nil
}

// sendRaw appends an encoded packet.
func (l *link) sendRaw(packet []byte) error {
	return l.send(func(dst []byte) ([]byte, error) { return append(dst, packet...), nil })
}

func (l *link) kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// room tells whether a publisher may go on; if not, onRoom is called when he
// may. A link that is down has none: its successor will.
func (l *link) room() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down || l.closing {
		return false
	}
	if len(l.out)+l.writing < maxPending {
		return true
	}
	l.congested = true
	return false
}

// reason is why the link went down.
func (l *link) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// close ends the link at once. The first reason stays.
func (l *link) close(err error) {
	l.once.Do(func() {
		l.mu.Lock()
		l.down, l.err = true, err
		l.out = nil
		l.mu.Unlock()
		close(l.gone)
		l.conn.Close()
	})
}

// closeAfter sends a last packet, lets the server read it, and ends the link
// with err.
func (l *link) closeAfter(err error, encode func(dst []byte) ([]byte, error)) {
	l.mu.Lock()
	if l.down || l.closing {
		l.mu.Unlock()
		return
	}
	if grown, encodeErr := encode(l.out); encodeErr == nil {
		l.out = grown
	}
	l.closing, l.err = true, err
	l.kick()
	l.mu.Unlock()
}

// write is the writing goroutine. keepAlive is 0 for none.
func (l *link) write(keepAlive time.Duration) {
	probe := time.NewTimer(time.Hour)
	defer probe.Stop()
	if keepAlive > 0 {
		probe.Reset(untilPing(keepAlive))
	} else {
		probe.Stop()
	}
	var buf []byte
	var pinged int64 // when a PINGREQ was sent that nothing has answered yet
	for {
		select {
		case <-l.gone:
			return
		case <-probe.C:
			now := time.Now().UnixNano()
			if pinged != 0 && l.lastRead.Load() >= pinged {
				pinged = 0
			}
			if pinged != 0 && !l.stalled.Load() {
				l.close(ErrKeepAlive)
				return
			}
			idle := time.Duration(now - l.lastWrite.Load())
			if pinged == 0 && idle < untilPing(keepAlive) {
				probe.Reset(untilPing(keepAlive) - idle)
				continue
			}
			pinged = now
			probe.Reset(untilPing(keepAlive))
			_ = l.sendRaw(mqtt.PingreqBytes) // a link that is down is seen at gone
			continue
		case <-l.wake:
		}
		runtime.Gosched() // let a publisher in a loop add more to this write
		var ok bool
		if buf, ok = l.flush(buf, keepAlive); !ok {
			return
		}
	}
}

// untilPing is a little less than the keep alive time, which is the longest
// silence that the server has agreed to [MQTT-3.1.2-20].
func untilPing(keepAlive time.Duration) time.Duration { return keepAlive - keepAlive/10 }

// flush writes all that waits. spare is a buffer to swap with; the one to pass
// next time is returned.
func (l *link) flush(spare []byte, keepAlive time.Duration) ([]byte, bool) {
	l.mu.Lock()
	buf := l.out
	l.out = spare[:0]
	l.writing = len(buf)
	closing, notify := l.closing, l.congested
	l.congested = false
	l.mu.Unlock()
	if len(buf) > 0 {
		if keepAlive > 0 {
			l.conn.SetWriteDeadline(time.Now().Add(max(keepAlive, 10*time.Second)))
		}
		traceSent(l.trace, buf) // before its answer can come
		if _, err := l.conn.Write(buf); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = ErrKeepAlive
			}
			l.close(err)
			return nil, false
		}
		l.lastWrite.Store(time.Now().UnixNano())
	}
	l.mu.Lock()
	l.writing = 0
	l.mu.Unlock()
	if notify {
		l.onRoom()
	}
	if closing { // nothing was appended since
		l.sayGoodbye()
		return nil, false
	}
	if cap(buf) > 2*maxPending {
		buf = nil // one huge message must not keep its buffer for ever
	}
	return buf, true
}

// traceSent tells trace of the packets in buf.
func traceSent(trace func(sent bool, f mqtt.Frame), buf []byte) {
	for trace != nil && len(buf) > 0 {
		f, n, _, err := mqtt.ParseFrame(buf, 0)
		if err != nil || n == 0 {
			return // not ours to judge here
		}
		trace(true, f)
		buf = buf[n:]
	}
}

// sayGoodbye half-closes, so that the server reads our DISCONNECT and closes;
// the reading goroutine sees that and ends the link.
func (l *link) sayGoodbye() {
	l.conn.SetReadDeadline(time.Now().Add(farewell))
	if half, ok := l.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // an error here shows up at the reader too
	}
}

// isClosing tells whether this side has begun to say goodbye.
func (l *link) isClosing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing
}

func (l *link) isDown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

// reader cuts packets off a connection.
type reader struct {
	conn  net.Conn
	max   int // largest packet taken, 0: no limit
	trace func(sent bool, f mqtt.Frame)
	buf   []byte
	r, w  int // buf[r:w] is unread
}

// next returns the next packet; its body is valid until next is called again.
func (r *reader) next(onRead func()) (mqtt.Frame, error) {
	for {
		f, n, need, err := mqtt.ParseFrame(r.buf[r.r:r.w], r.max)
		if err != nil {
			return f, err
		}
		if n > 0 {
			r.r += n
			if r.trace != nil {
				r.trace(false, f)
			}
			return f, nil
		}
		r.makeRoom(need)
		m, err := r.conn.Read(r.buf[r.w:])
		r.w += m
		if m > 0 {
			onRead()
		} else if err != nil {
			return f, err
		}
	}
}

const readBuffer = 32 << 10

// makeRoom ensures that something can be read behind w. A buffer at most
// doubles at a time, so that an announced length costs nothing until its bytes
// come.
func (r *reader) makeRoom(need int) {
	if r.r == r.w {
		r.r, r.w = 0, 0
		if len(r.buf) > readBuffer {
			r.buf = nil
		}
	}
	switch {
	case r.buf == nil:
		r.buf = make([]byte, readBuffer)
	case r.w < len(r.buf):
	case r.r > 0:
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	default:
		grown := make([]byte, min(max(need, readBuffer), 2*len(r.buf)))
		r.w = copy(grown, r.buf[:r.w])
		r.buf = grown
	}
}
