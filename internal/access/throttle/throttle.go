// Package throttle slows down those who guess passwords: after some failures an address, and a user name, is not listened
// to for a time that doubles with each further failure. Time is an argument.
//
// Who has logged in from an address is not held up there by what others do: neither by failures of the same name from
// elsewhere, which would let anybody lock a user out, nor by a neighbour behind the same address translation.
package throttle

import (
	"container/list"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Throttle remembers failures. It may be used by several goroutines.
type Throttle struct {
	o    Options
	seed maphash.Seed

	mu        sync.Mutex
	addresses table[netip.Addr]
	users     table[uint64] // by digest: a name may be 64 kB long
	pairs     table[pair]   // who has logged in from where
}

type pair struct {
	address netip.Addr
	user    uint64
}

// New makes one that knows nobody.
func New(o Options) *Throttle {
	o = o.complete()
	return &Throttle{
		o: o, seed: maphash.MakeSeed(),
		addresses: newTable[netip.Addr](o.Entries), users: newTable[uint64](o.Entries), pairs: newTable[pair](o.Entries),
	}
}

// Block is a time for which somebody is not listened to.
type Block struct {
	Wait time.Duration // 0: none
	Who  string        // "address" or "user"
	// First is set for the first try that meets the block: one line in the log is enough.
	First bool
}

// Ask tells whether to listen to a login now.
func (t *Throttle) Ask(now time.Time, address netip.Addr, user string) Block {
	if t.o.Off {
		return Block{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	a, u := network(address), t.digest(user)
	if t.pairs.get(pair{a, u}, now, t.o.Forget) != nil {
		return Block{}
	}
	b := Block{}
	if e := t.addresses.get(a, now, t.o.Forget); e != nil && a.IsValid() && e.until.After(now) {
		b = Block{e.until.Sub(now), "address", !e.told}
		e.told = true
	}
	if e := t.users.get(u, now, t.o.Forget); e != nil && user != "" && e.until.Sub(now) > b.Wait {
		b = Block{e.until.Sub(now), "user", b.First || !e.told}
		e.told = true
	}
	return b
}

// Failed notes a wrong name, password or token.
func (t *Throttle) Failed(now time.Time, address netip.Addr, user string) {
	if t.o.Off {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	a, u := network(address), t.digest(user)
	if e := t.pairs.get(pair{a, u}, now, t.o.Forget); e != nil {
		if e.failures++; e.failures >= t.o.Free {
			t.pairs.remove(pair{a, u})
		}
	}
	if a.IsValid() {
		t.fail(t.addresses.put(a, now, t.o.Forget), now)
	}
	if user != "" {
		t.fail(t.users.put(u, now, t.o.Forget), now)
	}
}

func (t *Throttle) fail(e *entry, now time.Time) {
	e.failures++
	e.last = now
	over := e.failures - t.o.Free
	if over <= 0 {
		return
	}
	delay := t.o.Longest
	if over < 40 { // 2^39 times anything is longer
		if d := t.o.First << (over - 1); d > 0 && d < delay {
			delay = d
		}
	}
	e.until, e.told = now.Add(delay), false
}

// Succeeded notes a login. It forgives the user's failures; those of the address it does not: whoever has one account could
// guess the passwords of others all the time.
func (t *Throttle) Succeeded(now time.Time, address netip.Addr, user string) {
	if t.o.Off || user == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.digest(user)
	t.users.remove(u)
	if a := network(address); a.IsValid() {
		e := t.pairs.put(pair{a, u}, now, t.o.Forget)
		e.failures, e.last = 0, now
	}
}

func (t *Throttle) digest(user string) uint64 { return maphash.String(t.seed, user) }

// network is what one attacker has at least: an address of IPv4, 64 bits of IPv6.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64) // never fails
		return p.Addr()
	}
	return a
}

// entry is what is remembered about an address, a user, or both together.
type entry struct {
	failures int
	last     time.Time
	until    time.Time
	told     bool
	place    *list.Element
}

// table holds entries, and forgets those that were not touched the longest when it is full.
type table[K comparable] struct {
	limit   int
	entries map[K]*entry
	order   *list.List // of K, the last touched in front
}

func newTable[K comparable](limit int) table[K] {
	return table[K]{limit: limit, entries: map[K]*entry{}, order: list.New()}
}

// get returns the entry of k, nil if there is none that is to be remembered.
func (t *table[K]) get(k K, now time.Time, forget time.Duration) *entry {
	e := t.entries[k]
	if e != nil && now.Sub(e.last) >= forget && !e.until.After(now) {
		t.remove(k)
		return nil
	}
	return e
}

// put returns the entry of k, a new one if there is none.
func (t *table[K]) put(k K, now time.Time, forget time.Duration) *entry {
	if e := t.get(k, now, forget); e != nil {
		t.order.MoveToFront(e.place)
		return e
	}
	for len(t.entries) >= t.limit {
		t.remove(t.order.Back().Value.(K)) //nolint:forcetypeassert // it holds nothing else
	}
	e := &entry{last: now}
	e.place = t.order.PushFront(k)
	t.entries[k] = e
	return e
}

func (t *table[K]) remove(k K) {
	if e := t.entries[k]; e != nil {
		t.order.Remove(e.place)
		delete(t.entries, k)
	}
}
