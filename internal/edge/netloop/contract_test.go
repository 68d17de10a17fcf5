package netloop

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What every engine has to do: reading, pausing, closing. The rest of the contract is in contract_more_test.go.

func TestEcho(t *testing.T) {
	for _, own := range []bool{true, false} {
		onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
			b.serve(own, func(c Conn) Handler { return b.newScript(c, echo) })
			var wg sync.WaitGroup
			for i := range 20 {
				c := b.dial()
				wg.Go(func() {
					for j := range 50 {
						var burst []byte
						for k := range 10 {
							burst = append(burst, frame(text("connection %d, burst %d, frame %d", i, j, k))...)
						}
						if _, err := c.Write(burst); err != nil {
							t.Error(err)
							return
						}
						got := make([]byte, len(burst))
						if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, burst) {
							t.Errorf("%v, got %q, want %q", err, got, burst)
							return
						}
					}
				})
			}
			wg.Wait()
			if n := b.Engine.Len(); n != 20 {
				t.Errorf("Len is %d, want 20", n)
			}
			n := 0
			b.Engine.Each(func(Conn) bool { n++; return true })
			if n != 20 {
				t.Errorf("Each gave %d connections, want 20", n)
			}
		})
	}
}

func TestUnixSocket(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		l, err := net.Listen("unix", filepath.Join(t.TempDir(), "sock"))
		if err != nil {
			t.Fatal(err)
		}
		addrs := make(chan [2]net.Addr, 1)
		b.serveOn(l, func(c Conn) Handler {
			addrs <- [2]net.Addr{c.RemoteAddr(), c.LocalAddr()}
			return b.newScript(c, echo)
		})
		c, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		mustWrite(t, c, frame([]byte("hello")))
		if got := mustRead(t, c, 9); string(got[4:]) != "hello" {
			t.Errorf("got %q", got)
		}
		for _, a := range await(t, addrs, "addresses") {
			if a == nil || a.Network() != "unix" {
				t.Errorf("address %v", a)
			}
		}
	})
}

func TestAddresses(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		addrs := make(chan [2]string, 2)
		b.script(func(h *script) {
			h.opened = func(int64) { addrs <- [2]string{h.c.RemoteAddr().String(), h.c.LocalAddr().String()} }
			h.closed = func(error) { addrs <- [2]string{h.c.RemoteAddr().String(), h.c.LocalAddr().String()} }
		})
		c := b.dial()
		want := [2]string{c.LocalAddr().String(), c.RemoteAddr().String()}
		if got := await(t, addrs, "Opened"); got != want {
			t.Errorf("addresses when open: %v, want %v", got, want)
		}
		reset(t, c) // a reset: the kernel does not tell the peer's address any more
		if got := await(t, addrs, "Closed"); got != want {
			t.Errorf("addresses when reset: %v, want %v", got, want)
		}
	})
}

func TestPartialPacketsByteByByte(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		offers := make(chan []byte, 100)
		b.script(func(h *script) {
			h.data = func(_ int64, p []byte) (int, int, bool) {
				offers <- bytes.Clone(p)
				return eachFrame(p, h.send)
			}
		})
		c := b.dial()
		whole := frame([]byte("a packet in pieces"))
		for i := range whole {
			mustWrite(t, c, whole[i:i+1])
			if p := await(t, offers, "Data"); !bytes.Equal(p, whole[:i+1]) {
				t.Fatalf("after byte %d Data was offered %q", i, p)
			}
		}
		if got := mustRead(t, c, len(whole)); !bytes.Equal(got, whole) {
			t.Errorf("got %q", got)
		}
	})
}

