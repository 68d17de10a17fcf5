//go:build !linux

package netloop

import "net"

var engines = []engineKind{{"goroutine", startGoroutine}}

// Own prepares a listener for Engine.Serve. On this platform there is nothing to prepare; see the Linux version.
func Own(l net.Listener) (net.Listener, error) { return l, nil }
