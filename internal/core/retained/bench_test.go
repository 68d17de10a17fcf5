package retained

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
)

var big = sync.OnceValue(func() *Store { return fleet(100_000) })

// walkAll reads a whole cursor, 64 at a time, and reports the longest call of the calmest walk (in the others somebody
// else had the processor): that is how long a change may have to wait.
func walkAll(b *testing.B, filter string, want int) {
	s, dst, calmest := big(), make([]*message.Message, 0, 64), time.Hour
	for b.Loop() {
		n, longest := 0, time.Duration(0)
		c := s.Cursor(filter)
		for done := false; !done; {
			start := time.Now()
			dst, done = c.Next(0, 64, dst[:0])
			longest = max(longest, time.Since(start))
			n += len(dst)
		}
		calmest = min(calmest, longest)
		if n != want {
			b.Fatalf("%q: %d messages, want %d", filter, n, want)
		}
	}
	b.ReportMetric(float64(calmest.Nanoseconds())/1000, "µs-longest-Next")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(max(1, want)), "ns/message")
}

func BenchmarkCursorAllOfAMillion(b *testing.B)      { walkAll(b, "#", 1_000_000) }
func BenchmarkCursorOneDevice(b *testing.B)          { walkAll(b, "fleet/007/device-000507/#", 10) }
func BenchmarkCursorOneLevelOfRegion(b *testing.B)   { walkAll(b, "fleet/007/+/battery", 200) }
func BenchmarkCursorOneLevelOfAMillion(b *testing.B) { walkAll(b, "+/+/+/battery", 100_000) }

// Nothing matches, and every device must be asked.
func BenchmarkCursorFutile(b *testing.B) { walkAll(b, "fleet/+/+/absent", 0) }

func fleetTopics() []string {
	list := make([]string, 1<<14)
	for i := range list {
		d := i * 6007 % 100_000
		list[i] = fmt.Sprintf("fleet/%03d/device-%06d/%s", d%500, d, leaf[i%10])
	}
	return list
}

func BenchmarkGet(b *testing.B) {
	s, list := big(), fleetTopics()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if s.Get(list[i%len(list)], 0) == nil {
			b.Fatal(list[i%len(list)])
		}
	}
}

func BenchmarkSet(b *testing.B) {
	for _, expires := range []int64{0, 1 << 50} {
		b.Run(fmt.Sprint("expires=", expires != 0), func(b *testing.B) {
			s, list := big(), fleetTopics()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s.Set(msg(list[i%len(list)], "off", expires), nil)
			}
		})
	}
}

func BenchmarkLoadAMillion(b *testing.B) {
	for b.Loop() {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s := fleet(100_000)
		runtime.GC()
		start := time.Now()
		runtime.GC()
		b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "ms/collection")
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(s.Len()), "B/message")
	}
}
