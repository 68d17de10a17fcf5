package access

import (
	"container/list"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/access/acl"
)

// way is how a client has logged in.
type way byte

const (
	unknownWay way = iota
	anonymous      // by giving no name
	anybody        // everybody may connect, whatever it calls itself
	byPassword
	byCertificate
	byToken
	byHook
)

// grant is what is known of a client from its login beyond its names: rules may ask for it.
type grant struct {
	way                way
	listener           string
	short              string // the listener as rules call it
	address            netip.Addr
	publish, subscribe *acl.Filters // nil: there is no such list
	expires            time.Time    // of the token; zero: never
	since              time.Time    // of the login
	expired            atomic.Bool
	timer              *time.Timer // guarded by grants
}

// grants are those of the last logins, by client id and user name, as an Identity has them. Prune takes out who has gone;
// when there are too many all the same, those that logged in first are forgotten. Nothing is known of them then, and what any
// listener's rules deny them is denied.
type grants struct {
	limit int
	// lost is set once some were forgotten that may be connected.
	lost atomic.Bool

	mu      sync.RWMutex
	entries map[broker.Identity]*list.Element
	order   list.List // of *granted, the last login in front
}

type granted struct {
	who broker.Identity
	g   *grant
}

// maxGrants bounds the grants, about 200 bytes each.
const maxGrants = 1 << 20

func newGrants() *grants {
	return &grants{limit: maxGrants, entries: map[broker.Identity]*list.Element{}}
}

// put replaces what is known of a client. then is called while nobody else looks.
func (t *grants) put(who broker.Identity, g *grant, then func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.entries[who]; e != nil {
		t.remove(e)
	}
	for len(t.entries) >= t.limit {
		t.lost.Store(true)
		t.remove(t.order.Back())
	}
	t.entries[who] = t.order.PushFront(&granted{who, g})
	then()
}

func (t *grants) remove(e *list.Element) {
	x := e.Value.(*granted) //nolint:forcetypeassert // it holds nothing else
	if x.g.timer != nil {
		x.g.timer.Stop()
	}
	delete(t.entries, x.who)
	t.order.Remove(e)
}

// get returns what is known of a client; nil: nothing.
func (t *grants) get(who *broker.Identity) *grant {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if e := t.entries[*who]; e != nil {
		return e.Value.(*granted).g //nolint:forcetypeassert // it holds nothing else
	}
	return nil
}

// prune forgets those that logged in before a time and that connected does not know.
func (t *grants) prune(before time.Time, connected func(who *broker.Identity) bool) (n int) {
	t.mu.RLock()
	old := make([]granted, 0, len(t.entries))
	for e := t.order.Back(); e != nil; e = e.Prev() {
		if x := e.Value.(*granted); x.g.since.Before(before) { //nolint:forcetypeassert // it holds nothing else
			old = append(old, *x)
		}
	}
	t.mu.RUnlock()
	for i := range old {
		if connected(&old[i].who) {
			continue
		}
		t.mu.Lock()
		if e := t.entries[old[i].who]; e != nil && e.Value.(*granted).g == old[i].g { //nolint:forcetypeassert // as above
			t.remove(e)
			n++
		}
		t.mu.Unlock()
	}
	return n
}

// close stops the timers.
func (t *grants) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.entries {
		t.remove(e)
	}
}
