//go:build unix

package app

import (
	"os"
	"syscall"
)

// moreSignals are those that Mosquitto has beside the usual ones.
var moreSignals = map[os.Signal]meaning{syscall.SIGUSR1: saving, syscall.SIGUSR2: listing, sigRTMin: rotating}

// sigRTMin is SIGRTMIN of musl, SIGRTMIN+1 of glibc: glibc's SIGRTMIN cannot be caught in Go, whose runtime leaves it to C.
const sigRTMin = syscall.Signal(35)
