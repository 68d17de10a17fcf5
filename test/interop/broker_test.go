//go:build linux

package interop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startLimit = 10 * time.Second // from exec to the first accepted connection
	stopLimit  = 10 * time.Second // from SIGTERM to exit
	portTaken  = "Address already in use"
)

// A broker is a running broker process that the client programs talk to.
type broker struct {
	port  int            // on 127.0.0.1, for plain TCP
	ports map[string]int // by scheme, for the others
	ca    string         // file of the authority for TLS
	log   *tail
}

// overs are the schemes besides mqtt that brokers listen for.
var overs = []string{"mqtts", "ws", "wss"}

// nightjarArgs is the one place that knows Nightjar's flags. Port 0 lets the kernel choose.
func nightjarArgs(engine, authority, data string) []string {
	args := []string{"serve", "--engine", engine, "--listen", "127.0.0.1:0", "--data", data,
		"--cert", filepath.Join(authority, certFile), "--key", filepath.Join(authority, keyFile)}
	for _, scheme := range overs {
		args = append(args, "--listen", scheme+"://127.0.0.1:0")
	}
	return args
}

// nightjarListens finds the port in what `nightjar serve` prints once it listens.
var nightjarListens = regexp.MustCompile(`listens on 127\.0\.0\.1:([1-9][0-9]*)`)

// nightjarPort finds the port for a scheme.
func nightjarPort(t *testing.T, output, scheme string) int {
	t.Helper()
	m := regexp.MustCompile(`\b` + scheme + `://127\.0\.0\.1:([1-9][0-9]*)`).FindStringSubmatch(output)
	if m == nil {
		t.Fatalf("nightjar does not say where it listens for %s:\n%s", scheme, output)
	}
	port, _ := strconv.Atoi(m[1]) // digits by the expression
	return port
}

// buildNightjar compiles cmd/nightjar once per test run.
var buildNightjar = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(outDir, "nightjar")
	args := append([]string{"build", "-o", bin}, raceFlag...)
	cmd := exec.Command("go", append(args, "./cmd/nightjar")...)
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/nightjar: %w\n%s", err, out)
	}
	return bin, nil
})

// startNightjar runs the real process with the given network engine until the test ends. Like any service it has to
// end with code 0 on SIGTERM.
func startNightjar(t *testing.T, engine string) *broker {
	t.Helper()
	bin, err := buildNightjar()
	if err != nil {
		t.Fatal(err)
	}
	authority := makeAuthority(t)
	cmd := exec.Command(bin, nightjarArgs(engine, authority, t.TempDir())...)
	b := &broker{log: &tail{}, ports: map[string]int{}, ca: filepath.Join(authority, caFile)}
	if b.port, err = start(t, cmd, b.log, nightjarListens); err != nil {
		t.Fatalf("nightjar %v; its output:\n%s", err, b.log)
	}
	for _, scheme := range overs {
		b.ports[scheme] = nightjarPort(t, b.log.String(), scheme)
	}
	b.awaitAccept(t)
	return b
}

// startMosquitto runs Debian's mosquitto, the broker that tests this suite. It can't choose a port by itself, so a free
// one is looked up first, and the start is repeated if somebody took it in between.
func startMosquitto(t *testing.T) *broker {
	t.Helper()
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		bin = "/usr/sbin/mosquitto" // not in every user's PATH
	}
	need(t, requirement{bin, "mosquitto"})
	authority := makeAuthority(t)
	for range 5 {
		b := &broker{port: freePort(t), log: &tail{}, ports: map[string]int{}, ca: filepath.Join(authority, caFile)}
		conf := filepath.Join(t.TempDir(), "mosquitto.conf")
		text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nlog_dest stderr\nlog_type all\n", b.port)
		if os.Getuid() == 0 {
			text += "user root\n" // the key is for its owner alone
		}
		for _, scheme := range overs {
			b.ports[scheme] = freePort(t)
			text += fmt.Sprintf("listener %d 127.0.0.1\n", b.ports[scheme])
			if scheme != "mqtts" {
				text += "protocol websockets\n"
			}
			if scheme != "ws" {
				text += fmt.Sprintf("certfile %s\nkeyfile %s\n", filepath.Join(authority, certFile), filepath.Join(authority, keyFile))
			}
		}
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := start(t, exec.Command(bin, "-c", conf), b.log, regexp.MustCompile(`mosquitto version \S+ running()`))
		if err == nil {
			b.awaitAccept(t)
			return b
		}
		if !strings.Contains(b.log.String(), portTaken) {
			t.Fatalf("mosquitto %v; its output:\n%s", err, b.log)
		}
	}
	t.Fatal("mosquitto found its port taken five times")
	return nil
}

// start runs cmd, collects its output and returns the number that ready captures (0 for an empty group) in the first line
// that matches. A cleanup sends SIGTERM and wants code 0 within stopLimit.
func start(t *testing.T, cmd *exec.Cmd, log *tail, ready *regexp.Regexp) (int, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	w.Close() // the child has its own copy; ours would keep the pipe open after it
	found := make(chan int, 1)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		defer close(found)
		follow(r, log, ready, found)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended already; Wait tells how
		kill := time.AfterFunc(stopLimit, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		late := !kill.Stop()
		<-drained
		r.Close()
		switch {
		case late:
			t.Errorf("%s was still there %v after SIGTERM and was killed; its last output:\n%s", cmd.Path, stopLimit, log)
		case err != nil && !strings.Contains(log.String(), portTaken):
			t.Errorf("%s ended with %v, want code 0; its last output:\n%s", cmd.Path, err, log)
		}
	})
	select {
	case n, ok := <-found:
		if !ok {
			return 0, fmt.Errorf("ended without a line that matches %v", ready)
		}
		return n, nil
	case <-time.After(startLimit):
		return 0, fmt.Errorf("printed no line that matches %v within %v", ready, startLimit)
	}
}

// follow copies lines from r to log until the end and sends the number of the first line that matches ready.
func follow(r io.Reader, log *tail, ready *regexp.Regexp, found chan<- int) {
	in := bufio.NewReader(r)
	for seen := false; ; {
		line, err := in.ReadString('\n')
		log.add(line)
		if m := ready.FindStringSubmatch(line); m != nil && !seen {
			seen = true
			port, _ := strconv.Atoi(m[1]) // an empty group gives 0, as documented
			found <- port
		}
		if err != nil {
			return
		}
	}
}

// awaitAccept dials until the broker accepts: some print their line a moment before they listen.
func (b *broker) awaitAccept(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp4", fmt.Sprintf("127.0.0.1:%d", b.port))
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			t.Fatalf("the broker accepts nothing on 127.0.0.1:%d: %v; its output:\n%s", b.port, err, b.log)
		}
	}
}

// freePort returns a loopback port that was free a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// A tail keeps the last lines of a process's output for failure messages.
type tail struct {
	mu    sync.Mutex
	lines []string
}

const tailLines = 400

func (l *tail) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	if len(l.lines) > tailLines {
		l.lines = l.lines[len(l.lines)-tailLines:]
	}
}

// String joins the lines kept.
func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "")
}
