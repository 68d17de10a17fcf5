package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cpuClock is the clock of a process's CPU time, as clock_getcpuclockid(3) builds it. It counts nanoseconds, threads that
// have ended included; /proc/PID/stat counts hundredths of a second.
func cpuClock(pid int) int32 { return ^int32(pid)<<3 | 2 }

// usageOf reads what a process has used so far.
func usageOf(pid int) (usage, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(cpuClock(pid), &ts); err != nil {
		return usage{}, fmt.Errorf("its CPU clock: %w", err)
	}
	u := usage{cpu: time.Duration(ts.Nano())}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return usage{}, err
	}
	u.rss = kilobytes(status, "VmRSS:")
	return u, nil
}

// kilobytes finds a line of /proc/PID/status and returns its value in bytes; 0 if there is none.
func kilobytes(status []byte, name string) int64 {
	_, rest, found := bytes.Cut(status, []byte("\n"+name))
	if !found {
		return 0
	}
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kb, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil {
		return 0
	}
	return kb << 10
}

// ownCPU is the generator's CPU time.
func ownCPU() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
