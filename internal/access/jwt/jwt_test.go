package jwt

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

var (
	start  = time.Unix(1_800_000_000, 0)
	quiet  = slog.New(slog.NewTextHandler(io.Discard, nil))
	secret = []byte("0123456789abcdef0123456789abcdef")

	rsa1, _   = rsa.GenerateKey(rand.Reader, 2048)
	rsa2, _   = rsa.GenerateKey(rand.Reader, 2048)
	ec256, _  = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ec384, _  = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, ed, _  = ed25519.GenerateKey(rand.Reader)
	_, ed2, _ = ed25519.GenerateKey(rand.Reader)
)

func clock() time.Time { return start }

// claims are good ones, with changes.
func claims(changes jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{"sub": "alice", "exp": start.Add(time.Hour).Unix(), "iat": start.Add(-time.Minute).Unix()}
	for k, v := range changes {
		if v == nil {
			delete(c, k)
		} else {
			c[k] = v
		}
	}
	return c
}

func sign(t *testing.T, m jwt.SigningMethod, key any, c jwt.MapClaims, header ...string) []byte {
	t.Helper()
	tok := jwt.NewWithClaims(m, c)
	for i := 0; i+1 < len(header); i += 2 {
		tok.Header[header[i]] = header[i+1]
	}
	s, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(s)
}

func file(t testing.TB, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func pemOf(t *testing.T, keys ...crypto.Signer) []byte {
	t.Helper()
	var out []byte
	for _, k := range keys {
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})...)
	}
	return out
}

