//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/bench"
)

const (
	startTime = time.Minute      // a broker may take to come up
	stopTime  = 10 * time.Second // and to go
)

// process is a running broker.
type process struct {
	dir     string
	pid     int // of the process that listens
	started []*exec.Cmd
	ended   []chan struct{}
}

// start runs a broker for a row on a free port and waits until it accepts MQTT clients. o gets its address, and how to speak to
// it.
func (p *peer) start(ctx context.Context, work string, row *row, o *bench.Options) (_ *process, err error) {
	at := place{transport: row.transport(), durable: row.durable, cert: filepath.Join(work, certFile), key: filepath.Join(work, keyFile)}
	if at.port, err = freePort(); err != nil {
		return nil, err
	}
	r := &process{}
	o.Address, o.Path = fmt.Sprintf("127.0.0.1:%d", at.port), p.path
	if err := speak(at.transport, at.cert, o); err != nil {
		return nil, err
	}
	if r.dir, err = os.MkdirTemp(work, p.name+"-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s does not come up: %w\n%s", p.name, err, r.output())
			r.stop()
		}
	}()
	cmds, err := p.commands(r.dir, at)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(r.dir, "output"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	for _, cmd := range cmds {
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() // how it ended does not matter, that it has does
			close(ended)
		}()
		r.started, r.ended = append(r.started, cmd), append(r.ended, ended)
	}
	if err := r.await(ctx, *o); err != nil {
		return nil, err
	}
	r.pid, err = listenerPID(at.port)
	o.PID = r.pid
	return r, err
}

// The certificate of the run, in its directory.
const certFile, keyFile = "cert.pem", "key.pem"

// speak sets what the transport means for the generator.
func speak(transport, cert string, o *bench.Options) error {
	switch transport {
	case "ws":
		o.WebSocket = true
	case "tls":
		text, err := os.ReadFile(cert)
		if err != nil {
			return err
		}
		c := bench.Certificate{Cert: text}
		o.TLS = &tls.Config{RootCAs: c.Pool(), MinVersion: tls.VersionTLS12}
	}
	return nil
}

// await tries to connect until it works.
func (r *process) await(ctx context.Context, o bench.Options) error {
	try := bench.DefaultOptions(bench.Idle)
	try.Address, try.TLS, try.WebSocket, try.Path = o.Address, o.TLS, o.WebSocket, o.Path
	try.Clients, try.Warmup, try.Duration, try.SetupTime = 1, 0, time.Millisecond, 5*time.Second
	try.Prefix = "compare"
	last := errors.New("not tried yet")
	for end := time.Now().Add(startTime); time.Now().Before(end); {
		if _, last = bench.Run(ctx, try); last == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		case <-r.ended[len(r.ended)-1]:
			return errors.New("its process has ended")
		}
	}
	return fmt.Errorf("no connection within %v: %w", startTime, last)
}

// stop ends what was started, last first, each with its process group.
func (r *process) stop() {
	for i := len(r.started) - 1; i >= 0; i-- {
		group := -r.started[i].Process.Pid
		_ = syscall.Kill(group, syscall.SIGTERM) // an error means that it is gone
		select {
		case <-r.ended[i]:
		case <-time.After(stopTime):
		}
		_ = syscall.Kill(group, syscall.SIGKILL) // and whoever is left of the group
		<-r.ended[i]
	}
	_ = os.RemoveAll(r.dir) // the directory above is removed at the end in any case
}

// output is the end of what the broker has printed.
func (r *process) output() string {
	text, err := os.ReadFile(filepath.Join(r.dir, "output"))
	if err != nil {
		return ""
	}
	return string(text[max(0, len(text)-2000):])
}

// freePort finds a port that is free now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// listenerPID finds the process that listens on a port: what was started may be a script that starts the broker.
func listenerPID(port int) (int, error) {
	inode, err := listenerInode(port)
	if err != nil {
		return 0, err
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return 0, err
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == "socket:["+inode+"]" {
			return strconv.Atoi(strings.Split(link, "/")[2])
		}
	}
	return 0, fmt.Errorf("no process of this user listens on port %d", port)
}

// listenerInode looks a listening socket up in /proc/net/tcp: the fields are number, local address, remote address, state
// (0A: listening), four more, inode.
func listenerInode(port int) (string, error) {
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(name)
		if err != nil {
			continue // a machine without IPv6 has no tcp6
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) > 9 && fields[3] == "0A" && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
				return fields[9], nil
			}
		}
	}
	return "", fmt.Errorf("nobody listens on port %d", port)
}
