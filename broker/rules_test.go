package broker_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Rule 8: a panic in one connection's handler closes that connection, with its will, is counted and logged with its
// stack; the others go on, those of the same loop too, and so does the client when it comes back.
func TestRule8_PanicClosesOneConnection(t *testing.T) {
	for _, engine := range broker.Engines() {
		t.Run(engine, func(t *testing.T) {
			logs := new(logBuffer)
			o := broker.DefaultOptions()
			o.Engine, o.Loops = engine, 1
			o.Logger = slog.New(slog.NewTextHandler(logs, nil))
			hook := &panicky{}
			o.Authorizer = hook
			b, address := serve(t, o)

			other, bad := dial(t, address), dial(t, address)
			other.connect("other", nil)
			other.subscribe("ok", "will", "match/#")
			bad.connect("bad", &mqtt.Will{Topic: []byte("will"), Payload: []byte("gone")})
			bad.publish("panic in the authorizer", "x")
			bad.expectEnd()
			other.expect("will", "gone")

			bad = dial(t, address)
			bad.connect("bad", nil)
			bad.publish("ok", "again")
			other.expect("ok", "again")

			// In the middle of matching: what the loop remembers of the topic must not be half of the truth.
			hook.panicOnReceive.Store("match/a", true)
			bad.publish("match/a", "lost with its connection")
			bad.expectEnd()
			hook.panicOnReceive.Delete("match/a")
			other.publish("match/a", "found")
			other.expect("match/a", "found")

			if n := b.Stats().Panics; n != 2 {
				t.Errorf("%d panics counted, want 2", n)
			}
			for _, want := range []string{"rotten rule", "panicky", "handlePublish", "level=ERROR"} {
				if !strings.Contains(logs.String(), want) {
					t.Errorf("the log does not say %q:\n%s", want, logs.String())
				}
			}
		})
	}
}

// panicky is an authorizer with faults.
type panicky struct{ panicOnReceive sync.Map }

func (*panicky) MayPublish(_ *broker.Identity, topic string, _ byte, _ bool) broker.Decision {
	if strings.HasPrefix(topic, "panic") {
		panic("rotten rule")
	}
	return broker.Decision{Allowed: true}
}
func (*panicky) MaySubscribe(*broker.Identity, string) broker.Decision {
	return broker.Decision{Allowed: true}
}
func (p *panicky) MayReceive(_ *broker.Identity, topic string) broker.Decision {
	if _, faulty := p.panicOnReceive.Load(topic); faulty {
		panic("rotten rule")
	}
	return broker.Decision{Allowed: true}
}
func (*panicky) Generation() uint64 { return 1 }

// logBuffer collects log lines from several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve starts a broker on loopback for the time of a test.
func serve(t *testing.T, o broker.Options) (*broker.Broker, string) {
	t.Helper()
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := broker.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := b.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; !errors.Is(err, broker.ErrShutdown) {
			t.Errorf("Serve: %v", err)
		}
	})
	return b, l.Addr().String()
}

// peer is a client that speaks MQTT 5 in packets.
type peer struct {
	t   *testing.T
	c   net.Conn
	buf []byte
}

// patience is how long a peer waits for what must come: far longer than it takes.
const patience = 20 * time.Second

func dial(t *testing.T, address string) *peer {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &peer{t: t, c: c}
}

type packet interface {
	Append(dst []byte, v mqtt.Version) ([]byte, error)
}

func (p *peer) send(packets ...packet) {
	p.t.Helper()
	var b []byte
	for _, pk := range packets {
		var err error
		if b, err = pk.Append(b, mqtt.V5); err != nil {
			p.t.Fatal(err)
		}
	}
	if _, err := p.c.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// next reads one packet; it is valid until the next call.
func (p *peer) next() (mqtt.Frame, error) {
	for {
		f, n, _, err := mqtt.ParseFrame(p.buf, 0)
		if err != nil {
			return f, err
		}
		if n > 0 {
			p.buf = p.buf[n:]
			return f, nil
		}
		chunk := make([]byte, 4096)
		n, err = p.c.Read(chunk)
		if err != nil {
			return f, err
		}
		p.buf = append(p.buf, chunk[:n]...)
	}
}

func (p *peer) wait(want mqtt.PacketType) mqtt.Frame {
	p.t.Helper()
	f, err := p.next()
	if err != nil || f.Type != want {
		p.t.Fatalf("got %v, %v; want %v", f.Type, err, want)
	}
	return f
}

func (p *peer) connect(id string, will *mqtt.Will) {
	p.t.Helper()
	c := &mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte(id)}
	if will != nil {
		c.HasWill, c.Will = true, *will
	}
	b, err := c.Append(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.c.Write(b); err != nil {
		p.t.Fatal(err)
	}
	p.wait(mqtt.CONNACK)
}

func (p *peer) subscribe(filters ...string) {
	p.t.Helper()
	s := &mqtt.Subscribe{PacketID: 1}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, mqtt.Subscription{Filter: []byte(f)})
	}
	p.send(s)
	p.wait(mqtt.SUBACK)
}

func (p *peer) publish(topic, payload string) {
	p.t.Helper()
	p.send(&mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload)})
}

func (p *peer) expect(topic, payload string) {
	p.t.Helper()
	var m mqtt.Publish
	if err := m.Decode(p.wait(mqtt.PUBLISH), mqtt.V5); err != nil {
		p.t.Fatal(err)
	}
	if string(m.Topic) != topic || string(m.Payload) != payload {
		p.t.Errorf("got %s %q, want %s %q", m.Topic, m.Payload, topic, payload)
	}
}

// expectEnd waits until the broker has closed the connection.
func (p *peer) expectEnd() {
	p.t.Helper()
	for {
		_, err := p.next()
		if err == nil {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.t.Fatal("the connection stays open")
		}
		if !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
			p.t.Errorf("the connection ended by %v", err)
		}
		return
	}
}
