package broker_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// listen has a broker serve one more listener, on a port of its own, and gives the address.
func listen(t *testing.T, b *broker.Broker, l broker.Listener) string {
	t.Helper()
	sockets, err := broker.OpenSockets(broker.Socket{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, b, l, sockets...)
}

// serveOn serves on sockets that are open.
func serveOn(t *testing.T, b *broker.Broker, l broker.Listener, sockets ...net.Listener) string {
	t.Helper()
	go func() {
		if err := b.ServeListener(l, sockets...); err != nil && !errors.Is(err, broker.ErrShutdown) {
			t.Errorf("listener %q: %v", l.Name, err)
		}
	}()
	eventually(t, "listener "+l.Name, func() bool { return status(b, l.Name).Addresses != nil })
	return sockets[0].Addr().String()
}

// status is that of the listener with a name.
func status(b *broker.Broker, name string) (s broker.ListenerStatus) {
	for _, s := range b.Listeners() {
		if s.Name == name {
			return s
		}
	}
	return s
}

// eventually waits for something that no event tells of.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-limit.C:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

// limits are the usual ones with a change.
func limits(change func(*broker.ConnectionLimits)) *broker.ConnectionLimits {
	l := broker.DefaultOptions().ConnectionLimits
	change(&l)
	return &l
}

// logins is an authenticator that lets all in and remembers what they showed.
type logins struct {
	mu  sync.Mutex
	all map[string]broker.Login
	// name, if not nil, gives the user name.
	name func(l *broker.Login) string
}

func (a *logins) Authenticate(l *broker.Login, done func(broker.Verdict)) {
	a.mu.Lock()
	if a.all == nil {
		a.all = make(map[string]broker.Login)
	}
	a.all[l.ClientID] = *l
	var v broker.Verdict
	if a.name != nil {
		v.Username = a.name(l)
	}
	a.mu.Unlock()
	done(v)
}

func (a *logins) of(id string) broker.Login {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all[id]
}

// everyEngine runs a test on each.
func everyEngine(t *testing.T, test func(t *testing.T, o broker.Options)) {
	for _, name := range broker.Engines() {
		t.Run(name, func(t *testing.T) {
			o := options()
			o.Engine = name
			test(t, o)
		})
	}
}

// Each listener has its own settings, and its name is known to the authenticator.
func TestListenerSettings(t *testing.T) {
	who := new(logins)
	o := options()
	o.Authenticator = who
	b, plain := serve(t, o)
	strict := listen(t, b, broker.Listener{Name: "strict", Limits: limits(func(l *broker.ConnectionLimits) {
		l.Versions = []mqtt.Version{mqtt.V5}
		l.MaxQoS, l.MaxPacket, l.MaxTopicAlias, l.MaxConnections = 1, 1000, 3, 1
		l.AutoIDPrefix = "strict-"
	})})
	old := dial(t, strict)
	if ack := old.join(&mqtt.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte("old")}); ack.Code == mqtt.Success {
		t.Error("MQTT 3.1.1 is let in where only 5 is")
	}
	old.expectEnd()
	eventually(t, "the refused connection to be counted out", func() bool { return status(b, "strict").Connections == 0 })

	p := dial(t, strict)
	ack := p.join(&mqtt.Connect{Version: mqtt.V5, CleanStart: true})
	if !strings.HasPrefix(string(ack.Props.AssignedClientID), "strict-") || ack.Props.MaximumQoS != 1 || ack.Props.MaximumPacketSize != 1000 || ack.Props.TopicAliasMaximum != 3 {
		t.Errorf("CONNACK %+v", ack.Props)
	}
	more := dial(t, strict)
	more.expectEnd() // MaxConnections
	if got := who.of(string(ack.Props.AssignedClientID)).Listener; got != "strict" {
		t.Errorf("Login.Listener is %q", got)
	}
	other := dial(t, plain)
	if ack := other.join(&mqtt.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte("old")}); ack.Code != mqtt.Success {
		t.Errorf("the listener without settings refuses: %v", ack.Code)
	}
	for _, bad := range []broker.Listener{
		{Name: "strict"},
		{Name: "x", Limits: limits(func(l *broker.ConnectionLimits) { l.MountPoint = "a/#" })},
		{Name: "x", Limits: limits(func(l *broker.ConnectionLimits) { l.MaxQoS = 3 })},
	} {
		l, err := broker.Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := b.ServeListener(bad, l); err == nil {
			t.Errorf("%+v is served", bad)
		}
	}
}

