package netloop

import (
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DESIGN wants an idle connection, with session and subscription, under 1 kB: this is the engine's share.
func TestConnectionIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(conn{}); n > 208 {
		t.Errorf("a connection takes %d bytes", n)
	} else {
		t.Logf("a connection takes %d bytes", n)
	}
}

// What 3,000 idle connections hold on the heap, with a small handler each and a deadline. The clients are bare
// descriptors.
func TestIdleConnectionMemory(t *testing.T) {
	const count = 3000
	b := newBench(t, Options{Engine: "epoll"})
	opened := make(chan struct{}, count)
	b.serve(true, func(c Conn) Handler { return &idle{c, opened} })
	to := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: b.l.Addr().(*net.TCPAddr).Port}
	fds := make([]int, 0, count+1)
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	connect := func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err == nil {
			fds = append(fds, fd)
			err = unix.Connect(fd, to)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(fd, []byte("abc")); err != nil {
			t.Fatal(err)
		}
		await(t, opened, "the packet")
	}
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	connect()
	before := heap()
	for range count {
		connect()
	}
	each := (heap() - before) / count
	t.Logf("%d bytes each", each)
	if each > 400 { // the connection, the handler, a place in the table
		t.Errorf("an idle connection holds %d bytes", each)
	}
}

type idle struct {
	c      Conn
	opened chan struct{}
}

func (h *idle) Opened(_ int, now int64) { h.c.SetDeadline(now + 90_000) }
func (h *idle) Data(_ int, _ int64, p []byte) (int, int, bool) {
	h.opened <- struct{}{}
	return len(p), 0, false
}
func (*idle) Deadline(int, int64)      {}
func (*idle) Drained(int, int64)       {}
func (*idle) Closed(int, int64, error) {}

// An idle connection has no goroutine.
func TestNoGoroutinePerConnection(t *testing.T) {
	b := newBench(t, Options{Engine: "epoll"})
	opened := make(chan struct{}, 1)
	b.script(func(h *script) { h.opened = func(int64) { opened <- struct{}{} } })
	b.dial()
	await(t, opened, "Opened")
	before := runtime.NumGoroutine()
	for range 100 {
		b.dial()
		await(t, opened, "Opened")
	}
	if n := runtime.NumGoroutine() - before; n > 5 {
		t.Errorf("100 connections brought %d goroutines", n)
	}
}

// Accepted sockets must not wait for company (Nagle); the option is inherited from the listener.
func TestNoDelay(t *testing.T) {
	b := newBench(t, Options{Engine: "epoll"})
	for _, own := range []bool{true, false} {
		delay := make(chan int, 1)
		b.serve(own, func(c Conn) Handler {
			return b.newScript(c, func(h *script) {
				h.opened = func(int64) {
					v, err := unix.GetsockoptInt(int(c.(*conn).fd), unix.IPPROTO_TCP, unix.TCP_NODELAY)
					if err != nil {
						t.Error(err)
					}
					delay <- v
				}
			})
		})
		b.dial()
		if await(t, delay, "Opened") == 0 {
			t.Errorf("own=%v: TCP_NODELAY is off", own)
		}
	}
}

func TestEpollAdoptNeedsDescriptor(t *testing.T) {
	b := newBench(t, Options{Engine: "epoll"})
	mine, theirs := net.Pipe()
	if c, err := b.Engine.Adopt(theirs, nil); !errors.Is(err, ErrNoDescriptor) || c != nil {
		t.Errorf("Adopt of a pipe gave %v, %v", c, err)
	}
	if _, err := mine.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the pipe is not closed: %v", err)
	}
}

// tameLoop is a loop that runs only when the test calls it, with a way to make connections; it runs, and ends, at last.
func tameLoop(t *testing.T) (l *loop, pair func() (*conn, int)) {
	o := Options{ReadBuffer: minReadBuffer, MaxPartial: 1 << 20, Now: steadyClock(), Loops: 1}
	l, err := newLoop(0, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		go l.run()
		l.put(task{fn: func(int, int64) { l.stop() }})
		await(t, l.done, "the loop's end")
	})
	return l, func() (*conn, int) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fds[1]) })
		c := &conn{loop: l, fd: int32(fds[0]), slot: noSlot}
		c.refs.Store(1)
		l.conns.Add(1)
		return c, fds[1]
	}
}

