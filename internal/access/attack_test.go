package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// attackRules: alice has her own, mallory hers; nobody but the admin reads or writes what is secret.
const attackRules = `user admin
topic #
user alice
topic alice/#
topic read news
topic read end
user mallory
topic mallory/#
topic read news
topic read end
topic deny secret/#
pattern dev/%c/#
`

// peer is a client of our broker.
type peer struct {
	t        *testing.T
	c        *client.Client
	messages chan string
}

func join(t *testing.T, address, user, id string, change ...func(*client.Options)) *peer {
	t.Helper()
	p := &peer{t: t, messages: make(chan string, 1000)}
	o := client.Options{
		Version: mqtt.V5, ClientID: id, Username: user, NoReconnect: true,
		OnMessage: func(m *client.Message) { p.messages <- m.Topic + "=" + string(m.Payload) },
	}
	for _, fn := range change {
		fn(&o)
	}
	c, err := client.Connect(context20(t), "mqtt://"+address, o)
	if err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	p.c = c
	t.Cleanup(c.Close)
	return p
}

// publish returns the code; retain if the payload begins with "retain".
func (p *peer) publish(topic, payload string) mqtt.ReasonCode {
	p.t.Helper()
	_, err := p.c.Publish(context20(p.t), &client.Message{Topic: topic, Payload: []byte(payload), QoS: 1, Retain: strings.HasPrefix(payload, "retain")})
	var reason *client.ReasonError
	if errors.As(err, &reason) {
		return reason.Code
	}
	if err != nil {
		p.t.Fatalf("%s: %v", topic, err)
	}
	return mqtt.Success
}

func (p *peer) subscribe(filters ...string) {
	p.t.Helper()
	for _, f := range filters {
		if _, err := p.c.Subscribe(context20(p.t), client.Subscription{Filter: f, QoS: 1}); err != nil {
			p.t.Fatalf("%s: %v", f, err)
		}
	}
}

// got returns what has come before a message that the admin publishes now and everybody may read.
func (p *peer) got(admin *peer) []string {
	p.t.Helper()
	p.subscribe("end")
	admin.publish("end", "")
	var out []string
	for {
		select {
		case m := <-p.messages:
			if m == "end=" {
				return out
			}
			out = append(out, m)
		case <-time.After(testTime):
			p.t.Fatalf("the end does not come, but %v", out)
		}
	}
}

func TestAttacks(t *testing.T) {
	_, address := serve(t, start(t, Options{Rules: Rules{AllowAnonymous: true, ACLFile: write(t, "acl", attackRules)}}))
	admin := join(t, address, "admin", "admin")
	mallory := join(t, address, "mallory", "m1")

	// Publishing where she may not, by any name for it.
	for _, topic := range []string{"secret/a", "secret", "alice/a", "news", "dev/other/x", "/secret/a", "secret/a/", "mallory/../secret", "$x/a", "dev"} {
		if code := mallory.publish(topic, "x"); topic != "mallory/../secret" && code != mqtt.NotAuthorized {
			t.Errorf("publish %s: %v", topic, code)
		}
	}
	for _, topic := range []string{"mallory/a", "dev/m1/x"} {
		if code := mallory.publish(topic, "x"); code.IsError() {
			t.Errorf("publish %s: %v", topic, code)
		}
	}

	// Subscribing around what is denied: wildcards, shared groups, what begins with $.
	admin.publish("secret/kept", "retained")
	mallory.subscribe("#", "+/+", "secret/#", "+/a", "$share/g/secret/#", "$share/g/#", "$share/h/secret/a", "alice/#", "dev/#")
	for _, topic := range []string{"secret/a", "secret", "alice/a", "dev/other/x", "news"} {
		admin.publish(topic, "for those who may")
	}
	for _, m := range mallory.got(admin) {
		if !strings.HasPrefix(m, "news=") {
			t.Errorf("mallory reads %s", m)
		}
	}
	// A shared group with a member who may not read loses nothing of what the other may.
	other := join(t, address, "admin", "admin2")
	other.subscribe("$share/g/secret/#")
	for i := range 10 {
		admin.publish("secret/shared", fmt.Sprint(i))
	}
	if got := other.got(admin); len(got) != 10 {
		t.Errorf("of ten messages the member who may read has %d: %v", len(got), got)
	}
	if got := mallory.got(admin); slices.ContainsFunc(got, func(m string) bool { return strings.HasPrefix(m, "secret") }) {
		t.Errorf("mallory reads %v", got)
	}

	// Who takes another user's client id over inherits subscriptions, not rights.
	alice := join(t, address, "alice", "a1", func(o *client.Options) { o.KeepSession, o.SessionExpiry = true, 100 })
	alice.subscribe("alice/#", "news")
	thief := join(t, address, "mallory", "a1", func(o *client.Options) { o.KeepSession, o.SessionExpiry = true, 100 })
	admin.publish("alice/private", "x")
	admin.publish("news", "y")
	if got := thief.got(admin); !slices.Equal(got, []string{"news=y"}) {
		t.Errorf("with alice's client id mallory reads %v", got)
	}
	if code := thief.publish("alice/x", "x"); code != mqtt.NotAuthorized {
		t.Errorf("with alice's client id mallory publishes: %v", code)
	}
}

