package access

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/internal/access/password"
	"github.com/nightjar-mqtt/nightjar/internal/access/throttle"
	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/test/mosquitto"
)

// serve runs our broker with these rules.
func serve(t *testing.T, a *Access) (b *broker.Broker, address string) {
	t.Helper()
	o := broker.DefaultOptions()
	o.Logger, o.Authenticator, o.Authorizer = quiet, a, a
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
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTime)
		defer cancel()
		if err := b.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; !errors.Is(err, broker.ErrShutdown) {
			t.Errorf("Serve: %v", err)
		}
	})
	return b, l.Addr().String()
}

func context20(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	t.Cleanup(cancel)
	return ctx
}

// connects tells whether a broker lets a client in.
func connects(t *testing.T, address string, l *broker.Login) bool {
	t.Helper()
	o := client.Options{Version: mqtt.V5, ClientID: l.ClientID, NoReconnect: true, Username: l.Username}
	if l.HasPassword {
		o.Password = l.Password
	}
	c, err := client.Connect(context20(t), "mqtt://"+address, o)
	var refused *client.ConnectError
	switch {
	case err == nil:
		if err := c.Disconnect(context20(t)); err != nil {
			t.Error(err)
		}
		return true
	case errors.As(err, &refused) && refused.Code == mqtt.NotAuthorized:
		return false
	}
	t.Fatalf("%+v: %v", l, err)
	return false
}

// Debian's mosquitto reads our password files, and both let in and refuse the same, with the same code.
func TestLoginsLikeMosquitto(t *testing.T) {
	file := users(t, "bob", "secret")
	for _, config := range [][2]bool{{true, false}, {false, false}, {true, true}, {false, true}} {
		o := Options{Rules: Rules{AllowAnonymous: config[0]}, Throttle: throttle.Options{Off: true}}
		lines := []string{fmt.Sprint("allow_anonymous ", config[0])}
		if config[1] {
			o.PasswordFile = file
			lines = append(lines, "password_file "+file)
		}
		theirs := mosquitto.Start(t, lines...).Addr
		_, ours := serve(t, start(t, o))
		for _, c := range loginCases {
			if c.anonymous != config[0] || c.file != config[1] || c.user == "eve" {
				continue
			}
			if got, reference := connects(t, ours, c.login()), connects(t, theirs, c.login()); got != c.want || reference != c.want {
				t.Errorf("%+v: we %v, mosquitto %v", c, got, reference)
			}
		}
	}
}

// We read what mosquitto_passwd writes, and mosquitto reads both kinds that we write and it knows.
func TestPasswordFilesBothWays(t *testing.T) {
	program := mosquitto.Command(t, "mosquitto_passwd")
	file := filepath.Join(t.TempDir(), "passwords")
	for _, args := range [][]string{{"-b", "-c", file, "pbkdf2", "sécret"}, {"-H", "sha512", "-b", file, "sha", "se cret"}} {
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_passwd: %v: %s", err, out)
		}
	}
	a := start(t, Options{Rules: Rules{PasswordFile: file}, Throttle: throttle.Options{Off: true}})
	text := ""
	for user, pass := range map[string]string{"pbkdf2": "sécret", "sha": "se cret"} {
		if v := login(t, a, as(user, pass)); v.Code != mqtt.Success {
			t.Errorf("%s: %+v", user, v)
		}
		if v := login(t, a, as(user, pass+" ")); v.Code != mqtt.NotAuthorized {
			t.Errorf("%s: %+v", user, v)
		}
		for kind, name := range map[password.Kind]string{password.PBKDF2: "p-", password.SHA512: "s-"} {
			h, err := password.Make(kind, 0, []byte(pass))
			if err != nil {
				t.Fatal(err)
			}
			text += name + user + ":" + h + "\n"
		}
	}
	ours := write(t, "ours", text)
	if err := os.Chmod(filepath.Dir(ours), 0o755); err != nil {
		t.Fatal(err)
	}
	theirs := mosquitto.Start(t, "allow_anonymous false", "password_file "+ours).Addr
	for _, user := range []string{"p-pbkdf2", "s-pbkdf2"} {
		if !connects(t, theirs, as(user, "sécret")) || connects(t, theirs, as(user, "secret")) {
			t.Errorf("mosquitto does not read the hash of %s", user)
		}
	}
}

