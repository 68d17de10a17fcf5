package pebble

import (
	"encoding/binary"
	"sync"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// batch is a session.Batch. What is to be stored is encoded as it comes, on the caller's goroutine; the committer has the
// keys of queues to see to, and copies.
type batch struct {
	s    *Store
	ops  []op
	buf  []byte
	msgs []body
	// find is used to tell messages apart once a batch has many.
	find map[*message.Message]int32
	adds bool // something is kept that was not before
	done func(error)
	// lost: the batch was refused; only that its messages never come is of interest.
	lost bool
	// internal is work for the committer other than ops.
	internal func(a *applier)
	err      error // of this batch alone
}

// op is one change.
type op struct {
	kind opKind
	msg  int32 // enqueue: of batch.msgs
	key  session.Key
	seq  uint64 // or an incoming packet id
	// name and value are in batch.buf. name is a whole key.
	name, value span
}

type span struct{ from, to uint32 }

type opKind uint8

const (
	opSet     opKind = iota // name, value; belongs to key
	opDelete                // name; belongs to key
	opBegin                 // opSet of a session's or group's record
	opEnd                   // DeleteSession, DeleteGroup
	opEnqueue               // value is the entry without its message
	opRelease
	opDequeue
	opRetain   // name is the topic's key, value its message
	opUnretain // name
)

// body is a message that is enqueued.
type body struct {
	m     *message.Message
	at    span
	times int
	// segment and index are where it lies, once the committer has put it there.
	segment uint64
	index   uint32
	placed  bool
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// What a batch may keep of its room when it is used again.
const (
	keepBytes = 64 << 10
	keepOps   = 1 << 10
)

// free gives the batch's room back.
func (b *batch) free() {
	if cap(b.buf) > keepBytes || cap(b.ops) > keepOps || len(b.find) > 0 {
		return // rare; let it go
	}
	clear(b.msgs)
	*b = batch{ops: b.ops[:0], buf: b.buf[:0], msgs: b.msgs[:0]}
	batches.Put(b)
}

func (b *batch) span(from int) span { return span{uint32(from), uint32(len(b.buf))} }

func (b *batch) bytes(s span) []byte { return b.buf[s.from:s.to] }

// size is about what the batch adds to the log.
func (b *batch) size() int { return len(b.buf) + 32*len(b.ops) }

func (b *batch) set(kind opKind, k session.Key, name, value span) {
	b.ops = append(b.ops, op{kind: kind, key: k, name: name, value: value})
}

func (b *batch) PutSession(r *session.Record) {
	from := len(b.buf)
	b.buf = appendKey(b.buf, spaceSession, uint64(r.Key))
	name := b.span(from)
	from = len(b.buf)
	b.buf = appendRecord(b.buf, r)
	b.set(opBegin, r.Key, name, b.span(from))
}

func (b *batch) PutGroup(k session.Key, name, filter string) {
	from := len(b.buf)
	b.buf = appendKey(b.buf, spaceGroup, uint64(k))
	key := b.span(from)
	from = len(b.buf)
	b.buf = append(appendString(b.buf, name), filter...)
	b.set(opBegin, k, key, b.span(from))
}

func (b *batch) DeleteSession(k session.Key) { b.end(k, spaceSession) }

func (b *batch) DeleteGroup(k session.Key) { b.end(k, spaceGroup) }

func (b *batch) end(k session.Key, space byte) {
	from := len(b.buf)
	b.buf = appendKey(b.buf, space, uint64(k))
	b.set(opEnd, k, b.span(from), span{})
}

// part encodes the key of what belongs to a session.
func (b *batch) part(k session.Key, part byte, name string) span {
	from := len(b.buf)
	b.buf = append(appendPart(b.buf, k, part), name...)
	return b.span(from)
}

func (b *batch) received(k session.Key, packetID uint16) span {
	from := len(b.buf)
	b.buf = binary.BigEndian.AppendUint16(appendPart(b.buf, k, partReceived), packetID)
	return b.span(from)
}

func (b *batch) PutSubscription(k session.Key, filter string, opts mqtt.SubOptions, subID uint32) {
	name := b.part(k, partFilter, filter)
	from := len(b.buf)
	b.buf = binary.AppendUvarint(append(b.buf, byte(opts)), uint64(subID))
	b.set(opSet, k, name, b.span(from))
	b.adds = true
}

func (b *batch) DeleteSubscription(k session.Key, filter string) {
	b.set(opDelete, k, b.part(k, partFilter, filter), span{})
}

// manyMessages is from when on a map finds the message that is enqueued again.
const manyMessages = 8

// message is which of the batch's messages m is. Mostly it is the last.
func (b *batch) message(m *message.Message) int32 {
	n := len(b.msgs)
	if n > 0 && b.msgs[n-1].m == m {
		return int32(n - 1)
	}
	if n < manyMessages {
		for i := range b.msgs {
			if b.msgs[i].m == m {
				return int32(i)
			}
		}
	} else {
		if b.find == nil {
			b.find = make(map[*message.Message]int32)
			for i := range b.msgs {
				b.find[b.msgs[i].m] = int32(i)
			}
		}
		if i, ok := b.find[m]; ok {
			return i
		}
		b.find[m] = int32(n)
	}
	from := len(b.buf)
	b.buf = appendMessage(b.buf, m, true)
	b.msgs = append(b.msgs, body{m: m, at: b.span(from)})
	return int32(n)
}

func (b *batch) Enqueue(k session.Key, seq uint64, q *session.Queued) {
	i := b.message(q.M)
	b.msgs[i].times++
	from := len(b.buf)
	b.buf = appendEntry(b.buf, q, false)
	b.ops = append(b.ops, op{kind: opEnqueue, msg: i, key: k, seq: seq, value: b.span(from)})
	b.adds = true
}

func (b *batch) Release(k session.Key, seq uint64) {
	b.ops = append(b.ops, op{kind: opRelease, key: k, seq: seq})
}

func (b *batch) Dequeue(k session.Key, seq uint64) {
	b.ops = append(b.ops, op{kind: opDequeue, key: k, seq: seq})
}

func (b *batch) PutReceived(k session.Key, packetID uint16, m *message.Message) {
	name := b.received(k, packetID)
	from := len(b.buf)
	if m != nil {
		b.buf = appendMessage(b.buf, m, true)
	}
	b.set(opSet, k, name, b.span(from))
	b.adds = true
}

func (b *batch) DeleteReceived(k session.Key, packetID uint16) {
	b.set(opDelete, k, b.received(k, packetID), span{})
}

func (b *batch) topic(topic string) span {
	from := len(b.buf)
	b.buf = append(append(b.buf, spaceRetained), topic...)
	return b.span(from)
}

func (b *batch) PutRetained(m *message.Message) {
	name := b.topic(m.Topic)
	from := len(b.buf)
	b.buf = appendMessage(b.buf, m, false)
	b.ops = append(b.ops, op{kind: opRetain, seq: m.Seq, name: name, value: b.span(from)})
	b.adds = true
}

func (b *batch) DeleteRetained(topic string, seq uint64) {
	b.ops = append(b.ops, op{kind: opUnretain, seq: seq, name: b.topic(topic)})
}

func (b *batch) PutWill(k session.Key, w *session.Will) {
	name := b.part(k, partWill, "")
	from := len(b.buf)
	b.buf = appendWill(b.buf, w)
	b.set(opSet, k, name, b.span(from))
}

func (b *batch) DeleteWill(k session.Key) { b.set(opDelete, k, b.part(k, partWill, ""), span{}) }

// Commit hands the batch over; see session.Batch.
func (b *batch) Commit(done func(error)) {
	b.done = done
	b.s.handOver(b)
}
