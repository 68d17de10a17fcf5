package session

import (
	"slices"
	"sort"
	"strings"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
)

// maxSpan bounds how far a session may run ahead of its oldest unacknowledged message: a client that acknowledges all
// but one would otherwise make the ring grow. It is far below 65,535, so that packet ids are never reused in flight.
const maxSpan = 16384

type entryState uint8

const (
	stateQueued    entryState = iota // never sent
	stateGated                       // QoS 2 whose storing has not been confirmed
	stateSent                        // PUBLISH sent at least once
	stateReleasing                   // PUBREC received, the storing of which has not been confirmed
	stateReleased                    // PUBREC received: PUBREL is what is resent [MQTT-4.3.3-5]
	stateDone                        // acknowledged or given up; waits for those before it
)

// entry is one QoS 1 or 2 message of a session's queue.
type entry struct {
	m      *message.Message // nil: will never have to be sent again
	shared Group            // the shared group it came through; nil: none
	subIDs []uint32
	seq    uint64
	size   uint32 // of the payload, which counts as long as it is in flight; 0: a released one's is not known
	qos    byte
	retain bool
	state  entryState
	stored bool // its commit has been answered; known of those in a spill's tail only
}

// Group is a shared group, as a session knows it.
type Group interface{ StoreKey() Key }

// outgoing is a session's queue of QoS 1 and 2 messages: one ring in order of arrival. Those before next have been sent
// on this connection, the others wait. A message's packet id follows from its sequence number, so that ids are unique in
// flight without a table and an acknowledgement finds its entry by subtraction.
type outgoing struct {
	ring       []entry // length is a power of two
	head       int
	n          int
	next       int   // entries sent on this connection
	inflight   int   // of those, not done
	flying     int64 // their payloads, bytes
	waiting    int   // entries not sent on this connection and not done
	nextSeq    uint64
	bytes      int64
	minExpires int64 // no queued message expires before; 0: none does
	waiters    []func(loop int, now int64)
	limbo      []Shared // of a session that has ended; see keepLimbo
	spill      *spill   // what of the queue is in the store only; nil: nothing
}

// smallRing is where rings start: most sessions never queue more than a few messages.
const smallRing = 8

func packetID(seq uint64) uint16 { return uint16(seq%65535) + 1 }

func (o *outgoing) at(i int) *entry { return &o.ring[(o.head+i)&(len(o.ring)-1)] }

// find gives the index of a packet id among those sent on this connection and not acknowledged.
func (o *outgoing) find(id uint16) (i int, ok bool) {
	if id == 0 || o.next == 0 {
		return 0, false
	}
	first := o.at(0).seq
	i, ok = o.index(first + uint64((int(id)-int(packetID(first))+65535)%65535))
	return i, ok && i < o.next && o.at(i).state != stateDone
}

// index gives the place of a sequence number: its distance from the first unless the queue has gaps.
func (o *outgoing) index(seq uint64) (i int, ok bool) {
	if o.n == 0 || seq < o.at(0).seq {
		return 0, false
	}
	if d := seq - o.at(0).seq; d < uint64(o.n) && o.at(int(d)).seq == seq {
		return int(d), true
	}
	i = sort.Search(o.n, func(i int) bool { return o.at(i).seq >= seq })
	return i, i < o.n && o.at(i).seq == seq
}

func (o *outgoing) push(e entry) *entry {
	e.seq = o.nextSeq
	o.nextSeq++
	return o.append(e)
}

// append puts an entry that has its sequence number behind the others.
func (o *outgoing) append(e entry) *entry {
	if o.n == len(o.ring) {
		o.grow()
	}
	o.waiting++
	if e.m != nil && e.m.Expires != 0 && (o.minExpires == 0 || e.m.Expires < o.minExpires) {
		o.minExpires = e.m.Expires
	}
	o.n++
	last := o.at(o.n - 1)
	*last = e
	return last
}

