// Package systemd speaks with systemd, where the process was started by it: it takes over sockets that systemd has opened
// (sd_listen_fds(3)), and tells what the process is doing (sd_notify(3)). Without systemd all of it does nothing.
package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Socket is a listening socket that systemd has opened.
type Socket struct {
	// Name is the FileDescriptorName= of its socket unit; by default the unit's name, such as "nightjar.socket".
	Name string
	net.Listener
}

// firstFD is the first descriptor that systemd passes.
const firstFD = 3

// Sockets takes over the sockets that systemd has passed to this process; a second call finds none. An error names one that
// is not for listening, such as one of a unit with ListenDatagram=.
func Sockets() ([]Socket, error) {
	defer func() {
		for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
			_ = os.Unsetenv(name)
		}
	}()
	if pid, err := strconv.Atoi(os.Getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return nil, nil
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 {
		return nil, fmt.Errorf("systemd: LISTEN_FDS is %q, not a number", os.Getenv("LISTEN_FDS"))
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	var all []Socket
	for i := range n {
		s := Socket{Name: "unknown"} // as sd_listen_fds_with_names has it
		if i < len(names) && names[i] != "" {
			s.Name = names[i]
		}
		f := os.NewFile(uintptr(firstFD+i), s.Name)
		s.Listener, err = net.FileListener(f) // a copy, not inherited by other programs
		_ = f.Close()
		if err != nil {
			for _, open := range all {
				_ = open.Close()
			}
			return nil, fmt.Errorf("systemd: socket %d, %q, cannot be listened on; its unit needs ListenStream=: %w", firstFD+i, s.Name, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// Notifier tells systemd what the process is doing. The zero value tells nobody.
type Notifier struct {
	address string
	every   time.Duration
}

// NewNotifier reads what systemd has put into the environment, and removes it, so that programs which this process starts do
// not speak in its name.
func NewNotifier() *Notifier {
	n := &Notifier{address: os.Getenv("NOTIFY_SOCKET")}
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	pid := os.Getenv("WATCHDOG_PID")
	if err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) && n.address != "" {
		n.every = time.Duration(usec) * time.Microsecond / 2 // systemd advises half
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		_ = os.Unsetenv(name)
	}
	return n
}

// Ready tells that clients can connect: at the start, and after each Reloading. status is for `systemctl status`.
func (n *Notifier) Ready(status string) error { return n.send("READY=1", "STATUS="+status) }

// Reloading tells that the configuration is being read again; Ready follows, whether that worked or not.
func (n *Notifier) Reloading() error {
	return n.send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(monotonic().Microseconds(), 10))
}

// Stopping tells that the process is on its way out.
func (n *Notifier) Stopping() error { return n.send("STOPPING=1") }

// Status is what `systemctl status` shows.
func (n *Notifier) Status(text string) error { return n.send("STATUS=" + text) }

// Watch tells systemd that the process is well, as often as it wants to hear that, until stop is closed; it returns at once
// if systemd does not. well is asked before each time; its error goes to failed, and systemd, left without word, restarts the
// process.
func (n *Notifier) Watch(stop <-chan struct{}, well func(within time.Duration) error, failed func(error)) {
	if n.every <= 0 {
		return
	}
	t := time.NewTicker(n.every)
	defer t.Stop()
	for {
		err := well(n.every)
		if err == nil {
			err = n.send("WATCHDOG=1")
		}
		if err != nil {
			failed(err)
		}
		select {
		case <-stop:
			return
		case <-t.C:
		}
	}
}

// send passes lines on in one datagram.
func (n *Notifier) send(lines ...string) error {
	if n.address == "" {
		return nil
	}
	for i := range lines {
		lines[i] = strings.ReplaceAll(lines[i], "\n", " ")
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.address, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("systemd: cannot reach NOTIFY_SOCKET: %w", err)
	}
	_, err = c.Write([]byte(strings.Join(lines, "\n")))
	if err = errors.Join(err, c.Close()); err != nil {
		return fmt.Errorf("systemd: cannot tell it %s: %w", lines[0], err)
	}
	return nil
}
