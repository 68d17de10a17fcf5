package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"

	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// UserProperty is one name and value; names may repeat, order matters.
type UserProperty struct{ Key, Value []byte }

// Properties holds every property that any packet may carry; the bits of Has
// tell which are there. A field whose bit is not set means nothing.
type Properties struct {
	// Has tells which fields are there. User and SubscriptionIDs are written
	// when they are not empty, whatever their bits say; Decode sets the bits.
	Has PropertySet

	PayloadFormat        byte   // 0 bytes, 1 UTF-8 text
	MessageExpiry        uint32 // seconds
	ContentType          []byte
	ResponseTopic        []byte
	CorrelationData      []byte
	SubscriptionIDs      []uint32 // 1 to 268,435,455 each; several only in a PUBLISH
	SessionExpiry        uint32   // seconds; 0xFFFFFFFF never
	AssignedClientID     []byte
	ServerKeepAlive      uint16 // seconds
	AuthMethod           []byte
	AuthData             []byte
	RequestProblemInfo   byte
	WillDelay            uint32 // seconds
	RequestResponseInfo  byte
	ResponseInfo         []byte
	ServerReference      []byte
	ReasonString         []byte
	ReceiveMaximum       uint16 // at least 1
	TopicAliasMaximum    uint16
	TopicAlias           uint16 // at least 1
	MaximumQoS           byte   // 0 or 1
	RetainAvailable      byte
	User                 []UserProperty
	MaximumPacketSize    uint32 // bytes; at least 1
	WildcardSubAvailable byte
	SubIDAvailable       byte
	SharedSubAvailable   byte
}

// Reset empties the set. The capacity of User and SubscriptionIDs is kept, up
// to a few hundred entries.
func (p *Properties) Reset() {
	// Most packets have no properties: clearing 340 bytes each time would show.
	if p.Has == 0 && len(p.User) == 0 && len(p.SubscriptionIDs) == 0 {
		return
	}
	clear(p.User) // do not keep the buffers alive that the old views point to
	user, ids := recycled(p.User), recycled(p.SubscriptionIDs)
	*p = Properties{User: user, SubscriptionIDs: ids}
}

// present is Has corrected by what the slices hold.
func (p *Properties) present() PropertySet {
	s := p.Has & knownProperties
	s.Clear(PropUser)
	s.Clear(PropSubscriptionID)
	if len(p.User) > 0 {
		s.Set(PropUser)
	}
	if len(p.SubscriptionIDs) > 0 {
		s.Set(PropSubscriptionID)
	}
	return s
}

// Len returns how many bytes AppendFields appends.
func (p *Properties) Len() int {
	if p.Has == 0 && len(p.User) == 0 && len(p.SubscriptionIDs) == 0 {
		return 0
	}
	n := 0
	for s := p.present(); s != 0; s &= s - 1 {
		id := PropertyID(bits.TrailingZeros64(uint64(s)))
		switch kinds[id] {
		case kindByte:
			n += 2
		case kindUint16:
			n += 3
		case kindUint32:
			n += 5
		case kindText, kindBinary:
			n += 3 + len(*p.bytesField(id))
		case kindIDs:
			for _, v := range p.SubscriptionIDs {
				n += 1 + VarintLen(v)
			}
		case kindUser:
			for i := range p.User {
				n += 5 + len(p.User[i].Key) + len(p.User[i].Value)
			}
		}
	}
	return n
}

// Append appends the length of the properties and the properties. The values
// are not checked: a packet's Append does that.
func (p *Properties) Append(dst []byte) []byte {
	return p.AppendFields(AppendVarint(dst, uint32(p.Len())))
}

// AppendFields appends the properties without their length, ordered by
// identifier; user properties and subscription identifiers keep their order.
func (p *Properties) AppendFields(dst []byte) []byte {
	if p.Has == 0 && len(p.User) == 0 && len(p.SubscriptionIDs) == 0 {
		return dst
	}
	return p.appendSet(dst, p.present())
}

// AppendSelected is AppendFields for those of the properties that are in only:
// what of a message travels on to its receivers (MQTT 5 §3.3.2.3).
func (p *Properties) AppendSelected(dst []byte, only PropertySet) []byte {
	return p.appendSet(dst, p.present()&only)
}

