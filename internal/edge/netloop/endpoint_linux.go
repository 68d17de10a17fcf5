package netloop

import (
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// endpoint is an address in 24 bytes without pointers. It is kept because after a reset the kernel no longer tells who
// the peer was, which is when the log wants to know.
type endpoint struct {
	ip   [16]byte
	zone uint32
	port uint16
	kind uint8
}

const (
	unknownAddr uint8 = iota
	ip4Addr
	ip6Addr
	unixAddr
)

func sockEndpoint(sa unix.Sockaddr) (e endpoint) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		e.kind, e.port = ip4Addr, uint16(sa.Port)
		copy(e.ip[:], sa.Addr[:])
	case *unix.SockaddrInet6:
		e.kind, e.port, e.zone, e.ip = ip6Addr, uint16(sa.Port), sa.ZoneId, sa.Addr
		if a := netip.AddrFrom16(sa.Addr); a.Is4In6() { // a dual-stack listener's IPv4 client
			ip4 := a.As4()
			e = endpoint{kind: ip4Addr, port: e.port}
			copy(e.ip[:], ip4[:])
		}
	case *unix.SockaddrUnix:
		e.kind = unixAddr
	}
	return e
}

func (e *endpoint) addr() net.Addr {
	switch e.kind {
	case ip4Addr:
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte(e.ip[:4])), e.port))
	case ip6Addr:
		a := netip.AddrFrom16(e.ip)
		if e.zone != 0 {
			name := strconv.Itoa(int(e.zone))
			if ifi, err := net.InterfaceByIndex(int(e.zone)); err == nil {
				name = ifi.Name
			}
			a = a.WithZone(name)
		}
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, e.port))
	default: // the peer of a Unix socket has no name
		return &net.UnixAddr{Net: "unix"}
	}
}
