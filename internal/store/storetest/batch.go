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
	l         *Late
	ops       []op
	clients   []string // whose state it touches; they keep their order among batches
	committed atomic.Bool
	done      func(error)
	err       error // what it will be answered with
}

func (b *batch) add(o op) {
	if b.committed.Load() {
		b.l.breach(fmt.Sprintf("%s on a batch that was handed over", o.kind))
		return
	}
	if o.m != nil && !o.m.Owned() {
		// A borrowed message is overwritten by the next read, long before a late store looks at it.
		b.l.breach(fmt.Sprintf("%s is given a borrowed message, topic %q", o.kind, o.m.Topic))
		o.m = o.m.Own()
	}
	if o.client != "" && !slices.Contains(b.clients, o.client) {
		b.clients = append(b.clients, o.client)
	}
	b.ops = append(b.ops, o)
}

func (b *batch) PutSession(clientID string, expiry uint32) {
	b.add(op{kind: putSession, client: clientID, n: expiry})
}

func (b *batch) DeleteSession(clientID string) { b.add(op{kind: deleteSession, client: clientID}) }

func (b *batch) PutSubscription(clientID, filter string, opts mqtt.SubOptions, subID uint32) {
	b.add(op{kind: putSubscription, client: clientID, name: filter, opts: opts, n: subID})
}

func (b *batch) DeleteSubscription(clientID, filter string) {
	b.add(op{kind: deleteSubscription, client: clientID, name: filter})
}

func (b *batch) Enqueue(clientID string, seq uint64, m *message.Message, g *session.Grant, retain bool) {
	grant := *g
	grant.SubIDs = slices.Clone(g.SubIDs)
	b.add(op{kind: enqueue, client: clientID, seq: seq, m: m, grant: grant, retain: retain})
}

func (b *batch) Release(clientID string, seq uint64) {
	b.add(op{kind: release, client: clientID, seq: seq})
}

func (b *batch) Dequeue(clientID string, seq uint64) {
	b.add(op{kind: dequeue, client: clientID, seq: seq})
}

func (b *batch) PutReceived(clientID string, packetID uint16, m *message.Message) {
	b.add(op{kind: putReceived, client: clientID, id: packetID, m: m})
}

func (b *batch) DeleteReceived(clientID string, packetID uint16) {
	b.add(op{kind: deleteReceived, client: clientID, id: packetID})
}

func (b *batch) PutRetained(m *message.Message) {
	b.add(op{kind: putRetained, name: m.Topic, seq: m.Seq, m: m})
}

func (b *batch) DeleteRetained(topic string, seq uint64) {
	b.add(op{kind: deleteRetained, name: topic, seq: seq})
}

func (b *batch) PutWill(clientID string, m *message.Message, due int64) {
	b.add(op{kind: putWill, client: clientID, m: m, due: due})
}

func (b *batch) DeleteWill(clientID string) { b.add(op{kind: deleteWill, client: clientID}) }

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
