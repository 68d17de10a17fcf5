package logging_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/ops/logging"
)

// output is a destination that a test reads.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start makes a logger to out, without timestamps.
func start(t *testing.T, change func(o *logging.Options)) (*slog.Logger, *logging.Control, *output) {
	t.Helper()
	out := &output{}
	o := logging.DefaultOptions()
	o.Stderr, o.Stdout, o.Timestamp = out, out, false
	if change != nil {
		change(&o)
	}
	log, c, err := logging.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return log, c, out
}

// text closes the log and gives what was written.
func text(t *testing.T, c *logging.Control, out *output) string {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func event(kind string, attrs ...any) []any { return append([]any{"event", kind}, attrs...) }

// The sentences that scripts read in Mosquitto's log, and what a client cannot do to them.
func TestSentences(t *testing.T) {
	evil := "x [6.6.6.6:6] disconnected: not authorised.\n1700000000: Client \"y\" \u202e"
	for _, c := range []struct {
		level slog.Level
		attrs []any
		want  string
	}{
		{broker.LevelNotice, event(broker.EventConnect, "client", "c1", "address", "127.0.0.1:5", "version", "3.1.1", "clean", true, "keepalive", 60),
			`New client connected from 127.0.0.1:5 as c1 (p2, c1, k60).`},
		{broker.LevelNotice, event(broker.EventConnect, "client", "c1", "address", "[::1]:5", "version", "5", "clean", false, "keepalive", 0, "user", "joe"),
			`New client connected from ::1:5 as c1 (p5, c0, k0, u'joe').`},
		{broker.LevelNotice, event(broker.EventDisconnect, "client", "c1", "address", "127.0.0.1:5"), `Client c1 [127.0.0.1:5] disconnected.`},
		{broker.LevelNotice, event(broker.EventDisconnect, "client", "c1", "address", "127.0.0.1:5", "cause", "closed its connection", "reason", "EOF"),
			`Client c1 [127.0.0.1:5] closed its connection.`},
		{broker.LevelNotice, event(broker.EventDisconnect, "client", "c1", "address", "127.0.0.1:5", "cause", "exceeded timeout", "reason", "no packet"),
			`Client c1 [127.0.0.1:5] disconnected: exceeded timeout (no packet).`},
		{slog.LevelWarn, event(broker.EventRefused, "client", "", "address", "127.0.0.1:5", "cause", "not MQTT", "reason", "the first packet is not CONNECT"),
			`Client <unknown> [127.0.0.1:5] disconnected: not MQTT (the first packet is not CONNECT).`},
		{slog.LevelWarn, event(broker.EventRefused, "client", evil, "address", "127.0.0.1:5", "cause", "malformed packet", "reason", "topic "+evil),
			`Client "x \x5b6.6.6.6:6] disconnected: not authorised.\n1700000000: Client \x22y\x22 \u202e" [127.0.0.1:5] disconnected: malformed packet (topic x \x5b6.6.6.6:6] disconnected: not authorised.\n1700000000: Client "y" \u202e).`},
		{slog.LevelWarn, event(broker.EventPublishRefused, "client", "c1", "topic", "a/b", "qos", 1, "retain", true, "bytes", 5, "rule", "acl:3"),
			`Denied PUBLISH from c1 (q1, r1, 'a/b', ... (5 bytes)): acl:3`},
		{slog.LevelWarn, event(broker.EventSubscribeRefused, "client", "c1", "filter", "a/#", "rule", "acl:3"), `Denied SUBSCRIBE from c1 to 'a/#': acl:3`},
		{broker.LevelSubscribe, event(broker.EventSubscribe, "client", "c1", "qos", 1, "filter", "a/+"), `c1 1 a/+`},
		{broker.LevelUnsubscribe, event(broker.EventUnsubscribe, "client", "c1", "filter", "a b"), `c1 "a b"`},
		{slog.LevelDebug, event(broker.EventPacket, "packet", "PUBLISH", "client", "c1", "dup", false, "qos", 1, "retain", true, "id", 7, "topic", "a/b", "bytes", 5),
			`Received PUBLISH from c1 (d0, q1, r1, m7, 'a/b', ... (5 bytes))`},
		{slog.LevelInfo, []any{"k", "v", "err", errors.New("no\nway")}, `message: k=v err="no\nway"`},
		{slog.LevelWarn, nil, `Warning: message`},
		{slog.LevelError, []any{slog.Group("g", "a", 1)}, `Error: message: g.a=1`},
		{slog.LevelInfo, []any{"password", "hunter2", "auth_token", []byte("t"), "Payload", "p"}, `message: password="\x5bredacted]" auth_token="\x5bredacted]" Payload="\x5bredacted]"`},
	} {
		log, ctl, out := start(t, func(o *logging.Options) { o.Types = logging.TypesAll })
		log.Log(context.Background(), c.level, "message", c.attrs...)
		if got := text(t, ctl, out); got != c.want+"\n" {
			t.Errorf("%v\n got %swant %s", c.attrs, got, c.want)
		}
	}
}

// What a jail of fail2ban looks for finds the address of the connection, and no other that a client names.
func TestAddressCannotBeForged(t *testing.T) {
	jail := regexp.MustCompile(`Client .* \[(\S+):\d+\] disconnected: not authorised`)
	for _, id := range []string{"x", "x [6.6.6.6:6] disconnected: not authorised", "x\n1: Client y [6.6.6.6:6] disconnected: not authorised", `" [6.6.6.6:6] disconnected: not authorised`} {
		for cause, want := range map[string]string{"not authorised": "127.0.0.1", "protocol error": ""} {
			log, ctl, out := start(t, nil)
			log.Warn("connection refused", event(broker.EventRefused, "client", id, "address", "127.0.0.1:5", "cause", cause, "reason", "[MQTT-1.2-3] "+id)...)
			got := ""
			if m := jail.FindStringSubmatch(text(t, ctl, out)); m != nil {
				got = m[1]
			}
			if got != want {
				t.Errorf("client id %q, %s: the jail finds %q, want %q", id, cause, got, want)
			}
		}
	}
}

// Each type selects its lines and no others; none and all are the bounds.
func TestTypes(t *testing.T) {
	levels := map[string]slog.Level{
		"error": slog.LevelError, "warning": slog.LevelWarn, "notice": broker.LevelNotice, "information": slog.LevelInfo, "debug": slog.LevelDebug,
		"subscribe": broker.LevelSubscribe, "unsubscribe": broker.LevelUnsubscribe, "websockets": broker.LevelWebSockets,
	}
	for _, name := range []string{"error", "warning", "notice", "information", "debug", "subscribe", "unsubscribe", "websockets", "internal", "none", "all"} {
		types, err := logging.ParseType(name)
		if err != nil {
			t.Fatal(err)
		}
		log, ctl, out := start(t, func(o *logging.Options) { o.Types = types })
		for other, level := range levels {
			log.Log(context.Background(), level, "<"+other+">")
		}
		got := text(t, ctl, out)
		for other := range levels {
			want := other == name || name == "all"
			if strings.Contains(got, "<"+other+">") != want {
				t.Errorf("log_type %s: a line of type %s: want %v, got %q", name, other, want, got)
			}
		}
	}
	if _, err := logging.ParseType("warn"); err == nil || !strings.Contains(err.Error(), "warning") {
		t.Errorf("an unknown type: %v", err)
	}
	if got := logging.AtLeast(slog.LevelInfo); got != logging.TypesDefault {
		t.Errorf("at least information: %v", got)
	}
}

func TestTypesChange(t *testing.T) {
	log, ctl, out := start(t, nil)
	log.Debug("one")
	ctl.SetLevel(slog.LevelDebug)
	log.Debug("two")
	ctl.SetTypes(logging.TypeError)
	log.Warn("three")
	if got := text(t, ctl, out); got != "two\n" {
		t.Errorf("%q", got)
	}
}

func TestConnectionMessages(t *testing.T) {
	log, ctl, out := start(t, func(o *logging.Options) { o.ConnectionMessages = false })
	for _, kind := range []string{broker.EventConnect, broker.EventDisconnect, broker.EventRefused} {
		log.Warn("m", event(kind, "client", kind, "address", "a:1", "cause", "not authorised")...)
	}
	if got := text(t, ctl, out); got != "Client connection_refused [a:1] disconnected: not authorised.\n" {
		t.Errorf("%q", got)
	}
}

func TestTimestamp(t *testing.T) {
	for format, want := range map[string]string{"": `^\d{10}: m\n$`, "%Y-%m-%dT%H:%M:%S": `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d: m\n$`} {
		log, ctl, out := start(t, func(o *logging.Options) { o.Timestamp, o.TimestampFormat = true, format })
		log.Info("m")
		if got := text(t, ctl, out); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%q: %q", format, got)
		}
	}
}

