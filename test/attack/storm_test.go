package attack

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// Many connections at once.

// parallel runs n attackers at a time and waits for them.
func parallel(n int, attack func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { attack(i) })
	}
	wg.Wait()
}

// Hundreds of connections fight for one client id. In the end one has it, and nothing of the others is left.
func TestTakeOverStorm(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		for _, l := range []login{{id: "contested"}, {id: "contested", v5: true}, {id: "contested", persist: true}, {id: "contested", v5: true, persist: true, will: "will"}} {
			t.Run(fmt.Sprintf("v5=%v persist=%v", l.v5, l.persist), func(t *testing.T) {
				p := start(t, options{engine: engine, race: true, args: []string{"--sys-interval", "200ms"}})
				check := bystanders(t, p)
				var mu sync.Mutex
				var conns []net.Conn
				parallel(50, func(i int) {
					for round := range 10 {
						c, err := net.DialTimeout("tcp", p.addr, patience)
						if err != nil {
							t.Errorf("dial: %v", err)
							return
						}
						mu.Lock()
						conns = append(conns, c)
						mu.Unlock()
						sent := l.packet()
						if l.v5 {
							sent = append(sent, subscribe5(1, 1, "storm/#")...)
							sent = append(sent, publish5("storm/x", 1, 1, nil, []byte("x"))...)
						} else {
							sent = append(sent, subscribe(1, 1, "storm/#")...)
							sent = append(sent, publish("storm/x", 1, 1, []byte("x"))...)
						}
						_, _ = c.Write(sent)
						if (i+round)%7 == 0 {
							_ = c.Close() // while it may be waiting for its predecessor
							continue
						}
						_ = c.SetReadDeadline(time.Now().Add(patience))
						if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
							t.Error("a client is neither served nor closed")
						}
					}
				})
				// The last word is a client that stays. One of those that closed may still be on its way.
				last := stays(t, p, l)
				alive := 0
				for _, c := range conns {
					_ = c.SetReadDeadline(time.Now().Add(patience))
					buf := make([]byte, 4096)
					for {
						if _, err := c.Read(buf); err != nil {
							if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
								alive++
							}
							break
						}
					}
					_ = c.Close()
				}
				if alive > 0 {
					t.Errorf("%d connections of the storm are still open", alive)
				}
				last.send(pingreq)
				last.expect(tPingresp)
				check()
				// The two bystanders, the last one, and who asks.
				sysFigure(t, p, "clients/connected", func(n int) bool { return n == 4 })
				sysFigure(t, p, "connections/socket/open", func(n int) bool { return n <= 5 })
			})
		}
	})
}

// stays connects until nobody takes the client id away.
func stays(t *testing.T, p *process, l login) *peer {
	t.Helper()
	for limit := time.Now().Add(patience); time.Now().Before(limit); {
		c := dial(t, p)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		_, _ = c.Write(append(l.packet(), pingreq...))
		for {
			first, _, err := c.read()
			if err != nil {
				break
			}
			if first>>4 == tPingresp {
				return c
			}
		}
	}
	t.Fatalf("nobody can keep the client id for %v", patience)
	return nil
}

// More connections without CONNECT than may be: the others stay connected, those above the number are closed at once, and
// when the silent ones have been dropped newcomers get in again.
func TestUnconnectedFlood(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		p := start(t, options{engine: engine, args: []string{"--connect-timeout", "3s"}})
		check, memory := bystanders(t, p), p.bounded(60*mb)
		const silent, allowed = 4000, 2000
		closed := make(chan time.Duration, silent)
		began := time.Now()
		for range silent {
			c, err := net.DialTimeout("tcp", p.addr, patience)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				_ = c.SetReadDeadline(time.Now().Add(patience))
				_, err := c.Read(make([]byte, 1))
				if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
					t.Errorf("a silent connection is still open after %v", patience)
				}
				closed <- time.Since(began)
				_ = c.Close()
			}()
		}
		opened := time.Since(began)
		early := 0
		for range silent {
			if took := <-closed; took < 3*second {
				early++
			}
		}
		t.Logf("%d connections in %v, %d of them closed before the time", silent, opened.Round(time.Millisecond), early)
		if early < silent-allowed-100 {
			t.Errorf("only %d connections were refused; %d may be without CONNECT at a time", early, allowed)
		}
		p.log.await(t, patience, "too many connections that have not sent CONNECT")
		connect(t, p, login{id: "newcomer"})
		check()
		memory()
	})
}

