package attack

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Attacks on what lies between the socket and MQTT.

// layerDrop is one that a broker without flags ends by itself.
type layerDrop struct {
	name, scheme string
	// open opens the connection; who is what the log calls it by.
	open func(t *testing.T, p layered, scheme string) (c net.Conn, who string)
	send []byte
	// trickle is sent after that, a byte a second.
	trickle  []byte
	from, to time.Duration
	reason   string
}

func port(c net.Conn) string {
	_, port, _ := strings.Cut(c.LocalAddr().String(), ":")
	return ":" + port
}

func bare(t *testing.T, p layered, scheme string) (net.Conn, string) {
	c := p.socket(t, scheme, false)
	return c, port(c)
}

func shaken(t *testing.T, p layered, scheme string) (net.Conn, string) {
	c, _ := p.through(t, scheme, false)
	return c.Conn, port(c)
}

// below is the layer under the outermost one, after all handshakes: where frames or records are made by hand.
func below(t *testing.T, p layered, scheme string) (net.Conn, string) {
	c, raw := p.through(t, scheme, false)
	return raw, port(c)
}

// inside is a client that has logged in, as one who makes frames by hand.
func inside(l login) func(t *testing.T, p layered, scheme string) (net.Conn, string) {
	return func(t *testing.T, p layered, scheme string) (net.Conn, string) {
		l.id = fmt.Sprintf("inside-%d", bystanderNumber.Add(1))
		_, raw := p.login(t, scheme, false, l)
		return raw, "Client " + l.id + " ["
	}
}

func layerDrops(hello []byte) []layerDrop {
	v5 := login{v5: true}
	part := publish5("t", 0, 0, nil, make([]byte, 100))[:50]
	connectIn, at := "no CONNECT in time", []time.Duration{9 * second, 13 * second}
	return []layerDrop{
		{name: "no TLS handshake", scheme: "mqtts", open: bare, from: at[0], to: at[1], reason: connectIn},
		{name: "half a ClientHello", scheme: "mqtts", open: bare, send: hello[:len(hello)/2], from: at[0], to: at[1], reason: connectIn},
		{name: "a ClientHello at a byte a second", scheme: "wss", open: bare, trickle: hello, from: at[0], to: at[1], reason: connectIn},
		{name: "a ClientHello and no more", scheme: "mqtts", open: bare, send: hello, from: at[0], to: at[1], reason: connectIn},
		{name: "MQTT without TLS", scheme: "mqtts", open: bare, send: login{id: "x"}.packet(), to: 2 * second, reason: "tls"},
		{name: "a TLS record of 64 KB", scheme: "mqtts", open: bare, send: append([]byte{22, 3, 1, 0xFF, 0xFF}, make([]byte, 0xFFFF)...), to: 2 * second, reason: "tls"},
		{name: "a handshake message of 16 MB", scheme: "mqtts", open: bare, send: append([]byte{22, 3, 1, 0x3F, 0xFF, 1, 0xFF, 0xFF, 0xFF}, make([]byte, 0x3FFB)...), to: 2 * second, reason: "tls"},
		{name: "nothing behind the TLS handshake", scheme: "mqtts", open: shaken, from: at[0], to: at[1], reason: connectIn},
		{name: "garbage records behind the TLS handshake", scheme: "mqtts", open: below, send: append([]byte{23, 3, 3, 0, 200}, make([]byte, 200)...), to: 2 * second, reason: "tls"},
		{name: "a client's garbage records", scheme: "mqtts", open: inside(v5), send: append([]byte{23, 3, 3, 0, 200}, make([]byte, 200)...), to: 2 * second, reason: "tls"},
		{name: "clear text behind the TLS handshake", scheme: "wss", open: func(t *testing.T, p layered, scheme string) (net.Conn, string) {
			c := p.socket(t, scheme, false)
			p.secure(t, c, 0)
			return c, port(c)
		}, send: []byte(upgradeRequest), to: 2 * second, reason: "tls"},

		{name: "no HTTP request", scheme: "ws", open: bare, from: at[0], to: at[1], reason: connectIn},
		{name: "half an HTTP request", scheme: "ws", open: bare, send: []byte(upgradeRequest[:100]), from: at[0], to: at[1], reason: connectIn},
		{name: "an HTTP request at a byte a second", scheme: "ws", open: bare, trickle: []byte(upgradeRequest), from: at[0], to: at[1], reason: connectIn},
		{name: "headers without end", scheme: "ws", open: bare, send: []byte(upgradeRequest[:len(upgradeRequest)-2] + strings.Repeat("X: y\r\n", 200_000)), to: 2 * second, reason: "too long"},
		{name: "one header of 1 MB", scheme: "ws", open: bare, send: []byte(upgradeRequest[:len(upgradeRequest)-2] + "X: " + strings.Repeat("y", mb)), to: 2 * second, reason: "too long"},
		{name: "a web page", scheme: "ws", open: bare, send: []byte("GET / HTTP/1.1\r\nHost: broker\r\n\r\n"), to: 2 * second, reason: "not a WebSocket request"},
		{name: "MQTT without WebSocket", scheme: "ws", open: bare, send: login{id: "x"}.packet(), to: 2 * second, reason: "not HTTP"},
		{name: "nothing behind the upgrade", scheme: "ws", open: shaken, from: at[0], to: at[1], reason: connectIn},
		{name: "nothing behind both handshakes", scheme: "wss", open: shaken, from: at[0], to: at[1], reason: connectIn},
		{name: "a frame of 2^62 bytes that does not come", scheme: "ws", open: below, send: wsHead(0x82, 1<<62), from: at[0], to: at[1], reason: connectIn},
		{name: "a frame of 2^63 bytes", scheme: "ws", open: below, send: wsHead(0x82, 1<<63), to: 2 * second, reason: "WebSocket"},
		{name: "garbage frames", scheme: "ws", open: inside(v5), send: bytes.Repeat([]byte{0xFF}, 1000), to: 2 * second, reason: "WebSocket"},
		{name: "a ping of 64 KB", scheme: "ws", open: inside(v5), send: wsFrame(0x89, make([]byte, 0xFFFF)), to: 2 * second, reason: "control frame"},
		{name: "empty frames of a message without end", scheme: "ws", open: below, send: append(wsFrame(0x02, nil), bytes.Repeat(wsFrame(0x00, nil), 10_000)...), from: at[0], to: at[1], reason: connectIn},
		{name: "a packet of 268,435,455 bytes in a frame that fits", scheme: "wss", open: inside(v5), send: append(wsHead(0x82, 268_435_460), append([]byte{0x30}, huge...)...), to: 2 * second, reason: "too large"},
		{name: "half a PUBLISH in frames of a byte", scheme: "ws", open: inside(v5), send: frames(part), from: 18 * second, to: 24 * second, reason: "not completed in time"},
		{name: "half a PUBLISH in a frame, and pings", scheme: "ws", open: inside(v5), send: append(wsFrame(0x82, part), bytes.Repeat(wsFrame(0x89, nil), 1000)...), from: 18 * second, to: 24 * second, reason: "not completed in time"},
		{name: "pings of WebSocket instead of MQTT's", scheme: "ws", open: inside(login{v5: true, keepAlive: 2}), trickle: bytes.Repeat(wsFrame(0x89, nil), 10), from: 2 * second, to: 5 * second, reason: "keep alive"},
	}
}

