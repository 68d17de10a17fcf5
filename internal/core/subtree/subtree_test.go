package subtree

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

func TestSubscribeReplacesInPlace(t *testing.T) {
	tree := New()
	tree.Subscribe("a/+", 1, 0, 5)
	if !tree.Subscribe("a/+", 1, 2, 6) {
		t.Fatal("the second Subscribe to the same filter did not say that there was one")
	}
	if got, want := tree.Match("a/b", nil), []Sub{{1, 2, 6}}; !slices.Equal(got, want) {
		t.Fatalf("Match = %v, want %v", got, want)
	}
}

func TestMatchAppends(t *testing.T) {
	tree := New()
	tree.Subscribe("#", 1, 0, 0)
	got := tree.Match("a", []Sub{{9, 9, 9}})
	if want := []Sub{{9, 9, 9}, {1, 0, 0}}; !slices.Equal(got, want) {
		t.Fatalf("Match = %v, want %v", got, want)
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	tree := New()
	for _, f := range []string{"#", "a/+/c", "a/b/c", "+/+/#", "a/b/c/#"} {
		tree.Subscribe(f, 1, 0, 0)
		tree.Subscribe(f, 2, 0, 0)
	}
	dst := make([]Sub, 0, 16)
	if n := testing.AllocsPerRun(100, func() {
		dst = tree.Match("a/b/c", dst[:0])
		dst = tree.MatchSubscriber("a/b/c", 1, dst[:0])
		tree.Stamp("a/b/c")
	}); n != 0 || len(dst) != 5 {
		t.Fatalf("%v allocations per match, %d found; want 0 and 5", n, len(dst))
	}
}

// The deepest filters that the codec lets in, and the worst mixture of them: a match visits every filter once.
func TestDeepFilters(t *testing.T) {
	tree, topic := New(), strings.TrimSuffix(strings.Repeat("a/", 200), "/")
	deep := []string{topic, strings.ReplaceAll(topic, "a", "+"), strings.Repeat("a/", 199) + "#"}
	for i, f := range deep {
		tree.Subscribe(f, SubscriberID(i), 0, 0)
	}
	if got := tree.Match(topic, nil); len(got) != 3 {
		t.Fatalf("%d of 3 filters of 200 levels match", len(got))
	}
	var got []string
	for i := range deep {
		tree.Each(SubscriberID(i), func(f string, _ mqtt.SubOptions, _ uint32) bool { got = append(got, f); return true })
	}
	if !slices.Equal(got, deep) {
		t.Fatalf("Each gave other filters back than were put in")
	}
}

func TestEachMayChangeTheTreeAndStops(t *testing.T) {
	tree := New()
	for i := range 10 {
		tree.Subscribe(fmt.Sprint("t/", i), 1, 0, 0)
	}
	calls := 0
	tree.Each(1, func(f string, _ mqtt.SubOptions, _ uint32) bool {
		calls++
		return tree.Unsubscribe(f, 1) && calls < 4
	})
	if calls != 4 || tree.Count(1) != 6 {
		t.Fatalf("%d calls and %d left, want 4 and 6", calls, tree.Count(1))
	}
}

func TestRemoveAllInSlices(t *testing.T) {
	tree := New()
	for _, n := range []int{removeSlice - 1, removeSlice, 3*removeSlice + 1} {
		for i := range n {
			tree.Subscribe(fmt.Sprint("t/", i), 1, 0, 0)
		}
		tree.Subscribe("t/#", 2, 0, 0)
		if got := tree.RemoveAll(1); got != n || tree.Len() != 1 || len(tree.Match("t/1", nil)) != 1 {
			t.Fatalf("RemoveAll = %d with %d left, want %d with 1 left", got, tree.Len(), n)
		}
	}
}

// Sessions come and go for years: what they leave is used again, and an empty tree gives its memory back.
func TestMemoryIsReused(t *testing.T) {
	tree := New()
	fill := func() {
		for s := range 50 {
			for i := range 40 {
				tree.Subscribe(fmt.Sprintf("fleet/%d/%s/%d", s, strings.Repeat("x", i*4), i), SubscriberID(s), 0, 0)
				tree.Subscribe("shared/+/filter", SubscriberID(s), 0, 0)
			}
		}
	}
	tree.Subscribe("stays", 1000, 0, 0)
	fill()
	nodes, subs, texts := tree.nodes.next, tree.subs.next, len(tree.texts.chunks)
	for range 5 {
		for s := range 50 {
			tree.RemoveAll(SubscriberID(s))
		}
		if tree.Len() != 1 {
			t.Fatalf("%d subscriptions left, want 1", tree.Len())
		}
		fill()
	}
	if nodes != tree.nodes.next || subs != tree.subs.next || texts != len(tree.texts.chunks) {
		t.Fatalf("slabs grew from %d nodes, %d subscriptions, %d chunks of text to %d, %d, %d",
			nodes, subs, texts, tree.nodes.next, tree.subs.next, len(tree.texts.chunks))
	}
	for s := range 50 {
		tree.RemoveAll(SubscriberID(s))
	}
	tree.Unsubscribe("stays", 1000)
	if len(tree.nodes.chunks) != 1 || len(tree.subs.chunks) != 0 || len(tree.texts.chunks) != 0 {
		t.Fatalf("an empty tree keeps %d, %d, %d chunks", len(tree.nodes.chunks), len(tree.subs.chunks), len(tree.texts.chunks))
	}
}

func TestArenaKeepsTextsOfAllLengths(t *testing.T) {
	var a arena
	lengths := []int{0, 1, 7, 8, 9, 127, 128, 129, 255, 256, 257, 4096, 32768, 32769, 65535}
	text := func(round, n int) string { return strings.Repeat(string(rune('a'+round)), n) }
	chunks := 0
	for round := range 4 {
		refs := make([]uint32, len(lengths))
		for i, n := range lengths {
			refs[i] = a.put(text(round, n))
		}
		for i, n := range lengths {
			if refs[i] == 0 || a.get(refs[i], n) != text(round, n) {
				t.Fatalf("round %d: text of %d bytes at %d came back changed", round, n, refs[i])
			}
		}
		for i, n := range lengths {
			a.drop(refs[i], n)
		}
		if chunks == 0 {
			chunks = len(a.chunks)
		}
		if len(a.chunks) != chunks {
			t.Fatalf("round %d: dropped places were not used again: %d chunks, first %d", round, len(a.chunks), chunks)
		}
	}
}

func TestStampsChangeWhereNeededOnly(t *testing.T) {
	topics := []string{"a", "a/b", "a/b/c", "a/x/c", "z", "z/b/c", "$SYS/a", "/a"}
	for _, c := range []struct {
		filter  string
		changed []string // of topics
	}{
		{"a", []string{"a"}},
		{"a/b/c", []string{"a/b/c"}},
		{"a/#", []string{"a", "a/b", "a/b/c", "a/x/c"}},
		{"a/+", []string{"a", "a/b", "a/b/c", "a/x/c"}},
		{"a/b/#", []string{"a/b", "a/b/c"}},
		{"a/b/+/d/#", []string{"a/b", "a/b/c"}},
		{"/+", []string{"/a"}},
		{"#", []string{"a", "a/b", "a/b/c", "a/x/c", "z", "z/b/c", "/a"}},
		{"+/b/c", []string{"a", "a/b", "a/b/c", "a/x/c", "z", "z/b/c", "/a"}},
		{"$SYS/#", []string{"$SYS/a"}},
		{"z/b/nothing", nil},
	} {
		tree := distinctStamps(t, append(slices.Clone(topics), "z/b/nothing"))
		step := func(what string, do func(), want []string) {
			t.Helper()
			before := map[string]uint64{}
			for _, topic := range topics {
				before[topic] = tree.Stamp(topic)
			}
			do()
			var got []string
			for _, topic := range topics {
				if tree.Stamp(topic) != before[topic] {
					got = append(got, topic)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s %q: the stamps of %q changed, want %q", what, c.filter, got, want)
			}
		}
		step("subscribe", func() { tree.Subscribe(c.filter, 1, 0, 0) }, c.changed)
		step("subscribe once more, nothing new,", func() { tree.Subscribe(c.filter, 1, 0, 0) }, nil)
		step("change the options of", func() { tree.Subscribe(c.filter, 1, 1, 0) }, c.changed)
		step("change the identifier of", func() { tree.Subscribe(c.filter, 1, 1, 1) }, c.changed)
		step("unsubscribe a stranger from", func() { tree.Unsubscribe(c.filter, 2) }, nil)
		step("unsubscribe", func() { tree.Unsubscribe(c.filter, 1) }, c.changed)
		step("unsubscribe again", func() { tree.Unsubscribe(c.filter, 1) }, nil)
		tree.Subscribe(c.filter, 1, 0, 0)
		step("remove all of the subscriber of", func() { tree.RemoveAll(1) }, c.changed)
	}
}

// distinctStamps returns a tree whose seed gives each of the topics and of their prefixes a counter of its own.
func distinctStamps(t *testing.T, topics []string) *Tree {
	t.Helper()
	for range 1000 {
		tree := New()
		g, seen, clash := &tree.stamp, map[any]string{}, false
		note := func(counter any, s string) {
			if old, ok := seen[counter]; ok && old != s {
				clash = true
			}
			seen[counter] = s
		}
		for _, topic := range topics {
			one, two := prefixes(topic)
			note(g.counter(g.exact, topic), topic)
			note(g.counter(g.first, topic[:one]), topic[:one])
			if two >= 0 {
				note(g.counter(g.second, topic[:two]), topic[:two])
			}
		}
		if !clash {
			return tree
		}
	}
	t.Fatal("no seed without collisions in 1000")
	return nil
}

// Readers that hold to the rule "stamp first, then match" never see a stale result under an unchanged stamp, while
// others change the tree.
func TestConcurrentUse(t *testing.T) {
	tree, stop := New(), make(chan struct{})
	var writers, readers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			own := SubscriberID(w)
			for i := range 1000 {
				f := fmt.Sprintf("w%d/%d/+", w, i%50)
				tree.Subscribe(f, own, 1, uint32(i))
				tree.Subscribe("all/#", own, 0, 0)
				if topic := fmt.Sprintf("w%d/%d/x", w, i%50); len(tree.MatchSubscriber(topic, own, nil)) != 1 {
					t.Errorf("%d does not see its own subscription to %q", own, f)
					return
				}
				if i%7 == 0 {
					tree.Unsubscribe(f, own)
				}
				if i%300 == 0 {
					tree.RemoveAll(own)
				}
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			var dst, again []Sub
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				topic := []string{"all/x", "w1/7/x", "w2/3/x"}[i%3]
				stamp := tree.Stamp(topic)
				dst = tree.Match(topic, dst[:0])
				again = tree.Match(topic, again[:0])
				if tree.Stamp(topic) == stamp && !slices.Equal(dst, again) {
					t.Errorf("the stamp of %q stayed %d, two matches gave %v and %v", topic, stamp, dst, again)
					return
				}
				tree.Each(1, func(string, mqtt.SubOptions, uint32) bool { return true })
				tree.Count(1)
				tree.Len()
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	checkInvariants(t, tree)
}

// million builds the tree that the numbers in the package's documentation are about: every device listens for its own
// commands on some topics, one in ten of its filters has a wildcard, and all share a few.
func million(subscriptions int) *Tree {
	tree := New()
	const perDevice = 10
	for i := range subscriptions / perDevice {
		s := SubscriberID(i + 1)
		base := fmt.Sprintf("fleet/region-%02d/device-%06d/", i%50, i)
		for _, l := range []string{"cmd", "config", "reboot", "time", "firmware", "shadow/get", "shadow/set", "alert"} {
			tree.Subscribe(base+l, s, 1, 0)
		}
		tree.Subscribe(base+"jobs/+/state", s, 1, uint32(i+1))
		tree.Subscribe(fmt.Sprintf("broadcast/region-%02d", i%50), s, 0, 0)
	}
	return tree
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A million subscriptions fit in 200 MB; a tenth of that number shows it as well, and quickly.
func TestMemoryPerSubscription(t *testing.T) {
	n := 100_000
	if *full {
		n = 1_000_000
	}
	before, start := heap(), time.Now()
	tree := million(n)
	built := time.Since(start)
	per := float64(heap()-before) / float64(tree.Len())
	start = time.Now()
	runtime.GC()
	t.Logf("%d subscriptions, %d nodes: %.0f bytes each, built in %v; a collection takes %v", tree.Len(),
		tree.nodes.next, per, built, time.Since(start))
	if per > 200 {
		t.Errorf("%.0f bytes per subscription, the budget is 200", per)
	}
	runtime.KeepAlive(tree)
}
