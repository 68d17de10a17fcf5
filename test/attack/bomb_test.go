package attack

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// Clients that make the broker keep things.

// A client of MQTT 3 has no Receive Maximum: it may have 65,535 messages of QoS 2 under way and never release one. The
// memory limit holds nevertheless.
func TestUnreleasedQoS2(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		p := start(t, options{engine: engine, args: []string{"--memory-limit", "33554432"}})
		check, memory := bystanders(t, p), p.bounded(100*mb)
		payload := make([]byte, 64<<10)
		var attackers []*peer
		ended := make(chan int64, 4)
		for i := range 4 {
			l := login{id: fmt.Sprintf("hoarder-%d", i), persist: i%2 == 0}
			first := connect(t, p, l)
			attackers = append(attackers, first)
			go func() {
				var sent int64
				c := first.Conn
				for until, id := time.Now().Add(2*second), 1; time.Now().Before(until); id++ {
					n, err := c.Write(publish("hoard", 2, id%65535+1, payload))
					if sent += int64(n); err == nil {
						continue
					}
					// Closed: it comes back, again and again.
					_ = c.Close()
					if c, err = net.DialTimeout("tcp", p.addr, patience); err != nil {
						t.Errorf("dial: %v", err)
						break
					}
					_, _ = c.Write(l.packet())
				}
				_ = c.Close()
				ended <- sent
			}()
		}
		var sent int64
		for range attackers {
			sent += <-ended
		}
		t.Logf("took %d MB in 2 s", sent/mb)
		check()
		memory()
		p.log.await(t, patience, "the memory limit is reached: those who publish at QoS 1 and 2 are read slowly")
		p.log.await(t, patience, "Client hoarder-", "the memory limit is reached")
	})
}

// A hundred thousand filters in every combination of words and wildcards cost memory only while they stand, and neither
// subscribing, publishing to all of them nor dropping them stops the loops.
func TestSubscriptionBomb(t *testing.T) {
	bombs := []struct {
		name   string
		count  int
		most   int64 // memory that they may cost
		filter func(i int) string
		topic  string // matches as much as possible
	}{
		{"plus or word at 17 levels", 100_000, 120 * mb, func(i int) string {
			levels := make([]string, 17)
			for l := range levels {
				levels[l] = "a"
				if i>>l&1 == 1 {
					levels[l] = "+"
				}
			}
			return strings.Join(levels, "/")
		}, strings.Repeat("a/", 16) + "a"},
		{"200 levels, all different", 20_000, 500 * mb, func(i int) string { return fmt.Sprintf("%d%s/#", i, strings.Repeat("/+/b", 99)) },
			"1" + strings.Repeat("/a/b", 99)},
		{"shared, each in a group of its own", 100_000, 120 * mb, func(i int) string { return fmt.Sprintf("$share/g%d/a/+/#", i) }, "a/b/c"},
	}
	onBoth(t, func(t *testing.T, engine string) {
		for _, b := range bombs {
			t.Run(b.name, func(t *testing.T) {
				p := start(t, options{engine: engine, args: []string{"--sys-interval", "200ms"}})
				check, memory := bystanders(t, p), p.bounded(b.most)
				before := connect(t, p, login{id: "before"})
				before.subscribe(false, 0, "$SYS/broker/subscriptions/count")
				c := connect(t, p, login{id: "bomber"})
				const perPacket = 1000
				began := time.Now()
				for i := 0; i < b.count; i += perPacket {
					var list []string
					for j := range perPacket {
						list = append(list, b.filter(i+j))
					}
					c.send(subscribe(1, 0, list...))
					c.expect(tSuback)
				}
				t.Logf("%d filters in %v", b.count, time.Since(began).Round(time.Millisecond))
				began = time.Now()
				pub := connect(t, p, login{id: "publisher"})
				for range 20 {
					pub.send(publish(b.topic, 0, 0, []byte("x")))
				}
				pub.send(pingreq)
				pub.expect(tPingresp)
				t.Logf("20 publishes to all of them in %v", time.Since(began).Round(time.Millisecond))
				began = time.Now()
				_ = c.Close()
				sysFigure(t, p, "subscriptions/count", func(n int) bool { return n < 1000 })
				t.Logf("gone after %v", time.Since(began).Round(time.Millisecond))
				check()
				memory()
			})
		}
	})
}

