package access

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/internal/access/httphook"
	"github.com/nightjar-mqtt/nightjar/internal/access/jwt"
	"github.com/nightjar-mqtt/nightjar/internal/access/throttle"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

var public, private, _ = ed25519.GenerateKey(rand.Reader)

func keyFile(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
}

func token(t *testing.T, claims gojwt.MapClaims) string {
	t.Helper()
	if claims["exp"] == nil {
		claims["exp"] = time.Now().Add(time.Hour).Unix()
	}
	s, err := gojwt.NewWithClaims(gojwt.SigningMethodEdDSA, claims).SignedString(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTokens(t *testing.T) {
	a := start(t, Options{Rules: Rules{
		PasswordFile: users(t, "bob", "secret", "mallory", "eyJx.y.z"), ACLFile: write(t, "acl", "user dev\ntopic other/#\ntopic deny dev/dev/secret\npattern deny no/%c\n"),
		JWT: &jwt.Options{KeyFile: keyFile(t), ClientIDClaim: "cid", PublishClaim: "pub", SubscribeClaim: "sub2"},
	}, Throttle: throttle.Options{Off: true}})
	good := token(t, gojwt.MapClaims{"sub": "dev", "cid": "c1", "pub": []string{"dev/%u/#", "no/#"}, "sub2": []string{"dev/%u/+/in", "cmd/%c"}})
	l := &broker.Login{ClientID: "c1", HasPassword: true, Password: []byte(good)}
	v := login(t, a, l)
	if v.Code != mqtt.Success || v.Username != "dev" || v.Expires <= time.Now().UnixMilli() {
		t.Fatalf("%+v", v)
	}
	who := identity(l, v)
	other := *l
	other.ClientID = "c2"
	if v := login(t, a, &other); v.Code != mqtt.NotAuthorized {
		t.Errorf("with another client id: %+v", v)
	}
	forged := *l
	forged.Password = []byte(good[:len(good)-6] + "AAAAAA")
	if v := login(t, a, &forged); v.Code != mqtt.NotAuthorized {
		t.Errorf("forged: %+v", v)
	}
	if v := login(t, a, as("bob", "secret")); v.Code != mqtt.Success {
		t.Errorf("a password beside tokens: %+v", v)
	}
	if v := login(t, a, as("mallory", "eyJx.y.z")); v.Code == mqtt.Success {
		t.Error("what looks like a token is decided by the password file")
	}

	for topic, want := range map[string]string{
		"dev/dev/x": "", "dev/dev": "", "dev/other/x": notInPublish, "other/x": notInPublish, "dev/dev/secret": ":3: topic deny", "no/c1": ":4: pattern deny", "no/c2": "",
	} {
		if d := a.MayPublish(who, topic, 1, false); d.Allowed != (want == "") || !strings.Contains(d.Rule, want) {
			t.Errorf("publish %s: %+v", topic, d)
		}
	}
	for topic, want := range map[string]string{"dev/dev/1/in": "", "cmd/c1": "", "cmd/c2": notInSubscribe, "other/x": notInSubscribe, "dev/dev/secret": ":3: topic deny"} {
		if d := a.MayReceive(who, topic); d.Allowed != (want == "") || !strings.Contains(d.Rule, want) {
			t.Errorf("receive %s: %+v", topic, d)
		}
	}
	for filter, want := range map[string]bool{
		"dev/dev/1/in": true, "dev/dev/+/in": true, "cmd/c1": true, "dev/dev/#": false, "dev/+/1/in": false, "#": false, "+": false, "cmd/+": false, "$SYS/#": false, "dev/%u/1/in": false,
	} {
		if d := a.MaySubscribe(who, filter); d.Allowed != want {
			t.Errorf("subscribe %s: %+v", filter, d)
		}
	}
	if d := a.MaySubscribe(&broker.Identity{ClientID: "c-bob", Username: "bob"}, "#"); !d.Allowed {
		t.Errorf("who has no list: %+v", d)
	}
}

// Where the user name becomes the client id, that is the id its rights hang on.
func TestNameIsClientID(t *testing.T) {
	var let broker.Verdict
	a := start(t, Options{Rules: Rules{NameIsClientID: true, JWT: &jwt.Options{KeyFile: keyFile(t), PublishClaim: "pub", ClientIDClaim: "cid"}}})
	for cid, want := range map[string]mqtt.ReasonCode{"dev": mqtt.Success, "chosen": mqtt.NotAuthorized} {
		l := &broker.Login{ClientID: "chosen", HasPassword: true, Password: []byte(token(t, gojwt.MapClaims{"sub": "dev", "cid": cid, "pub": "%c"}))}
		v := login(t, a, l)
		if v.Code != want {
			t.Errorf("%s: %+v", cid, v)
		}
		if v.Code == mqtt.Success {
			let = v
		}
	}
	who := &broker.Identity{ClientID: "dev", Username: "dev", Grant: let.Grant}
	if !a.MayPublish(who, "dev", 0, false).Allowed || a.MayPublish(who, "chosen", 0, false).Allowed {
		t.Error("its list is not found")
	}
}

// A name in a token must not open what belongs to others.
func TestTokenNames(t *testing.T) {
	a := start(t, Options{Rules: Rules{JWT: &jwt.Options{KeyFile: keyFile(t), PublishClaim: "pub", SubscribeClaim: "subs"}}})
	for _, name := range []string{"#", "+", "a/b", "x/#", "%c"} {
		l := &broker.Login{ClientID: "victim", HasPassword: true, Password: []byte(token(t, gojwt.MapClaims{"sub": name, "pub": []string{"dev/%u/#"}, "subs": []string{"dev/%u/#"}}))}
		v := login(t, a, l)
		if v.Code != mqtt.Success {
			t.Fatalf("%s: %+v", name, v)
		}
		who := identity(l, v)
		for _, topic := range []string{"dev/victim/x", "dev/a/x", "dev/a/b/x", "dev/x"} {
			if a.MayPublish(who, topic, 0, false).Allowed || a.MayReceive(who, topic).Allowed || a.MaySubscribe(who, topic).Allowed {
				t.Errorf("user %s has %s", name, topic)
			}
		}
		if a.MaySubscribe(who, "dev/#").Allowed || a.MaySubscribe(who, "dev/+/#").Allowed {
			t.Errorf("user %s subscribes to everybody's", name)
		}
	}
}

// The client of a token is disconnected when the token ends; its session goes on under a new one.
func TestTokenExpires(t *testing.T) {
	a := start(t, Options{Rules: Rules{JWT: &jwt.Options{KeyFile: keyFile(t), Leeway: time.Second}}})
	b, address := serve(t, a)
	exp := time.Now().Add(time.Second).Truncate(time.Second)
	ended := make(chan error, 1)
	c := join(t, address, "", "c", func(o *client.Options) {
		o.Password = []byte(token(t, gojwt.MapClaims{"sub": "dev", "exp": exp.Unix()}))
		o.OnDisconnect = func(err error) { ended <- err }
	})
	select {
	case err := <-ended:
		var told *client.DisconnectError
		if !errors.As(err, &told) || told.Code != mqtt.NotAuthorized {
			t.Errorf("it ends with %v", err)
		}
		if now := time.Now(); now.Before(exp) {
			t.Errorf("it ends %v too early", exp.Sub(now))
		}
	case <-time.After(testTime):
		t.Fatalf("it goes on: %v, %d clients", c.c, b.Stats().Clients)
	}
}

// A client without an id gets the one that its token names, if it can be one.
func TestTokenGivesClientID(t *testing.T) {
	a := start(t, Options{Rules: Rules{JWT: &jwt.Options{KeyFile: keyFile(t), ClientIDClaim: "cid"}}})
	for cid, want := range map[string]mqtt.ReasonCode{"device 7": mqtt.Success, "a\x00b": mqtt.NotAuthorized, strings.Repeat("x", 65536): mqtt.NotAuthorized} {
		l := &broker.Login{ClientID: "auto-1", Assigned: true, HasPassword: true, Password: []byte(token(t, gojwt.MapClaims{"sub": "dev", "cid": cid}))}
		if v := login(t, a, l); v.Code != want || v.Code == mqtt.Success && v.ClientID != cid {
			t.Errorf("%.20q: %+v", cid, v)
		}
	}
}

// What of a login decides is the same after the client has come back, or it is not: the broker's caches depend on it.
func TestGrantsEqual(t *testing.T) {
	text := "user dev\ntopic #\n"
	plain := Options{Rules: Rules{AllowAnonymous: true, ACLFile: write(t, "acl", text)}}
	addresses := Options{Rules: Rules{AllowAnonymous: true, ACLFile: write(t, "acl", text+"if from=10.0.0.0/8 topic x\n")}}
	tokens := Options{Rules: Rules{JWT: &jwt.Options{KeyFile: keyFile(t), PublishClaim: "pub"}}}
	dev := func(from string, pub ...string) *broker.Login {
		return &broker.Login{ClientID: "c", RemoteAddr: from + ":1", HasPassword: true, Password: []byte(token(t, gojwt.MapClaims{"sub": "dev", "pub": pub}))}
	}
	for name, c := range map[string]struct {
		o             Options
		before, after *broker.Login // before nil: it came from the store
		want          bool
	}{
		"names only":          {plain, dev("10.0.0.1"), dev("10.0.0.2"), true},
		"names only, stored":  {plain, nil, dev("10.0.0.2"), true},
		"another address":     {addresses, dev("10.0.0.1"), dev("10.0.0.2"), false},
		"the same address":    {addresses, dev("10.0.0.1"), dev("10.0.0.1"), true},
		"stored, addresses":   {addresses, nil, dev("10.0.0.1"), false},
		"the same list":       {tokens, dev("10.0.0.1", "a"), dev("10.0.0.2", "a"), true},
		"another list":        {tokens, dev("10.0.0.1", "a"), dev("10.0.0.1", "b"), false},
		"stored, with a list": {tokens, nil, dev("10.0.0.1", "b"), false},
	} {
		a := start(t, c.o)
		var was any
		if c.before != nil {
			was = login(t, a, c.before).Grant
		}
		now, ok := login(t, a, c.after).Grant.(interface{ Equal(any) bool })
		if !ok || now.Equal(was) != c.want {
			t.Errorf("%s: %v, %v", name, ok, !c.want)
		}
	}
}

// Who comes from the store is known by its names alone. Its messages wait for it, unless the file denies them; what it has
// retained is sent only if the file lets it publish that.
func TestFromTheStore(t *testing.T) {
	a := start(t, Options{Rules: Rules{
		ACLFile: write(t, "acl", "user dev\ntopic in/acl\ntopic deny never\n"),
		JWT:     &jwt.Options{KeyFile: keyFile(t), PublishClaim: "pub", SubscribeClaim: "subs"},
	}})
	stored := &broker.Identity{ClientID: "c", Username: "dev"}
	for topic, want := range map[string][2]bool{"in/acl": {true, true}, "in/token": {true, false}, "never": {false, false}} {
		if got := [2]bool{a.MayReceive(stored, topic).Allowed, a.MayPublish(stored, topic, 0, true).Allowed}; got != want {
			t.Errorf("%s: receives, has published: %v", topic, got)
		}
	}
	// The same client there: the list decides.
	l := &broker.Login{ClientID: "c", HasPassword: true, Password: []byte(token(t, gojwt.MapClaims{"sub": "dev", "pub": "in/token", "subs": "in/token"}))}
	who := identity(l, login(t, a, l))
	for topic, want := range map[string]bool{"in/acl": false, "in/token": true, "never": false} {
		if a.MayReceive(who, topic).Allowed != want || a.MayPublish(who, topic, 0, true).Allowed != want {
			t.Errorf("%s: not %v", topic, want)
		}
	}
}

// A listener that nobody has given rules says so, and lets nobody in.
func TestListenerWithoutRules(t *testing.T) {
	a := start(t, Options{Listeners: map[string]Rules{"one": {AllowAnonymous: true}}})
	l := nobody()
	for listener, want := range map[string]mqtt.ReasonCode{"one": mqtt.Success, "two": mqtt.ServerUnavailable} {
		l.Listener = listener
		if v := login(t, a, l); v.Code != want {
			t.Errorf("%s: %+v", listener, v)
		}
	}
}

// A client whose listener is no longer in the configuration may do what all listeners let it do, not everything.
func TestListenerGone(t *testing.T) {
	rules := func(text string) Rules { return Rules{AllowAnonymous: true, ACLFile: write(t, "acl", text)} }
	one, two, three := rules("topic a\ntopic b\n"), rules("topic a\ntopic c\n"), rules("topic #\n")
	a := start(t, Options{Listeners: map[string]Rules{"one": one, "two": two, "three": three}})
	l := nobody()
	l.Listener = "three"
	who := identity(l, login(t, a, l))
	if !a.MayPublish(who, "x", 0, false).Allowed {
		t.Error("it may not publish")
	}
	if _, err := a.Reload(Options{Listeners: map[string]Rules{"one": one, "two": two}}); err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]bool{"a": true, "b": false, "c": false, "x": false} {
		if a.MayPublish(who, topic, 0, false).Allowed != want || a.MayReceive(who, topic).Allowed != want {
			t.Errorf("%s: not %v", topic, want)
		}
	}
}

// hookServer lets in who has the password "good", with a list of its own.
func hookServer(t *testing.T, asked *atomic.Int32) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var q httphook.Request
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		switch q.Password {
		case "good":
			fmt.Fprintf(w, `{"result":"allow","username":"hook-%s","publish":["out/%%u"]}`, q.Username)
		case "bad":
			fmt.Fprint(w, `{"result":"deny","reason":"no such device"}`)
		default:
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestHook(t *testing.T) {
	var asked atomic.Int32
	a := start(t, Options{Rules: Rules{
		PasswordFile: users(t, "bob", "secret"), HTTP: &httphook.Options{URL: hookServer(t, &asked), CacheTime: time.Hour},
	}, Throttle: throttle.Options{Free: 1, First: time.Hour}})
	if v := login(t, a, as("bob", "secret")); v.Code != mqtt.Success || asked.Load() != 0 {
		t.Errorf("who is in the password file: %+v, asked %d times", v, asked.Load())
	}
	let := login(t, a, as("dev", "good"))
	if let.Code != mqtt.Success || let.Username != "hook-dev" {
		t.Errorf("%+v", let)
	}
	if v := login(t, a, as("dev", "good")); v.Code != mqtt.Success || v.Username != "hook-dev" || asked.Load() != 1 {
		t.Errorf("again: %+v, asked %d times", v, asked.Load())
	}
	who := identity(as("dev", "good"), let)
	if !a.MayPublish(who, "out/hook-dev", 0, false).Allowed || a.MayPublish(who, "out/dev", 0, false).Allowed || !a.MayReceive(who, "any").Allowed {
		t.Error("its list is not what decides")
	}
	for range 5 { // a hook that fails says nothing about the client: it is not punished
		if v := login(t, a, as("x", "unknown")); v.Code != mqtt.ServerUnavailable {
			t.Errorf("%+v", v)
		}
	}
	for range 2 {
		if v := login(t, a, as("y", "bad")); v.Code != mqtt.NotAuthorized {
			t.Errorf("%+v", v)
		}
	}
	if v := login(t, a, as("y", "bad")); v.Code != mqtt.ConnectionRateExceeded {
		t.Errorf("guessing through the hook is not slowed down: %+v", v)
	}
}

// A hook that hangs holds up nobody but those who need it, and of those no more than may wait.
func TestHookStorm(t *testing.T) {
	release := make(chan struct{})
	busy := make(chan struct{}, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		busy <- struct{}{}
		<-release
		fmt.Fprint(w, `{"result":"allow"}`)
	}))
	t.Cleanup(s.Close)
	a := start(t, Options{Rules: Rules{PasswordFile: users(t, "bob", "secret"), HTTP: &httphook.Options{URL: s.URL, Concurrent: 2, Waiting: 3}}})
	answers := make(chan broker.Verdict, 100)
	for i := range 50 {
		a.Authenticate(as(fmt.Sprint("dev", i), "x"), func(v broker.Verdict) { answers <- v })
	}
	for range 2 {
		<-busy
	}
	if v := login(t, a, as("bob", "secret")); v.Code != mqtt.Success {
		t.Errorf("bob waits for the hook: %+v", v)
	}
	refused := len(answers)
	close(release)
	var in int
	for range 50 {
		switch v := <-answers; v.Code {
		case mqtt.Success:
			in++
		case mqtt.ServerBusy:
		default:
			t.Errorf("%+v", v)
		}
	}
	if refused < 45 || in != 50-refused || len(busy) > 3 {
		t.Errorf("%d refused at once, %d let in", refused, in)
	}
}

