package router

import (
	"slices"
	"strings"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/core/subtree"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// route is what a loop remembers of a topic: who receives it. It is true as long as the stamps stand; one receiver's own
// changes are noticed under its lock (session.Stale) and mended one by one.
type route struct {
	topic     string
	stamp     stamp
	watched   [2]subtree.Watch // of subscriptions and of shared groups
	receivers []receiver
	groups    []*Group
	cost      int // bytes, about; counted in Worker.cached
}

// What remembering a topic costs, in bytes, beside the topic: the entry, and each receiver. A topic that everybody
// subscribes to costs as much as ten thousand others, so the cache is bounded by what it costs, too.
const (
	routeCost     = 336
	receiverCost  = 64
	costPerTopic  = 2048 // times MatchCache is what the cache of a loop may cost
	groupRefCost  = 8
	subIDCost     = 4
	ownGrantBytes = 48
)

// weigh sets what remembering the route costs.
func (rt *route) weigh(topic string) {
	rt.cost = routeCost + len(topic) + receiverCost*cap(rt.receivers) + groupRefCost*cap(rt.groups)
	for i := range rt.receivers {
		rc := &rt.receivers[i]
		rt.cost += subIDCost * len(rc.grant.SubIDs)
		if rc.own != nil {
			rt.cost += ownGrantBytes + subIDCost*len(rc.own.SubIDs)
		}
	}
}

type stamp struct{ subs, shared, acl uint64 }

type receiver struct {
	s     *session.Session
	epoch uint32
	nth   int32 // of the session's subscriptions this is for that one alone, from 1; 0: it is for all
	grant session.Grant
	own   *session.Grant // for messages that the receiver published itself; nil: no No Local, the same
}

func (w *Worker) stamp(rt *route) (s stamp) {
	s.subs = rt.watched[0].Stamp()
	if w.r.groups.members.Load() > 0 {
		s.shared = rt.watched[1].Stamp()
	}
	s.acl = w.auth.base + w.r.renamed.Load() // both only rise
	if w.auth.Authorizer != nil {
		s.acl += w.auth.Generation()
	}
	return s
}

// route finds the receivers of a topic. The result is the worker's; it is valid until the next call.
func (w *Worker) route(topic string) *route {
	// A publisher often sends to one topic many times in a turn.
	rt := w.last
	if rt == nil || rt.topic != topic {
		rt = w.cache[topic]
	}
	if rt != nil && rt.stamp == w.stamp(rt) {
		w.last = rt
		return rt
	}
	return w.newRoute(topic)
}

// newRoute resolves a topic that is not known, or no more as it is.
func (w *Worker) newRoute(topic string) *route {
	rt := w.cache[topic]
	known := rt != nil
	if known {
		w.cached -= rt.cost
		rt.cost = 0
	} else {
		topic = strings.Clone(topic)
		rt = &route{topic: topic, watched: [2]subtree.Watch{w.r.subs.Watch(topic), w.r.shared.Watch(topic)}}
	}
	w.resolve(rt, topic)
	rt.weigh(topic)
	w.cached += rt.cost
	if !known {
		w.cache[topic] = rt
	}
	if limit := w.r.o.MatchCache; len(w.cache) > limit || w.cached > limit*costPerTopic {
		w.evict(rt)
	}
	w.last = rt
	return rt
}

// evict forgets an eighth of the cache, whichever the map yields first, but not keep: publishers of more topics than it
// holds then cost a match each, but never more.
func (w *Worker) evict(keep *route) {
	most := w.r.o.MatchCache - w.r.o.MatchCache/8
	for t, rt := range w.cache {
		if len(w.cache) <= most && w.cached <= most*costPerTopic {
			return
		}
		if rt != keep {
			w.cached -= rt.cost
			delete(w.cache, t)
		}
	}
}

// resolve matches anew. It starts over when a subscription changed meanwhile: a number that the tree gave may by then
// stand for another session.
func (w *Worker) resolve(rt *route, topic string) {
	for {
		stamp := w.stamp(rt)
		clear(rt.receivers)
		clear(rt.groups)
		rt.receivers, rt.groups = rt.receivers[:0], rt.groups[:0]
		w.matchSessions(rt, topic)
		if w.r.groups.members.Load() > 0 {
			w.matches = w.r.shared.Match(topic, w.matches[:0])
			for _, m := range w.matches {
				if g := w.r.groups.table.get(m.Subscriber); g != nil {
					rt.groups = append(rt.groups, g)
				}
			}
		}
		if stamp == w.stamp(rt) {
			rt.stamp = stamp // last: an authorizer that panics leaves no half a list behind
			return
		}
	}
}

func (w *Worker) matchSessions(rt *route, topic string) {
	w.matches = w.r.subs.Match(topic, w.matches[:0])
	// Overlapping subscriptions of one session become one receiver, unless each is to have its own copy.
	each := w.r.o.Limits.Current().Duplicates
	slices.SortStableFunc(w.matches, func(a, b subtree.Sub) int { return int(a.Subscriber) - int(b.Subscriber) })
	for i := 0; i < len(w.matches); {
		j := i + 1
		for j < len(w.matches) && w.matches[j].Subscriber == w.matches[i].Subscriber {
			j++
		}
		if s := w.r.sessions.table.get(w.matches[i].Subscriber); s != nil && w.mayReceive(s.ID(), topic) {
			rc := receiver{s: s, epoch: s.SubEpoch()}
			if each && j-i > 1 {
				for k := i; k < j; k++ {
					rc.nth = int32(k - i + 1)
					rc.set(w.matches[k : k+1])
					rt.receivers = append(rt.receivers, rc)
				}
			} else {
				rc.set(w.matches[i:j])
				rt.receivers = append(rt.receivers, rc)
			}
		}
		i = j
	}
}

// set sums up the subscriptions of one session that match.
func (rc *receiver) set(subs []subtree.Sub) {
	rc.grant, rc.own = sum(subs, false), nil
	for i := range subs {
		if subs[i].Options.NoLocal() {
			own := sum(subs, true)
			rc.own = &own
			return
		}
	}
}

// sum is how a session receives a topic: once, at the highest QoS, with all identifiers (MQTT 5 §3.3.4). local leaves out
// the subscriptions with No Local [MQTT-3.8.3-3].
func sum(subs []subtree.Sub, local bool) (g session.Grant) {
	g.Skip = true
	for i := range subs {
		o := subs[i].Options
		if local && o.NoLocal() {
			continue
		}
		g.Skip = false
		g.QoS = max(g.QoS, o.QoS())
		g.RAP = g.RAP || o.RetainAsPublished()
		if subs[i].SubID != 0 {
			g.SubIDs = append(g.SubIDs, subs[i].SubID)
		}
	}
	return g
}

// rematch mends one receiver whose subscriptions have changed since the route was resolved.
func (w *Worker) rematch(rc *receiver, topic string) {
	rc.epoch = rc.s.SubEpoch()
	w.matches = w.r.subs.MatchSubscriber(topic, rc.s.Sub, w.matches[:0])
	if n := int(rc.nth); n > 0 { // where there are more now, the route is resolved anew for the next message
		rc.set(w.matches[min(n-1, len(w.matches)):min(n, len(w.matches))])
		return
	}
	rc.set(w.matches)
}

// isOwn reports whether from published as the session's client (MQTT 5 §3.8.3.1: by client id).
func isOwn(from *message.Identity, s *session.Session) bool {
	return from == s.ID() || from != nil && from.ClientID == s.ID().ClientID
}

func grantOf(opts mqtt.SubOptions, subID uint32) session.Grant {
	g := session.Grant{QoS: opts.QoS(), RAP: opts.RetainAsPublished()}
	if subID != 0 {
		g.SubIDs = []uint32{subID}
	}
	return g
}
