package router

import (
	"slices"

	"github.com/nightjar-mqtt/nightjar/internal/core/retained"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// replaySlice is how many retained messages one turn sends to a client: a `#` over a million topics must not keep a loop
// from its other clients.
const replaySlice = 256

// Retained walks over the retained messages that match a filter. Any goroutine, one at a time.
func (r *Router) Retained(filter string) *retained.Cursor { return r.retained.Cursor(filter) }

// PrepareReplay prepares the retained messages for a new subscription; nil: there are none. They are a cursor over the
// retained store, not queue entries, and leave out what is retained from now on: that comes live. They are held until
// SUBACK leaves.
func (w *Worker) PrepareReplay(s *session.Session, filter string, opts mqtt.SubOptions, subID uint32) *session.Replay {
	if w.r.retained.Len() == 0 {
		return nil
	}
	r := &session.Replay{
		Source: w.r.retained.Cursor(filter), Filter: filter, Grant: grantOf(opts, subID), NoLocal: opts.NoLocal(), Held: true,
	}
	s.SetReplays(append(s.Replays(), r))
	return r
}

// StoreReplay notes with a subscription that its answer has begun: a restart begins it anew.
func (w *Worker) StoreReplay(s *session.Session, r *session.Replay, opts mqtt.SubOptions, subID uint32, batch session.Batch) {
	batch.PutSubscription(s.Key, r.Filter, opts|session.ReplayUnfinished, subID)
	r.Stored = true
}

// finishReplay takes that back, with the subscription as it is now. An older answer to the same filter leaves it to the newer
// one.
func (w *Worker) finishReplay(s *session.Session, r *session.Replay) {
	if !r.Stored || slices.ContainsFunc(s.Replays(), func(o *session.Replay) bool { return o != r && o.Filter == r.Filter }) {
		return
	}
	opts, subID, ok := w.r.subs.Get(r.Filter, s.Sub)
	if !ok {
		return
	}
	b := w.NewBatch()
	b.PutSubscription(s.Key, r.Filter, opts, subID)
	b.Commit(nil)
}

// endReplays ends what is left of the answers to a subscription that is no more [MQTT-3.10.4-2].
func (w *Worker) endReplays(s *session.Session, filter string) {
	if r := s.Replays(); len(r) > 0 {
		s.SetReplays(slices.DeleteFunc(r, func(r *session.Replay) bool { return r.Filter == filter }))
	}
}

// Replay sends the next slice of retained messages. again: more can be sent at once; otherwise it is finished, or goes on
// when the client has taken what waits for it.
func (w *Worker) Replay(s *session.Session) (again bool) {
	sent := 0
	for len(s.Replays()) > 0 {
		if s.Backlogged(&w.Turn) {
			return false
		}
		if sent >= replaySlice {
			return true
		}
		r := s.Replays()[0]
		if r.Held {
			return false // as are those behind it: SUBACKs leave in order
		}
		const step = 32
		msgs, done := r.Source.Next(w.Now, step, w.replay[:0])
		sent += max(len(msgs), step/4)
		for _, m := range msgs {
			if w.mayReceive(s.ID(), m.Topic) && !(r.NoLocal && isOwn(m.From, s)) && w.mayHaveRetained(m) {
				w.pub.Start(m, w.Now)
				s.DeliverRetained(&w.Turn, &w.pub, &r.Grant)
				w.Commit(nil)
			}
		}
		clear(msgs)
		w.replay = msgs
		if done {
			w.finishReplay(s, r)
			s.SetReplays(slices.Delete(s.Replays(), 0, 1))
		}
	}
	return false
}
