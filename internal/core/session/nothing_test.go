package session_test

import (
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// nothing is a batch that keeps nothing and says that it has.
type nothing struct{}

func (nothing) PutSession(*session.Record)                                   {}
func (nothing) DeleteSession(session.Key)                                    {}
func (nothing) PutGroup(session.Key, string, string)                         {}
func (nothing) DeleteGroup(session.Key)                                      {}
func (nothing) PutSubscription(session.Key, string, mqtt.SubOptions, uint32) {}
func (nothing) DeleteSubscription(session.Key, string)                       {}
func (nothing) Enqueue(session.Key, uint64, *session.Queued)                 {}
func (nothing) Release(session.Key, uint64)                                  {}
func (nothing) Dequeue(session.Key, uint64)                                  {}
func (nothing) PutReceived(session.Key, uint16, *message.Message)            {}
func (nothing) DeleteReceived(session.Key, uint16)                           {}
func (nothing) PutRetained(*message.Message)                                 {}
func (nothing) DeleteRetained(string, uint64)                                {}
func (nothing) PutWill(session.Key, *session.Will)                           {}
func (nothing) DeleteWill(session.Key)                                       {}
func (nothing) Commit(done func(error)) {
	if done != nil {
		done(nil)
	}
}
