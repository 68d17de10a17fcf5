package broker

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/conn"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// Counts are figures of connections, by cause.
type Counts = conn.Counts

// Stats are figures of the broker at one moment. Counters count from its start.
type Stats struct {
	Uptime time.Duration

	Connections     int // open sockets
	Accepted        int64
	Connects        int64 // CONNECT packets received
	Clients         int   // sessions with a connection
	ClientsMaximum  int   // the most there were at a time
	Sessions        int   // sessions, connected and absent
	SessionsExpired int

	Subscriptions       int
	SharedSubscriptions int
	Retained            int
	RetainedBytes       int64
	Queued              int // messages in memory that wait for clients or their acknowledgements, each counted once
	QueuedBytes         int64
	OutboxBytes         int64 // memory of what waits for sockets, and of packets that have partly arrived

	MessagesReceived, MessagesSent         int64 // packets of any type
	BytesReceived, BytesSent               int64
	PublishReceived, PublishSent           int64
	ReceivedByQoS, SentByQoS               [3]int64         // the same
	PublishBytesReceived, PublishBytesSent int64            // payloads
	Dropped                                map[string]int64 // by reason
	DroppedTotal                           int64
	Counts
	Panics int64 // connections closed because their handler failed
}

// Stats reads the figures. Counters lag by at most one turn of each loop.
func (b *Broker) Stats() Stats {
	f, n := b.router.Figures(), b.router.Stats()
	s := Stats{
		Uptime: time.Since(b.started), Connections: int(b.shared.Open()), Accepted: b.shared.Accepted(), Connects: b.shared.Connects(), Clients: f.Connected, ClientsMaximum: f.MaxConnected,
		Sessions: f.Sessions, SessionsExpired: f.Expired, Subscriptions: f.Subscriptions, SharedSubscriptions: f.SharedSubscriptions,
		Retained: f.Retained, RetainedBytes: f.RetainedBytes, QueuedBytes: f.QueuedBytes, Queued: f.Queued,
		MessagesReceived: n.Get(session.MessagesReceived), MessagesSent: n.Get(session.MessagesSent),
		BytesReceived: n.Get(session.BytesReceived), BytesSent: n.Get(session.BytesSent),
		ReceivedByQoS: n.ByQoS(session.PublishReceived), SentByQoS: n.ByQoS(session.PublishSent),
		PublishBytesReceived: n.Get(session.PublishBytesReceived), PublishBytesSent: n.Get(session.PublishBytesSent),
		OutboxBytes: b.router.Limits().Outboxes.Used(), Counts: b.shared.Counts(),
		Dropped: make(map[string]int64), Panics: b.drops.panics.Load(),
	}
	for qos := range s.ReceivedByQoS {
		s.PublishReceived += s.ReceivedByQoS[qos]
		s.PublishSent += s.SentByQoS[qos]
	}
	for d := session.Drop(0); d < session.NumDrops; d++ {
		if v := n.Dropped(d); v > 0 {
			s.Dropped[d.String()] = v
			s.DroppedTotal += v
		}
	}
	return s
}

// Backlog is how many packets and bytes wait for the sockets of all clients. Packets are counted by the average size of those
// that each client was sent. It looks at every connection.
func (b *Broker) Backlog() (packets, bytes int64) {
	b.engine.Each(func(c netloop.Conn) bool {
		n := int64(c.Out().Bytes())
		if n == 0 {
			return true
		}
		bytes += n
		if frames, total := c.Out().Totals(); total > 0 {
			packets += max(1, (n*frames+total/2)/total)
		}
		return true
	})
	return packets, bytes
}

// drops turns losses into log lines: one per client and ten seconds, however many messages it loses.
type drops struct {
	log    *slog.Logger
	panics atomic.Int64
	mu     sync.Mutex
	losers map[*session.Session]session.Drop
	ticks  int
}

const (
	reportEvery = 50  // ticks
	maxLosers   = 100 // log lines per report; the rest are summed
)

// note is called by the loops, under a session's lock, when the session loses its first message since the last report.
func (d *drops) note(s *session.Session, reason session.Drop) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.losers == nil {
		d.losers = make(map[*session.Session]session.Drop)
	}
	d.losers[s] = reason
}

func (d *drops) report() {
	d.mu.Lock()
	if d.ticks++; d.ticks < reportEvery || len(d.losers) == 0 {
		d.mu.Unlock()
		return
	}
	losers := d.losers
	d.losers, d.ticks = nil, 0
	d.mu.Unlock()
	lines, rest, others := 0, 0, 0
	for s, reason := range losers {
		n := s.TakeDropped()
		if lines++; lines > maxLosers {
			rest += int(n)
			others++
			continue
		}
		d.log.Warn("messages dropped", "event", conn.EventDropped, "client", s.ID().ClientID, "count", n, "first_reason", reason.String())
	}
	if others > 0 {
		d.log.Warn("messages dropped", "event", conn.EventDropped, "clients", others, "count", rest)
	}
}

// DropReasons are all that Stats.Dropped may have.
func DropReasons() (names []string) {
	for d := session.Drop(0); d < session.NumDrops; d++ {
		names = append(names, d.String())
	}
	return names
}

// LoopLag is how long each event loop takes to begin a turn: what everything that happens on it waits for. A loop that takes
// longer than within is given as that.
func (b *Broker) LoopLag(within time.Duration) []time.Duration {
	lag := make([]time.Duration, b.engine.Loops())
	type result struct {
		loop int
		took time.Duration
	}
	begun := make(chan result, len(lag))
	start := time.Now()
	for i := range lag {
		lag[i] = within
		b.engine.PostLoop(i, func(int, int64) { begun <- result{i, time.Since(start)} })
	}
	limit := time.NewTimer(within)
	defer limit.Stop()
	for range lag {
		select {
		case r := <-begun:
			lag[r.loop] = min(r.took, within)
		case <-limit.C:
			return lag
		case <-b.stop:
			return lag
		}
	}
	return lag
}