func TestJSON(t *testing.T) {
	log, ctl, out := start(t, func(o *logging.Options) { o.Format, o.Timestamp = logging.JSON, true })
	log.With("a", 1).WithGroup("g").Log(context.Background(), broker.LevelNotice, "client\nconnected", "event", "connect", "client", "x\"y", "password", "p")
	log.Error("failed", "reason", errors.New("e"))
	var lines []map[string]any
	for _, l := range strings.Split(strings.TrimSpace(text(t, ctl, out)), "\n") {
		var m map[string]any
		if err := json.Unmarshal([]byte(l), &m); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		lines = append(lines, m)
	}
	if len(lines) != 2 {
		t.Fatalf("%d lines", len(lines))
	}
	for key, want := range map[string]any{"level": "notice", "msg": "client\nconnected", "g.client": "x\"y", "a": 1.0, "g.password": "[redacted]"} {
		if lines[0][key] != want {
			t.Errorf("%s: %v, want %v", key, lines[0][key], want)
		}
	}
	if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(lines[0]["time"])); err != nil {
		t.Error(err)
	}
	if lines[1]["level"] != "error" || lines[1]["reason"] != "e" {
		t.Errorf("%v", lines[1])
	}
}

// A flood of one kind costs so many lines and one that counts the rest; other kinds are not touched.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, ctl, out := start(t, func(o *logging.Options) { o.Limit, o.ConnectionLimit = 3, 5 })
		for range 1207 {
			log.Warn("connection refused", event(broker.EventRefused, "client", "c", "address", "a:1", "cause", "not authorised")...)
			log.Info("client connected", event(broker.EventConnect, "client", "c")...)
		}
		log.Warn("something else")
		time.Sleep(10*time.Second + time.Millisecond) // the bubble's clock
		synctest.Wait()
		log.Warn("connection refused", event(broker.EventRefused, "client", "later", "address", "a:1", "cause", "not authorised")...)
		got := text(t, ctl, out)
		for want, n := range map[string]int{
			"Client c [a:1] disconnected: not authorised.\n":                           3,
			"Warning: connection refused (not authorised): … and 1,204 more in 10 s\n": 1,
			"New client connected":                               5,
			"connect: … and 1,202 more in 10 s\n":                1,
			"Warning: something else\n":                          1,
			"Client later [a:1] disconnected: not authorised.\n": 1,
		} {
			if strings.Count(got, want) != n {
				t.Errorf("want %d times %q, got\n%s", n, want, got)
			}
		}
	})
}

