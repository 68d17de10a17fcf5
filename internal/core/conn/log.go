package conn

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// What connections tell the log, and what of it is counted. Each line bears an attribute "event", the kind of what happened, by which a handler can
// select, count and limit lines: clients can cause any number of most of them. The level is Mosquitto's log_type.

// Levels between and beyond slog's, for the log types of mosquitto.conf.
const (
	LevelSubscribe   = slog.Level(-3) // log_type subscribe
	LevelUnsubscribe = slog.Level(-2) // log_type unsubscribe
	LevelWebSockets  = slog.Level(-1) // log_type websockets
	LevelNotice      = slog.Level(2)  // log_type notice
	LevelFatal       = slog.Level(12) // the process ends: a handler writes it before it returns
)

// Values of the attribute "event".
const (
	EventConnect          = "connect"
	EventDisconnect       = "disconnect"
	EventRefused          = "connection_refused"
	EventLoginRefused     = "login_refused" // by whoever decides, which knows more than the connection
	EventPublishRefused   = "publish_refused"
	EventSubscribeRefused = "subscribe_refused"
	EventSubscribe        = "subscribe"
	EventUnsubscribe      = "unsubscribe"
	EventUnread           = "unread"
	EventMemory           = "memory"
	EventDropped          = "dropped"
	EventPacket           = "packet"
)

// log writes a line. It is made only if somebody wants it.
func (sh *Shared) log(level slog.Level, event, msg string, attrs ...slog.Attr) {
	ctx := context.Background()
	if !sh.Log.Enabled(ctx, level) {
		return
	}
	sh.Log.LogAttrs(ctx, level, msg, append([]slog.Attr{slog.String("event", event)}, attrs...)...)
}

// logs tells whether a level is written at all, for lines that cost something to make.
func (sh *Shared) logs(level slog.Level) bool { return sh.Log.Enabled(context.Background(), level) }

func (c *Conn) describe() string {
	if c.id != nil {
		return c.id.ClientID
	}
	return ""
}

func (sh *Shared) connected(c *Conn, su *setup, present bool) {
	sh.common.counts.connect(c.version, 1)
	if !sh.logs(LevelNotice) {
		return
	}
	attrs := []slog.Attr{
		slog.String("client", c.id.ClientID), slog.String("address", su.login.RemoteAddr), slog.String("version", c.version.String()),
		slog.Bool("clean", su.clean), slog.Bool("session_present", present), slog.Int("keepalive", int(c.keepAlive)),
	}
	if c.id.Username != "" {
		attrs = append(attrs, slog.String("user", c.id.Username))
	}
	sh.log(LevelNotice, EventConnect, "client connected", attrs...)
}

func (sh *Shared) disconnected(c *Conn, why error) {
	sh.common.counts.connect(c.version, -1)
	sh.common.counts.ended.add(Cause(why))
	if !sh.logs(LevelNotice) {
		return
	}
	attrs := []slog.Attr{slog.String("client", c.id.ClientID), slog.String("address", c.peer())}
	cause := Cause(why)
	if cause == CauseDisconnected {
		sh.log(LevelNotice, EventDisconnect, "client disconnected", attrs...)
		return
	}
	attrs = append(attrs, slog.String("cause", cause))
	if why != nil {
		attrs = append(attrs, slog.String("reason", detail(why)))
	}
	sh.log(LevelNotice, EventDisconnect, "connection closed", attrs...)
}

func (sh *Shared) refused(c *Conn, why error) {
	sh.common.counts.refused.add(Cause(why))
	if !sh.logs(slog.LevelWarn) {
		return
	}
	attrs := []slog.Attr{slog.String("client", c.describe()), slog.String("address", c.peer()), slog.String("cause", Cause(why))}
	if c.id != nil && c.id.Username != "" {
		attrs = append(attrs, slog.String("user", c.id.Username))
	}
	if why != nil {
		attrs = append(attrs, slog.String("reason", detail(why)))
	}
	sh.log(slog.LevelWarn, EventRefused, "connection refused", attrs...)
}

func (sh *Shared) publishRefused(c *Conn, m *message.Message, why string) {
	sh.common.counts.publishRefused.Add(1)
	if !sh.logs(slog.LevelWarn) {
		return
	}
	sh.log(slog.LevelWarn, EventPublishRefused, "publish refused", slog.String("client", c.id.ClientID), slog.String("address", c.peer()),
		slog.String("topic", strings.Clone(m.Topic)), slog.Int("qos", int(m.QoS)), slog.Bool("retain", m.Retain),
		slog.Int("bytes", len(m.Payload)), slog.String("rule", why))
}

