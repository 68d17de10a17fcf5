package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// TestConnectPacket checks what the options become on the wire, and what the
// CONNACK becomes.
func TestConnectPacket(t *testing.T) {
	f := newFake(t, mqtt.V5)
	connected := background(func() error {
		c, err := client.Connect(testContext(t), strings.Replace(f.url(), "//", "//user:p%40ss@", 1), client.Options{
			ClientID: "me", SessionExpiry: 5, KeepAlive: 7 * time.Second, ReceiveMaximum: 8, MaximumPacketSize: 900, TopicAliasMaximum: 10,
			RequestResponseInfo: true, NoProblemInfo: true, UserProperties: []client.UserProperty{{Key: "k", Value: "v"}},
			Will: &client.Will{Message: client.Message{Topic: "w", Payload: []byte("gone"), QoS: 1, Retain: true,
				Properties: client.Properties{ContentType: "text"}}, Delay: 3},
		})
		if err != nil {
			return err
		}
		defer c.Close()
		ack := c.Connack()
		if !ack.SessionPresent || ack.ClientID != "other" || ack.KeepAlive != 9*time.Second || ack.ReceiveMaximum != 65535 || ack.MaximumQoS != 2 ||
			!ack.RetainAvailable || ack.SharedSubscriptions || ack.SessionExpiry != 5 || !c.Connected() {
			t.Errorf("Connack: %+v", ack)
		}
		return nil
	})
	ack := mqtt.Connack{SessionPresent: true}
	for _, id := range []mqtt.PropertyID{mqtt.PropServerKeepAlive, mqtt.PropAssignedClientID, mqtt.PropSharedSubAvailable} {
		ack.Props.Has.Set(id)
	}
	ack.Props.ServerKeepAlive, ack.Props.AssignedClientID = 9, []byte("other")
	_, p := f.welcome(ack)
	if err := await(t, "Connect", connected); err != nil {
		t.Fatal(err)
	}
	w, will := &p.Props, &p.Will
	if string(p.ClientID) != "me" || string(p.Username) != "user" || string(p.Password) != "p@ss" || !p.CleanStart || p.KeepAlive != 7 {
		t.Errorf("CONNECT: %+v", p)
	}
	if w.SessionExpiry != 5 || w.ReceiveMaximum != 8 || w.MaximumPacketSize != 900 || w.TopicAliasMaximum != 10 || w.RequestResponseInfo != 1 ||
		!w.Has.Has(mqtt.PropRequestProblemInfo) || w.RequestProblemInfo != 0 || len(w.User) != 1 {
		t.Errorf("properties: %+v", w)
	}
	if !p.HasWill || string(will.Topic) != "w" || string(will.Payload) != "gone" || will.QoS != 1 || !will.Retain ||
		will.Props.WillDelay != 3 || string(will.Props.ContentType) != "text" {
		t.Errorf("will: %+v", will)
	}
}

