package logging_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/internal/ops/logging"
	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/test/mosquitto"
)

const patience = 30 * time.Second

// serve runs a broker that logs to out until end is called; then all is written.
func serve(t *testing.T, change func(o *broker.Options), opts func(o *logging.Options)) (address string, out *output, end func()) {
	t.Helper()
	log, ctl, out := start(t, opts)
	o := broker.DefaultOptions()
	o.Logger = log
	if change != nil {
		change(&o)
	}
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := broker.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(l) }()
	return l.Addr().String(), out, func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(b.Shutdown(ctx), ctl.Close()); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, broker.ErrShutdown) {
			t.Error(err)
		}
	}
}

// A client's life is told in the sentences of Debian's mosquitto 2.0, but for the address that 2.1 has added.
func TestAsMosquitto(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	m := mosquitto.Start(t, "log_timestamp false", "log_dest file "+path)
	address, out, end := serve(t, nil, func(o *logging.Options) { o.Types = logging.TypesAll })
	for _, a := range []string{m.Addr, address} {
		for i, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			o := client.Options{ClientID: fmt.Sprint("c", i), Version: v, KeepAlive: time.Duration(i+10) * time.Second, KeepSession: i == 1}
			if i == 2 {
				o.Username = "joe"
			}
			c, err := client.Connect(ctx, "mqtt://"+a, o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Subscribe(ctx, client.Subscription{Filter: "a/#", QoS: 1}); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Publish(ctx, &client.Message{Topic: "x/y", Payload: []byte("secret"), QoS: 1}); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Unsubscribe(ctx, "a/#"); err != nil {
				t.Fatal(err)
			}
			if err := c.Disconnect(ctx); err != nil {
				t.Fatal(err)
			}
			cancel()
		}
	}
	end()
	m.Stop()
	theirs, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// What is compared: these sentences of mosquitto's, all of which must be there.
	told := regexp.MustCompile(`(?m)^(New client connected|Client c\d|c\d \d|c\d a|Received (SUBSCRIBE|PUBLISH|UNSUBSCRIBE|DISCONNECT)).*$`)
	port := regexp.MustCompile(`127\.0\.0\.1:\d+`)
	added := regexp.MustCompile(` \[127\.0\.0\.1:\d+\]`)
	ours := added.ReplaceAllString(out.String(), "")
	ours = port.ReplaceAllString(ours, "ADDRESS")
	want := told.FindAllString(port.ReplaceAllString(string(theirs), "ADDRESS"), -1)
	if len(want) < 3*6 {
		t.Fatalf("mosquitto says only %q", want)
	}
	for _, line := range want {
		if !strings.Contains("\n"+ours, "\n"+line+"\n") {
			t.Errorf("mosquitto's line %q is not in our log:\n%s", line, ours)
		}
	}
	if strings.Contains(ours, "secret") {
		t.Error("the log has a payload")
	}
}

// refuser refuses everybody, in words that repeat what the client sent.
type refuser struct{}

func (refuser) Authenticate(l *broker.Login, done func(broker.Verdict)) {
	done(broker.Verdict{Code: mqtt.NotAuthorized, Reason: "user " + l.Username + " is not known"})
}

// Thousands of refused clients, each with a name of its own, make as many lines as the limit allows and one that counts them.
func TestRefusalFlood(t *testing.T) {
	const clients, limit = 3000, 20
	address, out, end := serve(t, func(o *broker.Options) { o.Authenticator = refuser{} },
		func(o *logging.Options) { o.Limit = limit })
	for i := range clients {
		frame, err := (&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: fmt.Append(nil, "c ", i), HasUsername: true,
			Username: fmt.Append(nil, "[6.6.6.6:6] ", i), HasPassword: true, Password: []byte("hunter2")}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(frame); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if n, err := c.Read(make([]byte, 100)); err != nil || n < 4 {
			t.Fatalf("no CONNACK: %v", err)
		}
		_ = c.Close()
	}
	end()
	got := out.String()
	if n := strings.Count(got, "disconnected: not authorised"); n != limit {
		t.Errorf("%d refusals are told, want %d, in\n%.1000s", n, limit, got)
	}
	if want := "… and 2,980 more in 10 s\n"; !strings.Contains(got, want) {
		t.Errorf("%q is missing in\n%s", want, got)
	}
	for _, bad := range []string{"hunter2", "[6.6.6.6"} {
		if strings.Contains(got, bad) {
			t.Errorf("%q is in the log", bad)
		}
	}
	if n := strings.Count(got, "\n"); n > limit+3 {
		t.Errorf("%d lines:\n%.2000s", n, got)
	}
}