// A packet much larger than the read buffer arrives whole, and never holds more memory than about twice what is there.
func TestLargePacket(t *testing.T) {
	onEachEngine(t, Options{ReadBuffer: 64 << 10}, func(t *testing.T, b *bench) {
		const size = 20 << 20
		got := make(chan []byte, 1)
		var offers, worst atomic.Int64
		b.script(func(h *script) {
			h.data = func(_ int64, p []byte) (int, int, bool) {
				offers.Add(1)
				if over := b.budget.Used() - 2*int64(len(p)); over > worst.Load() {
					worst.Store(over)
				}
				return eachFrame(p, func(f []byte) { got <- bytes.Clone(f) })
			}
		})
		c := b.dial()
		first, large, last := frame([]byte("before")), frame(pattern(size, 7)), frame([]byte("after"))
		mustWrite(t, c, bytes.Join([][]byte{first, large, last}, nil))
		for _, want := range [][]byte{first, large, last} {
			if f := await(t, got, "a frame"); !bytes.Equal(f, want) {
				t.Fatalf("a frame of %d bytes arrived damaged, as %d bytes", len(want), len(f))
			}
		}
		if w := worst.Load(); w > 256<<10 {
			t.Errorf("the budget was charged %d bytes more than twice what had arrived (%d offers)", w, offers.Load())
		}
	})
}

// A peer that announces 200 MB and sends little costs little.
func TestAnnouncedSizeIsNotAllocated(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		offered := make(chan int, 100)
		b.script(func(h *script) {
			h.data = func(_ int64, p []byte) (int, int, bool) {
				offered <- len(p)
				return eachFrame(p, func([]byte) {})
			}
		})
		c := b.dial()
		mustWrite(t, c, append(binary.BigEndian.AppendUint32(nil, 200<<20), make([]byte, 10_000)...))
		for n := 0; n < 10_004; {
			n = await(t, offered, "Data")
		}
		done := make(chan int64, 1)
		b.Engine.Each(func(c Conn) bool {
			c.Post(func(int, int64) { done <- b.budget.Used() })
			return true
		})
		if used := await(t, done, "Post"); used > 64<<10 {
			t.Errorf("10,000 bytes of 200 MB hold %d bytes", used)
		}
	})
}

func TestMaxPartial(t *testing.T) {
	onEachEngine(t, Options{MaxPartial: 50_000}, func(t *testing.T, b *bench) {
		gone := make(chan error, 1)
		b.script(func(h *script) {
			h.gone = gone
			h.data = func(_ int64, p []byte) (int, int, bool) { return 0, 0, false }
		})
		c := b.dial()
		go func() { _, _ = c.Write(make([]byte, 1<<20)) }() // fails when the connection is closed
		if err := await(t, gone, "Closed"); !errors.Is(err, ErrPartialTooLarge) {
			t.Errorf("closed with %v", err)
		}
	})
}

// Packets of all sizes, cut anywhere, arrive as they were sent: the ways a rest can be kept, moved and grown.
func TestPacketsOfAllSizes(t *testing.T) {
	onEachEngine(t, Options{ReadBuffer: 16 << 10}, func(t *testing.T, b *bench) {
		b.script(echo)
		c := b.dial()
		var stream []byte
		for _, n := range []int{0, 1, 60, 64, 4000, 4092, 4096, 5000, 16<<10 - 4, 16 << 10, 16<<10 + 1, 40_000, 3, 300_000, 7, 9000, 100_000} {
			for range 3 {
				stream = append(stream, frame(pattern(n, byte(n)))...)
			}
		}
		go func() {
			for cut, rest := 1, stream; len(rest) > 0; cut = cut*3%40_961 + 1 {
				n := min(cut, len(rest))
				if _, err := c.Write(rest[:n]); err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
		}()
		if got := mustRead(t, c, len(stream)); !bytes.Equal(got, stream) {
			t.Error("the stream came back damaged")
		}
	})
}

func TestPauseAndResume(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		offers := make(chan string, 10)
		handlers := make(chan *script, 1)
		b.script(func(h *script) {
			handlers <- h
			h.data = func(_ int64, p []byte) (int, int, bool) {
				offers <- string(p)
				if len(p) > 1 {
					h.c.Pause() // in the middle of what has been read
					return 1, 0, false
				}
				return 1, 0, false
			}
		})
		c := b.dial()
		mustWrite(t, c, []byte("abc"))
		h := await(t, handlers, "a connection")
		if got := await(t, offers, "Data"); got != "abc" {
			t.Fatalf("offered %q", got)
		}
		mustWrite(t, c, []byte("d"))
		settle(t, b)
		select {
		case got := <-offers:
			t.Fatalf("a paused connection was offered %q", got)
		default:
		}
		h.c.Resume()
		// What had been read before comes first; the rest may come with it or after it.
		seen := await(t, offers, "Data after Resume")
		if seen != "bc" && seen != "bcd" {
			t.Fatalf("after Resume Data was offered %q", seen)
		}
		h.c.Resume()
		for seen != "d" {
			next := await(t, offers, "the rest")
			if want := seen[1:]; len(next) < len(want) || next[:len(want)] != want {
				t.Fatalf("after %q came %q", seen, next)
			}
			seen = next
			h.c.Resume()
		}
	})
}