// randomRules is an ACL file of Mosquitto's own syntax.
func randomRules(r *rand.Rand) string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	var b strings.Builder
	for range 40 {
		switch r.IntN(6) {
		case 0:
			b.WriteString("user " + pick("u", "v", "a", "a+", "c d") + "\n")
		default:
			var levels []string
			for range 1 + r.IntN(3) {
				levels = append(levels, pick("a", "b", "c", "u", "+", "%c", "%u", "x-%c", "$x"))
			}
			if r.IntN(3) == 0 {
				levels = append(levels, "#")
			}
			fmt.Fprintf(&b, "%s %s %s\n", pick("topic", "topic", "pattern"), pick("read", "write", "readwrite", "read", "write", "deny"), strings.Join(levels, "/"))
		}
	}
	return b.String() + "user admin\ntopic #\ntopic $x/#\n"
}

// Debian's mosquitto and we answer each PUBLISH with the same code and deliver the same messages, for random rules.
func TestRulesLikeMosquitto(t *testing.T) {
	var topics []string
	for _, first := range []string{"a", "b", "u", "c", "x-c", "$x"} {
		topics = append(topics, first)
		for _, second := range []string{"a", "c", "u", "a+", "x-c", ""} {
			if strings.Contains(second, "+") {
				continue
			}
			topics = append(topics, first+"/"+second, first+"/"+second+"/a", first+"/"+second+"/c/b")
		}
	}
	for seed := range uint64(4) {
		rules := randomRules(rand.New(rand.NewPCG(seed, 1)))
		file := write(t, "acl", rules)
		if err := os.Chmod(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		theirs := mosquitto.Start(t, "acl_file "+file).Addr
		_, ours := serve(t, start(t, Options{Rules: Rules{AllowAnonymous: true, ACLFile: file}}))
		for _, who := range [][2]string{{"", "c"}, {"u", "c"}, {"u", "a"}, {"v", "u"}, {"a+", "c"}, {"u", "a+"}, {"c d", "b"}, {"stranger", "c"}} {
			a, b := conversation(t, ours, who[0], who[1], topics), conversation(t, theirs, who[0], who[1], topics)
			for _, topic := range topics {
				if a[topic] != b[topic] {
					t.Errorf("seed %d, user %q, client %q, topic %q: we %v, mosquitto %v\n%s", seed, who[0], who[1], topic, a[topic], b[topic], rules)
				}
			}
		}
	}
}

// rights is what a client could do with a topic.
type rights struct{ publish, receive bool }

// conversation finds out what a client may do: it publishes to each topic, and somebody who may everything does.
func conversation(t *testing.T, address, user, id string, topics []string) map[string]rights {
	t.Helper()
	ctx := context20(t)
	var mu sync.Mutex
	got := map[string]rights{}
	c, err := client.Connect(ctx, "mqtt://"+address, client.Options{
		Version: mqtt.V5, ClientID: id, Username: user, NoReconnect: true,
		OnMessage: func(m *client.Message) {
			mu.Lock()
			defer mu.Unlock()
			r := got[m.Topic]
			r.receive = true
			got[m.Topic] = r
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, topic := range topics {
		_, err := c.Publish(ctx, &client.Message{Topic: topic, QoS: 1})
		var refused *client.ReasonError
		switch {
		case err == nil:
			got[topic] = rights{publish: true}
		case errors.As(err, &refused) && refused.Code == mqtt.NotAuthorized:
		default:
			t.Fatalf("%s: %v", topic, err)
		}
	}
	if granted, err := c.Subscribe(ctx, client.Subscription{Filter: "#"}, client.Subscription{Filter: "$x/#"}, client.Subscription{Filter: "$x"}); err != nil || granted.Codes[0] != mqtt.Success {
		t.Fatalf("SUBSCRIBE: %v, %v", granted, err)
	}
	admin, err := client.Connect(ctx, "mqtt://"+address, client.Options{Version: mqtt.V5, ClientID: "admin", Username: "admin", NoReconnect: true})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	for _, topic := range topics {
		if _, err := admin.Publish(ctx, &client.Message{Topic: topic, QoS: 1, Payload: []byte("x")}); err != nil {
			var reason *client.ReasonError
			if !errors.As(err, &reason) || reason.Code != mqtt.NoMatchingSubscribers {
				t.Fatalf("admin, %s: %v", topic, err)
			}
		}
	}
	// All of it stands before this answer.
	if _, err := c.Subscribe(ctx, client.Subscription{Filter: "end"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Disconnect(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Done():
	case <-time.After(testTime):
		t.Fatal("the client does not end")
	}
	mu.Lock()
	defer mu.Unlock()
	return got
}
