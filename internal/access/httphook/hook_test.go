package httphook

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func serve(t *testing.T, fn http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(fn)
	t.Cleanup(s.Close)
	return s.URL
}

func hook(t *testing.T, o Options, now func() time.Time) *Hook {
	t.Helper()
	h, err := New(o, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func TestAnswers(t *testing.T) {
	say := func(status int, text string) string {
		return serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(text))
		})
	}
	for name, c := range map[string]struct {
		url  string
		want string // "": no answer
	}{
		"allow":           {say(200, `{"result":"allow","username":"x","publish":["a"]}`), "allow"},
		"deny":            {say(200, `{"result":"deny","reason":"r"}`), "deny"},
		"401":             {say(401, ``), "deny"},
		"403":             {say(403, `{"result":"allow"}`), "deny"},
		"500":             {say(500, `{"result":"allow"}`), ""},
		"404":             {say(404, ``), ""},
		"201":             {say(201, `{"result":"allow"}`), ""},
		"204":             {say(204, ``), ""},
		"nothing":         {say(200, ``), ""},
		"empty":           {say(200, `{}`), ""},
		"true":            {say(200, `true`), ""},
		"ALLOW":           {say(200, `{"result":"ALLOW"}`), ""},
		"no JSON":         {say(200, `allow`), ""},
		"two answers":     {say(200, `{"result":"allow"}{"result":"deny"}`), ""},
		"bad filter":      {say(200, `{"result":"allow","publish":["a/#/b"]}`), ""},
		"bad name":        {say(200, `{"result":"allow","username":"a\u0000"}`), ""},
		"long":            {say(200, `{"result":"allow","x":"`+strings.Repeat("x", maxAnswer)+`"}`), ""},
		"redirect":        {serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusTemporaryRedirect) }), ""},
		"nobody is there": {"http://127.0.0.1:1/", ""},
		"it hangs up":     {serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), ""},
	} {
		a, err := hook(t, Options{URL: c.url}, nil).Ask(context.Background(), &Request{Username: "u", Password: "p"})
		switch {
		case c.want == "" && !errors.Is(err, ErrUnavailable):
			t.Errorf("%s: %+v, %v", name, a, err)
		case c.want != "" && (err != nil || a.Result != c.want || a.Allowed() != (c.want == "allow")):
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

func TestRequest(t *testing.T) {
	var got Request
	var header http.Header
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil || r.Method != http.MethodPost {
			t.Errorf("%s, %v", r.Method, err)
		}
		_, _ = w.Write([]byte(`{"result":"allow"}`))
	})
	want := Request{ClientID: `c"`, Username: "ü", Password: "p\\w", Address: "192.0.2.1", Listener: "l", Protocol: "5", CommonName: "cn"}
	if _, err := hook(t, Options{URL: url, Header: []string{"Authorization: Bearer x:y"}}, nil).Ask(context.Background(), &want); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || header.Get("Authorization") != "Bearer x:y" || header.Get("Content-Type") != "application/json" {
		t.Errorf("%+v with %v", got, header)
	}
}

func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	url := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	_, err := hook(t, Options{URL: url, Timeout: 20 * time.Millisecond}, nil).Ask(context.Background(), &Request{})
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// The log must not get what stands in the URL.
func TestErrorsKeepSecrets(t *testing.T) {
	_, err := hook(t, Options{URL: "http://me:hunter2@127.0.0.1:1/?key=hunter3"}, nil).Ask(context.Background(), &Request{Password: "hunter4"})
	if err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("%v", err)
	}
}

func TestCache(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var asked atomic.Int32
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var q Request
		_ = json.NewDecoder(r.Body).Decode(&q)
		result := "deny"
		if q.Password == "good" {
			result = "allow"
		}
		fmt.Fprintf(w, `{"result":%q}`, result)
	})
	h := hook(t, Options{URL: url, CacheTime: time.Minute, CacheRefusals: time.Second, CacheEntries: 3}, func() time.Time { return now })
	ask := func(r Request) string {
		if a := h.Remembered(&r); a != nil {
			return "remembered " + a.Result
		}
		a, err := h.Ask(context.Background(), &r)
		if err != nil {
			t.Fatal(err)
		}
		return a.Result
	}
	good, bad := Request{Username: "u", Password: "good"}, Request{Username: "u", Password: "bad"}
	for i, want := range []string{"allow", "remembered allow"} {
		if got := ask(good); got != want {
			t.Errorf("good, %d: %s", i, got)
		}
	}
	if got := ask(bad); got != "deny" {
		t.Errorf("another password gets the answer of the good one: %s", got)
	}
	for _, r := range []Request{{Username: "ug", Password: "ood"}, {Username: "u", Password: "good", ClientID: "c"}, {Username: "u", Password: "good", Address: "a"}} {
		if got := ask(r); strings.HasPrefix(got, "remembered") {
			t.Errorf("%+v gets the answer of another question", r)
		}
	}
	if len(h.cache.entries) != 3 || h.cache.order.Len() != 3 {
		t.Errorf("%d answers are kept", len(h.cache.entries))
	}
	ask(good)
	now = now.Add(61 * time.Second)
	if got := ask(good); got != "allow" {
		t.Errorf("after a minute: %s", got)
	}
	ask(bad)
	now = now.Add(2 * time.Second)
	if got := ask(bad); got != "deny" {
		t.Errorf("a refusal is kept too long: %s", got)
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"result":"allow"}`)) }))
	t.Cleanup(s.Close)
	s.Config.ErrorLog = nil
	if a, err := hook(t, Options{URL: s.URL}, nil).Ask(context.Background(), &Request{}); err == nil {
		t.Errorf("a server that nobody vouches for is believed: %+v", a)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if a, err := hook(t, Options{URL: s.URL, CAFile: ca}, nil).Ask(context.Background(), &Request{}); err != nil || !a.Allowed() {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {URL: "ftp://x"}, {URL: "http://"}, {URL: "::"}, {URL: "http://x", Header: []string{"x"}}, {URL: "https://x", CAFile: "/nonexistent"}} {
		if _, err := New(o, nil); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
