package bench

import "time"

// schedule is an open loop's timetable: writes are due at equal distances, by publishers in turn. Times are nanoseconds
// since the start of the run. A write that could not be made on time keeps its time.
type schedule struct {
	first int64   // when the first write is due
	step  float64 // between two writes
	next  int64   // number of the next write
}

// newSchedule spreads rate messages a second, burst at a time, from first on.
func newSchedule(first time.Duration, rate float64, burst int) schedule {
	return schedule{first: int64(first), step: float64(burst) / rate * 1e9}
}

// due is when write k is due. It is computed from k, so that rounding does not add up.
func (s *schedule) due(k int64) int64 { return s.first + int64(float64(k)*s.step) }

// take returns the number and time of the next write if it is due.
func (s *schedule) take(now int64) (k, at int64, ok bool) {
	at = s.due(s.next)
	if at > now {
		return 0, at, false
	}
	k = s.next
	s.next++
	return k, at, true
}

// window is a closed loop's account of one publisher.
type window struct {
	size      int64 // messages that may be on their way
	receivers int64 // copies per message
	sent      int64
}

// room is how many messages may be sent when copies of those sent have arrived. With several receivers it is the average
// that counts: what all have yet to get is at most size messages each.
func (w *window) room(copies int64) int64 { return w.size - (w.sent - copies/w.receivers) }
