//go:build linux

package dropin

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/access/authority"
)

// makeCertificates makes an authority (ca.crt), a server's certificate for localhost (server.crt, server.key), those of clients
// one, two, revoked (in crl.pem) and expired, and stranger's by another authority (other.crt).
var makeCertificates = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(programDir, "tls")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	later := time.Now().Add(24 * time.Hour)
	issue := func(ca string, clients map[string]time.Time) (*authority.Authority, error) {
		if err := authority.Make(ca, later, in(ca+".crt"), in(ca+".key")); err != nil {
			return nil, err
		}
		a, err := authority.Load(in(ca+".crt"), in(ca+".key"))
		if err != nil {
			return nil, err
		}
		for name, until := range clients {
			if _, err := a.Client(name, until, in(name+".crt"), in(name+".key")); err != nil {
				return nil, err
			}
		}
		return a, nil
	}
	a, err := issue("ca", map[string]time.Time{"one": later, "two": later, "revoked": later, "expired": time.Now().Add(-time.Minute)})
	if err != nil {
		return "", err
	}
	if _, err := a.Server([]string{"localhost", "127.0.0.1", "::1"}, later, in("server.crt"), in("server.key")); err != nil {
		return "", err
	}
	if _, err := a.Revoke([]string{in("revoked.crt")}, later, in("crl.pem")); err != nil {
		return "", err
	}
	if _, err = issue("other", map[string]time.Time{"stranger": later}); err != nil {
		return "", err
	}
	return dir, hashed(in("ca.crt"), in("hashed"))
})

// hashed puts an authority into a directory as openssl rehash does.
func hashed(cert, dir string) error {
	hash, err := exec.Command("openssl", "x509", "-subject_hash", "-noout", "-in", cert).Output()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(cert)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, strings.TrimSpace(string(hash))+".0"), text, 0o600)
}

func certificates(t testing.TB) string {
	t.Helper()
	dir, err := makeCertificates()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
