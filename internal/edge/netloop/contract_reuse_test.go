package netloop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What every engine has to keep apart: connections that had the same descriptor, and a handler that panics from the rest.

// Thousands of connections come and go while others still write to closed ones: what is meant for one connection never
// reaches another, though it has the same descriptor number.
func TestDescriptorReuse(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		const clients, rounds = 8, 60
		var serial atomic.Uint32
		stale, over := make(chan *script, 4096), make(chan struct{})
		var writers, readers sync.WaitGroup
		for range 3 {
			writers.Go(func() { writeToStale(stale, over) })
		}
		b.script(func(h *script) {
			id := serial.Add(1)
			h.id.Store(id)
			h.opened = func(int64) {
				for range 4 { // what the client waits for
					h.send(binary.BigEndian.AppendUint32(nil, id))
				}
				select {
				case stale <- h:
				case <-over:
				}
			}
			h.data = func(_ int64, p []byte) (int, int, bool) {
				h.c.Close(nil)
				return len(p), 0, false
			}
		})
		for i := range clients {
			readers.Go(func() {
				for j := range rounds {
					readOwnNumber(t, b.l.Addr().String(), (i+j)%3, j%2 == 0)
				}
			})
		}
		readers.Wait()
		close(over)
		writers.Wait()
	})
}

// writeToStale writes their numbers to connections most of which are closed already.
func writeToStale(stale chan *script, over chan struct{}) {
	var recent []*script
	for {
		select {
		case h := <-stale:
			recent = append(recent, h)
		case <-over:
			return
		}
		if len(recent) > 50 {
			recent = recent[25:]
		}
		for _, h := range recent {
			h.send(binary.BigEndian.AppendUint32(nil, h.id.Load()))
		}
	}
}

// readOwnNumber reads numbers, which must all be the same, and after some has the connection closed by one side or the
// other.
func readOwnNumber(t *testing.T, addr string, some int, weClose bool) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	var mine uint32
	p := make([]byte, 4)
	for k := 0; ; k++ {
		if _, err := io.ReadFull(c, p); err != nil {
			return
		}
		id := binary.BigEndian.Uint32(p)
		if mine == 0 {
			mine = id
		}
		if id != mine {
			t.Errorf("connection %d got bytes of connection %d", mine, id)
		}
		if k != some {
			continue
		}
		if weClose {
			return
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Error(err)
		}
	}
}

const wanted = "as the test wants"

var methods = []string{"newHandler", "Opened", "Data", "Deadline", "Drained", "Post", "Closed"}

// A panic anywhere in a handler closes that connection, is reported with its stack, and nobody else notices.
func TestPanicClosesOnlyItsConnection(t *testing.T) {
	for _, where := range methods {
		t.Run(where, func(t *testing.T) {
			var mu sync.Mutex
			var reports []string
			o := Options{OnPanic: func(_ int, _ Conn, v any, stack []byte) {
				mu.Lock()
				defer mu.Unlock()
				reports = append(reports, fmt.Sprint(v, "\n", string(stack)))
			}}
			onEachEngine(t, o, func(t *testing.T, b *bench) {
				testPanic(t, b, where)
				mu.Lock()
				defer mu.Unlock()
				if len(reports) != 1 || !strings.Contains(reports[0], wanted) ||
					!strings.Contains(reports[0], "contract_reuse_test.go") {
					t.Errorf("reports: %q", reports)
				}
				reports = nil
			})
		})
	}
}

// panicky sets a handler up that panics in one of its methods.
func panicky(h *script, where string) {
	fail := func(method string) {
		if method == where {
			panic(wanted)
		}
	}
	fail("newHandler")
	h.opened = func(now int64) {
		h.c.Post(func(int, int64) { fail("Post") })
		h.c.SetDeadline(now + 50)
		h.c.WantDrained()
		fail("Opened")
	}
	h.data = func(_ int64, p []byte) (int, int, bool) {
		fail("Data")
		h.c.Close(io.ErrShortWrite)
		return len(p), 0, false
	}
	h.deadline = func(int64) { fail("Deadline") }
	h.drained = func() { fail("Drained") }
	h.closed = func(error) { fail("Closed") }
}

func testPanic(t *testing.T, b *bench, where string) {
	var n atomic.Int32
	gone := make(chan error, 1)
	b.script(func(h *script) {
		if n.Add(1) == 2 {
			h.gone = gone
			panicky(h, where)
		} else {
			echo(h)
		}
	})
	good := b.dial()
	mustWrite(t, good, frame([]byte("one")))
	mustRead(t, good, 7)
	bad := b.dial()
	if where == "Data" || where == "Closed" {
		mustWrite(t, bad, []byte("x"))
	}
	if _, err := bad.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the connection stays open: %v", err)
	}
	if where != "newHandler" {
		want := ErrHandlerPanic
		if where == "Closed" {
			want = io.ErrShortWrite
		}
		if err := await(t, gone, "Closed"); !errors.Is(err, want) {
			t.Errorf("closed with %v, want %v", err, want)
		}
	}
	mustWrite(t, good, frame([]byte("two")))
	mustRead(t, good, 7)
	settle(t, b)
}

func TestPanicIsLogged(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		gone := make(chan error, 1)
		b.script(func(h *script) {
			h.gone = gone
			h.data = func(int64, []byte) (int, int, bool) { return 99, 0, false } // more than there is
		})
		c := b.dial()
		mustWrite(t, c, []byte("x"))
		if err := await(t, gone, "Closed"); !errors.Is(err, ErrHandlerPanic) {
			t.Errorf("closed with %v", err)
		}
		for _, want := range []string{"consumed 99 of 1", c.LocalAddr().String(), "stack"} {
			if got := b.log.String(); !strings.Contains(got, want) {
				t.Errorf("the log lacks %q: %s", want, got)
			}
		}
	})
}
