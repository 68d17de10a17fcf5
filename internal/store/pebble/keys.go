package pebble

import (
	"encoding/binary"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// The keyspaces, by their first byte. Numbers in keys are big endian, so that the order of the keys is the order of the
// numbers.
//
//	c segment                  how many queue entries refer to messages of the segment; a sum of merges
//	d key                      a session or group was deleted and has something left to sweep
//	g key                      shared group
//	m segment index            body of a message that several queues refer to
//	p key 'f' filter           subscription of a session
//	p key 'i' packet id        incoming QoS 2 message
//	p key 'r' sequence         outgoing QoS 2 message that was released
//	p key 'w'                  will
//	q key sequence             queue entry: the message itself or a reference
//	s key                      session
//	t topic                    retained message
//	v "run"                    number of the last start
const (
	spaceCount    = 'c'
	spaceDeleted  = 'd'
	spaceGroup    = 'g'
	spaceBody     = 'm'
	spacePart     = 'p'
	spaceQueue    = 'q'
	spaceSession  = 's'
	spaceRetained = 't'
	spaceMeta     = 'v'

	partFilter   = 'f'
	partReceived = 'i'
	partReleased = 'r'
	partWill     = 'w'
)

var keyRun = []byte{spaceMeta, 'r', 'u', 'n'}

// Lengths of keys.
const (
	lenKey      = 1 + 8
	lenQueue    = lenKey + 8
	lenPart     = lenKey + 1
	lenReleased = lenPart + 8
	lenBody     = 1 + 8 + 4
)

// appendKey is the space with a number.
func appendKey(dst []byte, space byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, space), n)
}

func appendQueue(dst []byte, k session.Key, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendKey(dst, spaceQueue, uint64(k)), seq)
}

func appendPart(dst []byte, k session.Key, part byte) []byte {
	return append(appendKey(dst, spacePart, uint64(k)), part)
}

func appendReleased(dst []byte, k session.Key, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendPart(dst, k, partReleased), seq)
}

func appendBody(dst []byte, segment uint64, index uint32) []byte {
	return binary.BigEndian.AppendUint32(appendKey(dst, spaceBody, segment), index)
}

// numberOf is the number behind the space of a key.
func numberOf(key []byte) uint64 {
	if len(key) < lenKey {
		return 0
	}
	return binary.BigEndian.Uint64(key[1:])
}

// seqOf is the sequence number of a queue entry's key.
func seqOf(key []byte) uint64 {
	if len(key) < lenQueue {
		return 0
	}
	return binary.BigEndian.Uint64(key[lenKey:])
}

// queueBounds are the keys of the entries from one sequence number up to, not including, another.
func queueBounds(k session.Key, from, end uint64) (lower, upper []byte) {
	return appendQueue(nil, k, from), appendQueue(nil, k, end)
}

// after is the first key behind all that begin with the space and n.
func after(space byte, n uint64) []byte {
	if n == ^uint64(0) {
		return []byte{space + 1}
	}
	return appendKey(nil, space, n+1)
}
