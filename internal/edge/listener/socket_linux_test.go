package listener

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestUnixIsNeverOpen: between bind and chmod there is no moment in which a socket allows more than it is to allow.
func TestUnixIsNeverOpen(t *testing.T) {
	c := net.ListenConfig{Control: presetMode(0o600)}
	path := filepath.Join(t.TempDir(), "s")
	l, err := c.Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&^0o600 != 0 {
		t.Errorf("right after bind it is %v, %v", info.Mode(), err)
	}
}
