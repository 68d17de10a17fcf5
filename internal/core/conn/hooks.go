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
}
