package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Defaults of Options.
const (
	DefaultKeepAlive      = 60 * time.Second
	DefaultMaxInFlight    = 20
	DefaultQueue          = 1024
	DefaultReconnectMin   = time.Second
	DefaultReconnectMax   = time.Minute
	DefaultConnectTimeout = 30 * time.Second
)

// SessionNeverExpires is a session expiry, in seconds, that means "for ever".
const SessionNeverExpires uint32 = math.MaxUint32

// Options says how a client connects and behaves. The zero value is a client of
// MQTT 5 with a clean session and an id that the server chooses.
type Options struct {
	// Version is mqtt.V31, mqtt.V311 or mqtt.V5; 0 is mqtt.V5.
	Version mqtt.Version
	// ClientID names the client, and its session, to the server. Empty: the
	// server chooses one (with MQTT 3.1 this package does).
	ClientID string
	// Username and Password are sent when they are not empty; a Password that
	// is empty but not nil is sent too. They win over those in the URL.
	Username string
	Password []byte

	// KeepSession asks for the session that the server may still have: without
	// it the first connection starts a clean one. A reconnection always asks
	// for the session, unless it could not outlive the connection (MQTT 3 with
	// a clean session, MQTT 5 with a SessionExpiry of 0).
	KeepSession bool
	// SessionExpiry is how many seconds the server keeps the session after the
	// connection has ended: 0 not at all, SessionNeverExpires for ever. MQTT 5
	// only: in MQTT 3 KeepSession decides.
	SessionExpiry uint32

	// KeepAlive is the time after which a silent connection is probed, in whole
	// seconds up to 65,535. 0: DefaultKeepAlive; negative: never. A server may
	// impose another one.
	KeepAlive time.Duration
	// Will is the message that the server publishes when the connection ends
	// without Disconnect. nil: none.
	Will *Will

	// TLS is the configuration for mqtts:// and wss:// URLs; nil verifies the server
	// against the system's certificates. ServerName is filled in from the URL.
	TLS *tls.Config
	// Dial opens the network connection, for proxies and tests. network is
	// "tcp" or "unix". nil: a net.Dialer. TLS and WebSocket are laid over what it
	// returns.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// ConnectTimeout bounds each attempt to connect, up to the CONNACK. 0:
	// DefaultConnectTimeout; negative: only the context bounds it.
	ConnectTimeout time.Duration

	// ReceiveMaximum is how many messages of QoS 1 and 2 the server may have
	// unacknowledged at once. 0: 65,535. MQTT 5 only.
	ReceiveMaximum uint16
	// MaximumPacketSize is the largest packet, in bytes, that the client takes;
	// it is announced with MQTT 5, and a larger one ends the connection with
	// every version. 0: what the protocol can express, 268,435,460 bytes.
	MaximumPacketSize uint32
	// TopicAliasMaximum is how many topic aliases the server may use. MQTT 5 only.
	TopicAliasMaximum uint16
	// RequestResponseInfo asks the server for Connack.ResponseInfo.
	RequestResponseInfo bool
	// NoProblemInfo asks the server to leave out reason strings and user
	// properties wherever it may.
	NoProblemInfo bool
	// UserProperties are sent with CONNECT.
	UserProperties []UserProperty
	// Auth is the client's side of enhanced authentication. MQTT 5 only. nil: none.
	Auth Authenticator

	// OnMessage gets what is received; see the package documentation. nil:
	// messages are acknowledged and dropped.
	OnMessage func(*Message)
	// ManualAck leaves the acknowledgement of QoS 1 and 2 messages to Message.Ack.
	ManualAck bool
	// Queue is how many messages are read ahead of OnMessage. 0: DefaultQueue.
	Queue int
	// MaxInFlight is how many messages of QoS 1 and 2 are sent ahead of their
	// acknowledgements; the server may set a lower limit. 0: DefaultMaxInFlight.
	MaxInFlight int

	// NoReconnect ends the client with its first connection.
	NoReconnect bool
	// ReconnectMin and ReconnectMax bound the delay before a new attempt. It
	// doubles from one to the other, each time with a random part. 0:
	// DefaultReconnectMin and DefaultReconnectMax.
	ReconnectMin, ReconnectMax time.Duration
	// RetryIf decides whether to go on after err, which ended the connection or
	// refused a new one. nil: always, except after mqtt.SessionTakenOver: two
	// clients with one id would throw each other out for ever.
	RetryIf func(err error) bool
	// NoResubscribe leaves subscribing again, after a reconnection on which the
	// server had no session, to OnConnect.
	NoResubscribe bool

	// OnConnect is told of every connection, the first one too; OnDisconnect of
	// every loss and of every attempt to reconnect that failed. They are called
	// by the goroutine that looks after the connection: they may call Close, but
	// must not wait for anything that needs a connection.
	OnConnect    func(Connack)
	OnDisconnect func(err error)

	// Trace is told of every packet that is sent or was received, for debugging. It
	// is called by several goroutines, must not wait, and must not keep the body.
	Trace func(sent bool, f mqtt.Frame)
}

