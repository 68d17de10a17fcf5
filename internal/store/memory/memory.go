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

// NewBatch begins a batch.
func (Store) NewBatch() session.Batch { return batch{} }

// Close has nothing to wait for.
func (Store) Close() error { return nil }

// batch takes everything and keeps nothing.
type batch struct{}

func (batch) PutSession(string, uint32)                                      {}
func (batch) DeleteSession(string)                                           {}
func (batch) PutSubscription(string, string, mqtt.SubOptions, uint32)        {}
func (batch) DeleteSubscription(string, string)                              {}
func (batch) Enqueue(string, uint64, *message.Message, *session.Grant, bool) {}
func (batch) Release(string, uint64)                                         {}
func (batch) Dequeue(string, uint64)                                         {}
func (batch) PutReceived(string, uint16, *message.Message)                   {}
func (batch) DeleteReceived(string, uint16)                                  {}
func (batch) PutRetained(*message.Message)                                   {}
func (batch) DeleteRetained(string, uint64)                                  {}
func (batch) PutWill(string, *message.Message, int64)                        {}
func (batch) DeleteWill(string)                                              {}
func (batch) Commit(done func(error))                                        { done(nil) }
