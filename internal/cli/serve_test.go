package cli

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// command runs nightjar in dir and returns its exit status and what it writes.
func command(t *testing.T, dir string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command("nightjar", args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// TestServeErrors: exit statuses and words are Mosquitto's, where scripts may look for them.
func TestServeErrors(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"good.conf":   "listener 0 " + dir + "/s\nuser root\n",
		"wrong.conf":  "# a\nmax_conections 5\nlistener 0 " + dir + "/s\nmax_qos 3\n",
		"folder.conf": "listener 0 " + dir + "/none/s\nuser root\n",
		"bridge.conf": "connection c\naddress a\ntopic #\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const wrong = "wrong.conf:2: option 'max_conections': unknown; did you mean 'max_connections'?\n" +
		"wrong.conf:4: option 'max_qos': 3 is no QoS: it must be 0, 1 or 2\n" +
		"Error: Unknown configuration variable 'max_conections'.\nError found at wrong.conf:2.\n"
	for _, c := range []struct {
		args           string
		status         int
		stdout, stderr string // parts of them
	}{
		{"-c wrong.conf", 3, "", wrong},
		{"serve --config-file wrong.conf -v", 3, "", wrong},
		{"-c wrong.conf -d", 3, "", wrong},
		{"-c wrong.conf --test-config", 1, "", wrong},
		{"-c good.conf --test-config", 0, "Configuration file is OK.\n", ""},
		{"-c none.conf", 3, "", "Error: Unable to open config file 'none.conf'.\n"},
		{"-c folder.conf", 1, "", "cannot listen on"},
		{"-c bridge.conf", 3, "", "bridge.conf:1: option 'connection': bridges are not supported by this version: connection c would not run\n"},
		{"-c good.conf --max-qos 1", 3, "", "write 'max_qos' in good.conf"},
		{"--test-config", 3, "", "Please provide a configuration file to test."},
		{"--foo", 3, "", "Error: Unknown option '--foo'."},
		{"-p 99999", 3, "", "Error: Invalid port specified (99999)."},
		{"-p", 3, "", "Error: -p argument given, but no port specified."},
		{"-c", 3, "", "Error: -c argument given, but no config file specified."},
		{"serve -h", 0, "--config-file FILE", ""},
		{"-h", 0, "nightjar", ""},
		{"check wrong.conf", 1, "error: wrong.conf:4: option 'max_qos'", ""},
		{"check good.conf", 0, "warning: good.conf:1: listener 0 " + dir + "/s: nobody can connect", ""},
		{"check --strict good.conf", 1, "warning: ", ""},
	} {
		status, stdout, stderr := command(t, dir, strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("nightjar %s: status %d, not %d\nstdout: %s\nstderr: %s\nwants %q and %q", c.args, status, c.status, stdout, stderr, c.stdout, c.stderr)
		}
	}
}

// TestBackground: -d returns when clients can connect; the broker goes on by itself and ends with a signal.
func TestBackground(t *testing.T) {
	dir, err := os.MkdirTemp("", "nj") //nolint:usetesting // its names are too long for a socket's
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	text := "listener 0 " + dir + "/s\nallow_anonymous true\nuser root\npid_file " + dir + "/pid\nlog_dest file " + dir + "/log\n"
	if err := os.WriteFile(filepath.Join(dir, "m.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := command(t, dir, "-c", "m.conf", "-d"); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	b, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := command(t, dir, "pub", "--unix", dir+"/s", "-t", "a", "-m", "x", "-q", "1"); status != 0 {
		t.Errorf("pub: %s", stderr)
	}
	broker, err := os.FindProcess(pid)
	if err == nil {
		err = broker.Signal(syscall.SIGTERM)
	}
	if err != nil {
		t.Fatal(err)
	}
	// It is no child of ours: its pid file goes when it ends.
	limit, tick := time.After(testTime), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(filepath.Join(dir, "pid")); errors.Is(err, os.ErrNotExist) {
			return
		}
		select {
		case <-limit:
			t.Fatal("the broker does not end, or leaves its pid file")
		case <-tick.C:
		}
	}
}

// TestSystemd: a socket that systemd has opened is served, and systemd hears of readiness, reload and end.
func TestSystemd(t *testing.T) {
	dir, err := os.MkdirTemp("", "nj") //nolint:usetesting // its names are too long for a socket's
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	notes, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/notify", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notes.Close()
	text := "listener 0 " + dir + "/s\nallow_anonymous true\nuser root\n"
	if err := os.WriteFile(filepath.Join(dir, "m.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "LISTEN_PID=$$ exec nightjar -c m.conf")
	cmd.Dir, cmd.ExtraFiles = dir, []*os.File{socket}
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "NOTIFY_SOCKET="+dir+"/notify")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	_ = socket.Close()
	hear := func(want string) {
		t.Helper()
		b := make([]byte, 4096)
		_ = notes.SetReadDeadline(time.Now().Add(testTime))
		if n, err := notes.Read(b); err != nil || !strings.HasPrefix(string(b[:n]), want+"\n") && string(b[:n]) != want {
			t.Fatalf("systemd hears %q, not %s: %v", b[:n], want, err)
		}
	}
	hear("READY=1")
	if status, _, stderr := command(t, dir, "pub", "--unix", dir+"/s", "-t", "a", "-m", "x", "-q", "1"); status != 0 {
		t.Errorf("pub: %s", stderr)
	}
	_ = cmd.Process.Signal(syscall.SIGHUP)
	hear("RELOADING=1")
	hear("READY=1")
	_ = cmd.Process.Signal(syscall.SIGTERM)
	hear("STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, &stderr)
	}
}
