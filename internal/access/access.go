// Package access decides who may connect and what they may do, and says why not. It puts together what its sub-packages
// bring: password files, tokens, a web service, access control lists, and the throttle against guessing.
//
// The files: options.go; load.go makes a state of Options and files, which a reload replaces as a whole; login.go decides who
// may connect, on the goroutines of pool.go where that takes time; this one decides what they may do; change.go says whom a
// reload shuts out.
package access

import (
	"hash/maphash"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/access/acl"
	"github.com/nightjar-mqtt/nightjar/internal/access/httphook"
	"github.com/nightjar-mqtt/nightjar/internal/access/throttle"
)

// Access is a broker's Authenticator and Authorizer.
type Access struct {
	log        *slog.Logger
	state      atomic.Pointer[state]
	throttle   atomic.Pointer[throttle.Throttle]
	generation atomic.Uint64
	reloading  sync.Mutex
	places     sync.Map // *place by name
	cache      cache
	hashers    pool // compute
	askers     pool // wait for web servers
}

var (
	_ broker.Authenticator = (*Access)(nil)
	_ broker.Authorizer    = (*Access)(nil)
)

// New reads all files that o names. An error names each of them that cannot be used.
func New(o Options, log *slog.Logger) (*Access, error) {
	a := &Access{log: log, cache: cache{seed: maphash.MakeSeed()}}
	if _, err := a.Reload(o); err != nil {
		return nil, err
	}
	return a, nil
}

// Close ends its goroutines and returns when they have. Logins that wait to be checked are refused, and so are those that
// come.
func (a *Access) Close() {
	a.hashers.close()
	a.askers.close()
	for _, s := range a.state.Load().sites {
		s.close()
	}
}

// Reload reads everything again: all of it is taken, or nothing and the error says why.
func (a *Access) Reload(o Options) (*Change, error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	old := a.state.Load()
	o = o.complete()
	st, err := load(o, a.log, old)
	if err != nil {
		return nil, err
	}
	workers, queue := 0, 0
	for _, s := range st.sites {
		if s.hook != nil {
			n, m := s.hook.Bounds()
			workers, queue = workers+n, queue+m
		}
		if s.jwt != nil && s.jwt.Remote() {
			d := httphook.Options{}.Complete()
			workers, queue = workers+d.Concurrent, queue+d.Waiting
		}
	}
	a.hashers.resize(o.Hashers, o.HashQueue)
	a.askers.resize(workers, queue)
	if old == nil || old.o.Throttle != o.Throttle {
		a.throttle.Store(throttle.New(o.Throttle))
	}
	a.state.Store(st)
	a.generation.Add(1)
	if old != nil {
		for _, s := range old.sites {
			s.close()
		}
	}
	return &Change{old: old, now: st}, nil
}

