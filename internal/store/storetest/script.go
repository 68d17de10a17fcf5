package storetest

import (
	"fmt"
	"slices"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
	"pgregory.net/rapid"
)

// script makes up batches that a broker may hand over, and remembers as much of them as it needs for the next.
type script struct {
	last     session.Key
	seq      uint64 // of queues and of retained messages alike
	since    uint64 // the first sequence number of this start
	sessions []session.Key
	groups   []session.Key
	ended    []session.Key
	queue    []place // enqueued, not dequeued
	qos2     []place // those that may be released
	early    []place // dequeued, not enqueued
	received []receipt
}

type receipt struct {
	key session.Key
	id  uint16
}

type change = func(b session.Batch)

// batch makes up the next one.
func (g *script) batch(t *rapid.T) (changes []change) {
	for range rapid.IntRange(1, 6).Draw(t, "changes") {
		changes = append(changes, g.change(t)...)
	}
	return changes
}

// restart is called when the store was opened: keys and sequence numbers go on in the new run, and what only memory knew is
// gone.
func (g *script) restart(run uint64) {
	if base := run << session.RunShift; g.seq < base {
		g.last, g.seq, g.since = session.Key(base), base, base+1
	}
	g.early = nil
}

func (g *script) change(t *rapid.T) []change {
	kinds := []func(*rapid.T) []change{
		g.begin, g.publish, g.publish, g.publish, g.receive, g.subscribe, g.acknowledge, g.acknowledge, g.acknowledge, g.release,
		g.dequeueEarly, g.retain, g.will, g.end,
	}
	return kinds[rapid.IntRange(0, len(kinds)-1).Draw(t, "kind")](t)
}

func (g *script) begin(t *rapid.T) []change {
	g.last++
	k := g.last
	if rapid.IntRange(0, 4).Draw(t, "group") == 0 {
		g.groups = append(g.groups, k)
		return []change{func(b session.Batch) { b.PutGroup(k, fmt.Sprint("g", k), "a/#") }}
	}
	g.sessions = append(g.sessions, k)
	return []change{g.record(t, k)}
}

func (g *script) record(t *rapid.T, k session.Key) change {
	r := session.Record{
		Key: k, ClientID: fmt.Sprint("c", k), Username: rapid.SampledFrom([]string{"", "u"}).Draw(t, "username"),
		Expiry: rapid.Uint32().Draw(t, "expiry"), Left: rapid.Int64Range(0, 1<<50).Draw(t, "left"), Sent: rapid.Uint64().Draw(t, "sent"),
	}
	return func(b session.Batch) { b.PutSession(&r) }
}

// pick draws one of a list; false: it is empty.
func pick[T any](t *rapid.T, list []T) (v T, ok bool) {
	if len(list) == 0 {
		return v, false
	}
	return list[rapid.IntRange(0, len(list)-1).Draw(t, "which")], true
}

// take draws one of a list and removes it.
func take[T any](t *rapid.T, list *[]T) (v T, ok bool) {
	if len(*list) == 0 {
		return v, false
	}
	i := rapid.IntRange(0, len(*list)-1).Draw(t, "which")
	v = (*list)[i]
	*list = slices.Delete(*list, i, i+1)
	return v, true
}

func (g *script) message(t *rapid.T) *message.Message {
	m := note(rapid.StringN(1, 20, 60).Draw(t, "topic"), "", byte(rapid.IntRange(0, 2).Draw(t, "qos")))
	m.Payload = rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "payload")
	if rapid.Bool().Draw(t, "plain") {
		m.Props, m.From = nil, nil
	}
	if rapid.Bool().Draw(t, "expires") {
		m.Expires = rapid.Int64Range(1, 1<<50).Draw(t, "at")
	}
	m.Retain = rapid.Bool().Draw(t, "retain")
	return m
}

// publish enqueues one message for a few sessions and groups, the ended among them.
func (g *script) publish(t *rapid.T) (changes []change) {
	m := g.message(t)
	all := slices.Concat(g.sessions, g.groups, g.ended)
	for range rapid.IntRange(1, 4).Draw(t, "receivers") {
		k, ok := pick(t, all)
		if !ok {
			break
		}
		g.seq++
		at := place{k, g.seq}
		if i := slices.IndexFunc(g.early, func(p place) bool { return p.key == k }); i >= 0 {
			at = g.early[i]
			g.early = slices.Delete(g.early, i, i+1)
		} else if !slices.Contains(g.ended, k) {
			g.queue = append(g.queue, at)
		}
		q := session.Queued{M: m, QoS: byte(rapid.IntRange(0, 2).Draw(t, "at qos")), Retain: m.Retain}
		q.SubIDs = rapid.SliceOfN(rapid.Uint32Range(1, 268_435_455), 0, 3).Draw(t, "subscription ids")
		if rapid.Bool().Draw(t, "through a group") {
			q.Group, _ = pick(t, g.groups)
		}
		changes = append(changes, func(b session.Batch) { b.Enqueue(at.key, at.seq, &q) })
	}
	return changes
}

