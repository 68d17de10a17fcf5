package conformance

import (
	"io"
	"net"
)

// ReadPacket reads and decodes one packet as a server may send it; what the standard forbids a server is an error. io.EOF is
// returned only between packets.
func ReadPacket(r io.Reader, v Version) (*Packet, error) { return readPacket(r, v) }

// OpenWebSocket makes the opening handshake on c and returns the stream inside.
func OpenWebSocket(c net.Conn, protocols ...string) (net.Conn, error) {
	return openWebSocket(c, protocols...)
}

// TypeName is what the standard calls a type of packets.
func TypeName(typ byte) string { return typeNames[typ&15] }
