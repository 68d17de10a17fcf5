//go:build unix

package broker

import "golang.org/x/sys/unix"

// reservedDescriptors are kept for everything that is not a client: listeners, logs, the store, the event loops.
const reservedDescriptors = 64

// descriptorLimit is how many connections the process's descriptors allow; 0: no limit.
func descriptorLimit() int {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil || uint64(l.Cur) > 1<<30 { //nolint:unconvert // signed on FreeBSD
		return 0
	}
	return max(int(l.Cur)-reservedDescriptors, 16)
}
