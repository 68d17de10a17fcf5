package outbox

import (
	"sync/atomic"
	"testing"
)

// BenchmarkAppendGuarded is what a QoS 0 message costs a receiver that gets 32 of them per write.
func BenchmarkAppendGuarded(b *testing.B) {
	var o Outbox
	o.Init(new(Budget))
	var guard atomic.Uint32
	head, payload := make([]byte, 26), make([]byte, 64)
	iov := make([][]byte, 0, 32)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if g, _ := o.AppendGuarded(&guard, 0, 1<<20, head, payload, false); g != Appended {
			b.Fatal(g)
		}
		if i%32 == 31 {
			n := o.Bytes()
			if _, ok := o.StartWrite(iov); !ok {
				b.Fatal("nothing to write")
			}
			o.FinishWrite(n, false)
		}
	}
}
