package router

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/core/subtree"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Group is one shared subscription, `$share/name/filter`: each message goes to one of its members (MQTT 5 §4.8.2).
type Group struct {
	name, filter string
	id           subtree.SubscriberID
	all          *groups

	mu       sync.Mutex
	members  []groupMember
	turn     int              // whose turn it is
	queue    []session.Shared // what no member could take; QoS 1 and 2 only
	key      session.Key      // of the queue in the store; 0: nothing of the group was ever stored
	nextSeq  uint64
	recorded bool // the store has been told of the group
	gone     bool
}

// StoreKey names the group in the store. Only with the group's lock held.
func (g *Group) StoreKey() session.Key {
	if g.key == 0 {
		g.key = g.all.newKey()
		g.all.stored.set(g.key, g)
	}
	return g.key
}

type groupMember struct {
	s     *session.Session
	opts  mqtt.SubOptions
	grant session.Grant
}

type groups struct {
	table   table[Group]
	members atomic.Int64
	backlog atomic.Int64 // messages in all groups' queues
	mu      sync.Mutex
	byKey   map[groupKey]*Group
	joined  map[*session.Session]map[*Group]struct{}
	newKey  func() session.Key
	stored  storedGroups
}

// storedGroups finds groups by their keys in the store.
type storedGroups struct {
	mu sync.Mutex
	m  map[session.Key]*Group
}

func (st *storedGroups) set(k session.Key, g *Group) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.m[k] = g
}

func (st *storedGroups) delete(k session.Key) {
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.m, k)
}

// find gives a group by its key; nil: it has ended.
func (st *storedGroups) find(k session.Key) session.Group {
	st.mu.Lock()
	defer st.mu.Unlock()
	if g := st.m[k]; g != nil {
		return g
	}
	return nil
}

type groupKey struct{ name, filter string }

func (gs *groups) init(newKey func() session.Key) {
	gs.newKey, gs.stored.m = newKey, make(map[session.Key]*Group)
	gs.byKey = make(map[groupKey]*Group)
	gs.joined = make(map[*session.Session]map[*Group]struct{})
}

// join adds a member, or changes its options.
func (gs *groups) join(tree *subtree.Tree, name, filter string, s *session.Session, opts mqtt.SubOptions, subID uint32) (existed bool) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	k := groupKey{name, filter}
	g := gs.byKey[k]
	if g == nil {
		g = gs.table.add(func(id subtree.SubscriberID) *Group { return &Group{name: name, filter: filter, id: id, all: gs} })
		gs.byKey[k] = g
	}
	m := groupMember{s, opts, grantOf(opts, subID)}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := g.index(s); i >= 0 {
		g.members[i] = m
		return true
	}
	g.members = append(g.members, m)
	gs.members.Add(1)
	if gs.joined[s] == nil {
		gs.joined[s] = make(map[*Group]struct{})
	}
	gs.joined[s][g] = struct{}{}
	if len(g.members) == 1 {
		tree.Subscribe(filter, g.id, opts, 0)
	}
	return false
}

// leave removes a member. The group of the last one ends, with what its queue held.
func (gs *groups) leave(w *Worker, k groupKey, s *session.Session) (g *Group, existed bool) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g = gs.byKey[k]
	if g == nil {
		return nil, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.index(s)
	if i < 0 {
		return g, false
	}
	g.members = slices.Delete(g.members, i, i+1)
	gs.members.Add(-1)
	if delete(gs.joined[s], g); len(gs.joined[s]) == 0 {
		delete(gs.joined, s)
	}
	if len(g.members) == 0 {
		g.gone = true
		w.CountDrop(session.DropSessionEnded, len(g.queue))
		for _, sh := range g.queue {
			g.pop(w)
			w.dequeue(sh)
		}
		if g.key != 0 {
			gs.stored.delete(g.key)
			w.Later().DeleteGroup(g.key)
		}
		w.r.shared.Unsubscribe(g.filter, g.id)
		gs.table.remove(g.id)
		delete(gs.byKey, k)
	}
	return g, true
}

