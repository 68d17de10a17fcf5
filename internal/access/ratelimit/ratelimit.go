// Package ratelimit counts what clients and users do against what they may do in a time: connections, publishes, bytes,
// subscribes. Time is an argument, in milliseconds that only rise. A check allocates nothing.
//
// A Meter belongs to a connection and is used by its loop alone; the user's share of it is common to all the user's
// connections and has a lock of its own.
package ratelimit

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// Rate is how much may happen in a second, and how much at once before that counts. The zero Rate is no limit.
type Rate struct {
	PerSecond float64
	Burst     float64 // 0: what PerSecond gives in a second, at least one
}

func (r *Rate) burst() float64 {
	if r.Burst > 0 {
		return r.Burst
	}
	return max(r.PerSecond, 1)
}

// Rates are one client's, or one user's.
type Rates struct {
	Connections, Publishes, Bytes, Subscribes Rate
}

// Limits are for each client and for each user. Anonymous clients have no user.
type Limits struct {
	Client, User Rates
	// Refuse refuses what is over the limit; else the client is read more slowly, and nothing is lost. Connections over the
	// limit are always refused.
	Refuse bool
}

// Bucket is what is left of a rate. The zero Bucket is full.
type Bucket struct {
	spent float64 // tokens taken and not yet given back
	last  int64   // when that was true, milliseconds
}

// settle gives back what the time since the last look has earned.
func (b *Bucket) settle(r *Rate, now int64) {
	if now > b.last { // a clock that steps back earns nothing
		b.spent = max(0, b.spent-float64(now-b.last)*r.PerSecond/1000)
		b.last = now
	}
}

// full tells whether nothing is spent, so that the bucket need not be kept.
func (b *Bucket) full(r *Rate, now int64) bool {
	if r.PerSecond <= 0 {
		return true
	}
	b.settle(r, now)
	return b.spent == 0
}

// Take takes n if they are there. A rate without limit always has them.
func (b *Bucket) Take(r *Rate, now int64, n float64) bool {
	if r.PerSecond <= 0 {
		return true
	}
	b.settle(r, now)
	// What is larger than the burst could never pass: it needs a full bucket.
	if b.spent > 0 && b.spent+n > r.burst() {
		return false
	}
	b.spent += n
	return true
}

// Owe takes n in any case and returns the milliseconds after which they have been earned.
func (b *Bucket) Owe(r *Rate, now int64, n float64) (wait int64) {
	if r.PerSecond <= 0 {
		return 0
	}
	b.settle(r, now)
	b.spent += n
	if over := b.spent - r.burst(); over > 0 {
		return min(int64(over*1000/r.PerSecond)+1, maxWait)
	}
	return 0
}

// giveBack undoes a Take.
func (b *Bucket) giveBack(r *Rate, n float64) {
	if r.PerSecond > 0 {
		b.spent = max(0, b.spent-n)
	}
}

// maxWait bounds a delay, milliseconds, so that a client whose limit is tiny still gets its keep alive read.
const maxWait = 10_000

// Answer says what to do with what a client has sent.
type Answer struct {
	// Refuse: it is not to be taken. Wait: take it, but read nothing more for so many milliseconds.
	Refuse bool
	Wait   int64
	// Limit names what was exceeded, for the log and the reason; "" if nothing was.
	Limit string
}

// Limiter holds the limits and what must outlive a connection. It may be used by several goroutines.
type Limiter struct {
	limits atomic.Pointer[Limits]
	seed   maphash.Seed

	mu      sync.Mutex
	users   map[uint64]*user
	clients map[uint64]*Bucket // connections by client id
	sweepAt int
}

type user struct {
	mu                                        sync.Mutex
	connections, publishes, bytes, subscribes Bucket
	meters                                    int // guarded by Limiter.mu
}

// Meter counts for one connection.
type Meter struct {
	l                            *Limiter
	publishes, bytes, subscribes Bucket
	user                         *user // nil: anonymous
	key                          uint64
}

// firstSweep is how many entries there must be before those that carry nothing are looked for.
const firstSweep = 1024

// New makes a Limiter.
func New(l Limits) *Limiter {
	r := &Limiter{seed: maphash.MakeSeed(), users: map[uint64]*user{}, clients: map[uint64]*Bucket{}, sweepAt: firstSweep}
	r.Set(l)
	return r
}

// Set puts other limits in force, for connections that are open, too.
func (l *Limiter) Set(limits Limits) { l.limits.Store(&limits) }

