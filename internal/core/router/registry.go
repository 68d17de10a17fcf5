package router

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/core/subtree"
)

// Holder is a connection that has, or waits for, a client id.
type Holder interface {
	// Evict has the holder close with "session taken over" and call then once its handler has left and its will has been
	// decided; clean tells that the one who takes over starts a new session. Any goroutine; returns at once.
	Evict(clean bool, then func())
}

const registryShards = 64

// registry gives each client id to one connection at a time [MQTT-3.1.4-3] and knows the sessions of the absent.
type registry struct {
	seed         maphash.Seed
	shards       [registryShards]registryShard
	table        table[session.Session]
	count        atomic.Int64
	connected    atomic.Int64
	maxConnected atomic.Int64
}

type registryShard struct {
	mu sync.Mutex
	m  map[string]client
}

type client struct {
	s       *session.Session // nil: no state
	holder  Holder           // nil: absent
	offline *offline         // what is due while absent
}

func (g *registry) init() {
	g.seed = maphash.MakeSeed()
	for i := range g.shards {
		g.shards[i].m = make(map[string]client)
	}
}

func (g *registry) shard(id string) *registryShard {
	return &g.shards[maphash.String(g.seed, id)%registryShards]
}

// Claim makes h the holder of a client id. prev, if not nil, held it until now: h must have it evicted, and go on with
// Bind when that is done. full: the client is new and there are too many.
func (r *Router) Claim(id string, h Holder) (prev Holder, full bool) {
	sh := r.sessions.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c, known := sh.m[id]
	if most := r.most.Load(); !known && most > 0 && r.sessions.count.Load() >= most {
		return nil, true
	}
	prev, c.holder = c.holder, h
	sh.m[id] = c
	return prev, false
}

// Bind gives the holder its session: the one that is there, or a new one for clean. A will that waited for the old
// session is cancelled when it goes on [MQTT-3.1.3-9] and sent when it ends. ended is the session that does, nil if none:
// the caller has the store delete it, if it is durable.
func (w *Worker) Bind(id *message.Identity, clean bool) (s *session.Session, present bool, ended *session.Session) {
	r := w.r
	sh := r.sessions.shard(id.ClientID)
	sh.mu.Lock()
	c := sh.m[id.ClientID]
	old, off := c.s, c.offline
	c.offline = nil
	if old != nil && !clean {
		present = true
		c.s = old
	} else {
		c.s = r.sessions.table.add(func(n subtree.SubscriberID) *session.Session { return session.New(id, n, r.newKey(), r.o.Limits) })
		r.sessions.count.Add(1)
	}
	s = c.s
	sh.m[id.ClientID] = c
	sh.mu.Unlock()
	if was := s.ID(); was.Username != id.Username || !sameGrant(was.Grant, id.Grant) {
		s.Rename(id)
		r.renamed.Add(1) // what was looked up for the other user does not hold any more
	}

	n := r.sessions.connected.Add(1)
	for was := r.sessions.maxConnected.Load(); n > was && !r.sessions.maxConnected.CompareAndSwap(was, n); was = r.sessions.maxConnected.Load() {
	}
	if off != nil {
		r.offline.remove(off)
	}
	if old != nil && !present {
		w.dissolve(old, old.End(&w.Turn))
		w.sendWill(old, off)
		w.CommitTurn() // what it leaves to others is stored before it is deleted
		ended = old
	} else if off != nil && off.will != nil {
		w.deleteWill(old)
	}
	return s, present, ended
}

// Leave takes a connection's session away from it: it stays for the absent client, or ends. will is due after its delay,
// or when the session ends, whichever is first; nil: none. cancelled wills are not passed.
func (w *Worker) Leave(s *session.Session, will *Will) {
	w.CommitTurn() // what the next connection stores comes after it
	w.redistribute(s.Detach(&w.Turn))
	w.r.sessions.connected.Add(-1)
	expiry := s.Expiry()
	id := s.ID().ClientID
	sh := w.r.sessions.shard(id)
	if expiry == 0 {
		sh.mu.Lock()
		if c := sh.m[id]; c.s == s {
			c.s = nil
			sh.m[id] = c
		}
		sh.mu.Unlock()
		w.endSession(s)
		if will != nil {
			w.PublishWill(will)
		}
		return
	}
	off := newOffline(id, expiry, will, w.Now)
	// Handed over before the client id is given back: what the next connection stores comes after it.
	b := w.NewBatch()
	b.PutSession(s.Left(w.Now))
	if off.will != nil {
		b.PutWill(s.Key, &session.Will{M: off.will.M, Due: off.willAt, Expiry: off.will.Expiry, Expires: off.will.Expires})
	}
	b.Commit(nil)
	if will != nil && off.will == nil {
		w.PublishWill(will)
	}
	if off.at == 0 {
		return
	}
	sh.mu.Lock()
	c := sh.m[id]
	if c.s == s {
		c.offline = off
		sh.m[id] = c
		w.r.offline.add(off)
	}
	sh.mu.Unlock()
}

// Release gives the client id back, after Leave or without Bind. It is the last thing a connection does; then another
// may have it.
func (r *Router) Release(id string, h Holder) {
	sh := r.sessions.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c, known := sh.m[id]
	if !known || c.holder != h {
		return // claimed by the next already
	}
	if c.holder = nil; c.s == nil {
		delete(sh.m, id)
		return
	}
	sh.m[id] = c
}

// Holders are the connections that have a client id.
func (r *Router) Holders() (out []Holder) {
	for i := range r.sessions.shards {
		sh := &r.sessions.shards[i]
		sh.mu.Lock()
		for _, c := range sh.m {
			if c.holder != nil {
				out = append(out, c.holder)
			}
		}
		sh.mu.Unlock()
	}
	return out
}

// endSession removes all that a session has. What it leaves to others is stored for them before it is deleted.
func (w *Worker) endSession(s *session.Session) {
	w.dissolve(s, s.End(&w.Turn))
	w.forget(s)
}

// forget has the store delete a session that has ended.
func (w *Worker) forget(s *session.Session) {
	if s.Durable() {
		w.Later().DeleteSession(s.Key)
	}
}

// dissolve removes what others know of a session that has ended, and passes on what it left.
func (w *Worker) dissolve(s *session.Session, left []session.Shared) {
	r := w.r
	if r.groups.members.Load() > 0 {
		for _, g := range r.groups.joinedBy(s) {
			r.groups.leave(w, groupKey{g.name, g.filter}, s)
		}
	}
	w.redistribute(left)
	r.sessions.count.Add(-1)
	w.unsubscribeAll(s)
}

// unsubscribeAll removes the subscriptions of a session that has ended, so many in a turn: a hundred thousand of them must
// not stop the loop. Nothing is delivered by those that remain, and the session's number is not given out before.
func (w *Worker) unsubscribeAll(s *session.Session) {
	r := w.r
	if r.subs.RemoveSome(s.Sub) {
		r.o.Post(w.Loop, func(loop int, now int64) { r.Worker(loop, now).unsubscribeAll(s) })
		return
	}
	r.sessions.table.remove(s.Sub)
}
