package subtree

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// matches is the oracle: MQTT 5 §4.7 word by word, on split strings.
func matches(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	for i, level := range f {
		switch {
		case level == "#":
			return true
		case i == len(t):
			return false
		case level != "+" && level != t[i]:
			return false
		}
		if i == len(t)-1 && len(f) == i+2 && f[i+1] == "#" {
			return true
		}
	}
	return len(f) == len(t)
}

func TestOracleOnExamplesOfTheSpecification(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/#", "sport", true},
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false},
		{"sport/+", "sport/", true},
		{"+/+", "/finance", true},
		{"/+", "/finance", true},
		{"+", "/finance", false},
		{"#", "$SYS/x", false},
		{"+/monitor/Clients", "$SYS/monitor/Clients", false},
		{"$SYS/#", "$SYS/x", true},
		{"$SYS/monitor/+", "$SYS/monitor/Clients", true},
		{"a/$b/+", "a/$b/c", true},
		{"a/+", "a/$b", true},
		{"Accounts", "ACCOUNTS", false},
	} {
		if got := matches(c.filter, c.topic); got != c.want {
			t.Errorf("oracle: matches(%q, %q) = %v, want %v", c.filter, c.topic, got, c.want)
		}
		tree := New()
		tree.Subscribe(c.filter, 7, 2, 9)
		var want []Sub
		if c.want {
			want = []Sub{{7, 2, 9}}
		}
		if got := tree.Match(c.topic, nil); !slices.Equal(got, want) {
			t.Errorf("Match(%q) with filter %q = %v, want %v", c.topic, c.filter, got, want)
		}
		if got := tree.MatchSubscriber(c.topic, 7, nil); !slices.Equal(got, want) {
			t.Errorf("MatchSubscriber(%q) with filter %q = %v, want %v", c.topic, c.filter, got, want)
		}
	}
}

// model is a tree as a plain list.
type model map[subscription]Sub

type subscription struct {
	filter string
	s      SubscriberID
}

func (m model) match(topic string) (subs []Sub) {
	for k, v := range m {
		if matches(k.filter, topic) {
			subs = append(subs, v)
		}
	}
	return sorted(subs)
}

func (m model) of(s SubscriberID) (list []string) {
	for k, v := range m {
		if k.s == s {
			list = append(list, fmt.Sprint(k.filter, " ", v.Options, " ", v.SubID))
		}
	}
	slices.Sort(list)
	return list
}

func sorted(subs []Sub) []Sub {
	slices.SortFunc(subs, func(a, b Sub) int {
		return cmp.Or(cmp.Compare(a.Subscriber, b.Subscriber), cmp.Compare(a.SubID, b.SubID),
			cmp.Compare(a.Options, b.Options))
	})
	return subs
}

// source turns bytes into choices; it is spent when they are.
type source struct{ b []byte }

func (r *source) pick(n int) int {
	if len(r.b) == 0 {
		return 0
	}
	v := int(r.b[0]) % n
	r.b = r.b[1:]
	return v
}

var levels = []string{"a", "b", "", "$S", "c", "a-level-of-more-than-sixty-four-bytes-so-that-other-size-classes-are-used", "+", "+", "+"}

func (r *source) topic() string {
	l := make([]string, 1+r.pick(4))
	for i := range l {
		l[i] = levels[r.pick(len(levels)-3)]
	}
	return strings.Join(l, "/")
}

func (r *source) filter() string {
	l := make([]string, 1+r.pick(4))
	for i := range l {
		l[i] = levels[r.pick(len(levels))]
	}
	if r.pick(4) == 0 {
		l[len(l)-1] = "#"
	}
	return strings.Join(l, "/")
}

// probe is a topic whose result is remembered, to hold the stamps to their promise.
type probe struct {
	topic string
	stamp uint64
	subs  []Sub
}