// appendSet appends the properties in s, all of which must be present.
func (p *Properties) appendSet(dst []byte, s PropertySet) []byte {
	for ; s != 0; s &= s - 1 {
		id := PropertyID(bits.TrailingZeros64(uint64(s)))
		switch kinds[id] {
		case kindByte:
			dst = append(dst, byte(id), *p.byteField(id))
		case kindUint16:
			dst = AppendUint16(append(dst, byte(id)), *p.uint16Field(id))
		case kindUint32:
			dst = AppendUint32(append(dst, byte(id)), *p.uint32Field(id))
		case kindText, kindBinary:
			dst = AppendString(append(dst, byte(id)), *p.bytesField(id))
		case kindIDs:
			for _, v := range p.SubscriptionIDs {
				dst = AppendVarint(append(dst, byte(id)), v)
			}
		case kindUser:
			for i := range p.User {
				dst = AppendString(append(dst, byte(id)), p.User[i].Key)
				dst = AppendString(dst, p.User[i].Value)
			}
		}
	}
	return dst
}

// measure returns the size of the properties with their length prefix, or why
// they cannot be written in that place.
func (p *Properties) measure(at place) (int, error) {
	if p.Has == 0 && len(p.User) == 0 && len(p.SubscriptionIDs) == 0 {
		return 1, nil
	}
	set := p.present()
	if bad := set &^ allowed[at]; bad != 0 {
		id := PropertyID(bits.TrailingZeros64(uint64(bad)))
		return 0, unencodable(at.packet(), id.String()+" does not belong in "+at.String(), "MQTT 5 §2.2.2.2")
	}
	for s := set; s != 0; s &= s - 1 {
		id := PropertyID(bits.TrailingZeros64(uint64(s)))
		var long bool
		switch kinds[id] {
		case kindText, kindBinary:
			long = len(*p.bytesField(id)) > MaxStringLength
		case kindIDs:
			if at != place(PUBLISH) && len(p.SubscriptionIDs) > 1 {
				return 0, unencodable(at.packet(), "more than one "+id.String(), "MQTT 5 §3.8.2.1.2")
			}
			for _, v := range p.SubscriptionIDs {
				if v == 0 || v > MaxRemainingLength {
					return 0, unencodable(at.packet(), fmt.Sprintf("%v %d, must be 1 to %d", id, v, MaxRemainingLength), "MQTT 5 §3.8.2.1.2")
				}
			}
		case kindUser:
			for i := range p.User {
				long = long || len(p.User[i].Key) > MaxStringLength || len(p.User[i].Value) > MaxStringLength
			}
		default:
			if e := p.checkNumber(id, at); e != nil {
				return 0, unencodable(e.Packet, e.Detail, e.Statement)
			}
		}
		if long {
			return 0, unencodable(at.packet(), id.String()+" is longer than 65535 bytes", "MQTT 5 §1.5.4")
		}
	}
	n := p.Len()
	if n > MaxRemainingLength {
		return 0, &Error{PacketTooLarge, at.packet(), "cannot encode: the properties are longer than a packet may be", "MQTT 5 §2.1.4"}
	}
	return VarintLen(uint32(n)) + n, nil
}

// decode reads the property length and the properties from the start of b and
// returns what follows them.
func (p *Properties) decode(b []byte, at place) (rest []byte, err error) {
	p.Reset()
	if len(b) > 0 && b[0] == 0 {
		return b[1:], nil
	}
	n, k := readVarint(b)
	if k < 0 {
		return nil, malformed(at.packet(), "property length of "+at.String()+" is not a variable byte integer in its shortest form", "MQTT-1.5.5-1")
	}
	if k == 0 || int(n) > len(b)-k {
		return nil, truncated(at.packet(), "the properties of "+at.String())
	}
	end := k + int(n)
	return b[end:], p.decodeFields(b[k:end:end], at)
}

// decodeFields reads properties until b is used up.
func (p *Properties) decodeFields(b []byte, at place) error {
	for len(b) > 0 {
		id := PropertyID(b[0])
		if id > PropSharedSubAvailable || !(allowed[at] &^ (p.Has &^ repeatable[at])).Has(id) {
			return p.refuse(b, at)
		}
		p.Has.Set(id)
		b = b[1:]
		ok := true
		switch kinds[id] {
		case kindByte:
			if ok = len(b) >= 1; ok {
				*p.byteField(id) = b[0]
				b = b[1:]
			}
		case kindUint16:
			if ok = len(b) >= 2; ok {
				*p.uint16Field(id) = uint16At(b)
				b = b[2:]
			}
		case kindUint32:
			if ok = len(b) >= 4; ok {
				*p.uint32Field(id) = uint32(uint16At(b))<<16 | uint32(uint16At(b[2:]))
				b = b[4:]
			}
		case kindText:
			field := p.bytesField(id)
			if *field, b, ok = cutString(b); ok {
				if err := checkText(id, *field, at); err != nil {
					return err
				}
			}
		case kindBinary:
			*p.bytesField(id), b, ok = cutString(b)
		case kindIDs:
			v, k := readVarint(b)
			if k < 0 || (k > 0 && v == 0) {
				return badSubscriptionID(k, at)
			}
			if ok = k > 0; ok {
				p.SubscriptionIDs = append(p.SubscriptionIDs, v)
				b = b[k:]
			}
		case kindUser:
			var u UserProperty
			if u.Key, b, ok = cutString(b); ok {
				if u.Value, b, ok = cutString(b); ok {
					if !validText(u.Key) || !validText(u.Value) {
						return malformed(at.packet(), id.String()+" is not well-formed UTF-8, or contains U+0000", "MQTT-1.5.4-1")
					}
					p.User = append(p.User, u)
				}
			}
		}
		if !ok {
			return truncated(at.packet(), id.String())
		}
		if kinds[id] <= kindUint32 {
			if e := p.checkNumber(id, at); e != nil {
				return e
			}
		}
	}
	return nil
}

