package bench

import (
	"fmt"
	"time"
)

// live prints a line, once a second.
func (r *run) live(to sample) {
	if r.o.Live == nil || to.at.Truncate(time.Second) == r.last.at.Truncate(time.Second) {
		return
	}
	i := r.intervals[len(r.intervals)-1]
	line := fmt.Sprintf("%4.0fs  sent %s/s  delivered %s/s  p50 %s  p99 %s  max %s",
		i.At, thousands(i.Sent), thousands(i.Delivered), micros(i.P50), micros(i.P99), micros(i.Max))
	if c := to.counters.since(r.last.counters); c.ended > 0 {
		line = fmt.Sprintf("%4.0fs  %s connections/s  p50 %s  p99 %s  max %s",
			i.At, thousands(float64(c.ended)/(to.at-r.last.at).Seconds()), micros(i.P50), micros(i.P99), micros(i.Max))
	}
	if r.o.PID != 0 {
		line += fmt.Sprintf("  broker %.2f cores, %s MB", i.Cores, megabytes(i.RSS))
	}
	fmt.Fprintf(r.o.Live, "%-110s%s", line, r.o.LiveEnd)
}
