package crash

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// target is a broker that can be started on what it left behind.
type target interface {
	// start runs it in its n-th life and returns the address it listens on. It may be called again after kill and stop.
	start(life int) (addr string, err error)
	// kill ends it as a crash does, stop in order.
	kill() error
	stop() error
	// falter starts it and kills it while it recovers, as far as chance has it.
	falter() error
	// log is what it said in its last life.
	log() string
}

// startTimeout is how long a broker may take from its start until it listens, on a busy machine.
const startTimeout = 20 * time.Second

// process is a broker that is a process of its own.
type process struct {
	command func() (*exec.Cmd, string, error) // the program and, if it is known before, the address it will listen on
	address *regexp.Regexp                    // finds it otherwise in what it prints
	ready   *regexp.Regexp                    // what it prints when it listens
	cmd     *exec.Cmd
	out     *output
	ended   chan struct{}
	status  error
}

// output collects what a process prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	select {
	case o.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// begin starts the process and does not wait until it listens.
func (p *process) begin() (string, error) {
	cmd, addr, err := p.command()
	if err != nil {
		return "", err
	}
	p.cmd, p.out, p.ended = cmd, &output{more: make(chan struct{}, 1)}, make(chan struct{})
	cmd.Stdout, cmd.Stderr = p.out, p.out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	go func() {
		p.status = cmd.Wait()
		close(p.ended)
	}()
	return addr, nil
}

func (p *process) start(int) (string, error) {
	addr, err := p.begin()
	if err != nil {
		return "", err
	}
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	for {
		text := p.out.String()
		if p.ready.MatchString(text) {
			if addr != "" {
				return addr, nil
			}
			if m := p.address.FindStringSubmatch(text); m != nil {
				return m[1], nil
			}
		}
		select {
		case <-p.out.more:
		case <-p.ended:
			return "", fmt.Errorf("the broker ended at once: %w\n%s", p.status, p.log())
		case <-timeout.C:
			return "", errors.Join(fmt.Errorf("the broker did not listen in %v:\n%s", startTimeout, p.log()), p.kill())
		}
	}
}

func (p *process) kill() error { return p.end(syscall.SIGKILL) }
func (p *process) stop() error {
	if err := p.end(syscall.SIGTERM); err != nil {
		return err
	}
	if p.status != nil {
		return fmt.Errorf("the broker ended with %w:\n%s", p.status, p.log())
	}
	return nil
}

func (p *process) falter() error {
	if _, err := p.begin(); err != nil {
		return err
	}
	time.Sleep(rand.N(30 * time.Millisecond)) // a random moment is what is wanted
	return p.kill()
}

// end signals the process and waits for its end. A process that was not there any more is an error: nobody else ends it.
func (p *process) end(sig syscall.Signal) error {
	if p.cmd == nil {
		return nil
	}
	select {
	case <-p.ended:
		return fmt.Errorf("the broker had ended by itself: %w\n%s", p.status, p.log())
	default:
	}
	if err := p.cmd.Process.Signal(sig); err != nil {
		return err
	}
	<-p.ended
	return nil
}

func (p *process) log() string {
	text := p.out.String()
	return text[max(0, len(text)-4000):]
}

// cleanup ends what a failed test left running.
func (p *process) cleanup(t testing.TB) {
	t.Cleanup(func() {
		if p.cmd != nil {
			select {
			case <-p.ended:
			default:
				_ = p.kill() // the test is over
			}
		}
	})
}

// inMemory is the directory that is none.
const inMemory = "none"

// nightjar is this tree's broker with its data in dir.
func nightjar(t testing.TB, dir, sync string) *process {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	// Nothing may be dropped because a queue is full.
	args := []string{"serve", "--listen", "127.0.0.1:0", "--max-queued-messages", "0"}
	if dir == "" {
		dir = "none"
	}
	args = append(args, "--data", dir, "--sync", sync)
	p := &process{
		command: func() (*exec.Cmd, string, error) { return exec.Command(bin, args...), "", nil },
		address: regexp.MustCompile(`listens on (127\.0\.0\.1:[0-9]+)`),
		ready:   regexp.MustCompile(`listens on .*\n`),
	}
	p.cleanup(t)
	return p
}

// binary builds cmd/nightjar once.
var binary = sync.OnceValues(func() (string, error) {
	if *program != "" {
		return *program, nil
	}
	dir, err := os.MkdirTemp("", "crash-nightjar-")
	if err != nil {
		return "", err
	}
	builtIn = dir
	bin := filepath.Join(dir, "nightjar")
	cmd := exec.Command("go", "build", "-o", bin, "../../cmd/nightjar")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/nightjar: %w\n%s", err, out)
	}
	return bin, nil
})

// builtIn is the directory that binary made.
var builtIn string

func TestMain(m *testing.M) {
	code := m.Run()
	if builtIn != "" {
		_ = os.RemoveAll(builtIn)
	}
	os.Exit(code)
}

// mosquitto is Debian's broker with its data in dir.
func mosquitto(t testing.TB, dir string) *process {
	t.Helper()
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		bin = "/usr/sbin/mosquitto"
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatal("mosquitto is not installed: run test/install.sh, or make test, which does")
	}
	p := &process{ready: regexp.MustCompile(` running\n`)}
	p.command = func() (*exec.Cmd, string, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, "", err
		}
		addr := l.Addr().String()
		l.Close()
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, "", err
		}
		lines := []string{
			"listener " + port + " 127.0.0.1", "allow_anonymous true", "log_dest stderr", "log_type error", "log_type warning", "log_type notice", "log_type information", "connection_messages false",
			"persistence true", "persistence_location " + dir + "/", "autosave_interval 0",
			"max_queued_messages 0", "max_queued_bytes 0",
		}
		if os.Geteuid() == 0 {
			lines = append(lines, "user root") // as itself it could not write to the test's directory
		}
		file := filepath.Join(dir, "mosquitto.conf")
		err = os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
		return exec.Command(bin, "-c", file), addr, err
	}
	p.cleanup(t)
	return p
}
