package conformance

import (
	"errors"
	"testing"
)

// TestEveryCaseRuns holds that no case is skipped on Nightjar: what the process has no flag for, the embedded broker can.
func TestEveryCaseRuns(t *testing.T) {
	hooks := 0
	for _, c := range Cases() {
		if _, err := nightjarArgs("epoll", c.Options); errors.Is(err, errCannot) {
			hooks++
		}
		if _, err := (embedded{}).options(c.Options); err != nil {
			t.Errorf("%s cannot run on the embedded broker: %v", c.Key(), err)
		}
	}
	if hooks == 0 {
		t.Error("no case needs the embedded broker; then the fallback in runOne can go")
	}
}

func TestACL(t *testing.T) {
	a, err := parseACL("topic read a/#\ntopic write b/+/c\ntopic d\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		topic       string
		read, write bool
	}{
		{"a", true, false}, {"a/b/c", true, false}, {"ab", false, false}, {"b/x/c", false, true}, {"b/c", false, false},
		{"b/x/c/d", false, false}, {"d", true, true}, {"d/e", false, false},
	} {
		if got := a.MayReceive(nil, c.topic).Allowed; got != c.read {
			t.Errorf("read %s: %t", c.topic, got)
		}
		if got := a.MayPublish(nil, c.topic, 0, false).Allowed; got != c.write {
			t.Errorf("write %s: %t", c.topic, got)
		}
	}
	for _, bad := range []string{"user ann", "topic deny a", "pattern read a", "topic"} {
		if _, err := parseACL(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
