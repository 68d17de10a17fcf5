package attack

import (
	"bytes"
	"fmt"
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

// patience is how long anything may take that should take no time: for a busy machine.
const patience = 15 * time.Second

const mb = 1 << 20

// TestMain removes what was built.
func TestMain(m *testing.M) {
	code := m.Run()
	if builtIn != "" {
		_ = os.RemoveAll(builtIn)
	}
	os.Exit(code)
}

var builtIn string

// build makes the broker's binary once: stripped as it is shipped, so that memory and size are those of the real one.
var build = sync.OnceValues(func() (string, error) { return compile("nightjar", "-trimpath", "-ldflags", "-s -w") })

// buildRace makes the one with the race detector, for the attacks that aim at interleavings.
var buildRace = sync.OnceValues(func() (string, error) { return compile("nightjar-race", "-race") })

var compiling sync.Mutex

func compile(name string, flags ...string) (string, error) {
	compiling.Lock()
	defer compiling.Unlock()
	if builtIn == "" {
		dir, err := os.MkdirTemp("", "attack-")
		if err != nil {
			return "", err
		}
		builtIn = dir
	}
	bin := filepath.Join(builtIn, name)
	args := append([]string{"build", "-o", bin}, flags...)
	cmd := exec.Command("go", append(args, "../../cmd/nightjar")...)
	if !strings.Contains(name, "race") {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return bin, nil
}

// options of a broker under attack.
type options struct {
	engine      string // "": the platform's best
	race        bool
	args        []string
	descriptors int // ulimit -n; 0: as it is
}

// process is a running broker.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	addr string
	log  *record
	done chan struct{} // closed when it has ended
	err  error         // of Wait; read after done
}

// start runs a broker until the test ends. It must end well then: exit code 0 after SIGTERM, no panic, no data race.
func start(t *testing.T, o options) *process {
	t.Helper()
	bin, err := build()
	if o.race {
		bin, err = buildRace()
	}
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"serve", "--port", "0", "--data", "none"}, o.args...)
	if o.engine != "" {
		args = append(args, "--engine", o.engine)
	}
	cmd := exec.Command(bin, args...)
	if o.descriptors > 0 {
		shell := fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, o.descriptors)
		cmd = exec.Command("sh", append([]string{"-c", shell, bin}, args...)...)
	}
	p := &process{t: t, cmd: cmd, log: newRecord(), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.end)
	line := p.log.await(t, patience, "listens on")
	p.addr = listening.FindString(line)
	return p
}

// end stops the broker and looks at what it leaves behind.
func (p *process) end() {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
		p.t.Errorf("the broker did not end within %v of SIGTERM", patience)
	}
	text := p.log.String()
	for _, bad := range []string{"DATA RACE", "goroutine ", "handler failed"} {
		if i := strings.Index(text, bad); i >= 0 {
			p.t.Errorf("the broker's log has %q:\n%s", bad, text[i:min(len(text), i+4000)])
		}
	}
	if p.t.Failed() {
		p.t.Logf("the end of the broker's log:\n%s", text[max(0, len(text)-4000):])
	}
}

func (p *process) signal(s os.Signal) {
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Signal(s)
	}
}

var listening = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)

var vmRSS = regexp.MustCompile(`VmRSS:\s+([0-9]+) kB`)

// resident is the process's resident memory in bytes; 0 when it has ended.
func (p *process) resident() int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	m := vmRSS.FindSubmatch(status)
	if err != nil || m == nil {
		return 0
	}
	kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return kb << 10
}

// bounded watches the process's memory until the returned function is called, which fails the test if it was ever more
// than limit bytes above what it is now.
func (p *process) bounded(limit int64) (check func()) {
	p.t.Helper()
	before, most := p.resident(), int64(0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-p.done:
				return
			case <-tick.C:
				most = max(most, p.resident())
			}
		}
	}()
	return func() {
		p.t.Helper()
		close(stop)
		<-stopped
		p.t.Logf("resident: %d MB before, %d MB at most", before/mb, most/mb)
		if most-before > limit {
			p.t.Errorf("the process grew by %d MB; at most %d MB are allowed", (most-before)/mb, limit/mb)
		}
	}
}

// record keeps what a process writes, and tells those who wait for a line.
type record struct {
	mu    sync.Mutex
	b     bytes.Buffer
	grown chan struct{} // closed and replaced with each write
}

func newRecord() *record { return &record{grown: make(chan struct{})} }

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.grown)
	r.grown = make(chan struct{})
	return r.b.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

// lines gives the whole lines from an offset on, where the next ones begin, and a channel that is closed when there are.
func (r *record) lines(from int) (lines []byte, next int, grown chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.b.Bytes()
	next = bytes.LastIndexByte(all, '\n') + 1
	if next <= from {
		return nil, from, r.grown
	}
	return bytes.Clone(all[from:next]), next, r.grown
}

// await returns the first line that has all the words.
func (r *record) await(t *testing.T, within time.Duration, words ...string) string {
	t.Helper()
	limit := time.NewTimer(within)
	defer limit.Stop()
	for from := 0; ; {
		lines, next, grown := r.lines(from)
	lines:
		for line := range strings.Lines(string(lines)) {
			for _, w := range words {
				if !strings.Contains(line, w) {
					continue lines
				}
			}
			return line
		}
		from = next
		select {
		case <-grown:
		case <-limit.C:
			t.Errorf("no line with %q in the log within %v", words, within)
			return ""
		}
	}
}

// onBoth runs a test on each network engine.
func onBoth(t *testing.T, test func(t *testing.T, engine string)) {
	for _, engine := range []string{"epoll", "goroutine"} {
		t.Run(engine, func(t *testing.T) { test(t, engine) })
	}
}