func (o *outgoing) grow() {
	ring := make([]entry, max(smallRing, 2*len(o.ring)))
	for i := range o.n {
		ring[i] = *o.at(i)
	}
	o.ring, o.head = ring, 0
}

// advance counts the first waiting entry as sent on this connection.
func (o *outgoing) advance() {
	if o.at(o.next).state != stateDone {
		o.waiting--
		o.inflight++
		o.flying += int64(o.at(o.next).size)
	}
	o.next++
}

// finish marks entry i done and lets go of all done ones at the front.
func (o *outgoing) finish(i int, l *Limits) {
	e := o.at(i)
	if e.state == stateDone {
		return
	}
	if i < o.next {
		o.inflight--
		o.flying -= int64(e.size)
	} else {
		o.waiting--
	}
	o.forget(e, l)
	*e = entry{state: stateDone, seq: e.seq}
	for o.n > 0 && o.at(0).state == stateDone {
		o.head = (o.head + 1) & (len(o.ring) - 1)
		o.n--
		if o.next > 0 {
			o.next--
		}
	}
	if o.n == 0 && len(o.ring) > 4096 {
		o.ring, o.head = nil, 0
	}
}

// compact closes the gaps among the entries that have not been sent.
func (o *outgoing) compact() {
	to := o.next
	for i := o.next; i < o.n; i++ {
		if e := *o.at(i); e.state != stateDone {
			*o.at(to) = e
			to++
		}
	}
	for i := to; i < o.n; i++ {
		*o.at(i) = entry{}
	}
	o.n = to
}

// keep charges the message of an entry to the budgets; forget takes it back.
func (o *outgoing) keep(m *message.Message, l *Limits) *message.Message {
	o.bytes += int64(m.Size())
	l.Hold(m)
	return m
}

func (o *outgoing) forget(e *entry, l *Limits) {
	if e.m != nil {
		o.bytes -= int64(e.m.Size())
		l.Unhold(e.m)
		e.m = nil
	}
}

// rewind prepares for a new connection: all that is not done is sent again, in the original order [MQTT-4.6.0-1].
func (o *outgoing) rewind() {
	o.next, o.inflight, o.waiting, o.flying = 0, 0, 0, 0
	for i := range o.n {
		if o.at(i).state != stateDone {
			o.waiting++
		}
	}
}

// release lets everything go and returns how many messages had not been delivered.
func (o *outgoing) release(l *Limits) (lost int) {
	for i := range o.n {
		e := o.at(i)
		if e.state == stateQueued || e.state == stateGated {
			lost++
		}
		o.forget(e, l)
	}
	if sp := o.spill; sp != nil {
		lost += sp.n + len(sp.tail)
		for i := range sp.tail {
			o.forget(&sp.tail[i], l)
		}
	}
	return lost
}

// takeWaiters returns those who waited for the queue to shorten, once it has, or the client has gone.
func (s *Session) takeWaiters() (out []func(loop int, now int64)) {
	o := s.out
	if o == nil || len(o.waiters) == 0 || s.conn != nil && 4*o.backlog() > s.limits.longQueue() {
		return nil
	}
	out, o.waiters = o.waiters, nil
	return out
}

// Await has fn called when the session's queue has shortened. false: it is short already, fn is not called.
func (s *Session) Await(fn func(loop int, now int64)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil || s.out == nil || 4*s.out.backlog() <= s.limits.longQueue() {
		return false
	}
	s.out.waiters = append(s.out.waiters, fn)
	return true
}

// ReleaseWaiters lets go those who have waited long enough.
func (s *Session) ReleaseWaiters(t *Turn) {
	s.mu.Lock()
	var waiters []func(loop int, now int64)
	if s.out != nil {
		waiters, s.out.waiters = s.out.waiters, nil
	}
	s.mu.Unlock()
	for _, w := range waiters {
		w(t.Loop, t.Now)
	}
}

