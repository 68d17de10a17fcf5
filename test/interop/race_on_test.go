//go:build linux && race

package interop

// raceFlag builds Nightjar with the race detector whenever the tests are, so that real clients look for races too.
var raceFlag = []string{"-race"}
