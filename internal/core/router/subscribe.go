package router

import (
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// Subscribe adds or replaces a subscription. From its return on, publishes are matched with it. existed: the session had
// the filter already. batch, if not nil, stores it.
func (w *Worker) Subscribe(s *session.Session, filter string, opts mqtt.SubOptions, subID uint32, batch session.Batch) (existed bool) {
	if group, rest, shared := topic.ParseShare(filter); shared {
		existed = w.r.groups.join(w.r.shared, group, rest, s, opts, subID)
	} else {
		existed = w.r.subs.Subscribe(filter, s.Sub, opts, subID)
		s.SubscriptionsChanged()
	}
	if batch != nil {
		batch.PutSubscription(s.Key, filter, opts, subID)
	}
	return existed
}

// Unsubscribe removes a subscription. From its return on, nothing is delivered by it.
func (w *Worker) Unsubscribe(s *session.Session, filter string, batch session.Batch) (existed bool) {
	if batch != nil {
		batch.DeleteSubscription(s.Key, filter)
	}
	group, rest, shared := topic.ParseShare(filter)
	if !shared {
		existed = w.r.subs.Unsubscribe(filter, s.Sub)
		s.SubscriptionsChanged()
		w.endReplays(s, filter)
		return existed
	}
	g, existed := w.r.groups.leave(w, groupKey{group, rest}, s)
	if existed {
		w.redistribute(s.LeaveShared(g))
	}
	return existed
}

// Subscribed reports whether a session has a subscription.
func (r *Router) Subscribed(s *session.Session, filter string) bool {
	group, rest, shared := topic.ParseShare(filter)
	if !shared {
		return r.subs.Has(filter, s.Sub)
	}
	for _, g := range r.groups.joinedBy(s) {
		if g.name == group && g.filter == rest {
			return true
		}
	}
	return false
}

// Subscriptions is how many subscriptions a session has.
func (r *Router) Subscriptions(s *session.Session) int {
	n := r.subs.Count(s.Sub)
	if r.groups.members.Load() > 0 {
		n += r.groups.count(s)
	}
	return n
}