// A will is a publish: it is not sent where its client may not.
func TestWillOfMallory(t *testing.T) {
	_, address := serve(t, start(t, Options{Rules: Rules{AllowAnonymous: true, ACLFile: write(t, "acl", attackRules)}}))
	admin := join(t, address, "admin", "admin")
	admin.subscribe("secret/#", "mallory/#")
	for i, topic := range []string{"secret/will", "mallory/will"} {
		m := join(t, address, "mallory", fmt.Sprint("m", i), func(o *client.Options) {
			o.Will = &client.Will{Message: client.Message{Topic: topic, Payload: []byte("gone")}}
		})
		m.c.Close() // without DISCONNECT
	}
	select {
	case m := <-admin.messages:
		if m != "mallory/will=gone" {
			t.Errorf("the admin reads %s", m)
		}
	case <-time.After(testTime):
		t.Error("the will that is allowed does not come")
	}
	if got := admin.got(admin); len(got) != 0 {
		t.Errorf("the admin reads %v, too", got)
	}
}

// After a reload that takes a right away nothing comes any more, neither to a client that is there nor to one that is not,
// and what was queued is not sent; who has lost its user is found.
func TestRevokedByReload(t *testing.T) {
	rules := write(t, "acl", "user admin\ntopic #\nuser u\ntopic read a/#\ntopic read b/#\ntopic read end\n")
	o := Options{Rules: Rules{AllowAnonymous: true, ACLFile: rules}}
	a := start(t, o)
	b, address := serve(t, a)
	admin := join(t, address, "admin", "admin")
	here := join(t, address, "u", "here")
	away := func() *peer {
		return join(t, address, "u", "away", func(o *client.Options) { o.KeepSession, o.SessionExpiry = true, 100 })
	}
	gone := away()
	for _, p := range []*peer{here, gone} {
		p.subscribe("a/#", "b/#")
	}
	if err := gone.c.Disconnect(context20(t)); err != nil {
		t.Fatal(err)
	}
	admin.publish("a/1", "before")
	admin.publish("b/1", "before")
	rewrite(t, rules, "user admin\ntopic #\nuser u\ntopic read b/#\ntopic read end\n")
	o.AllowAnonymous = false
	change, err := a.Reload(o)
	if err != nil {
		t.Fatal(err)
	}
	admin.publish("a/2", "after")
	admin.publish("b/2", "after")
	if got := here.got(admin); !slices.Equal(got, []string{"a/1=before", "b/1=before", "b/2=after"}) {
		t.Errorf("who is there reads %v", got)
	}
	o.AllowAnonymous = true
	if _, err := a.Reload(o); err != nil {
		t.Fatal(err)
	}
	back := away()
	if got := back.got(admin); !slices.Equal(got, []string{"b/1=before", "b/2=after"}) {
		t.Errorf("who was away reads %v", got)
	}
	if n := b.Recheck(change.Revoked); n == 0 {
		t.Error("nobody is shut out by a broker that lets nobody in")
	}
}
