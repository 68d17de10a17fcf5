// Package control lets the tools of the command line speak to the broker that has a data directory open: the broker holds
// the directory's lock, so nobody else can open the store, but it can make a copy of it while it runs.
//
// The broker listens on a socket in the directory, which its mode 0700 keeps to the user the broker runs as, and root. A
// connection carries one request and its answer, a line of JSON each.
package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// SocketName is the socket's name in the data directory.
const SocketName = "control.sock"

// Store is what the broker lets the tools ask of its store.
type Store interface {
	// Checkpoint makes a copy of the store, as it is at one moment, in a directory that does not exist.
	Checkpoint(dir string) error
	// Compact gives back to the file system what is not needed. It may take minutes, unless ctx ends.
	Compact(ctx context.Context) error
}

type request struct {
	Do string `json:"do"`           // "checkpoint" or "compact"
	To string `json:"to,omitempty"` // absolute path
}

type answer struct {
	Done  bool   `json:"done"`
	Error string `json:"error,omitempty"`
}

const (
	requestTime = 5 * time.Second
	requestSize = 64 << 10
)

// Server is a listening socket.
type Server struct {
	l     *net.UnixListener
	store Store
	log   *slog.Logger
	turn  sync.Mutex // one request at a time
	ctx   context.Context
	stop  context.CancelFunc
	all   sync.WaitGroup
	where *os.File // nil: the path was short enough
	mu    sync.Mutex
	open  map[net.Conn]bool // nil: closed
}

// Serve listens in dir, whose lock the caller holds: a socket that is there is left from a process that has ended.
func Serve(dir string, store Store, log *slog.Logger) (*Server, error) {
	path, where, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	if err = os.Remove(filepath.Join(dir, SocketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		closeDir(where)
		return nil, fmt.Errorf("the socket for 'nightjar store' that an earlier process left cannot be removed: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		if l != nil {
			l.Close()
		}
		closeDir(where)
		return nil, fmt.Errorf("no socket for 'nightjar store' in %s: %w", dir, err)
	}
	s := &Server{l: l, store: store, log: log, where: where, open: make(map[net.Conn]bool)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.all.Add(1)
	go s.accept()
	return s, nil
}

// Close stops listening and waits for a request that is being served; a compaction is broken off.
func (s *Server) Close() error {
	s.stop()
	err := s.l.Close() // removes the socket
	s.mu.Lock()
	for c := range s.open {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // who has not asked will not be answered
	}
	s.open = nil
	s.mu.Unlock()
	s.all.Wait()
	closeDir(s.where)
	return err
}

func (s *Server) accept() {
	defer s.all.Done()
	for {
		c, err := s.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log.Error("the socket for 'nightjar store' has failed; backups of the running broker are not possible until it is restarted", "reason", err)
			return
		}
		s.mu.Lock()
		if s.open == nil {
			s.mu.Unlock()
			c.Close()
			return
		}
		s.open[c] = true
		s.all.Add(1)
		s.mu.Unlock()
		go s.serve(c)
	}
}

func (s *Server) serve(c net.Conn) {
	defer s.all.Done()
	defer func() {
		s.mu.Lock()
		delete(s.open, c)
		s.mu.Unlock()
		c.Close()
	}()
	s.mu.Lock()
	if s.open != nil {
		_ = c.SetReadDeadline(time.Now().Add(requestTime)) // a socket that has no deadlines fails at the read too
	}
	s.mu.Unlock()
	var r request
	if err := readLine(io.LimitReader(c, requestSize), &r); err != nil {
		s.answer(c, fmt.Errorf("the request cannot be read: %w", err))
		return
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	begun := time.Now()
	err := s.do(r)
	if err != nil {
		s.log.Warn("'nightjar store' asked for something that failed", "request", r.Do, "to", r.To, "reason", err)
	} else {
		s.log.Info("'nightjar store' was served", "request", r.Do, "to", r.To, "took", time.Since(begun).Round(time.Millisecond))
	}
	s.answer(c, err)
}

func (s *Server) do(r request) error {
	switch r.Do {
	case "checkpoint":
		if !filepath.IsAbs(r.To) {
			return fmt.Errorf("%q is no absolute path", r.To)
		}
		return s.store.Checkpoint(r.To)
	case "compact":
		return s.store.Compact(s.ctx)
	}
	return fmt.Errorf("the running broker does not know the request %q: is it another version than this program?", r.Do)
}

func (s *Server) answer(c net.Conn, err error) {
	a := answer{Done: err == nil}
	if err != nil {
		a.Error = err.Error()
	}
	b, _ := json.Marshal(a) // strings and a bool
	_, _ = c.Write(append(b, '\n'))
}

// ErrNotRunning is wrapped when no broker listens in the directory.
var ErrNotRunning = errors.New("no broker runs with this data directory")

// Checkpoint has the broker that runs with the data directory make a copy of its store.
func Checkpoint(dir, to string) error {
	abs, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	return ask(dir, request{"checkpoint", abs})
}

// Compact has it compact its store.
func Compact(dir string) error { return ask(dir, request{Do: "compact"}) }

func ask(dir string, r request) error {
	path, where, err := socketPath(dir)
	if err != nil {
		return err
	}
	defer closeDir(where)
	c, err := net.Dial("unix", path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	defer c.Close()
	b, err := json.Marshal(r)
	if err == nil {
		_, err = c.Write(append(b, '\n'))
	}
	var a answer
	if err == nil {
		err = readLine(c, &a)
	}
	switch {
	case err != nil:
		return fmt.Errorf("the running broker gave no answer: %w", err)
	case !a.Done:
		return fmt.Errorf("the running broker says: %s", a.Error)
	}
	return nil
}

func readLine(r io.Reader, into any) error {
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(line, into)
}

// longestPath is how long a socket's path may be on the systems where it may be least.
const longestPath = 103

// socketPath is the socket's path. On Linux a long one goes by way of a descriptor of the directory, which the caller
// keeps open while the path is used.
func socketPath(dir string) (path string, where *os.File, err error) {
	path = filepath.Join(dir, SocketName)
	if len(path) <= longestPath {
		return path, nil, nil
	}
	if runtime.GOOS != "linux" {
		return "", nil, fmt.Errorf("the path of the socket, %s, has %d bytes, more than the %d that systems allow", path, len(path), longestPath)
	}
	if where, err = os.Open(dir); err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", where.Fd(), SocketName), where, nil
}

func closeDir(f *os.File) {
	if f != nil {
		f.Close()
	}
}
