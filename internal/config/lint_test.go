package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLint: each insecure or surprising setting is told, and a careful configuration has nothing told of it but notices.
func TestLint(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(t.TempDir(), "open")
	if err := os.WriteFile(open, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ in, want string }{
		{"listener 1\nallow_anonymous true", "warning listener 1: anybody who reaches it may connect without a password, read everything"},
		{"listener 1\nallow_anonymous true\nacl_file /a", "do what /a lets anonymous clients do"},
		{"listener 1 127.0.0.1\nallow_anonymous true\nacl_file /a", "nothing proves who a client is"},
		{"listener 1", "nobody can connect"},
		{"listener 1\npassword_file /p", "passwords go over the network as they are"},
		{"listener 1 localhost\npassword_file /p\nallow_anonymous true", "notice listener 1 localhost: clients without a user name may connect although"},
		{"listener 1\nallow_anonymous true\nproxy_protocol on", "proxy_trusted does not say where the proxy is"},
		{"listener 1 127.0.0.1\nallow_anonymous true\nprotocol websockets", "any web page"},
		{"listener 1\ncertfile /c\nkeyfile " + open + "\npassword_file /p", "everybody on this machine may read " + open + " (a private key): chmod o-rwx " + open},
		{"listener 1\npassword_file " + open, "(hashed passwords)"},
		{"listener 1\ncertfile /c\nkeyfile /k\nuse_identity_as_username true", "no client is asked for a certificate, so that there is no name"},
		{"listener 1\ncertfile /c\nkeyfile /k\ncrlfile /r\npassword_file /p", "none to revoke"},
		{"listener 1\ntls_version tlsv1.3\npassword_file /p", "options of TLS and no TLS"},
		{"listener 1\nallow_anonymous true", "notice : persistence is off"},
		{"persistence true\nsync never", "lost when the machine stops"},
		{"persistence true\nsync interval 2s", "acknowledged in the last 2s is lost"},
		{"user root", "keeps all rights"},
		{"memory_limit 0", "use up the memory"},
		{"log_dest none", "nothing is logged"},
		{"listener 0 /s\nsocket_domain ipv4", "no effect"},
	} {
		s := load(t, strings.Split(c.in, "\n")...)
		var all []string
		for _, p := range s.Lint() {
			all = append(all, p.Severity.String()+" "+p.Option+": "+p.Text, p.Severity.String()+" "+p.Text)
		}
		if text := strings.Join(all, "\n"); !strings.Contains(text, c.want) {
			t.Errorf("%q: nothing is said of %q:\n%s", c.in, c.want, text)
		}
	}
	s := load(t, "persistence true", "listener 8883", "certfile /c", "keyfile "+key, "password_file "+key, "acl_file /a", "listener 1883 127.0.0.1")
	if found := s.Lint(); len(found) > 0 {
		t.Errorf("a careful configuration is complained about: %v", found)
	}
}

// TestSecretsAreNotTold: what is secret in a configuration is in no message about it.
func TestSecretsAreNotTold(t *testing.T) {
	const in = "auth_http_url ftp://u:hidden@a\nauth_http_header X: hidden # c\nconnection a\nremote_password hidden # c\nremote_password hidden\nlocal_password hidden # c\nbridge_psk hidden"
	_, problems := Load(write(t, in))
	if len(problems) < 5 {
		t.Fatalf("%d problems: %v", len(problems), problems)
	}
	if strings.Contains(problems.Error(), "hidden") {
		t.Errorf("a secret is told: %v", problems)
	}
}
