package session_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// TestSessionAgainstNaive drives a session and an obvious model of one with the same random operations; after each, both
// must have sent the same packets, dropped the same messages and hold the same.
func TestSessionAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t)
		t.Repeat(map[string]func(*rapid.T){
			"":           func(*rapid.T) { r.compare() },
			"deliver":    r.deliver,
			"puback":     r.puback,
			"pubrec":     r.pubrec,
			"pubcomp":    r.pubcomp,
			"stray":      r.stray,
			"commit":     r.commit,
			"disconnect": r.disconnect,
			"connect":    r.connect,
			"time":       func(t *rapid.T) { r.turn.Now += int64(rapid.IntRange(1, 5).Draw(t, "seconds")) * 1000 },
		})
	})
}

// naive is a session as one would explain it: a list of messages, gone through from the front for everything.
type naive struct {
	list      []*naiveMessage
	connected bool
	window    int
	maxPacket int
	maxQueued int
	queueQoS0 bool
	durable   bool
	sent      []sent // since the last look
	drops     map[session.Drop]int
}

type naiveMessage struct {
	payload   string
	qos       byte
	expires   int64
	id        uint16 // 0: not known yet
	started   bool   // PUBLISH was sent once
	here      bool   // sent on this connection
	gated     bool   // waits for the store before PUBLISH
	releasing bool   // waits for the store before PUBREL
	released  bool   // PUBREL is what is sent
}

// sent is a packet: "" for a PUBREL's payload.
type sent struct {
	payload string
	qos     byte
	dup     bool
	m       *naiveMessage
}

func (n *naive) count(what func(*naiveMessage) bool) (c int) {
	for _, m := range n.list {
		if what(m) {
			c++
		}
	}
	return c
}

func (n *naive) waiting() int  { return n.count(func(m *naiveMessage) bool { return !m.here }) }
func (n *naive) inflight() int { return n.count(func(m *naiveMessage) bool { return m.here }) }

func (n *naive) remove(m *naiveMessage) {
	n.list = slices.DeleteFunc(n.list, func(x *naiveMessage) bool { return x == m })
}

func (n *naive) deliver(m *naiveMessage, now int64) {
	switch {
	case m.qos == 0 && n.connected && (!n.queueQoS0 || n.waiting() == 0):
		if n.fits(m) {
			n.sent = append(n.sent, sent{m.payload, 0, false, m})
		} else {
			n.drops[session.DropTooLarge]++
		}
		return
	case m.qos == 0 && !n.queueQoS0:
		return // nobody keeps it
	}
	if !(n.connected && n.waiting() == 0 && n.inflight() < n.window) && n.waiting() >= n.maxQueued {
		for _, x := range slices.Clone(n.list) {
			if !x.here && !x.started && !x.gated && x.expires != 0 && now >= x.expires {
				n.remove(x)
				n.drops[session.DropExpired]++
			}
		}
		if n.waiting() >= n.maxQueued {
			n.drops[session.DropQueueFull]++
			return
		}
	}
	m.gated = m.qos == 2 && n.durable
	n.list = append(n.list, m)
	n.flush(now)
}

// fits compares the size of the whole PUBLISH with what the client takes.
func (n *naive) fits(m *naiveMessage) bool {
	p := mqtt.Publish{Topic: []byte("topic"), Payload: []byte(m.payload), QoS: m.qos}
	if m.qos > 0 {
		p.PacketID = 1
	}
	if m.expires != 0 {
		p.Props.Has.Set(mqtt.PropMessageExpiry)
	}
	b, err := p.Append(nil, mqtt.V5)
	if err != nil {
		panic(err)
	}
	return len(b) <= n.maxPacket
}

func (n *naive) flush(now int64) {
	for _, m := range slices.Clone(n.list) {
		switch {
		case m.here:
		case !n.connected || n.inflight() >= n.window || m.gated || m.releasing:
			return
		case m.released:
			m.here = true
			n.sent = append(n.sent, sent{"", 2, false, m})
		case m.expires != 0 && now >= m.expires && !(m.started && m.qos == 2):
			n.remove(m)
			n.drops[session.DropExpired]++
		case !n.fits(m):
			n.remove(m)
			n.drops[session.DropTooLarge]++
		default:
			n.sent = append(n.sent, sent{m.payload, m.qos, m.started, m})
			m.here, m.started = true, true
			if m.qos == 0 {
				n.remove(m)
			}
		}
	}
}

// rig is a session, its model, and what is between them.
type rig struct {
	t     *rapid.T
	s     *session.Session
	n     *naive
	lim   *session.Limits
	turn  *session.Turn
	stats session.Stats
	pub   session.Publication
	link  *link
	gates []gated
	next  int
}

type gated struct {
	gate session.Gate
	m    *naiveMessage
}

func newRig(t *rapid.T) *rig {
	r := &rig{t: t, turn: &session.Turn{Now: 1_000_000, NewBatch: func() session.Batch { return nothing{} }}}
	r.lim = &session.Limits{
		MaxInflight: 100, MaxQueued: rapid.IntRange(1, 6).Draw(t, "max queued"), OutboxBytes: 1 << 20,
		QueueQoS0: rapid.Bool().Draw(t, "queue QoS 0"), Outboxes: new(outbox.Budget),
	}
	r.fresh()
	r.connect(t)
	return r
}

