package mqtt

import "strconv"

// PropertyID names a property (MQTT 5 §2.2.2.2).
type PropertyID byte

// The properties of MQTT 5.
const (
	PropPayloadFormat        PropertyID = 1
	PropMessageExpiry        PropertyID = 2
	PropContentType          PropertyID = 3
	PropResponseTopic        PropertyID = 8
	PropCorrelationData      PropertyID = 9
	PropSubscriptionID       PropertyID = 11
	PropSessionExpiry        PropertyID = 17
	PropAssignedClientID     PropertyID = 18
	PropServerKeepAlive      PropertyID = 19
	PropAuthMethod           PropertyID = 21
	PropAuthData             PropertyID = 22
	PropRequestProblemInfo   PropertyID = 23
	PropWillDelay            PropertyID = 24
	PropRequestResponseInfo  PropertyID = 25
	PropResponseInfo         PropertyID = 26
	PropServerReference      PropertyID = 28
	PropReasonString         PropertyID = 31
	PropReceiveMaximum       PropertyID = 33
	PropTopicAliasMaximum    PropertyID = 34
	PropTopicAlias           PropertyID = 35
	PropMaximumQoS           PropertyID = 36
	PropRetainAvailable      PropertyID = 37
	PropUser                 PropertyID = 38
	PropMaximumPacketSize    PropertyID = 39
	PropWildcardSubAvailable PropertyID = 40
	PropSubIDAvailable       PropertyID = 41
	PropSharedSubAvailable   PropertyID = 42
)

// PropertySet has a bit per PropertyID.
type PropertySet uint64

// Has tells whether id is in the set.
func (s PropertySet) Has(id PropertyID) bool { return s>>(id&63)&1 != 0 }

// Set adds id.
func (s *PropertySet) Set(id PropertyID) { *s |= 1 << (id & 63) }

// Clear removes id.
func (s *PropertySet) Clear(id PropertyID) { *s &^= 1 << (id & 63) }

// With returns the set with id added.
func (s PropertySet) With(id PropertyID) PropertySet { return s | 1<<(id&63) }

func propertySet(ids ...PropertyID) (s PropertySet) {
	for _, id := range ids {
		s.Set(id)
	}
	return s
}

// place is where properties stand: a PacketType, or 0 for those of the will in
// a CONNECT.
type place byte

const willPlace place = 0

func (at place) packet() PacketType {
	if at == willPlace {
		return CONNECT
	}
	return PacketType(at)
}

func (at place) String() string {
	if at == willPlace {
		return "the will"
	}
	return PacketType(at).String()
}

// allowed is the table of MQTT 5 §2.2.2.2: which properties may stand where.
// Who sends the packet is not considered: a server takes no Subscription
// Identifier in a PUBLISH [MQTT-3.3.4-6], but that is for it to say.
var allowed = [16]PropertySet{
	willPlace: propertySet(PropPayloadFormat, PropMessageExpiry, PropContentType, PropResponseTopic,
		PropCorrelationData, PropWillDelay, PropUser),
	CONNECT: propertySet(PropSessionExpiry, PropAuthMethod, PropAuthData, PropRequestProblemInfo,
		PropRequestResponseInfo, PropReceiveMaximum, PropTopicAliasMaximum, PropUser, PropMaximumPacketSize),
	CONNACK: propertySet(PropSessionExpiry, PropAssignedClientID, PropServerKeepAlive, PropAuthMethod,
		PropAuthData, PropResponseInfo, PropServerReference, PropReasonString, PropReceiveMaximum,
		PropTopicAliasMaximum, PropMaximumQoS, PropRetainAvailable, PropUser, PropMaximumPacketSize,
		PropWildcardSubAvailable, PropSubIDAvailable, PropSharedSubAvailable),
	PUBLISH: propertySet(PropPayloadFormat, PropMessageExpiry, PropContentType, PropResponseTopic,
		PropCorrelationData, PropSubscriptionID, PropTopicAlias, PropUser),
	PUBACK:      propertySet(PropReasonString, PropUser),
	PUBREC:      propertySet(PropReasonString, PropUser),
	PUBREL:      propertySet(PropReasonString, PropUser),
	PUBCOMP:     propertySet(PropReasonString, PropUser),
	SUBSCRIBE:   propertySet(PropSubscriptionID, PropUser),
	SUBACK:      propertySet(PropReasonString, PropUser),
	UNSUBSCRIBE: propertySet(PropUser),
	UNSUBACK:    propertySet(PropReasonString, PropUser),
	DISCONNECT:  propertySet(PropSessionExpiry, PropServerReference, PropReasonString, PropUser),
	AUTH:        propertySet(PropAuthMethod, PropAuthData, PropReasonString, PropUser),
}

// repeatable are the properties that may come more than once: user properties
// everywhere, and in a PUBLISH the identifiers of all subscriptions it matches.
var repeatable = func() (r [16]PropertySet) {
	for at := range r {
		r[at] = propertySet(PropUser)
	}
	r[PUBLISH].Set(PropSubscriptionID)
	return r
}()

// kind is how the value of a property is written. Numbers with a range of
// values come first, up to kindUint32.
type kind byte

const (
	kindNone kind = iota
	kindByte
	kindUint16
	kindUint32
	kindText
	kindBinary
	kindIDs
	kindUser
)

