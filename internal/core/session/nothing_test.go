package session_test

import (
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// nothing is a batch that stores nothing; tests say themselves when it is committed.
type nothing struct{}

func (nothing) PutSession(string, uint32)                                      {}
func (nothing) DeleteSession(string)                                           {}
func (nothing) PutSubscription(string, string, mqtt.SubOptions, uint32)        {}
func (nothing) DeleteSubscription(string, string)                              {}
func (nothing) Enqueue(string, uint64, *message.Message, *session.Grant, bool) {}
func (nothing) Release(string, uint64)                                         {}
func (nothing) Dequeue(string, uint64)                                         {}
func (nothing) PutReceived(string, uint16, *message.Message)                   {}
func (nothing) DeleteReceived(string, uint16)                                  {}
func (nothing) PutRetained(*message.Message)                                   {}
func (nothing) DeleteRetained(string, uint64)                                  {}
func (nothing) PutWill(string, *message.Message, int64)                        {}
func (nothing) DeleteWill(string)                                              {}
func (nothing) Commit(done func(error))                                        { done(nil) }
