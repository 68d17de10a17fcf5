package netloop

import (
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
)

// conn is a connection of the epoll engine. There are many, and most of them are idle: keep it small (a test does).
type conn struct {
	closing
	out   outbox.Outbox
	loop  *loop
	h     Handler
	part  *partial    // nil: nothing is left of what has been read
	links links[conn] // its place on the loop's wheel
	peer  endpoint
	from  uint16 // number of its listener's address in the engine's book; 0: none

	ops    atomic.Uint32 // op…: what other goroutines want the owner to do
	refs   atomic.Int32  // who may use fd: the owner (or the writer who inherits from it), and short borrowers
	fd     int32
	slot   uint32 // index in the loop's table; noSlot: not registered (before open, after detach)
	events uint32 // what epoll is told to report

	again   bool // on the run-again list
	linger  bool // CloseAfterFlush has begun: what arrives is discarded
	shut    bool // lingering, and the sending side is shut down
	readEnd bool // lingering, and the peer's sending side is shut down
}

const noSlot = ^uint32(0)

const (
	opClose uint32 = 1 << iota
	opArm          // a write is blocked: wait for EPOLLOUT
	opFlush
	opResume
	opDrained
	opQueued // in the loop's inbox already
)

const maxWrites = 8 // of one flush, before it hands over to the owner

func (c *conn) timer() *links[conn] { return &c.links }

// notify asks the owner to do something. A connection is in the inbox at most once.
func (c *conn) notify(op uint32) {
	if old := c.ops.Or(op | opQueued); old&opQueued == 0 {
		c.loop.put(task{c: c})
	}
}

func (c *conn) Out() *outbox.Outbox { return &c.out }
func (c *conn) Loop() int           { return c.loop.index }

func (c *conn) Post(fn func(loop int, now int64)) { c.loop.put(task{c: c, fn: fn}) }

func (c *conn) Pause() { c.state.Or(stPaused) } // EPOLLIN is dropped when it next comes

func (c *conn) Resume() {
	if old := c.state.And(^stPaused); old&stPaused != 0 {
		c.notify(opResume)
	}
}

func (c *conn) SetDeadline(at int64) {
	if c.slot != noSlot && !c.linger {
		c.loop.wheel.set(c, at)
	}
}

func (c *conn) WantDrained() {
	c.state.Or(stWantDrained) // before the look at the outbox: a writer looks in the other order
	if c.out.Bytes() == 0 {
		c.notify(opDrained)
	}
}

func (c *conn) Close(err error) {
	c.claim(err, 0)
	c.state.Or(stHard)
	c.out.Seal()
	c.notify(opClose)
}

func (c *conn) CloseAfterFlush(err error, within time.Duration) {
	if c.claim(err, within) {
		c.out.Seal()
		c.notify(opClose)
	}
}

func (c *conn) Flush() {
	if op := c.flush(); op != 0 {
		c.notify(op)
	}
}

// flush writes until the outbox is empty or the socket takes no more, and returns what the owner has left to do. No lock is
// held during write(2); the outbox's writer role keeps others out and the descriptor open.
func (c *conn) flush() (op uint32) {
	var space [maxIov][]byte
	for range maxWrites {
		if c.state.Load()&stHard != 0 {
			return 0
		}
		slices, ok := c.out.StartWrite(space[:0])
		if !ok {
			return 0
		}
		total := 0
		for _, s := range slices {
			total += len(s)
		}
		n, errno := write(int(c.fd), slices, total)
		if errno != 0 {
			n = 0
		}
		// A short write means a full socket, so the call that would return EAGAIN is saved. After an error the outbox
		// is left blocked, so that nobody tries again until the owner has closed.
		again, closed := c.out.FinishWrite(n, n < total)
		switch {
		case closed:
			c.release() // the owner has left its reference to this writer
			return 0
		case errno != 0 && errno != unix.EAGAIN:
			c.Close(os.NewSyscallError("write", errno))
			return 0
		case n < total:
			return opArm
		case !again:
			if c.state.Load()&stWantDrained != 0 && c.out.Bytes() == 0 {
				return opDrained
			}
			return 0
		}
	}
	return opFlush
}

func (c *conn) RemoteAddr() net.Addr {
	e := c.peer
	if e.kind == unknownAddr && c.borrow() { // it came as a bare descriptor
		if sa, err := unix.Getpeername(int(c.fd)); err == nil {
			e = sockEndpoint(sa)
		}
		c.release()
	}
	return e.addr()
}

func (c *conn) LocalAddr() net.Addr {
	var e endpoint
	if c.borrow() {
		if c.from != 0 {
			c.release()
			return c.loop.book.get(c.from)
		}
		e = localEndpoint(int(c.fd))
		c.release()
	}
	if e.kind == unknownAddr && c.peer.kind != unixAddr {
		return &net.TCPAddr{}
	}
	return e.addr()
}

// borrow keeps the descriptor open until release; false: it is closed.
func (c *conn) borrow() bool { return borrowRef(&c.refs) }

func borrowRef(refs *atomic.Int32) bool {
	for {
		n := refs.Load()
		if n == 0 {
			return false
		}
		if refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release closes the descriptor when nobody uses it any more.
func (c *conn) release() {
	if c.refs.Add(-1) == 0 {
		closeFD(int(c.fd))
	}
}

// closeFD ignores the error: Linux closes the descriptor in any case, and a network socket has nothing to report.
func closeFD(fd int) { _ = unix.Close(fd) }
