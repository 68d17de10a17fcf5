package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/internal/config"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// patience bounds what waits for something that does not come.
const patience = 20 * time.Second

// process is a broker that runs by a configuration file.
type process struct {
	t       *testing.T
	dir     string
	signals chan os.Signal
	done    chan error

	mu  sync.Mutex
	log bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// waitFor waits until the log has a text n times.
func (p *process) waitFor(text string, n int) {
	p.t.Helper()
	until(p.t, func() bool { return strings.Count(p.logged(), text) >= n }, func() string {
		return fmt.Sprintf("the log does not have %q %d times:\n%s", text, n, p.logged())
	})
}

func until(t *testing.T, good func() bool, otherwise func() string) {
	t.Helper()
	limit := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !good() {
		select {
		case <-limit:
			t.Fatal(otherwise())
		case <-tick.C:
		}
	}
}

// configure writes the configuration. DIR in lines is the process's folder.
func (p *process) configure(lines ...string) {
	p.t.Helper()
	lines = append([]string{"user root"}, lines...) // the test stays who it is
	text := strings.ReplaceAll(strings.Join(lines, "\n"), "DIR", p.dir)
	if err := os.WriteFile(filepath.Join(p.dir, "m.conf"), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// start runs a broker and waits until it serves.
func start(t *testing.T, lines ...string) *process {
	t.Helper()
	return startIn(t, shortDir(t), lines...)
}

// startIn is start in a folder that has files for it.
func startIn(t *testing.T, dir string, lines ...string) *process {
	t.Helper()
	p := &process{t: t, dir: dir, signals: make(chan os.Signal, 2), done: make(chan error, 1)}
	p.configure(lines...)
	s := DefaultSettings()
	s.ConfigFile, s.Stdout, s.Stderr, s.Version = filepath.Join(p.dir, "m.conf"), p, p, "test"
	go func() { p.done <- run(s, p.signals) }()
	t.Cleanup(p.stop)
	until(t, func() bool {
		select {
		case err := <-p.done:
			t.Fatalf("ended with %v\n%s", err, p.logged())
		default:
		}
		return strings.Contains(p.logged(), "nightjar version test running")
	}, func() string { return "it does not serve:\n" + p.logged() })
	return p
}

// shortDir is a folder whose name is short enough for a unix socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nj") //nolint:usetesting // its names are too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (p *process) stop() {
	p.signals <- syscall.SIGTERM
	select {
	case err := <-p.done:
		if err != nil {
			p.t.Errorf("ended with %v\n%s", err, p.logged())
		}
	case <-time.After(patience):
		p.t.Errorf("does not end:\n%s", p.logged())
	}
}

// reload has the configuration read again, and waits until the log has a text for the n-th time.
func (p *process) reload(text string, n int, lines ...string) {
	p.t.Helper()
	p.configure(lines...)
	p.signals <- syscall.SIGHUP
	p.waitFor(text, n)
}

// connect connects by a unix socket.
func (p *process) connect(socket string, o client.Options) (*client.Client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	o.NoReconnect = true
	c, err := client.Connect(ctx, "unix://"+filepath.Join(p.dir, socket), o)
	if err == nil {
		p.t.Cleanup(c.Close)
	}
	return c, err
}

func (p *process) mustConnect(socket string, o client.Options) *client.Client {
	p.t.Helper()
	c, err := p.connect(socket, o)
	if err != nil {
		p.t.Fatalf("cannot connect by %s: %v\n%s", socket, err, p.logged())
	}
	return c
}

// code is the reason for which a client is refused.
func (p *process) code(socket string, o client.Options) mqtt.ReasonCode {
	p.t.Helper()
	_, err := p.connect(socket, o)
	var refused *client.ConnectError
	if !errors.As(err, &refused) {
		p.t.Fatalf("%s with %+v: %v, not a refusal", socket, o, err)
	}
	return refused.Code
}

// TestListeners: each listener has its own settings.
func TestListeners(t *testing.T) {
	p := start(t, "max_packet_size 5000", "receive_maximum 7", "max_keepalive 60", "retain_available false", "clientid_prefixes a",
		"listener 0 DIR/one", "allow_anonymous true", "max_qos 1", "max_topic_alias 3", "listener_auto_id_prefix a-",
		"listener 0 DIR/two", "listener_allow_anonymous false",
		"listener 0 DIR/three", "accept_protocol_versions 3, 4",
		"listener 0 DIR/four", "max_connections 1")
	k := p.mustConnect("one", client.Options{KeepAlive: time.Hour}).Connack()
	if k.MaximumQoS != 1 || k.TopicAliasMaximum != 3 || k.MaximumPacketSize != 5000 || k.ReceiveMaximum != 7 ||
		k.KeepAlive != time.Minute || k.RetainAvailable || !strings.HasPrefix(k.ClientID, "a-") {
		t.Errorf("CONNACK by the first listener: %+v", k)
	}
	if got := p.code("two", client.Options{ClientID: "a"}); got != mqtt.NotAuthorized {
		t.Errorf("an anonymous client is refused by %v", got)
	}
	if got := p.code("one", client.Options{ClientID: "b"}); got != mqtt.NotAuthorized {
		t.Errorf("a client id without the prefix is refused by %v", got)
	}
	if got := p.code("three", client.Options{ClientID: "a"}); got != mqtt.UnsupportedProtocolVersion {
		t.Errorf("MQTT 5 is refused by %v", got)
	}
	p.mustConnect("three", client.Options{ClientID: "a3", Version: mqtt.V311})
	p.mustConnect("four", client.Options{ClientID: "a4"})
	if _, err := p.connect("four", client.Options{ClientID: "a5"}); err == nil {
		t.Error("a second client connects where only one may")
	}
}

// TestConnectRate: who connects more often than he may is refused, the others are not.
func TestConnectRate(t *testing.T) {
	p := start(t, "allow_anonymous true", "listener 0 DIR/s", "max_connect_rate 2", "max_user_connect_rate 3")
	for _, id := range []string{"a", "a", "b", "b"} {
		p.mustConnect("s", client.Options{ClientID: id})
	}
	if got := p.code("s", client.Options{ClientID: "a"}); got != mqtt.ConnectionRateExceeded {
		t.Errorf("the third connection of a client is refused by %v", got)
	}
	for _, id := range []string{"c", "d", "e"} {
		p.mustConnect("s", client.Options{ClientID: id, Username: "joe"})
	}
	if got := p.code("s", client.Options{ClientID: "f", Username: "joe"}); got != mqtt.ConnectionRateExceeded {
		t.Errorf("the fourth connection of a user is refused by %v", got)
	}
	p.reload("max_connect_rate: 2 → 0", 1, "allow_anonymous true", "listener 0 DIR/s")
	p.mustConnect("s", client.Options{ClientID: "a"})
}

// TestRates: what a client sends beyond a rate is refused.
func TestRates(t *testing.T) {
	p := start(t, "allow_anonymous true", "listener 0 DIR/s", "max_publish_rate 2", "max_user_subscribe_rate 1", "rate_limit_action refuse")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := p.mustConnect("s", client.Options{Username: "joe"})
	var codes []mqtt.ReasonCode
	for range 10 { // in less than a second
		_, err := c.Publish(ctx, &client.Message{Topic: "a", QoS: 1})
		var refused *client.ReasonError
		if err != nil && !errors.As(err, &refused) {
			t.Fatal(err)
		}
		if refused != nil {
			codes = append(codes, refused.Code)
		}
	}
	if len(codes) == 0 || codes[0] != mqtt.QuotaExceeded {
		t.Errorf("ten messages at once, where two a second are allowed, are refused by %v", codes)
	}
}

// TestReload: what may change does, for who is connected as for who comes; who stays allowed stays connected.
func TestReload(t *testing.T) {
	p := start(t, "allow_anonymous true", "listener 0 DIR/one", "max_qos 2", "listener 0 DIR/two")
	stays, goes := p.mustConnect("one", client.Options{ClientID: "stays"}), p.mustConnect("two", client.Options{ClientID: "goes"})

	p.reload("listener 0 "+p.dir+"/three is new", 1, "allow_anonymous true", "loops 7", "listener 0 DIR/one", "max_qos 1", "listener 0 DIR/three")
	for _, want := range []string{"max_qos (listener 0 " + p.dir + "/one): 2 → 1", "counts only after a restart: loops: 0 → 7", "listener 0 " + p.dir + "/two is gone"} {
		p.waitFor(want, 1)
	}
	<-goes.Done()
	if k := p.mustConnect("one", client.Options{}).Connack(); k.MaximumQoS != 1 {
		t.Errorf("the highest QoS is %d after the reload", k.MaximumQoS)
	}
	p.mustConnect("three", client.Options{})

	p.reload("the configuration is not reloaded", 1, "allow_anonymous true", "listener 0 DIR/one", "max_qos 0", "max_conections 7")
	p.waitFor("m.conf:5: option 'max_conections': unknown; did you mean 'max_connections'?", 1)
	p.reload("the configuration is not reloaded", 2, "allow_anonymous true", "listener 0 DIR/one", "max_qos 0", "listener 0 DIR/none/such")
	p.reload("the configuration is not reloaded", 3, "allow_anonymous true", "listener 0 DIR/one", "max_qos 0", "password_file DIR/none")
	p.reload("the configuration is not reloaded", 4, "allow_anonymous true", "listener 0 DIR/one", "max_qos 0", "log_dest file DIR/none/such")
	if k := p.mustConnect("one", client.Options{}).Connack(); k.MaximumQoS != 1 {
		t.Errorf("the highest QoS is %d after reloads that failed", k.MaximumQoS)
	}
	p.mustConnect("three", client.Options{})

	select {
	case <-stays.Done():
		t.Errorf("a client of a listener that stays was disconnected: %v", stays.Err())
	default:
	}
	p.reload("clients were disconnected that may no longer connect", 1, "allow_anonymous false", "listener 0 DIR/one")
	<-stays.Done()
	if got := p.code("one", client.Options{}); got != mqtt.NotAuthorized {
		t.Errorf("an anonymous client is refused by %v after the reload", got)
	}
}

// TestACLReload: a right that is taken away stops deliveries to who is connected.
func TestACLReload(t *testing.T) {
	dir := shortDir(t)
	acl := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "acl"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	acl("topic readwrite a/#\ntopic readwrite b/#\n")
	p := startIn(t, dir, "allow_anonymous true", "listener 0 DIR/s", "acl_file DIR/acl")
	got := make(chan string, 10)
	c := p.mustConnect("s", client.Options{OnMessage: func(m *client.Message) { got <- m.Topic }})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := c.Subscribe(ctx, client.Subscription{Filter: "#"}); err != nil {
		t.Fatal(err)
	}
	publish := func(topic string) {
		t.Helper()
		if _, err := c.Publish(ctx, &client.Message{Topic: topic, QoS: 1}); err != nil {
			var refused *client.ReasonError
			if !errors.As(err, &refused) {
				t.Fatal(err)
			}
		}
	}
	expect := func(want string) {
		t.Helper()
		select {
		case topic := <-got:
			if topic != want {
				t.Fatalf("%s comes, not %s", topic, want)
			}
		case <-ctx.Done():
			t.Fatalf("%s does not come\n%s", want, p.logged())
		}
	}
	publish("a/1")
	expect("a/1")
	acl("topic write a/#\ntopic readwrite b/#\n")
	p.signals <- syscall.SIGHUP
	p.waitFor("the configuration has not changed; files that it names were read again", 1)
	publish("a/2")
	publish("b/1")
	expect("b/1")
}

// TestUnsupported: what cannot be keeps a configuration from starting, by name.
func TestUnsupported(t *testing.T) {
	for line, want := range map[string]string{
		"connection a\naddress b\ntopic #":                      "bridges are not supported by this version",
		"plugin /usr/lib/mosquitto_dynamic_security.so":         "dynamic security is not supported by this version",
		"plugin /usr/lib/other.so":                              "takes no plugins in C",
		"listener 0 DIR/s\ncertfile c\nkeyfile k\ntls_engine e": "OpenSSL's engines are not there",
		"listener 0 DIR/s\npsk_hint h":                          "pre-shared keys",
		"log_dest dlt":                                          "dlt",
	} {
		s := DefaultSettings()
		s.ConfigFile = filepath.Join(t.TempDir(), "m.conf")
		if err := os.WriteFile(s.ConfigFile, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		var problems config.Problems
		if err := Run(s); !errors.As(err, &problems) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, not %q", line, err, want)
		}
	}
}

// TestPIDFile: it is there while the broker runs.
func TestPIDFile(t *testing.T) {
	var path string
	t.Run("running", func(t *testing.T) {
		p := start(t, "listener 0 DIR/s", "pid_file DIR/pid")
		path = filepath.Join(p.dir, "pid")
		if b, err := os.ReadFile(path); err != nil || strings.TrimSpace(string(b)) != fmt.Sprint(os.Getpid()) {
			t.Errorf("pid file: %q, %v", b, err)
		}
	})
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pid file is still there: %v", err)
	}
}
