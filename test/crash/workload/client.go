package workload

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/test/crash/history"
)

// link is one connection.
type link struct {
	conn    net.Conn
	life    int // of the broker it leads to
	in, out []byte
	from    int // in in: what is not parsed yet
}

// readTimeout is how long a read waits before the client looks whether it is wanted for something else.
const readTimeout = 10 * time.Millisecond

// next returns the next packet, a view that is good until the next call; os.ErrDeadlineExceeded: there is none yet.
func (l *link) next(wait time.Duration) (mqtt.Frame, error) {
	if err := l.flush(); err != nil {
		return mqtt.Frame{}, err
	}
	l.conn.SetReadDeadline(time.Now().Add(wait))
	for {
		f, n, _, err := mqtt.ParseFrame(l.in[l.from:], 0)
		if err != nil {
			return f, err
		}
		if n > 0 {
			l.from += n
			return f, nil
		}
		l.in = append(l.in[:0], l.in[l.from:]...)
		l.from = 0
		if cap(l.in)-len(l.in) < 4096 {
			l.in = append(make([]byte, 0, 2*cap(l.in)+8192), l.in...)
		}
		m, err := l.conn.Read(l.in[len(l.in):cap(l.in)])
		l.in = l.in[:len(l.in)+m]
		if err != nil && m == 0 {
			return f, err
		}
	}
}

// buffered tells whether next would not wait.
func (l *link) buffered() bool {
	_, n, _, err := mqtt.ParseFrame(l.in[l.from:], 0)
	return n > 0 || err != nil
}

func (l *link) flush() error {
	if len(l.out) == 0 {
		return nil
	}
	_, err := l.conn.Write(l.out)
	l.out = l.out[:0]
	return err
}

// packet is what is sent.
type packet interface {
	Append(dst []byte, v mqtt.Version) ([]byte, error)
}

// client is what all clients have in common. It is used by one goroutine at a time.
type client struct {
	id      string
	version mqtt.Version
	recvMax uint16 // MQTT 5; 0: not sent
	load    *Load
	rng     *rand.Rand
	link    *link // nil: not connected
	session int   // index in the history
}

func newClient(l *Load, id string, v mqtt.Version) client {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	return client{id: id, version: v, load: l, rng: rand.New(rand.NewPCG(l.o.Seed, h.Sum64()))}
}

// oneIn is true once in n times.
func (c *client) oneIn(n int) bool { return c.rng.IntN(n) == 0 }

// do records an event that was seen on the connection.
func (c *client) do(event func(h *history.History)) error { return c.load.rec.Do(c.link.life, event) }

// anomaly records what must not be.
func (c *client) anomaly(k history.Kind, format string, args ...any) {
	_ = c.do(func(h *history.History) { h.Anomaly(k, "%s: %s", c.id, fmt.Sprintf(format, args...)) }) // after a cut it does not count
}

// put adds a packet to what the next flush sends.
func (c *client) put(p packet) {
	out, err := p.Append(c.link.out, c.version)
	if err != nil {
		panic(fmt.Sprintf("workload: %s cannot encode %T: %v", c.id, p, err))
	}
	c.link.out = out
}

// sessionExpiry is that of durable sessions in MQTT 5, seconds: longer than any test.
const sessionExpiry = 24 * 3600

// connect waits until the broker is there and connects. An error that is not ctx's was a lost connection.
func (c *client) connect(ctx context.Context, clean bool, will *mqtt.Will, begin func(h *history.History)) (present bool, err error) {
	conn, life, err := c.load.Gate.Dial(ctx)
	if err != nil {
		return false, err
	}
	c.link = &link{conn: conn, life: life}
	defer func() {
		if err != nil {
			c.lost(err)
		}
	}()
	p := mqtt.Connect{Version: c.version, ClientID: []byte(c.id), CleanStart: clean}
	if c.version == mqtt.V5 {
		p.Props.SessionExpiry = sessionExpiry
		p.Props.Has.Set(mqtt.PropSessionExpiry)
		if c.recvMax > 0 {
			p.Props.ReceiveMaximum = c.recvMax
			p.Props.Has.Set(mqtt.PropReceiveMaximum)
		}
	}
	if will != nil {
		p.HasWill, p.Will = true, *will
	}
	var seen *history.Connection
	if err = c.do(func(h *history.History) {
		seen = h.Connecting(c.id, clean, c.version == mqtt.V5 || !clean)
		if begin != nil {
			begin(h)
		}
	}); err != nil {
		return false, err
	}
	if c.link.out, err = p.Append(nil); err != nil {
		panic(fmt.Sprintf("workload: %s cannot encode CONNECT: %v", c.id, err))
	}
	var ack mqtt.Connack
	f, err := c.link.next(answerTimeout)
	if err == nil && f.Type != mqtt.CONNACK {
		err = fmt.Errorf("%v instead of CONNACK", f.Type)
	}
	if err == nil {
		err = ack.Decode(f, c.version)
	}
	if err == nil && ack.Code != 0 {
		err = fmt.Errorf("CONNACK with %v (%#x) %q", ack.Code, byte(ack.Code), ack.Props.ReasonString)
	}
	if err != nil {
		return false, err
	}
	err = c.do(func(h *history.History) { c.session = h.Connected(seen, ack.SessionPresent) })
	return ack.SessionPresent, err
}

// answerTimeout is how long a broker that is there may take for an answer; the test's machine may be slow.
const answerTimeout = 20 * time.Second

// lost ends the connection after an error on it. While the broker is there, it is the broker's doing.
func (c *client) lost(err error) {
	if c.link == nil {
		return
	}
	if !errors.Is(err, history.ErrCut) && c.load.Gate.Current(c.link.life) {
		if c.load.o.Tolerant {
			_ = c.do(func(h *history.History) { c.load.refused.Add(1) })
		} else {
			c.anomaly(history.Refused, "connection lost: %v", err)
		}
	}
	c.drop()
}

// drop closes the connection.
func (c *client) drop() {
	if c.link != nil {
		_ = c.link.conn.Close()
		c.link = nil
	}
}

// leave ends the connection in one of the ways in which clients do.
func (c *client) leave() {
	switch c.rng.IntN(3) {
	case 0: // as is proper
		c.put(&mqtt.Disconnect{})
		_ = c.link.flush() // it is going anyway
	case 1: // by a reset
		if t, ok := c.link.conn.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
	}
	c.drop()
}

// idle tells an error that is none: nothing has come yet.
func idle(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// pause waits, or returns early when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// unexpected is a packet that should not have come, as an error.
func (c *client) unexpected(f mqtt.Frame) error {
	if f.Type == mqtt.DISCONNECT {
		var d mqtt.Disconnect
		if err := d.Decode(f, c.version); err != nil {
			return err
		}
		if d.Code == mqtt.ServerShuttingDown {
			return errGoing
		}
		return fmt.Errorf("DISCONNECT with %v (%#x) %q", d.Code, byte(d.Code), d.Props.ReasonString)
	}
	c.anomaly(history.Protocol, "unexpected %v", f.Type)
	return fmt.Errorf("unexpected %v", f.Type)
}

// errGoing: the broker shuts down.
var errGoing = errors.New("the broker shuts down")