func (g *script) acknowledge(t *rapid.T) []change {
	at, ok := take(t, &g.queue)
	if !ok {
		return nil
	}
	return []change{func(b session.Batch) { b.Dequeue(at.key, at.seq) }}
}

// release notes a PUBREC, and dequeues some that were released before.
func (g *script) release(t *rapid.T) []change {
	if rapid.Bool().Draw(t, "pubcomp") {
		if at, ok := take(t, &g.qos2); ok {
			return []change{func(b session.Batch) { b.Dequeue(at.key, at.seq) }}
		}
	}
	at, ok := take(t, &g.queue)
	if !ok {
		return nil
	}
	g.qos2 = append(g.qos2, at)
	return []change{func(b session.Batch) { b.Release(at.key, at.seq) }}
}

func (g *script) dequeueEarly(t *rapid.T) []change {
	k, ok := pick(t, slices.Concat(g.sessions, g.groups))
	if !ok {
		return nil
	}
	g.seq++
	at := place{k, g.seq}
	g.early = append(g.early, at)
	return []change{func(b session.Batch) { b.Dequeue(at.key, at.seq) }}
}

// receive keeps an incoming message, or removes one.
func (g *script) receive(t *rapid.T) []change {
	if rapid.Bool().Draw(t, "pubrel") {
		if r, ok := take(t, &g.received); ok {
			return []change{func(b session.Batch) { b.DeleteReceived(r.key, r.id) }}
		}
	}
	k, ok := pick(t, g.sessions)
	if !ok {
		return nil
	}
	r := receipt{k, uint16(rapid.IntRange(1, 5).Draw(t, "packet id"))}
	if !slices.Contains(g.received, r) {
		g.received = append(g.received, r)
	}
	var m *message.Message
	if rapid.IntRange(0, 3).Draw(t, "refused") > 0 {
		m = g.message(t)
	}
	return []change{func(b session.Batch) { b.PutReceived(r.key, r.id, m) }}
}

func (g *script) subscribe(t *rapid.T) []change {
	k, ok := pick(t, g.sessions)
	if !ok {
		return nil
	}
	filter := rapid.SampledFrom([]string{"#", "a", "a/b", "a/+", "$share/g/a"}).Draw(t, "filter")
	opts, id := mqtt.SubOptions(rapid.IntRange(0, 63).Draw(t, "options")), rapid.Uint32Range(0, 268_435_455).Draw(t, "id")
	if rapid.IntRange(0, 2).Draw(t, "unsubscribe") == 0 {
		return []change{func(b session.Batch) { b.DeleteSubscription(k, filter) }}
	}
	return []change{func(b session.Batch) { b.PutSubscription(k, filter, opts, id) }, g.record(t, k)}
}

// retain sets retained messages, some with a sequence number that is lower than the topic's last.
func (g *script) retain(t *rapid.T) (changes []change) {
	topic := rapid.SampledFrom([]string{"r", "r/1", "r/2", "s"}).Draw(t, "topic")
	for range rapid.IntRange(1, 3).Draw(t, "times") {
		g.seq++
		seq := g.seq - uint64(rapid.IntRange(0, 3).Draw(t, "back"))
		seq = max(seq, g.since)
		m := retainedNote(topic, fmt.Sprint("of ", seq), seq)
		if rapid.IntRange(0, 2).Draw(t, "remove") == 0 {
			changes = append(changes, func(b session.Batch) { b.DeleteRetained(topic, seq) })
		} else {
			changes = append(changes, func(b session.Batch) { b.PutRetained(m) })
		}
	}
	return changes
}

func (g *script) will(t *rapid.T) []change {
	k, ok := pick(t, g.sessions)
	if !ok {
		return nil
	}
	if rapid.Bool().Draw(t, "take back") {
		return []change{func(b session.Batch) { b.DeleteWill(k) }}
	}
	w := session.Will{M: g.message(t), Due: rapid.Int64Range(0, 1<<50).Draw(t, "due"), Expiry: rapid.Uint32().Draw(t, "expiry"), Expires: rapid.Bool().Draw(t, "expires")}
	return []change{func(b session.Batch) { b.PutWill(k, &w) }}
}

// end deletes a session or a group.
func (g *script) end(t *rapid.T) []change {
	list := &g.sessions
	group := rapid.IntRange(0, 3).Draw(t, "group") == 0
	if group {
		list = &g.groups
	}
	k, ok := take(t, list)
	if !ok {
		return nil
	}
	g.ended = append(g.ended, k)
	gone := func(p place) bool { return p.key == k }
	g.queue, g.qos2, g.early = slices.DeleteFunc(g.queue, gone), slices.DeleteFunc(g.qos2, gone), slices.DeleteFunc(g.early, gone)
	g.received = slices.DeleteFunc(g.received, func(r receipt) bool { return r.key == k })
	if group {
		return []change{func(b session.Batch) { b.DeleteGroup(k) }}
	}
	return []change{func(b session.Batch) { b.DeleteSession(k) }}
}
