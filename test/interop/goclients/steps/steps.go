// Package steps runs the interop steps (../../README.md) on any Go client library.
package steps

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// Wait bounds everything that a step waits for.
const Wait = 10 * time.Second

// A Message is what a subscriber got or has to get.
type Message struct {
	Topic, Text string
	QoS         byte
	Retain      bool
}

// A Peer is one connected client. Topics are complete.
type Peer interface {
	SessionPresent() bool
	// Subscribe returns once SUBACK granted exactly qos.
	Subscribe(filter string, qos byte) error
	// Publish returns once the message is acknowledged (QoS 1, 2) or written (QoS 0).
	Publish(m Message) error
	// Inbox yields what arrives, from the first message of a resumed session on.
	Inbox() <-chan Message
	Close() error
	// Drop closes the socket without DISCONNECT.
	Drop() error
}

// Options of one connection. A will, when given, goes to WillTopic with QoS 1.
type Options struct {
	Addr, ClientID, Version string
	Clean                   bool
	Will, WillTopic         string
	Scheme                  string      // mqtts, ws or wss; empty: mqtt
	TLS                     *tls.Config // nil: none
}

// over sets what a scheme asks for.
func (o *Options) over(scheme, caFile string) error {
	o.Scheme = scheme
	if scheme == "ws" {
		return nil
	}
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return err
	}
	o.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
	if !o.TLS.RootCAs.AppendCertsFromPEM(ca) {
		return fmt.Errorf("no certificate in %s", caFile)
	}
	return nil
}

// Dial opens the connection, with TLS where the scheme asks for it; WebSocket is left to the client library.
func (o Options) Dial() (net.Conn, error) {
	d := &net.Dialer{Timeout: Wait}
	if o.TLS == nil {
		return d.Dial("tcp", o.Addr)
	}
	return tls.DialWithDialer(d, "tcp", o.Addr, o.TLS)
}

// Open connects a client.
type Open func(Options) (Peer, error)

// A Step is one named check.
type Step struct {
	Name string
	Run  func(*Env) error
}

// Env is what a step works with.
type Env struct {
	Prefix string // of every topic, with its final slash

	open Open
	opts Options
	ids  string
	live []Peer
}

var texts = []string{"1", "2", "3 grün ☕"}

