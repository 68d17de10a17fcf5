package router

import (
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// What the publishes of one turn store is handed over in one batch, at the turn's end and before anything of it is written
// to a socket: so a hundred messages that came in one read cost one commit, one callback and one event for the loop.

// Waiter goes on when a batch has been stored, or has failed.
type Waiter interface {
	Committed(w *Worker, err error)
}

// Then is a Waiter that is a function.
type Then func(w *Worker, err error)

// Committed calls it.
func (fn Then) Committed(w *Worker, err error) { fn(w, err) }

// commit is one batch on its way to stable storage, and what goes on when it is there, on the loop that began it.
type commit struct {
	r      *Router
	loop   int
	state  atomic.Int32
	err    error
	gates  []session.Gate
	groups []session.GroupGate
	kept   []session.RetainedChange
	done   []Waiter
}

const (
	commitHandedOver = iota // Commit of the store has not returned
	commitStored            // it called back before it returned
	commitAwaited           // it returned first
)

// maxTurnCommit bounds what one batch has waiting for it: more is handed over at once.
const maxTurnCommit = 4096

// Commit has what the last publish stores handed over at the end of the turn. done, if not nil, goes on when it is stored or
// has failed: at once, if there is nothing to store.
func (w *Worker) Commit(done Waiter) {
	p := &w.pub
	if p.Batch == nil {
		if done != nil {
			done.Committed(w, nil)
		}
		return
	}
	p.Batch = nil
	c := w.turnCommit()
	c.gates, c.groups = append(c.gates, p.Gated...), append(c.groups, p.GroupGated...)
	if p.Retained.Seq != 0 {
		c.kept = append(c.kept, p.Retained)
	}
	if done != nil {
		c.done = append(c.done, done)
	}
	if len(c.gates)+len(c.done) >= maxTurnCommit {
		w.CommitTurn()
	}
}

// CommitBatch hands a batch over at once, or at the end of the turn if it is the turn's (session.Turn.Shared).
func (w *Worker) CommitBatch(b session.Batch, done Waiter, gates ...session.Gate) {
	if w.IsShared(b) {
		c := w.turnCommit()
		c.gates = append(c.gates, gates...)
		c.done = append(c.done, done)
		return
	}
	w.handOver(b, &commit{r: w.r, loop: w.Loop, gates: gates, done: []Waiter{done}})
}

func (w *Worker) turnCommit() *commit {
	if w.commit == nil {
		w.commit = &commit{r: w.r, loop: w.Loop}
	}
	return w.commit
}

// CommitTurn hands over what the turn has to store so far.
func (w *Worker) CommitTurn() {
	if b := w.TakeShared(); b != nil {
		c := w.turnCommit()
		w.commit = nil
		w.handOver(b, c)
	}
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
		return // handOver goes on itself
	}
	c.r.o.Post(c.loop, func(loop int, now int64) { c.finish(c.r.Worker(loop, now)) })
}

func (c *commit) finish(w *Worker) {
	for _, k := range c.kept {
		w.r.retained.Settle(k.Topic, k.Seq, k.Old, c.err)
	}
	for i, g := range c.gates {
		m, left := g.S.Stored(&w.Turn, g.Seq, c.err)
		if m != nil && g.Back != nil {
			g.Back.Group.(*Group).putBack(w, m, *g.Back)
		}
		w.redistribute(left)
		if i+1 == len(c.gates) || c.gates[i+1].S != g.S {
			w.Pump(g.S)
			if w.r.groups.members.Load() > 0 && !g.S.Connected() {
				w.redistribute(g.S.LeaveShared(nil)) // what was not known to be stored when the member left
			}
		}
	}
	for _, g := range c.groups {
		g.G.(*Group).settled(w, g.Seq, c.err)
	}
	for _, d := range c.done {
		d.Committed(w, c.err)
	}
}
