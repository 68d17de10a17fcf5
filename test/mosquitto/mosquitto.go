// Package mosquitto runs Debian's mosquitto for tests that compare with it.
package mosquitto

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Broker is a running mosquitto.
type Broker struct {
	Addr string // host:port of its listener, on loopback
	Port string
	cmd  *exec.Cmd
}

// Start runs mosquitto on a free port of loopback, until the test ends.
// config is added to its configuration: each entry is a line.
func Start(t testing.TB, config ...string) *Broker {
	t.Helper()
	return startAny(t, config, nil)
}

// StartTLS is Start with a listener that speaks TLS with the certificate and
// key in these files.
func StartTLS(t testing.TB, cert, key string) *Broker {
	t.Helper()
	return startAny(t, nil, []string{"certfile " + cert, "keyfile " + key})
}

// StartListener is Start with more lines of configuration for the listener.
func StartListener(t testing.TB, lines ...string) *Broker {
	t.Helper()
	return startAny(t, nil, lines)
}

// startAny starts a broker with configuration before and behind its listener.
func startAny(t testing.TB, before, behind []string) *Broker {
	t.Helper()
	program, err := find("mosquitto", "/usr/sbin/mosquitto")
	if err != nil {
		t.Fatal(err)
	}
	// Somebody may take the port between our look and mosquitto's bind.
	for range 5 {
		b, err := start(t, program, before, behind)
		if err == nil {
			t.Cleanup(b.Stop)
			return b
		}
		t.Logf("mosquitto: %v", err)
	}
	t.Fatal("mosquitto does not start")
	return nil
}

// Command returns the path of one of mosquitto's client programs.
func Command(t testing.TB, name string) string {
	t.Helper()
	path, err := find(name, "/usr/bin/"+name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func find(name, usual string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	if _, err := os.Stat(usual); err != nil {
		return "", fmt.Errorf("%s is not installed: run test/install.sh, or make test, which does", name)
	}
	return usual, nil
}

func start(t testing.TB, program string, before, behind []string) (*Broker, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	lines := append([]string{"allow_anonymous true", "log_dest stderr", "log_type all"}, before...)
	if os.Geteuid() == 0 {
		lines = append(lines, "user root") // as itself it could not read the test's files
	}
	lines = append(lines, "listener "+port+" 127.0.0.1")
	lines = append(lines, behind...)
	file := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "-c", file)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var said []string
	in := bufio.NewScanner(stderr)
	for in.Scan() {
		if strings.HasSuffix(in.Text(), " running") {
			go func() { // keep its log from filling the pipe
				for in.Scan() {
				}
			}()
			return &Broker{Addr: addr, Port: port, cmd: cmd}, nil
		}
		said = append(said, in.Text())
	}
	_ = cmd.Wait() // the log says more than its status
	return nil, fmt.Errorf("ended at once:\n%s", strings.Join(said, "\n"))
}

// Stop ends the broker. It may be called twice.
func (b *Broker) Stop() {
	_ = b.cmd.Process.Kill() // it may have ended already
	_ = b.cmd.Wait()
}
