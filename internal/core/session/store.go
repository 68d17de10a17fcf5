package session

import (
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Key names what has a queue in the store: a session, or a shared group. It is given once and never again, also across
// restarts, so that what is stored late for a session that has ended does not meet the client's next one.
type Key uint64

// RunShift divides keys and sequence numbers: what a process gives out begins at its run number, shifted by this, so that
// nothing is given twice.
const RunShift = 40

// Record is what the store keeps of a session itself.
type Record struct {
	Key      Key
	ClientID string
	Username string // of the last connection
	// Expiry is the session expiry interval in seconds; 0: it ends with its connection, so a restart does not bring it back.
	Expiry uint32
	// Left is when its last connection ended, unix milliseconds; 0: it is connected. After a crash it counts as left at the
	// restart.
	Left int64
	// Sent is one more than the sequence number below which everything was sent at least once, if Left is not 0; 0: it is not
	// known.
	Sent uint64
}

// Queued is a message in a queue of the store.
type Queued struct {
	M      *message.Message // owned
	QoS    byte             // at which it is delivered
	Retain bool             // as it is delivered
	SubIDs []uint32
	Group  Key // the shared group it came through; 0: none
}

// ReplayUnfinished is set in the options of a stored subscription that has not been answered with all retained messages. The
// standard reserves the bit (MQTT 5 §3.8.3.1), so that no client can have set it.
const ReplayUnfinished mqtt.SubOptions = 1 << 7

// Item is a Queued with its sequence number.
type Item struct {
	Seq uint64
	Queued
}

// Will is a will message that waits for its delay (MQTT 5 §3.1.3.2.2).
type Will struct {
	M   *message.Message
	Due int64 // unix milliseconds
	// Expiry is its message expiry interval in seconds, counted from when it is sent, if Expires is set.
	Expiry  uint32
	Expires bool
}

// Batch is a set of changes that a store makes durable together or not at all. The core fills it and hands it over with
// Commit; it is not used afterwards. Messages in it are owned and never change. Batches are filled on many goroutines at a
// time, each on one.
//
// Of two batches that touch the same key (other than by Enqueue and Dequeue) the one handed over first comes first.
// Retained messages are ordered by their sequence numbers instead: a store keeps, per topic, the highest it has been given.
type Batch interface {
	PutSession(r *Record)
	// DeleteSession removes a session with its subscriptions, queue, packet ids and will.
	DeleteSession(k Key)
	// PutGroup records that a shared group has a queue.
	PutGroup(k Key, name, filter string)
	// DeleteGroup removes it with the queue.
	DeleteGroup(k Key)
	PutSubscription(k Key, filter string, opts mqtt.SubOptions, subID uint32)
	DeleteSubscription(k Key, filter string)
	// Enqueue stores a message in a queue under the queue's own sequence number, which is never used again. The body of one
	// message that is enqueued many times in one batch is stored once. q is valid during the call only.
	Enqueue(k Key, seq uint64, q *Queued)
	// Release records that PUBREC was received for an outgoing QoS 2 message (MQTT 5 §4.3.3): the message itself is not
	// needed any more, its sequence number is until Dequeue.
	Release(k Key, seq uint64)
	// Dequeue removes a message whose delivery is complete, or was given up. It may be handed over a little before the
	// Enqueue of that message: a quick client acknowledges while the publisher's loop has not come to its Commit. A store
	// that meets it first remembers it until then. The Enqueue may also have failed.
	Dequeue(k Key, seq uint64)
	// PutReceived keeps an incoming QoS 2 message that has not been released; m nil: it was refused, only its id counts.
	PutReceived(k Key, packetID uint16, m *message.Message)
	DeleteReceived(k Key, packetID uint16)
	// PutRetained stores m as its topic's retained message, under m.Seq.
	PutRetained(m *message.Message)
	DeleteRetained(topic string, seq uint64)
	PutWill(k Key, w *Will)
	DeleteWill(k Key)
	// Commit hands the batch over and returns at once. done is called exactly once, from any goroutine, possibly before
	// Commit returns: with nil when the batch is on stable storage, else with why it is not. done nil: nobody waits, the
	// store may take its time.
	Commit(done func(error))
}

// Loader is told what a store holds, when a broker starts. All sessions and groups come before what belongs to them.
// Retained may be called on a goroutine of its own, at the same time as the others.
type Loader interface {
	Session(r *Record)
	Group(k Key, name, filter string)
	Subscription(k Key, filter string, opts mqtt.SubOptions, subID uint32)
	// Queue tells that a queue is not empty: its first and last sequence number, and about how many messages it has.
	Queue(k Key, first, last uint64, count int)
	// Released tells of outgoing QoS 2 messages that wait for PUBCOMP, in ascending order for each session.
	Released(k Key, seq uint64)
	Received(k Key, packetID uint16, m *message.Message)
	Will(k Key, w *Will)
	// Retained tells of a retained message, in the byte order of the topics.
	Retained(m *message.Message)
}

// Store makes batches durable and gives back what it has kept.
type Store interface {
	// Durable tells whether anything is kept at all.
	Durable() bool
	// Load tells to what is there, before the first batch. run is higher than at any start before: see RunShift.
	Load(to Loader) (run uint64, err error)
	NewBatch() Batch
	// ReadQueue reads a part of a queue: the messages from a sequence number on and below end, in order, at most maxItems and
	// about maxBytes of them, but at least one if there is one. All below end were stored: their commits have been answered.
	// done is called once, on a goroutine of the store's: next is where the following page begins, end if there is none. When
	// it fails, err says why, and items and next are what was read before.
	ReadQueue(k Key, from, end uint64, maxItems, maxBytes int, done func(items []Item, next uint64, err error))
	// Close waits for the batches that were handed over.
	Close() error
}

// ErrRefused is wrapped by the errors of a Commit that the store refused for a reason that may pass, such as a full disk: the
// client is told with Quota Exceeded (MQTT 5 §4.13), and may try again.
type ErrRefused struct{ Reason string }

func (e *ErrRefused) Error() string { return e.Reason }