// Clients that come and go as fast as they can, and pings as fast as they are answered.
func TestChurnAndPings(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		p := start(t, options{engine: engine, args: []string{"--sys-interval", "200ms"}})
		check, memory := bystanders(t, p), p.bounded(60*mb)
		until := time.Now().Add(2 * second)
		var came, pinged int64
		var mu sync.Mutex
		parallel(8, func(i int) {
			var n, pings int64
			for time.Now().Before(until) {
				c, err := net.DialTimeout("tcp", p.addr, patience)
				if err != nil {
					t.Errorf("dial: %v", err)
					return
				}
				id := fmt.Sprintf("churn-%d-%d", i, n)
				_, _ = c.Write(append(login{id: id, v5: n%2 == 0}.packet(), pingreq...))
				if n%50 == 0 { // now and then one that pings for a while
					buf := make([]byte, 64<<10)
					batch := make([]byte, 0, 32<<10)
					for len(batch) < cap(batch) {
						batch = append(batch, pingreq...)
					}
					for range 50 {
						_, _ = c.Write(batch)
						k, _ := c.Read(buf)
						pings += int64(k / 2)
					}
				}
				_ = c.Close()
				n++
			}
			mu.Lock()
			came, pinged = came+n, pinged+pings
			mu.Unlock()
		})
		t.Logf("%d clients came and went, %d pings were answered", came, pinged)
		check()
		memory()
		sysFigure(t, p, "clients/total", func(n int) bool { return n == 3 })
	})
}

// Descriptors run out: whoever comes then is closed at once, those who are there notice nothing, and when there are some
// again newcomers get in.
func TestDescriptorsExhausted(t *testing.T) {
	cases := []struct {
		name, reason string
		args         []string
	}{
		{"limit derived from ulimit", "limit of connections", nil},
		{"limit set too high", "no file descriptors left", []string{"--max-connections", "100000"}},
	}
	onBoth(t, func(t *testing.T, engine string) {
		for _, x := range cases {
			t.Run(x.name, func(t *testing.T) {
				p := start(t, options{engine: engine, descriptors: 160, args: x.args})
				check := bystanders(t, p)
				var conns []*peer
				refused := 0
				for i := range 400 {
					c := dial(t, p)
					_, _ = c.Write(login{id: fmt.Sprintf("many-%d", i)}.packet())
					conns = append(conns, c)
				}
				for _, c := range conns {
					_ = c.SetReadDeadline(time.Now().Add(patience))
					if _, _, err := c.read(); err != nil {
						if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
							t.Fatal("a connection is neither served nor refused")
						}
						refused++
					}
				}
				t.Logf("%d of %d refused", refused, len(conns))
				if refused < 240 {
					t.Errorf("only %d of %d connections were refused with 160 descriptors", refused, len(conns))
				}
				p.log.await(t, patience, x.reason)
				for _, c := range conns {
					_ = c.Close()
				}
				for limit := time.Now().Add(patience); ; {
					c := dial(t, p)
					_, _ = c.Write(login{id: "newcomer"}.packet())
					_ = c.SetReadDeadline(time.Now().Add(patience))
					first, _, err := c.read()
					if err == nil && first>>4 == tConnack {
						break
					}
					if time.Now().After(limit) {
						t.Fatalf("nobody gets in any more: %v", err)
					}
				}
				check()
			})
		}
	})
}
