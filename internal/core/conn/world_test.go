package conn_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/conn"
	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// world is the core without a network: a router, connections on transports that are only memory, a store that answers
// when it is told to, and a clock that moves when it is told to. Everything runs on the test's goroutine, one job of one
// loop at a time, unless startLoops gives each loop its own.
type world struct {
	t      testing.TB
	mu     sync.Mutex
	now    int64
	loops  []*loop
	router *router.Router
	shared *conn.Shared
	store  *heldStore
	open   []*transport
}

// settings are what a test may change of the broker.
type settings struct {
	limits     session.Limits
	conn       conn.Config
	authorizer router.Authorizer
	maxClients int
	matchCache int
	loops      int
	store      session.Store // nil: a heldStore
}

func defaults() settings {
	return settings{
		limits: session.Limits{MaxInflight: 20, MaxQueued: 1000, OutboxBytes: 1 << 20, MaxTopicAlias: 10, Outboxes: new(outbox.Budget)},
		conn:   conn.Defaults(),
		loops:  1,
	}
}

func newWorld(t testing.TB, s *settings) *world {
	w := &world{t: t, now: 1_700_000_000_000, store: newHeldStore()}
	for range s.loops {
		w.loops = append(w.loops, &loop{wake: make(chan struct{}, 1)})
	}
	store := s.store
	if store == nil {
		store = w.store
	}
	w.router = router.New(router.Options{
		Limits: &s.limits, Store: store, Authorizer: s.authorizer, Loops: s.loops, Post: w.post,
		MatchCache: s.matchCache, MaxClients: s.maxClients,
	})
	if err := w.router.Worker(0, w.now).Load(); err != nil {
		t.Fatal(err)
	}
	w.shared = conn.NewShared(&conn.Shared{
		Addresses: func(conn.Transport) (string, string) { return "peer", "local" },
		Config:    s.conn, Router: w.router, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}, s.loops)
	return w
}

// job is something that a loop has to do.
type job func(loop int, now int64)

type loop struct {
	mu   sync.Mutex
	jobs []job
	wake chan struct{}
}

func (w *world) post(loop int, fn func(loop int, now int64)) {
	l := w.loops[loop]
	l.mu.Lock()
	l.jobs = append(l.jobs, fn)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (w *world) clock() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) setClock(now int64) {
	w.mu.Lock()
	w.now = now
	w.mu.Unlock()
}

// turn does one job of a loop. false: there is none.
func (w *world) turn(loop int) bool {
	l := w.loops[loop]
	l.mu.Lock()
	if len(l.jobs) == 0 {
		l.mu.Unlock()
		return false
	}
	j := l.jobs[0]
	l.jobs = l.jobs[1:]
	l.mu.Unlock()
	j(loop, w.clock())
	w.router.EndTurn(loop)
	return true
}

// run does all jobs of all loops.
func (w *world) run() {
	for busy := true; busy; {
		busy = false
		for i := range w.loops {
			busy = w.turn(i) || busy
		}
	}
}

// startLoops gives each loop a goroutine, as the engine does; stop waits until they have nothing left to do.
func (w *world) startLoops() (stop func()) {
	end := make(chan struct{})
	var wg sync.WaitGroup
	for i, l := range w.loops {
		wg.Go(func() {
			for {
				for w.turn(i) {
				}
				select {
				case <-l.wake:
				case <-end:
					return
				}
			}
		})
	}
	return func() {
		close(end)
		wg.Wait()
		w.run()
	}
}

// advance moves the clock, with deadlines and the broker's ticks on the way.
func (w *world) advance(d time.Duration) {
	target := w.clock() + d.Milliseconds()
	step := max(200, d.Milliseconds()/2000)
	for w.clock() < target {
		next := min(target, w.clock()+step)
		for {
			var due *transport
			for _, t := range w.open {
				if at := t.deadline.Load(); at != 0 && at <= next && (due == nil || at < due.deadline.Load()) {
					due = t
				}
			}
			if due == nil {
				break
			}
			w.setClock(max(w.clock(), due.deadline.Swap(0)))
			w.post(due.loop, due.c.Deadline)
			w.run()
		}
		w.setClock(next)
		w.post(0, func(loop int, now int64) {
			w.router.Worker(loop, now).Tick()
			w.shared.Tick()
		})
		w.run()
	}
}

// transport is a conn.Transport whose socket is memory. Its methods may be called by any loop.
type transport struct {
	w        *world
	loop     int
	c        *conn.Conn
	out      outbox.Outbox
	deadline atomic.Int64

	mu       sync.Mutex
	unread   []byte // from the client, not consumed yet
	feeding  bool   // a job that offers it is on its way
	paused   bool
	received []byte // what the client has been sent
	stuck    bool   // the client does not read
	drain    bool   // WantDrained
	closing  bool
	why      error // why the broker closed it
	arrived  func()
	gone     bool // Closed has been called
}

// dial opens a connection on a loop.
func (w *world) dial(loop int) *transport {
	t := &transport{w: w, loop: loop}
	t.c = conn.New(t, w.shared)
	w.open = append(w.open, t)
	w.post(loop, t.c.Opened)
	return t
}

// write is the client sending bytes.
func (t *transport) write(p []byte) {
	t.mu.Lock()
	t.unread = append(t.unread, p...)
	t.mu.Unlock()
	t.feed()
}