func (sh *Shared) subscribeRefused(c *Conn, filter, why string) {
	sh.common.counts.subscribe.Add(1)
	if !sh.logs(slog.LevelWarn) {
		return
	}
	sh.log(slog.LevelWarn, EventSubscribeRefused, "subscription refused", slog.String("client", c.id.ClientID),
		slog.String("address", c.peer()), slog.String("filter", filter), slog.String("rule", why))
}

func (sh *Shared) subscribed(c *Conn, filter string, opts mqtt.SubOptions) {
	if sh.logs(LevelSubscribe) {
		sh.log(LevelSubscribe, EventSubscribe, "client subscribes", slog.String("client", c.id.ClientID),
			slog.Int("qos", int(opts.QoS())), slog.String("filter", filter))
	}
}

func (sh *Shared) unsubscribed(c *Conn, filter string) {
	if sh.logs(LevelUnsubscribe) {
		sh.log(LevelUnsubscribe, EventUnsubscribe, "client unsubscribes", slog.String("client", c.id.ClientID), slog.String("filter", filter))
	}
}

// packetReceived and the like are for log_type debug: a line per packet from a client and per answer to it, but never what a
// packet carries.
func (sh *Shared) packetReceived(c *Conn, t mqtt.PacketType) {
	sh.log(slog.LevelDebug, EventPacket, "packet received", slog.String("packet", t.String()), slog.String("client", c.describe()))
}

func (sh *Shared) publishReceived(c *Conn, p *mqtt.Publish) {
	sh.log(slog.LevelDebug, EventPacket, "packet received", slog.String("packet", mqtt.PUBLISH.String()), slog.String("client", c.describe()),
		slog.Bool("dup", p.Dup), slog.Int("qos", int(p.QoS)), slog.Bool("retain", p.Retain), slog.Int("id", int(p.PacketID)),
		slog.String("topic", string(p.Topic)), slog.Int("bytes", len(p.Payload)))
}

func (sh *Shared) packetSent(c *Conn, frame []byte) {
	sh.log(slog.LevelDebug, EventPacket, "packet sent", slog.String("packet", mqtt.PacketType(frame[0]>>4).String()), slog.String("client", c.describe()))
}

// Causes for which no reason code of MQTT stands.
const (
	CauseDisconnected = "disconnected"          // by the client's DISCONNECT
	CauseClosed       = "closed its connection" // by the client, without one
	CauseNotMQTT      = "not MQTT"
	CauseTooMany      = "too many connections"
	CauseLost         = "connection lost" // an error of the network
)

// Cause names why a connection ended, in one of few words: those that Mosquitto's log has where it has the case. The whole
// reason is in the error.
func Cause(why error) string {
	switch {
	case why == nil || errors.Is(why, ErrDisconnected):
		return CauseDisconnected
	case errors.Is(why, io.EOF):
		return CauseClosed
	case errors.Is(why, ErrTakenOver):
		return "session taken over"
	case errors.Is(why, ErrExpired):
		return causeOf(mqtt.NotAuthorized)
	case errors.Is(why, ErrKeepAlive), errors.Is(why, ErrUnread), errors.Is(why, ErrConnectLate), errors.Is(why, ErrPacketSlow):
		return "exceeded timeout"
	case errors.Is(why, ErrNotMQTT):
		return CauseNotMQTT
	case errors.Is(why, ErrTooMany), errors.Is(why, ErrTooManyOpening):
		return CauseTooMany
	case errors.Is(why, ErrShutdown):
		return "server shutting down"
	case errors.Is(why, ErrMemory):
		return "out of memory"
	case errors.Is(why, ErrTooSmall):
		return "oversize packet"
	}
	var r *refusal
	if errors.As(why, &r) {
		return causeOf(r.code)
	}
	var p interface{ ProtocolError() bool } // of what lies below MQTT: TLS, WebSocket, PROXY
	if errors.As(why, &p) && p.ProtocolError() {
		return causeOf(mqtt.ProtocolError)
	}
	var e *mqtt.Error
	if errors.As(why, &e) {
		return causeOf(e.Code)
	}
	return CauseLost
}

// detail is what an error says beyond its Cause.
func detail(why error) string {
	var r *refusal
	if errors.As(why, &r) {
		return r.reason
	}
	return why.Error()
}

// causeOf gives Mosquitto's words for a reason code.
func causeOf(code mqtt.ReasonCode) string {
	switch code {
	case mqtt.NotAuthorized:
		return "not authorised"
	case mqtt.BadUserNameOrPassword:
		return "bad username or password"
	case mqtt.PacketTooLarge:
		return "oversize packet"
	case mqtt.QoSNotSupported, mqtt.RetainNotSupported:
		return "not allowed feature"
	case mqtt.Banned:
		return "client banned"
	}
	return strings.ToLower(code.String())
}
