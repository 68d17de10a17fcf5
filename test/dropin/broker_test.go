//go:build linux

package dropin

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds what waits for something that must come.
const patience = 15 * time.Second

// daemon is a broker that runs on a configuration file: Debian's or this tree's.
type daemon struct {
	t       testing.TB
	name    string
	command []string // the configuration file follows
	dir     string
	ports   []int // PORT1 and so on
	conf    string
	cmd     *exec.Cmd
	ended   chan struct{}
	status  error // once ended
	out     output
}

// output is what the processes of a daemon have written to stdout and stderr.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// newDaemon has the files of a configuration written, and starts nothing.
func newDaemon(t testing.TB, name string, command []string, conf string) *daemon {
	t.Helper()
	d := &daemon{t: t, name: name, command: command}
	// Both brokers become the user mosquitto when root starts them, who cannot enter a test's usual directory.
	var err error
	if d.dir, err = os.MkdirTemp("", "nj"); err != nil { //nolint:usetesting // see above; and short enough for a socket
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d.dir) })
	for _, from := range []string{"testdata/files", certificates(t)} {
		to := d.dir
		if !strings.HasPrefix(from, "testdata") {
			to = filepath.Join(d.dir, "tls")
		}
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	d.conf = conf
	d.takePorts()
	err = filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !e.IsDir() && filepath.Dir(path) == d.dir {
			d.write(filepath.Base(path), d.read(path))
		}
		return d.open(path, e.IsDir())
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// open lets the user whom brokers become read a file.
func (d *daemon) open(path string, isDir bool) error {
	mode := os.FileMode(0o644)
	if isDir {
		mode = 0o755
	}
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	if u, err := user.Lookup("mosquitto"); err == nil && os.Geteuid() == 0 {
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		return os.Chown(path, uid, gid)
	}
	return nil
}

func (d *daemon) read(path string) string {
	d.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(b)
}

// write writes a file of the directory, with placeholders filled in.
func (d *daemon) write(name, text string) {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(d.fill(text)), 0o600); err != nil {
		d.t.Fatal(err)
	}
	if err := d.open(path, false); err != nil {
		d.t.Fatal(err)
	}
}

// takePorts chooses free ports.
func (d *daemon) takePorts() {
	d.t.Helper()
	d.ports = nil
	var held []net.Listener
	for range 9 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			d.t.Fatal(err)
		}
		held = append(held, l)
		d.ports = append(d.ports, l.Addr().(*net.TCPAddr).Port)
	}
	for _, l := range held {
		_ = l.Close()
	}
}

func (d *daemon) fill(text string) string {
	for i, port := range d.ports {
		text = strings.ReplaceAll(text, fmt.Sprintf("PORT%d", i+1), strconv.Itoa(port))
	}
	return strings.ReplaceAll(text, "DIR", d.dir)
}

// start runs the broker, on other ports if somebody takes one of them first.
func (d *daemon) start() {
	d.t.Helper()
	for try := 0; ; try++ {
		d.write("mosquitto.conf", d.conf)
		err := d.launch()
		if err == nil {
			return
		}
		if try == 4 || !strings.Contains(err.Error(), "in use") {
			d.t.Fatal(err)
		}
		d.takePorts()
	}
}

// launch starts the process and waits until it listens everywhere.
func (d *daemon) launch() error {
	d.cmd = exec.Command(d.command[0], append(d.command[1:], filepath.Join(d.dir, "mosquitto.conf"))...)
	d.cmd.Dir = d.dir
	d.cmd.Stdout, d.cmd.Stderr = &d.out, &d.out
	if err := d.cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	d.ended = ended
	go func() {
		d.status = d.cmd.Wait()
		close(ended)
	}()
	limit, tick := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for !d.listens() {
		select {
		case <-ended:
			return fmt.Errorf("%s ended at once: %w\n%s", d.name, d.status, d.out.String())
		case <-limit:
			d.kill()
			return fmt.Errorf("%s does not listen:\n%s", d.name, d.out.String())
		case <-tick.C:
		}
	}
	return nil
}

