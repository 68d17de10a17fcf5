package session

import (
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Deliver offers a publication to the session by a match made at subEpoch. It never blocks: what cannot be sent now is
// queued or dropped and counted.
func (s *Session) Deliver(t *Turn, p *Publication, g *Grant, subEpoch uint32) Outcome {
	if p.M.QoS == 0 || g.QoS == 0 {
		if s.deliverFast(t, p, g, subEpoch) {
			return Delivered
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return Ended
	}
	// A stale list never delivers after UNSUBACK: the epoch rises, under this lock, before that leaves.
	if s.subEpoch.Load() != subEpoch {
		return Stale
	}
	return s.deliver(t, p, g, p.M.Retain && g.RAP, nil)
}

// fastLane is what a QoS 0 delivery in a frame that many share needs of a connection. It is immutable.
type fastLane struct {
	conn      Conn
	out       *outbox.Outbox
	maxPacket uint32
	v5        bool
}

// deliverFast sends a QoS 0 message without the session's lock. What has to be decided under it is left to deliver: false.
// That the match still holds is looked at under the outbox's lock, which orders the frame and an UNSUBACK or DISCONNECT.
func (s *Session) deliverFast(t *Turn, p *Publication, g *Grant, subEpoch uint32) bool {
	l := s.fast.Load()
	if l == nil || len(g.SubIDs) > 0 || t.Short {
		return false
	}
	head, _ := p.Forms.Head(l.v5, 0, p.M.Retain && g.RAP)
	if uint32(len(head)+len(p.M.Payload)) > l.maxPacket {
		return false
	}
	r, wake := l.out.AppendGuarded(&s.subEpoch, subEpoch, s.limits.Current().OutboxBytes, head, p.M.Payload, p.M.Owned())
	if r != outbox.Appended {
		return false
	}
	if wake {
		t.Touch(l.conn)
	}
	t.Work++
	t.sent(0, len(head), len(p.M.Payload))
	return true
}

// DeliverRetained offers a retained message in answer to a SUBSCRIBE; it keeps its retain flag [MQTT-3.3.1-8].
func (s *Session) DeliverRetained(t *Turn, p *Publication, g *Grant) Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return Ended
	}
	if s.aliases.hide(p.M.Topic) {
		return Unavailable
	}
	if s.conn != nil && min(p.M.QoS, g.QoS) == 0 && !s.limits.Current().UpgradeQoS {
		// The replay waits for the outbox (Backlogged), so that what it has taken from the store meanwhile is not dropped.
		t.Work++
		return s.transmit(t, p, g.SubIDs, 0, true, 0)
	}
	return s.deliver(t, p, g, true, nil)
}

// DeliverShared offers a publication of a shared subscription. It takes it only if it can be sent at once; else the
// group tries another member.
func (s *Session) DeliverShared(t *Turn, p *Publication, g *Grant, group Group) Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return Ended
	}
	if s.conn != nil && s.congested() {
		s.askDrain() // then Pump comes, and looks into the group's queue
		return Unavailable
	}
	if s.conn == nil || s.out != nil && (s.out.backlog() > 0 || !s.windowOpen()) && min(p.M.QoS, g.QoS) > 0 {
		return Unavailable
	}
	return s.deliver(t, p, g, p.M.Retain && g.RAP, group)
}

func (s *Session) deliver(t *Turn, p *Publication, g *Grant, retain bool, group Group) Outcome {
	t.Work++
	if s.aliases.hide(p.M.Topic) {
		return Unavailable
	}
	qos := min(p.M.QoS, g.QoS)
	limits := s.limits.Current()
	if limits.UpgradeQoS {
		qos = g.QoS
	}
	// QoS 0 that was kept for the absent may still wait: what comes live stands behind it.
	if qos > 0 || limits.QueueQoS0 && (s.conn == nil || s.out != nil && s.out.backlog() > 0) {
		return s.deliverQueued(t, p, entry{qos: qos, retain: retain, subIDs: g.SubIDs, shared: group, size: uint32(len(p.M.Payload))})
	}
	if s.conn == nil {
		return Unavailable // QoS 0 is not kept for the absent (MQTT 5 §4.1)
	}
	if n := s.conn.Out().Bytes(); n > 0 {
		if n > limits.OutboxBytes {
			return s.dropOne(t, DropOutboxFull)
		}
		// Only those who do not keep up are shed: an empty outbox is not what fills the memory.
		if s.limits.OverMemory() {
			return s.dropOne(t, DropMemory)
		}
	}
	return s.transmit(t, p, g.SubIDs, 0, retain, 0)
}

