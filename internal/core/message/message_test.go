package message

import "testing"

func TestRemaining(t *testing.T) {
	const at = 1_700_000_000_000
	m := Message{Expires: at + 60_000}
	for now, want := range map[int64]uint32{
		at: 60, at - 5: 60, // a loop whose clock is behind
		at + 500: 60, at + 1500: 59, at + 59_999: 1, at + 60_000: 0, at + 61_000: 0,
	} {
		if got := m.Remaining(now); got != want {
			t.Errorf("after %d ms: %d s, want %d", now-at, got, want)
		}
	}
}
