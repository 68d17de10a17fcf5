package subtree

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

const (
	textUnit  = 8       // places are a multiple of it long, and numbered by it
	textChunk = 1 << 16 // holds the longest MQTT string, 65535 bytes [MQTT-1.5.4-1]
	fineClass = 128     // up to here there is a size class per unit, above one per power of two
	fineCount = fineClass / textUnit
	classes   = fineCount + 9 // 256 … 65536
)

// arena keeps the texts of levels. A text is named by the number of its first unit; freed places go on a list per size
// class and are used again for texts of that class. There is no pointer per text.
type arena struct {
	chunks [][]byte
	used   int // bytes handed out of the last chunk
	free   [classes]uint32
}

// classOf returns the size class of a text of n bytes and the size of its places.
func classOf(n int) (class, size int) {
	if n <= fineClass {
		units := max(1, (n+textUnit-1)/textUnit)
		return units - 1, units * textUnit
	}
	k := bits.Len(uint(n - 1)) // n <= 1<<k
	return fineCount + k - 8, 1 << k
}

// smallChunk is the size of the first chunk: most brokers have few filters.
const smallChunk = 1 << 12

// put stores s and returns its number.
func (a *arena) put(s string) uint32 {
	class, size := classOf(len(s))
	ref := a.free[class]
	if ref != 0 {
		place := a.place(ref, size)
		a.free[class] = binary.LittleEndian.Uint32(place)
		copy(place, s)
		return ref
	}
	for len(a.chunks) == 0 || a.used+size > len(a.chunks[len(a.chunks)-1]) {
		a.grow()
	}
	ref = uint32(((len(a.chunks)-1)*textChunk + a.used) / textUnit)
	a.used += size
	copy(a.place(ref, size), s)
	return ref
}

// grow adds a chunk. What is left of the last one stays unused.
func (a *arena) grow() {
	if len(a.chunks) == 0 {
		a.chunks = append(a.chunks, make([]byte, smallChunk))
		a.used = textUnit // number 0 ends the free lists
		return
	}
	a.chunks = append(a.chunks, make([]byte, textChunk))
	a.used = 0
}

// place returns the size bytes numbered ref.
func (a *arena) place(ref uint32, size int) []byte {
	off := int(ref) * textUnit
	return a.chunks[off/textChunk][off%textChunk:][:size]
}

// get views the text of n bytes numbered ref; the view is good until the text is dropped.
func (a *arena) get(ref uint32, n int) string {
	return unsafe.String(unsafe.SliceData(a.place(ref, n)), n)
}

// drop takes the place of a text of n bytes back.
func (a *arena) drop(ref uint32, n int) {
	class, size := classOf(n)
	binary.LittleEndian.PutUint32(a.place(ref, size), a.free[class])
	a.free[class] = ref
}