// What has not been counted yet is when the log closes.
func TestFloodAtTheEnd(t *testing.T) {
	log, ctl, out := start(t, func(o *logging.Options) { o.Limit = 1 })
	for range 5 {
		log.Warn("m")
	}
	if got := text(t, ctl, out); got != "Warning: m\nWarning: m: … and 4 more in 10 s\n" {
		t.Errorf("%q", got)
	}
}

// A value is bounded, however long an id a client chooses.
func TestLongValues(t *testing.T) {
	log, ctl, out := start(t, nil)
	log.Info("m", "client", strings.Repeat("é", 30_000))
	if got := text(t, ctl, out); len(got) > 600 || !strings.Contains(got, "(60000 bytes)") {
		t.Errorf("%d bytes: %.700q", len(got), got)
	}
}

// logrotate renames the file and asks for another.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log, ctl, _ := start(t, func(o *logging.Options) { o.Destinations = []logging.Destination{{Kind: logging.File, Path: path}} })
	log.Info("one")
	if err := ctl.Flush(time.Second); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	log.Info("two")
	if err := ctl.Reopen(); err != nil {
		t.Fatal(err)
	}
	log.Info("three")
	if err := ctl.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{path + ".1": "one\ntwo\n", path: "three\n"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: others may read it", info.Mode(), err)
	}
}

