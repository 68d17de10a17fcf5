package logging

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// queueLines bounds the lines that wait to be written: with the bounds of their values a few megabytes.
	queueLines = 4096
	// queueTime is how long a change waits for a destination that does not take anything.
	queueTime = 5 * time.Second
	// complainEvery is how often failures of the log itself are told.
	complainEvery = 10 * time.Second
)

var errStuck = errors.New("logging: a destination of the log takes nothing; is it a pipe that nobody reads, or a terminal that is held?")

// queue is the goroutine that writes lines. Whoever logs never waits for it.
type queue struct {
	ch   chan job
	lost atomic.Int64
	done chan struct{}
	last io.Writer // where failures of the log are told
	// render makes a line of the log's own.
	render func(level slog.Level, msg string) []byte
	sinks  []sink // the goroutine's

	mu     sync.RWMutex
	closed bool
}

// job is a line, or something to be done between lines.
type job struct {
	buf *bytes.Buffer
	t   Types
	do  func()
}

func startQueue(sinks []sink, last io.Writer, render func(level slog.Level, msg string) []byte) *queue {
	q := &queue{ch: make(chan job, queueLines), done: make(chan struct{}), sinks: sinks, last: last, render: render}
	go q.run()
	return q
}

// put hands a line over, or loses it.
func (q *queue) put(buf *bytes.Buffer, t Types) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if !q.closed {
		select {
		case q.ch <- job{buf: buf, t: t}:
			return
		default:
		}
	}
	q.lost.Add(1)
	release(buf)
}

func (q *queue) run() {
	defer close(q.done)
	var told int64
	var complained time.Time
	for j := range q.ch {
		var failed error
		for more := true; more; {
			if j.do != nil {
				q.flushAll(&failed)
				j.do()
			} else {
				for _, s := range q.sinks {
					note(&failed, s.write(j.buf.Bytes(), j.t))
				}
				release(j.buf)
			}
			select {
			case next, ok := <-q.ch:
				j, more = next, ok
			default:
				more = false
			}
		}
		q.flushAll(&failed)
		if failed != nil {
			q.lost.Add(1)
		}
		if n := q.lost.Load(); n > told && time.Since(complained) >= complainEvery {
			complained = time.Now()
			q.complain(n-told, failed)
			told = n
		}
	}
	for _, s := range q.sinks {
		_ = s.close()
	}
}

// flushAll writes what the destinations have gathered.
func (q *queue) flushAll(failed *error) {
	for _, s := range q.sinks {
		note(failed, s.flush())
	}
}

// complain tells that lines were lost, to the log's destinations as far as they work, and else to the standard error.
func (q *queue) complain(n int64, failed error) {
	if failed != nil {
		if q.last != nil {
			_, _ = q.last.Write(q.render(slog.LevelError, "the log cannot be written, lines are lost: "+failed.Error()))
		}
		return
	}
	text := q.render(slog.LevelWarn, grouped(n)+" lines of the log are lost: their destination takes them too slowly")
	for _, s := range q.sinks {
		_ = s.write(text, TypeWarning)
		_ = s.flush()
	}
}

func note(to *error, err error) {
	if err != nil && *to == nil {
		*to = err
	}
}

// do has fn done between two lines and waits for it.
func (q *queue) do(fn func(sinks []sink) error) error {
	return q.exclusive(queueTime, func() error { return fn(q.sinks) })
}

// swap replaces the destinations.
func (q *queue) swap(sinks []sink) error {
	return q.exclusive(queueTime, func() error {
		q.sinks = sinks
		return nil
	})
}

// flush waits until all lines before are written.
func (q *queue) flush(within time.Duration) error {
	return q.exclusive(within, func() error { return nil })
}

// exclusive has fn done by the goroutine, unless that takes longer than within: then it is not done at all.
func (q *queue) exclusive(within time.Duration, fn func() error) error {
	var claimed atomic.Bool
	done := make(chan error, 1)
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	q.mu.RLock()
	if q.closed {
		q.mu.RUnlock()
		return errClosed
	}
	select {
	case q.ch <- job{do: func() {
		if claimed.CompareAndSwap(false, true) {
			done <- fn()
		}
	}}:
		q.mu.RUnlock()
	case <-timeout.C:
		q.mu.RUnlock()
		return errStuck
	}
	select {
	case err := <-done:
		return err
	case <-timeout.C:
		if claimed.CompareAndSwap(false, true) {
			return errStuck
		}
		return <-done
	}
}

// close writes what is left.
func (q *queue) close() error {
	q.mu.Lock()
	q.closed = true
	close(q.ch)
	q.mu.Unlock()
	select {
	case <-q.done:
		return nil
	case <-time.After(queueTime):
		return errStuck
	}
}