// settle goes through all slots a few times, so that what has been asked for before is under way.
func settle(t testing.TB, b *bench) {
	t.Helper()
	for range 10 {
		for i := range b.Engine.Loops() {
			done := make(chan struct{})
			b.Engine.PostLoop(i, func(loop int, _ int64) {
				defer b.enter(loop)()
				close(done)
			})
			await(t, done, "PostLoop")
		}
	}
}

func TestPausedConnectionCloses(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(c *net.TCPConn)
	}{
		{"when the peer closes", func(c *net.TCPConn) { c.Close() }},
		{"when the peer resets", func(c *net.TCPConn) { reset(t, c) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
				gone := make(chan error, 1)
				paused := make(chan struct{})
				b.script(func(h *script) {
					h.gone = gone
					h.opened = func(int64) { h.c.Pause(); close(paused) }
				})
				c := b.dial()
				await(t, paused, "Opened")
				tc.end(c)
				if err := await(t, gone, "Closed"); err == nil {
					t.Error("closed without an error")
				}
			})
		})
	}
}

// The last packets of a peer that has closed are not lost to a pause: a DISCONNECT among them decides about the will.
func TestPausedConnectionKeepsLastPackets(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) { testLastPackets(t, network) })
	}
}

func testLastPackets(t *testing.T, network string) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		paused := make(chan *script, 1)
		got := make(chan string, 10)
		gone := make(chan error, 1)
		l, err := net.Listen(network, map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "sock")}[network])
		if err != nil {
			t.Fatal(err)
		}
		b.serveOn(l, func(c Conn) Handler {
			return b.newScript(c, func(h *script) {
				h.gone = gone
				h.opened = func(int64) { h.c.Pause(); paused <- h }
				h.data = func(_ int64, p []byte) (int, int, bool) {
					got <- string(p)
					return len(p), 0, false
				}
			})
		})
		c, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		h := await(t, paused, "Opened")
		mustWrite(t, c, []byte("last words"))
		c.Close()
		settle(t, b)
		select {
		case err := <-gone:
			t.Fatalf("closed with unread bytes: %v", err)
		default:
		}
		h.c.Resume()
		if p := await(t, got, "the last packets"); p != "last words" {
			t.Errorf("got %q", p)
		}
		if err := await(t, gone, "Closed"); !errors.Is(err, io.EOF) {
			t.Errorf("closed with %v", err)
		}
	})
}

// Somebody pauses and resumes all the time, from elsewhere: the stream neither stalls nor suffers.
func TestPauseAndResumeStorm(t *testing.T) {
	onEachEngine(t, Options{ReadBuffer: minReadBuffer}, func(t *testing.T, b *bench) {
		handlers := make(chan *script, 1)
		b.script(func(h *script) {
			echo(h)
			h.opened = func(int64) { handlers <- h }
		})
		c := b.dial()
		h := await(t, handlers, "a connection")
		var stream []byte
		for i := range 3000 {
			stream = append(stream, frame(pattern(i%700+i/2900*20_000, byte(i)))...)
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						h.c.Pause()
						h.c.Resume()
					}
				}
			})
		}
		wg.Go(func() {
			if _, err := c.Write(stream); err != nil {
				t.Error(err)
			}
		})
		if got := mustRead(t, c, len(stream)); !bytes.Equal(got, stream) {
			t.Error("the stream came back damaged")
		}
		close(stop)
		wg.Wait()
	})
}

