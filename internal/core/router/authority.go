package router

import (
	"reflect"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
)

// authority is the authorizer that counts, and what makes its generations differ from those of its predecessors: what was
// looked up for one does not hold for the next.
type authority struct {
	Authorizer // nil: everything is allowed
	base       uint64
}

// generationStep is between the bases of two authorities; an authorizer's generation stays below it.
const generationStep = 1 << 32

// SetAuthorizer has all decisions made by a, nil for none, from the next turn of each loop on.
func (r *Router) SetAuthorizer(a Authorizer) {
	for {
		old := r.auth.Load()
		if r.auth.CompareAndSwap(old, &authority{Authorizer: a, base: old.base + generationStep}) {
			return
		}
	}
}

// Forget has what is remembered of the receivers of topics looked up anew.
func (r *Router) Forget() { r.renamed.Add(1) }

// mayHaveRetained reports whether whoever retained a message could publish it now. Mosquitto has been attacked by messages
// retained before a right was taken away (CVE-2018-12546).
func (w *Worker) mayHaveRetained(m *message.Message) bool {
	return m.From == nil || w.auth.Authorizer == nil || !w.r.o.Limits.Current().CheckRetainSource ||
		w.auth.MayPublish(m.From, m.Topic, m.QoS, true).Allowed
}

// RoomToRetain reports whether a message may be retained, as far as the memory of all retained messages goes.
func (r *Router) RoomToRetain(m *message.Message) bool {
	limit := r.o.Limits.Current().MaxRetainedBytes
	return limit <= 0 || r.retained.Fits(m, limit)
}

// SetMaxClients bounds the sessions from now on; those that are there stay.
func (r *Router) SetMaxClients(n int) { r.most.Store(int64(n)) }

// mayReceive asks whether a client may read a topic.
func (w *Worker) mayReceive(who *message.Identity, topic string) bool {
	return w.auth.Authorizer == nil || w.auth.MayReceive(who, topic).Allowed
}

// sameGrant reports whether what was decided by one grant of a client holds by its next. The next is asked if it can say;
// otherwise they are compared.
func sameGrant(was, next any) bool {
	if e, ok := next.(interface{ Equal(any) bool }); ok {
		return e.Equal(was)
	}
	if was == nil || next == nil {
		return was == nil && next == nil
	}
	t := reflect.TypeOf(was)
	return t == reflect.TypeOf(next) && t.Comparable() && was == next
}

// Restricted reports whether there is an authorizer. It spares the question where there is none.
func (r *Router) Restricted() bool { return r.auth.Load().Authorizer != nil }

// MayPublish asks the authorizer.
func (r *Router) MayPublish(who *message.Identity, topic string, qos byte, retain bool) Decision {
	if a := r.auth.Load(); a.Authorizer != nil {
		return a.MayPublish(who, topic, qos, retain)
	}
	return Decision{Allowed: true}
}

// MaySubscribe asks the authorizer.
func (r *Router) MaySubscribe(who *message.Identity, filter string) Decision {
	if a := r.auth.Load(); a.Authorizer != nil {
		return a.MaySubscribe(who, filter)
	}
	return Decision{Allowed: true}
}