// run drives a tree and a model with the same operations and compares them after each.
func run(t *testing.T, tree *Tree, data []byte, subscribers int) {
	r, m := &source{data}, model{}
	probes := map[string]probe{}
	for len(r.b) > 0 {
		s := SubscriberID(r.pick(subscribers))
		switch op := r.pick(16); {
		case op < 7:
			f, v := r.filter(), Sub{s, mqtt.SubOptions(r.pick(3)), uint32(r.pick(3))}
			_, want := m[subscription{f, s}]
			m[subscription{f, s}] = v
			if got := tree.Subscribe(f, s, v.Options, v.SubID); got != want {
				t.Fatalf("Subscribe(%q, %d) = %v, want %v", f, s, got, want)
			}
		case op < 12:
			f := r.filter()
			for k := range m { // one that exists, mostly
				if k.s == s && op < 11 {
					f = k.filter
					break
				}
			}
			_, want := m[subscription{f, s}]
			delete(m, subscription{f, s})
			if got := tree.Unsubscribe(f, s); got != want {
				t.Fatalf("Unsubscribe(%q, %d) = %v, want %v", f, s, got, want)
			}
		case op == 12 && r.pick(4) == 0:
			want := len(m.of(s))
			for k := range m {
				if k.s == s {
					delete(m, k)
				}
			}
			if got := tree.RemoveAll(s); got != want {
				t.Fatalf("RemoveAll(%d) = %d, want %d", s, got, want)
			}
		default:
			topic := r.topic()
			probes[topic] = probe{topic, tree.Stamp(topic), m.match(topic)}
		}
		compare(t, tree, m, r.topic(), s)
		for topic, p := range probes {
			if tree.Stamp(topic) == p.stamp {
				if now := m.match(topic); !slices.Equal(now, p.subs) {
					t.Fatalf("Stamp(%q) stayed %d, but the match went from %v to %v", topic, p.stamp, p.subs, now)
				}
			} else {
				delete(probes, topic)
			}
		}
	}
	checkInvariants(t, tree)
	for s := range subscribers {
		tree.RemoveAll(SubscriberID(s))
	}
	checkInvariants(t, tree)
	if n := len(tree.edges) + len(tree.index) + len(tree.owners) + tree.length; n != 0 {
		t.Fatalf("%d entries are left in a tree from which all is removed", n)
	}
}

func compare(t *testing.T, tree *Tree, m model, topic string, s SubscriberID) {
	t.Helper()
	want := m.match(topic)
	if got := sorted(tree.Match(topic, nil)); !slices.Equal(got, want) {
		t.Fatalf("Match(%q) = %v, want %v", topic, got, want)
	}
	want = slices.DeleteFunc(want, func(v Sub) bool { return v.Subscriber != s })
	if got := sorted(tree.MatchSubscriber(topic, s, nil)); !slices.Equal(got, want) {
		t.Fatalf("MatchSubscriber(%q, %d) = %v, want %v", topic, s, got, want)
	}
	var list []string
	tree.Each(s, func(f string, o mqtt.SubOptions, id uint32) bool {
		list = append(list, fmt.Sprint(f, " ", o, " ", id))
		return true
	})
	slices.Sort(list)
	if want := m.of(s); !slices.Equal(list, want) || tree.Count(s) != len(want) || tree.Len() != len(m) {
		t.Fatalf("subscriber %d: %d subscriptions %v of %d, want %v of %d", s, tree.Count(s), list, tree.Len(), want, len(m))
	}
}

