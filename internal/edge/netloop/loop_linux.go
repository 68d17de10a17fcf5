package netloop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxEvents = 256
	// After this many bytes read the turn ends early, so that what they caused is flushed.
	turnBytes = 256 << 10
)

// one is what is added to the eventfd's counter to wake a loop up.
var one = binary.NativeEndian.AppendUint64(nil, 1)

// task is something that another goroutine wants done: fn, or open c, or else what c.ops says. A panic in fn costs c its life.
type task struct {
	c    *conn
	fn   func(loop int, now int64)
	open func(Conn) Handler
}

// entry is a place in the loop's table. Events carry index and generation, never a pointer or a descriptor: one that was
// meant for an earlier connection finds another generation.
type entry struct {
	c   *conn
	gen uint32
}

// loop is one event loop: a goroutine that owns an epoll descriptor and all connections registered with it. What is not
// a lock, an atomic or under tableMu belongs to that goroutine.
//
// The epoll descriptor is itself registered with Go's runtime poller. So the loop parks like any goroutine that waits for
// a socket; a thread blocked in epoll_wait would hold its P until the monitor thread takes it away, and would have to
// win one back for each event.
type loop struct {
	index  int
	opts   *Options
	inbox  inbox[task]
	parked atomic.Bool // in the poller, or about to be: whoever puts something into the inbox wakes it up
	conns  atomic.Int32
	book   *addressBook
	wakeup *os.File // eventfd, edge-triggered, so it is never read
	epfd   int
	epfile *os.File
	epraw  syscall.RawConn
	poller func(uintptr) bool
	done   chan struct{}

	tableMu sync.Mutex // changes to the table, and looks at it from elsewhere
	table   []entry
	free    []uint32
	live    int // connections in the table

	events   []unix.EpollEvent
	ready    int
	buf      []byte
	bufs     bufs
	wheel    wheel[conn, *conn]
	servings []*serving
	now      int64
	yielded  int64
	armed    int64 // when the poller wakes us up for the wheel; 0: never; -1: it just has
	again    []*conn
	spare    []*conn
	closing  []*conn // descriptors to close at the end of the batch
	read     int     // bytes read since the last EndTurn
	stopping bool
}

func newLoop(index int, o *Options) (*loop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("netloop: epoll_create1: %w", err)
	}
	if err := unix.SetNonblock(epfd, true); err != nil { // makes os.NewFile hand it to the runtime poller
		closeFD(epfd)
		return nil, fmt.Errorf("netloop: epoll descriptor: %w", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		closeFD(epfd)
		return nil, fmt.Errorf("netloop: eventfd: %w", err)
	}
	l := &loop{
		index: index, opts: o, epfd: epfd, done: make(chan struct{}),
		epfile: os.NewFile(uintptr(epfd), "epoll"), wakeup: os.NewFile(uintptr(wakefd), "eventfd"),
		events: make([]unix.EpollEvent, maxEvents), buf: make([]byte, o.ReadBuffer),
	}
	l.bufs.budget = o.Budget
	l.poller = l.poll
	l.now = o.Now()
	l.wheel.start(l.now)
	if l.epraw, err = l.epfile.SyscallConn(); err == nil {
		err = l.ctl(unix.EPOLL_CTL_ADD, wakefd, unix.EPOLLIN|unix.EPOLLET, noSlot, 0)
	}
	if err != nil {
		l.epfile.Close()
		l.wakeup.Close()
		return nil, fmt.Errorf("netloop: epoll: %w", err)
	}
	return l, nil
}

func (l *loop) run() {
	for {
		l.wait()
		l.turn()
		if l.stopping && l.live == 0 && l.inbox.stop() {
			break
		}
	}
	l.epfile.Close()
	l.wakeup.Close()
	close(l.done)
}

// put hands a task over, from any goroutine.
func (l *loop) put(t task) {
	if l.inbox.put(t) {
		l.inbox.drain(l.late)
		return
	}
	// Only the one who finds it parked pays for waking it up; while it runs, it looks into the inbox by itself.
	if l.parked.Load() && l.parked.CompareAndSwap(true, false) {
		_, _ = l.wakeup.Write(one) // fails only when the loop has ended meanwhile
	}
}

// wait collects events; it parks if there are none and nothing else is to be done.
func (l *loop) wait() {
	l.ready = 0
	if len(l.again) > 0 || l.inbox.some.Load() {
		l.poll(0)
		return
	}
	if next := l.wheel.next(); next != l.armed {
		at := time.Time{}
		if next != 0 {
			at = time.Now().Add(time.Duration(next-l.opts.Now()) * time.Millisecond)
		}
		if err := l.epfile.SetReadDeadline(at); err != nil {
			panic(fmt.Sprintf("netloop: loop %d: the runtime poller refused a deadline: %v", l.index, err))
		}
		l.armed = next
	}
	l.parked.Store(true)
	if !l.inbox.some.Load() { // looked at after parked was set: a later put sees it and wakes us up
		switch err := l.epraw.Read(l.poller); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			l.armed = -1 // the poller refuses to wait until it is given another
		case err != nil:
			panic(fmt.Sprintf("netloop: loop %d: waiting for epoll: %v", l.index, err))
		}
		l.yielded = 0
	}
	l.parked.Store(false)
}

