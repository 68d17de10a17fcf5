package pebble

import (
	"encoding/binary"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// Contents is what is in a store, in numbers. Sizes are in bytes.
type Contents struct {
	Directory string `json:"directory"`
	Format    int    `json:"format"` // version of the store's format
	Run       uint64 `json:"run"`    // how often a broker was started with it
	Disk      uint64 `json:"disk_bytes"`

	Sessions      int64 `json:"sessions"`
	Groups        int64 `json:"shared_groups"` // with a queue of their own
	Subscriptions int64 `json:"subscriptions"`
	Queued        int64 `json:"queued"` // messages in queues
	Released      int64 `json:"released"`
	Received      int64 `json:"received"`
	Wills         int64 `json:"wills"`
	Retained      int64 `json:"retained"`
	RetainedBytes int64 `json:"retained_bytes"` // with their topics and properties
	// Inline messages lie in their queue; Shared ones are stored once for several queues, in Segments. QueueBytes is what both
	// take.
	Inline     int64 `json:"inline"`
	Shared     int64 `json:"shared"`
	Segments   int64 `json:"segments"`
	QueueBytes int64 `json:"queue_bytes"`
	// Unswept are sessions and groups that ended and left something that is not swept yet.
	Unswept int64 `json:"unswept"`

	// Longest are the longest queues, at most ten.
	Longest []QueueLength `json:"longest,omitempty"`
}

// QueueLength is how much waits for a client or in a shared group.
type QueueLength struct {
	Client   string `json:"client,omitempty"`
	Group    string `json:"group,omitempty"`
	Filter   string `json:"filter,omitempty"`
	Messages int64  `json:"messages"`
}

// longestQueues is how many Contents tells.
const longestQueues = 10

// Contents reads the store through. Values that cannot be read are counted all the same; Check finds them.
func (r *Reader) Contents() (*Contents, error) {
	st := &Contents{Directory: r.Dir, Format: r.Format, Disk: r.db.Metrics().DiskSpaceUsage()}
	own, err := r.owners()
	if err != nil {
		return nil, err
	}
	st.Sessions, st.Groups = own.sessions, own.groups
	lengths := make(map[session.Key]int64)
	err = r.each(0, func(key, value []byte) error {
		size := int64(len(key) + len(value))
		switch key[0] {
		case spaceQueue:
			st.Queued++
			lengths[session.Key(numberOf(key))]++
			st.QueueBytes += size
			if len(value) > 0 && value[0]&entryRef == 0 {
				st.Inline++
			}
		case spaceBody:
			st.Shared++
			st.QueueBytes += size
		case spaceCount:
			st.Segments++
			st.QueueBytes += size
		case spaceRetained:
			st.Retained++
			st.RetainedBytes += size
		case spaceDeleted:
			st.Unswept++
		case spacePart:
			st.part(key)
		case spaceMeta:
			if string(key) == string(keyRun) {
				st.Run = runOf(value)
			}
		}
		return nil
	})
	st.Longest = own.longest(lengths)
	return st, err
}

func (st *Contents) part(key []byte) {
	if len(key) < lenPart {
		return
	}
	switch key[lenKey] {
	case partFilter:
		st.Subscriptions++
	case partReceived:
		st.Received++
	case partReleased:
		st.Released++
	case partWill:
		st.Wills++
	}
}

func runOf(value []byte) uint64 {
	n, _ := binary.Uvarint(value)
	return n
}