func (s *Session) dropOne(t *Turn, reason Drop) Outcome {
	t.drop(s, reason, 1)
	return Dropped
}

// deliverQueued takes a QoS 1 or 2 message: sent at once when nothing waits and the window is open, else appended to the
// queue, so that live never overtakes queued.
func (s *Session) deliverQueued(t *Turn, p *Publication, e entry) Outcome {
	if s.out == nil {
		s.out = new(outgoing)
	}
	o := s.out
	gated := e.qos == 2 && (s.durable() || p.Repeats)
	live := s.conn != nil && o.backlog() == 0 && s.windowOpen() && !s.congested()
	spills := !live && s.spills()
	if !live {
		if s.conn != nil && 2*o.backlog() > s.limits.longQueue() {
			p.Congested = s
		}
		if reason, ok := s.queueable(t, p.M, spills); !ok {
			return s.dropOne(t, reason)
		}
		if s.conn != nil && s.congested() {
			s.askDrain()
		}
	}
	if live && !gated {
		shape := message.Shape{V5: s.v5, QoS: e.qos, SubIDs: e.subIDs, Mount: s.aliases.front()}
		if uint32(shape.Size(p.M)) > s.maxPacket {
			return s.dropOne(t, DropTooLarge)
		}
	}
	// Nothing is sent twice on one connection, so a session that ends with it need not keep what it has sent.
	if !live || gated || s.durable() || e.shared != nil {
		e.m = o.keep(p.Own(), s.limits)
	}
	if gated {
		e.state = stateGated
	}
	var last *entry
	if spills {
		last = o.pushTail(e)
	} else {
		last = o.push(e)
	}
	if s.durable() {
		t.queued = Queued{M: p.Own(), QoS: e.qos, Retain: e.retain, SubIDs: e.subIDs}
		if e.shared != nil {
			t.queued.Group = e.shared.StoreKey()
		}
		p.Store(t).Enqueue(s.Key, last.seq, &t.queued)
	}
	if gated || spills {
		p.Gated = append(p.Gated, Gate{S: s, Seq: last.seq})
		return Delivered
	}
	if live {
		last.state = stateSent
		o.advance()
		return s.transmit(t, p, e.subIDs, e.qos, e.retain, packetID(last.seq))
	}
	return Delivered
}

// queueable decides whether one more message may wait. One that spills does not wait in memory.
func (s *Session) queueable(t *Turn, m *message.Message, spills bool) (Drop, bool) {
	l, o := s.limits.Current(), s.out
	full := func() bool {
		return l.MaxQueued > 0 && o.backlog() >= l.MaxQueued ||
			l.MaxQueuedBytes > 0 && o.size()+int64(m.Size()) > l.MaxQueuedBytes
	}
	if full() {
		s.purge(t)
	}
	if full() {
		return DropQueueFull, false
	}
	if !spills && s.limits.OverMemory() {
		return DropMemory, false
	}
	return 0, true
}

