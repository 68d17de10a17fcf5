package session

import (
	"slices"
	"sort"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
)

// Of a long queue only the front lies in memory, where the store gives queues back (Limits.Paged): what comes behind it is
// kept until its commit has been answered, and then in the store alone. When the client has taken most of the front, the
// next page is read. So a session that was away costs the same whatever waits for it.

const (
	// presentItems and absentItems are how many messages wait in memory for a client that is there, or is not.
	presentItems = 512
	absentItems  = 16
	// PageItems and PageBytes bound one page, and lowItems is how few are left when the next is read.
	PageItems = 512
	PageBytes = 1 << 20
	lowItems  = 192
)

// spill is what of a queue is in the store only. In the order of the queue: the ring, then what is stored, then the tail.
type spill struct {
	from, end uint64 // sequence numbers of what is stored; from ≥ end: nothing is
	n         int    // about how many messages that is
	bytes     int64  // their size, as far as it is known
	// tail are those behind, in ascending order: in memory until they are stored.
	tail []entry
	// released wait for PUBCOMP since before a restart. They stand among those that are stored.
	released []uint64
	// sent is how many of the next may have been sent before a restart; those below sentBelow were.
	sent      int
	sentBelow uint64
	reading   bool
}

func (sp *spill) stored() bool { return sp.from < sp.end }

// backlog is how many messages wait, in memory or not.
func (o *outgoing) backlog() int {
	if o.spill == nil {
		return o.waiting
	}
	return o.waiting + o.spill.n + len(o.spill.tail) + len(o.spill.released)
}

// size is what they take, here or in the store.
func (o *outgoing) size() int64 {
	if o.spill == nil {
		return o.bytes
	}
	return o.bytes + o.spill.bytes
}

// spills tells whether a message that has to wait does so in the store.
func (s *Session) spills() bool {
	if !s.limits.Paged || !s.durable() {
		return false
	}
	o, room := s.out, absentItems
	if s.conn != nil {
		room = presentItems
	}
	return o.spill != nil || o.n-o.next >= room || s.limits.OverMemory()
}

// pushTail appends a message that is to wait in the store.
func (o *outgoing) pushTail(e entry) *entry {
	e.seq = o.nextSeq
	o.nextSeq++
	if o.spill == nil {
		o.spill = &spill{from: e.seq, end: e.seq}
	}
	sp := o.spill
	sp.tail = append(sp.tail, e)
	return &sp.tail[len(sp.tail)-1]
}

// storedTail is Stored for a message of the tail. false: it is none.
func (s *Session) storedTail(t *Turn, seq uint64, err error) bool {
	o := s.out
	sp := o.spill
	if sp == nil {
		return false
	}
	i := sort.Search(len(sp.tail), func(i int) bool { return sp.tail[i].seq >= seq })
	if i == len(sp.tail) || sp.tail[i].seq != seq {
		return false
	}
	if err != nil {
		o.forget(&sp.tail[i], s.limits)
		sp.tail = slices.Delete(sp.tail, i, i+1)
		t.drop(s, DropStore, 1)
	} else {
		e := &sp.tail[i]
		if e.stored = true; e.state == stateGated {
			e.state = stateQueued // it may be moved into the ring before those in front of it are stored
		}
	}
	// Commits may be answered in another order than that of the queue.
	done := 0
	for ; done < len(sp.tail) && sp.tail[done].stored; done++ {
		e := &sp.tail[done]
		if !sp.stored() {
			sp.from = e.seq
		}
		sp.end = e.seq + 1
		sp.n++
		sp.bytes += int64(e.m.Size())
		o.forget(e, s.limits)
	}
	clear(sp.tail[:done])
	sp.tail = sp.tail[done:]
	o.dropSpill()
	return true
}

// dropSpill ends the spill when nothing is left of it.
func (o *outgoing) dropSpill() {
	if sp := o.spill; sp != nil && !sp.stored() && len(sp.tail) == 0 && len(sp.released) == 0 && !sp.reading {
		o.spill = nil
	}
}

// unspill moves the tail into the ring when nothing is stored before it: it is in memory still. false: there is nothing
// to move.
func (o *outgoing) unspill() bool {
	sp := o.spill
	if sp == nil || sp.stored() || sp.reading || len(sp.tail)+len(sp.released) == 0 {
		return false
	}
	o.takeReleased(sp, o.nextSeq)
	for i := range sp.tail {
		o.append(sp.tail[i])
	}
	o.spill = nil
	return true
}

// takeReleased moves those below a sequence number into the ring.
func (o *outgoing) takeReleased(sp *spill, below uint64) {
	for len(sp.released) > 0 && sp.released[0] < below {
		o.append(entry{seq: sp.released[0], qos: 2, state: stateReleased})
		sp.released = sp.released[1:]
	}
}

