//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a broker that is measured.
type process struct {
	address string
	took    time.Duration // from its start until it listened
	cmd     *exec.Cmd
	dir     string
}

// program builds the broker once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "durable-bin-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "nightjar")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "github.com/nightjar-mqtt/nightjar/cmd/nightjar")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", build, err, out)
	}
	return bin, nil
})

// nightjar starts the broker on dir/data; without limits on queues, since none may be dropped. dir "": a new one.
func nightjar(dir string, args ...string) (*process, error) {
	bin, err := program()
	if err != nil {
		return nil, err
	}
	p := &process{dir: dir}
	if dir == "" {
		if p.dir, err = os.MkdirTemp("", "durable-"); err != nil {
			return nil, err
		}
	}
	args = append([]string{"serve", "--quiet", "--listen", "127.0.0.1:0", "--data", filepath.Join(p.dir, "data"),
		"--max-queued-messages", "0", "--sys-interval", "1s"}, append(strings.Fields(extra), args...)...)
	p.cmd = exec.Command(bin, args...)
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	p.took = time.Since(began)
	if p.address = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`).FindString(line); p.address == "" {
		p.remove()
		return nil, fmt.Errorf("the broker did not say where it listens: %q: %w", line, err)
	}
	return p, nil
}

// mosquitto starts Debian's with persistence, on a port that was free.
func mosquitto() (*process, error) {
	dir, err := os.MkdirTemp("", "durable-mosquitto-")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &process{dir: dir, address: l.Addr().String()}
	if err := l.Close(); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(p.address)
	conf := "listener " + port + " 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location " + dir + "/\n" +
		"max_queued_messages 0\nmax_inflight_messages 0\nset_tcp_nodelay true\nlog_type none\nuser root\n"
	file := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	p.cmd = exec.Command("/usr/sbin/mosquitto", "-c", file)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("mosquitto is needed, from Debian's package: %w", err)
	}
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", p.address); err == nil {
			return p, c.Close()
		}
	}
	p.remove()
	return nil, errors.New("mosquitto does not listen")
}

// kill ends it as a crash does, and keeps its directory.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// stop ends it as an operator does.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.cmd.Wait()
}

func (p *process) remove() {
	p.kill()
	_ = os.RemoveAll(p.dir)
}

// resident is its resident memory, and the most it ever was, in bytes.
func (p *process) resident() (now, most int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kb, _ := strconv.ParseInt(f[1], 10, 64) // other lines are no numbers
		switch f[0] {
		case "VmRSS:":
			now = kb << 10
		case "VmHWM:":
			most = kb << 10
		}
	}
	return now, most, nil
}

// forgetPeak has the most resident memory begin anew.
func (p *process) forgetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

// size is how large the files below its data directory are.
func (p *process) size() (n int64, err error) {
	err = filepath.WalkDir(p.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		i, err := d.Info()
		if err == nil {
			n += i.Size()
		}
		return err
	})
	return n, err
}

// sys reads figures of the broker's, by their topics below $SYS/broker/.
func (p *process) sys(names ...string) (map[string]float64, error) {
	c, _, err := connect(p.address, "sys", true)
	if err != nil {
		return nil, err
	}
	time.Sleep(2500 * time.Millisecond) // they are published each second, and here the last counts
	if err := c.subscribe("$SYS/broker/store/#", 0); err != nil {
		return nil, err
	}
	got := map[string]float64{}
	for len(got) < len(names) {
		_, body, err := c.read()
		if err != nil {
			return nil, fmt.Errorf("of the topics %v only %v came: %w", names, got, err)
		}
		n := int(body[0])<<8 | int(body[1])
		name := strings.TrimPrefix(string(body[2:2+n]), "$SYS/broker/store/")
		for _, want := range names {
			if name != want {
				continue
			}
			if got[name], err = strconv.ParseFloat(string(body[2+n:]), 64); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return got, c.disconnect()
}
