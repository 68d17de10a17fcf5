// Package conn is one client connection as a state machine. It is given what the socket brought, and the time; it calls
// the router and appends frames to an outbox. It does no I/O and starts no goroutine.
//
// The files: config.go (what connections of a broker share), conn.go (the machine and its clock), handle_*.go (a file per
// packet), acks.go (acknowledgements in order), holdback.go (clients that do not read), bounds.go (rates, and logins that expire),
// leave.go (how a connection ends), hooks.go (what the embedding program may decide).
package conn

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Transport is what a connection needs of the engine that carries its bytes.
type Transport interface {
	session.Conn
	Close(err error)
	CloseAfterFlush(err error, within time.Duration)
	Pause()
	Resume()
	SetDeadline(at int64)
}

type state uint8

const (
	stateNew     state = iota // nothing received; only CONNECT may come [MQTT-3.1.0-1]
	stateWaiting              // CONNECT received, an answer of a hook or a predecessor is awaited; nothing is read
	stateAuth                 // enhanced authentication goes on: only AUTH and DISCONNECT may come
	stateOpen                 // CONNACK sent
	stateClosed
)

// Conn is the protocol side of one connection. Its methods are called by the connection's own loop, one at a time,
// except Evict and Shutdown, which anybody may call.
type Conn struct {
	t  Transport
	sh *Shared
	s  *session.Session // nil before CONNACK
	id *message.Identity

	acks      *acks   // acknowledgements that wait; nil: none ever did
	bounds    *bounds // of this client alone; nil: none
	*rare             // never nil; written to through mine
	lastSeen  int64   // when the last whole packet came
	since     int64   // when it was accepted; before, 0
	packets   uint64  // received
	bytes     uint64  // received
	partial   int64   // since when a packet is incomplete; 0: none is
	maxOut    uint32  // the client's Maximum Packet Size; 0: none
	got       uint32  // bytes of the incomplete packet
	received  uint16  // QoS 1 and 2 messages of the client not yet fully acknowledged
	keepAlive uint16  // seconds; 0: none
	version   mqtt.Version
	state     state
	bridge    bool
	quiet     bool // Request Problem Information was 0: no reason strings (MQTT 5 §3.1.2.11.7)
	claimed   bool
	left      bool
	replaying bool
	throttled bool // not read before the next tick: memory is short
	unread    bool // not read before the outbox is empty; see holdBack
	opening   bool // counted among those without CONNECT
	told      bool // the log has the client's not reading
	debug     bool // the log wants each packet; looked up once per read
}

// rare is what most connections do not have, once they are open: so it is one pointer in each of them.
type rare struct {
	aliases  *[][]byte // topic aliases set by the client, by number less one; nil: none was
	will     *router.Will
	setup    *setup    // what CONNECT asked for, until CONNACK
	enhanced *enhanced // enhanced authentication; nil: none
	evicted  *eviction // who wants the client id
}

// nothingRare is what all connections share that have nothing of that; it is never written to.
var nothingRare rare

// mine is the connection's own, to write to.
func (c *Conn) mine() *rare {
	if c.rare == &nothingRare {
		c.rare = new(rare)
	}
	return c.rare
}

// eviction is the wish of another connection to have the client id.
type eviction struct {
	clean bool
	then  []func()
}

// New makes a connection that waits for CONNECT.
func New(t Transport, sh *Shared) *Conn {
	return &Conn{t: t, sh: sh.listener.latest.Load(), rare: &nothingRare}
}

// Errors that a connection is closed with, for the log.
var (
	ErrTakenOver      = errors.New("session taken over: another connection uses the client id")
	ErrShutdown       = errors.New("the broker shuts down")
	ErrNotMQTT        = errors.New("the first packet is not CONNECT")
	ErrConnectLate    = errors.New("no CONNECT in time")
	ErrPacketSlow     = errors.New("a packet was not completed in time")
	ErrKeepAlive      = errors.New("no packet within one and a half times the keep alive")
	ErrDisconnected   = errors.New("client disconnected")
	ErrExpired        = errors.New("the right to be connected has expired")
	ErrTooSmall       = errors.New("an answer is larger than the client's maximum packet size")
	ErrTooMany        = errors.New("the limit of connections is reached")
	ErrTooManyOpening = errors.New("too many connections that have not sent CONNECT")
)