func (t *transport) feed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.feeding || t.paused || t.closing || len(t.unread) == 0 {
		return
	}
	t.feeding = true
	t.w.post(t.loop, t.offer)
}

// offer is the engine's read event.
func (t *transport) offer(loop int, now int64) {
	t.mu.Lock()
	t.feeding = false
	if t.paused || t.closing {
		t.mu.Unlock()
		return
	}
	p := bytes.Clone(t.unread)
	t.mu.Unlock()
	n, _, again := t.c.Data(loop, now, p)
	for i := range p {
		p[i] = 0xEE // the read buffer is used again: nobody may have kept a view of it
	}
	t.mu.Lock()
	t.unread = t.unread[n:]
	t.mu.Unlock()
	if again {
		t.feed()
	}
}

// hangUp is the client's socket going away without DISCONNECT.
func (t *transport) hangUp() { t.Close(io.EOF) }

func (t *transport) Out() *outbox.Outbox { return &t.out }

func (t *transport) Flush() {
	iov := make([][]byte, 0, 16)
	for {
		bufs, ok := t.out.StartWrite(iov[:0])
		if !ok {
			break
		}
		t.mu.Lock()
		n, stuck := 0, t.stuck
		if !stuck {
			for _, b := range bufs {
				t.received = append(t.received, b...)
				n += len(b)
			}
		}
		t.mu.Unlock()
		if again, _ := t.out.FinishWrite(n, stuck); !again {
			break
		}
	}
	t.drained()
	if t.arrived != nil {
		t.arrived()
	}
}

func (t *transport) drained() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.drain && t.out.Bytes() == 0 && !t.closing {
		t.drain = false
		t.w.post(t.loop, t.c.Drained)
	}
}

// stick makes the client stop or go on reading.
func (t *transport) stick(on bool) {
	t.mu.Lock()
	t.stuck = on
	t.mu.Unlock()
	if !on {
		t.out.Unblock()
		t.Flush()
	}
}

func (t *transport) Post(fn func(loop int, now int64)) { t.w.post(t.loop, fn) }

func (t *transport) WantDrained() {
	t.mu.Lock()
	t.drain = true
	t.mu.Unlock()
	t.drained()
}

func (t *transport) Close(err error) {
	t.mu.Lock()
	if t.closing {
		t.mu.Unlock()
		return
	}
	t.closing, t.why = true, err
	t.mu.Unlock()
	t.out.Close()
	t.w.post(t.loop, func(loop int, now int64) {
		t.deadline.Store(0)
		t.c.Closed(loop, now, err)
		t.mu.Lock()
		t.gone = true
		t.mu.Unlock()
	})
}

func (t *transport) CloseAfterFlush(err error, _ time.Duration) {
	t.Flush()
	t.Close(err)
}

func (t *transport) Pause() {
	t.mu.Lock()
	t.paused = true
	t.mu.Unlock()
}

func (t *transport) Resume() {
	t.mu.Lock()
	t.paused = false
	t.mu.Unlock()
	t.feed()
}

func (t *transport) SetDeadline(at int64) { t.deadline.Store(at) }

// client is the far end of a transport: it sends packets written as text and reads the broker's as text.
type client struct {
	*transport
	name    string
	version mqtt.Version
	closed  bool // it knows
}

// dialClient opens a connection for a client of the name on a loop.
func (w *world) dialClient(name string, loop int) *client {
	return &client{transport: w.dial(loop), name: name}
}

// connect opens a connection on loop 0 and sends CONNECT with options as scripts have them; the client id is name.
func (w *world) connect(name, options string) *client {
	w.t.Helper()
	c := w.dialClient(name, 0)
	c.send("CONNECT id=" + name + " " + options)
	w.run()
	return c
}

// send sends a packet as scripts write it.
func (c *client) send(text string) {
	c.w.t.Helper()
	p, err := encode(text, &c.version)
	if err != nil {
		c.w.t.Fatalf("%s -> %s: %v", c.name, text, err)
	}
	c.write(p)
}

// do sends packets and has the broker do all that follows.
func (c *client) do(texts ...string) {
	c.w.t.Helper()
	for _, text := range texts {
		c.send(text)
	}
	c.w.run()
}

// read takes the packets that have come, as scripts write them; "closed" is the end of the connection, if the broker
// made it.
func (c *client) read() (got []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.received) > 0 {
		f, n, _, err := mqtt.ParseFrame(c.received, 0)
		if err != nil || n == 0 {
			c.w.t.Fatalf("%s was sent %x, which is no packet: %v", c.name, c.received, err)
		}
		got = append(got, describe(f, c.version))
		c.received = c.received[n:]
	}
	if c.closing && !errors.Is(c.why, io.EOF) && !c.closed {
		c.closed = true
		got = append(got, "closed")
	}
	return got
}

// expect reads and compares.
func (c *client) expect(want ...string) {
	c.w.t.Helper()
	got := c.read()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(want):
			c.w.t.Errorf("%s <- %s: not expected", c.name, got[i])
		case i >= len(got):
			c.w.t.Errorf("%s <- %s: did not come", c.name, want[i])
		case got[i] != want[i]:
			c.w.t.Errorf("%s <- %s\nwant: %s", c.name, got[i], want[i])
		}
	}
}
