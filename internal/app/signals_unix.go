//go:build unix

package app

import (
	"os"
	"syscall"
)

// moreSignals are those that Mosquitto has beside the usual ones.
var moreSignals = map[os.Signal]meaning{syscall.SIGUSR1: saving, syscall.SIGUSR2: listing, sigRTMin: rotating}

// sigRTMin is the first real-time signal that the C library leaves to programs, as shells and logrotate name it.
const sigRTMin = syscall.Signal(34)
