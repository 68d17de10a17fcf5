package attack

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// Packet types, as the first byte's high nibble.
const (
	tConnack    = 2
	tPublish    = 3
	tPuback     = 4
	tPubrec     = 5
	tPubcomp    = 7
	tSuback     = 9
	tPingresp   = 13
	tDisconnect = 14
)

// frame puts a fixed header before a body.
func frame(first byte, body ...[]byte) []byte {
	n := 0
	for _, b := range body {
		n += len(b)
	}
	out := varint([]byte{first}, n)
	for _, b := range body {
		out = append(out, b...)
	}
	return out
}

func varint(dst []byte, n int) []byte {
	for n >= 128 {
		dst = append(dst, byte(n)|128)
		n >>= 7
	}
	return append(dst, byte(n))
}

func text(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

func u16(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }

// properties puts the length before encoded properties.
func properties(p ...byte) []byte { return append(varint(nil, len(p)), p...) }

// login is what a CONNECT says.
type login struct {
	id        string
	v5        bool
	keepAlive int
	persist   bool   // not a clean session; on MQTT 5 with the given expiry
	props     []byte // MQTT 5, encoded
	will      string // topic of a will with the payload "will"
}

func (l login) packet() []byte {
	level, flags := byte(4), byte(2)
	if l.persist {
		flags = 0
	}
	if l.will != "" {
		flags |= 4
	}
	var props, will []byte
	if l.v5 {
		level = 5
		p := l.props
		if l.persist {
			p = append([]byte{0x11, 0, 0, 0x0E, 0x10}, p...)
		}
		props = properties(p...)
	}
	if l.will != "" {
		if l.v5 {
			will = properties()
		}
		will = append(append(will, text(l.will)...), text("will")...)
	}
	return frame(0x10, text("MQTT"), []byte{level, flags}, u16(l.keepAlive), props, text(l.id), will)
}

// publish encodes a PUBLISH of MQTT 3; publish5 one of MQTT 5.
func publish(topic string, qos byte, id int, payload []byte) []byte {
	if qos == 0 {
		return frame(0x30, text(topic), payload)
	}
	return frame(0x30|qos<<1, text(topic), u16(id), payload)
}

func publish5(topic string, qos byte, id int, props, payload []byte) []byte {
	var pid []byte
	if qos > 0 {
		pid = u16(id)
	}
	return frame(0x30|qos<<1, text(topic), pid, properties(props...), payload)
}

// subscribe encodes a SUBSCRIBE of MQTT 3, subscribe5 one of MQTT 5.
func subscribe(id int, qos byte, filters ...string) []byte {
	return subscribeWith(nil, id, qos, filters)
}

func subscribe5(id int, qos byte, filters ...string) []byte {
	return subscribeWith(properties(), id, qos, filters)
}

func subscribeWith(props []byte, id int, qos byte, filters []string) []byte {
	var b []byte
	for _, f := range filters {
		b = append(append(b, text(f)...), qos)
	}
	return frame(0x82, u16(id), props, b)
}

var pingreq = []byte{0xC0, 0}

// peer is one raw connection to the broker.
type peer struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

// dial opens a connection and sends nothing.
func dial(t *testing.T, p *process) *peer {
	t.Helper()
	c, err := net.DialTimeout("tcp", p.addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &peer{t, c, bufio.NewReaderSize(c, 64<<10)}
}

// connect opens a connection and goes as far as CONNACK, which must accept.
func connect(t *testing.T, p *process, l login) *peer {
	t.Helper()
	c := dial(t, p)
	c.send(l.packet())
	if ack := c.expect(tConnack); ack[1] != 0 {
		t.Fatalf("CONNACK refuses %q with %#x", l.id, ack[1])
	}
	return c
}

func (c *peer) send(packets ...[]byte) {
	c.t.Helper()
	for _, p := range packets {
		if _, err := c.Write(p); err != nil {
			c.t.Fatalf("%s: writing: %v", c.LocalAddr(), err)
		}
	}
}

// read returns the next packet: its first byte and its body.
func (c *peer) read() (first byte, body []byte, err error) {
	if first, err = c.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(c.r)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(c.r, body)
	return first, body, err
}

// expect returns the body of the next packet of a type, passing over others, within patience.
func (c *peer) expect(packetType byte) []byte {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	for {
		first, body, err := c.read()
		if err != nil {
			c.t.Fatalf("%s: waiting for packet type %d: %v", c.LocalAddr(), packetType, err)
		}
		if first>>4 == packetType {
			return body
		}
	}
}

// subscribe subscribes and waits for the SUBACK.
func (c *peer) subscribe(v5 bool, qos byte, filters ...string) {
	c.t.Helper()
	if v5 {
		c.send(subscribe5(1, qos, filters...))
	} else {
		c.send(subscribe(1, qos, filters...))
	}
	if ack := c.expect(tSuback); ack[len(ack)-1] > 2 {
		c.t.Fatalf("SUBACK refuses: %x", ack)
	}
}

// message waits for a PUBLISH on a topic and returns its payload (MQTT 3, QoS 0).
func (c *peer) message(topic string) string {
	c.t.Helper()
	for {
		body := c.expect(tPublish)
		n := int(binary.BigEndian.Uint16(body))
		if string(body[2:2+n]) == topic {
			return string(body[2+n:])
		}
	}
}

// awaitEnd reads until the broker closes the connection and returns the last packet (nil: none came) and how long it took.
func (c *peer) awaitEnd(within time.Duration) (last []byte, took time.Duration, err error) {
	began := time.Now()
	_ = c.SetReadDeadline(began.Add(within))
	for {
		first, body, err := c.read()
		if err == nil {
			last = append([]byte{first}, body...)
			continue
		}
		took = time.Since(began)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return last, took, fmt.Errorf("still open after %v", within)
		}
		return last, took, nil // EOF or a reset: closed either way
	}
}

// port is the connection's own, as it stands in the broker's log.
func (c *peer) port() string {
	_, port, _ := strings.Cut(c.LocalAddr().String(), ":")
	return ":" + port
}
