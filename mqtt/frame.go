package mqtt

// Version is the protocol level that a CONNECT announces.
type Version byte

// The three versions.
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

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

// Frame is one packet cut off a stream: type, flags of the first byte, and
// everything behind the fixed header. Body is a view of the parsed bytes.
type Frame struct {
	Type  PacketType
	Flags byte
	Body  []byte
}

// The two packets that are always the same.
var (
	PingreqBytes  = []byte{0xC0, 0}
	PingrespBytes = []byte{0xD0, 0}
)

func (t PacketType) String() string                                  { return "" }
func ParseFrame(b []byte, max int) (f Frame, n, need int, err error) { return }
func AppendVarint(dst []byte, v uint32) []byte                       { return dst }
func VarintLen(v uint32) int                                         { return 0 }
func AppendString(dst, s []byte) []byte                              { return dst }
func AppendUint16(dst []byte, v uint16) []byte                       { return dst }
func AppendUint32(dst []byte, v uint32) []byte                       { return dst }