// Main runs the standard steps and then more, prints a line for each and ends the process.
func Main(name string, open Open, more ...Step) {
	if len(os.Args) != 4 && len(os.Args) != 6 {
		fmt.Fprintf(os.Stderr, "usage: %s HOST PORT VERSION [SCHEME CAFILE]\n", os.Args[0])
		os.Exit(2)
	}
	version := os.Args[3]
	env := &Env{
		Prefix: fmt.Sprintf("interop/%s-%s-%d/", name, version, os.Getpid()),
		open:   open,
		opts:   Options{Addr: os.Args[1] + ":" + os.Args[2], Version: version},
		ids:    fmt.Sprintf("g%s-%d-", version, os.Getpid()),
	}
	if len(os.Args) == 6 {
		if err := env.opts.over(os.Args[4], os.Args[5]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	all := []Step{
		{"connect", connect},
		{"qos0", func(e *Env) error { return qos(e, 0) }},
		{"qos1", func(e *Env) error { return qos(e, 1) }},
		{"qos2", func(e *Env) error { return qos(e, 2) }},
		{"wildcards", wildcards}, {"retained", retained}, {"will", will}, {"resume", resume},
	}
	code := 0
	for _, step := range append(all, more...) {
		err := step.Run(env)
		if err = cmp.Or(err, env.closeAll()); err != nil {
			code = 1
			fmt.Println("FAIL", step.Name, strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		fmt.Println("ok", step.Name)
	}
	os.Exit(code)
}

// Peer connects a client with a clean session; the step's end closes it.
func (e *Env) Peer(name string) (Peer, error) { return e.peer(name, true, "") }

func (e *Env) peer(name string, clean bool, will string) (Peer, error) {
	o := e.opts
	o.ClientID = e.ids + name
	o.ClientID = o.ClientID[:min(len(o.ClientID), 23)] // all that MQTT 3.1 allows
	o.Clean, o.Will, o.WillTopic = clean, will, e.Prefix+"will"
	p, err := e.open(o)
	if err != nil {
		return nil, fmt.Errorf("connect as %s: %w", o.ClientID, err)
	}
	e.live = append(e.live, p)
	return p, nil
}

// two connects a subscriber and a publisher.
func (e *Env) two() (sub, pub Peer, err error) {
	if sub, err = e.Peer("sub"); err != nil {
		return nil, nil, err
	}
	pub, err = e.Peer("pub")
	return sub, pub, err
}

// release closes a peer before the step's end.
func (e *Env) release(p Peer) error {
	e.live = slices.DeleteFunc(e.live, func(q Peer) bool { return p == q })
	return p.Close()
}

func (e *Env) closeAll() error {
	var errs []error
	for _, p := range e.live {
		errs = append(errs, p.Close())
	}
	e.live = nil
	return errors.Join(errs...)
}

// Expect takes the next message and compares it; topics are without the prefix.
func (e *Env) Expect(p Peer, what string, want Message) error {
	got, err := e.next(p)
	if err == nil && got != want {
		err = fmt.Errorf("got %+v, want %+v", got, want)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (e *Env) next(p Peer) (Message, error) {
	select {
	case m := <-p.Inbox():
		m.Topic = strings.TrimPrefix(m.Topic, e.Prefix)
		return m, nil
	case <-time.After(Wait):
		return Message{}, fmt.Errorf("no message within %v", Wait)
	}
}

// publish sends m with the prefix before its topic.
func (e *Env) publish(p Peer, m Message) error {
	m.Topic = e.Prefix + m.Topic
	return p.Publish(m)
}

// InOrder calls one after the other until one fails.
func InOrder(do ...func() error) error {
	for _, f := range do {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func wantSession(p Peer, when string, want bool) error {
	if got := p.SessionPresent(); got != want {
		return fmt.Errorf("session present %s: got %v, want %v", when, got, want)
	}
	return nil
}

func connect(e *Env) error {
	p, err := e.Peer("connect")
	if err != nil {
		return err
	}
	return wantSession(p, "with a clean start", false)
}

func qos(e *Env, level byte) error {
	sub, pub, err := e.two()
	if err != nil {
		return err
	}
	topic := fmt.Sprintf("qos%d", level)
	if err := sub.Subscribe(e.Prefix+topic, level); err != nil {
		return err
	}
	for _, text := range texts {
		if err := e.publish(pub, Message{topic, text, level, false}); err != nil {
			return err
		}
	}
	for _, text := range texts {
		if err := e.Expect(sub, "message", Message{topic, text, level, false}); err != nil {
			return err
		}
	}
	return nil
}

func wildcards(e *Env) error {
	sub, pub, err := e.two()
	if err != nil {
		return err
	}
	for _, filter := range []string{"w/+/temp", "w/deep/#"} {
		if err := sub.Subscribe(e.Prefix+filter, 1); err != nil {
			return err
		}
	}
	for _, topic := range []string{"a/temp", "a/b/temp", "temp", "deep", "deep/x/y", "deeper", "end/temp"} {
		if err := e.publish(pub, Message{"w/" + topic, "x", 1, false}); err != nil {
			return err
		}
	}
	want := []string{"w/a/temp", "w/deep", "w/deep/x/y", "w/end/temp"}
	var got []string
	for range want {
		m, err := e.next(sub)
		if err != nil {
			return fmt.Errorf("after %v: %w", got, err)
		}
		got = append(got, m.Topic)
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		return fmt.Errorf("topics: got %v, want %v", got, want)
	}
	return nil
}

func retained(e *Env) error {
	var peers [4]Peer
	for i, name := range []string{"pub", "early", "late", "none"} {
		p, err := e.Peer(name)
		if err != nil {
			return err
		}
		peers[i] = p
	}
	pub, early, late, none := peers[0], peers[1], peers[2], peers[3]
	return InOrder(
		func() error { return e.publish(pub, Message{"r/one", "first", 1, true}) },
		func() error { return early.Subscribe(e.Prefix+"r/+", 1) },
		func() error { return e.Expect(early, "retained on subscribe", Message{"r/one", "first", 1, true}) },
		func() error { return e.publish(pub, Message{"r/one", "second", 1, true}) },
		func() error { return e.Expect(early, "live message", Message{"r/one", "second", 1, false}) },
		func() error { return late.Subscribe(e.Prefix+"r/#", 1) },
		func() error { return e.Expect(late, "replaced retained message", Message{"r/one", "second", 1, true}) },
		func() error { return e.publish(pub, Message{"r/one", "", 1, true}) },
		func() error { return none.Subscribe(e.Prefix+"r/+", 1) },
		func() error { return e.publish(pub, Message{"r/end", "end", 1, false}) },
		func() error { return e.Expect(none, "after clearing", Message{"r/end", "end", 1, false}) },
	)
}

func will(e *Env) error {
	watch, err := e.Peer("watch")
	if err != nil {
		return err
	}
	if err := watch.Subscribe(e.Prefix+"will", 1); err != nil {
		return err
	}
	polite, err := e.peer("polite", true, "clean")
	if err != nil {
		return err
	}
	if err := e.release(polite); err != nil {
		return err
	}
	lost, err := e.peer("lost", true, "lost")
	if err != nil {
		return err
	}
	e.live = slices.DeleteFunc(e.live, func(p Peer) bool { return p == lost })
	if err := lost.Drop(); err != nil {
		return err
	}
	return e.Expect(watch, "will", Message{"will", "lost", 1, false})
}

// visit connects as "res", checks session present, runs do and disconnects.
func (e *Env) visit(clean bool, when string, present bool, do func(Peer) error) error {
	p, err := e.peer("res", clean, "")
	if err != nil {
		return err
	}
	if e.opts.Version != "3.1" || !present { // 3.1 has no such flag
		if err := wantSession(p, when, present); err != nil {
			return err
		}
	}
	if err := do(p); err != nil {
		return err
	}
	return e.release(p)
}

func resume(e *Env) error {
	nothing := func(Peer) error { return nil }
	subscribe := func(p Peer) error { return p.Subscribe(e.Prefix+"res/#", 2) }
	return InOrder(
		func() error { return e.visit(true, "before", false, nothing) }, // clean: whatever was there is gone
		func() error { return e.visit(false, "at first", false, subscribe) },
		e.fillQueue,
		func() error { return e.visit(false, "on return", true, e.drainQueue) },
		func() error { return e.visit(true, "after a clean start", false, nothing) },
	)
}

func (e *Env) fillQueue() error {
	pub, err := e.Peer("pub")
	if err != nil {
		return err
	}
	for _, text := range texts {
		for _, m := range []Message{{"res/1", text, 1, false}, {"res/2", text, 2, false}} {
			if err := e.publish(pub, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// drainQueue wants each QoS's messages in the order they were sent.
func (e *Env) drainQueue(p Peer) error {
	var got [3][]string
	for range 2 * len(texts) {
		m, err := e.next(p)
		if err != nil {
			return err
		}
		if want := (Message{fmt.Sprintf("res/%d", m.QoS), m.Text, m.QoS, false}); m != want {
			return fmt.Errorf("got %+v, want %+v", m, want)
		}
		got[m.QoS] = append(got[m.QoS], m.Text)
	}
	if !slices.Equal(got[1], texts) || !slices.Equal(got[2], texts) {
		return fmt.Errorf("queued messages: got QoS 1 %q, QoS 2 %q, want %q for both", got[1], got[2], texts)
	}
	return nil
}