// purge makes room by removing expired messages that were never sent.
func (s *Session) purge(t *Turn) {
	o := s.out
	if o.minExpires == 0 || t.Now < o.minExpires {
		return
	}
	o.minExpires = 0
	expired := 0
	for i := o.next; i < o.n; i++ {
		e := o.at(i)
		switch {
		case e.state != stateQueued && e.state != stateGated || e.m.Expires == 0:
		case e.state == stateQueued && e.m.Expired(t.Now):
			s.dequeue(t, e.seq)
			o.forget(e, s.limits)
			*e = entry{state: stateDone, seq: e.seq}
			o.waiting--
			expired++
		case o.minExpires == 0 || e.m.Expires < o.minExpires:
			o.minExpires = e.m.Expires
		}
	}
	if expired > 0 {
		o.compact()
		t.drop(s, DropExpired, expired)
	}
}

// congested: the client does not read what it has been sent.
func (s *Session) congested() bool { return s.conn.Out().Bytes() > s.limits.Current().OutboxBytes }

func (s *Session) windowOpen() bool {
	o := s.out
	if o.inflight >= int(s.maxInflight) {
		return false
	}
	if most := s.limits.Current().MaxInflightBytes; most > 0 && o.flying >= most {
		return false
	}
	next := o.nextSeq
	if o.next < o.n {
		next = o.at(o.next).seq // between it and the last there may be many that have expired
	}
	return o.next == 0 || next-o.at(0).seq < maxSpan
}

// transmit appends the frame to the connection's outbox.
func (s *Session) transmit(t *Turn, p *Publication, subIDs []uint32, qos byte, retain bool, id uint16) Outcome {
	if s.aliases != nil || len(subIDs) > 0 {
		shape := message.Shape{V5: s.v5, QoS: qos, Retain: retain, SubIDs: subIDs, Mount: s.aliases.front()}
		if p.M.Expires != 0 {
			shape.Remaining = p.M.Remaining(t.Now)
		}
		if !s.v5 {
			shape.SubIDs = nil
		}
		return s.transmitOwn(t, p.M, shape, id)
	}
	head, pidAt := p.Forms.Head(s.v5, qos, retain)
	if uint32(len(head)+len(p.M.Payload)) > s.maxPacket {
		return s.dropOne(t, DropTooLarge)
	}
	s.put(t, head, pidAt, id, p.M)
	return Delivered
}

// transmitOwn encodes a frame that is this receiver's own. Its size is checked before an alias is set: the client must
// not miss the PUBLISH that defines it.
func (s *Session) transmitOwn(t *Turn, m *message.Message, shape message.Shape, id uint16) Outcome {
	if uint32(shape.Size(m)) > s.maxPacket {
		return s.dropOne(t, DropTooLarge)
	}
	if s.aliases != nil {
		alias, known := s.aliases.pick(m.Topic)
		with := shape
		with.Alias, with.NoTopic = alias, known
		if alias != 0 && uint32(with.Size(m)) <= s.maxPacket {
			shape = with
			if !known {
				s.aliases.set(m.Topic, alias)
			}
		}
	}
	var pidAt int
	t.head, pidAt = message.AppendHead(t.head[:0], m, shape)
	s.put(t, t.head, pidAt, id, m)
	return Delivered
}

func (s *Session) put(t *Turn, head []byte, pidAt int, id uint16, m *message.Message) {
	ok, wake := s.conn.Out().AppendPublish(head, pidAt, id, m.Payload, m.Owned())
	if wake {
		t.Touch(s.conn)
	}
	if ok {
		t.sent(head[0]>>1&3, len(head), len(m.Payload))
	}
}

// Pump sends what waits, as far as the window and the outbox allow: after CONNACK, after an acknowledgement, and when the
// outbox has drained.
func (s *Session) Pump(t *Turn) {
	s.mu.Lock()
	s.pump(t)
	waiters := s.takeWaiters()
	from, end, page := s.wish()
	s.mu.Unlock()
	for _, w := range waiters {
		w(t.Loop, t.Now)
	}
	if page {
		t.ReadPage(s, from, end)
	}
}

// Drained is told that the outbox has become empty, as asked.
func (s *Session) Drained() {
	s.mu.Lock()
	s.drainAsked = false
	s.mu.Unlock()
}

