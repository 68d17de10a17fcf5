package outbox

import "sync/atomic"

// Budget counts the bytes that all outboxes (and whoever else charges it) hold in memory. It only counts: whoever reads
// [Budget.Used] decides what to shed. The zero value is ready and safe for concurrent use.
type Budget struct{ used atomic.Int64 }

// Used is the number of bytes charged now.
func (b *Budget) Used() int64 { return b.used.Load() }

// Add charges n bytes, or gives them back if n is negative. A nil Budget counts nothing.
func (b *Budget) Add(n int) {
	if b != nil {
		b.used.Add(int64(n))
	}
}
