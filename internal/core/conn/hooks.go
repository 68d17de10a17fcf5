package conn

import (
	"crypto/x509"

	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// once passes a hook's answer on to the connection's loop, and only the first: a second one would meet the client in
// another state.
func once[T any](c *Conn, fn func(w *router.Worker, answer T)) (done func(T)) {
	answered := false
	return func(answer T) {
		c.t.Post(func(loop int, now int64) {
			if answered {
				return
			}
			answered = true
			fn(c.sh.Router.Worker(loop, now), answer)
		})
	}
}

// Login is what a client shows when it connects.
type Login struct {
	ClientID    string
	HasUsername bool
	Username    string
	HasPassword bool
	Password    []byte
	Version     mqtt.Version
	RemoteAddr  string
	LocalAddr   string
	CleanStart  bool
	// Assigned: the client gave no id, and ClientID has been made for it.
	Assigned bool
	// Listener is the name of the listener that the client came by; "" if it has none.
	Listener string
	// Certificate is the client's, checked against the listener's authorities; nil: it showed none.
	Certificate *x509.Certificate
	// CommonName is the common name in Certificate's subject, or in that of the certificate which a trusted proxy says the
	// client has shown to it; "": none.
	CommonName string
}

// Verdict is an authenticator's answer. Code Success lets the client in; any other refuses it, and earlier protocol
// versions are told what comes nearest to it.
type Verdict struct {
	Code     mqtt.ReasonCode
	Reason   string // for the log, and for an MQTT 5 client that may know
	Username string // replaces the client's own if not empty
	// ClientID replaces the client's own if not empty, unless user names are client ids here. A client that had none and
	// speaks MQTT 5 is told it in CONNACK.
	ClientID string
	// Grant becomes Identity.Grant: what the authorizer is to know. It may have a method Equal(any) bool, which is asked
	// whether what was decided by an earlier grant of the client, nil if there is none, holds by this one.
	Grant any
	// Expires is when the right to be connected ends, Unix milliseconds: the client is disconnected as not authorized then.
	// 0: never.
	Expires int64
	// Meter bounds what the client sends; nil: nothing does.
	Meter Meter
}

// Meter counts what a client sends against what it may. It belongs to one connection, whose loop calls it; Close ends it,
// exactly once, whatever becomes of the connection. now is in Unix milliseconds. It must not block.
type Meter interface {
	// Publish is asked about each PUBLISH packet of so many bytes.
	Publish(now int64, bytes int) Measure
	// Subscribe is asked about each SUBSCRIBE and told of each UNSUBSCRIBE, of so many filters.
	Subscribe(now int64, filters int) Measure
	Close()
}

// Measure is what to do with what a client has sent. The zero Measure: take it.
type Measure struct {
	// Refuse: it is not taken. MQTT 5 clients are told (0x97); for the others a message is acknowledged and dropped, and a
	// subscription fails.
	Refuse bool
	// Close: the connection ends, with 0x96 for MQTT 5.
	Close bool
	// Wait: take it, but read nothing more for so many milliseconds.
	Wait int64
	// Limit names what was exceeded, for the log and the client.
	Limit string
}

// Authenticator decides who may connect. done must be called exactly once, at once or later, from any goroutine; the
// client waits for it, nobody else does. Authenticate itself is called on an event loop and must not block.
type Authenticator interface {
	Authenticate(l *Login, done func(Verdict))
}

// Enhanced brings enhanced authentication (MQTT 5 §4.12).
type Enhanced interface {
	// Start begins an exchange; nil: the method is not known [MQTT-4.12.0-1].
	Start(l *Login, method string) Exchange
}

// Exchange is one client's authentication, and its re-authentications on the same connection.
type Exchange interface {
	// Step takes the client's data. done must be called exactly once, from any goroutine.
	Step(data []byte, done func(Step))
}

// Step is the server's turn in an exchange: ContinueAuthentication asks the client for more, Success ends it, any other
// code refuses the client.
type Step struct {
	Code     mqtt.ReasonCode
	Data     []byte
	Reason   string
	Username string
	Grant    any // as in Verdict
}
