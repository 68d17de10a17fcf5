package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/config"
)

// TestCheck: what is in the files that a configuration names is looked at, each line once.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	writeCertificate(t, dir)
	for name, text := range map[string]string{
		"acl":    "user bob\ntopic read $share/x/a\n",
		"pw":     "bob:secret\n",
		"broken": "nonsense\n",
		"good": "listener 1 127.0.0.1\nacl_file DIR/acl\npassword_file DIR/pw\nlistener 2 127.0.0.1\n" +
			"listener 3\ncertfile DIR/crt\nkeyfile DIR/key\n",
		"bad": "listener 1 127.0.0.1\nacl_file DIR/broken\npassword_file DIR/none\nlistener 3\ncertfile DIR/key\nkeyfile DIR/key\njwt_key_file DIR/none\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, wants := range map[string][]string{
		"good": {"warning " + dir + "/acl:2: '$share/x/a' never matches", "warning " + dir + "/pw:1: user 'bob' cannot log in", "option 'certfile': " + dir + "/crt expires on"},
		"bad":  {"error " + dir + "/broken:1: ", "password file: open " + dir + "/none", "jwt: open " + dir + "/none", "option 'certfile': "},
	} {
		s := DefaultSettings()
		s.ConfigFile = filepath.Join(dir, name)
		var lines []string
		for _, p := range s.Check() {
			lines = append(lines, p.Severity.String()+" "+p.String())
		}
		text := strings.Join(lines, "\n")
		for _, want := range wants {
			if strings.Count(text, want) != 1 {
				t.Errorf("%s: %q stands there %d times:\n%s", name, want, strings.Count(text, want), text)
			}
		}
	}
}

func TestExpiredCertificate(t *testing.T) {
	dir := t.TempDir()
	writeCertificate(t, dir)
	path := filepath.Join(dir, "m.conf")
	if err := os.WriteFile(path, []byte("listener 1\ncertfile "+dir+"/crt\nkeyfile "+dir+"/key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _ := config.Load(path)
	for at, want := range map[time.Duration]string{2 * time.Hour: "has expired", -2 * time.Hour: "is not valid before"} {
		// The certificate counts from an hour ago for two hours.
		found := checkCertificates(c, time.Now().Add(at))
		if len(found) != 1 || !strings.Contains(found[0].Text, want) {
			t.Errorf("%v from now: %v", at, found)
		}
	}
}
