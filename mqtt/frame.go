package mqtt

import (
	"fmt"
	"strconv"
)

// Version is the protocol level that a CONNECT announces.
type Version byte

// The three versions.
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

// String returns "3.1", "3.1.1", "5", or the level of a version that does not exist.
func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5"
	}
	return "level " + strconv.Itoa(int(v))
}

// PacketType is the upper half of a packet's first byte (MQTT 5 §2.1.2).
type PacketType byte

// The packet types.
const (
	CONNECT PacketType = iota + 1
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
)

var typeNames = [...]string{
	CONNECT: "CONNECT", CONNACK: "CONNACK", PUBLISH: "PUBLISH", PUBACK: "PUBACK",
	PUBREC: "PUBREC", PUBREL: "PUBREL", PUBCOMP: "PUBCOMP", SUBSCRIBE: "SUBSCRIBE",
	SUBACK: "SUBACK", UNSUBSCRIBE: "UNSUBSCRIBE", UNSUBACK: "UNSUBACK",
	PINGREQ: "PINGREQ", PINGRESP: "PINGRESP", DISCONNECT: "DISCONNECT", AUTH: "AUTH",
}

// String returns the name in capitals, as the specification writes it.
func (t PacketType) String() string {
	if t >= CONNECT && t <= AUTH {
		return typeNames[t]
	}
	return "packet type " + strconv.Itoa(int(t))
}

// Frame is one packet cut off a stream: type, flags of the first byte, and
// everything behind the fixed header. Body is a view of the parsed bytes.
type Frame struct {
	Type  PacketType
	Flags byte // the lower four bits
	Body  []byte
}

// The two packets that are always the same. Do not write to them.
var (
	PingreqBytes  = []byte{byte(PINGREQ) << 4, 0}
	PingrespBytes = []byte{byte(PINGRESP) << 4, 0}
)

// fixedFlags are the flags that every packet but PUBLISH must have (MQTT 5 §2.1.3).
var fixedFlags = [16]byte{PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}

// knownFlags has, per type, a bit for each value of the flags that ParseFrame
// lets pass. PUBLISH: no QoS 3, no DUP with QoS 0. PUBREL, SUBSCRIBE and
// UNSUBSCRIBE: with DUP too, which MQTT 3.1 sets when it sends them again (MQTT
// 3.1 §2.1); ParseFrame does not know the version, Decode does.
var knownFlags = [16]uint16{
	CONNECT: 1, CONNACK: 1, PUBLISH: 0b0011_1100_0011_1111,
	PUBACK: 1, PUBREC: 1, PUBREL: 1<<2 | 1<<10, PUBCOMP: 1,
	SUBSCRIBE: 1<<2 | 1<<10, SUBACK: 1, UNSUBSCRIBE: 1<<2 | 1<<10, UNSUBACK: 1,
	PINGREQ: 1, PINGRESP: 1, DISCONNECT: 1, AUTH: 1,
}

// ParseFrame cuts one packet off the start of b. n is how many bytes it took.
// n is 0 and err nil when the packet is not complete; need is then the size of
// the whole packet in bytes if that is known already, else 0. limit is the
// largest whole packet to accept in bytes; 0 means no limit but the
// protocol's. What is wrong with the fixed header is reported as soon as its
// bytes are there, before the body is.
//
// err is nil or an *Error: PacketTooLarge, or MalformedPacket, or
// ProtocolError for flags of PUBREL and DISCONNECT.
func ParseFrame(b []byte, limit int) (f Frame, n, need int, err error) {
	if len(b) == 0 {
		return Frame{}, 0, 0, nil
	}
	t, flags := PacketType(b[0]>>4), b[0]&0x0F
	if knownFlags[t]>>flags&1 == 0 {
		return Frame{}, 0, 0, badFlags(t, flags)
	}
	length, k := readVarint(b[1:])
	if k <= 0 {
		if k < 0 {
			return Frame{}, 0, 0, malformed(t, "remaining length is not a variable byte integer in its shortest form", "MQTT-1.5.5-1")
		}
		return Frame{}, 0, 0, nil
	}
	size := 1 + k + int(length)
	if limit > 0 && size > limit {
		return Frame{}, 0, size, &Error{PacketTooLarge, t,
			fmt.Sprintf("%d bytes, the limit is %d", size, limit), "MQTT 5 §3.1.2.11.4"}
	}
	if length != 0 && (t == PINGREQ || t == PINGRESP) {
		return Frame{}, 0, 0, malformed(t, "must have no body", "MQTT 5 §3.12")
	}
	if len(b) < size {
		return Frame{}, 0, size, nil
	}
	return Frame{t, flags, b[1+k : size : size]}, size, size, nil
}

// badFlags says what is wrong with a fixed header's flags. The standard calls all
// of them malformed; Mosquitto answers protocol error for PUBREL and DISCONNECT.
func badFlags(t PacketType, flags byte) error {
	switch t {
	case 0:
		return malformed(0, "packet type 0 is reserved", "MQTT 5 §2.1.2")
	case PUBLISH:
		if flags&6 == 6 {
			return malformed(t, "QoS 3", "MQTT-3.3.1-4")
		}
		return malformed(t, "DUP with QoS 0", "MQTT-3.3.1-2")
	}
	detail := fmt.Sprintf("flags of the fixed header are %d, must be %d", flags, fixedFlags[t])
	switch t {
	case PUBREL:
		return malformed(t, detail, "MQTT-3.6.1-1")
	case DISCONNECT:
		return malformed(t, detail, "MQTT-3.14.1-1")
	}
	return malformed(t, detail, "MQTT-2.1.3-1")
}

// check tells whether the frame is of type t with the flags that t has in v.
// It is not for PUBLISH.
func (f *Frame) check(t PacketType, v Version) error {
	if f.Type != t {
		return protocolError(f.Type, "decoded as "+t.String(), "")
	}
	if f.Flags != fixedFlags[t] && (v != V31 || knownFlags[t]>>(f.Flags&15)&1 == 0) {
		return badFlags(t, f.Flags)
	}
	return nil
}

func truncated(t PacketType, what string) error {
	return malformed(t, "cut short in "+what, "MQTT 5 §1.2")
}

func trailing(t PacketType) error {
	return malformed(t, "bytes left over behind the last field", "MQTT 5 §1.2")
}

// appendHeader begins a packet of which size bytes follow the fixed header,
// with room for all of them.
func appendHeader(dst []byte, t PacketType, flags byte, size int) ([]byte, error) {
	if size > MaxRemainingLength {
		return dst, &Error{PacketTooLarge, t,
			fmt.Sprintf("cannot encode: remaining length would be %d, the limit is %d", size, MaxRemainingLength), "MQTT 5 §2.1.4"}
	}
	return AppendVarint(append(dst, byte(t)<<4|flags), uint32(size)), nil
}
