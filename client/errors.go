package client

import (
	"errors"
	"fmt"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Errors that carry no reason code.
var (
	// ErrClosed is what waits on a client gets after Disconnect or Close.
	ErrClosed = errors.New("mqtt client: closed")
	// ErrSessionLost is the end of a QoS 2 message that was on its way when the
	// server lost the session: it may or may not have been delivered, and
	// sending it again could deliver it twice.
	ErrSessionLost = errors.New("mqtt client: the server lost the session; the message may or may not have been delivered")
	// ErrKeepAlive ends a connection on which the server did not answer a ping.
	ErrKeepAlive = errors.New("mqtt client: the server did not answer within the keep alive time")
	// ErrNeedsV5 refuses what the chosen protocol version cannot express.
	ErrNeedsV5 = errors.New("mqtt client: needs protocol version 5")
)

// ConnectError is a connection that the server refused with a CONNACK.
type ConnectError struct {
	// Version tells how to read Code: MQTT 3.1 and 3.1.1 have return codes 1 to 5.
	Version mqtt.Version
	Code    mqtt.ReasonCode
	// Reason is the server's text, if it gave one.
	Reason string
	// ServerReference names another server to use, if the server gave one.
	ServerReference string
}

func (e *ConnectError) Error() string {
	name := e.Code.String()
	if e.Version != mqtt.V5 {
		name = e.Code.V3String()
	}
	return withReason("the server refused the connection: "+name, e.Reason, e.ServerReference)
}

// DisconnectError is a connection that the server ended with a DISCONNECT.
type DisconnectError struct {
	Code            mqtt.ReasonCode
	Reason          string
	ServerReference string
}

func (e *DisconnectError) Error() string {
	name := e.Code.String()
	if e.Code == mqtt.NormalDisconnection {
		name = "Normal disconnection"
	}
	return withReason("the server ended the connection: "+name, e.Reason, e.ServerReference)
}

// ReasonError is a publish, a subscription or an unsubscription that the server
// refused.
type ReasonError struct {
	// Packet is the packet that carried the code: PUBACK, PUBREC, SUBACK, ...
	Packet mqtt.PacketType
	// Topic is the topic or the filter that was refused.
	Topic  string
	Code   mqtt.ReasonCode
	Reason string
}

func (e *ReasonError) Error() string {
	return withReason(fmt.Sprintf("the server refused %q: %s", e.Topic, e.Code), e.Reason, "")
}

func withReason(text, reason, reference string) string {
	if reason != "" {
		text += ": " + reason
	}
	if reference != "" {
		text += " (it refers to " + reference + ")"
	}
	return text
}
