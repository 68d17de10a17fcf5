//go:build linux

// Command idle measures what an idle connection costs the broker: it builds the stripped binary, starts it, opens many
// TCP connections with a client id and a subscription each, and reads the process's resident memory before and after, and
// again when the broker has been left alone for a while. It fails when a connection costs more than -limit bytes then.
//
//	go run ./bench/idle
//	go run ./bench/idle -transport tls
//	go run ./bench/idle -connections 15000 -limit 1000 -idle 12s -engine epoll
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nightjar-mqtt/nightjar/bench/subject"
)

type settings struct {
	connections int
	limit       int
	idle        time.Duration
	engine      string
	transport   string
	payload     bool
}

func main() {
	var s settings
	flag.IntVar(&s.connections, "connections", 15_000, "connections to open")
	flag.IntVar(&s.limit, "limit", 0, "resident bytes that a connection may cost; 0: the budget of the transport")
	flag.DurationVar(&s.idle, "idle", 12*time.Second, "how long the broker is left alone")
	flag.StringVar(&s.engine, "engine", "epoll", "network engine of the broker")
	flag.StringVar(&s.transport, "transport", "tcp", "tcp, tls, ws or wss")
	flag.BoolVar(&s.payload, "traffic", false, "publish one message to each connection first, so that none is as new")
	flag.Parse()
	if err := run(s); err != nil {
		fmt.Fprintf(os.Stderr, "idle: %v\n", err)
		os.Exit(1)
	}
}

func run(s settings) error {
	if err := subject.RaiseDescriptors(s.connections + 200); err != nil {
		return err
	}
	all, err := transports()
	if err != nil {
		return err
	}
	t := all[s.transport]
	if t == nil {
		return fmt.Errorf("-transport: there is no %q; tcp, tls, ws and wss exist", s.transport)
	}
	if s.limit == 0 {
		s.limit = t.limit
	}
	b, err := subject.Start(t.files, append([]string{"--data", "data", "--listen", t.listen + "://127.0.0.1:0", "--data", "data", "--engine", s.engine}, t.args...)...)
	if err != nil {
		return err
	}
	defer b.Stop()
	// The first connection is not counted: it has the broker make what it makes once.
	if _, err := t.open(b.Address, 0, "idle-first"); err != nil {
		return err
	}
	before, err := b.Settled(s.idle)
	if err != nil {
		return err
	}
	fmt.Printf("before: %8d kB resident\n", before>>10)

	began := time.Now()
	conns, err := t.openAll(b.Address, s.connections)
	if err != nil {
		return err
	}
	took := time.Since(began)
	if s.payload {
		if err := visitAll(conns); err != nil {
			return err
		}
	}
	at, err := b.Resident()
	if err != nil {
		return err
	}
	each := func(now int64) int { return int((now - before) / int64(len(conns))) }
	fmt.Printf("after:  %8d kB resident with %d connections, opened in %v: %d bytes each\n",
		at>>10, len(conns), took.Round(time.Millisecond), each(at))
	idle, err := b.Settled(s.idle)
	if err != nil {
		return err
	}
	fmt.Printf("idle:   %8d kB resident %v later: %d bytes each\n", idle>>10, s.idle, each(idle))
	for i, c := range []int{0, len(conns) / 2, len(conns) - 1} {
		if err := ping(conns[c]); err != nil {
			return fmt.Errorf("connection %d of %d does not live any more: %w", c, len(conns), errors.Join(err, fmt.Errorf("probe %d", i)))
		}
	}
	if each(idle) > s.limit {
		return fmt.Errorf("an idle connection costs %d bytes; at most %d are allowed", each(idle), s.limit)
	}
	return nil
}

const (
	dialers    = 32
	perAddress = 10_000 // connections from one source address: ports are some 28,000 by default, and others use them too
	patience   = 30 * time.Second
)

// openAll opens n connections from as many loopback addresses as they need.
func (t *transport) openAll(addr string, n int) ([]net.Conn, error) {
	conns := make([]net.Conn, n)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range dialers {
		wg.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				c, err := t.open(addr, i/perAddress, fmt.Sprintf("idle-%06d", i))
				if err != nil {
					err = fmt.Errorf("connection %d of %d: %w", i, n, err)
					failed.Store(&err)
					return
				}
				conns[i] = c
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	return conns, nil
}

// open connects with a client id and subscribes to a topic of its own.
func (t *transport) open(addr string, source int, id string) (net.Conn, error) {
	d := net.Dialer{Timeout: patience, KeepAlive: -1, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+source))}}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if c, err = t.wrap(c); err != nil {
		_ = c.Close()
		return nil, err
	}
	filter := "idle/" + id
	hello := []byte{0x10, byte(12 + len(id)), 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, byte(len(id))}
	hello = append(hello, id...)
	hello = append(hello, 0x82, byte(5+len(filter)), 0, 1, 0, byte(len(filter)))
	hello = append(append(hello, filter...), 0)
	if err := exchange(c, hello, []byte{0x20, 2, 0, 0, 0x90, 3, 0, 1, 0}); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("connecting and subscribing: %w", err)
	}
	return c, nil
}

// visitAll publishes a message to each connection, from itself.
func visitAll(conns []net.Conn) error {
	for i := range conns {
		topic := fmt.Sprintf("idle/idle-%06d", i)
		p := append([]byte{0x30, byte(3 + len(topic)), 0, byte(len(topic))}, topic...)
		p = append(p, '!')
		if err := exchange(conns[i], p, p); err != nil {
			return fmt.Errorf("a message to connection %d: %w", i, err)
		}
	}
	return nil
}

func ping(c net.Conn) error { return exchange(c, []byte{0xC0, 0}, []byte{0xD0, 0}) }

// exchange sends and expects exactly these bytes in return.
func exchange(c net.Conn, send, want []byte) error {
	_ = c.SetDeadline(time.Now().Add(patience))
	defer func() { _ = c.SetDeadline(time.Time{}) }()
	if _, err := c.Write(send); err != nil {
		return err
	}
	got := make([]byte, len(want))
	for n := 0; n < len(got); {
		k, err := c.Read(got[n:])
		if n += k; err != nil {
			return fmt.Errorf("after % x: %w", got[:n], err)
		}
	}
	if string(got) != string(want) {
		return fmt.Errorf("got % x instead of % x", got, want)
	}
	return nil
}
