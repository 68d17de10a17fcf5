// Package router takes a message from its publisher to everybody who is to have it: it matches, chooses and delivers, and
// it keeps what that needs: the registry of sessions, the subscriptions, shared groups, retained messages and wills.
//
// The files in the order a PUBLISH meets them: publish.go, route.go (the match cache), group.go (shared subscriptions),
// commit.go (what waits for the store). registry.go gives a client id to one connection at a time; subscribe.go and
// replay.go answer SUBSCRIBE; offline.go keeps time for absent sessions and delayed wills.
package router

import (
	"sync"
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/retained"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/core/subtree"
)

// Decision is an authorizer's answer.
type Decision struct {
	Allowed bool
	Rule    string // what decided, for the log; may be empty
}

// Authorizer decides what a client may do. Its methods are called on the event loops: they must not block and should not
// allocate. who is nil for the broker itself, which is never asked about. topic is valid only during the call.
type Authorizer interface {
	// MayPublish is asked for each PUBLISH and for a will when it is sent.
	MayPublish(who *message.Identity, topic string, qos byte, retain bool) Decision
	// MaySubscribe is asked for each filter of a SUBSCRIBE, without its $share/group/.
	MaySubscribe(who *message.Identity, filter string) Decision
	// MayReceive is asked when a receiver is matched with a topic; the answer is kept as long as Generation stands.
	MayReceive(who *message.Identity, topic string) Decision
	// Generation rises when answers change.
	Generation() uint64
}

// Options configure a Router.
type Options struct {
	Limits     *session.Limits
	Store      session.Store
	Authorizer Authorizer // nil: everything is allowed
	Loops      int
	// Post runs fn on a loop, exclusively for that loop.
	Post func(loop int, fn func(loop int, now int64))
	// MatchCache is how many topics each loop remembers the receivers of; fewer if there are many receivers.
	MatchCache int
	// MaxClients bounds the sessions, connected and absent; 0: no bound.
	MaxClients int
	// Dropped is told when a session starts losing messages.
	Dropped func(s *session.Session, reason session.Drop)
	// Unread is told that so many queues cannot be read from the store, as often as that is tried again.
	Unread func(sessions int, err error)
}

// Router is the shared state of the broker. Each loop uses it through its own Worker.
type Router struct {
	o        Options
	subs     *subtree.Tree // filters → sessions
	shared   *subtree.Tree // filters → shared groups
	retained *retained.Store
	sessions registry
	groups   groups
	offline  offlineTimers
	slow     slowReceivers
	unread   unreadQueues
	keys     atomic.Uint64 // the last given to a session or a group; see session.Key
	renamed  atomic.Uint64 // sessions that have gone on with another user or grant
	auth     atomic.Pointer[authority]
	most     atomic.Int64 // MaxClients
	workers  []*Worker
	stats    session.Stats
}

// New makes a router. Worker.Load comes before anything else.
func New(o Options) *Router {
	if o.MatchCache <= 0 {
		o.MatchCache = 16384
	}
	r := &Router{o: o, subs: subtree.New(), shared: subtree.New(), retained: retained.New()}
	r.sessions.init()
	r.groups.init(r.newKey)
	r.auth.Store(&authority{Authorizer: o.Authorizer})
	r.most.Store(int64(o.MaxClients))
	for i := range o.Loops {
		w := &Worker{r: r, cache: make(map[string]*route)}
		w.Loop = i
		w.NewBatch = o.Store.NewBatch
		w.Dropped = o.Dropped
		w.ReadPage = w.readPage
		w.MayReceive = w.mayReceive
		w.auth = r.auth.Load()
		r.workers = append(r.workers, w)
	}
	return r
}

// newKey names a new session or group.
func (r *Router) newKey() session.Key { return session.Key(r.keys.Add(1)) }

// Worker is one loop's way into the router: its clock, its match cache, its scratch memory. It is used by one loop at a
// time.
type Worker struct {
	session.Turn
	r       *Router
	auth    *authority // as the turn began
	pub     session.Publication
	commit  *commit // what waits for the turn's batch; nil: nothing
	cache   map[string]*route
	last    *route // that was asked for last; nil: none
	cached  int    // what the cache costs, in bytes
	matches []subtree.Sub
	replay  []*message.Message
}

// Worker returns the worker of a loop for use at now. Only the loop itself may call it.
func (r *Router) Worker(loop int, now int64) *Worker {
	w := r.workers[loop]
	w.Now, w.auth = now, r.auth.Load()
	return w
}

// EndTurn folds the counters of the loop's turn and flushes what it has filled: who has an answer finds it counted.
func (r *Router) EndTurn(loop int) {
	w := r.workers[loop]
	w.CommitTurn() // before its messages leave: their receivers may be quick
	w.Fold(&r.stats)
	w.Flush()
	w.CommitLater()
	w.Work = 0
	w.Short = r.o.Limits.OverMemory()
}

// Router gives the shared state.
func (w *Worker) Router() *Router { return w.r }

// Stats are the counters of all loops.
func (r *Router) Stats() *session.Stats { return &r.stats }

// Limits are the limits that sessions share.
func (r *Router) Limits() *session.Limits { return r.o.Limits }

// Figures count what the router holds.
type Figures struct {
	Sessions, Connected, MaxConnected, Expired int
	Subscriptions, SharedSubscriptions         int
	Retained, Queued                           int // messages
	RetainedBytes, QueuedBytes                 int64
}

// Figures reads them.
func (r *Router) Figures() Figures {
	return Figures{
		Sessions: int(r.sessions.count.Load()), Connected: int(r.sessions.connected.Load()),
		MaxConnected: int(r.sessions.maxConnected.Load()), Expired: int(r.offline.expired.Load()),
		Subscriptions: r.subs.Len() + int(r.groups.members.Load()), SharedSubscriptions: int(r.groups.members.Load()),
		Retained: r.retained.Len(), RetainedBytes: r.retained.Bytes(), QueuedBytes: r.o.Limits.Queued.Load(), Queued: int(r.o.Limits.Kept.Load()),
	}
}

// table numbers things, so that the trees can hold numbers instead of pointers.
type table[T any] struct {
	mu    sync.RWMutex
	items []*T
	free  []subtree.SubscriberID
}

func (t *table[T]) add(make func(id subtree.SubscriberID) *T) *T {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.free); n > 0 {
		id := t.free[n-1]
		t.free = t.free[:n-1]
		t.items[id] = make(id)
		return t.items[id]
	}
	id := subtree.SubscriberID(len(t.items))
	t.items = append(t.items, make(id))
	return t.items[id]
}

func (t *table[T]) remove(id subtree.SubscriberID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.items[id] = nil
	t.free = append(t.free, id)
}

func (t *table[T]) get(id subtree.SubscriberID) *T {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.items[id]
}
