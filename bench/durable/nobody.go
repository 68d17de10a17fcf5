//go:build linux

package main

import (
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// nobody is told what an empty store has.
type nobody struct{}

func (nobody) Session(*session.Record)                                   {}
func (nobody) Group(session.Key, string, string)                         {}
func (nobody) Subscription(session.Key, string, mqtt.SubOptions, uint32) {}
func (nobody) Queue(session.Key, uint64, uint64, int)                    {}
func (nobody) Released(session.Key, uint64)                              {}
func (nobody) Received(session.Key, uint16, *message.Message)            {}
func (nobody) Will(session.Key, *session.Will)                           {}
func (nobody) Retained(*message.Message)                                 {}