// A set of keys that cannot be had refuses tokens and nobody else.
func TestKeysUnavailable(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	a := start(t, Options{Rules: Rules{PasswordFile: users(t, "bob", "secret"), JWT: &jwt.Options{JWKS: s.URL}}, Throttle: throttle.Options{Free: 1, First: time.Hour}})
	for range 4 {
		if v := login(t, a, &broker.Login{ClientID: "c", HasPassword: true, Password: []byte(token(t, gojwt.MapClaims{"sub": "dev"}))}); v.Code != mqtt.ServerUnavailable {
			t.Errorf("%+v", v)
		}
	}
	if v := login(t, a, as("bob", "secret")); v.Code != mqtt.Success {
		t.Errorf("%+v", v)
	}
	required := start(t, Options{Rules: Rules{AllowAnonymous: true, JWT: &jwt.Options{KeyFile: keyFile(t), Required: true}}})
	for _, l := range []*broker.Login{nobody(), as("bob", "secret")} {
		if v := login(t, required, l); v.Code != mqtt.NotAuthorized {
			t.Errorf("without the token that everybody needs: %+v", v)
		}
	}
	if v := login(t, required, &broker.Login{ClientID: "c", HasPassword: true, Password: []byte(token(t, gojwt.MapClaims{"sub": "dev"}))}); v.Code != mqtt.Success {
		t.Errorf("with it: %+v", v)
	}
}
