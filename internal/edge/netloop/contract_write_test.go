package netloop

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// What every engine has to do: writing, closing while writing, panics, descriptors that are used again.

// A reader that is slow gets everything, in order; the loop meanwhile serves others.
func TestSlowReader(t *testing.T) {
	onEachEngine(t, Options{Loops: 1}, func(t *testing.T, b *bench) {
		const size = 24 << 20
		handlers := make(chan *script, 2)
		drained := make(chan int, 1)
		b.script(func(h *script) {
			echo(h)
			h.drained = func() { drained <- h.c.Out().Bytes() }
			h.opened = func(int64) { handlers <- h }
		})
		c := b.dial()
		h := await(t, handlers, "a connection")
		want := pattern(size, 3)
		h.c.Post(func(int, int64) {
			for rest := want; len(rest) > 0; {
				n := min(len(rest), 100_000)
				h.send(rest[:n])
				rest = rest[n:]
			}
			h.c.WantDrained()
		})
		settle(t, b)
		if h.c.Out().Bytes() == 0 {
			t.Fatal("the socket took everything: the test needs more bytes")
		}
		other := b.dial() // the same loop
		mustWrite(t, other, frame([]byte("hello")))
		mustRead(t, other, 9)
		select {
		case <-drained:
			t.Error("Drained while bytes wait")
		default:
		}
		if got := mustRead(t, c, size); !bytes.Equal(got, want) {
			t.Error("the stream arrived damaged")
		}
		if n := await(t, drained, "Drained"); n != 0 {
			t.Errorf("Drained with %d bytes left", n)
		}
	})
}

func TestDrainedAtOnce(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		drained := make(chan struct{}, 10)
		b.script(func(h *script) {
			h.opened = func(int64) { h.c.WantDrained() }
			h.drained = func() { drained <- struct{}{} }
			echo(h)
		})
		c := b.dial()
		await(t, drained, "Drained of an empty outbox")
		mustWrite(t, c, frame([]byte("hello")))
		mustRead(t, c, 9)
		settle(t, b)
		if len(drained) > 0 {
			t.Error("Drained came again without WantDrained")
		}
	})
}

// Several goroutines fill one outbox while its reader is now quick, now slow: nothing is lost, each one's records keep
// their order, none is torn.
func TestManyWritersOneOutbox(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		const writers, each = 6, 4000
		handlers := make(chan *script, 1)
		b.script(func(h *script) { h.opened = func(int64) { handlers <- h } })
		c := b.dial()
		h := await(t, handlers, "a connection")
		large := pattern(10_000, 1)
		for w := range writers {
			go func() {
				for i := range each {
					head := binary.BigEndian.AppendUint32(nil, 0)
					head = append(head, byte(w), 0, 0)
					head = binary.BigEndian.AppendUint32(head, uint32(i))
					body := large[:(i*37+w)%200]
					if i%97 == 0 {
						body = large
					}
					binary.BigEndian.PutUint32(head, uint32(7+len(body)))
					if _, wake := h.c.Out().AppendPublish(head, 5, uint16(i), body, true); wake {
						h.c.Flush()
					}
				}
			}()
		}
		var next [writers]int
		r := bufio.NewReaderSize(c, 64<<10)
		for n := range writers * each {
			f := mustRead(t, r, int(binary.BigEndian.Uint32(mustRead(t, r, 4))))
			if n%1000 == 0 {
				settle(t, b) // let it fill up
			}
			w, i := f[0], int(binary.BigEndian.Uint32(f[3:7]))
			if i != next[w] || int(binary.BigEndian.Uint16(f[1:3])) != i || !bytes.Equal(f[7:], large[:len(f)-7]) {
				t.Fatalf("record %d: writer %d, number %d, want %d, or damaged", n, w, i, next[w])
			}
			next[w]++
		}
		if n := h.c.Out().Bytes(); n != 0 {
			t.Errorf("%d bytes left", n)
		}
	})
}

func TestCloseReportsItsError(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		mine := errors.New("enough")
		handlers := make(chan *script, 1)
		b.script(func(h *script) { h.opened = func(int64) { handlers <- h } })
		c := b.dial()
		h := await(t, handlers, "a connection")
		h.c.Close(mine)
		h.c.Close(io.ErrNoProgress) // too late
		h.c.CloseAfterFlush(io.ErrNoProgress, time.Second)
		if err := await(t, h.gone, "Closed"); !errors.Is(err, mine) {
			t.Errorf("closed with %v", err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the peer notices nothing")
		}
		if ok, _ := h.c.Out().Append([]byte("x")); ok {
			t.Error("a closed connection takes more")
		}
		h.c.Flush()
		h.c.Pause()
		h.c.Resume()
	})
}

func TestPeerCloseIsEOF(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		gone := make(chan error, 1)
		b.script(func(h *script) { h.gone = gone })
		c := b.dial()
		mustWrite(t, c, []byte("and good-bye"))
		c.Close()
		if err := await(t, gone, "Closed"); !errors.Is(err, io.EOF) {
			t.Errorf("closed with %v", err)
		}
	})
}

// Connections are closed from elsewhere while several goroutines write to them and the peer does not read.
func TestCloseWhileWriting(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		handlers := make(chan *script, 1)
		b.script(func(h *script) { h.opened = func(int64) { handlers <- h } })
		for range 40 {
			c := b.dial()
			h := await(t, handlers, "a connection")
			var wg sync.WaitGroup
			full := make(chan struct{}, 3)
			for range 3 {
				wg.Go(func() {
					p := make([]byte, 30_000)
					for i := 0; ; i++ {
						ok, wake := h.c.Out().Append(p)
						if wake {
							h.c.Flush()
						}
						if !ok {
							return
						}
						if i == 30 {
							full <- struct{}{}
						}
						if h.c.Out().Bytes() > 20<<20 {
							h.c.Close(net.ErrClosed)
						}
					}
				})
			}
			await(t, full, "a writer")
			h.c.Close(net.ErrClosed)
			wg.Wait()
			if err := await(t, h.gone, "Closed"); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("closed with %v", err)
			}
			c.Close()
		}
	})
}