// A connection that is paused over much that is unread can be closed, either way.
func TestCloseWhilePaused(t *testing.T) {
	for _, gently := range []bool{false, true} {
		onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
			handlers := make(chan *script, 1)
			b.script(func(h *script) {
				h.data = func(int64, []byte) (int, int, bool) {
					h.c.Pause()
					handlers <- h
					return 1, 0, true // again, but not before Resume
				}
			})
			c := b.dial()
			go func() { _, _ = c.Write(make([]byte, 32<<20)) }() // fails in the end
			h := await(t, handlers, "Data")
			settle(t, b)
			if gently {
				h.send([]byte("bye"))
				h.c.CloseAfterFlush(io.ErrShortBuffer, patience)
				if got := mustRead(t, c, 3); string(got) != "bye" {
					t.Errorf("got %q", got)
				}
			} else {
				h.c.Close(io.ErrShortBuffer)
			}
			if err := await(t, h.gone, "Closed"); !errors.Is(err, io.ErrShortBuffer) {
				t.Errorf("closed with %v", err)
			}
		})
	}
}

// A connection that stops for fairness lets the others of its loop go on, and comes back by itself.
func TestAgainIsFair(t *testing.T) {
	onEachEngine(t, Options{Loops: 1}, func(t *testing.T, b *bench) {
		const frames = 2000
		var left atomic.Int64
		left.Store(frames)
		var heard atomic.Bool
		busy := make(chan struct{}, 1)
		done := make(chan struct{})
		b.script(func(h *script) {
			h.data = func(_ int64, p []byte) (n, need int, again bool) {
				if p[0] == 'e' { // the quick one: tell how far the other is
					heard.Store(true)
					h.send(binary.BigEndian.AppendUint64(nil, uint64(left.Load())))
					return len(p), 0, false
				}
				if left.Load() == frames/2 && !heard.Load() {
					return 0, 0, true // wait for the quick one, in the way of someone who has much to do
				}
				select {
				case busy <- struct{}{}:
				default:
				}
				if left.Add(-1) == 0 {
					close(done)
				}
				return 1, 0, len(p) > 1
			}
		})
		slow, quick := b.dial(), b.dial()
		mustWrite(t, slow, bytes.Repeat([]byte("x"), frames))
		await(t, busy, "the slow connection")
		mustWrite(t, quick, []byte("e"))
		if n := binary.BigEndian.Uint64(mustRead(t, quick, 8)); n == 0 {
			t.Error("the quick connection was served after the slow one had finished")
		}
		await(t, done, "the slow connection's end")
	})
}

func TestPostRunsExactlyOnce(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		handlers := make(chan *script, 1)
		b.script(func(h *script) { handlers <- h })
		c := b.dial()
		h := await(t, handlers, "a connection")

		const posters, each = 4, 500
		var ran [posters][]int
		var wg, all sync.WaitGroup
		all.Add(posters * each)
		for i := range posters {
			wg.Go(func() {
				for j := range each {
					h.c.Post(func(loop int, _ int64) {
						defer b.enter(loop)()
						if loop != h.c.Loop() {
							t.Errorf("ran on loop %d, want %d", loop, h.c.Loop())
						}
						ran[i] = append(ran[i], j) // the slot is the lock
						all.Done()
					})
					if i == 0 && j == each/2 {
						c.Close() // the others are in the middle
					}
				}
			})
		}
		wg.Wait()
		all.Wait()
		if err := await(t, h.gone, "Closed"); !errors.Is(err, io.EOF) {
			t.Errorf("closed with %v", err)
		}
		for i := range ran {
			for j, v := range ran[i] {
				if v != j {
					t.Fatalf("poster %d: place %d ran %d", i, j, v)
				}
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Engine.Close(ctx); err != nil {
			t.Fatal(err)
		}
		for range 10 { // also when all is over, nested too
			late := make(chan struct{})
			h.c.Post(func(int, int64) { h.c.Post(func(int, int64) { close(late) }) })
			await(t, late, "a late Post")
		}
	})
}

