package subtree

import (
	"flag"
	"fmt"
	"sync"
	"testing"
)

var full = flag.Bool("million", false, "measure the memory at 1,000,000 subscriptions instead of 100,000")

var bigTree = sync.OnceValue(func() *Tree { return million(1_000_000) })

// Different topics each time, so that caches hold no more of the tree than they would in life.
func topics() []string {
	list := make([]string, 1<<14)
	for i := range list {
		d := i * 6007 % 100_000
		list[i] = fmt.Sprintf("fleet/region-%02d/device-%06d/jobs/%d/state", d%50, d, i)
	}
	return list
}

func BenchmarkMatch(b *testing.B) {
	tree, list, dst := bigTree(), topics(), make([]Sub, 0, 16)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if dst = tree.Match(list[i%len(list)], dst[:0]); len(dst) != 1 {
			b.Fatal(list[i%len(list)], dst)
		}
	}
}

func BenchmarkMatchFanOut2000(b *testing.B) {
	tree, dst := bigTree(), make([]Sub, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if dst = tree.Match("broadcast/region-07", dst[:0]); len(dst) != 2000 {
			b.Fatal(len(dst))
		}
	}
}

func BenchmarkMatchSubscriber(b *testing.B) {
	tree, list, dst := bigTree(), topics(), make([]Sub, 0, 16)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		d := i % len(list)
		if dst = tree.MatchSubscriber(list[d], SubscriberID(d*6007%100_000+1), dst[:0]); len(dst) != 1 {
			b.Fatal(dst)
		}
	}
}

func BenchmarkStamp(b *testing.B) {
	tree, list := bigTree(), topics()
	for i := 0; b.Loop(); i++ {
		tree.Stamp(list[i%len(list)])
	}
}

func BenchmarkSubscribeUnsubscribe(b *testing.B) {
	tree, list := bigTree(), topics()
	for i := 0; b.Loop(); i++ {
		tree.Subscribe(list[i%len(list)], 7, 1, 0)
		tree.Unsubscribe(list[i%len(list)], 7)
	}
}

// One subscriber holds very many filters, and one filter very many subscribers: neither makes the other's changes slow.
func BenchmarkSubscribeBusyNodeBusyOwner(b *testing.B) {
	tree := New()
	for i := range 100_000 {
		tree.Subscribe(fmt.Sprint("own/", i), 1, 0, 0)
		tree.Subscribe("hot", SubscriberID(i+2), 0, 0)
	}
	for b.Loop() {
		tree.Subscribe("hot", 1, 0, 0)
		tree.Unsubscribe("hot", 1)
	}
}

// The worst a match meets: at each of 7 levels both the literal and '+' lead on, so 128 nodes end a filter.
func BenchmarkMatchAllCombinations(b *testing.B) {
	tree, dst := New(), make([]Sub, 0, 128)
	for bits := range 128 {
		f := ""
		for l := range 7 {
			f += []string{"/level", "/+"}[bits>>l&1]
		}
		tree.Subscribe(f[1:], 1, 0, 0)
	}
	topic := "level/level/level/level/level/level/level"
	for b.Loop() {
		if dst = tree.Match(topic, dst[:0]); len(dst) != 128 {
			b.Fatal(len(dst))
		}
	}
}