// The bound for all listeners together holds besides those of each, and can be changed.
func TestMaxConnectionsOfAll(t *testing.T) {
	o := options()
	o.MaxConnections = 2
	b, first := serve(t, o)
	second := listen(t, b, broker.Listener{Name: "second", Limits: limits(func(*broker.ConnectionLimits) {})})
	one, two := dial(t, first), dial(t, second)
	one.connect("one", nil)
	two.connect("two", nil)
	dial(t, second).expectEnd()
	eventually(t, "the third to be counted out", func() bool { return b.Stats().Connections == 2 })
	b.SetMaxConnections(3)
	three := dial(t, first)
	three.connect("three", nil)
}

// A user name that is the client id: nobody takes over the session of another user, and who has no name is refused.
func TestUsernameAsClientID(t *testing.T) {
	who := new(logins)
	o := options()
	o.Authenticator = who
	b, _ := serve(t, o)
	address := listen(t, b, broker.Listener{Name: "users", Limits: limits(func(l *broker.ConnectionLimits) { l.UsernameAsClientID = true })})
	as := func(id, user string) (*peer, mqtt.Connack) {
		p := dial(t, address)
		return p, p.join(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte(id), HasUsername: user != "", Username: []byte(user)})
	}
	alice, _ := as("same", "alice")
	bob, _ := as("same", "bob")
	alice.subscribe("t")
	bob.publish("t", "both are there")
	alice.expect("t", "both are there")
	again, _ := as("other", "alice")
	if f := alice.wait(mqtt.DISCONNECT); f.Type != mqtt.DISCONNECT {
		t.Error("the same user is not the same client")
	}
	again.subscribe("t")
	if _, ack := as("x", ""); ack.Code != mqtt.NotAuthorized {
		t.Errorf("without a user name: %v", ack.Code)
	}
	_, ack := as("", "carol")
	if string(ack.Props.AssignedClientID) != "carol" {
		t.Errorf("Assigned Client Identifier %q, want carol", ack.Props.AssignedClientID)
	}
	who.mu.Lock()
	who.name = func(*broker.Login) string { return "dave" } // as from a certificate
	who.mu.Unlock()
	as("y", "")
	found := false
	for _, c := range b.Clients(nil) {
		found = found || c.ClientID == "dave"
	}
	if !found {
		t.Error("the name that the authenticator gives is not the client id")
	}
}

