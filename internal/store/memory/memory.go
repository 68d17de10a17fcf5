// Package memory is the store that keeps nothing beyond the process: the broker's own state is the only copy, and every
// batch is stored as soon as it is handed over.
package memory

import (
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Store is the engine; its zero value is ready.
type Store struct{}

// Durable is false: nothing is kept.
func (Store) Durable() bool { return false }

// Load has nothing to tell: every start is the first.
func (Store) Load(session.Loader) (run uint64, err error) { return 1, nil }

// NewBatch begins a batch.
func (Store) NewBatch() session.Batch { return batch{} }

// ReadQueue finds nothing; it answers before it returns.
func (Store) ReadQueue(_ session.Key, _, end uint64, _, _ int, done func([]session.Item, uint64, error)) {
	done(nil, end, nil)
}

// Close has nothing to wait for.
func (Store) Close() error { return nil }

// batch takes everything and keeps nothing.
type batch struct{}

func (batch) PutSession(*session.Record)                                   {}
func (batch) DeleteSession(session.Key)                                    {}
func (batch) PutGroup(session.Key, string, string)                         {}
func (batch) DeleteGroup(session.Key)                                      {}
func (batch) PutSubscription(session.Key, string, mqtt.SubOptions, uint32) {}
func (batch) DeleteSubscription(session.Key, string)                       {}
func (batch) Enqueue(session.Key, uint64, *session.Queued)                 {}
func (batch) Release(session.Key, uint64)                                  {}
func (batch) Dequeue(session.Key, uint64)                                  {}
func (batch) PutReceived(session.Key, uint16, *message.Message)            {}
func (batch) DeleteReceived(session.Key, uint16)                           {}
func (batch) PutRetained(*message.Message)                                 {}
func (batch) DeleteRetained(string, uint64)                                {}
func (batch) PutWill(session.Key, *session.Will)                           {}
func (batch) DeleteWill(session.Key)                                       {}

func (batch) Commit(done func(error)) {
	if done != nil {
		done(nil)
	}
}