// of are the groups of a session that may have something waiting; none in the usual case, at the cost of one load.
func (gs *groups) of(s *session.Session) []*Group {
	if gs.backlog.Load() == 0 {
		return nil
	}
	return gs.joinedBy(s)
}

func (gs *groups) joinedBy(s *session.Session) []*Group {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	joined := slices.Collect(maps.Keys(gs.joined[s]))
	slices.SortFunc(joined, func(a, b *Group) int { return cmp.Compare(a.id, b.id) })
	return joined
}

func (gs *groups) count(s *session.Session) int {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	return len(gs.joined[s])
}

func (g *Group) index(s *session.Session) int {
	return slices.IndexFunc(g.members, func(m groupMember) bool { return m.s == s })
}

// offer gives a message to the next member that can take it at once. With none, QoS 1 and 2 wait in the group's own
// queue, from which whoever has room first takes them. from is the leaver it comes from, if any. false: the group is no
// more.
func (g *Group) offer(w *Worker, p *session.Publication, from session.Shared) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return false
	}
	if len(g.queue) == 0 || p.M.QoS == 0 { // QoS 0 never waits, so it stands behind nothing
		given, allowed := g.give(w, p, from)
		switch {
		case given:
			return true
		case !allowed:
			return g.drop(w, p, from, session.DropNotAllowed)
		}
	}
	if len(g.queue) == 0 {
		// From here on a member that gets room looks into the queue; one that got it just before is asked again.
		g.all.backlog.Add(1)
		defer g.all.backlog.Add(-1)
		if given, _ := g.give(w, p, from); given {
			return true
		}
	}
	if p.M.QoS == 0 || !slices.ContainsFunc(g.members, func(m groupMember) bool { return m.grant.QoS > 0 }) {
		return g.drop(w, p, from, session.DropOutboxFull)
	}
	l := w.r.o.Limits
	most := l.Current().MaxQueued
	full := func() bool { return most > 0 && len(g.queue) >= most }
	if full() {
		g.purge(w)
	}
	switch {
	case full():
		return g.drop(w, p, from, session.DropQueueFull)
	case l.OverMemory():
		return g.drop(w, p, from, session.DropMemory)
	default:
		from.M = p.Own()
		g.store(w, p, &from)
		g.push(w, from)
	}
	return true
}

// store keeps what is about to wait in the group's queue, if the group outlives its connections. It comes from a leaver's
// queue in the same batch.
func (g *Group) store(w *Worker, p *session.Publication, sh *session.Shared) {
	if !slices.ContainsFunc(g.members, func(m groupMember) bool { return m.s.Durable() }) {
		return
	}
	w.dequeueWith(p, *sh)
	b, k := p.Store(&w.Turn), g.StoreKey()
	b.PutGroup(k, g.name, g.filter) // each time: it is not known whether it was stored
	sh.Was, sh.WasSeq, sh.Pending = sh.Owner, sh.Seq, true
	sh.Owner, sh.Seq = k, g.nextSeq
	g.nextSeq++
	p.GroupGated = append(p.GroupGated, session.GroupGate{G: g, Seq: sh.Seq})
	b.Enqueue(k, sh.Seq, &session.Queued{M: sh.M, QoS: sh.M.QoS, Retain: sh.M.Retain})
}

// settled is told what became of the storing of an entry. Refused, it is the leaver's again if it came from one; a
// publisher repeats it.
func (g *Group) settled(w *Worker, seq uint64, err error) {
	g.mu.Lock()
	i := slices.IndexFunc(g.queue, func(sh session.Shared) bool { return sh.Pending && sh.Seq == seq })
	switch {
	case i < 0:
	case err == nil:
		g.queue[i].Pending = false
	case g.queue[i].Was != 0:
		sh := &g.queue[i]
		sh.Owner, sh.Seq, sh.Pending = sh.Was, sh.WasSeq, false
	default:
		g.uncount(w, g.queue[i])
		g.queue = slices.Delete(g.queue, i, i+1)
		w.CountDrop(session.DropStore, 1)
	}
	g.mu.Unlock()
	g.drain(w)
}

// putBack takes a message that a member could not be given because the store refused that: it stands where it stood.
func (g *Group) putBack(w *Worker, m *message.Message, from session.Shared) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return
	}
	from.M = m
	w.r.o.Limits.Hold(m)
	g.queue = slices.Insert(g.queue, 0, from)
	g.all.backlog.Add(1)
}