// TestRefused checks that a refusal tells the server's code.
func TestRefused(t *testing.T) {
	tests := map[string]struct {
		version mqtt.Version
		ack     mqtt.Connack
		want    string
	}{
		"3.1.1": {mqtt.V311, mqtt.Connack{Code: mqtt.ConnRefusedNotAuthorized}, "the server refused the connection: Connection Refused: not authorized"},
		"5":     {mqtt.V5, mqtt.Connack{Code: mqtt.ServerMoved}, "the server refused the connection: Server moved: maintenance (it refers to elsewhere)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, tt.version)
			connected := background(func() error {
				_, err := client.Connect(testContext(t), f.url(), client.Options{Version: tt.version})
				return err
			})
			if tt.version == mqtt.V5 {
				tt.ack.Props.Has.Set(mqtt.PropReasonString)
				tt.ack.Props.ReasonString = []byte("maintenance")
				tt.ack.Props.Has.Set(mqtt.PropServerReference)
				tt.ack.Props.ServerReference = []byte("elsewhere")
			}
			f.welcome(tt.ack)
			err := await(t, "Connect", connected)
			var refused *client.ConnectError
			if !errors.As(err, &refused) || refused.Code != tt.ack.Code || !strings.HasSuffix(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestConnectFails checks the other ways in which a first attempt ends.
func TestConnectFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	if _, err := client.Connect(testContext(t), "mqtt://"+nobody, client.Options{}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}

	f := newFake(t, mqtt.V5)
	connected := background(func() error {
		_, err := client.Connect(testContext(t), f.url(), client.Options{})
		return err
	})
	p := f.accept()
	p.expect(mqtt.CONNECT)
	p.conn.Close()
	if err := await(t, "Connect", connected); !errors.Is(err, io.EOF) {
		t.Errorf("closed: %v", err)
	}

	silent := newFake(t, mqtt.V5) // the system accepts, nobody answers
	if _, err := client.Connect(testContext(t), silent.url(), client.Options{ConnectTimeout: 50 * time.Millisecond}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent server: %v", err)
	}

	connected = background(func() error {
		_, err := client.Connect(testContext(t), f.url(), client.Options{})
		return err
	})
	p = f.accept()
	p.expect(mqtt.CONNECT)
	p.sendRaw([]byte{0x20, 2, 0, 1})
	var refused *client.ConnectError
	if err := await(t, "Connect", connected); !errors.As(err, &refused) || refused.Code != mqtt.UnsupportedProtocolVersion {
		t.Errorf("server of MQTT 3: %v", err)
	}

	connected = background(func() error {
		_, err := client.Connect(testContext(t), f.url(), client.Options{})
		return err
	})
	p = f.accept()
	p.expect(mqtt.CONNECT)
	p.sendRaw(mqtt.PingrespBytes)
	if err := await(t, "Connect", connected); err == nil || !strings.Contains(err.Error(), "PINGRESP before its CONNACK") {
		t.Errorf("wrong packet: %v", err)
	}
}

// TestBadOptions checks what is refused before anything is sent.
func TestBadOptions(t *testing.T) {
	will := &client.Will{Message: client.Message{Topic: "a/#"}}
	for name, tt := range map[string]struct {
		url  string
		o    client.Options
		want string
	}{
		"scheme":           {"http://h", client.Options{}, "use mqtt://"},
		"no scheme":        {"localhost", client.Options{}, "use mqtt://"},
		"no host":          {"mqtt://", client.Options{}, "names no host"},
		"no socket":        {"unix://", client.Options{}, "names no socket"},
		"path":             {"mqtt://h/topic", client.Options{}, "path"},
		"password secret":  {"mqtt://u:se cret@h:port", client.Options{}, "URL"},
		"version":          {"mqtt://h", client.Options{Version: 6}, "version 6"},
		"keep alive":       {"mqtt://h", client.Options{KeepAlive: 65536 * time.Second}, "65,535"},
		"short keep alive": {"mqtt://h", client.Options{KeepAlive: time.Millisecond}, "one second"},
		"will topic":       {"mqtt://h", client.Options{Will: will}, "will"},
		"v3 expiry":        {"mqtt://h", client.Options{Version: mqtt.V311, SessionExpiry: 1}, "version 5"},
		"v3 without id":    {"mqtt://h", client.Options{Version: mqtt.V311, KeepSession: true}, "ClientID"},
		"delays":           {"mqtt://h", client.Options{ReconnectMin: time.Hour, ReconnectMax: time.Minute}, "larger"},
		"queue":            {"mqtt://h", client.Options{Queue: -1}, "negative"},
	} {
		_, err := client.Connect(testContext(t), tt.url, tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		} else if strings.Contains(err.Error(), "cret") {
			t.Errorf("%s: the password is in the error: %v", name, err)
		}
	}
}

// TestUnixSocket connects over a socket in the file system.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	connected := background(func() error {
		c, err := client.Connect(testContext(t), "unix://"+path, client.Options{})
		if err == nil {
			c.Close()
		}
		return err
	})
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := &peer{t: t, conn: conn, version: mqtt.V5}
	p.expect(mqtt.CONNECT)
	p.send(&mqtt.Connack{})
	if err := await(t, "Connect", connected); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
}

// TestServerDisconnects checks the reason's way to the program, and that a
// client whose session was taken over does not fight for it.
func TestServerDisconnects(t *testing.T) {
	f := newFake(t, mqtt.V5)
	lost := make(chan error, 10)
	up := make(chan client.Connack, 10)
	c, p := f.connect(client.Options{
		OnConnect:    func(a client.Connack) { up <- a },
		OnDisconnect: func(err error) { lost <- err },
	}, mqtt.Connack{})
	await(t, "OnConnect", up)
	p.send(&mqtt.Disconnect{Code: mqtt.ServerShuttingDown})
	var told *client.DisconnectError
	if err := await(t, "OnDisconnect", lost); !errors.As(err, &told) || told.Code != mqtt.ServerShuttingDown {
		t.Errorf("%v", err)
	}
	f.welcome(mqtt.Connack{Code: mqtt.ServerBusy})
	var refused *client.ConnectError
	if err := await(t, "OnDisconnect", lost); !errors.As(err, &refused) || refused.Code != mqtt.ServerBusy {
		t.Errorf("%v", err)
	}
	p, _ = f.welcome(mqtt.Connack{})
	await(t, "OnConnect", up)
	p.send(&mqtt.Disconnect{Code: mqtt.SessionTakenOver})
	await(t, "the end", c.Done())
	if !errors.As(c.Err(), &told) || told.Code != mqtt.SessionTakenOver {
		t.Errorf("Err: %v", c.Err())
	}
}