// Will is a message that the server publishes in the client's name.
type Will struct {
	Message
	// Delay is how many seconds the server waits before it publishes. MQTT 5 only.
	Delay uint32
}

// An Authenticator is the client's side of enhanced authentication (MQTT 5
// §4.12). Its methods are called one at a time.
type Authenticator interface {
	// Method is the authentication method, such as "SCRAM-SHA-256".
	Method() string
	// Start begins an authentication, also a repeated one, and gives the data
	// to send first.
	Start(ctx context.Context) ([]byte, error)
	// Continue answers the server's data.
	Continue(ctx context.Context, data []byte) ([]byte, error)
	// Finish gets the data that came with the server's success. An error ends
	// the connection: the server did not prove who it is.
	Finish(ctx context.Context, data []byte) error
}

// setDefaults replaces zero values and checks what can be checked before a
// connection is opened.
func (o *Options) setDefaults() error {
	if o.Version == 0 {
		o.Version = mqtt.V5
	}
	if o.Version < mqtt.V31 || o.Version > mqtt.V5 {
		return fmt.Errorf("mqtt client: protocol version %d: use mqtt.V31, mqtt.V311 or mqtt.V5", o.Version)
	}
	setDefault(&o.KeepAlive, DefaultKeepAlive)
	setDefault(&o.ConnectTimeout, DefaultConnectTimeout)
	setDefault(&o.Queue, DefaultQueue)
	setDefault(&o.MaxInFlight, DefaultMaxInFlight)
	setDefault(&o.ReconnectMin, DefaultReconnectMin)
	setDefault(&o.ReconnectMax, max(DefaultReconnectMax, o.ReconnectMin))
	switch {
	case o.KeepAlive > math.MaxUint16*time.Second:
		return fmt.Errorf("mqtt client: keep alive %v: at most 65,535 seconds", o.KeepAlive)
	case o.KeepAlive > 0 && o.KeepAlive < time.Second:
		return fmt.Errorf("mqtt client: keep alive %v: at least one second, or negative for none", o.KeepAlive)
	case o.Queue < 0 || o.MaxInFlight < 0:
		return errors.New("mqtt client: Queue and MaxInFlight cannot be negative")
	case o.ReconnectMin < 0 || o.ReconnectMax < o.ReconnectMin:
		return fmt.Errorf("mqtt client: reconnect delays from %v to %v: the first must not be the larger", o.ReconnectMin, o.ReconnectMax)
	}
	if o.Will != nil {
		if err := checkMessage(&o.Will.Message, o.Version); err != nil {
			return fmt.Errorf("will: %w", err)
		}
	}
	if o.Version == mqtt.V5 {
		return nil
	}
	switch {
	case o.Auth != nil:
		return fmt.Errorf("%w: enhanced authentication", ErrNeedsV5)
	case o.SessionExpiry != 0:
		return fmt.Errorf("%w: a session expiry; set KeepSession instead", ErrNeedsV5)
	case len(o.UserProperties) > 0:
		return fmt.Errorf("%w: user properties", ErrNeedsV5)
	case o.Will != nil && o.Will.Delay > 0:
		return fmt.Errorf("%w: a will delay", ErrNeedsV5)
	case o.Version == mqtt.V311 && o.ClientID == "" && o.KeepSession:
		return errors.New("mqtt client: a session that is to be kept needs a ClientID [MQTT-3.1.3-7]")
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// cleanStart is the flag for the next CONNECT.
func (o *Options) cleanStart(first bool) bool {
	if first || !o.sessionOutlives() {
		return !o.KeepSession
	}
	return false
}

// sessionOutlives tells whether the session can outlive a connection.
func (o *Options) sessionOutlives() bool {
	if o.Version == mqtt.V5 {
		return o.SessionExpiry > 0
	}
	return o.KeepSession
}