// complete fills in the defaults.
func (o Options) complete() Options {
	if o.Hashers <= 0 {
		o.Hashers = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if o.HashQueue <= 0 {
		o.HashQueue = 1024
	}
	if o.RememberLogins == 0 {
		o.RememberLogins = 10000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Generation rises when decisions change.
func (a *Access) Generation() uint64 { return a.generation.Load() }

var allowed = broker.Decision{Allowed: true}

// What is said when no line of a file decides.
const (
	notInPublish   = "no topic filter matched in the list of what the client may publish"
	notInSubscribe = "no topic filter matched in the list of what the client may subscribe to"
)

// MayPublish decides on a PUBLISH or a will.
func (a *Access) MayPublish(who *broker.Identity, topic string, qos byte, retain bool) broker.Decision {
	generation := a.generation.Load() // before the state: what is remembered may be newer than it says, not older
	st := a.state.Load()
	if st.open || who == nil {
		return allowed
	}
	slot := a.cache.slot(who, topic)
	if r := slot.Load(); r.about(who, topic, qos, retain, generation) {
		return r.decision
	}
	d := a.mayPublish(st, who, topic, qos, retain)
	if admit() {
		put(slot, who, topic, qos, retain, generation, d)
	}
	return d
}

func (a *Access) mayPublish(st *state, who *broker.Identity, topic string, qos byte, retain bool) broker.Decision {
	g := grantOf(who)
	client := g.client(who)
	if s := st.siteOf(g); s != nil {
		return decision(s.publish(&client, g, topic, qos, retain))
	}
	for _, s := range st.sites {
		if d := s.publish(&client, g, topic, qos, retain); !d.Allowed {
			return decision(d)
		}
	}
	return allowed
}

// MayReceive decides whether a client gets the messages of a topic.
func (a *Access) MayReceive(who *broker.Identity, topic string) broker.Decision {
	st := a.state.Load()
	if st.open || who == nil {
		return allowed
	}
	g := grantOf(who)
	client := g.client(who)
	if s := st.siteOf(g); s != nil {
		return decision(s.receive(&client, g, topic))
	}
	for _, s := range st.sites {
		if d := s.receive(&client, g, topic); !d.Allowed {
			return decision(d)
		}
	}
	return allowed
}

// MaySubscribe decides on a filter of a SUBSCRIBE: as in Mosquitto it is granted, and MayReceive decides message by message.
// Only a list of the client's own, from its token or the HTTP hook, is also a list of what it may subscribe to.
func (a *Access) MaySubscribe(who *broker.Identity, filter string) broker.Decision {
	st := a.state.Load()
	if st.open || who == nil {
		return allowed
	}
	g := grantOf(who)
	if g == nil || g.subscribe == nil {
		return allowed
	}
	client := g.client(who)
	if !g.subscribe.Covers(&client, filter) {
		return broker.Decision{Rule: notInSubscribe}
	}
	return allowed
}

func decision(d acl.Decision) broker.Decision {
	return broker.Decision{Allowed: d.Allowed, Rule: d.Rule}
}

// publish: what the file denies is denied; else the client's own list decides if it has one, else the file. Who comes from the
// store has none (g is nil): the file alone decides on its retained messages and its will, so that they may be withheld until
// their publisher has logged in and sent them again, but never sent without right.
func (s *site) publish(who *acl.Client, g *grant, topic string, qos byte, retain bool) acl.Decision {
	switch {
	case g != nil && g.publish != nil:
		if s.acl != nil {
			if rule, denied := s.acl.Denies(who, true, topic, qos, retain); denied {
				return acl.Decision{Rule: rule}
			}
		}
		if !g.publish.Match(who, topic) {
			return acl.Decision{Rule: notInPublish}
		}
		return acl.Decision{Allowed: true}
	case s.acl != nil:
		return s.acl.Publish(who, topic, qos, retain)
	}
	return acl.Decision{Allowed: true}
}

// receive is as publish, but for clients that come from the store.
func (s *site) receive(who *acl.Client, g *grant, topic string) acl.Decision {
	switch {
	case g == nil && s.acl != nil && s.lists():
		// It comes from the store and is absent. It may have had a list of its own, of which nothing is known any more: what it
		// has subscribed to waits for it unless the file denies that, and is held against its next login before it is sent.
		rule, denied := s.acl.Denies(who, false, topic, 0, false)
		return acl.Decision{Allowed: !denied, Rule: rule}
	case g != nil && g.subscribe != nil:
		if s.acl != nil {
			if rule, denied := s.acl.Denies(who, false, topic, 0, false); denied {
				return acl.Decision{Rule: rule}
			}
		}
		if !g.subscribe.Match(who, topic) {
			return acl.Decision{Rule: notInSubscribe}
		}
		return acl.Decision{Allowed: true}
	case s.acl != nil:
		return s.acl.Receive(who, topic)
	}
	return acl.Decision{Allowed: true}
}

// addressOf reads the address of a login, without the port; the zero Addr if it has none, as over a unix socket.
func addressOf(s string) netip.Addr {
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr().Unmap().WithZone("")
	}
	a, _ := netip.ParseAddr(s) // the zero Addr else
	return a.Unmap().WithZone("")
}
