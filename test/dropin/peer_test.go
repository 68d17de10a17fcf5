//go:build linux

package dropin

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	mqtt "github.com/nightjar-mqtt/nightjar/test/conformance"
)

// catchUp is how long a packet is waited for that the other broker has sent.
const catchUp = 3 * time.Second

// peer is a client in a conversation.
type peer struct {
	s       *speaker
	name    string
	conn    net.Conn // nil: not connected
	r       *bufio.Reader
	version mqtt.Version
	lastID  uint16
	greeted bool // CONNACK has come
	holds   bool
	held    []*mqtt.Packet // not acknowledged
	acked   bool           // something was acknowledged since the last PINGREQ
	secure  bool
	quiet   bool // what comes is kept in backlog, for until
	backlog []string
}

func (p *peer) note(format string, args ...any) { p.s.note(p.name, format, args...) }

func (p *peer) id() uint16 {
	p.lastID++
	return p.lastID
}

func (p *peer) close() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}

// connect opens a connection as the words say, and takes the answer to CONNECT.
func (p *peer) connect(line string, w *lineWords) {
	p.s.t.Helper()
	p.close()
	p.lastID, p.greeted, p.held, p.holds, p.secure = 0, false, nil, false, w.has("tls")
	conn, err := p.dial(w)
	if err != nil {
		p.note("%v", err)
		return
	}
	p.conn, p.r = conn, bufio.NewReader(conn)
	c := p.packet(w)
	p.version = c.Version
	p.must(line, c.check())
	p.send(c.Bytes())
	for p.conn != nil && !p.greeted {
		_ = p.take(time.Now().Add(patience)) // it notes what happens
	}
}

type connect struct{ mqtt.Connect }

func (c connect) check() error {
	if c.Version&0x7f < 3 || c.Version&0x7f > 5 {
		return fmt.Errorf("there is no version %d", c.Version)
	}
	return nil
}

// packet is the CONNECT that the words describe.
func (p *peer) packet(w *lineWords) connect {
	c := mqtt.Connect{Version: mqtt.Version(w.number("v", 4)), ClientID: w.values["id"], Clean: w.number("clean", 1) == 1,
		KeepAlive: uint16(w.number("keepalive", 0))}
	if w.has("user") {
		name := w.values["user"]
		c.Username = &name
	}
	if w.has("pass") {
		password := w.values["pass"]
		c.Password = &password
	}
	for key, id := range map[string]byte{"expiry": mqtt.PropSessionExpiry, "receive": mqtt.PropReceiveMaximum,
		"alias": mqtt.PropTopicAliasMaximum, "packet": mqtt.PropMaximumPacketSize} {
		if w.has(key) {
			c.Props = append(c.Props, mqtt.Prop{ID: id, Int: uint32(w.number(key, 0))})
		}
	}
	if parts := strings.Split(w.values["will"], "|"); len(parts) == 4 { // TOPIC|PAYLOAD|QOS|RETAIN
		qos, _ := strconv.Atoi(parts[2])
		c.Will = &mqtt.Will{Topic: parts[0], Payload: parts[1], QoS: byte(qos), Retain: parts[3] == "1"}
		if w.has("willdelay") {
			c.Will.Props = append(c.Will.Props, mqtt.Prop{ID: mqtt.PropWillDelay, Int: uint32(w.number("willdelay", 0))})
		}
	}
	if w.has("bit") { // a bridge's CONNECT
		c.Version |= 0x80
	}
	return connect{c}
}

// dial goes through the handshakes. The error is what a conversation notes.
func (p *peer) dial(w *lineWords) (net.Conn, error) {
	network, host, port := "tcp", "127.0.0.1", w.number("port", 1)
	if w.has("host") {
		host = w.values["host"]
	}
	address := net.JoinHostPort(host, strconv.Itoa(p.s.d.ports[port-1]))
	if w.has("unix") {
		network, address = "unix", filepath.Join(p.s.d.dir, w.values["unix"])
	}
	conn, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return nil, errors.New("cannot connect")
	}
	if w.has("tls") {
		secured := tls.Client(conn, p.secrets(w))
		_ = conn.SetDeadline(time.Now().Add(patience))
		if err := secured.Handshake(); err != nil {
			_ = conn.Close()
			return nil, errors.New("is refused by TLS")
		}
		_ = conn.SetDeadline(time.Time{})
		conn = secured
	}
	if w.has("ws") {
		var protocols []string
		if name := w.values["ws"]; name != "" {
			protocols = strings.Split(name, ",")
		}
		framed, err := mqtt.OpenWebSocket(conn, protocols...)
		if err != nil {
			_ = conn.Close()
			return nil, errors.New("is refused by WebSocket")
		}
		return framed, nil
	}
	return conn, nil
}