// One SUBSCRIBE as large as a packet may be, each of its filters answered with retained messages.
func TestSubscribeAsLargeAsPossible(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		p := start(t, options{engine: engine})
		pub := connect(t, p, login{id: "keeper"})
		pub.send(frame(0x31, text("a"), []byte("kept")), pingreq)
		pub.expect(tPingresp)
		check, memory := bystanders(t, p), p.bounded(400*mb)
		for i, filter := range []func(i int) string{func(int) string { return "#" }, func(i int) string { return fmt.Sprintf("%x", i) }} {
			c := connect(t, p, login{id: fmt.Sprintf("large-%d", i)})
			var list []string
			for n, size := 0, 0; size < 1_990_000; n++ {
				list = append(list, filter(n))
				size += 3 + len(list[n])
			}
			began := time.Now()
			c.send(subscribe(1, 0, list...))
			c.expect(tSuback)
			t.Logf("%d filters in %v", len(list), time.Since(began).Round(time.Millisecond))
			_ = c.Close()
		}
		check()
		memory()
	})
}

// Aliases beyond the maximum, of zero, never set: DISCONNECT with the right code. Those that are allowed cannot be made to
// hold more than ten topics.
func TestTopicAliasAbuse(t *testing.T) {
	alias := func(n int) []byte { return []byte{0x23, byte(n >> 8), byte(n)} }
	onBoth(t, func(t *testing.T, engine string) {
		p := start(t, options{engine: engine})
		check, memory := bystanders(t, p), p.bounded(40*mb)
		for i, a := range []struct {
			packet []byte
			code   byte
		}{
			{publish5("t", 0, 0, alias(11), nil), 0x94},
			{publish5("t", 0, 0, alias(65535), nil), 0x94},
			{publish5("t", 0, 0, alias(0), nil), 0x94},
			{publish5("", 0, 0, alias(3), nil), 0x82},
			{publish5("", 0, 0, nil, nil), 0x82},
			{publish5("t", 0, 0, append(alias(1), alias(2)...), nil), 0x82},
		} {
			id := fmt.Sprintf("alias-%d", i)
			c := connect(t, p, login{id: id, v5: true})
			c.send(a.packet)
			last, _, err := c.awaitEnd(patience)
			if err != nil || len(last) < 2 || last[0]>>4 != tDisconnect || last[1] != a.code {
				t.Errorf("% x: got % x (%v) instead of DISCONNECT with %#x", a.packet, last, err, a.code)
			}
			p.log.await(t, patience, "Client "+id+" [", "disconnected: ")
		}
		c := connect(t, p, login{id: "alias-long", v5: true})
		for i := range 300 {
			topic := fmt.Sprintf("%d%s", i, strings.Repeat("x", 65000))
			c.send(publish5(topic, 0, 0, alias(i%10+1), nil), publish5("", 0, 0, alias(i%10+1), nil))
		}
		c.send(pingreq)
		c.expect(tPingresp)
		check()
		memory()
	})
}

// Packets made of properties, as many as fit.
func TestPropertyBomb(t *testing.T) {
	users := func(bytes int) (all []byte) {
		for len(all) < bytes {
			all = append(all, 0x26, 0, 0, 0, 0) // an empty user property
		}
		return all
	}
	onBoth(t, func(t *testing.T, engine string) {
		p := start(t, options{engine: engine})
		check, memory := bystanders(t, p), p.bounded(150*mb)
		sub := connect(t, p, login{id: "receiver", v5: true})
		sub.subscribe(true, 0, "bomb")
		for i := range 10 {
			c := connect(t, p, login{id: fmt.Sprintf("bomber-%d", i), v5: true, props: users(250_000)})
			c.send(publish5("bomb", 0, 0, users(1_990_000), nil))
			if body := sub.expect(tPublish); len(body) < 1_990_000 {
				t.Errorf("the properties did not all arrive: %d bytes", len(body))
			}
			_ = c.Close()
		}
		check()
		memory()
	})
}

