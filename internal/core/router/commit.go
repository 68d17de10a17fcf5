package router

import (
	"slices"
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// commit is one batch on its way to stable storage, and what goes on when it is there.
type commit struct {
	r     *Router
	state atomic.Int32
	err   error
	gates []session.Gate
	kept  session.RetainedChange
	owner session.Conn
	done  func(w *Worker, err error)
}

const (
	commitHandedOver = iota // Commit of the store has not returned
	commitStored            // it called back before it returned
	commitAwaited           // it returned first
)

// Commit hands over what the last publish has to store. done is called on owner's loop when it is stored or has failed:
// before Commit returns, if the store is that fast or there is nothing to store. owner nil: on any loop.
func (w *Worker) Commit(owner session.Conn, done func(w *Worker, err error)) {
	p := &w.pub
	b := p.Batch
	p.Batch = nil
	if b == nil {
		if done != nil {
			done(w, nil)
		}
		return
	}
	w.handOver(b, &commit{r: w.r, gates: slices.Clone(p.Gated), kept: p.Retained, owner: owner, done: done})
}

// CommitBatch is Commit for a batch that the caller has made.
func (w *Worker) CommitBatch(b session.Batch, gates []session.Gate, owner session.Conn, done func(w *Worker, err error)) {
	w.handOver(b, &commit{r: w.r, gates: gates, owner: owner, done: done})
}

func (w *Worker) handOver(b session.Batch, c *commit) {
	b.Commit(c.stored)
	if !c.state.CompareAndSwap(commitHandedOver, commitAwaited) {
		c.finish(w)
	}
}

// stored is the store's callback, on whatever goroutine it likes.
func (c *commit) stored(err error) {
	c.err = err
	if c.state.CompareAndSwap(commitHandedOver, commitStored) {
		return // CommitBatch goes on itself
	}
	goOn := func(loop int, now int64) { c.finish(c.r.Worker(loop, now)) }
	if c.owner != nil {
		c.owner.Post(goOn)
	} else {
		c.r.o.Post(0, goOn)
	}
}

func (c *commit) finish(w *Worker) {
	if c.kept.Seq != 0 {
		w.r.retained.Settle(c.kept.Topic, c.kept.Seq, c.kept.Old, c.err)
	}
	for _, g := range c.gates {
		g.S.Stored(&w.Turn, g.Seq, c.err)
		w.Pump(g.S)
	}
	if c.done != nil {
		c.done(w, c.err)
	}
}
