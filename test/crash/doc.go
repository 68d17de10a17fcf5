// Package crash holds the tests of what must not be lost, however the broker ends: its clients are in workload, what they
// must and must not have seen is said in history.
//
//   - kill_test.go: the real process, killed with SIGKILL under load.
//   - powercut_test.go: the whole broker on a file system that forgets what was not synced.
//   - fault_test.go: the same on a file system whose calls fail.
//
// `make test` runs a little of each; `make crash` runs 300 kills and 1,000 power cuts.
package crash