// TestDisconnect checks that everything is written before DISCONNECT.
func TestDisconnect(t *testing.T) {
	f := newFake(t, mqtt.V5)
	c, p := f.connect(client.Options{SessionExpiry: 60}, mqtt.Connack{})
	const n = 100
	for range n {
		publish(t, c, &client.Message{Topic: "a"})
	}
	ended := background(func() error {
		return c.DisconnectWith(testContext(t), client.Farewell{Code: mqtt.DisconnectWithWill, SessionExpiry: new(uint32(0)), Reason: "bye"})
	})
	for range n {
		p.expectPublish()
	}
	var d mqtt.Disconnect
	if err := d.Decode(p.expect(mqtt.DISCONNECT), mqtt.V5); err != nil {
		t.Fatal(err)
	}
	if d.Code != mqtt.DisconnectWithWill || !d.Props.Has.Has(mqtt.PropSessionExpiry) || string(d.Props.ReasonString) != "bye" {
		t.Errorf("%+v", d)
	}
	if _, err := p.next(); !errors.Is(err, io.EOF) {
		t.Errorf("after DISCONNECT: %v", err)
	}
	p.conn.Close()
	if err := await(t, "Disconnect", ended); err != nil {
		t.Error(err)
	}
	if err := c.Disconnect(testContext(t)); err != nil {
		t.Errorf("a second time: %v", err)
	}

	// A server that does not close keeps Disconnect only for a moment, or until the context ends.
	c, p = f.connect(client.Options{}, mqtt.Connack{})
	ctx, cancel := context.WithCancel(context.Background())
	ended = background(func() error { return c.Disconnect(ctx) })
	p.expectDisconnect(mqtt.NormalDisconnection)
	cancel()
	if err := await(t, "Disconnect", ended); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}

	c, p = f.connect(client.Options{}, mqtt.Connack{})
	c.Close()
	if f, err := p.next(); err == nil {
		t.Errorf("Close sends %v", f.Type)
	}
}

// TestKeepAlive checks the ping, and what becomes of a server that does not
// answer it.
func TestKeepAlive(t *testing.T) {
	f := newFake(t, mqtt.V311)
	lost := make(chan error, 10)
	_, p := f.connect(client.Options{KeepAlive: time.Second, OnDisconnect: func(err error) { lost <- err }}, mqtt.Connack{})
	p.expect(mqtt.PINGREQ)
	p.sendRaw(mqtt.PingrespBytes)
	p.expect(mqtt.PINGREQ)
	if err := await(t, "OnDisconnect", lost); !errors.Is(err, client.ErrKeepAlive) {
		t.Errorf("%v", err)
	}
}

// TestTrace checks that every packet is told of, once.
func TestTrace(t *testing.T) {
	f := newFake(t, mqtt.V5)
	traced := make(chan string, 100)
	c, p := f.connect(client.Options{Trace: func(sent bool, f mqtt.Frame) {
		if sent {
			traced <- "> " + f.Type.String()
		} else {
			traced <- "< " + f.Type.String()
		}
	}}, mqtt.Connack{})
	done := publish(t, c, &client.Message{Topic: "a", QoS: 1})
	p.expectPublish()
	p.send(&mqtt.Ack{Type: mqtt.PUBACK, PacketID: 1})
	await(t, "outcome", done)
	ended := background(func() error { return c.Disconnect(testContext(t)) })
	p.expectDisconnect(mqtt.Success)
	p.conn.Close()
	if err := await(t, "Disconnect", ended); err != nil {
		t.Error(err)
	}
	count := map[string]int{}
	for range 5 {
		count[await(t, "trace", traced)]++
	}
	for _, want := range []string{"> CONNECT", "< CONNACK", "> PUBLISH", "< PUBACK", "> DISCONNECT"} {
		if count[want] != 1 {
			t.Errorf("%s: %d times", want, count[want])
		}
	}
}