// frames puts each byte into a frame of its own.
func frames(p []byte) (all []byte) {
	for i := range p {
		all = append(all, wsFrame(0x82, p[i:i+1])...)
	}
	return all
}

// clientHello records what a client of crypto/tls sends first.
func clientHello(t *testing.T) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { _ = tls.Client(a, &tls.Config{ServerName: "127.0.0.1", InsecureSkipVerify: true}).Handshake() }() // ends when a is closed
	p := make([]byte, 4096)
	_ = b.SetReadDeadline(time.Now().Add(patience))
	n, err := b.Read(p)
	if err != nil {
		t.Fatal(err)
	}
	return p[:n]
}

// TestLayerLimits lets the limits work that stand without any flag, as TestDefaultLimits does for plain connections.
func TestLayerLimits(t *testing.T) {
	hello := clientHello(t)
	onBoth(t, func(t *testing.T, engine string) {
		t.Parallel()
		p := startLayered(t, options{engine: engine})
		check, memory := bystanders(t, p.process), p.bounded(60*mb)
		var wait []func(t *testing.T)
		for _, d := range layerDrops(hello) {
			wait = append(wait, d.begin(t, p))
		}
		for i, d := range layerDrops(hello) {
			t.Run(d.name, wait[i])
		}
		check()
		memory()
	})
}

// begin starts the attack; the returned function waits for its end and judges it.
func (d *layerDrop) begin(t *testing.T, p layered) (wait func(t *testing.T)) {
	c, who := d.open(t, p, d.scheme)
	began := time.Now()
	go func() {
		_, _ = c.Write(d.send) // it may be closed meanwhile: what the test waits for
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for i := range d.trickle {
			<-tick.C
			if _, err := c.Write(d.trickle[i : i+1]); err != nil {
				return
			}
		}
	}()
	type end struct {
		took time.Duration
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		_ = c.SetReadDeadline(began.Add(d.to))
		_, err := io.Copy(io.Discard, c)
		ended <- end{time.Since(began), err}
	}()
	return func(t *testing.T) {
		e := <-ended
		if errors.Is(e.err, os.ErrDeadlineExceeded) {
			t.Fatalf("still open after %v", d.to)
		}
		if e.took < d.from {
			t.Errorf("dropped after %v already; a slow client has %v", e.took, d.from)
		}
		p.log.await(t, patience, who, d.reason)
	}
}

