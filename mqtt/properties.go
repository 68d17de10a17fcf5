package mqtt

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
	ReceiveMaximum       uint16
	TopicAliasMaximum    uint16
	TopicAlias           uint16
	MaximumQoS           byte
	RetainAvailable      byte
	User                 []UserProperty
	MaximumPacketSize    uint32 // bytes
	WildcardSubAvailable byte
	SubIDAvailable       byte
	SharedSubAvailable   byte
}

func (p *Properties) Reset()                         {}
func (p *Properties) Append(dst []byte) []byte       { return dst }
func (p *Properties) AppendFields(dst []byte) []byte { return dst }
