package certs_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/access/authority"
	"github.com/nightjar-mqtt/nightjar/internal/edge/certs"
)

// folder is an authority in a directory of its own.
type folder struct {
	t   *testing.T
	dir string
	ca  *authority.Authority
}

func newFolder(t *testing.T) *folder {
	t.Helper()
	f := &folder{t: t, dir: t.TempDir()}
	year := time.Now().AddDate(1, 0, 0)
	if err := authority.Make("", year, f.path("ca.crt"), f.path("ca.key")); err != nil {
		t.Fatal(err)
	}
	ca, err := authority.Load(f.path("ca.crt"), f.path("ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	f.ca = ca
	return f
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

func (f *folder) pair(name string) certs.Pair {
	return certs.Pair{CertFile: f.path(name + ".crt"), KeyFile: f.path(name + ".key")}
}

func (f *folder) server(file string, names ...string) certs.Pair {
	f.t.Helper()
	if _, err := f.ca.Server(names, time.Now().AddDate(0, 1, 0), f.path(file+".crt"), f.path(file+".key")); err != nil {
		f.t.Fatal(err)
	}
	return f.pair(file)
}

func (f *folder) client(name string, until time.Time) tls.Certificate {
	f.t.Helper()
	if _, err := f.ca.Client(name, until, f.path(name+".crt"), f.path(name+".key")); err != nil {
		f.t.Fatal(err)
	}
	c, err := tls.LoadX509KeyPair(f.path(name+".crt"), f.path(name+".key"))
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *folder) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	text, err := os.ReadFile(f.path("ca.crt"))
	if err != nil || !pool.AppendCertsFromPEM(text) {
		f.t.Fatal(err)
	}
	return pool
}

// load loads a source that reads its files only when told.
func load(t *testing.T, files certs.Files) *certs.Source {
	t.Helper()
	if files.Poll == 0 {
		files.Poll = -1
	}
	s, err := certs.Load(files, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// shake makes a handshake and passes a byte, so that both sides know that it is over; it gives what each of them says.
func shake(t *testing.T, server, client *tls.Config) (s, c tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, end := range []net.Conn{a, b} {
		_ = end.SetDeadline(time.Now().Add(20 * time.Second))
	}
	ts, tc := tls.Server(a, server), tls.Client(b, client)
	var wg sync.WaitGroup
	wg.Go(func() {
		if serverErr = ts.Handshake(); serverErr == nil {
			_, serverErr = ts.Write([]byte("x"))
		}
		if serverErr != nil {
			_ = a.Close()
		}
	})
	if clientErr = tc.Handshake(); clientErr == nil {
		_, clientErr = io.ReadFull(tc, make([]byte, 1))
	}
	_ = b.Close()
	wg.Wait()
	return ts.ConnectionState(), tc.ConnectionState(), serverErr, clientErr
}

// TestServerNames: a client gets the certificate for the name it asks for, and the first if there is none.
func TestServerNames(t *testing.T) {
	f := newFolder(t)
	s := load(t, certs.Files{Pair: f.server("a", "a.example"), More: []certs.Pair{f.server("b", "b.example"), f.server("c", "*.c.example")}})
	for name, want := range map[string]string{
		"a.example": "a.example", "b.example": "b.example", "x.c.example": "*.c.example", "unknown.example": "a.example", "": "a.example",
		"a.b.c.example": "a.example", strings.Repeat("x", 200) + ".example": "a.example",
	} {
		_, c, _, err := shake(t, s.Config("mqtt"), &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if got := c.PeerCertificates[0].DNSNames[0]; got != want {
			t.Errorf("a client that asks for %q gets the certificate of %q, want %q", name, got, want)
		}
	}
}

// TestVersions: what is older than the lowest version is refused.
func TestVersions(t *testing.T) {
	f := newFolder(t)
	p := f.server("s", "localhost")
	for _, tt := range []struct {
		lowest string
		client uint16
		ok     bool
	}{
		{"", tls.VersionTLS11, false}, {"", tls.VersionTLS12, true}, {"tlsv1.2", tls.VersionTLS13, true},
		{"tlsv1.3", tls.VersionTLS12, false}, {"tlsv1.3", tls.VersionTLS13, true},
	} {
		s := load(t, certs.Files{Pair: p, MinVersion: tt.lowest})
		_, c, _, err := shake(t, s.Config(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tt.client})
		if ok := err == nil && c.Version == tt.client; ok != tt.ok {
			t.Errorf("tls_version %q, client %s: %v", tt.lowest, tls.VersionName(tt.client), err)
		}
	}
}

// TestApplicationProtocol: a client may name our protocol, others, or none.
func TestApplicationProtocol(t *testing.T) {
	f := newFolder(t)
	s := load(t, certs.Files{Pair: f.server("s", "localhost")})
	for _, tt := range []struct {
		asks []string
		want string
	}{
		{[]string{"mqtt"}, "mqtt"}, {[]string{"h2", "http/1.1"}, "http/1.1"}, {[]string{"x-amzn-mqtt-ca"}, ""}, {nil, ""},
	} {
		_, c, _, err := shake(t, s.Config("mqtt", "http/1.1"), &tls.Config{InsecureSkipVerify: true, NextProtos: tt.asks})
		if err != nil || c.NegotiatedProtocol != tt.want {
			t.Errorf("a client that asks for %v gets %q, %v; want %q", tt.asks, c.NegotiatedProtocol, err, tt.want)
		}
	}
}

// Long: a table of cases and the certificates that they need.
//
// TestClientCertificates: whom require_certificate lets in.
func TestClientCertificates(t *testing.T) {
	f, other := newFolder(t), newFolder(t)
	p := f.server("s", "localhost")
	good := f.client("good", time.Now().AddDate(0, 1, 0))
	expired := f.client("expired", time.Now().Add(-time.Minute))
	revoked := f.client("revoked", time.Now().AddDate(0, 1, 0))
	foreign := other.client("foreign", time.Now().AddDate(0, 1, 0))
	asServer, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ca.Revoke([]string{f.path("revoked.crt")}, time.Now().AddDate(0, 1, 0), f.path("ca.crl")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ca.Revoke([]string{f.path("revoked.crt")}, time.Now().Add(-time.Minute), f.path("old.crl")); err != nil {
		t.Fatal(err)
	}
	if _, err := other.ca.Revoke([]string{other.path("foreign.crt")}, time.Now().AddDate(0, 1, 0), f.path("other.crl")); err != nil {
		t.Fatal(err)
	}
	none := tls.Certificate{}
	base := certs.Files{Pair: p, CAFile: f.path("ca.crt"), RequireCertificate: true}
	with := func(change func(*certs.Files)) certs.Files {
		files := base
		change(&files)
		return files
	}
	byPath := with(func(c *certs.Files) { c.CAFile, c.CAPath = "", f.dir })
	listed := with(func(c *certs.Files) { c.CRLFile = f.path("ca.crl") })
	ignoring := with(func(c *certs.Files) { c.IgnoreDates = true })
	for _, tt := range []struct {
		name  string
		files certs.Files
		cert  tls.Certificate
		why   string // "": let in
	}{
		{"none", base, none, "didn't provide a certificate"},
		{"good", base, good, ""},
		{"expired", base, expired, "expired"},
		{"another authority's", base, foreign, "unknown authority"},
		{"a server's", base, asServer, "incompatible key usage"},
		{"revoked, without a list", base, revoked, ""},
		{"authorities in a folder", byPath, good, ""},
		{"another authority's, folder", byPath, foreign, "unknown authority"},
		{"good, with a list", listed, good, ""},
		{"revoked, with a list", listed, revoked, "has been revoked"},
		{"list out of date", with(func(c *certs.Files) { c.CRLFile = f.path("old.crl") }), good, "was due to be replaced"},
		{"list of another authority", with(func(c *certs.Files) { c.CRLFile = f.path("other.crl") }), good, "no revocation list of"},
		{"expired, dates ignored", ignoring, expired, ""},
		{"none, dates ignored", ignoring, none, "didn't provide a certificate"},
		{"another authority's, dates ignored", ignoring, foreign, "unknown authority"},
		{"a server's, dates ignored", ignoring, asServer, "incompatible key usage"},
		{"none, not required", with(func(c *certs.Files) { c.RequireCertificate = false }), none, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := load(t, tt.files)
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				c := &tls.Config{RootCAs: f.pool(), ServerName: "localhost", MaxVersion: version}
				if tt.cert.Certificate != nil { // also if it is not of an authority that the server names
					c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tt.cert, nil }
				}
				_, _, err, clientErr := shake(t, s.Config("mqtt"), c)
				switch {
				case tt.why == "" && (err != nil || clientErr != nil):
					t.Errorf("%s: refused: %v; %v", tls.VersionName(version), err, clientErr)
				case tt.why != "" && (err == nil || clientErr == nil || !strings.Contains(err.Error(), tt.why)):
					t.Errorf("%s: %v; want it refused because of %q", tls.VersionName(version), err, tt.why)
				}
			}
		})
	}
}

// TestResumedIsCheckedAgain: a session ticket does not outlive the certificate's revocation, nor the trust in its authority.
func TestResumedIsCheckedAgain(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		f, other := newFolder(t), newFolder(t)
		files := certs.Files{Pair: f.server("s", "localhost"), CAFile: f.path("trusted.crt"), CRLFile: f.path("ca.crl"), RequireCertificate: true}
		copyFile(t, f.path("ca.crt"), files.CAFile)
		until := time.Now().AddDate(0, 1, 0)
		f.client("unrelated", until)
		if _, err := f.ca.Revoke([]string{f.path("unrelated.crt")}, until, files.CRLFile); err != nil {
			t.Fatal(err)
		}
		s := load(t, files)
		server := s.Config("mqtt")
		client := &tls.Config{RootCAs: f.pool(), ServerName: "localhost", Certificates: []tls.Certificate{f.client("c", until)},
			ClientSessionCache: tls.NewLRUClientSessionCache(1), MaxVersion: version}
		for i := range 2 {
			state, _, err, _ := shake(t, server, client)
			if err != nil || state.DidResume != (i > 0) {
				t.Fatalf("connection %d: resumed %v, %v", i, state.DidResume, err)
			}
		}
		if _, err := f.ca.Revoke([]string{f.path("c.crt")}, until, files.CRLFile); err != nil {
			t.Fatal(err)
		}
		if err := s.Reload(); err != nil {
			t.Fatal(err)
		}
		if _, _, err, _ := shake(t, server, client); err == nil || !strings.Contains(err.Error(), "has been revoked") {
			t.Errorf("%s: after the revocation: %v", tls.VersionName(version), err)
		}
		copyFile(t, other.path("ca.crt"), files.CAFile)
		if err := s.Reload(); err != nil {
			t.Fatal(err)
		}
		if _, _, err, _ := shake(t, server, client); err == nil {
			t.Errorf("%s: a ticket of an authority that is not trusted any more is taken", tls.VersionName(version))
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// lines is a log that can be waited for.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), text)
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestWatched: a certificate that is replaced is used for new connections, one that is broken is not and is told of; then the
// next good one is used.
func TestWatched(t *testing.T) {
	f := newFolder(t)
	live := f.server("live", "old.example")
	next := f.server("next", "new.example")
	log := new(lines)
	s, err := certs.Load(certs.Files{Pair: live, Poll: 5 * time.Millisecond}, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	shows := func() string {
		_, c, _, err := shake(t, s.Config(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		return c.PeerCertificates[0].DNSNames[0]
	}
	copyFile(t, next.CertFile, live.CertFile) // its key is another's
	waitFor(t, "the error", func() bool { return log.has("cannot be used") && log.has("live.crt") })
	if got := shows(); got != "old.example" {
		t.Fatalf("with half a pair the certificate of %s is shown", got)
	}
	copyFile(t, next.KeyFile, live.KeyFile)
	waitFor(t, "the new certificate", func() bool { return shows() == "new.example" })
	// By renaming, as certificate managers do it, with time and size of before.
	f.server("third", "3rd.example")
	when := time.Now().Add(-time.Hour)
	for _, ext := range []string{".crt", ".key"} {
		if err := os.Chtimes(f.path("third"+ext), when, when); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(f.path("third"+ext), f.path("live"+ext)); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "the third certificate", func() bool { return shows() == "3rd.example" })
	if err := os.Remove(live.KeyFile); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the second error", func() bool { return log.has("Check keyfile") })
	if got := shows(); got != "3rd.example" {
		t.Errorf("without a key the certificate of %s is shown", got)
	}
}

// TestFilesThatCannotBe: each error says which file, and what about it.
func TestFilesThatCannotBe(t *testing.T) {
	f := newFolder(t)
	good, other := f.server("s", "localhost"), f.server("t", "localhost")
	junk := f.path("junk")
	if err := os.WriteFile(junk, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		files certs.Files
		want  string
	}{
		{certs.Files{}, "both certfile and keyfile must be given"},
		{certs.Files{Pair: certs.Pair{CertFile: "/nowhere.crt", KeyFile: good.KeyFile}}, `Unable to load server certificate "/nowhere.crt". Check certfile`},
		{certs.Files{Pair: certs.Pair{CertFile: good.CertFile, KeyFile: "/nowhere.key"}}, `Unable to load server key file "/nowhere.key". Check keyfile`},
		{certs.Files{Pair: certs.Pair{CertFile: good.CertFile, KeyFile: junk}}, "needs a password"},
		{certs.Files{Pair: certs.Pair{CertFile: good.CertFile, KeyFile: other.KeyFile}}, "private key does not match"},
		{certs.Files{Pair: good, More: []certs.Pair{{CertFile: junk, KeyFile: other.KeyFile}}}, `Unable to use certificate "` + junk},
		{certs.Files{Pair: good, RequireCertificate: true}, "cafile or capath must be given"},
		{certs.Files{Pair: good, RequireCertificate: true, CAFile: junk}, "it holds no certificate in PEM"},
		{certs.Files{Pair: good, RequireCertificate: true, CAPath: t.TempDir()}, "no file in it holds a certificate"},
		{certs.Files{Pair: good, CRLFile: junk}, "Check crlfile"},
		{certs.Files{Pair: good, MinVersion: "tlsv1"}, "tls_version"},
		{certs.Files{Pair: good, Ciphers: "NONSENSE"}, `"NONSENSE" is no cipher suite`},
		{certs.Files{Pair: good, Ciphers: "DHE-RSA-AES256-GCM-SHA384:PSK"}, "none of these can be had"},
		{certs.Files{Pair: good, Ciphers13: "TLS_AES_256_GCM_SHA384"}, "leaves TLS_AES_128_GCM_SHA256 out"},
		{certs.Files{Pair: good, Ciphers13: "AES"}, `"AES" is no cipher suite`},
	} {
		s, err := certs.Load(tt.files, slog.New(slog.DiscardHandler))
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v; want %q", tt.files, err, tt.want)
		}
	}
}

// TestCiphers: what a list lets through, by handshakes with a client that offers one suite.
func TestCiphers(t *testing.T) {
	f := newFolder(t)
	p := f.server("s", "localhost") // ECDSA
	const gcm128, gcm256, chacha, cbc = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA
	for _, tt := range []struct {
		list    string
		yes, no []uint16
	}{
		{"", []uint16{gcm128, gcm256, chacha, cbc}, nil},
		{"DEFAULT", []uint16{gcm128, gcm256, chacha, cbc}, nil},
		{"ECDHE-ECDSA-AES256-GCM-SHA384", []uint16{gcm256}, []uint16{gcm128, chacha, cbc}},
		{"HIGH:!CHACHA20:!SHA1:!aNULL:@STRENGTH", []uint16{gcm128, gcm256}, []uint16{chacha, cbc}},
		{"EECDH+AESGCM,DHE-RSA-AES128-GCM-SHA256", []uint16{gcm128, gcm256}, []uint16{chacha, cbc}},
		{"ALL:-AES128", []uint16{gcm256, chacha}, []uint16{gcm128, cbc}},
		{"ECDHE+AES128 ECDHE-ECDSA-CAMELLIA256-SHA384", []uint16{gcm128, cbc}, []uint16{gcm256, chacha}},
	} {
		s := load(t, certs.Files{Pair: p, Ciphers: tt.list})
		try := func(id uint16) error {
			_, _, _, err := shake(t, s.Config(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{id}})
			return err
		}
		for _, id := range tt.yes {
			if err := try(id); err != nil {
				t.Errorf("%q: %s: %v", tt.list, tls.CipherSuiteName(id), err)
			}
		}
		for _, id := range tt.no {
			if try(id) == nil {
				t.Errorf("%q lets %s through", tt.list, tls.CipherSuiteName(id))
			}
		}
	}
}

// TestKeyLog: the secrets are written, for whoever debugs, to a file that only its owner reads.
func TestKeyLog(t *testing.T) {
	f := newFolder(t)
	file := f.path("keys")
	s := load(t, certs.Files{Pair: f.server("s", "localhost"), KeyLogFile: file})
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := shake(t, s.Config(), &tls.Config{InsecureSkipVerify: true}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), "SERVER_TRAFFIC_SECRET_0") {
		t.Errorf("%q, %v", text, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
