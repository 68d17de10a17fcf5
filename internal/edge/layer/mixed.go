package layer

import "github.com/nightjar-mqtt/nightjar/internal/edge/netloop"

// Mixed makes handlers that take MQTT with and without WebSocket on one port: an HTTP request begins with a letter, CONNECT
// never does. Without WebSocket nothing is copied. sh and r are as for WebSocket.
func Mixed(sh *Shared, r Requests, newHandler func(netloop.Conn) netloop.Handler) func(netloop.Conn) netloop.Handler {
	return func(below netloop.Conn) netloop.Handler {
		m := &mixed{Conn: below, sh: sh, requests: r}
		m.above = newHandler(m)
		m.target = m.above
		return m
	}
}

// mixed is one such connection. Its handler has it before the first byte tells what the connection is, to keep time; then
// Conn may become a WebSocket. Nobody but the owner has it so early.
type mixed struct {
	netloop.Conn
	above, target netloop.Handler
	sh            *Shared
	requests      Requests
	known         bool
}

func (m *mixed) Opened(loop int, now int64) { m.above.Opened(loop, now) }

func (m *mixed) Data(loop int, now int64, raw []byte) (n, need int, again bool) {
	if !m.known && len(raw) > 0 {
		m.known = true
		if raw[0] >= 'A' && raw[0] <= 'Z' {
			l := newConn(m.sh, m.Conn, &wsCodec{requests: m.requests})
			l.above = m.above
			m.Conn, m.target = l, l
			l.codec.start(l)
		}
	}
	return m.target.Data(loop, now, raw)
}

func (m *mixed) Deadline(loop int, now int64)          { m.target.Deadline(loop, now) }
func (m *mixed) Drained(loop int, now int64)           { m.target.Drained(loop, now) }
func (m *mixed) Closed(loop int, now int64, err error) { m.target.Closed(loop, now, err) }
