package control_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/store/control"
)

// store remembers what was asked of it.
type store struct {
	to    chan string
	fails error
}

func (s *store) Checkpoint(to string) error {
	s.to <- to
	return s.fails
}

func (s *store) Compact(context.Context) error { return s.Checkpoint("compact") }

func serve(t *testing.T, dir string, s control.Store) *control.Server {
	t.Helper()
	srv, err := control.Serve(dir, s, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

func TestRequests(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{t.TempDir(), long} {
		s := &store{to: make(chan string, 1)}
		srv := serve(t, dir, s)
		if info, err := os.Stat(filepath.Join(dir, control.SocketName)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("socket: %v, %v", info, err)
		}
		if err := control.Checkpoint(dir, "/somewhere/else"); err != nil {
			t.Error(err)
		}
		if to := <-s.to; to != "/somewhere/else" {
			t.Errorf("checkpoint to %q", to)
		}
		// A relative path is the tool's, not the broker's.
		if err := control.Checkpoint(dir, "here"); err != nil {
			t.Error(err)
		}
		if to := <-s.to; !filepath.IsAbs(to) || filepath.Base(to) != "here" {
			t.Errorf("checkpoint to %q", to)
		}
		s.fails = errors.New("no room")
		if err := control.Compact(dir); err == nil || err.Error() != "the running broker says: no room" {
			t.Error(err)
		}
		<-s.to
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := control.Compact(dir); !errors.Is(err, control.ErrNotRunning) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// A process that was killed leaves its socket; the next one replaces it.
func TestLeftSocket(t *testing.T) {
	dir := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, control.SocketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := control.Compact(dir); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("nobody listens: %v", err)
	}
	s := &store{to: make(chan string, 1)}
	srv := serve(t, dir, s)
	defer srv.Close()
	if err := control.Compact(dir); err != nil {
		t.Error(err)
	}
}

// Nobody who connects and says nothing, or nonsense, holds the server up.
func TestBadClients(t *testing.T) {
	dir := t.TempDir()
	srv := serve(t, dir, &store{to: make(chan string, 1)})
	dial := func() net.Conn {
		c, err := net.Dial("unix", filepath.Join(dir, control.SocketName))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	silent := dial()
	for line, want := range map[string]string{
		"hello\n":                             "the request cannot be read",
		`{"do":"explode"}` + "\n":             "does not know the request",
		`{"do":"checkpoint","to":"x"}` + "\n": "no absolute path",
	} {
		c := dial()
		if _, err := io.WriteString(c, line); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%q: %q, %v", line, got, err)
		}
	}
	begun := time.Now()
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("Close waited %v for a client that says nothing", took)
	}
	silent.Close()
}
