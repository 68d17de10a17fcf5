package router

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/core/subtree"
	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// loader puts what the store has into the router when the broker starts. All clients are absent then.
type loader struct {
	r        *Router
	now      int64 // unix milliseconds
	sessions map[session.Key]*session.Session
	records  map[session.Key]*session.Record // of sessions that end some time
	groups   map[session.Key]*loadedGroup
	wills    map[session.Key]*session.Will
	ended    []session.Key
	replays  []unfinished
}

// unfinished is a subscription that had not been answered with all retained messages.
type unfinished struct {
	s      *session.Session
	filter string
	opts   mqtt.SubOptions
	subID  uint32
}

type loadedGroup struct {
	name, filter string
	first, last  uint64
	count        int
}

// Load asks the store what is there. It waits for the disk, as nothing else on a loop does: nobody is served yet.
func (w *Worker) Load() error {
	r := w.r
	l := &loader{
		r: r, now: w.Now, sessions: make(map[session.Key]*session.Session), records: make(map[session.Key]*session.Record),
		groups: make(map[session.Key]*loadedGroup), wills: make(map[session.Key]*session.Will),
	}
	run, err := r.o.Store.Load(l)
	if err != nil {
		return fmt.Errorf("the store cannot be read: %w", err)
	}
	r.keys.Store(run << session.RunShift)
	for k, s := range l.sessions {
		s.Loaded(run)
		l.await(k, s)
	}
	for _, u := range l.replays {
		if rp := w.PrepareReplay(u.s, u.filter, u.opts, u.subID); rp != nil {
			rp.Held, rp.Stored = false, true
		} else {
			w.Later().PutSubscription(u.s.Key, u.filter, u.opts, u.subID)
		}
	}
	for _, k := range l.ended {
		w.Later().DeleteSession(k)
	}
	for _, k := range slices.Sorted(maps.Keys(l.groups)) {
		if err := l.fillGroup(w, k, l.groups[k], run); err != nil {
			return err
		}
	}
	if err := l.shareOut(w); err != nil {
		return err
	}
	w.CommitTurn()
	w.CommitLater()
	return nil
}

// Session adds one. What ended with its connection, or was followed by another of the same client, is deleted.
func (l *loader) Session(rec *session.Record) {
	r := l.r
	sh := r.sessions.shard(rec.ClientID)
	c, known := sh.m[rec.ClientID]
	switch {
	case rec.Expiry == 0 || known && c.s.Key > rec.Key:
		l.ended = append(l.ended, rec.Key)
		return
	case known:
		l.ended = append(l.ended, c.s.Key)
		delete(l.sessions, c.s.Key)
		delete(l.records, c.s.Key)
		r.sessions.table.remove(c.s.Sub)
		r.sessions.count.Add(-1)
	}
	s := session.Load(&message.Identity{ClientID: rec.ClientID, Username: rec.Username}, rec, r.o.Limits)
	r.sessions.table.add(func(n subtree.SubscriberID) *session.Session { s.Sub = n; return s })
	r.sessions.count.Add(1)
	sh.m[rec.ClientID] = client{s: s}
	l.sessions[rec.Key] = s
	if rec.Expiry != session.NeverExpires {
		kept := *rec
		l.records[rec.Key] = &kept
	}
}

// Group adds a shared group that has a queue.
func (l *loader) Group(k session.Key, name, filter string) {
	l.groups[k] = &loadedGroup{name: name, filter: filter}
}

// Subscription adds one.
func (l *loader) Subscription(k session.Key, filter string, opts mqtt.SubOptions, subID uint32) {
	s := l.sessions[k]
	if s == nil {
		return
	}
	if group, rest, shared := topic.ParseShare(filter); shared {
		l.r.groups.join(l.r.shared, group, rest, s, opts, subID)
		return
	}
	if opts&session.ReplayUnfinished != 0 {
		opts &^= session.ReplayUnfinished
		l.replays = append(l.replays, unfinished{s, filter, opts, subID})
	}
	l.r.subs.Subscribe(filter, s.Sub, opts, subID)
}

