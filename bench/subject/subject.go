//go:build linux

// Package subject builds and runs the broker for the measurements that need it alone.
package subject

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"
)

// Broker is the process that is measured.
type Broker struct {
	Address string // host and port of its first listener
	PID     int
	cmd     *exec.Cmd
	dir     string
}

// Start builds the stripped binary and starts it with `serve --quiet` and args, which choose a listener on 127.0.0.1 with port
// 0. files are written into the directory that it runs in.
func Start(files map[string][]byte, args ...string) (_ *Broker, err error) {
	b := &Broker{}
	if b.dir, err = os.MkdirTemp("", "subject-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(b.dir)
		}
	}()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(b.dir, name), text, 0o600); err != nil {
			return nil, err
		}
	}
	bin := filepath.Join(b.dir, "nightjar")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "github.com/nightjar-mqtt/nightjar/cmd/nightjar")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", build, err, out)
	}
	b.cmd = exec.Command(bin, append([]string{"serve", "--quiet"}, args...)...)
	b.cmd.Dir, b.cmd.Stderr = b.dir, os.Stderr
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	b.PID = b.cmd.Process.Pid
	line, err := bufio.NewReader(out).ReadString('\n')
	if b.Address = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`).FindString(line); b.Address == "" {
		b.Stop()
		return nil, fmt.Errorf("the broker did not say where it listens: %q: %w", line, err)
	}
	return b, nil
}

// Stop kills it.
func (b *Broker) Stop() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	_ = os.RemoveAll(b.dir)
}

// Settled is the resident memory in bytes after a while without clients' doing.
func (b *Broker) Settled(after time.Duration) (int64, error) {
	time.Sleep(after)
	return b.Resident()
}

var vmRSS = regexp.MustCompile(`VmRSS:\s+([0-9]+) kB`)

// Resident is its resident memory in bytes.
func (b *Broker) Resident() (int64, error) {
	name := fmt.Sprintf("/proc/%d/status", b.PID)
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

// RaiseDescriptors lets this process, and the broker it starts, have n descriptors open.
func RaiseDescriptors(n int) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("reading the limit of open files: %w", err)
	}
	if l.Max < uint64(n) {
		return fmt.Errorf("%d open files are needed and %d are allowed; raise the hard limit (ulimit -Hn) or open fewer connections", n, l.Max)
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("raising the limit of open files to %d: %w", l.Max, err)
	}
	return nil
}