// notMQTT says what a first byte looks like: most of these are clients on the wrong port.
func notMQTT(first byte) error {
	switch first {
	case 0x16: // a handshake record
		return fmt.Errorf("%w; the client seems to speak TLS, which this listener does not", ErrNotMQTT)
	case 'G':
		return fmt.Errorf("%w; the client seems to speak HTTP or WebSocket, which this listener does not", ErrNotMQTT)
	case 'P', '\r':
		return fmt.Errorf("%w; if it is a proxy's, this listener does not take PROXY headers", ErrNotMQTT)
	}
	return ErrNotMQTT
}

// Opened starts the clock for CONNECT.
func (c *Conn) Opened(_ int, now int64) {
	c.opening = true
	if err := c.sh.count(); err != nil {
		c.t.Close(err)
		return
	}
	c.t.SetDeadline(now + c.sh.ConnectTimeout.Milliseconds())
}

// Data takes what has been read; see netloop.Handler.
func (c *Conn) Data(loop int, now int64, p []byte) (n, need int, again bool) {
	w := c.sh.Router.Worker(loop, now)
	c.debug = c.sh.logs(slog.LevelDebug)
	for n < len(p) && c.state != stateWaiting && !c.unread && !c.slowed() {
		if c.state == stateClosed {
			return len(p), 0, false
		}
		if w.Spent(turnBudget) {
			again = true
			break
		}
		if c.state == stateNew && mqtt.PacketType(p[n]>>4) != mqtt.CONNECT {
			c.fail(w, notMQTT(p[n])) // refused by its first byte, whatever length it announces
			return len(p), 0, false
		}
		f, used, want, err := mqtt.ParseFrame(p[n:], c.maxPacket())
		if err != nil {
			c.protocolError(w, err)
			return len(p), 0, false
		}
		if used == 0 {
			need = want
			break
		}
		n += used
		w.Work++
		c.lastSeen, c.partial = now, 0
		c.packets++
		w.Count(session.MessagesReceived, 1)
		if err := c.handle(w, f); err != nil {
			c.protocolError(w, err)
			return len(p), 0, false
		}
		c.holdBack(w)
	}
	w.Count(session.BytesReceived, n)
	c.bytes += uint64(n)
	if c.state == stateClosed {
		return len(p), 0, false
	}
	whole := again || c.state == stateWaiting || c.unread || c.slowed()
	// After a pause the same bytes come again: they must not bring the next one, or nothing would ever be read.
	grown := c.partial == 0 || len(p)-n > int(c.got)
	c.incomplete(now, len(p)-n, whole)
	if !whole && grown && len(p)-n > heldWhenShort && c.mayNotGrow(w) {
		return len(p), 0, false
	}
	return n, need, again
}

// turnBudget is how much one connection may do before others have their turn, in packets and deliveries.
const turnBudget = 32768

func (c *Conn) maxPacket() int {
	if c.state == stateNew {
		return c.sh.MaxConnect
	}
	return c.sh.MaxPacket
}

// incomplete keeps watch over a packet that has only partly arrived.
func (c *Conn) incomplete(now int64, rest int, whole bool) {
	if rest == 0 || whole {
		c.partial = 0
		return
	}
	c.got = uint32(rest)
	if c.partial == 0 {
		c.partial = now
		if c.state != stateNew {
			c.watch(now)
		}
	}
}

// packetDue is when the incomplete packet must be whole: a time to begin with, and more the more has come, so that a large
// packet over a slow link passes and one byte a second does not.
func (c *Conn) packetDue() int64 {
	live := c.live()
	return c.partial + live.PacketTimeout.Milliseconds() + int64(c.got)*1000/max(1, int64(live.PacketRate))
}

// watch sets the deadline to whatever is due first.
func (c *Conn) watch(now int64) {
	var at int64
	if c.keepAlive > 0 && !c.slowed() {
		at = c.lastSeen + c.keepAliveTime()
	}
	if c.partial != 0 {
		if due := c.packetDue(); at == 0 || due < at {
			at = due
		}
	}
	if c.bounds != nil {
		at = c.bounds.earlier(at)
	}
	if at != 0 {
		at = max(at, now+1)
	}
	c.t.SetDeadline(at)
}

// keepAliveTime is one and a half times the keep alive, in milliseconds [MQTT-3.1.2-22].
func (c *Conn) keepAliveTime() int64 { return int64(c.keepAlive) * 1500 }

