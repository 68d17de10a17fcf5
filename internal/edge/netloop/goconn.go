package netloop

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
)

// goConn is a connection of the goroutine engine. Its reader goroutine owns the buffer, calls Data (holding the slot), and is
// the only one who closes the net.Conn; others who want something from it set a bit of state and wake it up with a read
// deadline in the past.
type goConn struct {
	closing
	out   outbox.Outbox
	slot  *slot
	nc    net.Conn
	h     Handler
	links links[goConn]
	wake  chan struct{} // holds one: the reader waits here when it cannot wait in Read

	// The reader's; buf[r:w] has not been consumed.
	buf    []byte
	r, w   int
	need   int
	filled bool        // the last read used all the room
	few    int         // consecutive reads that would have fitted into the smallest buffer
	rest   atomic.Bool // there is a rest: Resume has to wake the reader up

	written atomic.Bool // the writer that was at work when the outbox was closed has ended
}

const (
	minGoBuffer = 2 << 10
	maxGoBuffer = 64 << 10
	fewReads    = 32
)

var past = time.Unix(1, 0)

func (c *goConn) timer() *links[goConn] { return &c.links }

func (c *goConn) Out() *outbox.Outbox  { return &c.out }
func (c *goConn) Loop() int            { return c.slot.index }
func (c *goConn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }
func (c *goConn) LocalAddr() net.Addr  { return c.nc.LocalAddr() }

func (c *goConn) Post(fn func(loop int, now int64)) { c.slot.put(goTask{c: c, fn: fn}) }

func (c *goConn) Pause() { c.state.Or(stPaused) }

func (c *goConn) Resume() {
	if old := c.state.And(^stPaused); old&stPaused != 0 && c.rest.Load() {
		c.state.Or(stOffer)
		c.kick()
	}
}

func (c *goConn) SetDeadline(at int64) {
	if c.h == nil || c.state.Load()&stClosing != 0 {
		return
	}
	s := c.slot
	s.wheel.set(c, at)
	if next := s.wheel.next(); next != 0 && (s.armed == 0 || next < s.armed) {
		s.signal()
	}
}

func (c *goConn) WantDrained() {
	c.state.Or(stWantDrained) // before the look at the outbox: the writer looks in the other order
	if c.out.Bytes() == 0 {
		c.slot.put(goTask{c: c})
	}
}

// drained calls the handler if the outbox is (still) empty. The slot is held.
func (c *goConn) drained(now int64) {
	if c.h == nil || c.out.Bytes() != 0 || c.state.Load()&stClosing != 0 || c.state.And(^stWantDrained)&stWantDrained == 0 {
		return
	}
	if !c.slot.opts.call(c.slot.index, c, c.h.Drained, now) {
		c.Close(ErrHandlerPanic)
	}
}

func (c *goConn) Close(err error) {
	c.claim(err, 0)
	c.state.Or(stHard)
	c.out.Seal()
	_ = c.nc.SetWriteDeadline(past) // ends a blocked write; an error means that nc is closed already
	c.kick()
}

func (c *goConn) CloseAfterFlush(err error, within time.Duration) {
	if c.claim(err, within) {
		c.out.Seal()
		c.kick()
	}
}

// kick makes the reader look at its state.
func (c *goConn) kick() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
	_ = c.nc.SetReadDeadline(past)
}

var iovPool = sync.Pool{New: func() any { return new([maxIov][]byte) }}

// Flush starts a writer, unless one is at work: writing may block.
func (c *goConn) Flush() {
	if c.state.Load()&stHard != 0 {
		return
	}
	space := iovPool.Get().(*[maxIov][]byte)
	slices, ok := c.out.StartWrite(space[:0])
	if !ok {
		iovPool.Put(space)
		return
	}
	go c.write(space, slices)
}

// write ends when the outbox is empty.
func (c *goConn) write(space *[maxIov][]byte, slices [][]byte) {
	for ok := true; ok; {
		bufs := net.Buffers(slices) // writev, where the connection knows it
		n, err := bufs.WriteTo(c.nc)
		again, closed := c.out.FinishWrite(int(n), err != nil)
		if closed {
			c.written.Store(true)
			c.kick()
			break
		}
		if err != nil {
			c.Close(err)
			break
		}
		if again {
			slices, ok = c.out.StartWrite(space[:0])
			continue
		}
		if st := c.state.Load(); c.out.Bytes() == 0 && st&stClosing != 0 {
			c.kick() // the reader waits for this to shut down
		} else if c.out.Bytes() == 0 && st&stWantDrained != 0 {
			c.slot.put(goTask{c: c})
		}
		break
	}
	clear(space[:])
	iovPool.Put(space)
}

// read is the reader goroutine.
func (c *goConn) read() {
	fresh := false // there are bytes that Data has not seen
	var readErr error
	for readErr == nil {
		st := c.state.Load()
		if st&stClosing != 0 {
			break
		}
		paused := st&stPaused != 0
		if !paused && (fresh || st&stOffer != 0) {
			c.state.And(^stOffer)
			again, ok := c.offer()
			if !ok {
				break
			}
			if fresh = again; again {
				runtime.Gosched()
				continue
			}
			if c.state.Load()&stPaused != 0 { // Data may have stopped half-way because of it
				fresh = c.w > c.r
			}
			continue
		}
		room := c.room(paused)
		c.rest.Store(c.w > c.r)
		if now := c.state.Load(); now&(stClosing|stPaused) != st&stPaused || now&(stOffer|stPaused) == stOffer {
			continue // changed before the others could know that waking us up is needed
		}
		if room == nil {
			<-c.wake
			continue
		}
		n, err := c.nc.Read(room)
		if n > 0 {
			c.w += n
			c.filled = n == len(room)
			fresh = true
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			_ = c.nc.SetReadDeadline(time.Time{})
		case err != nil:
			readErr = c.ended(err, fresh)
		}
	}
	if readErr != nil && c.claim(readErr, 0) {
		c.state.Or(stHard)
	}
	c.finish()
}

