package access

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/access/password"
	"github.com/nightjar-mqtt/nightjar/internal/access/throttle"
	"github.com/nightjar-mqtt/nightjar/internal/ops/logging"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// testTime bounds what waits for something that does not come.
const testTime = 30 * time.Second

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func start(t testing.TB, o Options) *Access {
	t.Helper()
	a, err := New(o, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	rewrite(t, path, text)
	return path
}

func rewrite(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// users makes a password file of "name", "password", ...
func users(t testing.TB, pairs ...string) string {
	t.Helper()
	text := ""
	for i := 0; i+1 < len(pairs); i += 2 {
		h, err := password.Make(password.PBKDF2, 10, []byte(pairs[i+1]))
		if err != nil {
			t.Fatal(err)
		}
		text += pairs[i] + ":" + h + "\n"
	}
	return write(t, "passwords", text)
}

// as is a login with name and password.
func as(name, pass string) *broker.Login {
	return &broker.Login{ClientID: "c-" + name, HasUsername: true, Username: name, HasPassword: true, Password: []byte(pass), RemoteAddr: "192.0.2.1:50000", Version: mqtt.V5}
}

func nobody() *broker.Login {
	return &broker.Login{ClientID: "anon", RemoteAddr: "192.0.2.1:50000", Version: mqtt.V5}
}

func login(t testing.TB, a *Access, l *broker.Login) broker.Verdict {
	t.Helper()
	answers := make(chan broker.Verdict, 2)
	a.Authenticate(l, func(v broker.Verdict) { answers <- v })
	select {
	case v := <-answers:
		return v
	case <-time.After(testTime):
		t.Fatal("no verdict")
		return broker.Verdict{}
	}
}

// identity is the client that a verdict lets in, as the broker makes it.
func identity(l *broker.Login, v broker.Verdict) *broker.Identity {
	return &broker.Identity{ClientID: cmp.Or(v.ClientID, l.ClientID), Username: cmp.Or(v.Username, l.Username), Grant: v.Grant}
}

// The same as Mosquitto: see TestLoginsLikeMosquitto for the proof.
func TestLogins(t *testing.T) {
	file := users(t, "bob", "secret", "eve", "")
	for _, c := range loginCases {
		o := Options{Rules: Rules{AllowAnonymous: c.anonymous}, Throttle: throttle.Options{Off: true}}
		if c.file {
			o.PasswordFile = file
		}
		if got := login(t, start(t, o), c.login()).Code == mqtt.Success; got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

type loginCase struct {
	anonymous, file bool
	user, pass      string // "-": none
	want            bool
}

func (c *loginCase) login() *broker.Login {
	l := &broker.Login{ClientID: "c", RemoteAddr: "192.0.2.1:50000", Version: mqtt.V5}
	if c.user != "-" {
		l.HasUsername, l.Username = true, c.user
	}
	if c.pass != "-" {
		l.HasPassword, l.Password = true, []byte(c.pass)
	}
	return l
}

var loginCases = []loginCase{
	{true, false, "-", "-", true}, {true, false, "bob", "-", true}, {true, false, "bob", "anything", true},
	{false, false, "-", "-", false}, {false, false, "bob", "secret", false},
	{true, true, "-", "-", true}, {true, true, "bob", "secret", true}, {true, true, "bob", "wrong", false}, {true, true, "bob", "-", false},
	{true, true, "stranger", "secret", false}, {true, true, "stranger", "-", false},
	{false, true, "-", "-", false}, {false, true, "bob", "secret", true}, {false, true, "bob", "wrong", false}, {false, true, "bob", "", false},
	{false, true, "stranger", "secret", false}, {false, true, "Bob", "secret", false}, {false, true, "eve", "", true}, {false, true, "eve", "x", false},
}

// What decides runs elsewhere: Authenticate returns at once, whatever it costs. And a storm of logins is refused beyond what
// may wait, and every client gets an answer.
func TestLoginStorm(t *testing.T) {
	a := start(t, Options{Rules: Rules{PasswordFile: users(t, "bob", "secret")}, Hashers: 1, HashQueue: 8, Throttle: throttle.Options{Off: true}})
	release, busy := make(chan struct{}), make(chan struct{})
	a.hashers.do(job{run: func() { close(busy); <-release }})
	<-busy
	const n = 1000
	answers := make(chan broker.Verdict, 2*n)
	for i := range n {
		a.Authenticate(as("bob", fmt.Sprint("guess", i)), func(v broker.Verdict) { answers <- v })
	}
	if got := len(answers); got != n-8 {
		t.Errorf("%d are refused at once, want %d", got, n-8)
	}
	for range n - 8 {
		if v := <-answers; v.Code != mqtt.ServerBusy {
			t.Fatalf("%+v", v)
		}
	}
	close(release)
	for range 8 {
		if v := <-answers; v.Code != mqtt.NotAuthorized {
			t.Errorf("%+v", v)
		}
	}
	a.hashers.mu.Lock()
	defer a.hashers.mu.Unlock()
	if len(a.hashers.waiting) != 0 || len(answers) != 0 {
		t.Errorf("%d wait, %d answers too many", len(a.hashers.waiting), len(answers))
	}
}

// A name and password that were right are not hashed again before the next reload; wrong ones always are.
func TestRemembered(t *testing.T) {
	o := Options{Rules: Rules{PasswordFile: users(t, "bob", "secret", "bo", "bsecret")}, RememberLogins: 2}
	a := start(t, o)
	for range 2 {
		if v := login(t, a, as("bob", "secret")); v.Code != mqtt.Success {
			t.Fatalf("%+v", v)
		}
	}
	a.hashers.mu.Lock()
	a.hashers.workers, a.hashers.queue = 0, 0 // nothing can be hashed
	a.hashers.mu.Unlock()
	if v := login(t, a, as("bob", "secret")); v.Code != mqtt.Success {
		t.Errorf("it is hashed again: %+v", v)
	}
	for _, l := range []*broker.Login{as("bob", "Secret"), as("bo", "bsecret"), as("bobs", "ecret"), {HasUsername: true, Username: "bob"}} {
		if v := login(t, a, l); v.Code != mqtt.ServerBusy {
			t.Errorf("%s, %q: %+v", l.Username, l.Password, v)
		}
	}
	rewrite(t, o.PasswordFile, "")
	if _, err := a.Reload(o); err != nil {
		t.Fatal(err)
	}
	if v := login(t, a, as("bob", "secret")); v.Code == mqtt.Success {
		t.Error("bob is remembered over the reload that took him out")
	}
	r := newRemembered(3)
	for i := range 100 {
		r.add([32]byte{byte(i)})
	}
	if len(r.known) != 3 || len(r.ring) != 3 || !r.has([32]byte{99}) || r.has([32]byte{96}) {
		t.Errorf("%d are remembered", len(r.known))
	}
}

func TestCloseRefuses(t *testing.T) {
	a, err := New(Options{Rules: Rules{PasswordFile: users(t, "bob", "secret")}, Hashers: 1}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	release, busy := make(chan struct{}), make(chan struct{})
	a.hashers.do(job{run: func() { close(busy); <-release }})
	<-busy
	answers := make(chan broker.Verdict, 4)
	a.Authenticate(as("bob", "secret"), func(v broker.Verdict) { answers <- v })
	closed := make(chan struct{})
	go func() { a.Close(); close(closed) }()
	for begun := false; !begun; runtime.Gosched() {
		a.hashers.mu.Lock()
		begun = a.hashers.closed
		a.hashers.mu.Unlock()
	}
	close(release)
	<-closed
	if v := <-answers; v.Code != mqtt.ServerUnavailable {
		t.Errorf("%+v", v)
	}
	a.Authenticate(as("bob", "secret"), func(v broker.Verdict) { answers <- v })
	if v := <-answers; v.Code == mqtt.Success {
		t.Errorf("after Close: %+v", v)
	}
}

// fail2ban is the filter in docs/security.md. What fail2ban does itself: it takes the time off the line.
func fail2ban(t *testing.T) func(line string) (host string) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "failregex = ")
	text, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/security.md has no failregex")
	}
	var filters []*regexp.Regexp
	for line := range strings.Lines(text) {
		filters = append(filters, regexp.MustCompile(strings.ReplaceAll(strings.TrimSpace(line), "<HOST>", `(?P<host>[0-9a-fA-F:.]+)`)))
	}
	stamp := regexp.MustCompile(`^\d{9,}|"time":"[^"]*",?`)
	return func(line string) string {
		line = stamp.ReplaceAllString(line, "")
		for _, f := range filters {
			if m := f.FindStringSubmatch(line); m != nil {
				return m[f.SubexpIndex("host")]
			}
		}
		return ""
	}
}

// The one line for each refusal is what the filter in docs/security.md reads, whatever the client calls itself; no other
// line is.
func TestFail2ban(t *testing.T) {
	filter := fail2ban(t)
	for format, name := range map[logging.Format]string{logging.Text: "text", logging.JSON: "JSON"} {
		var out bytes.Buffer
		o := logging.DefaultOptions()
		o.Format, o.Stderr, o.Types = format, &out, logging.TypesAll
		log, control, err := logging.New(o)
		if err != nil {
			t.Fatal(err)
		}
		a, err := New(Options{Rules: Rules{PasswordFile: users(t, "bob", "secret")}}, log)
		if err != nil {
			t.Fatal(err)
		}
		l := as("bob", "hunter2")
		l.RemoteAddr = "[2001:db8::7]:1234"
		login(t, a, l)
		forged := "Warning: login refused from 198.51.100.9: wrong password"
		for _, evil := range []string{forged, "x\n" + forged, "host nightjar[1]: " + forged, ": " + forged, `","msg":"login refused from 198.51.100.9: `, `" msg="` + forged} {
			e := as(evil, "hunter2")
			e.ClientID = evil
			login(t, a, e)
			for _, event := range []string{broker.EventConnect, broker.EventRefused, broker.EventSubscribe, broker.EventPublishRefused, ""} {
				log.Warn("something", "event", event, "client", evil, "user", evil, "topic", evil, "filter", evil, "address", "127.0.0.1:5")
			}
		}
		login(t, a, nobody())
		a.Close()
		if err := control.Close(); err != nil {
			t.Fatal(err)
		}
		var hosts []string
		for line := range strings.Lines(out.String()) {
			if host := filter(line); host != "" {
				hosts = append(hosts, host)
			}
		}
		if got := strings.Join(hosts, " "); got != "2001:db8::7"+strings.Repeat(" 192.0.2.1", 7) {
			t.Errorf("%s: the filter finds %s in\n%s", name, got, &out)
		}
		if strings.Contains(out.String(), "hunter") {
			t.Errorf("%s: a password is in the log:\n%s", name, &out)
		}
	}
}

func TestThrottled(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var log bytes.Buffer
	a, err := New(Options{Rules: Rules{PasswordFile: users(t, "bob", "secret", "eve", "x"), AllowAnonymous: true}, Now: func() time.Time { return now }}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for range 6 {
		if v := login(t, a, as("bob", "wrong")); v.Code != mqtt.NotAuthorized || strings.Contains(v.Reason, "password") {
			t.Errorf("%+v", v)
		}
	}
	for range 10 {
		if v := login(t, a, as("bob", "secret")); v.Code != mqtt.ConnectionRateExceeded {
			t.Errorf("the right password passes, so it can be guessed: %+v", v)
		}
	}
	if n := strings.Count(log.String(), "too many failures"); n != 1 {
		t.Errorf("%d lines tell of the block:\n%s", n, &log)
	}
	if v := login(t, a, as("eve", "x")); v.Code != mqtt.ConnectionRateExceeded {
		t.Errorf("another name from the same address: %+v", v)
	}
	if v := login(t, a, nobody()); v.Code != mqtt.Success {
		t.Errorf("who does not guess is blocked: %+v", v)
	}
	now = now.Add(2 * time.Second)
	if v := login(t, a, as("bob", "secret")); v.Code != mqtt.Success {
		t.Errorf("after the delay: %+v", v)
	}
}

func TestCertificates(t *testing.T) {
	cert := &x509.Certificate{Subject: pkix.Name{CommonName: "device 1", Organization: []string{"Acme"}}}
	for name, c := range map[string]struct {
		by     CertificateName
		change func(*broker.Login)
		want   string // "": refused
	}{
		"common name":          {CommonName, func(l *broker.Login) { l.Certificate, l.CommonName = cert, "device 1" }, "device 1"},
		"subject":              {Subject, func(l *broker.Login) { l.Certificate, l.CommonName = cert, "device 1" }, "CN=device 1,O=Acme"},
		"none":                 {CommonName, func(*broker.Login) {}, ""},
		"no name":              {CommonName, func(l *broker.Login) { l.Certificate = &x509.Certificate{} }, ""},
		"subject from a proxy": {Subject, func(l *broker.Login) { l.CommonName = "device 1" }, ""},
		"with a NUL":           {CommonName, func(l *broker.Login) { l.CommonName = "root\x00x" }, ""},
	} {
		l := as("root", "secret") // which must not count
		c.change(l)
		a := start(t, Options{Rules: Rules{CertificateName: c.by, PasswordFile: users(t, "root", "secret"), AllowAnonymous: true}})
		v := login(t, a, l)
		if c.want == "" && v.Code != mqtt.BadUserNameOrPassword || c.want != "" && (v.Code != mqtt.Success || v.Username != c.want) {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// Each listener has its rules, for logins and for what its clients may do; of whom nothing is known, what any denies is denied.
func TestListeners(t *testing.T) {
	inside, outside := write(t, "inside", "topic #\nuser bob\ntopic #\n"), write(t, "outside", "topic read public/#\nuser bob\ntopic read #\nif from=10.0.0.0/8 topic write near/#\n")
	a := start(t, Options{
		Rules:     Rules{PasswordFile: users(t, "bob", "secret")},
		Listeners: map[string]Rules{"in": {AllowAnonymous: true, ACLFile: inside}, "out": {PasswordFile: users(t, "bob", "other"), ACLFile: outside}},
	})
	for _, c := range []struct {
		listener, pass, from string
		want, mayWrite, near bool
	}{
		{"in", "anything", "10.0.0.1:1", true, true, true}, {"out", "secret", "10.0.0.1:1", false, false, false}, {"out", "other", "10.0.0.1:1", true, false, true},
		{"out", "other", "192.0.2.1:1", true, false, false}, {"unnamed", "secret", "192.0.2.1:1", true, true, true}, {"unnamed", "other", "192.0.2.1:1", false, false, false},
	} {
		l := as("bob", c.pass)
		l.Listener, l.RemoteAddr = c.listener, c.from
		v := login(t, a, l)
		if (v.Code == mqtt.Success) != c.want {
			t.Errorf("%+v: %+v", c, v)
			continue
		}
		if !c.want {
			continue
		}
		who := identity(l, v)
		if d := a.MayPublish(who, "t", 0, false); d.Allowed != c.mayWrite {
			t.Errorf("%+v: publish: %+v", c, d)
		}
		if d := a.MayPublish(who, "near/t", 0, false); d.Allowed != c.near {
			t.Errorf("%+v: publish near: %+v", c, d)
		}
		if d := a.MayReceive(who, "t"); !d.Allowed {
			t.Errorf("%+v: receive: %+v", c, d)
		}
	}
	stranger := &broker.Identity{ClientID: "from the store", Username: "bob"}
	if d := a.MayPublish(stranger, "t", 0, false); d.Allowed || !strings.Contains(d.Rule, "no rule matched in "+outside) {
		t.Errorf("%+v", d)
	}
	if d := a.MayReceive(stranger, "t"); !d.Allowed {
		t.Errorf("%+v", d)
	}
	if d := a.MayReceive(&broker.Identity{ClientID: "from the store"}, "private"); d.Allowed {
		t.Errorf("%+v", d)
	}
	if d := a.MayPublish(nil, "t", 0, false); !d.Allowed {
		t.Errorf("the broker itself: %+v", d)
	}
}

func TestReload(t *testing.T) {
	o := Options{Rules: Rules{AllowAnonymous: true, PasswordFile: users(t, "bob", "secret", "eve", "x", "old", "x"), ACLFile: write(t, "acl", "user bob\ntopic #\n")}}
	a := start(t, o)
	who := func(name string) *broker.Identity { return &broker.Identity{ClientID: "c-" + name, Username: name} }
	before := a.Generation()
	text, err := os.ReadFile(o.PasswordFile)
	if err != nil {
		t.Fatal(err)
	}

	// Nothing of what is wrong is taken, and nothing of what is right beside it.
	rewrite(t, o.ACLFile, "user bob\ntopic read #\nbad\n")
	rewrite(t, o.PasswordFile, "")
	bad := o
	bad.Listeners = map[string]Rules{"l": {PasswordFile: "/nonexistent/passwords", ACLFile: "/nonexistent/acl"}}
	_, err = a.Reload(bad)
	if err == nil {
		t.Fatal("a bad configuration is taken")
	}
	for _, part := range []string{o.ACLFile + ":3: ", "/nonexistent/passwords", "/nonexistent/acl"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not told: %v", part, err)
		}
	}
	if a.Generation() != before || !a.MayPublish(who("bob"), "t", 0, false).Allowed || login(t, a, as("bob", "secret")).Code != mqtt.Success {
		t.Error("a part of it is taken")
	}

	lines := strings.SplitAfter(string(text), "\n")
	other, _ := password.Make(password.PBKDF2, 10, []byte("changed"))
	rewrite(t, o.PasswordFile, lines[0]+"eve:"+other+"\nnew:"+other+"\n")
	rewrite(t, o.ACLFile, "user bob\ntopic read #\n")
	o.AllowAnonymous = false
	change, err := a.Reload(o)
	if err != nil {
		t.Fatal(err)
	}
	if a.Generation() <= before || a.MayPublish(who("bob"), "t", 0, false).Allowed {
		t.Error("the ACL file is as before")
	}
	for name, want := range map[string]bool{"bob": false, "eve": true, "old": true, "": true} {
		if got := change.Revoked(who(name)); got != want {
			t.Errorf("user %q: revoked is %v", name, got)
		}
	}
	if change.Revoked(nil) {
		t.Error("the broker itself is revoked")
	}
	again, err := a.Reload(o)
	if err != nil || again.Revoked(who("bob")) {
		t.Errorf("a reload without a change: %v", err)
	}
	o.PasswordFile = ""
	o.AllowAnonymous = true
	if open, err := a.Reload(o); err != nil || !open.Revoked(who("bob")) {
		t.Errorf("the password file is gone, bob stays: %v", err)
	}
}

// Decisions go on while everything is reloaded: each is by the old rules or by the new.
func TestReloadWhileDeciding(t *testing.T) {
	one, two := write(t, "one", "user u\ntopic a\n"), write(t, "two", "user u\ntopic b\n")
	o := Options{Rules: Rules{PasswordFile: users(t, "u", "p"), ACLFile: one}}
	a := start(t, o)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			who := &broker.Identity{ClientID: "c", Username: "u"}
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, topic := range []string{"a", "b", "c"} {
					d := a.MayPublish(who, topic, 0, false)
					if topic == "c" && d.Allowed || d.Rule == "" {
						t.Errorf("%s: %+v", topic, d)
						return
					}
				}
				answer := make(chan broker.Verdict, 1)
				a.Authenticate(as("u", "p"), func(v broker.Verdict) { answer <- v })
				if v := <-answer; v.Code != mqtt.Success {
					t.Errorf("%+v", v)
				}
			}
		})
	}
	for i := range 200 {
		o.ACLFile = []string{one, two}[i%2]
		if _, err := a.Reload(o); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestDecisionsAllocateNothing(t *testing.T) {
	list := write(t, "acl", "user u\ntopic a/+/c\nif from=192.0.2.0/24 topic d/#\npattern x/%c/#\n")
	for name, o := range map[string]Options{
		"one listener":  {Rules: Rules{PasswordFile: users(t, "u", "p"), ACLFile: write(t, "acl", "user u\ntopic a/+/c\n")}},
		"two listeners": {Rules: Rules{PasswordFile: users(t, "u", "p"), ACLFile: list}, Listeners: map[string]Rules{"x": {}}},
		"open":          {Rules: Rules{AllowAnonymous: true}},
	} {
		a := start(t, o)
		who := identity(as("u", "p"), login(t, a, as("u", "p")))
		for range 500 { // what is asked again is remembered by now
			a.MayPublish(who, "a/b/c", 1, false)
			a.MayPublish(who, "d/e", 1, false)
		}
		if n := testing.AllocsPerRun(100, func() {
			a.MayPublish(who, "a/b/c", 1, false)
			a.MayPublish(who, "d/e", 1, false)
			a.MayReceive(who, "a/b/d")
			a.MaySubscribe(who, "#")
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// What is remembered is about one client, topic, QoS and retain flag, and no longer than the rules stand.
func TestDecisionsAreRemembered(t *testing.T) {
	one, two := write(t, "one", "user u\nif qos<=1 retain=no topic write a/#\ntopic write b/#\n"), write(t, "two", "user v\ntopic write a/#\n")
	o := Options{Rules: Rules{AllowAnonymous: true, ACLFile: one}}
	a := start(t, o)
	u, v := &broker.Identity{ClientID: "c", Username: "u"}, &broker.Identity{ClientID: "c", Username: "v"}
	check := func(first bool) {
		t.Helper()
		for i := range 2000 {
			topic := []byte(fmt.Sprint("a/", i%100))
			name := unsafe.String(&topic[0], len(topic)) // as the broker's: overwritten after the call
			for _, c := range []struct {
				who    *broker.Identity
				qos    byte
				retain bool
				want   bool
			}{{u, 0, false, first}, {u, 2, false, false}, {u, 1, true, false}, {v, 0, false, !first}, {v, 2, true, !first}} {
				if d := a.MayPublish(c.who, name, c.qos, c.retain); d.Allowed != c.want {
					t.Fatalf("%s: %+v: %+v", name, c, d)
				}
			}
			for j := range topic {
				topic[j] = 'b'
			}
		}
	}
	check(true)
	used := 0
	for i := range a.cache.slots {
		if a.cache.slots[i].Load() != nil {
			used++
		}
	}
	if used == 0 || used > 200 {
		t.Errorf("%d decisions are remembered", used)
	}
	o.ACLFile = two
	if _, err := a.Reload(o); err != nil {
		t.Fatal(err)
	}
	check(false)
}

func BenchmarkMayPublish(b *testing.B) {
	for name, o := range map[string]Options{
		"one-listener":  {Rules: Rules{ACLFile: write(b, "acl", "user u\ntopic a/+/c\n")}},
		"two-listeners": {Rules: Rules{AllowAnonymous: true, ACLFile: write(b, "acl", "user u\ntopic a/+/c\n")}, Listeners: map[string]Rules{"x": {}}},
	} {
		b.Run(name, func(b *testing.B) {
			a := start(b, o)
			who := identity(as("u", "p"), login(b, a, as("u", "p")))
			b.ReportAllocs()
			for b.Loop() {
				a.MayPublish(who, "a/b/c", 1, false)
			}
		})
		b.Run(name+"-many-topics", func(b *testing.B) {
			a := start(b, o)
			who := &broker.Identity{ClientID: "c-u", Username: "u"}
			topics := make([]string, 100_000)
			for i := range topics {
				topics[i] = fmt.Sprint("a/", i, "/c")
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				a.MayPublish(who, topics[i%len(topics)], 1, false)
			}
		})
	}
}