// checkInvariants walks everything and counts: lists are linked both ways, no place is lost or used twice.
func checkInvariants(t *testing.T, tree *Tree) {
	t.Helper()
	nodes, subs, texts, indexed, edges := 0, 0, 0, 0, map[edge]bool{}
	for n := rootNode; n < tree.nodes.next; n++ {
		if slices.Contains(tree.nodes.free, n) {
			continue
		}
		nodes++
		p := tree.nodes.at(n)
		if n != rootNode {
			if p.kind == literal {
				texts++
				edges[edge{p.parent, tree.hashLevel(tree.level(p))}] = true
			}
			if got := tree.child(p.parent, tree.level(p)); got != n {
				t.Fatalf("node %d %q is not found below its parent: %d is", n, tree.level(p), got)
			}
			if p.first == 0 && p.plus == 0 && p.multi == 0 && p.literals == 0 {
				t.Fatalf("node %d %q has nothing below it and should be gone", n, tree.level(p))
			}
		}
		count, prev := uint32(0), uint32(0)
		for i := p.first; i != 0; i = tree.subs.at(i).nextOfNode {
			q := tree.subs.at(i)
			if q.prevOfNode != prev || q.node != n || (p.indexed && tree.index[subKey{q.subscriber, n}] != i) {
				t.Fatalf("subscription %d of node %d is linked wrongly: %+v", i, n, *q)
			}
			count, prev = count+1, i
		}
		if count != p.count || (p.indexed && count < indexUntil) || (!p.indexed && count > indexAbove) {
			t.Fatalf("node %d: %d subscriptions, counted %d, indexed %v", n, p.count, count, p.indexed)
		}
		if p.indexed {
			indexed += int(count)
		}
		subs += int(count)
	}
	owned := 0
	for s, o := range tree.owners {
		prev := uint32(0)
		for i := o.first; i != 0; i = tree.subs.at(i).nextOfOwner {
			if q := tree.subs.at(i); q.prevOfOwner != prev || q.subscriber != s {
				t.Fatalf("subscription %d of subscriber %d is linked wrongly: %+v", i, s, *q)
			}
			owned, prev = owned+1, i
		}
	}
	if subs != tree.length || owned != subs || indexed != len(tree.index) || len(edges) != len(tree.edges) ||
		int(tree.subs.next)-len(tree.subs.free) != subs+min(1, int(tree.subs.next)) {
		t.Fatalf("counts differ: %d subscriptions on nodes, %d of owners, %d in all, %d/%d indexed, %d/%d edges, slab %d-%d",
			subs, owned, tree.length, indexed, len(tree.index), len(edges), len(tree.edges), tree.subs.next, len(tree.subs.free))
	}
}

func randomBytes(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestAgainstOracle(t *testing.T) {
	for seed := range uint64(25) {
		run(t, New(), randomBytes(seed, 3000), 3)
	}
}

// With 40 subscribers on few filters, nodes pass the limits of the index both ways.
func TestAgainstOracleManySubscribers(t *testing.T) {
	for seed := range uint64(4) {
		tree, r := New(), rand.New(rand.NewPCG(seed, 1))
		m := model{}
		for i := range 4000 {
			bias := []int{85, 15}[i/300%2]
			f, s := []string{"a", "a/#", "+/b"}[r.IntN(3)], SubscriberID(r.IntN(40))
			_, want := m[subscription{f, s}]
			if r.IntN(100) < bias {
				m[subscription{f, s}] = Sub{s, 1, uint32(len(f))}
				if tree.Subscribe(f, s, 1, uint32(len(f))) != want {
					t.Fatalf("seed %d: Subscribe(%q, %d) did not return %v", seed, f, s, want)
				}
			} else {
				delete(m, subscription{f, s})
				if tree.Unsubscribe(f, s) != want {
					t.Fatalf("seed %d: Unsubscribe(%q, %d) did not return %v", seed, f, s, want)
				}
			}
			compare(t, tree, m, []string{"a", "a/b", "c/b"}[r.IntN(3)], s)
		}
		for s := range SubscriberID(40) {
			tree.RemoveAll(s)
			checkInvariants(t, tree)
		}
	}
}

// Every level hashes alike, or to one of two values: the text decides, and chains lose nobody.
func TestCollidingHashes(t *testing.T) {
	for _, mask := range []uint32{0, 1} {
		for seed := range uint64(8) {
			tree := New()
			tree.hashMask = mask
			run(t, tree, randomBytes(seed, 3000), 3)
		}
	}
}

func FuzzTree(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(randomBytes(seed, 300), seed%2 == 0)
	}
	f.Fuzz(func(t *testing.T, data []byte, collide bool) {
		tree := New()
		if collide {
			tree.hashMask = 0
		}
		run(t, tree, data[:min(len(data), 4000)], 3)
	})
}
