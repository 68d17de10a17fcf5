package bench

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// minPause bounds how often an open loop wakes up. What is due within it goes out together, at most so late.
const minPause = 50 * time.Microsecond

// pacer calls a function of a shard when that is due. It is a timerfd that the shard's loop watches like a connection: a goroutine
// that sleeps would be woken up to a millisecond late, and would have to wake the loop in turn. It belongs to the loop.
type pacer struct {
	shard *shard
	tick  func() (next int64, more bool)
	fd    int // set here; the loop reads from its own duplicate
	conn  netloop.Conn
}

// start has tick called now and then when it says: next is in nanoseconds of the run.
func (p *pacer) start(s *shard, tick func() (next int64, more bool)) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	watched, err := unix.Dup(fd)
	if err != nil {
		_ = unix.Close(fd)
		return os.NewSyscallError("dup", err)
	}
	p.shard, p.fd, p.tick = s, fd, tick
	p.conn, err = s.engine.Adopt(&socket{fd: watched}, func(netloop.Conn) netloop.Handler { return (*alarm)(p) })
	if err != nil {
		_ = unix.Close(fd)
	}
	return err
}

func (p *pacer) stop() {
	if p.conn != nil {
		p.conn.Close(errDone)
		p.conn = nil
	}
}

// alarm is the timer's side that netloop drives.
type alarm pacer

func (a *alarm) Opened(int, int64) { a.pace() }

// Data has the number of expirations, which does not matter.
func (a *alarm) Data(_ int, _ int64, p []byte) (n, need int, again bool) {
	a.pace()
	return len(p), 0, false
}

func (a *alarm) pace() {
	next, more := a.tick()
	if !more {
		return
	}
	in := max(time.Duration(next-a.shard.run.now()), minPause)
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(in))}
	if err := unix.TimerfdSettime(a.fd, 0, &spec, nil); err != nil {
		a.shard.run.fail(os.NewSyscallError("timerfd_settime", err))
	}
}

func (a *alarm) Deadline(int, int64) {}
func (a *alarm) Drained(int, int64)  {}

func (a *alarm) Closed(int, int64, error) { _ = unix.Close(a.fd) }