// A descriptor stays open as long as a writer is inside write(2), also when the connection is closed meanwhile: it would
// write to whoever gets the number next.
func TestDescriptorOutlivesWriter(t *testing.T) {
	l, pair := tameLoop(t)
	open := func(c *conn) bool {
		_, err := unix.FcntlInt(uintptr(c.fd), unix.F_GETFD, 0)
		return err == nil
	}
	for _, writing := range []bool{true, false} {
		c, _ := pair()
		l.open(c, func(Conn) Handler { return &countReads{reads: new(int)} })
		c.out.Append([]byte("x"))
		if writing {
			c.out.StartWrite(make([][]byte, 0, 1))
		}
		c.Close(nil)
		l.turn() // the request, and the end of the batch
		if c.slot != noSlot || open(c) != writing {
			t.Fatalf("writing=%v: detached: %v, descriptor open: %v", writing, c.slot == noSlot, open(c))
		}
		if !writing {
			continue
		}
		if _, closed := c.out.FinishWrite(0, true); !closed {
			t.Error("the writer is not told")
		}
		c.release() // as flush does
		if open(c) {
			t.Error("the writer has not closed the descriptor")
		}
	}
}

// An event of a batch that belongs to a connection closed earlier in the batch, whose place in the table somebody else has
// by now, is dropped.
func TestStaleEvent(t *testing.T) {
	l, pair := tameLoop(t)
	reads := 0
	handler := func(c Conn) Handler {
		return &countReads{reads: &reads}
	}
	first, _ := pair()
	l.open(first, handler)
	slot, gen := first.slot, l.table[first.slot].gen
	l.detach(first)
	second, peer := pair()
	l.open(second, handler)
	if second.slot != slot {
		t.Fatalf("the place %d was not used again", slot)
	}
	if _, err := unix.Write(peer, []byte("x")); err != nil {
		t.Fatal(err)
	}
	l.event(&unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(slot), Pad: int32(gen)})
	if reads != 0 {
		t.Error("a stale event reached the next connection")
	}
	l.event(&unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(slot), Pad: int32(l.table[slot].gen)})
	if reads != 1 {
		t.Errorf("%d reads, want 1", reads)
	}
}

type countReads struct{ reads *int }

func (*countReads) Opened(int, int64) {}
func (h *countReads) Data(_ int, _ int64, p []byte) (int, int, bool) {
	*h.reads++
	return len(p), 0, false
}
func (*countReads) Deadline(int, int64)      {}
func (*countReads) Drained(int, int64)       {}
func (*countReads) Closed(int, int64, error) {}

// In steady state neither reading, nor appending, nor flushing allocates; nor does a packet cut in two.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool drops what it is given")
	}
	b := newBench(t, Options{Engine: "epoll", Loops: 1})
	b.serve(true, func(c Conn) Handler { return &lean{c: c} })
	c := b.dial()
	packet := frame(pattern(500, 1))
	back := make([]byte, len(packet))
	trip := func() {
		mustWrite(t, c, packet[:123])
		mustWrite(t, c, packet[123:])
		for n := 0; n < len(back); {
			k, err := c.Read(back[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += k
		}
	}
	for range 100 {
		trip()
	}
	if n := testing.AllocsPerRun(2000, trip); n >= 1 {
		t.Errorf("%v allocations per round trip", n)
	}
}

// A loop that waits is woken up by Post, whatever it was doing at the time: no wake-up is lost.
func TestNoLostWakeUp(t *testing.T) {
	b := newBench(t, Options{Engine: "epoll", Loops: 1})
	for i := range 20_000 {
		done := make(chan struct{})
		b.Engine.PostLoop(0, func(int, int64) { close(done) })
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatalf("post %d did not run", i)
		}
		if i%3 == 0 {
			runtime.Gosched() // vary the time it has to fall asleep
		}
	}
}
