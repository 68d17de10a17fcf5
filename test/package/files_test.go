package packaging

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFail2ban: the filter that is shipped is the one in docs/security.md, which internal/access holds against the log.
func TestFail2ban(t *testing.T) {
	shipped, doc := read(t, "deploy/fail2ban/filter.conf"), read(t, "docs/security.md")
	_, block, ok := strings.Cut(doc, "```ini\n[Definition]\n")
	block, _, end := strings.Cut(block, "```")
	if !ok || !end || !strings.Contains(block, "failregex = ") {
		t.Fatal("docs/security.md has no filter")
	}
	if !strings.Contains(shipped, "[Definition]\n"+block) {
		t.Errorf("deploy/fail2ban/filter.conf has not what docs/security.md has:\n%s", block)
	}
	if !strings.Contains(read(t, "deploy/systemd/nightjar.service"), "[Service]") || !strings.Contains(shipped, "_SYSTEMD_UNIT=nightjar.service") {
		t.Error("the filter looks for another unit in the journal")
	}
}

// TestPaths: what is said in several places is the same.
func TestPaths(t *testing.T) {
	for file, wants := range map[string][]string{
		"deploy/nightjar.conf":            {"\ndata_dir /var/lib/nightjar/data\n", "/etc/nightjar/passwords", "/var/log/nightjar/nightjar.log"},
		"deploy/docker/nightjar.conf":     {"\ndata_dir /var/lib/nightjar/data\n"},
		"deploy/logrotate/nightjar":       {"\n/var/log/nightjar/nightjar.log {"},
		"deploy/fail2ban/jail.conf":       {"/var/log/nightjar/nightjar.log"},
		"deploy/systemd/nightjar.service": {"\nStateDirectory=nightjar\n", "\nLogsDirectory=nightjar\n", "serve -c /etc/nightjar/nightjar.conf\n"},
		"deploy/docker/compose.yaml":      {":/var/lib/nightjar\n", "passwd -c /var/lib/nightjar/passwords"},
		"docs/durability.md":              {"/var/lib/nightjar/data", "exit status 4"},
		"docs/install.md":                 {"/etc/nightjar/nightjar.conf", "passwd -c /var/lib/nightjar/passwords"},
	} {
		for _, want := range wants {
			if !strings.Contains(read(t, file), want) {
				t.Errorf("%s has no %q", file, want)
			}
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