func (g *Group) push(w *Worker, sh session.Shared) {
	w.r.o.Limits.Hold(sh.M)
	g.queue = append(g.queue, sh)
	g.all.backlog.Add(1)
}

func (g *Group) drop(w *Worker, p *session.Publication, from session.Shared, reason session.Drop) bool {
	w.CountDrop(reason, 1)
	w.dequeueWith(p, from)
	return true
}

// purge makes room by removing what has expired.
func (g *Group) purge(w *Worker) {
	g.queue = slices.DeleteFunc(g.queue, func(sh session.Shared) bool {
		if !sh.M.Expired(w.Now) {
			return false
		}
		g.uncount(w, sh)
		w.CountDrop(session.DropExpired, 1)
		w.dequeue(sh)
		return true
	})
}

// give tries the members once, in turn. What is stored for a leaver goes from its queue in the batch that puts it into the
// other's. allowed tells whether any of them may read the topic.
func (g *Group) give(w *Worker, p *session.Publication, from session.Shared) (given, allowed bool) {
	for i := range g.members {
		at := (g.turn + i) % len(g.members)
		m := &g.members[at]
		if !w.mayReceive(m.s.ID(), p.M.Topic) {
			continue
		}
		allowed = true
		if !g.recorded && p.M.QoS > 0 && m.s.Durable() {
			g.recorded = true
			p.Store(&w.Turn).PutGroup(g.StoreKey(), g.name, g.filter)
		}
		gated := len(p.Gated)
		if o := m.s.DeliverShared(&w.Turn, p, &m.grant, g); o == session.Delivered || o == session.Dropped {
			if len(p.Gated) > gated && from.Owner != 0 {
				back := from
				back.Group = g
				p.Gated[gated].Back = &back
			}
			g.turn = (at + 1) % len(g.members)
			w.dequeueWith(p, from)
			return true, true
		}
	}
	return false, allowed
}

// drain gives what waits to members that have room.
func (g *Group) drain(w *Worker) {
	for g.drainOne(w) {
		w.Commit(nil)
	}
}

// drainOne takes one message out of the queue; false: there is none, or nobody has room.
func (g *Group) drainOne(w *Worker) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) == 0 {
		return false
	}
	first := g.queue[0]
	if first.Pending {
		return false
	}
	w.pub.Start(first.M, w.Now)
	if first.M.Expired(w.Now) {
		w.CountDrop(session.DropExpired, 1)
		w.dequeueWith(&w.pub, first)
	} else if given, allowed := g.give(w, &w.pub, first); !allowed {
		g.drop(w, &w.pub, first, session.DropNotAllowed)
	} else if !given {
		return false
	}
	g.pop(w)
	return true
}

func (g *Group) pop(w *Worker) {
	g.uncount(w, g.queue[0])
	g.queue[0] = session.Shared{}
	g.queue = g.queue[1:]
}

func (g *Group) uncount(w *Worker, sh session.Shared) {
	w.r.o.Limits.Unhold(sh.M)
	g.all.backlog.Add(-1)
}

// dequeueWith removes a leaver's message from its queue, in the batch that gives it to another.
func (w *Worker) dequeueWith(p *session.Publication, sh session.Shared) {
	if sh.Owner != 0 {
		p.Store(&w.Turn).Dequeue(sh.Owner, sh.Seq)
	}
}

// dequeue removes from the store what no member can have any more.
func (w *Worker) dequeue(sh session.Shared) {
	if sh.Owner != 0 {
		w.Later().Dequeue(sh.Owner, sh.Seq)
	}
}

// redistribute finds other members for what a leaver has not finished.
func (w *Worker) redistribute(left []session.Shared) {
	for _, sh := range left {
		g := sh.Group.(*Group)
		w.pub.Start(sh.M, w.Now)
		if !g.offer(w, &w.pub, sh) {
			w.CountDrop(session.DropSessionEnded, 1)
			w.dequeueWith(&w.pub, sh)
		}
		w.Commit(nil)
	}
}