// refuse says why the property at the start of b is not one that may come here.
func (p *Properties) refuse(b []byte, at place) error {
	v, k := readVarint(b)
	if k <= 0 {
		return malformed(at.packet(), "a property identifier of "+at.String()+" is not a variable byte integer in its shortest form", "MQTT-1.5.5-1")
	}
	if v > uint32(PropSharedSubAvailable) || !knownProperties.Has(PropertyID(v)) {
		return malformed(at.packet(), fmt.Sprintf("unknown property %d in %v", v, at), "MQTT 5 §2.2.2.2")
	}
	id := PropertyID(v)
	if !allowed[at].Has(id) {
		return protocolError(at.packet(), id.String()+" is not allowed in "+at.String(), "MQTT 5 §2.2.2.2")
	}
	return protocolError(at.packet(), id.String()+" comes twice in "+at.String(), "MQTT 5 §2.2.2.2")
}

func badSubscriptionID(k int, at place) error {
	if k < 0 {
		return malformed(at.packet(), PropSubscriptionID.String()+" is not a variable byte integer in its shortest form", "MQTT-1.5.5-1")
	}
	return protocolError(at.packet(), PropSubscriptionID.String()+" is 0", "MQTT 5 §3.8.2.1.2")
}

// checkNumber refuses the values that a numeric property must not have.
func (p *Properties) checkNumber(id PropertyID, at place) *Error {
	switch kinds[id] {
	case kindByte:
		if v := *p.byteField(id); v > 1 {
			return &Error{ProtocolError, at.packet(), fmt.Sprintf("%v is %d, must be 0 or 1", id, v), "MQTT 5 §2.2.2.2"}
		}
	case kindUint16:
		if *p.uint16Field(id) != 0 {
			return nil
		}
		switch id {
		case PropReceiveMaximum:
			return &Error{ProtocolError, at.packet(), id.String() + " is 0", "MQTT 5 §3.1.2.11.3"}
		case PropTopicAlias:
			return &Error{TopicAliasInvalid, at.packet(), id.String() + " is 0", "MQTT-3.3.2-8"}
		}
	case kindUint32:
		if id == PropMaximumPacketSize && p.MaximumPacketSize == 0 {
			return &Error{ProtocolError, at.packet(), id.String() + " is 0", "MQTT 5 §3.1.2.11.4"}
		}
	}
	return nil
}

// checkText: a response topic is a topic name; other strings are only UTF-8.
func checkText(id PropertyID, s []byte, at place) error {
	if id == PropResponseTopic {
		err := topic.ValidName(s)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, topic.ErrWildcard):
			return protocolError(at.packet(), id.String()+" contains a wildcard", "MQTT-3.3.2-14")
		case errors.Is(err, topic.ErrEmpty):
			return protocolError(at.packet(), id.String()+" is empty", "MQTT-4.7.3-1")
		}
		return topicError(at.packet(), id.String(), err)
	}
	if validText(s) {
		return nil
	}
	if bytes.IndexByte(s, 0) >= 0 {
		return malformed(at.packet(), id.String()+" contains U+0000", "MQTT-1.5.4-2")
	}
	return malformed(at.packet(), id.String()+" is not well-formed UTF-8", "MQTT-1.5.4-1")
}

// topicError wraps what package topic found wrong with a name or filter.
func topicError(t PacketType, what string, err error) *Error {
	var e *topic.Error
	if !errors.As(err, &e) {
		e = &topic.Error{Detail: err.Error()}
	}
	return &Error{MalformedPacket, t, what + " " + e.Detail, e.Statement}
}
