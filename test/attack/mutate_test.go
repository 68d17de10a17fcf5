package attack

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

var mutateFor = flag.Duration("mutate", 4*time.Second, "how long mutated packets are sent to each engine")

// corpus are packets that are in order, or nearly so; what is sent are their mutations.
func corpus() [][]byte {
	user := append(append([]byte{0x26}, text("key")...), text("value")...)
	return [][]byte{
		login{id: "m"}.packet(), login{id: "m", v5: true, props: user}.packet(), login{id: "mw", will: "mutated/will"}.packet(),
		login{id: "mw5", v5: true, persist: true, will: "mutated/will", keepAlive: 10}.packet(),
		publish("mutated/a", 0, 0, []byte("payload")), publish("mutated/b", 1, 7, []byte("payload")), publish("mutated/c", 2, 8, nil),
		publish5("mutated/a", 0, 0, user, []byte("payload")), publish5("mutated/b", 1, 9, []byte{0x02, 0, 0, 0, 1, 0x23, 0, 1}, []byte("p")),
		publish5("mutated/c", 2, 10, []byte{0x01, 1, 0x08, 0, 1, 'r', 0x09, 0, 1, 'c'}, []byte("p")),
		frame(0x31, text("mutated/kept"), []byte("kept")), frame(0x62, u16(8)), frame(0x62, u16(10)),
		frame(0x40, u16(1)), frame(0x50, u16(1)), frame(0x70, u16(1)), frame(0x50, u16(2), []byte{0x80}),
		subscribe(1, 2, "mutated/#", "mutated/+"), subscribe5(2, 1, "mutated/#", "$share/g/mutated/+"),
		subscribeWith(properties(0x0B, 5), 3, 2, []string{"mutated/+/x", "#"}),
		frame(0xA2, u16(3), text("mutated/#")), frame(0xA2, u16(4), properties(), text("mutated/#"), text("$share/g/mutated/+")),
		pingreq, frame(0xE0), frame(0xE0, []byte{4}), frame(0xE0, []byte{0}, properties(0x11, 0, 0, 0, 0)),
		frame(0xF0, []byte{0x19}, properties(0x15, 0, 1, 'm')), frame(0xF0), frame(0xD0), frame(0x20, []byte{0, 0}),
	}
}

// mutate returns a packet with some of its bytes changed, removed or doubled, or with another behind it.
func mutate(r *rand.Rand, packets [][]byte) []byte {
	out := append([]byte(nil), packets[r.IntN(len(packets))]...)
	for range r.IntN(4) {
		if len(out) == 0 {
			break
		}
		i := r.IntN(len(out))
		switch r.IntN(7) {
		case 0:
			out[i] ^= 1 << r.IntN(8)
		case 1:
			out[i] = byte(r.IntN(256))
		case 2:
			out = append(out[:i], out[i+1:]...)
		case 3:
			out = append(out[:i+1], out[i:]...)
		case 4:
			out = out[:i]
		case 5:
			out = append(out, packets[r.IntN(len(packets))]...)
		case 6: // the length, where it is one byte
			if len(out) > 1 {
				out[1] = byte(r.IntN(128))
			}
		}
	}
	return out
}

// TestMutatedPackets sends what looks nearly like MQTT from several connections, before and after CONNECT. Nothing may
// panic, the bystanders notice nothing, and memory does not grow. -mutate=10m for a long run.
func TestMutatedPackets(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		p := start(t, options{engine: engine, args: []string{
			"--connect-timeout", "1s", "--packet-timeout", "1s", "--quiet",
			// Sessions that mutants leave behind are not what is tested here.
			"--max-session-expiry", "1", "--accept-protocol-versions", "3,4,5",
		}})
		check, memory := bystanders(t, p), p.bounded(100*mb)
		until := time.Now().Add(*mutateFor)
		var connections, sent atomic.Int64
		parallel(6, func(i int) {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			packets := corpus()
			buf := make([]byte, 64<<10)
			for n := 0; time.Now().Before(until); n++ {
				c, err := net.DialTimeout("tcp", p.addr, patience)
				if err != nil {
					t.Errorf("dial: %v", err)
					return
				}
				connections.Add(1)
				v5 := r.IntN(2) == 0
				if r.IntN(10) > 0 {
					id := fmt.Sprintf("mutant-%d-%d", i, r.IntN(50))
					_, _ = c.Write(login{id: id, v5: v5, persist: r.IntN(4) == 0}.packet())
				}
				for range r.IntN(60) {
					if _, err := c.Write(mutate(r, packets)); err != nil {
						break
					}
					sent.Add(1)
				}
				_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
				_, _ = c.Read(buf)
				_ = c.Close()
			}
		})
		t.Logf("%d packets over %d connections", sent.Load(), connections.Load())
		if sent.Load() < 10_000 {
			t.Errorf("only %d packets were sent", sent.Load())
		}
		check()
		memory()
	})
}