// A file that cannot be opened again is kept; a Reload that fails changes nothing.
func TestReloadFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "log")
	log, ctl, out := start(t, func(o *logging.Options) {
		o.Destinations = []logging.Destination{{Kind: logging.File, Path: path}, {Kind: logging.Stdout}}
	})
	if err := os.Rename(dir, dir+"2"); err != nil {
		t.Fatal(err)
	}
	if err := ctl.Reopen(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Reopen: %v", err)
	}
	o := logging.DefaultOptions()
	o.Types, o.Destinations = logging.TypesNone, []logging.Destination{{Kind: logging.File, Path: path}, {Kind: logging.File, Path: path + "2"}}
	if err := ctl.Reload(o); err == nil {
		t.Error("Reload succeeds")
	}
	log.Info("m")
	// Without the file that cannot be opened it succeeds, and goes on with the one that is open.
	o.Types, o.Timestamp, o.Destinations = logging.TypesDefault, false, o.Destinations[:1]
	if err := ctl.Reload(o); err != nil {
		t.Error(err)
	}
	log.Info("n")
	if got := text(t, ctl, out); got != "m\n" {
		t.Errorf("%q", got)
	}
	if got, _ := os.ReadFile(filepath.Join(dir+"2", "log")); string(got) != "m\nn\n" {
		t.Errorf("%q", got)
	}
}

func TestReload(t *testing.T) {
	log, ctl, out := start(t, nil)
	log.Info("one")
	o := logging.DefaultOptions()
	second := &output{}
	o.Stdout, o.Destinations, o.Format = second, []logging.Destination{{Kind: logging.Stdout}}, logging.JSON
	if err := ctl.Reload(o); err != nil {
		t.Fatal(err)
	}
	log.Info("two")
	if got := text(t, ctl, out); got != "one\n" {
		t.Errorf("%q", got)
	}
	if got := second.String(); !strings.Contains(got, `"msg":"two"`) {
		t.Errorf("%q", got)
	}
	if err := ctl.Reload(o); err == nil {
		t.Error("a closed log is reloaded")
	}
}

func TestSyslog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	log, ctl, _ := start(t, func(o *logging.Options) {
		o.Destinations = []logging.Destination{{Kind: logging.Syslog, Path: path}}
		o.Facility, o.Types = "local3", logging.TypesAll
	})
	const local3 = 19 * 8
	for _, c := range []struct {
		level    slog.Level
		severity int
	}{{slog.LevelError, 3}, {slog.LevelWarn, 4}, {broker.LevelNotice, 5}, {broker.LevelSubscribe, 5}, {slog.LevelInfo, 6}, {slog.LevelDebug, 7}} {
		log.Log(context.Background(), c.level, "line")
		_ = l.SetReadDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 1000)
		n, _, err := l.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(buf[:n]); !strings.HasPrefix(got, fmt.Sprintf("<%d>", local3+c.severity)) || !strings.Contains(got, "nightjar[") || !strings.Contains(got, "line") {
			t.Errorf("%v: %q", c.level, got)
		}
	}
	_ = ctl
	o := logging.DefaultOptions()
	o.Destinations, o.Facility = []logging.Destination{{Kind: logging.Syslog, Path: path}}, "local9"
	if _, _, err := logging.New(o); err == nil || !strings.Contains(err.Error(), "local7") {
		t.Errorf("facility local9: %v", err)
	}
}

// A system without syslog is told of, and has its other destinations, as with Mosquitto.
func TestNoSyslog(t *testing.T) {
	log, ctl, out := start(t, func(o *logging.Options) {
		o.Destinations = []logging.Destination{{Kind: logging.Syslog, Path: filepath.Join(t.TempDir(), "s")}, {Kind: logging.Stdout}}
	})
	log.Info("line")
	got := text(t, ctl, out)
	if !strings.Contains(got, "line\n") || !strings.Contains(got, "does a syslog daemon run?") {
		t.Errorf("%q", got)
	}
}

