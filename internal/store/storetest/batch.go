package storetest

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// batch collects changes for a Late store.
type batch struct {
	l   *Late
	ops []op
	// keys are what it touches; fixed those whose order among batches is kept.
	keys, fixed []session.Key
	committed   atomic.Bool
	done        func(error) // nil: nobody waits
	err         error       // what it will be answered with
	read        *read       // not a batch, but a page that is asked for
}

func (b *batch) add(o op) {
	if b.committed.Load() {
		b.l.breach(fmt.Sprintf("%s on a batch that was handed over", o.kind))
		return
	}
	for _, m := range []**message.Message{&o.m, &o.queued.M, &o.will.M} {
		if *m != nil && !(*m).Owned() {
			// A borrowed message is overwritten by the next read, long before a late store looks at it.
			b.l.breach(fmt.Sprintf("%s is given a borrowed message, topic %q", o.kind, (*m).Topic))
			*m = (*m).Own()
		}
	}
	if o.kind != putRetained && o.kind != deleteRetained {
		if o.key == 0 {
			b.l.breach(fmt.Sprintf("%s without a key", o.kind))
		}
		b.keys = including(b.keys, o.key)
		if !b.l.o.Loose || o.kind != enqueue && o.kind != dequeue {
			b.fixed = including(b.fixed, o.key)
		}
	}
	b.ops = append(b.ops, o)
}

func including(list []session.Key, k session.Key) []session.Key {
	if slices.Contains(list, k) {
		return list
	}
	return append(list, k)
}

func (b *batch) PutSession(r *session.Record) { b.add(op{kind: putSession, key: r.Key, record: *r}) }

func (b *batch) DeleteSession(k session.Key) { b.add(op{kind: deleteSession, key: k}) }

func (b *batch) PutGroup(k session.Key, name, filter string) {
	b.add(op{kind: putGroup, key: k, name: name, filter: filter})
}

func (b *batch) DeleteGroup(k session.Key) { b.add(op{kind: deleteGroup, key: k}) }

func (b *batch) PutSubscription(k session.Key, filter string, opts mqtt.SubOptions, subID uint32) {
	b.add(op{kind: putSubscription, key: k, name: filter, opts: opts, subID: subID})
}

func (b *batch) DeleteSubscription(k session.Key, filter string) {
	b.add(op{kind: deleteSubscription, key: k, name: filter})
}

func (b *batch) Enqueue(k session.Key, seq uint64, q *session.Queued) {
	o := op{kind: enqueue, key: k, seq: seq, queued: *q}
	o.queued.SubIDs = slices.Clone(q.SubIDs)
	b.add(o)
}

func (b *batch) Release(k session.Key, seq uint64) { b.add(op{kind: release, key: k, seq: seq}) }

func (b *batch) Dequeue(k session.Key, seq uint64) { b.add(op{kind: dequeue, key: k, seq: seq}) }

func (b *batch) PutReceived(k session.Key, packetID uint16, m *message.Message) {
	b.add(op{kind: putReceived, key: k, id: packetID, m: m})
}

func (b *batch) DeleteReceived(k session.Key, packetID uint16) {
	b.add(op{kind: deleteReceived, key: k, id: packetID})
}

func (b *batch) PutRetained(m *message.Message) {
	b.add(op{kind: putRetained, name: m.Topic, seq: m.Seq, m: m})
}

func (b *batch) DeleteRetained(topic string, seq uint64) {
	b.add(op{kind: deleteRetained, name: topic, seq: seq})
}

func (b *batch) PutWill(k session.Key, w *session.Will) {
	b.add(op{kind: putWill, key: k, will: *w})
}

func (b *batch) DeleteWill(k session.Key) { b.add(op{kind: deleteWill, key: k}) }

// Commit hands the batch over; see session.Batch.
func (b *batch) Commit(done func(error)) {
	if b.committed.Swap(true) {
		b.l.breach("Commit twice on one batch")
		return
	}
	b.done = done
	b.l.handOver(b)
}

// has reports whether the batch makes such a change.
func (b *batch) has(k opKind) bool {
	return slices.ContainsFunc(b.ops, func(o op) bool { return o.kind == k })
}
