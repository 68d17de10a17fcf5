package netloop

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// endpoint is an address in 22 bytes without pointers. It is kept because after a reset the kernel no longer tells who
// the peer was, which is when the log wants to know.
type endpoint struct {
	ip   [16]byte
	zone uint16 // of the interface, for link-local addresses; 0 also if its number is larger
	port uint16
	kind uint8
}

const (
	unknownAddr uint8 = iota
	ip4Addr
	ip6Addr
	unixAddr
)

// rawEndpoint reads what the kernel has written.
func rawEndpoint(sa *unix.RawSockaddrAny) (e endpoint) {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return ipEndpoint(netip.AddrFrom4(in.Addr), networkOrder(in.Port), 0)
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return ipEndpoint(netip.AddrFrom16(in.Addr), networkOrder(in.Port), in.Scope_id)
	case unix.AF_UNIX:
		e.kind = unixAddr
	}
	return e
}

// networkOrder reads a port: its bytes lie in memory as they travel.
func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}

// ipEndpoint takes the IPv4 client of a dual-stack listener for what it is.
func ipEndpoint(a netip.Addr, port uint16, zone uint32) (e endpoint) {
	if a = a.Unmap(); a.Is4() {
		e.kind, e.port = ip4Addr, port
		ip4 := a.As4()
		copy(e.ip[:], ip4[:])
		return e
	}
	e = endpoint{kind: ip6Addr, port: port, ip: a.As16()}
	if zone <= math.MaxUint16 {
		e.zone = uint16(zone)
	}
	return e
}

func sockEndpoint(sa unix.Sockaddr) (e endpoint) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return ipEndpoint(netip.AddrFrom4(sa.Addr), uint16(sa.Port), 0)
	case *unix.SockaddrInet6:
		return ipEndpoint(netip.AddrFrom16(sa.Addr), uint16(sa.Port), sa.ZoneId)
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