// secrets is what the words say of TLS: cert=NAME, and min and max, 12 or 13.
func (p *peer) secrets(w *lineWords) *tls.Config {
	p.s.t.Helper()
	in := func(name string) string { return filepath.Join(certificates(p.s.t), name) }
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(in("ca.crt"))
	p.must("", err)
	roots.AppendCertsFromPEM(pem)
	c := &tls.Config{RootCAs: roots, ServerName: "localhost", MaxVersion: tls.VersionTLS13}
	versions := map[string]uint16{"11": tls.VersionTLS11, "12": tls.VersionTLS12, "13": tls.VersionTLS13}
	if w.has("max") {
		c.MaxVersion = versions[w.values["max"]]
	}
	if w.has("min") {
		c.MinVersion = versions[w.values["min"]]
	}
	if name := w.values["cert"]; name != "" {
		pair, err := tls.LoadX509KeyPair(in(name+".crt"), in(name+".key"))
		p.must("", err)
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return c
}

func (p *peer) send(b []byte) {
	if p.conn == nil {
		return
	}
	_ = p.conn.SetWriteDeadline(time.Now().Add(patience))
	_, _ = p.conn.Write(b) // reading tells that it is closed
}

var errPong = errors.New("PINGRESP")

// take takes the next packet, acknowledges and notes it. errPong: it was a PINGRESP, which is not noted.
func (p *peer) take(deadline time.Time) (err error) {
	_ = p.conn.SetReadDeadline(deadline)
	pkt, err := mqtt.ReadPacket(p.r, p.version)
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		if !p.greeted {
			p.note("no answer")
			p.close()
		}
		return err
	case p.secure && !p.greeted:
		p.note("is refused by TLS") // in TLS 1.3 a client's certificate is refused after the handshake
		p.close()
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		p.note("closed")
		p.close()
		return err
	default:
		p.note("sends what is not MQTT")
		p.s.t.Logf("%s to %s: %v", p.s.d.name, p.name, err)
		p.close()
		return err
	}
	p.greeted = true
	if pkt.Type == mqtt.PINGRESP {
		return errPong
	}
	if p.quiet {
		p.backlog = append(p.backlog, text(pkt))
	} else {
		p.note("%s", text(pkt))
	}
	p.answer(pkt)
	return nil
}

// answer goes on with the flow that a packet belongs to.
func (p *peer) answer(pkt *mqtt.Packet) {
	switch {
	case pkt.Type == mqtt.PUBLISH && pkt.QoS == 0, pkt.Type == mqtt.PUBREC && pkt.Code >= 0x80:
	case pkt.Type == mqtt.PUBREC:
		p.acknowledge(mqtt.PUBREL, pkt.ID)
	case pkt.Type == mqtt.PUBLISH, pkt.Type == mqtt.PUBREL:
		if p.holds {
			p.held = append(p.held, pkt)
			return
		}
		p.confirm(pkt)
	}
}

func (p *peer) confirm(pkt *mqtt.Packet) {
	switch {
	case pkt.Type == mqtt.PUBREL:
		p.acknowledge(mqtt.PUBCOMP, pkt.ID)
	case pkt.QoS == 1:
		p.acknowledge(mqtt.PUBACK, pkt.ID)
	case pkt.QoS == 2:
		p.acknowledge(mqtt.PUBREC, pkt.ID)
	}
}

func (p *peer) acknowledge(typ byte, id uint16) {
	p.acked = true
	p.send(mqtt.Ack(typ, id))
}

func (p *peer) acknowledgeHeld() {
	for _, pkt := range p.held {
		p.confirm(pkt)
	}
	p.held = nil
}

// sync takes everything that the broker has sent, at least as many packets as the other one did.
func (p *peer) sync(atLeast int) {
	for again := true; again && p.conn != nil; {
		p.acked = false
		p.ping()
		again = p.acked
	}
	if p.conn == nil || len(p.s.got[p.name]) >= atLeast {
		return
	}
	p.waitFor(atLeast, catchUp)
	p.ping()
}

// ping takes all up to the answer to a PINGREQ.
func (p *peer) ping() {
	if p.conn == nil {
		return
	}
	p.send(mqtt.Ping)
	deadline := time.Now().Add(patience)
	for p.conn != nil {
		switch err := p.take(deadline); {
		case errors.Is(err, errPong):
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			p.note("does not answer PINGREQ")
			p.close()
		}
	}
}

// waitFor takes packets until there are n for this line, or time is over.
func (p *peer) waitFor(n int, within time.Duration) {
	deadline := time.Now().Add(within)
	for p.conn != nil && len(p.s.got[p.name]) < n {
		if err := p.take(deadline); errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

// until waits for a packet that matches, and notes it.
func (p *peer) until(re *regexp.Regexp) {
	deadline := time.Now().Add(patience)
	for {
		for i, s := range p.backlog {
			if re.MatchString(s) {
				p.note("%s", s)
				p.backlog = append(p.backlog[:i], p.backlog[i+1:]...)
				return
			}
		}
		if p.conn == nil || errors.Is(p.take(deadline), os.ErrDeadlineExceeded) {
			p.note("nothing comes that matches, but %q", p.backlog)
			return
		}
	}
}

// untilClosed takes packets until the broker closes the connection.
func (p *peer) untilClosed() {
	deadline := time.Now().Add(patience)
	for p.conn != nil {
		if err := p.take(deadline); errors.Is(err, os.ErrDeadlineExceeded) {
			p.note("stays open")
			p.close()
		}
	}
}

// drop closes the sending direction without DISCONNECT, and waits until the broker has seen it.
func (p *peer) drop() {
	if c, ok := p.conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // the broker may have closed
		p.untilClosed()
	}
	p.close()
}