// fresh starts a new session.
func (r *rig) fresh() {
	r.s = session.New(&message.Identity{ClientID: "c"}, 1, 1, r.lim)
	r.n = &naive{
		maxQueued: r.lim.MaxQueued, queueQoS0: r.lim.QueueQoS0, drops: map[session.Drop]int{},
		durable: rapid.IntRange(0, 3).Draw(r.t, "durable") > 0,
	}
	r.gates, r.stats = nil, session.Stats{}
}

func (r *rig) deliver(t *rapid.T) {
	r.next++
	m := &naiveMessage{payload: fmt.Sprint(r.next), qos: byte(rapid.IntRange(0, 2).Draw(t, "qos"))}
	if rapid.IntRange(0, 4).Draw(t, "large") == 0 {
		m.payload = fmt.Sprintf("%050d", r.next)
	}
	if rapid.Bool().Draw(t, "expires") {
		m.expires = r.turn.Now + int64(rapid.IntRange(1, 10).Draw(t, "lifetime"))*1000
	}
	borrowed := []byte(m.payload)
	r.pub.Start(&message.Message{Topic: "topic", Payload: borrowed, QoS: m.qos, Expires: m.expires}, r.turn.Now)
	r.s.Deliver(r.turn, &r.pub, &session.Grant{QoS: 2}, r.s.SubEpoch())
	for _, g := range r.pub.Gated {
		r.gates = append(r.gates, gated{g, m})
	}
	for i := range borrowed {
		borrowed[i] = '!' // the read buffer is used again
	}
	r.n.deliver(m, r.turn.Now)
}

// pick chooses a message in flight; nil: none is like that.
func (r *rig) pick(t *rapid.T, like func(*naiveMessage) bool) *naiveMessage {
	var of []*naiveMessage
	for _, m := range r.n.list {
		if r.n.connected && m.here && like(m) {
			of = append(of, m)
		}
	}
	if len(of) == 0 {
		t.Skip("nothing to acknowledge")
	}
	return rapid.SampledFrom(of).Draw(t, "message")
}

func (r *rig) puback(t *rapid.T) {
	m := r.pick(t, func(m *naiveMessage) bool { return m.qos == 1 })
	r.taken(r.s.Puback(r.turn, m.id))
	r.finish(m)
}

func (r *rig) pubrec(t *rapid.T) {
	m := r.pick(t, func(m *naiveMessage) bool { return m.qos == 2 && !m.released && !m.releasing })
	code := rapid.SampledFrom([]mqtt.ReasonCode{mqtt.Success, mqtt.Success, mqtt.QuotaExceeded}).Draw(t, "reason")
	res, refused, batch, gate := r.s.Pubrec(r.turn, m.id, code)
	r.taken(res)
	if refused != code.IsError() {
		t.Fatalf("PUBREC %v: refused is %v", code, refused)
	}
	switch {
	case refused:
		r.finish(m)
	case batch != nil:
		r.gates = append(r.gates, gated{gate, m})
		m.releasing = true
	default:
		m.released = true
	}
	if (batch != nil) != (r.n.durable && !refused) {
		t.Fatalf("PUBREC of a session that is durable: %v; to be stored: %v", r.n.durable, batch != nil)
	}
}

func (r *rig) pubcomp(t *rapid.T) {
	m := r.pick(t, func(m *naiveMessage) bool { return m.released })
	r.taken(r.s.Pubcomp(r.turn, m.id))
	r.finish(m)
}

func (r *rig) taken(got session.AckResult) {
	if got != session.AckTaken {
		r.t.Fatalf("acknowledgement: %d, want it taken", got)
	}
}

func (r *rig) finish(m *naiveMessage) {
	r.n.remove(m)
	r.s.Pump(r.turn)
	r.n.flush(r.turn.Now)
}

// stray is an acknowledgement for a packet id that is not in flight.
func (r *rig) stray(t *rapid.T) {
	id := uint16(rapid.IntRange(1, 65535).Draw(t, "id"))
	if slices.ContainsFunc(r.n.list, func(m *naiveMessage) bool { return m.id == id }) {
		t.Skip("in flight")
	}
	if got := r.s.Puback(r.turn, id); got != session.AckUnknown {
		t.Fatalf("PUBACK for nothing: %d", got)
	}
}

// commit answers one batch, in any order, or fails it.
func (r *rig) commit(t *rapid.T) {
	if len(r.gates) == 0 {
		t.Skip("nothing to commit")
	}
	i := rapid.IntRange(0, len(r.gates)-1).Draw(t, "batch")
	g := r.gates[i]
	r.gates = slices.Delete(r.gates, i, i+1)
	var err error
	if rapid.IntRange(0, 4).Draw(t, "fails") == 0 {
		err = fmt.Errorf("no room")
	}
	r.s.Stored(r.turn, g.gate.Seq, err)
	r.s.Pump(r.turn)
	switch m := g.m; {
	case m.gated && err != nil:
		r.n.remove(m)
		r.n.drops[session.DropStore]++
	case m.gated:
		m.gated = false
	case m.releasing:
		m.releasing, m.released = false, err == nil
	}
	r.n.flush(r.turn.Now)
}