// A listener that is stopped leaves its clients alone unless it is told otherwise, and its address and name are free.
func TestStopListener(t *testing.T) {
	everyEngine(t, func(t *testing.T, o broker.Options) {
		b, plain := serve(t, o)
		sockets, err := broker.OpenSockets(broker.Socket{Address: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		address := sockets[0].Addr().String()
		served := make(chan error, 1)
		go func() { served <- b.ServeListener(broker.Listener{Name: "x"}, sockets...) }()
		stays, watcher := dial(t, address), dial(t, plain)
		watcher.connect("watcher", nil)
		watcher.subscribe("#")
		stays.connect("stays", &mqtt.Will{Topic: []byte("gone"), Payload: []byte("stays")})
		if err := b.StopListener(context.Background(), "x", nil); err != nil {
			t.Fatal(err)
		}
		if err := <-served; err != nil {
			t.Errorf("ServeListener: %v", err)
		}
		if c, err := net.Dial("tcp", address); err == nil {
			_ = c.Close()
			t.Error("a stopped listener still accepts")
		}
		stays.publish("t", "still here")
		watcher.expect("t", "still here")

		again, err := broker.OpenSockets(broker.Socket{Address: address})
		if err != nil {
			t.Fatal(err)
		}
		go func() { served <- b.ServeListener(broker.Listener{Name: "x"}, again...) }()
		goes := dial(t, address)
		goes.connect("goes", &mqtt.Will{Topic: []byte("gone"), Payload: []byte("goes")})
		if err := b.StopListener(context.Background(), "x", errors.New("this listener is no more")); err != nil {
			t.Fatal(err)
		}
		if err := <-served; err != nil {
			t.Errorf("ServeListener: %v", err)
		}
		var d mqtt.Disconnect
		if err := d.Decode(goes.wait(mqtt.DISCONNECT), mqtt.V5); err != nil || d.Code != mqtt.AdministrativeAction || string(d.Props.ReasonString) != "this listener is no more" {
			t.Errorf("DISCONNECT %v %q, %v", d.Code, d.Props.ReasonString, err)
		}
		watcher.expect("gone", "goes")
		stays.publish("t", "the first one stays still") // it came by the earlier listener of the name
		watcher.expect("t", "the first one stays still")
		if err := b.StopListener(context.Background(), "x", nil); !errors.Is(err, broker.ErrNoListener) {
			t.Error(err)
		}
		if err := b.UpdateListener(broker.Listener{Name: "x"}); !errors.Is(err, broker.ErrNoListener) {
			t.Error(err)
		}
	})
}

// New settings of a running listener hold for new connections, WebSocket for instance; those there are stay as they are.
func TestUpdateListener(t *testing.T) {
	o := options()
	b, _ := serve(t, o)
	address := listen(t, b, broker.Listener{Name: "x"})
	old := dial(t, address)
	old.connect("old", nil)
	old.subscribe("#")
	l := broker.Listener{Name: "x", Limits: limits(func(l *broker.ConnectionLimits) { l.MountPoint = "m/"; l.ReceiveMaximum = 7 })}
	if err := b.UpdateListener(l); err != nil {
		t.Fatal(err)
	}
	mounted := dial(t, address)
	if ack := mounted.join(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("new")}); ack.Props.ReceiveMaximum != 7 {
		t.Errorf("Receive Maximum %d, want 7", ack.Props.ReceiveMaximum)
	}
	mounted.publish("a", "1")
	old.expect("m/a", "1")
	old.publish("a", "2")
	old.expect("a", "2")
	l.Transport.WebSocket = true
	if err := b.UpdateListener(l); err != nil {
		t.Fatal(err)
	}
	ws := connectURL(t, "ws://"+address, nil)
	publishBy(t, ws, "b", "3")
	old.expect("m/b", "3")
	l.Limits.MaxQoS = 9
	if err := b.UpdateListener(l); err == nil {
		t.Error("a QoS of 9 is taken")
	}
	publishBy(t, connectURL(t, "ws://"+address, nil), "b", "4")
	old.expect("m/b", "4")
}

// A Unix socket serves as any other.
func TestUnixSocket(t *testing.T) {
	everyEngine(t, func(t *testing.T, o broker.Options) {
		who := new(logins)
		o.Authenticator = who
		b, plain := serve(t, o)
		path := filepath.Join(t.TempDir(), "mqtt.sock")
		sockets, err := broker.OpenSockets(broker.Socket{Path: path, Mode: 0o600})
		if err != nil {
			t.Fatal(err)
		}
		serveOn(t, b, broker.Listener{Name: "local"}, sockets...)
		watcher := dial(t, plain)
		watcher.connect("watcher", nil)
		watcher.subscribe("#")
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		p := over(t, c)
		p.connect("local", nil)
		p.publish("t", "x")
		watcher.expect("t", "x")
		if l := who.of("local"); l.Listener != "local" || l.RemoteAddr != "unix" {
			t.Errorf("listener %q, address %q", l.Listener, l.RemoteAddr)
		}
		p.publish("t", strings.Repeat("y", 300_000)) // more than its buffers hold
		watcher.expect("t", strings.Repeat("y", 300_000))
	})
}

// over is a peer on an open connection.
func over(t *testing.T, c net.Conn) *peer {
	t.Helper()
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &peer{t: t, c: c}
}