// Shared is a message that a member of a shared group did not take.
type Shared struct {
	Group Group
	M     *message.Message
	// Owner has the queue that the message is stored in, under Seq; 0: in none. Whoever takes it over dequeues it.
	Owner Key
	// Pending: it is not known whether that is so. Then it was stored in the queue of Was, under WasSeq, before.
	Pending bool
	Was     Key
	WasSeq  uint64
	Seq     uint64
}

// takeShared removes the messages of shared group (nil: of all) that another member may have: those never sent, and, of a
// member that has gone, QoS 1 not acknowledged. QoS 2 that has begun stays with its member [MQTT-4.8.2-5], and one that
// only unsubscribes completes QoS 1 too [MQTT-3.10.4-3].
func (s *Session) takeShared(group Group) (out []Shared) {
	o := s.out
	if o == nil || o.n == 0 {
		return nil
	}
	for i := o.n - 1; i >= 0; i-- { // from the end: finish lets go at the front
		e := o.at(i)
		if e.shared == nil || e.m == nil || group != nil && e.shared != group {
			continue
		}
		if e.state == stateQueued || e.state == stateSent && e.qos == 1 && group == nil {
			sh := Shared{Group: e.shared, M: e.m}
			if s.durable() {
				sh.Owner, sh.Seq = s.Key, e.seq
			}
			out = append(out, sh)
			o.finish(i, s.limits)
			continue
		}
		if group != nil {
			e.shared = nil // from now on a message like any other
		}
	}
	slices.Reverse(out)
	return out
}

// aliases are what topics look like to one client: the topic aliases that the broker has set towards it, first come, first
// served, and the mount point of its listener. nil: as they are.
type aliases struct {
	mount string
	max   uint16
	ids   map[string]uint16
}

// mounted adds a mount point.
func (a *aliases) mounted(mount string) *aliases {
	if mount == "" {
		return a
	}
	if a == nil {
		a = new(aliases)
	}
	a.mount = mount
	return a
}

// front is how much of a topic the client does not see.
func (a *aliases) front() int {
	if a == nil {
		return 0
	}
	return len(a.mount)
}

// hide reports whether a topic is outside the client's mount point, or is the mount point itself, of which nothing would be
// left. A session may hold subscriptions and messages from a connection to another listener.
func (a *aliases) hide(topic string) bool {
	return a != nil && a.mount != "" && (len(topic) <= len(a.mount) || !strings.HasPrefix(topic, a.mount))
}

// aliasWorthwhile is the topic length from which an alias saves bytes: the property itself takes three.
const aliasWorthwhile = 6

// pick returns the alias for a topic and whether the client knows it already; 0: none.
func (a *aliases) pick(topic string) (id uint16, known bool) {
	if id, known = a.ids[topic]; known {
		return id, true
	}
	if len(topic) < aliasWorthwhile || len(a.ids) >= int(a.max) {
		return 0, false
	}
	return uint16(len(a.ids) + 1), false
}

func (a *aliases) set(topic string, id uint16) {
	if a.ids == nil {
		a.ids = make(map[string]uint16)
	}
	a.ids[strings.Clone(topic)] = id
}

// keepLimbo remembers, for a session that ends, the messages of shared groups of which it is not known whether they are
// stored: another member may have them then, and not before, since a publisher repeats what was refused.
func (s *Session) keepLimbo() (limbo []Shared) {
	for i := range s.out.n {
		if e := s.out.at(i); e.state == stateGated && e.shared != nil {
			sh := Shared{Group: e.shared, M: e.m, Seq: e.seq}
			if s.durable() {
				sh.Owner = s.Key
			}
			limbo = append(limbo, sh)
		}
	}
	return limbo
}

func (o *outgoing) takeLimbo(seq uint64, err error) (left []Shared) {
	o.limbo = slices.DeleteFunc(o.limbo, func(sh Shared) bool {
		if sh.Seq == seq && err == nil {
			left = append(left, sh)
		}
		return sh.Seq == seq
	})
	return left
}
