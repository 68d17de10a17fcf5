package listener

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func openAndClose(t *testing.T, s Socket) []net.Listener {
	t.Helper()
	ls, err := Open(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(ls) })
	return ls
}

// reaches tries to connect.
func reaches(network, address string) error {
	c, err := net.Dial(network, address)
	if err == nil {
		_ = c.Close()
	}
	return err
}

// hasIPv6 tells whether this machine has ::1, which some containers have not.
func hasIPv6() bool {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err == nil {
		_ = l.Close()
	}
	return err == nil
}

// TestDomain: socket_domain leaves the other kind of address out.
func TestDomain(t *testing.T) {
	for _, tt := range []struct {
		domain    string
		four, six bool
	}{{"", true, true}, {"ipv4", true, false}, {"ipv6", false, true}} {
		if tt.domain == "ipv6" && !hasIPv6() {
			if _, err := Open(Socket{Address: ":0", Domain: tt.domain}); err == nil {
				t.Error("IPv6 is listened on where there is none")
			}
			continue
		}
		ls := openAndClose(t, Socket{Address: ":0", Domain: tt.domain})
		_, port, _ := net.SplitHostPort(ls[0].Addr().String())
		if err := reaches("tcp4", "127.0.0.1:"+port); (err == nil) != tt.four {
			t.Errorf("%q: by IPv4: %v", tt.domain, err)
		}
		if hasIPv6() {
			if err := reaches("tcp6", "[::1]:"+port); (err == nil) != tt.six {
				t.Errorf("%q: by IPv6: %v", tt.domain, err)
			}
		}
	}
	if _, err := Open(Socket{Address: ":0", Domain: "ipx"}); err == nil || !strings.Contains(err.Error(), "neither ipv4 nor ipv6") {
		t.Error(err)
	}
}

// TestName: a name that stands for several addresses is listened on at each, with one port.
func TestName(t *testing.T) {
	ls := openAndClose(t, Socket{Address: "localhost:0"})
	ips, err := net.LookupHost("localhost")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ls[0].Addr().String())
	for _, ip := range ips {
		if ip == "::1" && !hasIPv6() {
			continue
		}
		if err := reaches("tcp", net.JoinHostPort(ip, port)); err != nil {
			t.Error(err)
		}
	}
	if _, err := Open(Socket{Address: "127.0.0.1:" + port}); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "another program uses the port") {
		t.Error(err)
	}
	if _, err := Open(Socket{Address: "no.such.host.invalid:0"}); err == nil {
		t.Error("a host that does not exist is listened on")
	}
}

// TestInterface: bind_interface, in both ways that there are.
func TestInterface(t *testing.T) {
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var loopback net.Interface
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			loopback = i
		}
	}
	byAddress, err := openInterface(&loopback, "tcp4", "", "0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(byAddress) })
	for _, ls := range [][]net.Listener{openAndClose(t, Socket{Address: ":0", Domain: "ipv4", Interface: loopback.Name}), byAddress} {
		_, port, _ := net.SplitHostPort(ls[0].Addr().String())
		if err := reaches("tcp4", "127.0.0.1:"+port); err != nil {
			t.Error(err)
		}
		for _, i := range all {
			addrs, _ := i.Addrs()
			for _, a := range addrs {
				// The system delivers to its own addresses by the loopback interface, so only the address decides here.
				if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() && &ls[0] == &byAddress[0] {
					if reaches("tcp4", net.JoinHostPort(ip.IP.String(), port)) == nil {
						t.Errorf("bound to %s, it is reached at %s", loopback.Name, ip)
					}
				}
			}
		}
	}
	if _, err := Open(Socket{Address: ":0", Interface: "none0"}); err == nil || !strings.Contains(err.Error(), `there is no interface "none0"`) {
		t.Error(err)
	}
	if _, err := openInterface(&loopback, "tcp", "192.0.2.1", "0"); err == nil || !strings.Contains(err.Error(), "no address that fits") {
		t.Error(err)
	}
}

// TestUnix: permissions, what is left of a process that was killed, and what is in use or no socket.
func TestUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mqtt.sock")
	ls := openAndClose(t, Socket{Path: path, Mode: 0o660})
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := Open(Socket{Path: path}); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "another program listens on it") {
		t.Error(err)
	}
	if err := reaches("unix", path); err != nil {
		t.Error("the second attempt has taken the socket of the first away:", err)
	}
	closeAll(ls)
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the socket is still there after Close:", err)
	}

	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = dead.Close()
	again := openAndClose(t, Socket{Path: path})
	if err := reaches("unix", path); err != nil {
		t.Error(err)
	}

	// Somebody else has put a socket there meanwhile: it is not ours to remove.
	_ = os.Remove(path)
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	closeAll(again)
	if err := reaches("unix", path); err != nil {
		t.Error("another's socket was removed:", err)
	}

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Socket{Path: file}); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Error(err)
	}
	if text, _ := os.ReadFile(file); string(text) != "precious" {
		t.Error("a file was overwritten")
	}
	if _, err := Open(Socket{Path: "/" + strings.Repeat("x", 200)}); err == nil || !strings.Contains(err.Error(), "107 bytes at most") {
		t.Error(err)
	}
}
