package conformance

import "encoding/binary"

// The packet types ("MQTT 5 §2.1.2"), named as the standard prints them.
const (
	CONNECT     = 1
	CONNACK     = 2
	PUBLISH     = 3
	PUBACK      = 4
	PUBREC      = 5
	PUBREL      = 6
	PUBCOMP     = 7
	SUBSCRIBE   = 8
	SUBACK      = 9
	UNSUBSCRIBE = 10
	UNSUBACK    = 11
	PINGREQ     = 12
	PINGRESP    = 13
	DISCONNECT  = 14
	AUTH        = 15
)

var typeNames = [16]string{"type0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE",
	"SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}

// Raw frames a body: first byte, remaining length, body.
func Raw(first byte, body ...byte) []byte {
	return append(Varint([]byte{first}, len(body)), body...)
}

// Varint appends n as a variable byte integer ([MQTT-1.5.5-1]).
func Varint(dst []byte, n int) []byte {
	for {
		b := byte(n % 128)
		n /= 128
		if n > 0 {
			dst = append(dst, b|0x80)
			continue
		}
		return append(dst, b)
	}
}

// Str appends a string (or binary data) with its two-byte length. It does not check UTF-8: cases send bad strings.
func Str(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// U16 returns n as two bytes.
func U16(n uint16) []byte { return []byte{byte(n >> 8), byte(n)} }

// Cat joins byte slices: Cat(U16(1), Str(nil, "a"), []byte{0}).
func Cat(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// Prop is one MQTT 5 property. Which value field counts follows from the id: Int for bytes and integers, Str for strings
// and binary data, Key and Str for a user property.
type Prop struct {
	ID  byte
	Int uint32
	Key string
	Str string
}

// The property identifiers of MQTT 5.
const (
	PropPayloadFormat       = 1
	PropMessageExpiry       = 2
	PropContentType         = 3
	PropResponseTopic       = 8
	PropCorrelationData     = 9
	PropSubscriptionID      = 11
	PropSessionExpiry       = 17
	PropAssignedClientID    = 18
	PropServerKeepAlive     = 19
	PropAuthMethod          = 21
	PropAuthData            = 22
	PropRequestProblemInfo  = 23
	PropWillDelay           = 24
	PropRequestResponseInfo = 25
	PropResponseInfo        = 26
	PropServerReference     = 28
	PropReasonString        = 31
	PropReceiveMaximum      = 33
	PropTopicAliasMaximum   = 34
	PropTopicAlias          = 35
	PropMaximumQoS          = 36
	PropRetainAvailable     = 37
	PropUser                = 38
	PropMaximumPacketSize   = 39
	PropWildcardAvailable   = 40
	PropSubIDAvailable      = 41
	PropSharedAvailable     = 42
)

// propKind: 1, 2, 4 bytes wide, 'v' variable byte integer, 's' UTF-8 string, 'b' binary data, 'p' string pair.
var propKind = map[byte]byte{
	PropPayloadFormat: 1, PropMessageExpiry: 4, PropContentType: 's', PropResponseTopic: 's', PropCorrelationData: 'b',
	PropSubscriptionID: 'v', PropSessionExpiry: 4, PropAssignedClientID: 's', PropServerKeepAlive: 2, PropAuthMethod: 's',
	PropAuthData: 'b', PropRequestProblemInfo: 1, PropWillDelay: 4, PropRequestResponseInfo: 1, PropResponseInfo: 's',
	PropServerReference: 's', PropReasonString: 's', PropReceiveMaximum: 2, PropTopicAliasMaximum: 2, PropTopicAlias: 2,
	PropMaximumQoS: 1, PropRetainAvailable: 1, PropUser: 'p', PropMaximumPacketSize: 4, PropWildcardAvailable: 1,
	PropSubIDAvailable: 1, PropSharedAvailable: 1,
}

// Props encodes a property list with its length in front.
func Props(props ...Prop) []byte {
	fields := PropFields(props...)
	return append(Varint(nil, len(fields)), fields...)
}

// PropFields encodes properties without the length in front. An unknown id is written as a lone byte.
func PropFields(props ...Prop) []byte {
	var b []byte
	for _, p := range props {
		b = append(b, p.ID)
		switch propKind[p.ID] {
		case 1:
			b = append(b, byte(p.Int))
		case 2:
			b = binary.BigEndian.AppendUint16(b, uint16(p.Int))
		case 4:
			b = binary.BigEndian.AppendUint32(b, p.Int)
		case 'v':
			b = Varint(b, int(p.Int))
		case 's', 'b':
			b = Str(b, p.Str)
		case 'p':
			b = Str(Str(b, p.Key), p.Str)
		}
	}
	return b
}

// Will is the will message of a CONNECT.
type Will struct {
	Topic, Payload string
	QoS            byte
	Retain         bool
	Props          []Prop
}

// Connect is a CONNECT to be sent. The zero value of Version is filled in by the peer. Override fields let a case send
// what the standard forbids.
type Connect struct {
	Version      Version
	ProtocolName string // "" = the right one
	ClientID     string
	Clean        bool // clean session, clean start
	KeepAlive    uint16
	Will         *Will
	Username     *string
	Password     *string
	Props        []Prop
	Flags        *byte // override of the connect flags
}

// Bytes encodes the packet.
func (c Connect) Bytes() []byte {
	name := c.ProtocolName
	if name == "" {
		name = "MQTT"
		if c.Version&0x7f == V31 {
			name = "MQIsdp"
		}
	}
	var flags byte
	if c.Clean {
		flags |= 0x02
	}
	if w := c.Will; w != nil {
		flags |= 0x04 | w.QoS<<3
		if w.Retain {
			flags |= 0x20
		}
	}
	if c.Password != nil {
		flags |= 0x40
	}
	if c.Username != nil {
		flags |= 0x80
	}
	if c.Flags != nil {
		flags = *c.Flags
	}
	b := append(Str(nil, name), byte(c.Version), flags)
	b = binary.BigEndian.AppendUint16(b, c.KeepAlive)
	if c.Version == V5 {
		b = append(b, Props(c.Props...)...)
	}
	b = Str(b, c.ClientID)
	if w := c.Will; w != nil {
		if c.Version == V5 {
			b = append(b, Props(w.Props...)...)
		}
		b = Str(Str(b, w.Topic), w.Payload)
	}
	if c.Username != nil {
		b = Str(b, *c.Username)
	}
	if c.Password != nil {
		b = Str(b, *c.Password)
	}
	return Raw(CONNECT<<4, b...)
}

// Publish is a PUBLISH to be sent.
type Publish struct {
	Topic, Payload string
	QoS            byte
	Dup, Retain    bool
	ID             uint16 // written when QoS > 0
	Props          []Prop // written for MQTT 5
}

// Bytes encodes the packet for a version.
func (p Publish) Bytes(v Version) []byte {
	first := byte(PUBLISH<<4) | p.QoS<<1
	if p.Dup {
		first |= 0x08
	}
	if p.Retain {
		first |= 0x01
	}
	b := Str(nil, p.Topic)
	if p.QoS > 0 {
		b = append(b, U16(p.ID)...)
	}
	if v == V5 {
		b = append(b, Props(p.Props...)...)
	}
	return Raw(first, append(b, p.Payload...)...)
}

// Ack encodes PUBACK, PUBREC, PUBREL, PUBCOMP in the form of two bytes that all versions know (reason Success).
func Ack(typ byte, id uint16) []byte {
	first := typ << 4
	if typ == PUBREL {
		first |= 0x02
	}
	return Raw(first, U16(id)...)
}

// AckReason encodes an acknowledgement of MQTT 5 with reason code and properties.
func AckReason(typ byte, id uint16, reason byte, props ...Prop) []byte {
	first := typ << 4
	if typ == PUBREL {
		first |= 0x02
	}
	return Raw(first, Cat(U16(id), []byte{reason}, Props(props...))...)
}

// Sub is one filter of a SUBSCRIBE. Options is the byte on the wire; its low two bits are the QoS.
type Sub struct {
	Filter  string
	Options byte
}

// Subscribe encodes a SUBSCRIBE; props are written for MQTT 5 only.
func Subscribe(v Version, id uint16, props []Prop, subs ...Sub) []byte {
	b := U16(id)
	if v == V5 {
		b = append(b, Props(props...)...)
	}
	for _, s := range subs {
		b = append(Str(b, s.Filter), s.Options)
	}
	return Raw(SUBSCRIBE<<4|0x02, b...)
}

// Unsubscribe encodes an UNSUBSCRIBE; props are written for MQTT 5 only.
func Unsubscribe(v Version, id uint16, props []Prop, filters ...string) []byte {
	b := U16(id)
	if v == V5 {
		b = append(b, Props(props...)...)
	}
	for _, f := range filters {
		b = Str(b, f)
	}
	return Raw(UNSUBSCRIBE<<4|0x02, b...)
}

// Ping and Disconnect are the packets without a body.
var (
	Ping       = Raw(PINGREQ << 4)
	Disconnect = Raw(DISCONNECT << 4)
)

// DisconnectReason encodes a DISCONNECT of MQTT 5 with reason code and properties.
func DisconnectReason(reason byte, props ...Prop) []byte {
	return Raw(DISCONNECT<<4, append([]byte{reason}, Props(props...)...)...)
}

// Auth encodes an AUTH of MQTT 5.
func Auth(reason byte, props ...Prop) []byte {
	return Raw(AUTH<<4, append([]byte{reason}, Props(props...)...)...)
}
