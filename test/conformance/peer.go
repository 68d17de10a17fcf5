package conformance

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// patience is how long a peer waits for a packet or a close that must come. Nothing waits that long when the broker
// conforms, so it is generous: the broker may run under the race detector beside other tests.
const patience = 10 * time.Second

// Peer is one raw connection to the broker. Packets are taken in the order they came; Await may take one out of turn.
type Peer struct {
	t       *T
	name    string
	conn    net.Conn
	r       *bufio.Reader
	version Version // how to decode what comes
	pending []*Packet
	nextID  uint16
	closed  bool
}

// Dial opens a connection and sends nothing.
func (t *T) Dial() *Peer {
	p := t.tryDial()
	if p == nil {
		t.Fatalf("dial %s: the broker closed the connection during the handshake", t.broker.Addr())
	}
	return p
}

// tryDial is Dial; nil if the broker closes during the handshakes of TLS and WebSocket.
func (t *T) tryDial() *Peer {
	dial := func() (net.Conn, error) { return OverTCP.dial(t.broker.Addr()) }
	if d, ok := t.broker.(dialer); ok {
		dial = d.Dial
	}
	conn, err := dial()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		t.Logf("dial: %v", err)
		return nil
	}
	if err != nil {
		t.Fatalf("dial %s: %v", t.broker.Addr(), err)
	}
	return t.peer(conn)
}

func (t *T) peer(conn net.Conn) *Peer {
	p := &Peer{t: t, name: fmt.Sprintf("peer%d", len(t.peers)+1), conn: conn, r: bufio.NewReader(conn), version: t.Version}
	t.peers = append(t.peers, p)
	return p
}

// Connect dials, sends the CONNECT (in the case's version unless c says another) and expects it to be accepted. Returned
// is the peer and the CONNACK.
func (t *T) Connect(c Connect) (*Peer, *Packet) {
	p := t.Dial()
	ack := p.Connect(c)
	if ack.Code != 0 {
		t.Fatalf("%s: CONNECT refused with code 0x%02x", p.name, ack.Code)
	}
	return p, ack
}

// Client connects with a fresh session and a unique client id.
func (t *T) Client() *Peer {
	p, _ := t.Connect(Connect{ClientID: t.ClientID(fmt.Sprintf("c%d", len(t.peers))), Clean: true})
	return p
}

// Session connects with a lasting session (clean session 0; in MQTT 5 with a session expiry interval of ten minutes),
// and continues one that is there.
func (t *T) Session(clientID string) (*Peer, *Packet) {
	return t.Connect(Connect{ClientID: clientID, Props: []Prop{{ID: PropSessionExpiry, Int: 600}}})
}

// Connect sends a CONNECT and returns the CONNACK, whatever its code.
func (p *Peer) Connect(c Connect) *Packet {
	if c.Version == 0 {
		c.Version = p.t.Version
	}
	p.version = c.Version
	p.Send(c.Bytes())
	return p.Expect(CONNACK)
}

// Send writes raw bytes. A connection that the broker has closed is not an error here: the next Expect tells.
func (p *Peer) Send(raw ...[]byte) {
	b := Cat(raw...)
	p.t.Logf("%s -> %s % x", p.name, typeNames[b[0]>>4], clip(b))
	_ = p.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := p.conn.Write(b); err != nil {
		p.t.Logf("%s    write: %v", p.name, err)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.t.Fatalf("%s: the broker read nothing for %v", p.name, patience)
		}
	}
}

// read takes the next packet off the socket. err is io.EOF for any orderly or abrupt close between packets.
func (p *Peer) read(deadline time.Time) (*Packet, error) {
	_ = p.conn.SetReadDeadline(deadline)
	pkt, err := readPacket(p.r, p.version)
	var bad badPacket
	switch {
	case err == nil:
		p.t.Logf("%s <- %s", p.name, pkt)
		return pkt, nil
	case errors.As(err, &bad):
		p.t.Fatalf("%s: %v", p.name, err)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		p.t.Logf("%s <- closed (%v)", p.name, err)
		return nil, io.EOF
	}
	return nil, err
}

func (p *Peer) next(what string) *Packet {
	if len(p.pending) > 0 {
		pkt := p.pending[0]
		p.pending = p.pending[1:]
		return pkt
	}
	pkt, err := p.read(time.Now().Add(patience))
	switch {
	case err == nil:
		return pkt
	case errors.Is(err, io.EOF):
		p.t.Fatalf("%s: want %s, but the broker closed the connection", p.name, what)
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.t.Fatalf("%s: want %s, but nothing came for %v", p.name, what, patience)
	}
	p.t.Fatalf("%s: want %s, read: %v", p.name, what, err)
	return nil
}

// Expect takes the next packet, which must be of the type.
func (p *Peer) Expect(typ byte) *Packet {
	pkt := p.next(typeNames[typ])
	if pkt.Type != typ {
		p.t.Fatalf("%s: want %s, got %s", p.name, typeNames[typ], pkt)
	}
	return pkt
}