// kinds and names are by PropertyID, a PropertySet's 64 bits wide so that no
// index needs a check.
var kinds = [64]kind{
	PropPayloadFormat: kindByte, PropMessageExpiry: kindUint32, PropContentType: kindText,
	PropResponseTopic: kindText, PropCorrelationData: kindBinary, PropSubscriptionID: kindIDs,
	PropSessionExpiry: kindUint32, PropAssignedClientID: kindText, PropServerKeepAlive: kindUint16,
	PropAuthMethod: kindText, PropAuthData: kindBinary, PropRequestProblemInfo: kindByte,
	PropWillDelay: kindUint32, PropRequestResponseInfo: kindByte, PropResponseInfo: kindText,
	PropServerReference: kindText, PropReasonString: kindText, PropReceiveMaximum: kindUint16,
	PropTopicAliasMaximum: kindUint16, PropTopicAlias: kindUint16, PropMaximumQoS: kindByte,
	PropRetainAvailable: kindByte, PropUser: kindUser, PropMaximumPacketSize: kindUint32,
	PropWildcardSubAvailable: kindByte, PropSubIDAvailable: kindByte, PropSharedSubAvailable: kindByte,
}

var knownProperties = func() (s PropertySet) {
	for id, k := range kinds {
		if k != kindNone {
			s.Set(PropertyID(id))
		}
	}
	return s
}()

var propertyNames = [64]string{
	PropPayloadFormat: "Payload Format Indicator", PropMessageExpiry: "Message Expiry Interval",
	PropContentType: "Content Type", PropResponseTopic: "Response Topic",
	PropCorrelationData: "Correlation Data", PropSubscriptionID: "Subscription Identifier",
	PropSessionExpiry: "Session Expiry Interval", PropAssignedClientID: "Assigned Client Identifier",
	PropServerKeepAlive: "Server Keep Alive", PropAuthMethod: "Authentication Method",
	PropAuthData: "Authentication Data", PropRequestProblemInfo: "Request Problem Information",
	PropWillDelay: "Will Delay Interval", PropRequestResponseInfo: "Request Response Information",
	PropResponseInfo: "Response Information", PropServerReference: "Server Reference",
	PropReasonString: "Reason String", PropReceiveMaximum: "Receive Maximum",
	PropTopicAliasMaximum: "Topic Alias Maximum", PropTopicAlias: "Topic Alias",
	PropMaximumQoS: "Maximum QoS", PropRetainAvailable: "Retain Available",
	PropUser: "User Property", PropMaximumPacketSize: "Maximum Packet Size",
	PropWildcardSubAvailable: "Wildcard Subscription Available",
	PropSubIDAvailable:       "Subscription Identifier Available",
	PropSharedSubAvailable:   "Shared Subscription Available",
}

// String returns the specification's name.
func (id PropertyID) String() string {
	if id < 64 && propertyNames[id] != "" {
		return propertyNames[id]
	}
	return "property " + strconv.Itoa(int(id))
}

// byteField, uint16Field, uint32Field and bytesField return the field of a
// property of that kind.
func (p *Properties) byteField(id PropertyID) *byte {
	switch id {
	case PropPayloadFormat:
		return &p.PayloadFormat
	case PropRequestProblemInfo:
		return &p.RequestProblemInfo
	case PropRequestResponseInfo:
		return &p.RequestResponseInfo
	case PropMaximumQoS:
		return &p.MaximumQoS
	case PropRetainAvailable:
		return &p.RetainAvailable
	case PropWildcardSubAvailable:
		return &p.WildcardSubAvailable
	case PropSubIDAvailable:
		return &p.SubIDAvailable
	case PropSharedSubAvailable:
		return &p.SharedSubAvailable
	}
	panic("mqtt: " + id.String() + " is not a byte")
}

func (p *Properties) uint16Field(id PropertyID) *uint16 {
	switch id {
	case PropServerKeepAlive:
		return &p.ServerKeepAlive
	case PropReceiveMaximum:
		return &p.ReceiveMaximum
	case PropTopicAliasMaximum:
		return &p.TopicAliasMaximum
	case PropTopicAlias:
		return &p.TopicAlias
	}
	panic("mqtt: " + id.String() + " is not a two byte integer")
}

func (p *Properties) uint32Field(id PropertyID) *uint32 {
	switch id {
	case PropMessageExpiry:
		return &p.MessageExpiry
	case PropSessionExpiry:
		return &p.SessionExpiry
	case PropWillDelay:
		return &p.WillDelay
	case PropMaximumPacketSize:
		return &p.MaximumPacketSize
	}
	panic("mqtt: " + id.String() + " is not a four byte integer")
}

func (p *Properties) bytesField(id PropertyID) *[]byte {
	switch id {
	case PropContentType:
		return &p.ContentType
	case PropResponseTopic:
		return &p.ResponseTopic
	case PropCorrelationData:
		return &p.CorrelationData
	case PropAssignedClientID:
		return &p.AssignedClientID
	case PropAuthMethod:
		return &p.AuthMethod
	case PropAuthData:
		return &p.AuthData
	case PropResponseInfo:
		return &p.ResponseInfo
	case PropServerReference:
		return &p.ServerReference
	case PropReasonString:
		return &p.ReasonString
	}
	panic("mqtt: " + id.String() + " is neither text nor binary data")
}
