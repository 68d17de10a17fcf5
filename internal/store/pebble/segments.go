package pebble

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// segments are where messages lie that several queues share. How many entries refer to each segment is counted, in memory
// and by merges in the store: nothing is read to be counted. A segment that is full and to which nothing refers any more is
// dropped as a whole.
type segments struct {
	live  map[uint64]int64
	delta map[uint64]int64 // of the group that is being written
	open  uint64           // the one that is being filled; 0: none
	next  uint64           // the number of the next
	index uint32
	bytes int
	key   []byte
}

// When a segment is full. Small ones waste less when one message in them stays long; large ones need fewer range deletions.
const (
	segmentBytes    = 256 << 10
	segmentMessages = 1024
)

// segmentShift divides segment numbers like session.RunShift does keys.
const segmentShift = 32

// place stores a message and returns where.
func (g *segments) place(pb *pebble.Batch, message []byte) (segment uint64, index uint32) {
	if g.open == 0 || g.bytes >= segmentBytes || g.index >= segmentMessages {
		g.seal()
		g.open, g.index, g.bytes = g.next, 0, 0
		g.next++
		g.key = appendKey(g.key[:0], spaceCount, g.open)
		must(pb.Merge(g.key, binary.AppendVarint(nil, 0), nil)) // so that a restart knows of it
	}
	segment, index = g.open, g.index
	g.key = appendBody(g.key[:0], segment, index)
	must(pb.Set(g.key, message, nil))
	g.index++
	g.bytes += len(message)
	return segment, index
}

// seal: the open segment is full. It is looked at when the group is written, as if it had lost a reference.
func (g *segments) seal() {
	if g.open != 0 {
		g.add(g.open, 0)
	}
	g.open = 0
}

// add counts references.
func (g *segments) add(segment uint64, n int64) {
	g.delta[segment] += n
	g.live[segment] += n
}

// write puts the group's counts into its batch, and drops what nobody refers to.
func (g *segments) write(pb *pebble.Batch) {
	if len(g.delta) == 0 {
		return
	}
	if g.open != 0 && g.live[g.open] == 0 && g.bytes >= segmentBytes/4 {
		g.seal()
	}
	for segment, n := range g.delta {
		g.key = appendKey(g.key[:0], spaceCount, segment)
		switch {
		case g.live[segment] == 0 && segment != g.open:
			must(pb.Delete(g.key, nil))
			must(pb.DeleteRange(appendKey(nil, spaceBody, segment), after(spaceBody, segment), nil))
			delete(g.live, segment)
		case n != 0:
			var v [binary.MaxVarintLen64]byte
			must(pb.Merge(g.key, v[:binary.PutVarint(v[:], n)], nil))
		}
	}
	clear(g.delta)
}

// counter adds up the merges of a segment's count.
var counter = &pebble.Merger{
	Name: "nightjar.count.1",
	Merge: func(_, value []byte) (pebble.ValueMerger, error) {
		m := new(sum)
		return m, m.MergeNewer(value)
	},
}

type sum int64

func (m *sum) MergeNewer(value []byte) error {
	v, n := binary.Varint(value)
	if n <= 0 {
		return errors.Join(pebble.ErrCorruption, errValue)
	}
	*m += sum(v)
	return nil
}

func (m *sum) MergeOlder(value []byte) error { return m.MergeNewer(value) }

func (m *sum) Finish(bool) ([]byte, io.Closer, error) {
	return binary.AppendVarint(nil, int64(*m)), nil, nil
}
