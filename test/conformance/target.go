package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Options are what a case may want of a broker's configuration. The zero value is a broker that admits anybody, with its
// own defaults.
type Options struct {
	Users               map[string]string // name to password; anonymous clients are refused when not empty
	ACL                 string            // in the syntax of Mosquitto's acl_file
	MaxConnections      int
	MaxKeepAlive        int // seconds
	MaxInflight         int // outgoing QoS 1 and 2 messages in flight per client
	MaxQueued           int // messages queued per client
	MaxTopicAlias       int
	MaxPacketSize       int
	MessageSizeLimit    int // bytes of payload
	RefuseEmptyClientID bool
	RefuseRetain        bool
	QueueQoS0           bool
	UpgradeOutgoingQoS  bool
	AcceptVersions      []Version // empty = all
	MaxQoS              *byte     // nil = 2
	NoTopicAlias        bool      // the broker takes no topic aliases
	ResponseInformation string    // for MQTT 5 clients that ask
	Enhanced            bool      // the authentication method riddleMethod
}

// IsZero tells that the shared broker will do.
func (o Options) IsZero() bool { return fmt.Sprintf("%v", o) == fmt.Sprintf("%v", Options{}) }

// Target is a kind of broker.
type Target interface {
	Name() string
	// Start starts a broker with the options. errCannot (wrapped) when this target has no way to set them.
	Start(o Options) (Broker, error)
	// KeepAliveSlack is how long after one and a half keep-alive intervals the broker may take to notice.
	KeepAliveSlack() time.Duration
}

// Broker is a running broker.
type Broker interface {
	Addr() string // host:port
	Log() string  // what it printed so far, for the report of a failed case
	Stop() error  // ends it; an error when it did not end cleanly
}

// errCannot: the target cannot run with these options, which is no fault of the broker.
var errCannot = errors.New("not available on this target")

// addressTarget is a broker that runs already.
type addressTarget string

func (a addressTarget) Name() string { return "the broker at " + string(a) }

func (a addressTarget) Start(o Options) (Broker, error) {
	if !o.IsZero() {
		return nil, fmt.Errorf("options %+v: %w", o, errCannot)
	}
	return a, nil
}
func (a addressTarget) KeepAliveSlack() time.Duration { return 7 * time.Second }

func (a addressTarget) Addr() string        { return string(a) }
func (addressTarget) WebSocketAddr() string { return os.Getenv("NIGHTJAR_CONFORMANCE_WS_ADDR") }
func (a addressTarget) Log() string         { return "" }
func (a addressTarget) Stop() error         { return nil }

// process is a broker that this suite started.
type process struct {
	cmd  *exec.Cmd
	addr string
	ws   string        // the address for WebSocket; "": none
	over Transport     // what clients use
	to   string        // their address, if it is not addr
	done chan struct{} // closed when it has ended
	err  error         // of Wait; read after done
	out  syncBuffer
	tidy func() // removes its files; may be nil
}

// startProcess starts the command with both outputs collected.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// awaitAddr polls addr() and dials what it gives until a connection is accepted.
func (p *process) awaitAddr(addr func() string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	for {
		if p.addr = addr(); p.addr != "" {
			if c, err := net.Dial("tcp", p.addr); err == nil {
				return hangUp(c.(*net.TCPConn))
			}
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("%s ended before it listened: %w\n%s", p.cmd, p.exit(), p.out.String())
		case <-limit.C:
			_ = p.cmd.Process.Kill()
			return fmt.Errorf("%s does not listen after 20 s\n%s", p.cmd, p.out.String())
		}
	}
}

// hangUp closes the connection and waits until the broker has closed it too, so that it counts no longer.
func hangUp(c *net.TCPConn) error {
	defer func() { _ = c.Close() }()
	if err := c.CloseWrite(); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the broker keeps a connection that was closed before CONNECT for more than %v", patience)
	}
	return nil
}

func (p *process) Addr() string          { return p.addr }
func (p *process) WebSocketAddr() string { return p.ws }

// Dial connects as the target's clients do.
func (p *process) Dial() (net.Conn, error) {
	if p.over == OverTCP {
		return OverTCP.dial(p.addr)
	}
	return p.over.dial(p.to)
}

func (p *process) Log() string { return p.out.String() }

// Stop sends SIGTERM and waits; a broker that has not ended after 15 s is killed.
func (p *process) Stop() error {
	if p.tidy != nil {
		defer p.tidy()
	}
	select {
	case <-p.done:
		return fmt.Errorf("the broker ended by itself: %w\n%s", p.exit(), tail(p.out.String()))
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
		return errors.New("the broker did not end within 15 s of SIGTERM")
	}
	if p.err != nil {
		return fmt.Errorf("the broker ended with %w\n%s", p.err, tail(p.out.String()))
	}
	return nil
}

// exit is why the process ended, for messages; call it after done.
func (p *process) exit() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

func tail(s string) string {
	if len(s) > 8000 {
		return "...\n" + s[len(s)-8000:]
	}
	return s
}

// freePort returns a port of 127.0.0.1 that was free a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// writeTemp writes files into a new temporary directory and returns its path.
func writeTemp(files map[string]string) (string, error) {
	dir, err := os.MkdirTemp("", "conformance-")
	if err != nil {
		return "", err
	}
	for name, content := range files {
		if err := os.WriteFile(dir+"/"+name, []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	return dir, nil
}
