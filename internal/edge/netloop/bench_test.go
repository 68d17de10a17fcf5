package netloop

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// Benchmarks of the engines alone; clients and server share the machine, so compare, do not quote.

func onEachEngineB(b *testing.B, o Options, run func(b *testing.B, n *bench)) {
	for _, name := range Engines() {
		b.Run(name, func(b *testing.B) {
			o := o
			o.Engine = name
			b.ReportAllocs()
			run(b, newBench(b, o))
		})
	}
}

func dialRaw(b *testing.B, n *bench) net.Conn {
	c, err := net.Dial("tcp", n.l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

// One frame there and back at a time: latency, and what a connection at a low rate costs.
func BenchmarkRoundTrip(b *testing.B) {
	onEachEngineB(b, Options{}, func(b *testing.B, n *bench) {
		n.serve(true, func(c Conn) Handler { return &lean{c: c} })
		c := dialRaw(b, n)
		packet := frame(make([]byte, 76))
		back := make([]byte, len(packet))
		for b.Loop() {
			mustWrite(b, c, packet)
			if _, err := io.ReadFull(c, back); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Bursts of frames, several connections at once.
func BenchmarkBursts(b *testing.B) {
	for _, size := range []int{76, 4000, 60_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			onEachEngineB(b, Options{}, func(b *testing.B, n *bench) {
				n.serve(true, func(c Conn) Handler { return &lean{c: c} })
				const conns, perBurst = 8, 32
				var burst []byte
				for range perBurst {
					burst = append(burst, frame(make([]byte, size))...)
				}
				b.SetBytes(int64(conns * len(burst)))
				var all []net.Conn
				for range conns {
					all = append(all, dialRaw(b, n))
				}
				back := make([][]byte, conns)
				for b.Loop() {
					var wg sync.WaitGroup
					for i, c := range all {
						if back[i] == nil {
							back[i] = make([]byte, len(burst))
						}
						wg.Go(func() {
							if _, err := c.Write(burst); err != nil {
								b.Error(err)
							}
						})
						wg.Go(func() {
							if _, err := io.ReadFull(c, back[i]); err != nil {
								b.Error(err)
							}
						})
					}
					wg.Wait()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*conns*perBurst), "ns/frame")
			})
		})
	}
}

// One frame to each of many connections, from one handler.
func BenchmarkFanOut(b *testing.B) {
	onEachEngineB(b, Options{}, func(b *testing.B, n *bench) {
		const receivers = 200
		opened := make(chan Conn, receivers+1)
		n.serve(true, func(c Conn) Handler { opened <- c; return &lean{c: c} })
		var conns []Conn
		var clients []net.Conn
		for range receivers {
			clients = append(clients, dialRaw(b, n))
			conns = append(conns, <-opened)
		}
		packet := frame(make([]byte, 76))
		back := make([]byte, len(packet))
		for b.Loop() {
			n.Engine.PostLoop(0, func(int, int64) {
				for _, c := range conns {
					c.Out().Append(packet)
				}
				for _, c := range conns {
					c.Flush()
				}
			})
			for _, c := range clients {
				if _, err := io.ReadFull(c, back); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*receivers), "ns/delivery")
	})
}

// Connect, one frame, close.
func BenchmarkConnect(b *testing.B) {
	for _, own := range []bool{true, false} {
		b.Run(fmt.Sprint("own=", own), func(b *testing.B) {
			onEachEngineB(b, Options{}, func(b *testing.B, n *bench) {
				n.serve(own, func(c Conn) Handler { return &lean{c: c} })
				packet := frame(make([]byte, 16))
				back := make([]byte, len(packet))
				for b.Loop() {
					c, err := net.Dial("tcp", n.l.Addr().String())
					if err != nil {
						b.Fatal(err)
					}
					mustWrite(b, c, packet)
					if _, err := io.ReadFull(c, back); err != nil {
						b.Fatal(err)
					}
					reset(b, c) // leaves no TIME_WAIT behind
				}
			})
		})
	}
}
