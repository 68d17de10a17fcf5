package subtree

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// Sizes of the arrays of counters, powers of two. Two filters that share a counter only cost a needless match.
const (
	exactStamps  = 1 << 14
	firstStamps  = 1 << 10
	secondStamps = 1 << 13
)

// stamps count the changes, apart for the topics that they can concern: churn in one branch must not empty the match
// caches of all others. A filter without wildcards counts for its own topic; one with wildcards counts for the topics
// that begin as it does, up to two levels.
//
// All counters only rise, so their sum stays the same only if each of them does.
type stamps struct {
	seed   maphash.Seed
	all    atomic.Uint64   // filters that begin with a wildcard
	first  []atomic.Uint64 // one literal level, then a wildcard
	second []atomic.Uint64 // two or more
	exact  []atomic.Uint64 // no wildcard
	never  atomic.Uint64   // stands where a topic has nothing to count
}

func (g *stamps) init(seed maphash.Seed) {
	g.seed = seed
	g.first = make([]atomic.Uint64, firstStamps)
	g.second = make([]atomic.Uint64, secondStamps)
	g.exact = make([]atomic.Uint64, exactStamps)
}

func (g *stamps) counter(in []atomic.Uint64, s string) *atomic.Uint64 {
	return &in[maphash.String(g.seed, s)&uint64(len(in)-1)]
}

// changed counts a change of one subscription to filter. It is called with the tree's lock held, after the change: who
// reads the new stamp then matches the new tree.
func (g *stamps) changed(filter string) {
	wild := wildcard(filter)
	if wild < 0 {
		g.counter(g.exact, filter).Add(1)
		return
	}
	if wild == 0 {
		g.all.Add(1)
		return
	}
	one, two := prefixes(filter[:wild-1]) // without the '/' before the wildcard
	if two < 0 {
		g.counter(g.first, filter[:one]).Add(1)
		return
	}
	g.counter(g.second, filter[:two]).Add(1)
}

// wildcard returns where the first level that is a wildcard begins, -1 if there is none.
// '+' and '#' occur in a valid filter only as whole levels [MQTT-4.7.1-1] [MQTT-4.7.1-2].
func wildcard(filter string) int { return strings.IndexAny(filter, "+#") }

// prefixes returns where the first level of a topic ends and where the second one does, -1 if there is no second.
func prefixes(topic string) (one, two int) {
	one = strings.IndexByte(topic, '/')
	if one < 0 {
		return len(topic), -1
	}
	two = strings.IndexByte(topic[one+1:], '/')
	if two < 0 {
		return one, len(topic)
	}
	return one, one + 1 + two
}

// Watch is the counters that concern a topic, so that its stamp is read again without hashing it.
type Watch [4]*atomic.Uint64

// Stamp is Tree.Stamp of the topic.
func (w *Watch) Stamp() uint64 { return w[0].Load() + w[1].Load() + w[2].Load() + w[3].Load() }

// Watch finds the counters of a topic.
func (t *Tree) Watch(topic string) Watch {
	g := &t.stamp
	one, two := prefixes(topic)
	w := Watch{g.counter(g.exact, topic), &g.all, g.counter(g.first, topic[:one]), &g.never}
	if hidden(topic) {
		w[1] = &g.never
	}
	if two >= 0 {
		w[3] = g.counter(g.second, topic[:two])
	}
	return w
}

// Stamp numbers the state of the tree as topic sees it: while it returns the same number, Match(topic) returns the same
// subscriptions. It takes no lock. Take the stamp first and match afterwards; the other way round a change in between
// goes unseen.
func (t *Tree) Stamp(topic string) uint64 {
	w := t.Watch(topic)
	return w.Stamp()
}
