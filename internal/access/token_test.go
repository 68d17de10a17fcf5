package access

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/nightjar-mqtt/nightjar/broker"
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
	if v := login(t, a, l); v.Code != mqtt.Success || v.Username != "dev" {
		t.Fatalf("%+v", v)
	}
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

	who := &broker.Identity{ClientID: "c1", Username: "dev"}
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
	a := start(t, Options{Rules: Rules{NameIsClientID: true, JWT: &jwt.Options{KeyFile: keyFile(t), PublishClaim: "pub", ClientIDClaim: "cid"}}})
	for cid, want := range map[string]mqtt.ReasonCode{"dev": mqtt.Success, "chosen": mqtt.NotAuthorized} {
		l := &broker.Login{ClientID: "chosen", HasPassword: true, Password: []byte(token(t, gojwt.MapClaims{"sub": "dev", "cid": cid, "pub": "%c"}))}
		if v := login(t, a, l); v.Code != want {
			t.Errorf("%s: %+v", cid, v)
		}
	}
	who := &broker.Identity{ClientID: "dev", Username: "dev"}
	if !a.MayPublish(who, "dev", 0, false).Allowed || a.MayPublish(who, "chosen", 0, false).Allowed {
		t.Error("its list is not found")
	}
}

// A name in a token must not open what belongs to others.
func TestTokenNames(t *testing.T) {
	a := start(t, Options{Rules: Rules{JWT: &jwt.Options{KeyFile: keyFile(t), PublishClaim: "pub", SubscribeClaim: "subs"}}})
	for _, name := range []string{"#", "+", "a/b", "x/#", "%c"} {
		l := &broker.Login{ClientID: "victim", HasPassword: true, Password: []byte(token(t, gojwt.MapClaims{"sub": name, "pub": []string{"dev/%u/#"}, "subs": []string{"dev/%u/#"}}))}
		if v := login(t, a, l); v.Code != mqtt.Success {
			t.Fatalf("%s: %+v", name, v)
		}
		who := &broker.Identity{ClientID: "victim", Username: name}
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

// When its token runs out a client may do nothing any more, and whoever can end its connection is told.
func TestTokenExpires(t *testing.T) {
	expired := make(chan broker.Identity, 2)
	exp := time.Now().Add(time.Hour)
	o := Options{
		Rules:   Rules{JWT: &jwt.Options{KeyFile: keyFile(t)}},
		Now:     func() time.Time { return exp.Truncate(time.Second).Add(-20 * time.Millisecond) },
		Expired: func(who broker.Identity) { expired <- who },
	}
	a := start(t, o)
	l := &broker.Login{ClientID: "c", HasPassword: true, Password: []byte(token(t, gojwt.MapClaims{"sub": "dev", "exp": exp.Unix()}))}
	if v := login(t, a, l); v.Code != mqtt.Success {
		t.Fatalf("%+v", v)
	}
	who := &broker.Identity{ClientID: "c", Username: "dev"}
	generation := a.Generation()
	select {
	case got := <-expired:
		if got != *who {
			t.Errorf("%+v has expired", got)
		}
	case <-time.After(testTime):
		t.Fatal("nobody is told")
	}
	if a.MayPublish(who, "t", 0, false).Rule != tokenExpired || a.MayReceive(who, "t").Rule != tokenExpired || a.MaySubscribe(who, "t").Rule != tokenExpired {
		t.Error("it goes on")
	}
	for deadline := time.Now().Add(testTime); a.Generation() == generation; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("what is remembered of its rights stays")
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
	if v := login(t, a, as("dev", "good")); v.Code != mqtt.Success || v.Username != "hook-dev" {
		t.Errorf("%+v", v)
	}
	if v := login(t, a, as("dev", "good")); v.Code != mqtt.Success || v.Username != "hook-dev" || asked.Load() != 1 {
		t.Errorf("again: %+v, asked %d times", v, asked.Load())
	}
	who := &broker.Identity{ClientID: "c-dev", Username: "hook-dev"}
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

// Who comes and goes under ever new names takes no memory for ever; and who is forgotten while it is there gains nothing.
func TestGrantsAreBounded(t *testing.T) {
	now := time.Now()
	a := start(t, Options{Rules: Rules{AllowAnonymous: true, JWT: &jwt.Options{KeyFile: keyFile(t), PublishClaim: "pub"}}, Now: func() time.Time { return now }})
	l := &broker.Login{ClientID: "live", HasPassword: true, Password: []byte(token(t, gojwt.MapClaims{"sub": "dev", "pub": "out"}))}
	if v := login(t, a, l); v.Code != mqtt.Success {
		t.Fatalf("%+v", v)
	}
	live := &broker.Identity{ClientID: "live", Username: "dev"}
	come := func(n int) {
		for i := range n {
			login(t, a, &broker.Login{ClientID: fmt.Sprint("random", i)})
		}
	}
	come(1000)
	connected := func(who *broker.Identity) bool { return *who == *live }
	if n := a.Prune(connected); n != 0 {
		t.Errorf("%d are forgotten that have just logged in", n)
	}
	now = now.Add(2 * time.Minute)
	if n := a.Prune(connected); n != 1000 || len(a.grants.entries) != 1 {
		t.Errorf("%d are forgotten, %d are left", n, len(a.grants.entries))
	}
	stored := &broker.Identity{ClientID: "before the restart", Username: "dev2"}
	if !a.MayPublish(live, "out", 0, false).Allowed || a.MayPublish(live, "other", 0, false).Allowed || !a.MayPublish(stored, "x", 0, false).Allowed {
		t.Error("the rights are others")
	}
	a.grants.limit = 10
	come(100)
	if len(a.grants.entries) != 10 || a.grants.order.Len() != 10 {
		t.Errorf("%d grants", len(a.grants.entries))
	}
	for _, topic := range []string{"out2", "other"} {
		if d := a.MayPublish(live, topic, 0, false); d.Allowed {
			t.Errorf("who is forgotten may publish to %s: %+v", topic, d)
		}
	}
}