// Lines go to the topic of their type, except those about packets.
func TestTopics(t *testing.T) {
	log, ctl, _ := start(t, func(o *logging.Options) {
		o.Destinations, o.Types = []logging.Destination{{Kind: logging.Topic}}, logging.TypesAll
	})
	log.Info("nobody publishes yet")
	got := make(chan string, 10)
	if err := ctl.Flush(time.Second); err != nil {
		t.Fatal(err)
	}
	ctl.PublishTo(func(topic string, payload []byte) { got <- topic + " " + string(payload) })
	log.Debug("debug")
	log.Error("e")
	log.Log(context.Background(), broker.LevelSubscribe, "s", event(broker.EventSubscribe, "client", "c", "qos", 1, "filter", "f")...)
	log.Log(context.Background(), broker.LevelNotice, "n")
	for _, want := range []string{"$SYS/broker/log/E Error: e", "$SYS/broker/log/M/subscribe c 1 f", "$SYS/broker/log/N n"} {
		select {
		case g := <-got:
			if g == "$SYS/broker/log/I nobody publishes yet" {
				g = <-got // it was still on its way
			}
			if g != want {
				t.Errorf("got %q, want %q", g, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%q does not come", want)
		}
	}
}

// held is a destination that takes nothing until it is let go.
type held struct {
	output
	entered chan struct{}
	free    chan struct{}
	once    sync.Once
}

func (h *held) Write(p []byte) (int, error) {
	h.once.Do(func() { close(h.entered) })
	<-h.free
	return h.output.Write(p)
}

// Who logs never waits for a destination, and what is lost is told.
func TestHeldDestination(t *testing.T) {
	h := &held{entered: make(chan struct{}), free: make(chan struct{})}
	log, ctl, _ := start(t, func(o *logging.Options) { o.Stderr, o.Limit = h, 0 })
	log.Info("first")
	<-h.entered
	const lines = 10_000
	for range lines {
		log.Info("line")
	}
	if ctl.Lost() == 0 {
		t.Error("nothing is lost, so it all waits in memory")
	}
	if err := ctl.Flush(time.Millisecond); err == nil {
		t.Error("Flush succeeds")
	}
	close(h.free)
	if err := ctl.Close(); err != nil {
		t.Fatal(err)
	}
	got := h.String()
	if n := int64(strings.Count(got, "line\n")) + ctl.Lost(); n != lines {
		t.Errorf("%d lines are written or counted as lost, want %d", n, lines)
	}
	if !strings.Contains(got, "lines of the log are lost") {
		t.Errorf("nothing tells that lines are lost: %.300s", got)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// A destination that fails is told to the standard error, and does not keep others from their lines.
func TestFailingDestination(t *testing.T) {
	log, ctl, out := start(t, func(o *logging.Options) {
		o.Stdout = full{}
		o.Destinations = []logging.Destination{{Kind: logging.Stdout}, {Kind: logging.Stderr}}
	})
	log.Info("m")
	got := text(t, ctl, out)
	if !strings.Contains(got, "m\n") || !strings.Contains(got, "Error: the log cannot be written, lines are lost: short write") {
		t.Errorf("%q", got)
	}
}

// The last words of a process are written when the call returns.
func TestFatal(t *testing.T) {
	log, _, out := start(t, nil)
	log.Log(context.Background(), broker.LevelFatal, "the end")
	if got := out.String(); got != "Error: the end\n" {
		t.Errorf("%q", got)
	}
}

func TestParseDestination(t *testing.T) {
	for value, want := range map[string]logging.Destination{
		"stdout": {Kind: logging.Stdout}, "stderr": {Kind: logging.Stderr}, "syslog": {Kind: logging.Syslog}, "topic": {Kind: logging.Topic},
		"file /var/log/my broker.log": {Kind: logging.File, Path: "/var/log/my broker.log"},
	} {
		if d, none, err := logging.ParseDestination(value); err != nil || none || d != want {
			t.Errorf("%s: %+v, %v, %v", value, d, none, err)
		}
	}
	if _, none, err := logging.ParseDestination("none"); !none || err != nil {
		t.Error("none is not none")
	}
	for value, want := range map[string]string{"dlt": "not supported", "file": "path", "stderr x": "nothing behind", "journal": "syslog"} {
		if _, _, err := logging.ParseDestination(value); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", value, err)
		}
	}
}
