// Package subtree maps topic filters to subscribers.
package subtree

import "github.com/nightjar-mqtt/nightjar/mqtt"

// SubscriberID numbers a subscriber; the caller gives the numbers out, densely if it can.
type SubscriberID uint32

// Sub is one subscription that matches a topic.
type Sub struct {
	Subscriber SubscriberID
	Options    mqtt.SubOptions
	SubID      uint32 // MQTT 5 subscription identifier; 0: none
}

// Tree holds subscriptions. It is safe for concurrent use.
type Tree struct{}

// New returns an empty tree.
func New() *Tree { return &Tree{} }

// Subscribe adds a subscription.
func (t *Tree) Subscribe(filter string, s SubscriberID, opts mqtt.SubOptions, subID uint32) (existed bool) {
	return false
}

// Unsubscribe removes a subscription.
func (t *Tree) Unsubscribe(filter string, s SubscriberID) (existed bool) { return false }

// RemoveAll removes the subscriptions of s and returns how many there were.
func (t *Tree) RemoveAll(s SubscriberID) int { return 0 }

// Each calls fn for the subscriptions of s until fn returns false.
func (t *Tree) Each(s SubscriberID, fn func(filter string, opts mqtt.SubOptions, subID uint32) bool) {}

// Count is the number of subscriptions of s.
func (t *Tree) Count(s SubscriberID) int { return 0 }

// Len is the number of subscriptions in all.
func (t *Tree) Len() int { return 0 }

// Match appends the subscriptions that match topic to dst.
func (t *Tree) Match(topic string, dst []Sub) []Sub { return dst }

// MatchSubscriber appends those of s to dst.
func (t *Tree) MatchSubscriber(topic string, s SubscriberID, dst []Sub) []Sub { return dst }

// Stamp changes when what Match(topic) returns changes.
func (t *Tree) Stamp(topic string) uint64 { return 0 }
