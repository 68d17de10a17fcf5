//go:build linux && !race

package interop

// raceFlag is empty: the tests run without the race detector, and so does Nightjar.
var raceFlag []string