func TestEngineClose(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		gone := make(chan error, 10)
		opened := make(chan struct{}, 10)
		b.script(func(h *script) {
			h.opened = func(int64) { opened <- struct{}{} }
			h.closed = func(err error) { gone <- err }
		})
		var conns []net.Conn
		for range 10 {
			conns = append(conns, b.dial())
			await(t, opened, "Opened")
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Engine.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if len(gone) != 10 || b.Engine.Len() != 0 {
			t.Errorf("%d of 10 closed, %d left", len(gone), b.Engine.Len())
		}
		for range len(gone) {
			if err := <-gone; !errors.Is(err, ErrEngineClosed) {
				t.Errorf("closed with %v", err)
			}
		}
		if err := await(t, b.served, "Serve"); !errors.Is(err, ErrEngineClosed) {
			t.Errorf("Serve returned %v", err)
		}
		for _, c := range conns {
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("the peer notices nothing")
			}
		}
		if err := b.Engine.Serve(b.l, nil); !errors.Is(err, ErrEngineClosed) {
			t.Errorf("a late Serve returned %v", err)
		}
		if err := b.Engine.Close(ctx); err != nil {
			t.Errorf("closing again: %v", err)
		}
	})
}

// Closing the listener ends Serve and frees the address at once; connections stay.
func TestListenerClose(t *testing.T) {
	for _, own := range []bool{true, false} {
		onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
			b.serve(own, func(c Conn) Handler { return b.newScript(c, echo) })
			c := b.dial()
			mustWrite(t, c, frame([]byte("one")))
			mustRead(t, c, 7)
			b.l.Close()
			if err := await(t, b.served, "Serve"); err != nil {
				t.Errorf("Serve returned %v", err)
			}
			l, err := net.Listen("tcp", b.l.Addr().String())
			if err != nil {
				t.Errorf("the address is still in use: %v", err)
			} else {
				l.Close()
			}
			mustWrite(t, c, frame([]byte("two")))
			mustRead(t, c, 7)
		})
	}
}

func TestDeadlines(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		type hit struct{ at, now int64 }
		hits := make(chan hit, 10)
		handlers := make(chan *script, 1)
		b.script(func(h *script) {
			var at int64
			h.opened = func(now int64) {
				h.c.SetDeadline(now + 20)        // replaced
				h.c.SetDeadline(now + 3_600_000) // replaced: brought forward
				at = now + 130
				h.c.SetDeadline(at)
			}
			n := 0
			h.deadline = func(now int64) {
				hits <- hit{at, now}
				if n++; n < 3 {
					at = now + 70
					h.c.SetDeadline(at)
					return
				}
				h.c.SetDeadline(now + 50)
				h.c.SetDeadline(0) // never
				handlers <- h
			}
		})
		b.dial()
		for range 3 {
			got := await(t, hits, "Deadline")
			if late := got.now - got.at; late < 0 || late > 150 {
				// A loaded machine may be late; early is always wrong.
				if late < 0 || late > 2000 {
					t.Errorf("Deadline came %d ms late", late)
				}
				t.Logf("Deadline came %d ms late", late)
			}
		}
		h := await(t, handlers, "the last Deadline")
		// The cleared one would have come by the time a later one on the same loop does.
		second := make(chan struct{})
		h.c.Post(func(_ int, now int64) {
			h.deadline = func(int64) { close(second) }
			h.c.SetDeadline(now + 300)
		})
		await(t, second, "the second Deadline")
		if len(hits) > 0 {
			t.Error("a cleared deadline came")
		}
	})
}

// An idle engine sleeps: no timer ticks while nothing is due.
func TestIdleEngineSleeps(t *testing.T) {
	var turns atomic.Int64
	onEachEngine(t, Options{Loops: 1, EndTurn: func(int, int64) { turns.Add(1) }}, func(t *testing.T, b *bench) {
		opened := make(chan struct{}, 1)
		b.script(func(h *script) {
			h.opened = func(now int64) { h.c.SetDeadline(now + 3_000_000); opened <- struct{}{} }
		})
		b.dial()
		await(t, opened, "Opened")
		settle(t, b)
		turns.Store(0)
		<-time.After(time.Second) // the measurement itself
		if n := turns.Load(); n > 3 {
			t.Errorf("%d turns in an idle second", n)
		}
	})
}
