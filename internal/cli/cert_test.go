package cli

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/test/mosquitto"
)

// cert runs `nightjar cert` and returns what it prints.
func cert(t *testing.T, wantStatus int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if status := run(append([]string{"cert"}, args...), nil, &out, &errs); status != wantStatus {
		t.Fatalf("nightjar cert %s: status %d, want %d: %s", strings.Join(args, " "), status, wantStatus, &errs)
	}
	return out.String(), errs.String()
}

// verify checks a certificate against the authority in dir.
func verify(t *testing.T, dir, name string, usage x509.ExtKeyUsage, host string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{usage}, DNSName: host}); err != nil {
		t.Errorf("%s for %q: %v", name, host, err)
	}
	return pair.Leaf
}

// TestCert: an authority, a server and a client, each by one command; nothing is overwritten, keys are secret, and a
// certificate does not outlive its authority.
func TestCert(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	if _, stderr := cert(t, 1, "server", "--dir", dir, "localhost"); !strings.Contains(stderr, "nightjar cert ca") {
		t.Errorf("without an authority: %q", stderr)
	}
	cert(t, 0, "ca", "--dir", dir, "--days", "30", "--name", "Test")
	before, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if _, stderr := cert(t, 1, "ca", "--dir", dir); !strings.Contains(stderr, "is not overwritten") {
		t.Errorf("again: %q", stderr)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, "ca.crt")); !bytes.Equal(before, after) {
		t.Error("the authority was overwritten")
	}
	cert(t, 0, "server", "--dir", dir, "broker.example.org", "*.lan", "192.0.2.7", "2001:db8::1")
	for _, host := range []string{"broker.example.org", "x.lan", "192.0.2.7", "2001:db8::1"} {
		verify(t, dir, "broker.example.org", x509.ExtKeyUsageServerAuth, host)
	}
	cert(t, 0, "client", "--dir", dir, "sensor 1")
	c := verify(t, dir, "sensor 1", x509.ExtKeyUsageClientAuth, "")
	if c.Subject.CommonName != "sensor 1" {
		t.Errorf("common name %q", c.Subject.CommonName)
	}
	if c.NotAfter.After(time.Now().AddDate(0, 0, 31)) {
		t.Errorf("it is valid until %v, longer than its authority", c.NotAfter)
	}
	for _, name := range []string{"ca", "broker.example.org", "sensor 1"} {
		for ext, want := range map[string]os.FileMode{".key": 0o600, ".crt": 0o644} {
			if info, err := os.Stat(filepath.Join(dir, name+ext)); err != nil || info.Mode().Perm()&^want != 0 {
				t.Errorf("%s%s: %v, %v; want at most %v", name, ext, info.Mode(), err, want)
			}
		}
	}
	for _, bad := range [][]string{
		{"server", "--dir", dir, "broker.example.org:8883"}, {"server", "--dir", dir, "mqtt://broker"}, {"server", "--dir", dir, ""}, {"server", "--dir", dir, "a..b"},
		{"client", "--dir", dir, "a/b"}, {"client", "--dir", dir, ""}, {"client", "--dir", dir, "+"}, {"client", "--dir", dir, strings.Repeat("x", 65)},
		{"client", "--dir", dir, "--days", "0", "x"}, {"client", "--dir", dir, "--ca", filepath.Join(dir, "sensor 1.crt"), "--ca-key", filepath.Join(dir, "sensor 1.key"), "x"},
		{"client", "--dir", dir, "sensor 1"}, {"revoke", "--dir", dir, "nobody"},
	} {
		cert(t, 1, bad...)
	}
	if _, err := os.Stat(filepath.Join(dir, "x.key")); err == nil {
		t.Error("a command that failed left a key behind")
	}
}

// TestCertRevoke: the list grows, and OpenSSL takes it for what it is.
func TestCertRevoke(t *testing.T) {
	dir := t.TempDir()
	cert(t, 0, "ca", "--dir", dir)
	for _, name := range []string{"a", "b", "c"} {
		cert(t, 0, "client", "--dir", dir, name)
	}
	cert(t, 0, "revoke", "--dir", dir, "a")
	out, _ := cert(t, 0, "revoke", "--dir", dir, filepath.Join(dir, "b.crt"), "a")
	list := filepath.Join(dir, "ca.crl")
	if !strings.Contains(out, "2 revoked") || !strings.Contains(out, "crlfile "+list) {
		t.Errorf("it says %q", out)
	}
	for name, want := range map[string]string{"a": "certificate revoked", "b": "certificate revoked", "c": ": OK"} {
		said, err := exec.Command("openssl", "verify", "-crl_check", "-CAfile", filepath.Join(dir, "ca.crt"), "-CRLfile", list, filepath.Join(dir, name+".crt")).CombinedOutput()
		if !strings.Contains(string(said), want) {
			t.Errorf("openssl about %s: %s (%v), want %q", name, said, err, want)
		}
	}
	other := t.TempDir()
	cert(t, 0, "ca", "--dir", other)
	cert(t, 0, "client", "--dir", other, "x")
	if _, stderr := cert(t, 1, "revoke", "--dir", dir, filepath.Join(other, "x.crt")); !strings.Contains(stderr, "not of this authority") {
		t.Error(stderr)
	}
}

// TestCertLines: the lines to paste are a configuration, and mosquitto's programs take the files.
func TestCertLines(t *testing.T) {
	dir := t.TempDir()
	cert(t, 0, "ca", "--dir", dir)
	out, _ := cert(t, 0, "server", "--dir", dir, "localhost")
	var conf []string
	for line := range strings.Lines(out) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "listener", "certfile", "keyfile", "cafile", "require_certificate", "use_identity_as_username":
			conf = append(conf, strings.TrimSpace(line))
		}
	}
	if len(conf) != 6 {
		t.Fatalf("six lines to paste are expected in %q", out)
	}
	file := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(strings.Join(conf, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	if status := run([]string{"serve", "-c", file, "--test-config"}, nil, &said, &said); status != 0 {
		t.Errorf("nightjar: %s", &said)
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	cert(t, 0, "client", "--dir", dir, "me")
	b := mosquitto.StartTLS(t, path("localhost.crt"), path("localhost.key"))
	cmd := exec.Command(mosquitto.Command(t, "mosquitto_pub"), "-h", "localhost", "-p", b.Port, "--cafile", path("ca.crt"),
		"--cert", path("me.crt"), "--key", path("me.key"), "-t", "t", "-m", "x", "-q", "1")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("mosquitto_pub: %v: %s", err, text)
	}
}
