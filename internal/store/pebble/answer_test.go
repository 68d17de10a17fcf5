package pebble

import (
	"errors"
	"sync"
	"testing"
)

// A store may die while a group that has been synced is being answered: each batch is answered once, by one of the two,
// and neither takes the batches away from the other.
func TestDeathMeetsAnswer(t *testing.T) {
	died := errors.New("died")
	for range 2000 {
		s := &Store{dead: died, deadCh: make(chan struct{})}
		answers := make([]int, 50)
		g := &group{}
		for i := range answers {
			b := s.NewBatch().(*batch)
			b.done = func(error) { answers[i]++ }
			g.batches = append(g.batches, b)
		}
		s.flying = []*group{g}
		var both sync.WaitGroup
		both.Add(2)
		go func() { defer both.Done(); s.bury() }()
		go func() { defer both.Done(); s.landed(g) }()
		both.Wait()
		for i, n := range answers {
			if n != 1 {
				t.Fatalf("batch %d was answered %d times", i, n)
			}
		}
	}
}
