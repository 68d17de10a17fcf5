package logging

import (
	"log/slog"
	"sync"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
)

// limitWindow is the time that the limits of Options speak of.
const limitWindow = 10 * time.Second

// maxKinds bounds the kinds of lines that are told apart. Kinds are the program's own words, not the clients'; should there
// be more, the rest count as one.
const maxKinds = 256

// limiter lets so many lines of each kind pass in ten seconds, and tells how many it did not.
type limiter struct {
	tell func(event, cause, msg string, level slog.Level, n int64)

	mu          sync.Mutex
	limit       int
	connections int
	kinds       map[string]*kind
	closed      bool
}

type kind struct {
	event, cause, msg string
	level             slog.Level
	since             time.Time
	passed            int
	suppressed        int64
	timer             *time.Timer
}

func newLimiter(tell func(event, cause, msg string, level slog.Level, n int64)) *limiter {
	return &limiter{tell: tell, kinds: make(map[string]*kind)}
}

func (l *limiter) set(limit, connections int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit, l.connections = limit, connections
}

// allow tells whether a line passes. Lines of one event with another cause are another kind.
func (l *limiter) allow(event, cause, msg string, level slog.Level, now time.Time) bool {
	if now.IsZero() {
		now = time.Now()
	}
	name := event + "\x00" + cause
	if event == "" {
		name = msg
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.limit
	if event == broker.EventConnect || event == broker.EventDisconnect {
		limit = l.connections
	}
	if limit <= 0 || l.closed {
		return true
	}
	k := l.kinds[name]
	if k == nil {
		if len(l.kinds) >= maxKinds {
			name, event, cause, msg = "", "", "", "other lines"
			k = l.kinds[name]
		}
		if k == nil {
			k = &kind{since: now}
			l.kinds[name] = k
		}
	}
	if since := now.Sub(k.since); since >= limitWindow || since < 0 {
		k.since, k.passed = now, 0
	}
	if k.passed < limit {
		k.passed++
		return true
	}
	if k.suppressed++; k.suppressed == 1 {
		k.event, k.cause, k.msg, k.level = event, cause, msg, level
		k.timer = time.AfterFunc(limitWindow-now.Sub(k.since), func() { l.report(k) })
	}
	return false
}

// report tells how many lines of a kind were left out since they began to be.
func (l *limiter) report(k *kind) {
	l.mu.Lock()
	n := k.suppressed
	event, cause, msg, level := k.event, k.cause, k.msg, k.level
	k.suppressed = 0
	l.mu.Unlock()
	if n > 0 {
		l.tell(event, cause, msg, level, n)
	}
}

// close tells what has not been told. From then on nothing is limited.
func (l *limiter) close() {
	l.mu.Lock()
	l.closed = true
	kinds := l.kinds
	l.kinds = make(map[string]*kind)
	l.mu.Unlock()
	for _, k := range kinds {
		if k.timer != nil {
			k.timer.Stop()
		}
		l.report(k)
	}
}
