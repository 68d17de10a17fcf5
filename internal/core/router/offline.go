package router

import (
	"container/heap"
	"sync"
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// Will is a will message and how long it waits after the connection is lost (MQTT 5 §3.1.3.2.2).
type Will struct {
	M     *message.Message
	Delay uint32 // seconds
	// Expiry is the message expiry interval in seconds, counted from when the will is sent (MQTT 5 §3.1.3.2.4), if
	// Expires is set.
	Expiry  uint32
	Expires bool
}

// offline is what is due for a client that is absent: its delayed will, and the end of its session.
type offline struct {
	id     string
	at     int64 // the earlier of the two, unix milliseconds
	willAt int64
	endAt  int64 // 0: the session never expires
	will   *Will
	index  int // in the heap; -1: not in it
}

func newOffline(id string, expiry uint32, will *Will, now int64) *offline {
	o := &offline{id: id, index: -1}
	if expiry != session.NeverExpires {
		o.endAt = now + int64(expiry)*1000
		o.at = o.endAt
	}
	// The will is sent after its delay or when the session ends, whichever is first [MQTT-3.1.2-8].
	if will != nil && will.Delay > 0 {
		o.will, o.willAt = will, now+int64(will.Delay)*1000
		if o.at == 0 || o.willAt < o.at {
			o.at = o.willAt
		}
	}
	return o
}

// offlineTimers is a heap, not a timer per session: it costs nothing until the earliest is due.
type offlineTimers struct {
	mu      sync.Mutex
	heap    offlineHeap
	expired atomic.Int64
}

func (t *offlineTimers) add(o *offline) {
	t.mu.Lock()
	defer t.mu.Unlock()
	heap.Push(&t.heap, o)
}

func (t *offlineTimers) remove(o *offline) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o.index >= 0 {
		heap.Remove(&t.heap, o.index)
	}
}

func (t *offlineTimers) due(now int64) *offline {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.heap) == 0 || t.heap[0].at > now {
		return nil
	}
	return heap.Pop(&t.heap).(*offline)
}

// maxDuePerTick bounds how many sessions one tick ends; the rest follow in the next.
const maxDuePerTick = 256

// Tick ends the sessions and sends the wills that are due, and lets expired retained messages go. It is called every few
// hundred milliseconds on one loop.
func (w *Worker) Tick() {
	for range maxDuePerTick {
		o := w.r.offline.due(w.Now)
		if o == nil {
			break
		}
		w.dueOffline(o)
	}
	w.releaseSlow()
	w.rereadQueues()
	for _, m := range w.r.retained.Expire(w.Now, maxDuePerTick) {
		w.Later().DeleteRetained(m.Topic, m.Seq)
	}
}

func (w *Worker) dueOffline(o *offline) {
	sh := w.r.sessions.shard(o.id)
	sh.mu.Lock()
	c := sh.m[o.id]
	if c.offline != o {
		sh.mu.Unlock()
		return // the client came back
	}
	ended := o.endAt != 0 && o.endAt <= w.Now
	s := c.s
	switch {
	case ended && c.holder == nil:
		delete(sh.m, o.id)
	case ended:
		c.s, c.offline = nil, nil
		sh.m[o.id] = c
	case o.endAt == 0:
		c.offline = nil
		sh.m[o.id] = c
	}
	will := o.will
	o.will = nil
	if !ended && o.endAt != 0 {
		o.at = o.endAt
		w.r.offline.add(o)
	}
	var left []session.Shared
	if ended {
		// Under the registry's lock: a client that returns now gets a new session, of which the store is told after this.
		left = s.End(&w.Turn)
		w.forget(s)
	}
	sh.mu.Unlock()
	if ended {
		w.r.offline.expired.Add(1)
		w.dissolve(s, left)
	}
	if will != nil {
		w.PublishWill(will)
		w.deleteWill(s)
	}
}

func (w *Worker) sendWill(s *session.Session, o *offline) {
	if o != nil && o.will != nil {
		w.PublishWill(o.will)
		w.deleteWill(s)
	}
}

// deleteWill comes after what the will stores: after a crash it may be sent twice, but not be lost.
func (w *Worker) deleteWill(s *session.Session) {
	b := w.NewBatch()
	b.DeleteWill(s.Key)
	b.Commit(nil)
}

// PublishWill sends a will, if its client may publish there.
func (w *Worker) PublishWill(will *Will) {
	m := will.M
	if !w.r.MayPublish(m.From, m.Topic, m.QoS, m.Retain).Allowed {
		return
	}
	if will.Expires {
		c := *m
		c.Expires = w.Now + int64(will.Expiry)*1000
		m = &c
	}
	if m.Retain && !w.r.RoomToRetain(m) { // nobody could be told
		c := *m
		c.Retain = false
		m = &c
	}
	w.PublishOwn(m)
}

type offlineHeap []*offline

func (h offlineHeap) Len() int           { return len(h) }
func (h offlineHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h offlineHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }
func (h *offlineHeap) Push(x any)        { o := x.(*offline); o.index = len(*h); *h = append(*h, o) }
func (h *offlineHeap) Pop() any {
	old := *h
	o := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	o.index = -1
	return o
}