// A client that goes on sending still gets the last bytes of a server that closes, and then the end, not a reset.
func TestCloseAfterFlushDeliversLastBytes(t *testing.T) {
	for _, size := range []int{4, 8 << 20} { // fits the socket; has to wait for the reader
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
				handlers := make(chan *script, 1)
				last := pattern(size, 9)
				b.script(func(h *script) {
					h.data = func(_ int64, p []byte) (int, int, bool) {
						h.send(last)
						h.c.CloseAfterFlush(io.ErrShortBuffer, patience)
						if ok, _ := h.c.Out().Append([]byte("more")); ok {
							t.Error("appended after CloseAfterFlush")
						}
						handlers <- h
						return len(p), 0, false
					}
				})
				c := b.dial()
				stop := make(chan struct{})
				var wg sync.WaitGroup
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if _, err := c.Write(make([]byte, 10_000)); err != nil {
							return
						}
					}
				})
				h := await(t, handlers, "Data")
				if got := mustRead(t, c, size); !bytes.Equal(got, last) {
					t.Error("the last bytes arrived damaged")
				}
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Errorf("after the last bytes came %v, want EOF", err)
				}
				close(stop)
				wg.Wait()
				c.Close()
				if err := await(t, h.gone, "Closed"); !errors.Is(err, io.ErrShortBuffer) {
					t.Errorf("closed with %v", err)
				}
			})
		})
	}
}

// A peer that neither reads nor closes does not hold the connection beyond the time given; nor does one that only reads.
func TestCloseAfterFlushIsBounded(t *testing.T) {
	for _, size := range []int{4, 32 << 20} {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
				handlers := make(chan *script, 1)
				b.script(func(h *script) { h.opened = func(int64) { handlers <- h } })
				b.dial()
				h := await(t, handlers, "a connection")
				h.send(make([]byte, size))
				start := time.Now()
				h.c.CloseAfterFlush(io.ErrShortBuffer, 300*time.Millisecond)
				if err := await(t, h.gone, "Closed"); !errors.Is(err, io.ErrShortBuffer) {
					t.Errorf("closed with %v", err)
				}
				if d := time.Since(start); d < 290*time.Millisecond || d > 5*time.Second {
					t.Errorf("closed after %v, want 300 ms", d)
				}
			})
		})
	}
}

func TestCloseEndsCloseAfterFlush(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		handlers := make(chan *script, 1)
		b.script(func(h *script) { h.opened = func(int64) { handlers <- h } })
		b.dial()
		h := await(t, handlers, "a connection")
		h.send(make([]byte, 32<<20))
		h.c.CloseAfterFlush(io.ErrShortBuffer, time.Hour)
		settle(t, b)
		h.c.Close(io.ErrUnexpectedEOF)
		if err := await(t, h.gone, "Closed"); !errors.Is(err, io.ErrShortBuffer) { // the first error given
			t.Errorf("closed with %v", err)
		}
	})
}

// A peer that half-closes and goes on reading gets what CloseAfterFlush has left to write.
func TestCloseAfterFlushToHalfClosedPeer(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		handlers := make(chan *script, 1)
		b.script(func(h *script) { h.opened = func(int64) { handlers <- h } })
		c := b.dial()
		h := await(t, handlers, "a connection")
		last := pattern(16<<20, 2)
		h.send(last)
		h.c.CloseAfterFlush(io.ErrShortBuffer, patience)
		settle(t, b)
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
		settle(t, b)
		if got := mustRead(t, c, len(last)); !bytes.Equal(got, last) {
			t.Error("the last bytes arrived damaged")
		}
		if err := await(t, h.gone, "Closed"); !errors.Is(err, io.ErrShortBuffer) {
			t.Errorf("closed with %v", err)
		}
	})
}

// A nil handler refuses the connection.
func TestRefusal(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		b.serve(true, func(Conn) Handler { return nil })
		if _, err := b.dial().Read(make([]byte, 1)); err == nil {
			t.Error("not refused")
		}
	})
}

// EndTurn comes after what it is to flush: a handler that only marks itself dirty gets its bytes out.
func TestEndTurnFlushes(t *testing.T) {
	for _, name := range Engines() {
		t.Run(name, func(t *testing.T) {
			var dirty [2][]*script
			b := newBench(t, Options{Engine: name, EndTurn: func(loop int, _ int64) {
				for _, h := range dirty[loop] {
					h.c.Flush()
				}
				dirty[loop] = dirty[loop][:0]
			}})
			mark := func(h *script, p []byte) {
				if _, wake := h.c.Out().Append(p); wake {
					dirty[h.c.Loop()] = append(dirty[h.c.Loop()], h)
				}
			}
			b.script(func(h *script) {
				h.opened = func(now int64) { mark(h, []byte("o")); h.c.SetDeadline(now + 50) }
				h.data = func(_ int64, p []byte) (int, int, bool) { mark(h, p); return len(p), 0, false }
				h.deadline = func(int64) {
					mark(h, []byte("d"))
					h.c.Post(func(int, int64) { mark(h, []byte("p")) })
				}
			})
			c := b.dial()
			if got := mustRead(t, c, 3); string(got) != "odp" {
				t.Errorf("got %q", got)
			}
			mustWrite(t, c, []byte("x"))
			mustRead(t, c, 1)
		})
	}
}
