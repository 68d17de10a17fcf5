package systemd

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// listenAsSystemd makes this test program, started once more, the process that systemd starts.
const listenAsSystemd = "NIGHTJAR_TEST_SYSTEMD"

func TestMain(m *testing.M) {
	if os.Getenv(listenAsSystemd) == "" {
		os.Exit(m.Run())
	}
	// systemd execs, so that it knows the process id beforehand.
	_ = os.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
	sockets, err := Sockets()
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(0)
	}
	again, _ := Sockets()
	for _, s := range sockets {
		fmt.Println(s.Name, s.Addr().Network(), len(again), os.Getenv("LISTEN_FDS") == "")
		c, err := s.Accept()
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(0)
		}
		fmt.Fprintln(c, "welcome")
		_ = c.Close()
	}
	os.Exit(0)
}

// file gives a listener's descriptor.
func file(t *testing.T, l net.Listener) *os.File {
	t.Helper()
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// TestSockets: a TCP and a Unix socket are taken over with their names, and clients that connected before are served.
func TestSockets(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	path := filepath.Join(t.TempDir(), "s")
	ux, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ux.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), listenAsSystemd+"=1", "LISTEN_FDS=2", "LISTEN_FDNAMES=mqtt:local")
	cmd.ExtraFiles = []*os.File{file(t, tcp), file(t, ux)}
	out := new(strings.Builder)
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, l := range []net.Listener{tcp, ux} {
		c, err := net.Dial(l.Addr().Network(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if line, err := bufio.NewReader(c).ReadString('\n'); line != "welcome\n" {
			t.Errorf("%s: %q, %v", l.Addr(), line, err)
		}
		_ = c.Close()
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if want := "mqtt tcp 0 true\nlocal unix 0 true\n"; out.String() != want {
		t.Errorf("the process says %q, want %q", out, want)
	}
}

// TestWrongSocket: a descriptor that is no stream socket is named.
func TestWrongSocket(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), listenAsSystemd+"=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=null")
	cmd.ExtraFiles = []*os.File{f}
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), `"null", cannot be listened on`) {
		t.Errorf("%q, %v", out, err)
	}
}

// TestOthersSockets: what was meant for another process is left alone.
func TestOthersSockets(t *testing.T) {
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "1")
	if s, err := Sockets(); len(s) != 0 || err != nil {
		t.Errorf("%v, %v", s, err)
	}
}

// listenNotify plays systemd's side.
func listenNotify(t *testing.T) (*net.UnixConn, func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return c, func() string {
		buf := make([]byte, 4096)
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func TestNotify(t *testing.T) {
	_, next := listenNotify(t)
	n := NewNotifier()
	if os.Getenv("NOTIFY_SOCKET") != "" {
		t.Error("NOTIFY_SOCKET is still there for programs that this one starts")
	}
	for _, step := range []struct {
		send func() error
		want string
	}{
		{func() error { return n.Ready("listens on\n1883") }, "READY=1\nSTATUS=listens on 1883"},
		{n.Reloading, "RELOADING=1\nMONOTONIC_USEC="},
		{n.Stopping, "STOPPING=1"},
		{func() error { return n.Status("2 clients") }, "STATUS=2 clients"},
	} {
		if err := step.send(); err != nil {
			t.Fatal(err)
		}
		if got := next(); !strings.HasPrefix(got, step.want) {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
	if err := new(Notifier).Ready(""); err != nil {
		t.Errorf("without systemd: %v", err)
	}
}

// TestWatchdog: word is sent as long as the process is well, and only then.
func TestWatchdog(t *testing.T) {
	_, next := listenNotify(t)
	t.Setenv("WATCHDOG_USEC", "20000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	n := NewNotifier()
	stop, failed := make(chan struct{}), make(chan error, 100)
	asked := 0
	sick := errors.New("a loop hangs")
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Watch(stop, func(within time.Duration) error {
			if within != 10*time.Millisecond {
				t.Errorf("within %v, want half of the watchdog's time", within)
			}
			if asked++; asked > 2 {
				return sick
			}
			return nil
		}, func(err error) { failed <- err })
	}()
	for range 2 {
		if got := next(); got != "WATCHDOG=1" {
			t.Errorf("got %q", got)
		}
	}
	if err := <-failed; !errors.Is(err, sick) {
		t.Error(err)
	}
	close(stop)
	<-done
	new(Notifier).Watch(nil, nil, nil) // returns
}