// wish is the page that should be read next; ok false: none. The caller reads it, by Turn.ReadPage, without the lock.
func (s *Session) wish() (from, end uint64, ok bool) {
	o := s.out
	if o == nil || o.spill == nil || s.conn == nil {
		return 0, 0, false
	}
	return s.takeWish()
}

func (s *Session) takeWish() (from, end uint64, ok bool) {
	o, sp := s.out, s.out.spill
	if sp.reading || !sp.stored() || o.n-o.next >= lowItems {
		return 0, 0, false
	}
	sp.reading = true
	return sp.from, sp.end, true
}

// WishPage asks for the first page of a session whose client is absent; ok false: there is none.
func (s *Session) WishPage() (from, end uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.out == nil || s.out.spill == nil {
		return 0, 0, false
	}
	return s.takeWish()
}

// Paged takes a page that was asked for; group finds a shared group by its key, nil if there is none any more. next is where
// the following page begins. retry: it could not be read, and RetryPage is to be called some time later.
func (s *Session) Paged(items []Item, group func(Key) Group, next uint64, err error) (retry bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.out
	if o == nil || o.spill == nil {
		return false // it has ended
	}
	sp := o.spill
	for i := range items {
		it := &items[i]
		o.takeReleased(sp, it.Seq)
		e := entry{seq: it.Seq, qos: it.QoS, retain: it.Retain, subIDs: it.SubIDs, stored: true, size: uint32(len(it.M.Payload))}
		if it.Group != 0 {
			if g := group(it.Group); g != nil {
				e.shared = g
			}
		}
		if sp.sent > 0 || it.Seq < sp.sentBelow {
			e.state = stateSent
			sp.sent = max(0, sp.sent-1)
		}
		sp.bytes = max(0, sp.bytes-int64(it.M.Size()))
		e.m = o.keep(it.M, s.limits)
		o.append(e)
	}
	sp.from, sp.n = next, max(0, sp.n-len(items))
	if err != nil {
		return true
	}
	sp.reading = false
	if !sp.stored() {
		sp.n, sp.bytes, sp.sent = 0, 0, 0
		o.takeReleased(sp, o.nextSeq)
	}
	o.dropSpill()
	return false
}

// RetryPage lets a page be asked for again that could not be read.
func (s *Session) RetryPage() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out != nil && s.out.spill != nil {
		s.out.spill.reading = false
	}
}

// Load makes a session as it was stored, without connection. Loaded follows when the store has told all that is its.
func Load(id *message.Identity, r *Record, l *Limits) *Session {
	s := New(id, 0, r.Key, l)
	s.expiry, s.stored = r.Expiry, true
	s.out = &outgoing{spill: &spill{sentBelow: max(r.Sent, 1) - 1}}
	if r.Left == 0 || r.Sent == 0 {
		// How far it had been sent is not known. What was acknowledged shortly before may still be there, so the window does
		// not tell; DUP on a message that was never sent does no harm.
		s.out.spill.sent = maxSpan
	}
	return s
}

// LoadQueue tells what the store has for it.
func (s *Session) LoadQueue(first, last uint64, count int) {
	sp := s.out.spill
	sp.from, sp.end, sp.n = first, last+1, count
}

// LoadReleased adds an outgoing QoS 2 message that waits for PUBCOMP.
func (s *Session) LoadReleased(seq uint64) {
	s.out.spill.released = append(s.out.spill.released, seq)
}

// LoadReceived adds an incoming QoS 2 message that waits for PUBREL; nil: it was refused.
func (s *Session) LoadReceived(packetID uint16, m *message.Message) {
	s.hold(m)
	if s.received == nil {
		s.received = make(map[uint16]incoming)
	}
	s.received[packetID] = incoming{m: m, stored: true}
}

// Loaded ends the loading; run is that of Store.Load.
func (s *Session) Loaded(run uint64) {
	s.out.nextSeq = run << RunShift
	s.out.dropSpill()
}

// Left is what the store keeps of a session that its connection has left.
func (s *Session) Left(now int64) *Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.ID()
	r := &Record{Key: s.Key, ClientID: id.ClientID, Username: id.Username, Expiry: s.expiry, Left: now}
	if below, known := s.sentBelow(); known {
		r.Sent = below + 1
	}
	return r
}

// sentBelow is the sequence number below which all has been sent.
func (s *Session) sentBelow() (below uint64, known bool) {
	o := s.out
	if o == nil {
		return 0, true // nothing was ever queued
	}
	if o.spill != nil {
		if o.spill.sent > 0 {
			return 0, false
		}
		below = o.spill.sentBelow
	}
	for i := o.n - 1; i >= 0; i-- {
		if e := o.at(i); e.state != stateQueued && e.state != stateGated {
			return max(below, e.seq+1), true
		}
	}
	return below, true
}
