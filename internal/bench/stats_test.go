package bench

import (
	"math"
	"reflect"
	"testing"
	"time"
)

// TestCounters fills every field, so that one that add or since forgets is found.
func TestCounters(t *testing.T) {
	var a, b counters
	va, vb := reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem()
	set := func(v reflect.Value, i int, n int64) {
		*(*int64)(v.Field(i).Addr().UnsafePointer()) = n
	}
	for i := range va.NumField() {
		set(va, i, int64(100+i))
		set(vb, i, int64(i*i+1))
	}
	d := a.since(b)
	sum := d
	sum.add(b)
	for i := range va.NumField() {
		name, want := va.Type().Field(i).Name, int64(100+i)-int64(i*i+1)
		if got := reflect.ValueOf(d).Field(i).Int(); got != want {
			t.Errorf("since: %s is %d, want %d", name, got, want)
		}
		if got := reflect.ValueOf(sum).Field(i).Int(); got != int64(100+i) {
			t.Errorf("add: %s is %d, want %d", name, got, 100+i)
		}
	}
}

func TestLatency(t *testing.T) {
	h := newHistograms()
	if got := latencyOf(h.latency); got != (Latency{}) {
		t.Errorf("without values: %+v", got)
	}
	for i := range int64(1000) {
		record(h.latency, (i+1)*int64(time.Microsecond), 10)
	}
	got := latencyOf(h.latency)
	near := func(what string, v, want float64) {
		if math.Abs(v-want) > 0.002*want {
			t.Errorf("%s is %g µs, want %g", what, v, want)
		}
	}
	if got.Count != 10_000 {
		t.Errorf("count is %d", got.Count)
	}
	near("p50", got.P50, 500)
	near("p90", got.P90, 900)
	near("p99", got.P99, 990)
	near("p99.9", got.P999, 999)
	near("max", got.Max, 1000)
	near("mean", got.Mean, 500.5)

	all := newHistograms()
	all.merge(h)
	all.merge(h)
	h.reset()
	if all.latency.TotalCount() != 20_000 || h.latency.TotalCount() != 0 {
		t.Errorf("merged twice: %d, reset: %d", all.latency.TotalCount(), h.latency.TotalCount())
	}
}

// TestLatencyOutOfRange: absurd values count at the edge, they do not vanish.
func TestLatencyOutOfRange(t *testing.T) {
	h := newHistogram()
	record(h, -5, 1)
	record(h, int64(time.Hour), 2)
	if h.TotalCount() != 3 {
		t.Fatalf("%d of 3 values were counted", h.TotalCount())
	}
	if got := time.Duration(h.Max()); got < maxTime*99/100 || h.Min() > int64(2*time.Microsecond) {
		t.Errorf("min %v, max %v", time.Duration(h.Min()), got)
	}
}

const maxTime = time.Duration(maxLatency)

func TestSchedule(t *testing.T) {
	const rate, burst = 30_000, 7 // a step that is no whole number of nanoseconds
	s := newSchedule(time.Second, rate, burst)
	if _, at, ok := s.take(int64(time.Second) - 1); ok || at != int64(time.Second) {
		t.Fatalf("before the first: at %d, due %v", at, ok)
	}
	last := int64(0)
	n := int64(0)
	for end := int64(101 * time.Second); ; n++ {
		k, at, ok := s.take(end)
		if !ok {
			break
		}
		if k != n || at <= last {
			t.Fatalf("write %d came as %d, at %d after %d", n, k, at, last)
		}
		last = at
	}
	if got, want := float64(n*burst), 100.0*rate; math.Abs(got-want) > burst {
		t.Errorf("%g messages in 100 seconds, want %g: the timetable drifts", got, want)
	}
}

func TestWindow(t *testing.T) {
	w := window{size: 10, receivers: 4}
	for _, step := range []struct{ sent, copies, room int64 }{
		{0, 0, 10}, {10, 0, 0}, {10, 3, 0}, {10, 4, 1}, {10, 39, 9}, {10, 40, 10}, {17, 40, 3},
	} {
		w.sent = step.sent
		if got := w.room(step.copies); got != step.room {
			t.Errorf("sent %d, %d copies arrived: room for %d, want %d", step.sent, step.copies, got, step.room)
		}
	}
}

func TestLimit(t *testing.T) {
	report := func(rate, sent, busy, cores, lag float64) *Report {
		return &Report{
			Options: Options{Rate: rate, Loops: 1}, Machine: Machine{CPUs: 4}, SentRate: sent,
			Generator: Generator{Busy: busy, Lag: Latency{P99: lag}}, Broker: &Broker{Cores: cores},
		}
	}
	for name, tt := range map[string]struct {
		report *Report
		want   Limit
	}{
		"rate reached":       {report(1000, 999, 0.1, 0.1, 100), LimitRate},
		"late":               {report(1000, 999, 0.1, 0.1, 5000), LimitLate},
		"generator busy":     {report(0, 1e6, 0.97, 0.5, 0), LimitGenerator},
		"broker busy":        {report(0, 1e6, 0.5, 1, 0), LimitBroker},
		"everything busy":    {report(0, 1e6, 1, 2.9, 0), LimitMachine},
		"waiting, window":    {report(0, 1e6, 0.3, 0.4, 0), LimitUnknown},
		"rate not reached":   {report(1000, 500, 0.95, 0.2, 0), LimitGenerator},
		"rate beyond broker": {report(1000, 500, 0.2, 1, 0), LimitBroker},
	} {
		if got := tt.report.limit(); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestThousands(t *testing.T) {
	for v, want := range map[float64]string{0: "0.0", 99.94: "99.9", 100: "100", 1234: "1,234", 1234567: "1,234,567", -1234: "-1,234", -127: "-127"} {
		if got := thousands(v); got != want {
			t.Errorf("%g: %q, want %q", v, got, want)
		}
	}
}
