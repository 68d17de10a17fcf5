package mqtt

import "fmt"

// ReasonCode says how an operation ended (MQTT 5 §2.4). Codes of 0x80 and
// above are failures. The return codes of a 3.1 and 3.1.1 CONNACK and SUBACK
// use the same type.
type ReasonCode byte

// The reason codes of MQTT 5. Several names share the value 0, as in the
// specification.
const (
	Success                             ReasonCode = 0x00
	NormalDisconnection                 ReasonCode = 0x00
	GrantedQoS0                         ReasonCode = 0x00
	GrantedQoS1                         ReasonCode = 0x01
	GrantedQoS2                         ReasonCode = 0x02
	DisconnectWithWill                  ReasonCode = 0x04
	NoMatchingSubscribers               ReasonCode = 0x10
	NoSubscriptionExisted               ReasonCode = 0x11
	ContinueAuthentication              ReasonCode = 0x18
	ReAuthenticate                      ReasonCode = 0x19
	UnspecifiedError                    ReasonCode = 0x80
	MalformedPacket                     ReasonCode = 0x81
	ProtocolError                       ReasonCode = 0x82
	ImplementationSpecificError         ReasonCode = 0x83
	UnsupportedProtocolVersion          ReasonCode = 0x84
	ClientIdentifierNotValid            ReasonCode = 0x85
	BadUserNameOrPassword               ReasonCode = 0x86
	NotAuthorized                       ReasonCode = 0x87
	ServerUnavailable                   ReasonCode = 0x88
	ServerBusy                          ReasonCode = 0x89
	Banned                              ReasonCode = 0x8A
	ServerShuttingDown                  ReasonCode = 0x8B
	BadAuthenticationMethod             ReasonCode = 0x8C
	KeepAliveTimeout                    ReasonCode = 0x8D
	SessionTakenOver                    ReasonCode = 0x8E
	TopicFilterInvalid                  ReasonCode = 0x8F
	TopicNameInvalid                    ReasonCode = 0x90
	PacketIdentifierInUse               ReasonCode = 0x91
	PacketIdentifierNotFound            ReasonCode = 0x92
	ReceiveMaximumExceeded              ReasonCode = 0x93
	TopicAliasInvalid                   ReasonCode = 0x94
	PacketTooLarge                      ReasonCode = 0x95
	MessageRateTooHigh                  ReasonCode = 0x96
	QuotaExceeded                       ReasonCode = 0x97
	AdministrativeAction                ReasonCode = 0x98
	PayloadFormatInvalid                ReasonCode = 0x99
	RetainNotSupported                  ReasonCode = 0x9A
	QoSNotSupported                     ReasonCode = 0x9B
	UseAnotherServer                    ReasonCode = 0x9C
	ServerMoved                         ReasonCode = 0x9D
	SharedSubscriptionsNotSupported     ReasonCode = 0x9E
	ConnectionRateExceeded              ReasonCode = 0x9F
	MaximumConnectTime                  ReasonCode = 0xA0
	SubscriptionIdentifiersNotSupported ReasonCode = 0xA1
	WildcardSubscriptionsNotSupported   ReasonCode = 0xA2
)

// The return codes of a CONNACK before MQTT 5 (MQTT 3.1.1 §3.2.2.3). Their
// values collide with GrantedQoS1 and others: print them with V3String.
const (
	ConnAccepted             ReasonCode = 0
	ConnRefusedVersion       ReasonCode = 1
	ConnRefusedIdentifier    ReasonCode = 2
	ConnRefusedServer        ReasonCode = 3
	ConnRefusedCredentials   ReasonCode = 4
	ConnRefusedNotAuthorized ReasonCode = 5
)

