// Package retained keeps the last retained message of every topic.
package retained

import (
	"iter"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
)

// Store holds retained messages. It is safe for concurrent use.
type Store struct{}

// New returns an empty store.
func New() *Store { return &Store{} }

// Set stores m as its topic's retained message, or deletes the topic's when m.Payload is empty.
func (s *Store) Set(m *message.Message, ordered func(seq uint64)) (existed bool) { return false }

// Get returns the topic's message, nil if there is none or it has expired at now (unix milliseconds).
func (s *Store) Get(topic string, now int64) *message.Message { return nil }

// Len is the number of messages held.
func (s *Store) Len() int { return 0 }

// Bytes is what they cost, by message.Size.
func (s *Store) Bytes() int64 { return 0 }

// Cursor walks the messages that match a filter.
type Cursor struct{}

// Cursor returns a cursor over the messages that match filter and are in the store now.
func (s *Store) Cursor(filter string) *Cursor { return &Cursor{} }

// Next appends up to max messages to dst.
func (c *Cursor) Next(now int64, max int, dst []*message.Message) (msgs []*message.Message, done bool) {
	return dst, true
}

// Expire removes up to max messages that have expired at now and returns them.
func (s *Store) Expire(now int64, max int) (expired []*message.Message) { return nil }

// Load adds messages in bulk, keeping their Seq.
func (s *Store) Load(msgs iter.Seq[*message.Message]) {}