var listenerLine = regexp.MustCompile(`(?m)^(?:listener (\d+)(?: (/\S+))?|port (\d+))`)

// listens tells whether all ports and sockets of the configuration are open. Nobody connects: that would count.
func (d *daemon) listens() bool {
	open := listening(d.t)
	var all []string
	for _, line := range strings.Split(d.fill(d.conf), "\n") {
		if dir, ok := strings.CutPrefix(line, "include_dir "); ok {
			names, _ := filepath.Glob(dir + "/*.conf")
			for _, name := range names {
				all = append(all, d.read(name))
			}
		}
		all = append(all, line)
	}
	for _, m := range listenerLine.FindAllStringSubmatch(strings.Join(all, "\n"), -1) {
		switch {
		case m[2] != "":
			if _, err := os.Stat(m[2]); err != nil {
				return false
			}
		case !open[m[1]+m[3]]:
			return false
		}
	}
	return true
}

// listening are the TCP ports of this machine that somebody listens on.
func listening(t testing.TB) map[string]bool {
	t.Helper()
	open := make(map[string]bool)
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(b), "\n") {
			f := strings.Fields(line)
			if len(f) < 4 || f[3] != "0A" {
				continue
			}
			_, hex, _ := strings.Cut(f[1], ":")
			port, err := strconv.ParseUint(hex, 16, 16)
			if err == nil {
				open[strconv.FormatUint(port, 10)] = true
			}
		}
	}
	return open
}

// terminate ends the broker as an administrator does.
func (d *daemon) terminate() {
	d.t.Helper()
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended, which the status tells
	select {
	case <-d.ended:
		if d.status != nil {
			d.t.Errorf("%s ended with %v\n%s", d.name, d.status, d.out.String())
		}
	case <-time.After(patience):
		d.kill()
		d.t.Fatalf("%s does not end\n%s", d.name, d.out.String())
	}
}

func (d *daemon) kill() {
	_ = d.cmd.Process.Kill() // it may have ended
	<-d.ended
}

// reload has the broker read its configuration again, and waits until it has.
func (d *daemon) reload() {
	d.t.Helper()
	before := len(d.out.String())
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		d.t.Fatal(err)
	}
	done := regexp.MustCompile(`Reloading config\.`) // mosquitto does nothing else until it is done
	if d.name == "nightjar" {
		done = regexp.MustCompile(`changed: |The configuration has not changed|the configuration has not changed|is not reloaded`)
	}
	if !d.until(func() bool { return done.MatchString(d.out.String()[before:]) }, patience) {
		d.t.Fatalf("%s does not reload:\n%s", d.name, d.out.String())
	}
}

// until waits for a condition; false: it has not come about.
func (d *daemon) until(good func() bool, within time.Duration) bool {
	limit, tick := time.After(within), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !good() {
		select {
		case <-limit:
			return false
		case <-tick.C:
		}
	}
	return true
}

// mosquittoCommand is Debian's broker.
func mosquittoCommand(t testing.TB) []string {
	t.Helper()
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto"} {
		if path, err := exec.LookPath(name); err == nil {
			return []string{path, "-c"}
		}
	}
	t.Fatal("mosquitto is not installed: run test/install.sh, or make test, which does")
	return nil
}

// nightjarCommand is this tree's.
func nightjarCommand(t testing.TB) []string {
	t.Helper()
	path, err := builtNightjar()
	if err != nil {
		t.Fatal(err)
	}
	return []string{path, "serve", "-c"}
}

// programDir has what tests share; TestMain makes and removes it.
var programDir string

var builtNightjar = sync.OnceValues(func() (string, error) {
	path := filepath.Join(programDir, "nightjar")
	out, err := exec.Command("go", "build", "-o", path, "../../cmd/nightjar").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	var err error
	if programDir, err = os.MkdirTemp("", "dropin"); err == nil {
		err = os.Chmod(programDir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	_ = os.RemoveAll(programDir)
	os.Exit(status)
}
