package pebble

import (
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/session"
)

// place is an entry of a queue.
type place struct {
	key session.Key
	seq uint64
}

// recent is a map that forgets: what was put in is found for at least one turn and at most two. The committer turns it.
type recent[K comparable, V any] struct {
	now, before map[K]V
	turned      time.Time
}

func (r *recent[K, V]) len() int { return len(r.now) + len(r.before) }

func (r *recent[K, V]) get(k K) (v V, ok bool) {
	if v, ok = r.now[k]; !ok {
		v, ok = r.before[k]
	}
	return v, ok
}

func (r *recent[K, V]) put(k K, v V) {
	if r.now == nil {
		r.now = make(map[K]V)
	}
	r.now[k] = v
}

func (r *recent[K, V]) delete(k K) {
	delete(r.now, k)
	delete(r.before, k)
}

// turn forgets what is old: when the newer half has had its time, or has grown beyond most and had the least time.
func (r *recent[K, V]) turn(now time.Time, after, least time.Duration, most int) {
	if r.len() == 0 {
		r.turned = now
		return
	}
	if age := now.Sub(r.turned); age < after && (len(r.now) < most || age < least) {
		return
	}
	old := r.before
	r.before, r.now, r.turned = r.now, nil, now
	// A map that was filled keeps its room: it is used again if it is of a usual size.
	if old != nil && len(old) <= keepMap {
		clear(old)
		r.now = old
	}
}

// keepMap is up to how many elements a map is emptied and used again.
const keepMap = 1 << 12
