package client_test

import (
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// fake is a broker that does what its test says, packet by packet.
type fake struct {
	t       *testing.T
	l       net.Listener
	version mqtt.Version
}

func newFake(t *testing.T, v mqtt.Version) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noneLeft(t) }) // after every other cleanup
	t.Cleanup(func() { l.Close() })
	return &fake{t: t, l: l, version: v}
}

func (f *fake) url() string { return "mqtt://" + f.l.Addr().String() }

// accept takes the next connection.
func (f *fake) accept() *peer {
	f.t.Helper()
	if err := f.l.(*net.TCPListener).SetDeadline(time.Now().Add(testTime)); err != nil {
		f.t.Fatal(err)
	}
	conn, err := f.l.Accept()
	if err != nil {
		f.t.Fatalf("no connection: %v", err)
	}
	conn.SetDeadline(time.Now().Add(testTime))
	f.t.Cleanup(func() { conn.Close() })
	return &peer{t: f.t, conn: conn, version: f.version}
}

// welcome takes a connection and accepts its CONNECT.
func (f *fake) welcome(ack mqtt.Connack) (*peer, mqtt.Connect) {
	f.t.Helper()
	p := f.accept()
	var connect mqtt.Connect
	if err := connect.Decode(p.expect(mqtt.CONNECT)); err != nil {
		f.t.Fatal(err)
	}
	p.send(&ack)
	return p, connect
}

// connect connects a client and returns both ends.
func (f *fake) connect(o client.Options, ack mqtt.Connack) (*client.Client, *peer) {
	f.t.Helper()
	o.Version = f.version
	if o.ReconnectMin == 0 {
		o.ReconnectMin = time.Millisecond
	}
	type result struct {
		c   *client.Client
		err error
	}
	connected := make(chan result, 1)
	ctx := testContext(f.t)
	go func() {
		c, err := client.Connect(ctx, f.url(), o)
		connected <- result{c, err}
	}()
	p, _ := f.welcome(ack)
	r := <-connected
	if r.err != nil {
		f.t.Fatal(r.err)
	}
	f.t.Cleanup(func() { end(f.t, r.c) })
	return r.c, p
}

// end closes a client and waits for its end.
func end(t *testing.T, c *client.Client) {
	t.Helper()
	c.Close()
	await(t, "the client's end", c.Done())
}

// noneLeft looks for goroutines that a client has left behind.
func noneLeft(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	left := ""
	for deadline := time.Now().Add(testTime); time.Now().Before(deadline); runtime.Gosched() {
		text := string(stacks[:runtime.Stack(stacks, true)])
		left = ""
		for _, of := range []string{"(*link).write", "(*Client).read(", "(*Client).run(", "(*inbox).dispatch"} {
			if strings.Contains(text, of) {
				left = of
			}
		}
		if left == "" {
			return
		}
	}
	t.Errorf("a goroutine in %s is left", left)
}

// peer is the broker's end of one connection.
type peer struct {
	t       *testing.T
	conn    net.Conn
	version mqtt.Version
	buf     []byte
}

type packet interface {
	Append(dst []byte, v mqtt.Version) ([]byte, error)
}

func (p *peer) send(packets ...packet) {
	p.t.Helper()
	for _, q := range packets {
		b, err := q.Append(nil, p.version)
		if err != nil {
			p.t.Fatal(err)
		}
		p.sendRaw(b)
	}
}

func (p *peer) sendRaw(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// next returns the next packet; its body stays valid.
func (p *peer) next() (mqtt.Frame, error) {
	for {
		f, n, _, err := mqtt.ParseFrame(p.buf, 0)
		if err != nil {
			return f, err
		}
		if n > 0 {
			f.Body = slices.Clone(f.Body)
			p.buf = p.buf[n:]
			return f, nil
		}
		chunk := make([]byte, 256<<10)
		m, err := p.conn.Read(chunk)
		p.buf = append(p.buf, chunk[:m]...)
		if err != nil {
			return f, err
		}
	}
}

func (p *peer) expect(want mqtt.PacketType) mqtt.Frame {
	p.t.Helper()
	f, err := p.next()
	if err != nil {
		p.t.Fatalf("%v, want %v", err, want)
	}
	if f.Type != want {
		p.t.Fatalf("%v, want %v", f.Type, want)
	}
	return f
}

func (p *peer) expectPublish() mqtt.Publish {
	p.t.Helper()
	var m mqtt.Publish
	if err := m.Decode(p.expect(mqtt.PUBLISH), p.version); err != nil {
		p.t.Fatal(err)
	}
	return m
}

func (p *peer) expectAck(want mqtt.PacketType) mqtt.Ack {
	p.t.Helper()
	var a mqtt.Ack
	if err := a.Decode(p.expect(want), p.version); err != nil {
		p.t.Fatal(err)
	}
	return a
}

func (p *peer) expectSubscribe() mqtt.Subscribe {
	p.t.Helper()
	var s mqtt.Subscribe
	if err := s.Decode(p.expect(mqtt.SUBSCRIBE), p.version); err != nil {
		p.t.Fatal(err)
	}
	return s
}

func (p *peer) expectDisconnect(want mqtt.ReasonCode) {
	p.t.Helper()
	var d mqtt.Disconnect
	if err := d.Decode(p.expect(mqtt.DISCONNECT), p.version); err != nil {
		p.t.Fatal(err)
	}
	if d.Code != want {
		p.t.Fatalf("DISCONNECT with %v, want %v", d.Code, want)
	}
}

// expectQuiet checks that everything up to now has been answered and nothing
// else was sent: a PUBREL for an unknown id is answered by PUBCOMP, in order.
func (p *peer) expectQuiet() {
	p.t.Helper()
	p.send(&mqtt.Ack{Type: mqtt.PUBREL, PacketID: 65535})
	if a := p.expectAck(mqtt.PUBCOMP); a.PacketID != 65535 {
		p.t.Fatalf("PUBCOMP for %d", a.PacketID)
	}
}

// await returns what comes from a channel.
func await[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(testTime):
		t.Fatalf("%s does not come", what)
		panic("unreachable")
	}
}

// outcome is the end of a publish.
type outcome struct {
	client.Result
	err error
}

// publish hands a message over and returns where its outcome will be.
func publish(t *testing.T, c *client.Client, m *client.Message) <-chan outcome {
	t.Helper()
	ch := make(chan outcome, 1)
	if err := c.PublishAsync(testContext(t), m, func(r client.Result, err error) { ch <- outcome{r, err} }); err != nil {
		t.Fatal(err)
	}
	return ch
}

// background runs f and returns where its error will be.
func background(f func() error) <-chan error {
	ch := make(chan error, 1)
	go func() { ch <- f() }()
	return ch
}
