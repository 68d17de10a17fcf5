package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// Socket says where a listener listens. The names in parentheses are mosquitto.conf's.
type Socket struct {
	// Address is HOST:PORT. Without a host it is all addresses of the machine; a name that stands for several addresses opens
	// a socket for each of them. With port 0 the system chooses one.
	Address string
	// Domain is "ipv4" or "ipv6" to have one of them only; "": both (socket_domain).
	Domain string
	// Interface is the network interface to which connections must come, say "eth0"; "": any (bind_interface). Where the
	// system does not let this process bind to it, the interface's present addresses are listened on.
	Interface string
	// Path is a Unix socket to listen on, instead of Address. A socket that is there already is replaced if nobody listens
	// on it.
	Path string
	// Mode are the permissions of the Unix socket: who may connect needs the right to write. 0: what the umask leaves.
	Mode os.FileMode
}

// Listen opens one TCP socket. The error says what to do when the port is taken or not allowed.
func Listen(address string) (net.Listener, error) {
	return listenTCP(&net.ListenConfig{}, "tcp", address)
}

// Open opens all sockets of a listener, or none.
func Open(s Socket) ([]net.Listener, error) {
	if s.Path != "" {
		l, err := listenUnix(s)
		if err != nil {
			return nil, err
		}
		return []net.Listener{l}, nil
	}
	network, ok := map[string]string{"": "tcp", "ipv4": "tcp4", "ipv6": "tcp6"}[s.Domain]
	if !ok {
		return nil, fmt.Errorf("cannot listen on %s: socket_domain %q is neither ipv4 nor ipv6", s.Address, s.Domain)
	}
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", s.Address, err)
	}
	if s.Interface == "" {
		return openAll(&net.ListenConfig{}, network, host, port)
	}
	ifi, err := net.InterfaceByName(s.Interface)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: there is no interface %q: %w", s.Address, s.Interface, err)
	}
	ls, err := openAll(&net.ListenConfig{Control: bindToDevice(s.Interface)}, network, host, port)
	if err == nil || !errors.Is(err, os.ErrPermission) && !errors.Is(err, errNoDevices) {
		return ls, err
	}
	return openInterface(ifi, network, host, port)
}

// openInterface listens on the addresses that an interface has now.
func openInterface(ifi *net.Interface, network, host, port string) (ls []net.Listener, err error) {
	addrs, err := ifi.Addrs()
	if err != nil {
		return nil, fmt.Errorf("cannot listen on interface %s: %w", ifi.Name, err)
	}
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || !fits(network, prefix.Addr()) || host != "" && host != prefix.Addr().String() {
			continue
		}
		ip := prefix.Addr()
		if ip.IsLinkLocalUnicast() && ip.Is6() {
			ip = ip.WithZone(ifi.Name)
		}
		l, err := listenTCP(&net.ListenConfig{}, network, net.JoinHostPort(ip.String(), port))
		if err != nil {
			closeAll(ls)
			return nil, err
		}
		if ls = append(ls, l); port == "0" {
			port = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		}
	}
	if len(ls) == 0 {
		return nil, fmt.Errorf("cannot listen on interface %s: it has no address that fits (%s, host %q)", ifi.Name, network, host)
	}
	return ls, nil
}

func fits(network string, ip netip.Addr) bool {
	return network == "tcp" || (network == "tcp4") == ip.Is4()
}

// openAll opens a socket for each address that host stands for. One that this machine has not, such as ::1 where there is no
// IPv6, is left out if another is there.
func openAll(c *net.ListenConfig, network, host, port string) (ls []net.Listener, err error) {
	ips := []string{host}
	if host == "*" {
		ips = []string{""}
	} else if _, err := netip.ParseAddr(host); err != nil && host != "" {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if ips, err = net.DefaultResolver.LookupHost(ctx, host); err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", net.JoinHostPort(host, port), err)
		}
	}
	var missing error
	for _, ip := range ips {
		if a, err := netip.ParseAddr(ip); err == nil && len(ips) > 1 && !fits(network, a) {
			continue
		}
		l, err := listenTCP(c, network, net.JoinHostPort(ip, port))
		switch {
		case err == nil:
		case len(ips) > 1 && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)):
			missing = err
			continue
		default:
			closeAll(ls)
			return nil, err
		}
		if ls = append(ls, l); port == "0" {
			port = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		}
	}
	if len(ls) == 0 && missing == nil {
		missing = fmt.Errorf("cannot listen on %s: it has no address for %s", net.JoinHostPort(host, port), network)
	}
	if len(ls) > 0 {
		missing = nil
	}
	return ls, missing
}

func closeAll(ls []net.Listener) {
	for _, l := range ls {
		_ = l.Close()
	}
}

func listenTCP(c *net.ListenConfig, network, address string) (net.Listener, error) {
	l, err := c.Listen(context.Background(), network, address)
	switch {
	case err == nil:
		return netloop.Own(l)
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("cannot listen on %s: another program uses the port; stop it, or choose another with --port (%w)", address, syscall.EADDRINUSE)
	case errors.Is(err, os.ErrPermission) && c.Control == nil:
		return nil, fmt.Errorf("cannot listen on %s: not permitted; ports below 1024 need privileges, choose another with --port (%w)", address, os.ErrPermission)
	}
	return nil, fmt.Errorf("cannot listen on %s: %w", address, err)
}

// maxPath is how long the name of a Unix socket may be on Linux; elsewhere it is a few bytes less.
const maxPath = 107

// listenUnix opens a Unix socket.
func listenUnix(s Socket) (net.Listener, error) {
	if len(s.Path) > maxPath {
		return nil, fmt.Errorf("cannot listen on %s: the path of a Unix socket may have %d bytes at most", s.Path, maxPath)
	}
	if err := removeStale(s.Path); err != nil {
		return nil, err
	}
	// The permissions are set before there is a name to connect to, so that there is no moment in which everybody may.
	c := net.ListenConfig{Control: presetMode(s.Mode)}
	l, err := c.Listen(context.Background(), "unix", s.Path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", s.Path, err)
	}
	if s.Mode != 0 {
		if err := os.Chmod(s.Path, s.Mode.Perm()); err != nil {
			_ = l.Close()
			return nil, fmt.Errorf("cannot set the permissions of the Unix socket: %w", err)
		}
	}
	u := &unixListener{UnixListener: l.(*net.UnixListener), path: s.Path}
	u.SetUnlinkOnClose(false)
	u.own, _ = os.Lstat(s.Path)
	return u, nil
}

// removeStale removes a socket that nobody listens on: what is left of a process that was killed.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot listen on %s: %w", path, err)
	case info.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("cannot listen on %s: there is a file of this name that is no socket; remove it, or choose another path", path)
	}
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(context.Background(), "unix", path)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("cannot listen on %s: another program listens on it; stop it, or choose another path (%w)", path, syscall.EADDRINUSE)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("cannot listen on %s: there is a socket of this name, and whether somebody listens on it cannot be told: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot listen on %s: a socket that is left there cannot be removed: %w", path, err)
	}
	return nil
}

// unixListener removes its socket when it closes, unless another has taken its place.
type unixListener struct {
	*net.UnixListener
	path string
	own  os.FileInfo
}

func (u *unixListener) Close() error {
	if now, err := os.Lstat(u.path); err == nil && u.own != nil && os.SameFile(now, u.own) {
		_ = os.Remove(u.path)
	}
	return u.UnixListener.Close()
}