// Queue adds what waits for a session or in a group.
func (l *loader) Queue(k session.Key, first, last uint64, count int) {
	if s := l.sessions[k]; s != nil {
		s.LoadQueue(first, last, count)
	} else if g := l.groups[k]; g != nil {
		g.first, g.last, g.count = first, last, count
	}
}

// Released adds an outgoing QoS 2 message whose PUBREC came.
func (l *loader) Released(k session.Key, seq uint64) {
	if s := l.sessions[k]; s != nil {
		s.LoadReleased(seq)
	}
}

// Received adds an incoming QoS 2 message whose PUBREL has not come.
func (l *loader) Received(k session.Key, packetID uint16, m *message.Message) {
	if s := l.sessions[k]; s != nil {
		s.LoadReceived(packetID, m)
	}
}

// Will adds a will that waits for its delay.
func (l *loader) Will(k session.Key, w *session.Will) {
	if l.sessions[k] != nil {
		kept := *w
		l.wills[k] = &kept
	}
}

// Retained adds a retained message.
func (l *loader) Retained(m *message.Message) {
	if after := l.r.o.Limits.Current().RetainExpiry; after > 0 && m.Expires == 0 && len(m.Payload) > 0 {
		c := *m.Own() // it was retained without the option
		c.Expires = l.now + after
		m = &c
	}
	l.r.retained.Load(func(yield func(*message.Message) bool) { yield(m) })
}

// await has the end of an absent session, and its will, looked for. The session of a client that was connected when the
// broker went down is left now.
func (l *loader) await(k session.Key, s *session.Session) {
	off := &offline{id: s.ID().ClientID, index: -1}
	if rec := l.records[k]; rec != nil {
		left := rec.Left
		if left == 0 {
			left = l.now
		}
		off.endAt = left + int64(rec.Expiry)*1000
		off.at = off.endAt
	}
	if will := l.wills[k]; will != nil {
		off.will = &Will{M: will.M, Expiry: will.Expiry, Expires: will.Expires}
		off.willAt = will.Due
		if off.at == 0 || off.willAt < off.at {
			off.at = off.willAt
		}
	}
	if off.at == 0 {
		return
	}
	sh := l.r.sessions.shard(off.id)
	c := sh.m[off.id]
	c.offline = off
	sh.m[off.id] = c
	l.r.offline.add(off)
}

// fillGroup gives a group its queue back. One without members has ended.
func (l *loader) fillGroup(w *Worker, k session.Key, lg *loadedGroup, run uint64) error {
	g := l.r.groups.byKey[groupKey{lg.name, lg.filter}]
	if g == nil {
		w.Later().DeleteGroup(k)
		return nil
	}
	g.key, g.nextSeq, g.recorded = k, run<<session.RunShift, true // the highest of several stays
	from, end := lg.first, lg.last+1
	for lg.count > 0 && from < end {
		items, next, err := l.read(k, from, end)
		if err != nil {
			return fmt.Errorf("the queue of the shared group %q of %q cannot be read: %w", lg.name, lg.filter, err)
		}
		for i := range items {
			it := &items[i]
			it.M.QoS, it.M.Retain = it.QoS, it.Retain
			g.push(w, session.Shared{Group: g, M: it.M, Owner: k, Seq: it.Seq})
		}
		from = next
	}
	l.r.groups.stored.set(k, g)
	return nil
}

// shareOut takes back from the members of shared groups what they had not acknowledged, as when they leave.
func (l *loader) shareOut(w *Worker) error {
	for s := range l.r.groups.joined {
		from, end, ok := s.WishPage()
		if !ok {
			continue
		}
		items, next, err := l.read(s.Key, from, end)
		if err != nil {
			return fmt.Errorf("the queue of client %q cannot be read: %w", s.ID().ClientID, err)
		}
		s.Paged(items, l.r.groups.stored.find, next, nil)
		w.redistribute(s.LeaveShared(nil))
	}
	return nil
}

func (l *loader) read(k session.Key, from, end uint64) (items []session.Item, next uint64, err error) {
	var read sync.WaitGroup
	read.Add(1)
	l.r.o.Store.ReadQueue(k, from, end, session.PageItems, session.PageBytes, func(got []session.Item, n uint64, e error) {
		items, next, err = got, n, e
		read.Done()
	})
	read.Wait()
	return items, next, err
}
