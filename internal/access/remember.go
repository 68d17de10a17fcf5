package access

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// remembered holds which names and passwords were right, as a digest with a key of this process, so that a storm of clients
// that come back costs microseconds each. It lasts until the next reload.
type remembered struct {
	key   [32]byte
	limit int

	mu    sync.Mutex
	known map[[32]byte]struct{}
	ring  [][32]byte
	next  int
}

func newRemembered(limit int) *remembered {
	r := &remembered{limit: limit, known: map[[32]byte]struct{}{}}
	_, _ = rand.Read(r.key[:]) // never fails
	return r
}

func (r *remembered) digest(file, user string, password []byte) (d [32]byte) {
	h := hmac.New(sha256.New, r.key[:])
	for _, b := range [][]byte{[]byte(file), []byte(user), password} {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	h.Sum(d[:0])
	return d
}

func (r *remembered) has(d [32]byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.known[d]
	return ok
}

// add remembers; the oldest is forgotten.
func (r *remembered) add(d [32]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.known[d]; ok || r.limit <= 0 {
		return
	}
	if len(r.ring) < r.limit {
		r.ring = append(r.ring, d)
	} else {
		delete(r.known, r.ring[r.next])
		r.ring[r.next] = d
		r.next = (r.next + 1) % r.limit
	}
	r.known[d] = struct{}{}
}