func verifier(t testing.TB, o Options) *Verifier {
	t.Helper()
	v, err := New(o, quiet, clock)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func jwksOf(t *testing.T, keys map[string]crypto.PublicKey) []byte {
	t.Helper()
	var list []map[string]string
	for id, k := range keys {
		m := map[string]string{"kid": id, "use": "sig"}
		switch k := k.(type) {
		case *rsa.PublicKey:
			m["kty"], m["n"], m["e"] = "RSA", b64(k.N.Bytes()), b64(big.NewInt(int64(k.E)).Bytes())
		case *ecdsa.PublicKey:
			raw, _ := k.Bytes()
			n := (len(raw) - 1) / 2
			m["kty"], m["crv"], m["x"], m["y"] = "EC", k.Params().Name, b64(raw[1:1+n]), b64(raw[1+n:])
		case ed25519.PublicKey:
			m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64(k)
		case []byte:
			m["kty"], m["k"] = "oct", b64(k)
		}
		list = append(list, m)
	}
	b, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEveryAlgorithm(t *testing.T) {
	all := verifier(t, Options{SecretFile: file(t, append(secret, '\n')), KeyFile: file(t, pemOf(t, rsa1, ec256, ec384, ed))})
	for _, c := range []struct {
		m   jwt.SigningMethod
		key any
	}{
		{jwt.SigningMethodHS256, secret}, {jwt.SigningMethodHS512, secret}, {jwt.SigningMethodRS256, rsa1}, {jwt.SigningMethodRS512, rsa1},
		{jwt.SigningMethodPS256, rsa1}, {jwt.SigningMethodES256, ec256}, {jwt.SigningMethodES384, ec384}, {jwt.SigningMethodEdDSA, ed},
	} {
		got, err := all.Verify(context.Background(), sign(t, c.m, c.key, claims(nil)), "alice")
		if err != nil || got.Username != "alice" || !got.Expires.Equal(start.Add(time.Hour)) {
			t.Errorf("%s: %+v, %v", c.m.Alg(), got, err)
		}
	}
	for name, tok := range map[string][]byte{
		"another RSA key": sign(t, jwt.SigningMethodRS256, rsa2, claims(nil)),
		"another Ed25519": sign(t, jwt.SigningMethodEdDSA, ed2, claims(nil)),
		"another secret":  sign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), claims(nil)),
	} {
		if got, err := all.Verify(context.Background(), tok, ""); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// What a token says about its algorithm must not decide what it is checked with.
func TestAlgorithmConfusion(t *testing.T) {
	public := pemOf(t, rsa1)
	der, _ := pem.Decode(public)
	v := verifier(t, Options{KeyFile: file(t, public)})
	set := verifier(t, Options{JWKS: file(t, jwksOf(t, map[string]crypto.PublicKey{"r": rsa1.Public(), "e": ed.Public()}))})
	both := verifier(t, Options{SecretFile: file(t, secret), KeyFile: file(t, public)})
	only := verifier(t, Options{Algorithms: []string{"RS256"}, SecretFile: file(t, secret), KeyFile: file(t, public)})
	none := sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(nil))
	good := string(sign(t, jwt.SigningMethodRS256, rsa1, claims(nil)))
	head, rest, _ := strings.Cut(good, ".")
	body, signature, _ := strings.Cut(rest, ".")
	forged := b64([]byte(`{"sub":"root","exp":1900000000}`))
	alg := func(s string) string { return b64([]byte(`{"alg":"` + s + `","typ":"JWT"}`)) }
	for name, c := range map[string]struct {
		v   *Verifier
		tok []byte
	}{
		"HMAC with the public key":            {v, sign(t, jwt.SigningMethodHS256, public, claims(nil))},
		"HMAC with the public key, DER":       {v, sign(t, jwt.SigningMethodHS256, der.Bytes, claims(nil))},
		"HMAC with the modulus":               {set, sign(t, jwt.SigningMethodHS256, rsa1.N.Bytes(), claims(nil), "kid", "r")},
		"HMAC with the public Ed25519 key":    {set, sign(t, jwt.SigningMethodHS256, []byte(ed.Public().(ed25519.PublicKey)), claims(nil), "kid", "e")},
		"HMAC with the public key, beside":    {both, sign(t, jwt.SigningMethodHS256, public, claims(nil))},
		"HMAC where only RS256 is allowed":    {only, sign(t, jwt.SigningMethodHS256, secret, claims(nil))},
		"RS512 where only RS256 is allowed":   {only, sign(t, jwt.SigningMethodRS512, rsa1, claims(nil))},
		"none":                                {v, none},
		"none, beside a secret":               {both, none},
		"NoNe":                                {v, []byte(alg("NoNe") + "." + body + ".")},
		"empty algorithm":                     {v, []byte(alg("") + "." + body + "." + signature)},
		"none with the signature of another":  {v, []byte(alg("none") + "." + body + "." + signature)},
		"other claims":                        {v, []byte(head + "." + forged + "." + signature)},
		"no signature":                        {v, []byte(head + "." + body + ".")},
		"the key of another kind by its kid":  {set, sign(t, jwt.SigningMethodRS256, rsa1, claims(nil), "kid", "e")},
		"the right kind, kid of nobody":       {set, sign(t, jwt.SigningMethodRS256, rsa1, claims(nil), "kid", "../../dev/null")},
		"a key that the token brings":         {v, sign(t, jwt.SigningMethodRS256, rsa2, claims(nil), "jwk", string(public))},
		"a URL that the token brings":         {v, sign(t, jwt.SigningMethodRS256, rsa2, claims(nil), "jku", "http://127.0.0.1:1/")},
		"critical header":                     {v, sign(t, jwt.SigningMethodRS256, rsa1, claims(nil), "crit", "exp")},
		"P-256 signature called ES384":        {verifier(t, Options{KeyFile: file(t, pemOf(t, ec384))}), sign(t, jwt.SigningMethodES256, ec256, claims(nil))},
		"twice the header's algorithm":        {v, []byte(b64([]byte(`{"alg":"RS256","alg":"none"}`)) + "." + forged + "." + signature)},
		"padding and other noise in the text": {v, []byte(good + "=")},
	} {
		if got, err := c.v.Verify(context.Background(), c.tok, ""); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, err := v.Verify(context.Background(), []byte(good), ""); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestClaims(t *testing.T) {
	key := file(t, pemOf(t, ed))
	for name, c := range map[string]struct {
		o    Options
		with jwt.MapClaims
		user string
		want string // "": good
	}{
		"good":                          {Options{}, nil, "", ""},
		"expired":                       {Options{}, jwt.MapClaims{"exp": start.Unix() - 1}, "", "has expired"},
		"expired within the leeway":     {Options{Leeway: time.Minute}, jwt.MapClaims{"exp": start.Unix() - 1}, "", ""},
		"never expires":                 {Options{}, jwt.MapClaims{"exp": nil}, "", "lacks a claim"},
		"never expires and may":         {Options{NoExpiry: true}, jwt.MapClaims{"exp": nil}, "", ""},
		"expires never, in words":       {Options{}, jwt.MapClaims{"exp": "never"}, "", "not valid"},
		"not yet":                       {Options{}, jwt.MapClaims{"nbf": start.Unix() + 100}, "", "not valid yet"},
		"from the future":               {Options{}, jwt.MapClaims{"iat": start.Unix() + 100}, "", "in the future"},
		"too old":                       {Options{MaxAge: time.Second}, nil, "", "too long ago"},
		"of unknown age":                {Options{MaxAge: time.Second}, jwt.MapClaims{"iat": nil}, "", "when it was issued"},
		"another issuer":                {Options{Issuer: "us"}, jwt.MapClaims{"iss": "them"}, "", "another issuer"},
		"no issuer":                     {Options{Issuer: "us"}, nil, "", "lacks a claim"},
		"our issuer":                    {Options{Issuer: "us"}, jwt.MapClaims{"iss": "us"}, "", ""},
		"another audience":              {Options{Audience: "mqtt"}, jwt.MapClaims{"aud": []string{"web"}}, "", "another audience"},
		"our audience":                  {Options{Audience: "mqtt"}, jwt.MapClaims{"aud": []string{"web", "mqtt"}}, "", ""},
		"no name":                       {Options{}, jwt.MapClaims{"sub": nil}, "", "no claim 'sub'"},
		"a number for a name":           {Options{}, jwt.MapClaims{"sub": 7}, "", "no claim 'sub'"},
		"an odd name":                   {Options{}, jwt.MapClaims{"sub": "a\x00b"}, "", "characters"},
		"another name than the login's": {Options{}, nil, "bob", "user name"},
		"the same name":                 {Options{}, nil, "alice", ""},
		"any name":                      {Options{IgnoreUsername: true}, nil, "bob", ""},
		"no client id":                  {Options{ClientIDClaim: "cid"}, nil, "", "no claim 'cid'"},
		"no list":                       {Options{PublishClaim: "pub"}, nil, "", ""},
		"no list but a number":          {Options{PublishClaim: "pub"}, jwt.MapClaims{"pub": 1}, "", "no list"},
		"a list of what is no filter":   {Options{PublishClaim: "pub"}, jwt.MapClaims{"pub": []string{"a/#/b"}}, "", "no topic filter"},
		"a list of lists":               {Options{SubscribeClaim: "sub2"}, jwt.MapClaims{"sub2": []any{[]string{"a"}}}, "", "no topic filter"},
	} {
		c.o.KeyFile = key
		got, err := verifier(t, c.o).Verify(context.Background(), sign(t, jwt.SigningMethodEdDSA, ed, claims(c.with)), c.user)
		switch {
		case c.want == "" && (err != nil || got.Username != "alice"):
			t.Errorf("%s: %+v, %v", name, got, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %+v, %v; want %q", name, got, err, c.want)
		}
	}
	v := verifier(t, Options{KeyFile: key, UsernameClaim: "name", ClientIDClaim: "cid", PublishClaim: "pub", SubscribeClaim: "subs"})
	got, err := v.Verify(context.Background(), sign(t, jwt.SigningMethodEdDSA, ed, claims(jwt.MapClaims{"name": "n", "cid": "c", "pub": "a/#", "subs": []string{"b", "c/%u"}})), "")
	if err != nil || got.Username != "n" || got.ClientID != "c" || !slices.Equal(got.Publish, []string{"a/#"}) || !slices.Equal(got.Subscribe, []string{"b", "c/%u"}) || !got.ListsPublish || !got.ListsSubscribe {
		t.Errorf("%+v, %v", got, err)
	}
	for _, p := range []string{"", "secret", "eyJ", "eyJ.", "eyJ.a.b.c", "a.b.c"} {
		if _, err := v.Verify(context.Background(), []byte(p), ""); !errors.Is(err, ErrNoToken) {
			t.Errorf("%q: %v", p, err)
		}
	}
}

func TestKeyFiles(t *testing.T) {
	weak, _ := rsa.GenerateKey(rand.Reader, 1024)
	private, _ := x509.MarshalPKCS8PrivateKey(rsa1)
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	for name, o := range map[string]Options{
		"nothing":                       {},
		"unknown algorithm":             {Algorithms: []string{"none"}, SecretFile: file(t, secret)},
		"missing file":                  {KeyFile: "/nonexistent"},
		"short secret":                  {SecretFile: file(t, []byte("secret\n"))},
		"public key for a secret":       {SecretFile: file(t, pemOf(t, rsa1))},
		"no PEM":                        {KeyFile: file(t, []byte("hello"))},
		"private key":                   {KeyFile: file(t, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))},
		"weak key":                      {KeyFile: file(t, pemOf(t, weak))},
		"curve without an algorithm":    {KeyFile: file(t, pemOf(t, p224))},
		"JWKS that is none":             {JWKS: file(t, []byte("{"))},
		"JWKS without keys":             {JWKS: file(t, []byte(`{"keys":[]}`))},
		"JWKS with a key to encrypt":    {JWKS: file(t, []byte(`{"keys":[{"kty":"oct","use":"enc","k":"`+b64(secret)+`"}]}`))},
		"JWKS with a short secret":      {JWKS: file(t, []byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))},
		"JWKS with e=1":                 {JWKS: file(t, []byte(`{"keys":[{"kty":"RSA","n":"`+b64(rsa1.N.Bytes())+`","e":"AQ"}]}`))},
		"JWKS with a point off a curve": {JWKS: file(t, []byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"`+b64(secret)+`","y":"`+b64(secret)+`"}]}`))},
	} {
		if _, err := New(o, quiet, clock); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	set := file(t, jwksOf(t, map[string]crypto.PublicKey{"r": rsa1.Public(), "e": ec256.Public(), "d": ed.Public(), "s": secret}))
	v := verifier(t, Options{JWKS: set})
	for kid, tok := range map[string][]byte{
		"r": sign(t, jwt.SigningMethodRS256, rsa1, claims(nil), "kid", "r"), "e": sign(t, jwt.SigningMethodES256, ec256, claims(nil), "kid", "e"),
		"d": sign(t, jwt.SigningMethodEdDSA, ed, claims(nil), "kid", "d"), "s": sign(t, jwt.SigningMethodHS256, secret, claims(nil), "kid", "s"),
		"": sign(t, jwt.SigningMethodEdDSA, ed, claims(nil)),
	} {
		if _, err := v.Verify(context.Background(), tok, ""); err != nil {
			t.Errorf("kid %q: %v", kid, err)
		}
	}
}

// server hands out keys; what it hands out can change.
type server struct {
	*httptest.Server
	set   atomic.Pointer[[]byte] // nil: it is broken
	asked atomic.Int32
}

func newServer(t *testing.T, set []byte) *server {
	s := &server{}
	s.set.Store(&set)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.asked.Add(1)
		b := s.set.Load()
		if b == nil {
			http.Error(w, "broken", http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(*b)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestRemote(t *testing.T) {
	now := start
	s := newServer(t, jwksOf(t, map[string]crypto.PublicKey{"1": rsa1.Public()}))
	v, err := New(Options{JWKS: s.URL, NoExpiry: true}, quiet, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	first := sign(t, jwt.SigningMethodRS256, rsa1, claims(jwt.MapClaims{"exp": nil}), "kid", "1")
	second := sign(t, jwt.SigningMethodRS256, rsa2, claims(jwt.MapClaims{"exp": nil}), "kid", "2")
	check := func(step string, tok []byte, good bool, asked int32) {
		t.Helper()
		if _, err := v.Verify(context.Background(), tok, ""); (err == nil) != good {
			t.Errorf("%s: %v", step, err)
		}
		if n := s.asked.Load(); n != asked {
			t.Errorf("%s: the server was asked %d times, want %d", step, n, asked)
		}
	}
	check("first token", first, true, 1)
	check("again", first, true, 1)
	check("a key that nobody has", second, false, 1) // it was asked a moment ago
	now = now.Add(31 * time.Second)
	check("a key that nobody has, later", second, false, 2)
	for range 5 {
		check("and at once again", second, false, 2)
	}
	both := jwksOf(t, map[string]crypto.PublicKey{"1": rsa1.Public(), "2": rsa2.Public()})
	s.set.Store(&both)
	now = now.Add(31 * time.Second)
	check("rotation: the new key", second, true, 3)
	check("rotation: the old key", first, true, 3)
	s.set.Store(nil)
	now = now.Add(31 * time.Second)
	check("the server is broken, the keys are known", second, true, 3)
	now = now.Add(25 * time.Hour)
	check("and has been for a day", second, false, 4)
	if _, err := v.Verify(context.Background(), second, ""); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	newest := jwksOf(t, map[string]crypto.PublicKey{"2": rsa2.Public()})
	s.set.Store(&newest)
	now = now.Add(31 * time.Second)
	check("it is back", second, true, 5)
	check("with a key less", first, false, 5)
}

// A server must not be able to hand out what makes tokens, nor take memory without bound, nor lead elsewhere.
func TestRemoteMalicious(t *testing.T) {
	tok := sign(t, jwt.SigningMethodHS256, secret, claims(nil), "kid", "s")
	big := []byte(`{"keys":[],"x":"` + strings.Repeat("x", maxJWKSize) + `"}`)
	for name, set := range map[string][]byte{
		"a secret": jwksOf(t, map[string]crypto.PublicKey{"s": secret, "r": rsa1.Public()}), "no JSON": []byte("<html>"), "too much": big, "nothing": {},
	} {
		v := verifier(t, Options{JWKS: newServer(t, set).URL})
		if got, err := v.Verify(context.Background(), tok, ""); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	loop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) }))
	t.Cleanup(loop.Close)
	if _, err := verifier(t, Options{JWKS: loop.URL}).Verify(context.Background(), tok, ""); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a loop: %v", err)
	}
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(func() { close(release); slow.Close() })
	if _, err := verifier(t, Options{JWKS: slow.URL, JWKSTimeout: 20 * time.Millisecond}).Verify(context.Background(), tok, ""); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a server that says nothing: %v", err)
	}
}

// Keys that have become old are renewed beside, while the old ones are used.
func TestRemoteRefresh(t *testing.T) {
	var now atomic.Int64
	s := newServer(t, jwksOf(t, map[string]crypto.PublicKey{"1": ed.Public()}))
	v, err := New(Options{JWKS: s.URL, NoExpiry: true, JWKSRefresh: time.Minute}, quiet, func() time.Time { return start.Add(time.Duration(now.Load())) })
	if err != nil {
		t.Fatal(err)
	}
	tok := sign(t, jwt.SigningMethodEdDSA, ed, claims(jwt.MapClaims{"exp": nil}), "kid", "1")
	for i := range 3 {
		if _, err := v.Verify(context.Background(), tok, ""); err != nil {
			t.Fatal(err)
		}
		deadline := time.After(10 * time.Second)
		for s.asked.Load() < int32(i+1) || v.remote.busy.Load() {
			select {
			case <-deadline:
				t.Fatalf("after %d rounds it was asked %d times", i, s.asked.Load())
			default:
				runtime.Gosched()
			}
		}
		now.Add(int64(2 * time.Minute))
	}
}

func FuzzVerify(f *testing.F) {
	v := verifier(f, Options{SecretFile: file(f, secret)})
	f.Add("eyJhbGciOiJIUzI1NiJ9.e30.x")
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := v.Verify(context.Background(), []byte(s), ""); err == nil {
			t.Errorf("%q: %+v", s, c)
		}
	})
}
