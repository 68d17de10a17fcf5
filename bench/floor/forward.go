package main

import (
	"encoding/binary"
	"errors"
	"strings"
	"sync"

	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// floor is the forwarder: who has subscribed to what, and per loop the connections to flush.
type floor struct {
	engine netloop.Engine
	dirty  []slot

	mu   sync.RWMutex
	subs map[string][]*conn // by filter
}

type slot struct {
	conns []netloop.Conn
	_     [40]byte // loops do not share a cache line
}

func newFloor(loops int) (*floor, error) {
	f := &floor{subs: map[string][]*conn{}}
	var err error
	f.engine, err = netloop.New(netloop.Options{Loops: loops, EndTurn: f.endTurn})
	if err != nil {
		return nil, err
	}
	f.dirty = make([]slot, f.engine.Loops())
	return f, nil
}

func (f *floor) endTurn(loop int, _ int64) {
	d := &f.dirty[loop]
	for i, c := range d.conns {
		d.conns[i] = nil
		c.Flush()
	}
	d.conns = d.conns[:0]
}

// conn is one connection: a subscriber, or a publisher once it has targets.
type conn struct {
	floor   *floor
	c       netloop.Conn
	filter  string
	targets []*conn
	routed  bool
	cut     bool // targets have several publishers: only whole packets may be forwarded
}

// The packets it knows, by their first byte.
const (
	connect    = 0x10
	publish    = 0x30
	subscribe  = 0x82
	pingreq    = 0xC0
	disconnect = 0xE0
)

var (
	connack  = []byte{0x20, 2, 0, 0}
	pingresp = []byte{0xD0, 0}
)

var errBadPacket = errors.New("floor: this is nothing that `nightjar bench` sends with QoS 0 and MQTT 3.1.1")

// Data forwards, or reads the packets that come before there is something to forward.
func (c *conn) Data(loop int, _ int64, p []byte) (n, need int, again bool) {
	for n < len(p) {
		if c.routed && !(len(p) == 2 && p[0] == disconnect) {
			return n + c.forward(loop, p[n:]), 0, false
		}
		head, size := packet(p[n:])
		if size == 0 || n+size > len(p) && p[n] != publish {
			return n, size, false
		}
		if p[n] == publish {
			if !c.route(p[n+head:]) {
				return n, size, false
			}
			continue
		}
		c.answer(loop, p[n], p[n+head:n+size])
		n += size
	}
	return n, 0, false
}

// packet returns the length of the fixed header and of the packet, 0 if they are not known yet.
func packet(p []byte) (head, size int) {
	if len(p) < 2 {
		return 0, 0
	}
	v, k := binary.Uvarint(p[1:min(len(p), 5)])
	if k <= 0 {
		return 0, 0
	}
	return 1 + k, 1 + k + int(v)
}

func (c *conn) answer(loop int, first byte, body []byte) {
	switch first {
	case connect:
		c.send(loop, connack)
	case subscribe:
		if len(body) < 5 {
			c.c.Close(errBadPacket)
			return
		}
		c.filter = string(body[4 : len(body)-1])
		c.floor.mu.Lock()
		c.floor.subs[c.filter] = append(c.floor.subs[c.filter], c)
		c.floor.mu.Unlock()
		c.send(loop, []byte{0x90, 3, body[0], body[1], 0})
	case pingreq:
		c.send(loop, pingresp)
	case disconnect:
		c.c.Close(nil)
	default:
		c.c.Close(errBadPacket)
	}
}

func (c *conn) send(loop int, p []byte) {
	if ok, wake := c.c.Out().Append(p); ok && wake {
		c.floor.dirty[loop].conns = append(c.floor.dirty[loop].conns, c.c)
	}
}

// route finds the subscribers of the topic at the beginning of body; false: it is not all here.
func (c *conn) route(body []byte) bool {
	if len(body) < 2 {
		return false
	}
	n := 2 + int(binary.BigEndian.Uint16(body))
	if len(body) < n {
		return false
	}
	topic := string(body[2:n])
	level := strings.LastIndexByte(topic, '/') + 1
	c.floor.mu.RLock()
	defer c.floor.mu.RUnlock()
	c.targets = append(c.targets, c.floor.subs[topic]...)
	if wild := c.floor.subs[topic[:level]+"+"]; len(wild) > 0 {
		c.targets = append(c.targets, wild...)
		c.cut = true
	}
	c.routed = true
	return true
}

// forward gives p to all targets and returns how much of it.
func (c *conn) forward(loop int, p []byte) (n int) {
	n = len(p)
	if c.cut {
		for n = 0; n < len(p); {
			_, size := packet(p[n:])
			if size == 0 || n+size > len(p) {
				break
			}
			n += size
		}
		if n == 0 {
			return 0
		}
	}
	d := &c.floor.dirty[loop]
	owned := n > minShared && len(c.targets) > 1
	whole := p[:n]
	if owned {
		whole = append([]byte(nil), whole...) // once for all of them
	}
	for _, t := range c.targets {
		if ok, wake := t.c.Out().AppendPublish(nil, -1, 0, whole, owned); ok && wake {
			d.conns = append(d.conns, t.c)
		}
	}
	return n
}

// minShared is the number of bytes from which on receivers share one copy.
const minShared = 16 << 10

// Closed forgets a subscriber.
func (c *conn) Closed(int, int64, error) {
	if c.filter == "" {
		return
	}
	f := c.floor
	f.mu.Lock()
	defer f.mu.Unlock()
	rest := make([]*conn, 0, len(f.subs[c.filter]))
	for _, s := range f.subs[c.filter] {
		if s != c {
			rest = append(rest, s)
		}
	}
	if len(rest) == 0 {
		delete(f.subs, c.filter)
		return
	}
	f.subs[c.filter] = rest
}

// Opened, Deadline and Drained have nothing to do.
func (c *conn) Opened(int, int64)   {}
func (c *conn) Deadline(int, int64) {}
func (c *conn) Drained(int, int64)  {}
