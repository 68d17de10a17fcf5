//go:build unix

package netloop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const exhaustedEnv = "NETLOOP_TEST_EXHAUSTED"

// When descriptors run out, connections beyond the limit are closed at once instead of hanging in the backlog, those that
// are open live on, and when some close, new ones are taken again. The server is a child process with a low limit.
func TestDescriptorsExhausted(t *testing.T) {
	if how := os.Getenv(exhaustedEnv); how != "" {
		serveFewDescriptors(t, how)
		return
	}
	for _, engine := range Engines() {
		for _, own := range []bool{true, false} {
			how := fmt.Sprint(engine, " own=", own)
			t.Run(how, func(t *testing.T) { exhaust(t, how) })
		}
	}
}

func serveFewDescriptors(t *testing.T, how string) {
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 60, Max: 60}); err != nil {
		t.Fatal(err)
	}
	engine, own, _ := strings.Cut(how, " own=")
	b := newBench(t, Options{Engine: engine})
	b.serve(own == "true", func(c Conn) Handler {
		return b.newScript(c, func(h *script) {
			echo(h)
			h.opened = func(int64) { h.send([]byte("hi")) }
		})
	})
	fmt.Printf("listening on %s\n", b.l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent has seen enough
	fmt.Println(b.log.String())
}

// startFewDescriptors starts the child; stdin ends it, lines is what it says after its address.
func startFewDescriptors(t *testing.T, how string) (cmd *exec.Cmd, stdin io.Closer, lines *bufio.Reader, addr string) {
	cmd = exec.Command(os.Args[0], "-test.run=^TestDescriptorsExhausted$", "-test.v")
	cmd.Env = append(os.Environ(), exhaustedEnv+"="+how)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines = bufio.NewReader(out)
	for addr == "" {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the child says nothing: %v", err)
		}
		_, addr, _ = strings.Cut(strings.TrimSpace(line), "listening on ")
	}
	return cmd, in, lines, addr
}

// greeted connects; nil: the server has closed the connection at once.
func greeted(t *testing.T, addr string) net.Conn {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
		c.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a connection beyond the limit hangs")
		}
		return nil
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func exhaust(t *testing.T, how string) {
	cmd, stdin, lines, addr := startFewDescriptors(t, how)
	var open []net.Conn
	for c := greeted(t, addr); c != nil; c = greeted(t, addr) {
		if open = append(open, c); len(open) > 60 {
			t.Fatal("the limit has no effect")
		}
	}
	if len(open) < 20 {
		t.Errorf("only %d connections fit under a limit of 60", len(open))
	}
	for range 5 { // refused too, and soon
		if greeted(t, addr) != nil {
			t.Error("a connection beyond the limit was taken")
		}
	}
	for _, c := range open { // these are served all the time
		mustWrite(t, c, frame([]byte("x")))
		mustRead(t, c, 5)
	}
	for _, c := range open[:10] {
		c.Close()
	}
	for end := time.Now().Add(patience); greeted(t, addr) == nil; {
		if time.Now().After(end) {
			t.Fatal("with descriptors free again no connection is taken")
		}
	}
	stdin.Close()
	rest, _ := io.ReadAll(lines)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the child failed: %v\n%s", err, rest)
	}
	if want := []byte("no file descriptors left"); !bytes.Contains(rest, want) {
		t.Errorf("the log lacks %q: %s", want, rest)
	}
}