// askDrain has the connection tell when its outbox is empty: then Pump goes on.
func (s *Session) askDrain() {
	if !s.drainAsked {
		s.drainAsked = true
		c := s.conn
		c.Post(func(int, int64) { c.WantDrained() })
	}
}

func (s *Session) pump(t *Turn) {
	o := s.out
	if o == nil || s.conn == nil {
		return
	}
	defer s.pumped()
	s.pumpRing(t)
	for o.next == o.n && o.unspill() {
		s.pumpRing(t)
	}
}

func (s *Session) pumpRing(t *Turn) {
	o := s.out
	for o.next < o.n && s.windowOpen() {
		if s.congested() {
			s.askDrain()
			return
		}
		e := o.at(o.next)
		switch e.state {
		case stateGated, stateReleasing:
			return // goes on when its batch has been stored
		case stateReleased:
			o.advance()
			s.sendPubrel(t, packetID(e.seq))
		case stateDone:
			o.advance()
		default:
			s.pumpPublish(t, e)
		}
	}
}

// pumped has a replay go on that waited for the queue. An acknowledgement does so too, but what waited may have been
// given up, of which the client knows nothing.
func (s *Session) pumped() {
	if s.replayWaits && s.out.backlog() == 0 {
		s.replayWaits = false
		s.askDrain()
	}
}

func (s *Session) pumpPublish(t *Turn, e *entry) {
	o := s.out
	i := o.next
	o.advance()
	started := e.state == stateSent
	if s.aliases.hide(e.m.Topic) {
		s.giveUp(t, i, DropNotAllowed)
		return
	}
	shape := message.Shape{V5: s.v5, QoS: e.qos, Dup: started, Retain: e.retain, Mount: s.aliases.front()}
	if s.v5 {
		shape.SubIDs = e.subIDs
	}
	if e.m.Expired(t.Now) && !(started && e.qos == 2) {
		s.giveUp(t, i, DropExpired)
		return
	}
	if e.m.Expires != 0 {
		shape.Remaining = max(1, e.m.Remaining(t.Now)) // a QoS 2 flow that has begun is completed
	}
	if uint32(shape.Size(e.m)) > s.maxPacket {
		s.giveUp(t, i, DropTooLarge)
		return
	}
	// A right that was taken away while the message waited, or was not acknowledged. A QoS 2 flow that has begun is completed:
	// the client may hold the message already, and its packet id.
	if !(started && e.qos == 2) && t.MayReceive != nil && !t.MayReceive(s.ID(), e.m.Topic) {
		s.giveUp(t, i, DropNotAllowed)
		return
	}
	m, id := e.m, packetID(e.seq)
	switch e.state = stateSent; {
	case e.qos == 0:
		id = 0
		s.dequeue(t, e.seq)
		o.finish(i, s.limits)
	case !s.durable() && e.shared == nil:
		o.forget(e, s.limits)
	}
	s.transmitOwn(t, m, shape, id)
}

// giveUp ends the flow of entry i without delivery.
func (s *Session) giveUp(t *Turn, i int, reason Drop) {
	s.dequeue(t, s.out.at(i).seq)
	s.out.finish(i, s.limits)
	t.drop(s, reason, 1)
}

// dequeue removes a message from the store. Nothing waits for it: were it lost, the message would only be sent again.
func (s *Session) dequeue(t *Turn, seq uint64) {
	if s.durable() {
		t.Later().Dequeue(s.Key, seq)
	}
}

func (s *Session) sendPubrel(t *Turn, id uint16) {
	frame := [4]byte{byte(mqtt.PUBREL)<<4 | 2, 2, byte(id >> 8), byte(id)}
	s.sendFrame(t, frame[:])
}

func (s *Session) sendFrame(t *Turn, frame []byte) {
	ok, wake := s.conn.Out().Append(frame)
	if wake {
		t.Touch(s.conn)
	}
	if ok {
		t.n[MessagesSent]++
		t.n[BytesSent] += int64(len(frame))
	}
}
