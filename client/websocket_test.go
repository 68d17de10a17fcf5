package client_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/test/mosquitto"
)

// wsServer is a server's end of a WebSocket as a stream of bytes. Each write is cut into frames in the middle, with a
// ping between.
type wsServer struct {
	net.Conn
	left  int64
	mask  [4]byte
	at    int
	pongs int
}

func (s *wsServer) Write(p []byte) (int, error) {
	middle := len(p) / 2
	for _, f := range []ws.Frame{
		ws.NewFrame(ws.OpBinary, false, p[:middle]), ws.NewPingFrame([]byte("still there?")), ws.NewFrame(ws.OpContinuation, true, p[middle:]),
	} {
		if err := ws.WriteFrame(s.Conn, f); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (s *wsServer) Read(p []byte) (int, error) {
	for s.left == 0 {
		h, err := ws.ReadHeader(s.Conn)
		switch {
		case err != nil:
			return 0, err
		case !h.Masked:
			return 0, errors.New("a frame from the client that is not masked")
		case h.OpCode == ws.OpBinary:
			s.left, s.mask, s.at = h.Length, h.Mask, 0
			continue
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(s.Conn, payload); err != nil {
			return 0, err
		}
		if ws.Cipher(payload, h.Mask, 0); h.OpCode == ws.OpPong && string(payload) == "still there?" {
			s.pongs++
			continue
		}
		if h.OpCode == ws.OpClose {
			return 0, io.EOF
		}
		return 0, errors.New("a frame that is neither binary nor a right answer")
	}
	n, err := s.Conn.Read(p[:min(int64(len(p)), s.left)])
	ws.Cipher(p[:n], s.mask, s.at)
	s.at, s.left = s.at+n, s.left-int64(n)
	return n, err
}

// TestWebSocket connects over ws and wss to a server that cuts its frames, sends pings and a large message.
func TestWebSocket(t *testing.T) {
	cert, pool := certificate(t)
	for _, scheme := range []string{"ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			f := newFake(t, mqtt.V5)
			messages := make(chan *client.Message, 1)
			var c *client.Client
			connected := background(func() (err error) {
				c, err = client.Connect(testContext(t), scheme+f.url()[len("mqtt"):]+"/there?a=b", client.Options{
					TLS: &tls.Config{ServerName: "localhost", RootCAs: pool}, OnMessage: func(m *client.Message) { messages <- m }})
				return err
			})
			p := f.accept()
			if scheme == "wss" {
				p.conn = tls.Server(p.conn, &tls.Config{Certificates: []tls.Certificate{cert}})
			}
			path := ""
			u := ws.Upgrader{Protocol: func(p []byte) bool { return string(p) == "mqtt" },
				OnRequest: func(uri []byte) error { path = string(uri); return nil }}
			if hs, err := u.Upgrade(p.conn); err != nil || hs.Protocol != "mqtt" || path != "/there?a=b" {
				t.Fatalf("the upgrade for %q, protocol %q: %v [MQTT-6.0.0-3]", path, hs.Protocol, err)
			}
			s := &wsServer{Conn: p.conn}
			p.conn = s
			p.expect(mqtt.CONNECT)
			p.send(&mqtt.Connack{})
			if err := await(t, "Connect", connected); err != nil {
				t.Fatal(err)
			}
			large := bytes.Repeat([]byte("0123456789"), 20_000)
			p.send(&mqtt.Publish{Topic: []byte("a"), Payload: large})
			if m := receive(t, messages, 1)[0]; !bytes.Equal(m.Payload, large) {
				t.Errorf("%d bytes arrived", len(m.Payload))
			}
			published := background(func() error { return c.PublishAsync(testContext(t), &client.Message{Topic: "b", Payload: large}, nil) })
			p.expect(mqtt.PUBLISH)
			if err := await(t, "PublishAsync", published); err != nil {
				t.Error(err)
			}
			if s.pongs != 2 {
				t.Errorf("%d pongs before the PUBLISH, want 2", s.pongs)
			}
			ended := background(func() error { return c.Disconnect(testContext(t)) })
			p.expectDisconnect(mqtt.NormalDisconnection)
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("after DISCONNECT: %v, want a close frame", err)
			}
			p.conn.Close()
			if err := await(t, "Disconnect", ended); err != nil {
				t.Error(err)
			}
			await(t, "the end", c.Done())
		})
	}
}

// TestWebSocketRefused: a server that is none says so in HTTP, or not at all.
func TestWebSocketRefused(t *testing.T) {
	f := newFake(t, mqtt.V5)
	try := func(o client.Options) <-chan error {
		return background(func() error {
			_, err := client.Connect(testContext(t), "ws"+f.url()[len("mqtt"):], o)
			return err
		})
	}
	connected := try(client.Options{})
	p := f.accept()
	if _, err := io.WriteString(p.conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := await(t, "Connect", connected); err == nil || !strings.Contains(err.Error(), "404") || !strings.Contains(err.Error(), "/mqtt") {
		t.Errorf("404: %v", err)
	}
	connected = try(client.Options{ConnectTimeout: 50 * time.Millisecond})
	f.accept()
	if err := await(t, "Connect", connected); err == nil {
		t.Error("no answer, but no error")
	}
}

// TestWebSocketMosquitto is against a server that others wrote.
func TestWebSocketMosquitto(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	mosquitto.Start(t, "listener "+port+" 127.0.0.1", "protocol websockets")
	messages := make(chan *client.Message, 10)
	c, err := client.Connect(testContext(t), "ws://"+addr, client.Options{OnMessage: func(m *client.Message) { messages <- m }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Subscribe(testContext(t), client.Subscription{Filter: "a/#", QoS: 2}); err != nil {
		t.Fatal(err)
	}
	large := bytes.Repeat([]byte("0123456789"), 10_000)
	for qos := range byte(3) {
		if _, err := c.Publish(testContext(t), &client.Message{Topic: "a/b", Payload: large, QoS: qos}); err != nil {
			t.Fatal(err)
		}
		if m := receive(t, messages, 1)[0]; !bytes.Equal(m.Payload, large) || m.QoS != qos {
			t.Errorf("QoS %d: %d bytes with QoS %d", qos, len(m.Payload), m.QoS)
		}
	}
	if err := c.Disconnect(testContext(t)); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
}