// poll asks epoll without waiting. false: there is nothing, park.
func (l *loop) poll(uintptr) bool {
	n, errno := rawEpollWait(l.epfd, l.events)
	for errno == unix.EINTR {
		n, errno = rawEpollWait(l.epfd, l.events)
	}
	if errno != 0 { // nothing that this process could do anything about: going on would mean deaf connections
		panic(fmt.Sprintf("netloop: loop %d: epoll_pwait: %v", l.index, errno))
	}
	l.ready = n
	return n > 0
}

// turn handles one batch: events, then what others have asked for, then the connections that had more to do last time,
// then timers.
func (l *loop) turn() {
	l.now = l.opts.Now()
	again := l.again
	l.again, l.spare = l.spare[:0], nil
	for i := range l.events[:l.ready] {
		l.event(&l.events[i])
		l.endLongTurn()
	}
	tasks := l.inbox.take()
	for _, t := range tasks {
		l.perform(t)
	}
	l.inbox.recycle(tasks)
	for _, c := range again {
		l.serveAgain(c)
		l.endLongTurn()
	}
	clear(again)
	l.spare = again
	l.timers()
	l.endTurn()
	for i, c := range l.closing {
		l.closing[i] = nil
		c.release()
	}
	l.closing = l.closing[:0]
	// A loop that never finds epoll empty never parks. Once per millisecond it lets others have this P (the committer, an
	// accept loop), who would otherwise wait for the scheduler to preempt the loop after ten.
	if l.yielded != 0 && l.now != l.yielded {
		runtime.Gosched()
	}
	l.yielded = l.now
}

func (l *loop) endLongTurn() {
	if l.read >= turnBytes {
		l.endTurn()
	}
}

func (l *loop) endTurn() {
	l.read = 0
	if l.opts.EndTurn != nil {
		l.opts.EndTurn(l.index, l.now)
	}
}

func (l *loop) timers() {
	for _, c := range l.wheel.expired(l.now) {
		if !l.wheel.still(c, l.now) {
			continue
		}
		if c.linger {
			l.detach(c)
		} else if c.state.Load()&stClosing == 0 && !l.opts.call(l.index, c, c.h.Deadline, l.now) {
			l.fail(c, ErrHandlerPanic)
		}
	}
}

func (l *loop) event(ev *unix.EpollEvent) {
	slot := uint32(ev.Fd)
	if slot >= listenerBit {
		if slot != noSlot { // which says no more than that it has been woken up
			l.acceptable(slot &^ listenerBit)
		}
		return
	}
	e := l.table[slot]
	if e.gen != uint32(ev.Pad) || e.c == nil {
		return // meant for a connection closed earlier in this batch
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		l.writable(e.c)
	}
	if ev.Events&^unix.EPOLLOUT != 0 && e.c.slot != noSlot {
		l.readable(e.c, ev.Events)
	}
}

// perform runs a task in the loop.
func (l *loop) perform(t task) {
	c := t.c
	switch {
	case c == nil:
		t.fn(l.index, l.now)
		return
	case t.open != nil:
		l.open(c, t.open)
		return
	case t.fn != nil:
		if !l.opts.call(l.index, c, t.fn, l.now) {
			l.fail(c, ErrHandlerPanic)
		}
		return
	}
	ops := c.ops.Swap(0)
	if ops&opClose != 0 {
		l.closeRequested(c)
	}
	if c.slot == noSlot {
		return
	}
	if ops&opResume != 0 {
		l.resumed(c)
	}
	if ops&opFlush != 0 {
		op := c.flush()
		if op == opFlush {
			c.notify(opFlush) // in the next turn
		}
		ops |= op
	}
	if ops&opArm != 0 && c.out.Blocked() {
		l.setEvents(c, c.events|unix.EPOLLOUT)
	}
	if ops&opDrained != 0 {
		l.drained(c)
	}
}

// late runs a task after the loop has ended, on the goroutine that posted it.
func (l *loop) late(t task) {
	now := l.opts.Now()
	switch {
	case t.open != nil:
		l.discard(t.c)
	case t.fn == nil:
		t.c.ops.Store(0) // the connection is closed
	case t.c == nil:
		t.fn(l.index, now)
	default:
		l.opts.call(l.index, t.c, t.fn, now)
	}
}

// stop closes all connections and ends the loop when they are gone.
func (l *loop) stop() {
	l.stopping = true
	for _, s := range l.servings {
		if s != nil {
			l.unwatch(s)
			s.failed <- ErrEngineClosed
		}
	}
	for i := range l.table {
		if c := l.table[i].c; c != nil {
			l.fail(c, ErrEngineClosed)
		}
	}
}
