package access

import (
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/broker"
)

// cache remembers what was decided about publishes, by connection and topic: a publisher asks the same again and again, and
// the rules take five times as long. What is received needs none: the broker remembers it with the topic's receivers.
//
// A place holds one decision. One that meets another there replaces it now and then only, so that clients with more topics
// than there are places cost hardly more than without a cache.
type cache struct {
	seed  maphash.Seed
	slots [cacheSlots]atomic.Pointer[remark]
}

const (
	cacheSlots = 8192 // about 150 bytes each, when they are used
	admitOneIn = 8
)

// remark is a decision that holds as long as the generation stands. An Identity is one connection's, and not used again
// while this points to it.
type remark struct {
	who        *broker.Identity
	topic      string
	generation uint64
	qos        byte
	retain     bool
	decision   broker.Decision
}

func (c *cache) slot(who *broker.Identity, topic string) *atomic.Pointer[remark] {
	h := maphash.String(c.seed, topic) + 31*maphash.String(c.seed, who.ClientID)
	return &c.slots[h%cacheSlots]
}

func (r *remark) about(who *broker.Identity, topic string, qos byte, retain bool, generation uint64) bool {
	return r != nil && r.who == who && r.generation == generation && r.qos == qos && r.retain == retain && r.topic == topic
}

// admit tells whether to remember instead of what is there.
func admit() bool { return rand.Uint32()%admitOneIn == 0 }

func put(slot *atomic.Pointer[remark], who *broker.Identity, topic string, qos byte, retain bool, generation uint64, d broker.Decision) {
	slot.Store(&remark{who, strings.Clone(topic), generation, qos, retain, d})
}
