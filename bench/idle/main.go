//go:build linux

// Command idle measures what an idle connection costs the broker: it builds the stripped binary, starts it, opens many
// TCP connections with a client id and a subscription each, and reads the process's resident memory before and after, and
// again when the broker has been left alone for a while. It fails when a connection costs more than -limit bytes then.
//
//	go run ./bench/idle
//	go run ./bench/idle -connections 15000 -limit 1000 -idle 12s -engine epoll
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type settings struct {
	connections int
	limit       int
	idle        time.Duration
	engine      string
	payload     bool
}

func main() {
	var s settings
	flag.IntVar(&s.connections, "connections", 15_000, "connections to open")
	flag.IntVar(&s.limit, "limit", 1000, "resident bytes that a connection may cost")
	flag.DurationVar(&s.idle, "idle", 12*time.Second, "how long the broker is left alone")
	flag.StringVar(&s.engine, "engine", "epoll", "network engine of the broker")
	flag.BoolVar(&s.payload, "traffic", false, "publish one message to each connection first, so that none is as new")
	flag.Parse()
	if err := run(s); err != nil {
		fmt.Fprintf(os.Stderr, "idle: %v\n", err)
		os.Exit(1)
	}
}

func run(s settings) error {
	if err := raiseDescriptors(s.connections + 200); err != nil {
		return err
	}
	b, err := startBroker(s.engine)
	if err != nil {
		return err
	}
	defer b.stop()
	// The first connection is not counted: it has the broker make what it makes once.
	if _, err := open(b.addr, 0, "idle-first"); err != nil {
		return err
	}
	before, err := b.settled(s.idle)
	if err != nil {
		return err
	}
	fmt.Printf("before: %8d kB resident\n", before>>10)

	began := time.Now()
	conns, err := openAll(b.addr, s.connections)
	if err != nil {
		return err
	}
	took := time.Since(began)
	if s.payload {
		if err := visitAll(conns); err != nil {
			return err
		}
	}
	at, err := b.resident()
	if err != nil {
		return err
	}
	each := func(now int64) int { return int((now - before) / int64(len(conns))) }
	fmt.Printf("after:  %8d kB resident with %d connections, opened in %v: %d bytes each\n",
		at>>10, len(conns), took.Round(time.Millisecond), each(at))
	idle, err := b.settled(s.idle)
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

// raiseDescriptors lets this process, and the broker it starts, have n descriptors open.
func raiseDescriptors(n int) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("reading the limit of open files: %w", err)
	}
	if l.Max < uint64(n) {
		return fmt.Errorf("%d open files are needed and %d are allowed; raise the hard limit (ulimit -Hn) or open fewer with -connections", n, l.Max)
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("raising the limit of open files to %d: %w", l.Max, err)
	}
	return nil
}

// broker is the process that is measured.
type broker struct {
	cmd  *exec.Cmd
	addr string
	dir  string
}

func startBroker(engine string) (*broker, error) {
	dir, err := os.MkdirTemp("", "idle-")
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(dir, "nightjar")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "github.com/nightjar-mqtt/nightjar/cmd/nightjar")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("%s: %w\n%s", build, err, out)
	}
	b := &broker{dir: dir, cmd: exec.Command(bin, "serve", "--port", "0", "--engine", engine, "--quiet")}
	b.cmd.Stderr = os.Stderr
	out, err := b.cmd.StdoutPipe()
	if err == nil {
		err = b.cmd.Start()
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if b.addr = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`).FindString(line); b.addr == "" {
		b.stop()
		return nil, fmt.Errorf("the broker did not say where it listens: %q: %w", line, err)
	}
	return b, nil
}

func (b *broker) stop() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	_ = os.RemoveAll(b.dir)
}

// settled is the resident memory after a while without clients' doing.
func (b *broker) settled(after time.Duration) (int64, error) {
	time.Sleep(after)
	return b.resident()
}

var vmRSS = regexp.MustCompile(`VmRSS:\s+([0-9]+) kB`)

// resident is the broker's resident memory in bytes.
func (b *broker) resident() (int64, error) {
	name := fmt.Sprintf("/proc/%d/status", b.cmd.Process.Pid)
	status, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	m := vmRSS.FindSubmatch(status)
	if m == nil {
		return 0, fmt.Errorf("no VmRSS in %s: has the broker ended?", name)
	}
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	return kb << 10, err
}

const (
	dialers    = 32
	perAddress = 10_000 // connections from one source address: ports are some 28,000 by default, and others use them too
	patience   = 30 * time.Second
)

// openAll opens n connections from as many loopback addresses as they need.
func openAll(addr string, n int) ([]net.Conn, error) {
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
				c, err := open(addr, i/perAddress, fmt.Sprintf("idle-%06d", i))
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
func open(addr string, source int, id string) (net.Conn, error) {
	d := net.Dialer{Timeout: patience, KeepAlive: -1, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+source))}}
	c, err := d.Dial("tcp", addr)
	if err != nil {
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
