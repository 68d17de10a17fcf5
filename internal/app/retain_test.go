package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nightjar-mqtt/nightjar/client"
)

// What was retained by somebody whose right is taken away is not sent any more, nor after a restart or by another listener
// (CVE-2018-12546).
func TestRetainedByRevoked(t *testing.T) {
	dir := shortDir(t)
	rules := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "acl"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lines := []string{"persistence true", "persistence_location DIR", "acl_file DIR/acl", "allow_anonymous true", "listener 0 DIR/one", "listener 0 DIR/two"}
	as := func(name, socket string) (*client.Client, chan string) {
		t.Helper()
		got := make(chan string, 10)
		c, err := client.Connect(t.Context(), "unix://"+filepath.Join(dir, socket), client.Options{
			ClientID: name, Username: name, NoReconnect: true, OnMessage: func(m *client.Message) { got <- m.Topic },
		})
		if err != nil {
			t.Fatal(err)
		}
		return c, got
	}
	// first gives the first retained message; "z" is always there, and comes last.
	first := func(socket string) string {
		t.Helper()
		c, got := as("reader", socket)
		defer c.Close()
		if _, err := c.Subscribe(t.Context(), client.Subscription{Filter: "a/#", QoS: 1}); err != nil {
			t.Fatal(err)
		}
		return <-got
	}
	rules("user bad\ntopic a/#\nuser good\ntopic a/#\nuser reader\ntopic read a/#\n")
	t.Run("before", func(t *testing.T) {
		startIn(t, dir, lines...)
		for name, topic := range map[string]string{"bad": "a/1", "good": "a/z"} {
			c, _ := as(name, "one")
			if _, err := c.Publish(t.Context(), &client.Message{Topic: topic, Payload: []byte("x"), QoS: 1, Retain: true}); err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		if topic := first("two"); topic != "a/1" {
			t.Errorf("%s comes first", topic)
		}
	})
	rules("user good\ntopic a/#\nuser reader\ntopic read a/#\n")
	t.Run("after", func(t *testing.T) {
		startIn(t, dir, lines...)
		if topic := first("two"); topic != "a/z" {
			t.Errorf("%s comes first", topic)
		}
	})
	t.Run("unchecked", func(t *testing.T) {
		startIn(t, dir, append(lines, "check_retain_source false")...)
		if topic := first("one"); topic != "a/1" {
			t.Errorf("%s comes first", topic)
		}
	})
}