// Next takes the next packet, of any type.
func (p *Peer) Next() *Packet { return p.next("a packet") }

// Await takes the first packet of the type, leaving those before it in place for later Expects.
func (p *Peer) Await(typ byte) *Packet {
	return p.AwaitMatch(typeNames[typ], func(pkt *Packet) bool { return pkt.Type == typ })
}

// AwaitMatch takes the first packet for which match holds, leaving those before it in place.
func (p *Peer) AwaitMatch(what string, match func(*Packet) bool) *Packet {
	var before []*Packet
	for {
		pkt := p.next(what)
		if match(pkt) {
			p.pending = append(before, p.pending...)
			return pkt
		}
		before = append(before, pkt)
	}
}

// ExpectAck takes the next packet, which must be this acknowledgement (also SUBACK, UNSUBACK) of this packet identifier.
func (p *Peer) ExpectAck(typ byte, id uint16) *Packet {
	pkt := p.Expect(typ)
	if pkt.ID != id {
		p.t.Fatalf("%s: %s has packet identifier %d, want %d", p.name, typeNames[typ], pkt.ID, id)
	}
	return pkt
}

// ExpectPublish takes the next packet, which must be a PUBLISH with this topic, payload and QoS. It sends no
// acknowledgement.
func (p *Peer) ExpectPublish(topic, payload string, qos byte) *Packet {
	pkt := p.Expect(PUBLISH)
	if pkt.Topic != topic || pkt.Payload != payload || pkt.QoS != qos {
		p.t.Fatalf("%s: want PUBLISH qos=%d topic=%q payload=%.60q, got %s", p.name, qos, topic, payload, pkt)
	}
	return pkt
}

// Receive is ExpectPublish followed by the whole acknowledgement flow of its QoS.
func (p *Peer) Receive(topic, payload string, qos byte) *Packet {
	pkt := p.ExpectPublish(topic, payload, qos)
	p.Acknowledge(pkt)
	return pkt
}

// Acknowledge goes through the receiver's part of the flow for a PUBLISH.
func (p *Peer) Acknowledge(pkt *Packet) {
	switch pkt.QoS {
	case 1:
		p.Send(Ack(PUBACK, pkt.ID))
	case 2:
		p.Send(Ack(PUBREC, pkt.ID))
		p.AwaitMatch("PUBREL", func(q *Packet) bool { return q.Type == PUBREL && q.ID == pkt.ID })
		p.Send(Ack(PUBCOMP, pkt.ID))
	}
}

// ExpectNothing shows by a PINGREQ that the broker has sent nothing up to its PINGRESP. What another connection causes
// must have been acknowledged there first.
func (p *Peer) ExpectNothing() {
	if len(p.pending) > 0 {
		p.t.Fatalf("%s: want nothing, got %s", p.name, p.pending[0])
	}
	p.Send(Ping)
	if pkt := p.next("PINGRESP"); pkt.Type != PINGRESP {
		p.t.Fatalf("%s: want nothing, got %s", p.name, pkt)
	}
}

// ExpectClosed expects the broker to close the connection without sending anything before.
func (p *Peer) ExpectClosed() { p.expectClosed(patience, nil) }

// ExpectClosedWithin is ExpectClosed with a longer wait.
func (p *Peer) ExpectClosedWithin(d time.Duration) { p.expectClosed(d, nil) }

// ExpectRefused expects the broker to close the connection, before which it may send one CONNACK or DISCONNECT with one
// of the reason codes (any code if none are given). Returned is that packet or nil.
func (p *Peer) ExpectRefused(codes ...byte) *Packet {
	var last *Packet
	p.expectClosed(patience, func(pkt *Packet) bool {
		if last != nil || pkt.Type != CONNACK && pkt.Type != DISCONNECT || pkt.Type == CONNACK && pkt.Code == 0 {
			return false
		}
		last = pkt
		for _, c := range codes {
			if pkt.Code == c {
				return true
			}
		}
		return len(codes) == 0
	})
	return last
}

// ExpectDisconnect expects a DISCONNECT with one of the reason codes and then the close (MQTT 5).
func (p *Peer) ExpectDisconnect(codes ...byte) *Packet {
	last := p.ExpectRefused(codes...)
	if last == nil || last.Type != DISCONNECT {
		p.t.Fatalf("%s: the connection was closed without DISCONNECT, want one with a code of % x", p.name, codes)
	}
	return last
}

// ExpectConnackRefusal expects a CONNACK with one of the codes and then the close.
func (p *Peer) ExpectConnackRefusal(codes ...byte) *Packet {
	last := p.ExpectRefused(codes...)
	if last == nil || last.Type != CONNACK {
		p.t.Fatalf("%s: the connection was closed without CONNACK, want one with a code of % x", p.name, codes)
	}
	return last
}