func (r *rig) disconnect(t *rapid.T) {
	if !r.n.connected {
		t.Skip("not connected")
	}
	r.s.Detach(r.turn)
	r.n.connected = false
	if !r.n.durable {
		r.s.End(r.turn)
		r.n.drops[session.DropSessionEnded] = r.n.count(func(m *naiveMessage) bool { return !m.started })
		r.n.list = nil
		r.compare()
		r.fresh()
		r.connect(t) // a session begins with a connection
	}
}

func (r *rig) connect(t *rapid.T) {
	if r.n.connected {
		t.Skip("connected")
	}
	r.link = &link{}
	r.n.connected, r.n.window = true, rapid.IntRange(1, 4).Draw(t, "window")
	r.n.maxPacket = rapid.SampledFrom([]int{40, 1 << 20}).Draw(t, "max packet")
	expiry := uint32(0)
	if r.n.durable {
		expiry = 100
	}
	r.s.Attach(r.turn, session.Link{
		ID: &message.Identity{ClientID: "c"}, Conn: r.link, V5: true, Expiry: expiry,
		MaxPacket: uint32(r.n.maxPacket), ReceiveMaximum: uint16(r.n.window), Connack: []byte{0x20, 3, 0, 0, 0},
	})
	r.s.Pump(r.turn)
	r.turn.Flush()
	if f := r.link.take(r.t); len(f) == 0 || f[0].Type != mqtt.CONNACK {
		r.t.Fatalf("CONNACK does not come first")
	} else {
		r.link.later = f[1:]
	}
	for _, m := range r.n.list {
		m.here = false
	}
	r.n.flush(r.turn.Now)
}

// compare looks at what both have done since the last time.
func (r *rig) compare() {
	r.turn.Flush()
	r.turn.Fold(&r.stats)
	frames := append(r.link.later, r.link.take(r.t)...)
	r.link.later = nil
	want := r.n.sent
	r.n.sent = nil
	if len(frames) != len(want) {
		r.t.Fatalf("%d packets were sent, want %d: %+v", len(frames), len(want), want)
	}
	for i, f := range frames {
		r.compareFrame(f, want[i])
	}
	for d := range session.NumDrops {
		if got := r.stats.Dropped(d); got != int64(r.n.drops[d]) {
			r.t.Fatalf("%d messages were dropped for %q, want %d", got, d, r.n.drops[d])
		}
	}
	f := r.s.Figures()
	if f.Queued != r.n.waiting() || r.n.connected && f.Inflight != r.n.inflight() {
		r.t.Fatalf("%d queued, %d in flight; want %d and %d", f.Queued, f.Inflight, r.n.waiting(), r.n.inflight())
	}
}

func (r *rig) compareFrame(f mqtt.Frame, want sent) {
	if want.payload == "" {
		var a mqtt.Ack
		if err := a.Decode(f, mqtt.V5); err != nil || a.Type != mqtt.PUBREL || a.PacketID != want.m.id {
			r.t.Fatalf("sent %+v (%v), want PUBREL %d", f, err, want.m.id)
		}
		return
	}
	var p mqtt.Publish
	if err := p.Decode(f, mqtt.V5); err != nil {
		r.t.Fatalf("sent %+v: %v", f, err)
	}
	if string(p.Payload) != want.payload || p.QoS != want.qos || p.Dup != want.dup {
		r.t.Fatalf("sent %q qos=%d dup=%v, want %+v", p.Payload, p.QoS, p.Dup, want)
	}
	if want.qos == 0 {
		return
	}
	if want.dup && p.PacketID != want.m.id {
		r.t.Fatalf("sent again under id %d, first under %d", p.PacketID, want.m.id)
	}
	for _, m := range r.n.list {
		if m != want.m && m.id == p.PacketID {
			r.t.Fatalf("packet id %d is in flight already", p.PacketID)
		}
	}
	want.m.id = p.PacketID
}

// link is a connection whose socket takes everything.
type link struct {
	out   outbox.Outbox
	got   []byte
	later []mqtt.Frame
}

func (l *link) Out() *outbox.Outbox { return &l.out }

func (l *link) Flush() {
	for {
		bufs, ok := l.out.StartWrite(make([][]byte, 0, 16))
		if !ok {
			return
		}
		n := 0
		for _, b := range bufs {
			l.got = append(l.got, b...)
			n += len(b)
		}
		if again, _ := l.out.FinishWrite(n, false); !again {
			return
		}
	}
}

func (l *link) Post(func(loop int, now int64)) {}
func (l *link) WantDrained()                   {}

func (l *link) take(t rapid.TB) (frames []mqtt.Frame) {
	for len(l.got) > 0 {
		f, n, _, err := mqtt.ParseFrame(l.got, 0)
		if err != nil || n == 0 {
			t.Fatalf("sent %x: %v", l.got, err)
		}
		frames = append(frames, f)
		l.got = l.got[n:]
	}
	return frames
}
