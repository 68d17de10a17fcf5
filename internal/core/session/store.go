package session

import (
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Batch is a set of changes that a store makes durable together or not at all. The core fills it and hands it over with
// Commit; it is not used afterwards. Sequence numbers, not the order of commits, order what is stored: a store keeps, per
// retained topic, the highest sequence it has been given.
type Batch interface {
	// PutSession records that a session exists, with its expiry interval in seconds; 0: it ends with its connection, so a
	// restart does not bring it back.
	PutSession(clientID string, expiry uint32)
	// DeleteSession removes a session with its subscriptions, queue and packet ids.
	DeleteSession(clientID string)
	PutSubscription(clientID, filter string, opts mqtt.SubOptions, subID uint32)
	DeleteSubscription(clientID, filter string)
	// Enqueue stores a message for a session under the session's own sequence number.
	Enqueue(clientID string, seq uint64, m *message.Message, g *Grant, retain bool)
	// Release records that PUBREC was received for an outgoing QoS 2 message (MQTT 5 §4.3.3).
	Release(clientID string, seq uint64)
	// Dequeue removes a message whose delivery is complete, or was given up. It may be handed over before the Enqueue of
	// that message: a quick client acknowledges while the publisher's loop has not come to its Commit. A store that
	// meets it first remembers it until then.
	Dequeue(clientID string, seq uint64)
	// PutReceived keeps an incoming QoS 2 message that has not been released; m nil: it was refused, only its id counts.
	PutReceived(clientID string, packetID uint16, m *message.Message)
	DeleteReceived(clientID string, packetID uint16)
	// PutRetained stores m as its topic's retained message, under m.Seq.
	PutRetained(m *message.Message)
	DeleteRetained(topic string, seq uint64)
	// PutWill records a will that waits for its delay until due, unix milliseconds.
	PutWill(clientID string, m *message.Message, due int64)
	DeleteWill(clientID string)
	// Commit hands the batch over and returns at once. done is called exactly once, from any goroutine, possibly before
	// Commit returns: with nil when the batch is on stable storage, else with why it is not.
	Commit(done func(error))
}

// Store makes batches.
type Store interface {
	NewBatch() Batch
	// Close waits for the batches that were handed over.
	Close() error
}
