package router

import (
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// Publish delivers a message to all who are to have it and returns how many that are. The message may be borrowed.
//
// What its acknowledgement has to wait for is then in Pending: the caller hands it over with Commit.
func (w *Worker) Publish(m *message.Message) (matched int) { return w.PublishWith(m, nil) }

// PublishWith adds what the publish stores to batch, so that both become durable together. With a batch, the publish will
// be repeated if its commit fails.
func (w *Worker) PublishWith(m *message.Message, batch session.Batch) (matched int) {
	p := &w.pub
	p.Start(m, w.Now)
	p.Batch, p.Repeats = batch, batch != nil
	if m.Retain {
		w.retain(p)
	}
	rt := w.route(m.Topic)
	if len(m.Payload) > outbox.RefThreshold && len(rt.receivers) > 1 {
		p.Own() // one copy that all outboxes refer to
	}
	for i := range rt.receivers {
		if w.offer(p, &rt.receivers[i]) {
			matched++
		}
		w.Relieve()
	}
	for _, g := range rt.groups {
		if g.offer(w, p, session.Shared{}) {
			matched++
		}
	}
	return matched
}

// Receivers is how many there are for a topic now.
func (w *Worker) Receivers(topic string) int {
	rt := w.route(topic)
	return len(rt.receivers) + len(rt.groups)
}

// offer delivers to one receiver. false: it is none any more.
func (w *Worker) offer(p *session.Publication, rc *receiver) bool {
	for {
		g := &rc.grant
		if rc.own != nil && isOwn(p.M.From, rc.s) {
			g = rc.own
		}
		if g.Skip {
			return false
		}
		switch rc.s.Deliver(&w.Turn, p, g, rc.epoch) {
		case session.Stale:
			w.rematch(rc, p.M.Topic)
		case session.Ended:
			return false
		default:
			return true
		}
	}
}

// retain stores the message before it is matched, so that a subscription that comes meanwhile finds it by one way or the
// other.
func (w *Worker) retain(p *session.Publication) {
	m := p.Own()
	if m.From == nil && message.IsSys(m.Topic) {
		w.r.retained.Set(m, nil) // made anew after a restart
		return
	}
	if after := w.r.o.Limits.Current().RetainExpiry; after > 0 && m.Expires == 0 {
		c := *m // what is delivered now has no end
		c.Expires = w.Now + after
		m = &c
	}
	old, seq := w.r.retained.Set(m, func(seq uint64) {
		// The sequence is given under the lock that orders the topic; the store keeps the highest (DESIGN rule 4).
		if len(m.Payload) == 0 {
			p.Store(&w.Turn).DeleteRetained(m.Topic, seq)
			return
		}
		stored := *m
		stored.Seq = seq
		p.Store(&w.Turn).PutRetained(&stored)
	})
	p.Retained = session.RetainedChange{Topic: m.Topic, Seq: seq, Old: old}
}

// PublishOwn sends a message of the broker itself, or a will: nobody waits for its acknowledgement.
func (w *Worker) PublishOwn(m *message.Message) {
	w.Publish(m)
	w.Commit(nil)
}

// Congested is a receiver of the last publish whose queue is long; nil: none.
func (w *Worker) Congested() *session.Session { return w.pub.Congested }

// Pump sends what waits for a session, as far as its window and its socket allow, and lets its shared groups use the room
// that is left.
func (w *Worker) Pump(s *session.Session) {
	s.Pump(&w.Turn)
	for _, g := range w.r.groups.of(s) {
		g.drain(w)
	}
}

// Storing reports whether the last publish has something to store.
func (w *Worker) Storing() bool { return w.pub.Batch != nil }