// Handshakes of many who never finish them do not keep others from theirs.
func TestHandshakeStorm(t *testing.T) {
	hello := clientHello(t)
	onBoth(t, func(t *testing.T, engine string) {
		p := startLayered(t, options{engine: engine})
		check, memory := bystanders(t, p.process), p.bounded(100*mb)
		for range 500 {
			c := p.socket(t, "mqtts", false)
			_, _ = c.Write(hello)
		}
		began := time.Now()
		for i, scheme := range []string{"mqtts", "wss", "ws"} {
			c, _ := p.login(t, scheme, false, login{id: fmt.Sprint("late-", i)})
			c.send(pingreq)
			c.expect(tPingresp)
		}
		took := time.Since(began)
		t.Logf("three clients came in within %v", took.Round(time.Millisecond))
		if took > 3*noticed {
			t.Errorf("beside 500 unfinished handshakes three clients took %v to log in", took)
		}
		check()
		memory()
	})
}

// A client of TLS 1.2 that wants to negotiate anew is closed.
func TestRenegotiation(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatalf("openssl is missing; Debian's openssl brings it: run test/install.sh (%v)", err)
	}
	onBoth(t, func(t *testing.T, engine string) {
		p := startLayered(t, options{engine: engine})
		check := bystanders(t, p.process)
		cmd := exec.Command("openssl", "s_client", "-connect", p.at("mqtts"), "-tls1_2", "-legacy_renegotiation")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out := newRecord()
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() // how openssl likes it does not matter
			close(ended)
		}()
		out.await(t, patience, "Verify return code")
		_, _ = io.WriteString(stdin, "R\n")
		select {
		case <-ended:
		case <-time.After(5 * second):
			_ = cmd.Process.Kill()
			<-ended
			t.Errorf("still open 5 s after the wish:\n%s", out)
		}
		if text := out.String(); !strings.Contains(text, "RENEGOTIATING") {
			t.Errorf("openssl did not try:\n%s", text)
		}
		check()
	})
}

// A client that sends pings and reads no pong costs a bounded amount of memory, whichever kind of ping it is.
func TestPingsNobodyReads(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		for _, scheme := range []string{"ws", "wss"} {
			for name, packets := range map[string][]byte{
				"WebSocket": bytes.Repeat(wsFrame(0x89, make([]byte, 125)), 100), "MQTT": bytes.Repeat(wsFrame(0x82, pingreq), 100),
				"frames of nothing": bytes.Repeat(wsFrame(0x82, nil), 1000),
			} {
				t.Run(scheme+"/"+name, func(t *testing.T) {
					p := startLayered(t, options{engine: engine, args: []string{"--max-outbox-bytes", "65536", "--max-packet-size", "65536"}})
					check, memory := bystanders(t, p.process), p.bounded(40*mb)
					_, raw := p.login(t, scheme, true, login{id: "deaf"})
					sent := (&peer{t: t, Conn: raw}).flood(packets, second)
					t.Logf("took %d MB", sent/mb)
					check()
					memory()
				})
			}
		}
	})
}

// A subscriber that does not read costs at most its outbox, also through the layers. What it misses is counted and logged.
func TestSlowConsumerLayers(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		for _, scheme := range schemes {
			for _, size := range []int{1000, 500_000} {
				t.Run(fmt.Sprintf("%s/%d", scheme, size), func(t *testing.T) {
					p := startLayered(t, options{engine: engine, args: []string{"--sys-interval", "200ms"}})
					check, memory := bystanders(t, p.process), p.bounded(60*mb)
					slow, _ := p.login(t, scheme, true, login{id: "slow"})
					slow.send(subscribe(1, 0, "fast/#"))
					slow.expect(tSuback)
					pub, _ := p.login(t, scheme, false, login{id: "fast"})
					sent := pub.flood(publish("fast/news", 0, 0, make([]byte, size)), second)
					t.Logf("published %d MB", sent/mb)
					check()
					memory()
					sysFigure(t, p.process, "publish/messages/dropped", func(n int) bool { return n > int(sent)/size/2 })
					p.log.await(t, patience, "messages dropped", "client=slow", "outbox full")
				})
			}
		}
	})
}

// A message in frames of a byte each arrives whole, and pings between its fragments are answered.
func TestFragments(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		p := startLayered(t, options{engine: engine, race: true})
		check, memory := bystanders(t, p.process), p.bounded(60*mb)
		sub := connect(t, p.process, login{id: "sub"})
		sub.subscribe(false, 0, "fragments")
		for _, scheme := range []string{"ws", "wss"} {
			_, raw := p.login(t, scheme, false, login{id: "pub-" + scheme})
			want := bytes.Repeat([]byte("0123456789"), 2000)
			packet := publish("fragments", 0, 0, want)
			sent := wsFrame(0x02, nil)
			for i := range packet {
				if i%100 == 0 {
					sent = append(sent, wsFrame(0x89, []byte("p"))...)
				}
				sent = append(sent, wsFrame(0x00, packet[i:i+1])...)
			}
			(&peer{t: t, Conn: raw}).send(append(sent, wsFrame(0x80, nil)...))
			if got := sub.message("fragments"); got != string(want) {
				t.Errorf("%s: %d bytes arrived, want %d equal ones", scheme, len(got), len(want))
			}
		}
		check()
		memory()
	})
}