// ended deals with an error of Read: what has been read before is offered first. If the connection is paused that has to
// wait, unless the connection is broken.
func (c *goConn) ended(err error, fresh bool) error {
	for errors.Is(err, io.EOF) && fresh {
		st := c.state.Load()
		switch {
		case st&stClosing != 0:
			return nil
		case st&stPaused != 0:
			c.rest.Store(true)
			if c.state.Load()&stPaused != 0 {
				<-c.wake
			}
		default:
			again, ok := c.offer()
			if !ok {
				return nil
			}
			fresh = again || c.state.Load()&stPaused != 0 && c.w > c.r
		}
	}
	return err
}

// offer calls Data with all there is. ok is false if the connection is being closed.
func (c *goConn) offer() (again, ok bool) {
	s := c.slot
	s.mu.Lock()
	if c.state.Load()&stClosing != 0 {
		s.mu.Unlock()
		return false, false
	}
	if c.state.Load()&stPaused != 0 { // since we looked
		s.mu.Unlock()
		return true, true
	}
	now := s.opts.Now()
	n, need, again, ok := s.opts.data(s.index, c, c.h, now, c.buf[c.r:c.w])
	s.endTurn(now)
	s.mu.Unlock()
	c.r += n
	c.need = need
	switch {
	case !ok:
		c.Close(ErrHandlerPanic)
	case c.w-c.r > s.opts.MaxPartial:
		c.Close(ErrPartialTooLarge)
		return false, false
	}
	return again, ok
}

// room returns where to read into; nil if the buffer is full and the connection paused. It is small for a quiet
// connection, larger for a busy one, and for an incomplete packet at most twice what has arrived of it.
func (c *goConn) room(paused bool) []byte {
	size, waiting := len(c.buf), c.w-c.r
	if waiting == 0 {
		if c.w > 0 && c.w <= minGoBuffer {
			c.few++
		} else if c.w > 0 {
			c.few = 0
		}
		c.r, c.w = 0, 0
		switch largest := min(c.slot.opts.ReadBuffer, maxGoBuffer); {
		case size == 0 || size > largest || c.few > fewReads && size > minGoBuffer:
			c.resize(minGoBuffer)
		case c.filled && size < largest:
			c.resize(min(4*size, largest))
		}
		c.filled = false
		return c.buf
	}
	switch {
	case c.w < size:
	case c.r >= waiting:
		copy(c.buf, c.buf[c.r:c.w])
		c.r, c.w = 0, waiting
	case paused:
		return nil
	default:
		grown := 2 * waiting
		if c.need > waiting {
			grown = min(grown, c.need)
		}
		c.resize(max(grown, minGoBuffer))
	}
	return c.buf[c.w:]
}

// resize moves what waits into a new buffer.
func (c *goConn) resize(size int) {
	if size == len(c.buf) {
		return
	}
	fresh := make([]byte, size)
	n := copy(fresh, c.buf[c.r:c.w])
	c.charge(-len(c.buf))
	c.buf, c.r, c.w, c.few = fresh, 0, n, 0
	c.charge(size)
}

func (c *goConn) charge(n int) {
	if n > chargeMin || n < -chargeMin {
		c.slot.opts.Budget.Add(n)
	}
}

// finish is the end of the reader: CloseAfterFlush, if that was asked for, then the end of the connection.
func (c *goConn) finish() {
	// Between the claim of a closer and its error there are two instructions.
	for c.state.Load()&stErr == 0 {
		runtime.Gosched()
	}
	if c.state.Load()&stHard == 0 {
		c.linger()
	}
	c.state.Or(stHard)
	busy := c.out.Close()
	c.charge(-len(c.buf))
	c.buf = nil
	s := c.slot
	s.leave(c)
	s.count.Add(-1)
	s.mu.Lock()
	now := s.opts.Now()
	s.wheel.remove(c)
	h := c.h
	c.h = nil
	s.opts.closed(s.index, c, h, now, c.err)
	s.endTurn(now)
	s.mu.Unlock()
	c.nc.Close()
	for busy && !c.written.Load() { // closing has ended its write
		<-c.wake
	}
	s.mu.Lock()
	s.live--
	s.mu.Unlock()
	s.signal() // the runner may be waiting for the last one
}

// linger writes what is left, says that this was all, and discards what the peer sends until it has closed too.
func (c *goConn) linger() {
	if c.buf == nil {
		c.resize(minGoBuffer)
	}
	until := time.Now().Add(time.Duration(c.within) * time.Millisecond)
	_ = c.nc.SetWriteDeadline(until)
	c.Flush()
	var shut, readEnd bool
	for c.state.Load()&stHard == 0 {
		_ = c.nc.SetReadDeadline(until) // before the look at the outbox: the writer wakes us up in the other order
		if !shut && c.out.Bytes() == 0 {
			half, ok := c.nc.(interface{ CloseWrite() error })
			if !ok || half.CloseWrite() != nil || readEnd {
				return
			}
			shut = true
			if soon := time.Now().Add(lingerTime); soon.Before(until) {
				until = soon
			}
			continue
		}
		if c.state.Load()&stHard != 0 || !time.Now().Before(until) {
			return
		}
		if readEnd {
			select {
			case <-c.wake:
			case <-time.After(time.Until(until)):
			}
			continue
		}
		_, err := c.nc.Read(c.buf)
		switch {
		case err == nil || errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, io.EOF) && !shut:
			readEnd = true
		default:
			return
		}
	}
}