// Deadline is called when the deadline has passed.
func (c *Conn) Deadline(loop int, now int64) {
	w := c.sh.Router.Worker(loop, now)
	switch c.state {
	case stateClosed:
		return
	case stateNew, stateAuth:
		c.fail(w, ErrConnectLate)
		return
	case stateWaiting:
		c.t.SetDeadline(now + c.sh.ConnectTimeout.Milliseconds())
		return
	}
	if c.bounds != nil && c.boundsDue(w) {
		return
	}
	if c.partial != 0 && now >= c.packetDue() {
		c.disconnect(w, mqtt.ProtocolError, ErrPacketSlow)
		return
	}
	if c.keepAlive > 0 && !c.slowed() && now-c.lastSeen >= c.keepAliveTime() {
		why := ErrKeepAlive
		if c.unread {
			why = ErrUnread
		}
		c.disconnect(w, mqtt.KeepAliveTimeout, why)
		return
	}
	c.watch(now)
}

// Drained goes on with what waited for the socket.
func (c *Conn) Drained(loop int, now int64) {
	if c.state != stateOpen {
		return
	}
	w := c.sh.Router.Worker(loop, now)
	c.s.Drained()
	c.proceedSending(w)
	if c.unread {
		c.unread = false
		c.goOn()
	}
}

// proceedSending sends what waits for room: the queue first, then retained messages.
func (c *Conn) proceedSending(w *router.Worker) {
	w.Pump(c.s)
	if c.replaying || len(c.s.Replays()) == 0 {
		return
	}
	if w.Replay(c.s) {
		c.replaying = true
		c.t.Post(func(loop int, now int64) {
			c.replaying = false
			if c.state == stateOpen {
				c.proceedSending(c.sh.Router.Worker(loop, now))
			}
		})
	}
}

// fits tells whether the client takes a packet of this size.
func (c *Conn) fits(frame []byte) bool { return c.maxOut == 0 || uint32(len(frame)) <= c.maxOut }

// send appends a frame to the outbox. One that the client cannot take must not be sent [MQTT-3.1.2-24]; as these are
// answers, and not messages, that ends the connection.
func (c *Conn) send(w *router.Worker, frame []byte) {
	if !c.fits(frame) {
		c.disconnect(w, mqtt.PacketTooLarge, ErrTooSmall)
		return
	}
	ok, wake := c.t.Out().Append(frame)
	if wake {
		w.Touch(c.t)
	}
	if ok {
		w.Count(session.MessagesSent, 1)
		w.Count(session.BytesSent, len(frame))
	}
	if c.debug {
		c.sh.packetSent(c, frame)
	}
}

// handle passes a packet to its handler. An error ends the connection with its code.
func (c *Conn) handle(w *router.Worker, f mqtt.Frame) error {
	if c.debug && f.Type != mqtt.PUBLISH {
		c.sh.packetReceived(c, f.Type)
	}
	switch c.state {
	case stateNew:
		c.sh.common.connects.Add(1)
		return c.handleConnect(w, f)
	case stateAuth:
		if f.Type != mqtt.AUTH && f.Type != mqtt.DISCONNECT {
			return violation(f.Type, "only AUTH may come before CONNACK", "MQTT-3.1.2-30")
		}
	}
	switch f.Type {
	case mqtt.PUBLISH:
		return c.handlePublish(w, f)
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBCOMP:
		return c.handleAck(w, f)
	case mqtt.PUBREL:
		return c.handlePubrel(w, f)
	case mqtt.SUBSCRIBE:
		return c.handleSubscribe(w, f)
	case mqtt.UNSUBSCRIBE:
		return c.handleUnsubscribe(w, f)
	case mqtt.PINGREQ:
		return c.handlePingreq(w, f)
	case mqtt.DISCONNECT:
		return c.handleDisconnect(w, f)
	case mqtt.AUTH:
		return c.handleAuth(w, f)
	case mqtt.CONNECT:
		return violation(f.Type, "a second CONNECT", "MQTT-3.1.0-2")
	}
	return violation(f.Type, "only a server sends this packet", "")
}

func violation(t mqtt.PacketType, detail, statement string) error {
	return &mqtt.Error{Code: mqtt.ProtocolError, Packet: t, Detail: detail, Statement: statement}
}

// ClientID is the connection's client id; empty before CONNECT.
func (c *Conn) ClientID() string {
	if c.id == nil {
		return ""
	}
	return c.id.ClientID
}