// Connect counts a connection. The Meter is nil if it is refused; else it is to be closed with the connection.
func (l *Limiter) Connect(now int64, clientID, username string) (*Meter, Answer) {
	limits := l.limits.Load()
	m := &Meter{l: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(limits, now)
	var client *Bucket
	if limits.Client.Connections.PerSecond > 0 {
		key := maphash.String(l.seed, clientID)
		if client = l.clients[key]; client == nil {
			client = &Bucket{}
			l.clients[key] = client
		}
		if !client.Take(&limits.Client.Connections, now, 1) {
			return nil, Answer{Refuse: true, Limit: "connections per client"}
		}
	}
	if username == "" {
		return m, Answer{}
	}
	m.key = maphash.String(l.seed, username)
	if m.user = l.users[m.key]; m.user == nil {
		m.user = &user{}
		l.users[m.key] = m.user
	}
	m.user.mu.Lock()
	defer m.user.mu.Unlock()
	if !m.user.connections.Take(&limits.User.Connections, now, 1) {
		if client != nil {
			client.giveBack(&limits.Client.Connections, 1)
		}
		return nil, Answer{Refuse: true, Limit: "connections per user"}
	}
	m.user.meters++
	return m, Answer{}
}

// Close ends the connection's count. What its user has spent stays spent.
func (m *Meter) Close() {
	if m.user == nil {
		return
	}
	m.l.mu.Lock()
	m.user.meters--
	m.l.mu.Unlock()
}

// sweep forgets who has nothing spent and no connection, when the tables have doubled since it last did.
func (l *Limiter) sweep(limits *Limits, now int64) {
	if len(l.users)+len(l.clients) < l.sweepAt {
		return
	}
	for k, u := range l.users {
		if u.meters > 0 {
			continue
		}
		u.mu.Lock()
		r := &limits.User
		idle := u.connections.full(&r.Connections, now) && u.publishes.full(&r.Publishes, now) && u.bytes.full(&r.Bytes, now) && u.subscribes.full(&r.Subscribes, now)
		u.mu.Unlock()
		if idle {
			delete(l.users, k)
		}
	}
	for k, b := range l.clients {
		if b.full(&limits.Client.Connections, now) {
			delete(l.clients, k)
		}
	}
	l.sweepAt = max(firstSweep, 2*(len(l.users)+len(l.clients)))
}

// Publish counts a PUBLISH of so many bytes, all of its packet.
func (m *Meter) Publish(now int64, bytes int) Answer {
	limits := m.l.limits.Load()
	c, u := &limits.Client, &limits.User
	n := float64(bytes)
	if !limits.Refuse {
		a := Answer{}
		a.later(m.publishes.Owe(&c.Publishes, now, 1), "publishes per client")
		a.later(m.bytes.Owe(&c.Bytes, now, n), "bytes per client")
		if m.user != nil && (u.Publishes.PerSecond > 0 || u.Bytes.PerSecond > 0) {
			m.user.mu.Lock()
			a.later(m.user.publishes.Owe(&u.Publishes, now, 1), "publishes per user")
			a.later(m.user.bytes.Owe(&u.Bytes, now, n), "bytes per user")
			m.user.mu.Unlock()
		}
		return a
	}
	if !m.publishes.Take(&c.Publishes, now, 1) {
		return Answer{Refuse: true, Limit: "publishes per client"}
	}
	if !m.bytes.Take(&c.Bytes, now, n) {
		m.publishes.giveBack(&c.Publishes, 1)
		return Answer{Refuse: true, Limit: "bytes per client"}
	}
	limit := m.userPublish(u, now, n)
	if limit != "" {
		m.publishes.giveBack(&c.Publishes, 1)
		m.bytes.giveBack(&c.Bytes, n)
		return Answer{Refuse: true, Limit: limit}
	}
	return Answer{}
}

// userPublish takes the user's share and names the limit that does not let it.
func (m *Meter) userPublish(u *Rates, now int64, n float64) (limit string) {
	if m.user == nil || u.Publishes.PerSecond <= 0 && u.Bytes.PerSecond <= 0 {
		return ""
	}
	m.user.mu.Lock()
	defer m.user.mu.Unlock()
	if !m.user.publishes.Take(&u.Publishes, now, 1) {
		return "publishes per user"
	}
	if !m.user.bytes.Take(&u.Bytes, now, n) {
		m.user.publishes.giveBack(&u.Publishes, 1)
		return "bytes per user"
	}
	return ""
}

// Subscribe counts the filters of a SUBSCRIBE or UNSUBSCRIBE.
func (m *Meter) Subscribe(now int64, filters int) Answer {
	limits := m.l.limits.Load()
	c, u := &limits.Client, &limits.User
	n := float64(filters)
	shared := m.user != nil && u.Subscribes.PerSecond > 0
	if !limits.Refuse {
		a := Answer{}
		a.later(m.subscribes.Owe(&c.Subscribes, now, n), "subscribes per client")
		if shared {
			m.user.mu.Lock()
			a.later(m.user.subscribes.Owe(&u.Subscribes, now, n), "subscribes per user")
			m.user.mu.Unlock()
		}
		return a
	}
	if !m.subscribes.Take(&c.Subscribes, now, n) {
		return Answer{Refuse: true, Limit: "subscribes per client"}
	}
	if shared {
		m.user.mu.Lock()
		ok := m.user.subscribes.Take(&u.Subscribes, now, n)
		m.user.mu.Unlock()
		if !ok {
			m.subscribes.giveBack(&c.Subscribes, n)
			return Answer{Refuse: true, Limit: "subscribes per user"}
		}
	}
	return Answer{}
}

// later keeps the longest wait.
func (a *Answer) later(wait int64, limit string) {
	if wait > a.Wait {
		a.Wait, a.Limit = wait, limit
	}
}