// Drain reads until the broker closes, whatever it sends before, and returns what came.
func (p *Peer) Drain() []*Packet {
	var all []*Packet
	p.expectClosed(patience, func(pkt *Packet) bool { all = append(all, pkt); return true })
	return all
}

func (p *Peer) expectClosed(d time.Duration, allowed func(*Packet) bool) {
	deadline := time.Now().Add(d)
	for {
		var pkt *Packet
		var err error
		if len(p.pending) > 0 {
			pkt, p.pending = p.pending[0], p.pending[1:]
		} else {
			pkt, err = p.read(deadline)
		}
		switch {
		case err == nil && allowed != nil && allowed(pkt):
			continue
		case err == nil:
			p.t.Fatalf("%s: want the connection closed, got %s", p.name, pkt)
		case errors.Is(err, io.EOF):
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			p.t.Fatalf("%s: want the connection closed, but it is open after %v", p.name, d)
		default:
			p.t.Fatalf("%s: want the connection closed, read: %v", p.name, err)
		}
	}
}

// ID returns the next packet identifier for packets of this peer.
func (p *Peer) ID() uint16 {
	p.nextID++
	return p.nextID
}

// Subscribe subscribes to one filter and expects it to be granted as asked. options is the byte on the wire.
func (p *Peer) Subscribe(filter string, options byte) {
	id := p.ID()
	p.Send(Subscribe(p.version, id, nil, Sub{filter, options}))
	ack := p.AwaitMatch("SUBACK", func(q *Packet) bool { return q.Type == SUBACK && q.ID == id })
	if len(ack.Codes) != 1 || ack.Codes[0] != options&3 {
		p.t.Fatalf("%s: SUBSCRIBE %q with QoS %d answered by codes % x", p.name, filter, options&3, ack.Codes)
	}
}

// Unsubscribe ends one subscription and expects UNSUBACK.
func (p *Peer) Unsubscribe(filter string) *Packet {
	id := p.ID()
	p.Send(Unsubscribe(p.version, id, nil, filter))
	return p.AwaitMatch("UNSUBACK", func(q *Packet) bool { return q.Type == UNSUBACK && q.ID == id })
}

// Publish publishes and goes through the sender's part of the flow; when it returns the broker owns the message. A QoS 0
// publish is followed by a PINGREQ, so that the broker has taken it too.
func (p *Peer) Publish(m Publish) {
	if m.QoS > 0 && m.ID == 0 {
		m.ID = p.ID()
	}
	p.Send(m.Bytes(p.version))
	ack := func(typ byte) {
		pkt := p.AwaitMatch(typeNames[typ], func(q *Packet) bool { return q.Type == typ && q.ID == m.ID })
		if pkt.Code >= 0x80 {
			p.t.Fatalf("%s: PUBLISH refused: %s", p.name, pkt)
		}
	}
	switch m.QoS {
	case 0:
		p.Send(Ping)
		p.Await(PINGRESP)
	case 1:
		ack(PUBACK)
	case 2:
		ack(PUBREC)
		p.Send(Ack(PUBREL, m.ID))
		ack(PUBCOMP)
	}
}

// Disconnect sends DISCONNECT and waits until the broker has closed, so that it is known to have taken it.
func (p *Peer) Disconnect() {
	p.Send(Disconnect)
	p.ExpectClosed()
}

// Close closes the socket without DISCONNECT (an abnormal end). It can be called twice.
func (p *Peer) Close() {
	if !p.closed {
		p.closed = true
		p.t.Logf("%s closes its socket", p.name)
		_ = p.conn.Close()
	}
}

// CloseWrite ends the peer's direction without DISCONNECT, and waits for the broker to close: after it, the broker knows
// that the connection is gone.
func (p *Peer) CloseWrite() {
	p.t.Logf("%s closes its direction", p.name)
	if err := closeWrite(p.conn); err != nil {
		p.t.Logf("%s    close: %v", p.name, err)
	}
	p.Drain()
	p.Close()
}

// nextOrClosed takes the next packet; closed is true when the broker closed instead.
func (p *Peer) nextOrClosed() (pkt *Packet, closed bool) {
	if len(p.pending) > 0 {
		return p.Next(), false
	}
	pkt, err := p.read(time.Now().Add(patience))
	if errors.Is(err, io.EOF) {
		return nil, true
	}
	if err != nil {
		p.t.Fatalf("%s: want a packet or the close, read: %v", p.name, err)
	}
	return pkt, false
}

// ExpectPublishTopic takes the next packet, which must be a PUBLISH of QoS 0 on the topic, with any payload.
func (p *Peer) ExpectPublishTopic(topic string) *Packet {
	pkt := p.Expect(PUBLISH)
	if pkt.Topic != topic || pkt.QoS != 0 {
		p.t.Fatalf("%s: want PUBLISH qos=0 topic=%q, got %s", p.name, topic, pkt)
	}
	return pkt
}