var reasonNames = [256]string{
	Success:                             "Success",
	GrantedQoS1:                         "Granted QoS 1",
	GrantedQoS2:                         "Granted QoS 2",
	DisconnectWithWill:                  "Disconnect with Will Message",
	NoMatchingSubscribers:               "No matching subscribers",
	NoSubscriptionExisted:               "No subscription existed",
	ContinueAuthentication:              "Continue authentication",
	ReAuthenticate:                      "Re-authenticate",
	UnspecifiedError:                    "Unspecified error",
	MalformedPacket:                     "Malformed Packet",
	ProtocolError:                       "Protocol Error",
	ImplementationSpecificError:         "Implementation specific error",
	UnsupportedProtocolVersion:          "Unsupported Protocol Version",
	ClientIdentifierNotValid:            "Client Identifier not valid",
	BadUserNameOrPassword:               "Bad User Name or Password",
	NotAuthorized:                       "Not authorized",
	ServerUnavailable:                   "Server unavailable",
	ServerBusy:                          "Server busy",
	Banned:                              "Banned",
	ServerShuttingDown:                  "Server shutting down",
	BadAuthenticationMethod:             "Bad authentication method",
	KeepAliveTimeout:                    "Keep Alive timeout",
	SessionTakenOver:                    "Session taken over",
	TopicFilterInvalid:                  "Topic Filter invalid",
	TopicNameInvalid:                    "Topic Name invalid",
	PacketIdentifierInUse:               "Packet Identifier in use",
	PacketIdentifierNotFound:            "Packet Identifier not found",
	ReceiveMaximumExceeded:              "Receive Maximum exceeded",
	TopicAliasInvalid:                   "Topic Alias invalid",
	PacketTooLarge:                      "Packet too large",
	MessageRateTooHigh:                  "Message rate too high",
	QuotaExceeded:                       "Quota exceeded",
	AdministrativeAction:                "Administrative action",
	PayloadFormatInvalid:                "Payload format invalid",
	RetainNotSupported:                  "Retain not supported",
	QoSNotSupported:                     "QoS not supported",
	UseAnotherServer:                    "Use another server",
	ServerMoved:                         "Server moved",
	SharedSubscriptionsNotSupported:     "Shared Subscriptions not supported",
	ConnectionRateExceeded:              "Connection rate exceeded",
	MaximumConnectTime:                  "Maximum connect time",
	SubscriptionIdentifiersNotSupported: "Subscription Identifiers not supported",
	WildcardSubscriptionsNotSupported:   "Wildcard Subscriptions not supported",
}

// String returns the specification's name of the code, or its number in hex
// where the specification has none. 0 is "Success" in every packet.
func (c ReasonCode) String() string {
	if s := reasonNames[c]; s != "" {
		return s
	}
	return fmt.Sprintf("Reason Code 0x%02X", byte(c))
}

// IsError tells whether the code is a failure: 0x80 and above.
func (c ReasonCode) IsError() bool { return c >= 0x80 }

// V3String returns the name of a CONNACK return code of MQTT 3.1 and 3.1.1.
func (c ReasonCode) V3String() string {
	switch c {
	case ConnAccepted:
		return "Connection Accepted"
	case ConnRefusedVersion:
		return "Connection Refused: unacceptable protocol version"
	case ConnRefusedIdentifier:
		return "Connection Refused: identifier rejected"
	case ConnRefusedServer:
		return "Connection Refused: server unavailable"
	case ConnRefusedCredentials:
		return "Connection Refused: bad user name or password"
	case ConnRefusedNotAuthorized:
		return "Connection Refused: not authorized"
	}
	return fmt.Sprintf("Connection Refused: return code 0x%02X", byte(c))
}

// V3Connack maps a code of MQTT 5 to the CONNACK return code of MQTT 3.1 and
// 3.1.1 that says most nearly the same. Return codes 0 to 5 map to themselves.
func (c ReasonCode) V3Connack() ReasonCode {
	switch c {
	case UnsupportedProtocolVersion:
		return ConnRefusedVersion
	case ClientIdentifierNotValid:
		return ConnRefusedIdentifier
	case BadUserNameOrPassword:
		return ConnRefusedCredentials
	case NotAuthorized, Banned, BadAuthenticationMethod, TopicNameInvalid,
		PacketTooLarge, RetainNotSupported, QoSNotSupported:
		return ConnRefusedNotAuthorized
	}
	if c <= ConnRefusedNotAuthorized {
		return c
	}
	return ConnRefusedServer
}

// codeSet holds the reason codes that a packet may carry.
type codeSet [4]uint64

func codes(list ...ReasonCode) (s codeSet) {
	for _, c := range list {
		s[c>>6] |= 1 << (c & 63)
	}
	return s
}

func (s *codeSet) has(c ReasonCode) bool { return s[c>>6]>>(c&63)&1 != 0 }
