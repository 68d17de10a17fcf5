// Package subtree maps topic filters to subscribers: a trie by topic level that answers which subscriptions match a
// topic (MQTT 5 §4.7).
//
// The files, from the outside in: subtree.go holds the operations that change the tree and those that list it, match.go
// finds what matches a topic, stamp.go tells callers how long a match stays true, node.go is the trie, subs.go the lists
// of subscriptions, slab.go and text.go the memory they lie in.
//
// A million subscriptions must not be a million pointers for the collector to follow. So nodes and subscriptions lie in
// slabs and name each other by index, level texts lie in one arena, and the maps hold numbers only. The heap then
// consists of a few thousand large objects without pointers in them.
//
// Measured with 1,000,000 subscriptions of 100,000 subscribers, a tenth with wildcards, on two cores of an EPYC:
//
//	126 bytes per subscription, built in 0.6 s; a full collection takes 0.8 ms
//	Match 0.54 µs (five levels, one of them '+'), a fan-out to 2,000 26 µs
//	MatchSubscriber 0.74 µs, Stamp 19 ns, Subscribe and Unsubscribe together 1.2 µs
//
// by these commands:
//
//	go test ./internal/core/subtree -run Memory -v -million
//	go test ./internal/core/subtree -run - -bench .
package subtree

import (
	"hash/maphash"
	"strings"
	"sync"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// SubscriberID numbers a subscriber: a session, a shared group, another node. The caller gives the numbers out.
type SubscriberID uint32

// Sub is one subscription that matches a topic.
type Sub struct {
	Subscriber SubscriberID
	Options    mqtt.SubOptions
	SubID      uint32 // subscription identifier (MQTT 5 §3.8.2.1.2); 0: none
}

// Tree holds subscriptions. It is safe for concurrent use; readers share a lock that a change holds for microseconds.
//
// Filters are taken as valid (MQTT 5 §4.7.1): the caller checks them, and takes `$share/group/` off.
type Tree struct {
	mu    sync.RWMutex
	stamp stamps

	seed     maphash.Seed
	hashMask uint32 // all ones; tests clear bits to make levels collide

	nodes  slab[node]
	edges  map[edge]uint32 // (parent, hash of the level) → first node of a chain
	texts  arena
	subs   slab[sub]
	owners map[SubscriberID]owner
	index  map[subKey]uint32 // subscriptions of nodes that have many, see indexAbove
	length int
	buf    []byte // the filter being removed, under mu
}

// New returns an empty tree.
func New() *Tree {
	t := &Tree{seed: maphash.MakeSeed(), hashMask: ^uint32(0)}
	t.stamp.init(t.seed)
	t.reset()
	return t
}

// reset starts over with empty slabs. Maps never shrink, so this is how the memory of a tree that has become empty
// returns.
func (t *Tree) reset() {
	t.nodes, t.subs, t.texts = slab[node]{}, slab[sub]{}, arena{}
	t.edges = map[edge]uint32{}
	t.owners = map[SubscriberID]owner{}
	t.index = map[subKey]uint32{}
	if root := t.nodes.alloc(); root != rootNode {
		panic("subtree: the root is not the first node")
	}
}

// Subscribe adds the subscription of s to filter, or replaces the options and the identifier of the one there is
// [MQTT-3.8.4-3]; existed tells which. Stamps of the topics concerned have changed when it returns.
func (t *Tree) Subscribe(filter string, s SubscriberID, opts mqtt.SubOptions, subID uint32) (existed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.makePath(filter)
	if i := t.findSub(s, n); i != 0 {
		if p := t.subs.at(i); p.opts != opts || p.subID != subID {
			p.opts, p.subID = opts, subID
			t.stamp.changed(filter)
		}
		return true
	}
	t.addSub(sub{subscriber: s, node: n, opts: opts, subID: subID})
	t.stamp.changed(filter)
	return false
}

// Unsubscribe removes the subscription of s to filter and reports whether there was one [MQTT-3.10.4-1].
func (t *Tree) Unsubscribe(filter string, s SubscriberID) (existed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.findPath(filter)
	if n == 0 {
		return false
	}
	i := t.findSub(s, n)
	if i == 0 {
		return false
	}
	t.removeSub(i)
	t.prune(n)
	t.stamp.changed(filter)
	t.resetIfEmpty()
	return true
}

// removeSlice is how many subscriptions RemoveAll takes away before it lets readers in, and RemoveSome at most.
const removeSlice = 256

// RemoveAll removes all subscriptions of s and returns how many there were. It works in slices, so that the end of a
// session with a hundred thousand subscriptions does not hold up the others; the caller no longer subscribes for s.
func (t *Tree) RemoveAll(s SubscriberID) int {
	total := 0
	for {
		n := t.removeSome(s)
		total += n
		if n < removeSlice {
			return total
		}
	}
}

// RemoveSome removes up to 256 subscriptions of s and reports whether there may be more.
func (t *Tree) RemoveSome(s SubscriberID) (more bool) { return t.removeSome(s) == removeSlice }

func (t *Tree) removeSome(s SubscriberID) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for ; n < removeSlice; n++ {
		i := t.owners[s].first
		if i == 0 {
			break
		}
		at := t.subs.at(i).node
		t.buf = t.appendFilter(t.buf[:0], at)
		t.removeSub(i)
		t.prune(at)
		t.stamp.changed(string(t.buf))
	}
	t.resetIfEmpty()
	return n
}

func (t *Tree) resetIfEmpty() {
	if t.length == 0 && len(t.nodes.chunks) > 1 {
		t.reset()
	}
}

// Each calls fn for every subscription of s, in no particular order, until fn returns false. It works on a copy: fn may
// use the tree.
func (t *Tree) Each(s SubscriberID, fn func(filter string, opts mqtt.SubOptions, subID uint32) bool) {
	type entry struct {
		filter string
		opts   mqtt.SubOptions
		subID  uint32
	}
	t.mu.RLock()
	o := t.owners[s]
	all := make([]entry, 0, o.count)
	var buf []byte
	for i := o.first; i != 0; {
		p := t.subs.at(i)
		buf = t.appendFilter(buf[:0], p.node)
		all = append(all, entry{string(buf), p.opts, p.subID})
		i = p.nextOfOwner
	}
	t.mu.RUnlock()
	for _, e := range all {
		if !fn(e.filter, e.opts, e.subID) {
			return
		}
	}
}

// Has reports whether s is subscribed to filter.
func (t *Tree) Has(filter string, s SubscriberID) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.findPath(filter)
	return n != 0 && t.findSub(s, n) != 0
}

// Get returns the options and the identifier of the subscription of s to filter.
func (t *Tree) Get(filter string, s SubscriberID) (opts mqtt.SubOptions, subID uint32, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.findPath(filter)
	if n == 0 {
		return 0, 0, false
	}
	i := t.findSub(s, n)
	if i == 0 {
		return 0, 0, false
	}
	p := t.subs.at(i)
	return p.opts, p.subID, true
}

// Count is the number of subscriptions of s.
func (t *Tree) Count(s SubscriberID) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return int(t.owners[s].count)
}

// Len is the number of subscriptions in all.
func (t *Tree) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.length
}

// cut splits off the first level of a topic or filter. last: it is the only one.
func cut(s string) (level, rest string, last bool) {
	if i := strings.IndexByte(s, '/'); i >= 0 {
		return s[:i], s[i+1:], false
	}
	return s, "", true
}
