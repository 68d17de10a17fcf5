package broker

import (
	"slices"
	"strings"
)

// sharedState are the packages whose state several connections use. A panic in one of them may have left it half changed,
// so the process ends, loudly; one anywhere else closes a connection (DESIGN section 5, rule 8).
var sharedState = []string{"outbox", "retained", "router", "session", "subtree"}

// library are the packages of the standard library that shared state calls and that can fail for it.
var library = []string{"\t", "runtime.", "internal/", "sync.", "sync/", "slices.", "maps.", "sort.", "container/", "hash/"}

func ofLibrary(line string) bool {
	return slices.ContainsFunc(library, func(p string) bool { return strings.HasPrefix(line, p) })
}

// inSharedState looks at the function that panicked: the first of a stack trace that is not the standard library's. A hook that fails is
// the embedding program's, whoever called it.
func inSharedState(stack []byte) bool {
	lines := strings.Split(string(stack), "\n")
	at := -1
	for i, l := range lines {
		if strings.HasPrefix(l, "panic(") {
			at = i
		}
	}
	if at < 0 {
		return false
	}
	for _, l := range lines[at+1:] {
		if ofLibrary(l) {
			continue
		}
		for _, pkg := range sharedState {
			if strings.HasPrefix(l, "github.com/nightjar-mqtt/nightjar/internal/core/"+pkg+".") {
				return true
			}
		}
		return false
	}
	return false
}