// Each loop remembers the receivers of topics. Topics that are as long as can be, and ten thousand receivers, must not
// make that memory grow without bound.
func TestMatchCacheBomb(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		t.Run("long topics", func(t *testing.T) {
			p := start(t, options{engine: engine})
			check, memory := bystanders(t, p), p.bounded(90*mb)
			c := connect(t, p, login{id: "long"})
			for i := range 8000 {
				c.send(publish(fmt.Sprintf("%d/%s", i, strings.Repeat("x", 60_000)), 0, 0, nil))
			}
			c.send(pingreq)
			c.expect(tPingresp)
			check()
			memory()
		})
		t.Run("many receivers", func(t *testing.T) {
			p := start(t, options{engine: engine})
			for i := range 200 {
				c := connect(t, p, login{id: fmt.Sprintf("all-%d", i)})
				c.subscribe(false, 0, "many/#")
			}
			check, memory := bystanders(t, p), p.bounded(90*mb)
			c := connect(t, p, login{id: "many"})
			for i := range 16_000 {
				c.send(publish(fmt.Sprintf("many/%d", i), 0, 0, nil))
			}
			c.send(pingreq)
			c.expect(tPingresp)
			check()
			memory()
		})
	})
}

// Clients that ask for everything that is retained, again and again, while others are served.
func TestRetainedFlood(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		p := start(t, options{engine: engine})
		pub := connect(t, p, login{id: "keeper"})
		const topics = 50_000
		for i := range topics {
			pub.send(frame(0x31, text(fmt.Sprintf("kept/%d/%d", i%100, i)), make([]byte, 200)))
		}
		pub.send(pingreq)
		pub.expect(tPingresp)
		check, memory := bystanders(t, p), p.bounded(120*mb)
		reader := connect(t, p, login{id: "reader"})
		for i := range 20 {
			c := deaf(t, p, login{id: fmt.Sprintf("deaf-%d", i)})
			for range 50 {
				c.send(subscribe(1, byte(i%3), "#", "+/+/+", "kept/#"))
			}
		}
		began := time.Now()
		reader.send(subscribe(1, 0, "kept/#"))
		for range topics {
			reader.expect(tPublish)
		}
		t.Logf("%d retained messages to one that reads, beside 20 that do not, in %v", topics, time.Since(began).Round(time.Millisecond))
		check()
		memory()
	})
}

// Hundreds of clients that each send nearly all of the largest packet, and strangers that send nearly all of a CONNECT.
// Together they would need far more than the memory limit.
func TestUnfinishedPacketsOfMany(t *testing.T) {
	cases := []struct {
		name, reason string
		clients      int
		login        bool
		packet       []byte
	}{
		{"PUBLISH", "memory limit", 300, true, publish("t", 0, 0, make([]byte, 1_990_000))[:1_980_000]},
		{"CONNECT", "memory limit", 1500, false, login{id: "s", v5: true, props: make([]byte, 250_000)}.packet()[:240_000]},
	}
	onBoth(t, func(t *testing.T, engine string) {
		for _, x := range cases {
			t.Run(x.name, func(t *testing.T) {
				p := start(t, options{engine: engine, args: []string{"--memory-limit", "33554432"}})
				check, memory := bystanders(t, p), p.bounded(120*mb)
				conns := make([]net.Conn, x.clients)
				parallel(32, func(worker int) {
					for i := worker; i < len(conns); i += 32 {
						c, err := net.DialTimeout("tcp", p.addr, patience)
						if err != nil {
							t.Errorf("dial: %v", err)
							return
						}
						conns[i] = c
						if x.login {
							_, _ = c.Write(login{id: fmt.Sprintf("half-%d", i)}.packet())
						}
						_ = c.SetWriteDeadline(time.Now().Add(time.Second / 2))
						_, _ = c.Write(x.packet)
					}
				})
				check()
				memory()
				p.log.await(t, patience, x.reason)
				for _, c := range conns {
					if c != nil {
						_ = c.Close()
					}
				}
			})
		}
	})
}
