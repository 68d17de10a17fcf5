package app

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nightjar-mqtt/nightjar/client"
)

// browse asks a unix socket by HTTP.
func browse(t *testing.T, socket, method, path string, change ...func(*http.Request)) (code int, body string) {
	t.Helper()
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://x"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, fn := range change {
		fn(r)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// pages makes folders with files, and one beside them that must not be found.
func pages(t *testing.T, dir string) {
	t.Helper()
	for name, text := range map[string]string{"one/index.html": "<p>one", "one/a/index.html": "<p>a", "one/x.js": "1", "two/index.html": "<p>two", "secret": "s"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../secret", filepath.Join(dir, "one/link")); err != nil {
		t.Fatal(err)
	}
}

// The files of http_dir are given by listeners for web browsers and for WebSockets, and no others.
func TestHTTPDir(t *testing.T) {
	dir := shortDir(t)
	pages(t, dir)
	p := startIn(t, dir, "allow_anonymous true", "listener 0 DIR/api", "protocol http_api", "http_dir DIR/one", "listener 0 DIR/ws", "protocol websockets", "http_dir DIR/one")
	check := func(socket, path string, wantCode int, want string) {
		t.Helper()
		if code, body := browse(t, filepath.Join(dir, socket), "GET", path); code != wantCode || want != "" && body != want {
			t.Errorf("%s: %s: %d %q, want %d %q", socket, path, code, body, wantCode, want)
		}
	}
	for _, socket := range []string{"api", "ws"} {
		check(socket, "/", 200, "<p>one")
		check(socket, "/x.js", 200, "1")
		check(socket, "/a/", 200, "<p>a")
		for _, path := range []string{"/a", "/nothing", "/link", "/../secret", "/a/../../secret", "/%2e%2e/secret", "/..%2fsecret", "/x.js/"} {
			check(socket, path, 404, "Not found.\n")
		}
		if code, _ := browse(t, filepath.Join(dir, socket), "POST", "/"); code != 405 {
			t.Errorf("%s: POST: %d", socket, code)
		}
	}
	p.configure("allow_anonymous true", "listener 0 DIR/api", "protocol http_api", "http_dir DIR/two", "listener 0 DIR/ws", "protocol websockets")
	p.signals <- syscall.SIGHUP
	p.waitFor("changed: http_dir", 2)
	check("api", "/", 200, "<p>two")
	check("ws", "/", 400, "")
	p.configure("allow_anonymous true", "listener 0 DIR/ws", "protocol http_api")
	p.signals <- syscall.SIGHUP
	p.waitFor("cannot change to protocol http_api by a reload", 1)
	p.configure("allow_anonymous true", "listener 0 DIR/ws", "protocol websockets")
	p.signals <- syscall.SIGHUP
	p.waitFor("listener 0 "+dir+"/api is gone", 1)
	if _, err := net.Dial("unix", filepath.Join(dir, "api")); err == nil {
		t.Error("the listener that is gone takes connections")
	}
}

func TestHTTPAPI(t *testing.T) {
	dir := shortDir(t)
	if err := os.WriteFile(filepath.Join(dir, "acl"), []byte("topic read /api/v1/version\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start := startIn(t, dir, "sys_interval 1", "listener 0 DIR/s", "listener_allow_anonymous true", "listener 0 DIR/api", "protocol http_api", "listener_allow_anonymous true",
		"listener 0 DIR/closed", "protocol http_api")
	api := filepath.Join(dir, "api")
	if code, body := browse(t, api, "GET", "/api/v1/version"); code != 200 || body != "test" {
		t.Errorf("version: %d %q", code, body)
	}
	var listeners struct{ Listeners []apiListener }
	code, body := browse(t, api, "GET", "/api/v1/listeners")
	if err := json.Unmarshal([]byte(body), &listeners); err != nil || code != 200 || !slices.Equal(listeners.Listeners, []apiListener{
		{Path: filepath.Join(dir, "s"), Protocol: "mqtt", AllowAnonymous: true}, {Path: api, Protocol: "httpapi", AllowAnonymous: true},
		{Path: filepath.Join(dir, "closed"), Protocol: "httpapi"},
	}) {
		t.Errorf("listeners: %d %s, %v", code, body, err)
	}
	until(t, func() bool {
		figures := map[string]int64{}
		code, body = browse(t, api, "GET", "/api/v1/systree")
		err := json.Unmarshal([]byte(body), &figures)
		_, total := figures["$SYS/broker/clients/total"]
		_, up := figures["$SYS/broker/uptime"]
		return code == 200 && err == nil && total && up
	}, func() string { return "systree: " + body })
	for path, want := range map[string]int{"/api/v1/nothing": 404, "/API/x": 404, "/": 404} {
		if code, _ := browse(t, api, "GET", path); code != want {
			t.Errorf("%s: %d", path, code)
		}
	}
	if code, _ := browse(t, filepath.Join(dir, "closed"), "GET", "/api/v1/version"); code != 401 {
		t.Errorf("who may not connect gets %d", code)
	}
	if code, _ := browse(t, api, "GET", "/api/v1/version", func(r *http.Request) { r.SetBasicAuth("u", "p") }); code != 200 {
		t.Errorf("with a name that nobody checks: %d", code)
	}
	start.configure("sys_interval 1", "acl_file DIR/acl", "listener 0 DIR/s", "listener_allow_anonymous true", "listener 0 DIR/api", "protocol http_api", "listener_allow_anonymous true",
		"listener 0 DIR/closed", "protocol http_api")
	start.signals <- syscall.SIGHUP
	start.waitFor("changed: acl_file", 1)
	for path, want := range map[string]int{"/api/v1/version": 200, "/api/v1/systree": 401} {
		if code, _ := browse(t, api, "GET", path); code != want {
			t.Errorf("by the ACL file, %s: %d, want %d", path, code, want)
		}
	}
}

// Mosquitto's control API: what a client asks on $CONTROL/broker/v1 is answered to it.
func TestControlAPI(t *testing.T) {
	p := start(t, "enable_control_api true", "listener 0 DIR/s", "listener_allow_anonymous true")
	ask := func(topic, payload string) string {
		t.Helper()
		got := make(chan string, 1)
		c, err := client.Connect(t.Context(), "unix://"+filepath.Join(p.dir, "s"), client.Options{
			ClientID: "admin", NoReconnect: true, OnMessage: func(m *client.Message) { got <- m.Topic + " " + string(m.Payload) },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Publish(t.Context(), &client.Message{Topic: topic, Payload: []byte(payload), QoS: 1}); err != nil {
			return err.Error()
		}
		return <-got
	}
	for request, want := range map[string]string{
		`{"commands":[{"command":"listListeners","correlationData":"7"},{"command":"listPlugins"}]}`: `{"responses":[{"command":"listListeners","data":{"listeners":[{"port":0,"protocol":"mqtt","socket-path":"` + p.dir + `/s","tls":false}]},"correlationData":"7"},{"command":"listPlugins","data":{"plugins":[]}}]}`,
		`{"commands":[{"command":"x"}]}`: `{"responses":[{"command":"x","error":"Unknown command"}]}`,
		`{"commands":[7]}`:               `{"responses":[{"command":"Unknown command","error":"Command not an object"}]}`,
		`{}`:                             `{"responses":[{"command":"Unknown command","error":"Invalid/missing commands"}]}`,
		`{`:                              `{"responses":[{"command":"Unknown command","error":"Payload not valid JSON"}]}`,
	} {
		if got := ask("$CONTROL/broker/v1", request); got != "$CONTROL/broker/v1/response "+want {
			t.Errorf("%s:\n got %s\nwant %s", request, got, want)
		}
	}
	if got := ask("$CONTROL/dynamic-security/v1", "{}"); got != `$CONTROL/dynamic-security/v1/response {"error": "endpoint not available"}` {
		t.Errorf("another endpoint: %s", got)
	}
	p.configure("listener 0 DIR/s", "listener_allow_anonymous true")
	p.signals <- syscall.SIGHUP
	p.waitFor("changed: enable_control_api", 1)
	if got := ask("$CONTROL/broker/v1", "{}"); !strings.Contains(got, "ot authorized") {
		t.Errorf("without the option: %s", got)
	}
}
