package access

import (
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/access/httphook"
	"github.com/nightjar-mqtt/nightjar/internal/access/jwt"
	"github.com/nightjar-mqtt/nightjar/internal/access/throttle"
)

// Options say who may connect and what they may do.
type Options struct {
	// Rules are for every listener that Listeners does not name.
	Rules
	// Listeners have rules of their own, by broker.Login.Listener. A file that several of them name is read once.
	Listeners map[string]Rules

	// Throttle slows down those who guess passwords.
	Throttle throttle.Options
	// Hashers is how many goroutines compute password hashes and check tokens; 0: half the cores, at least one. HashQueue is
	// how many logins may wait for them; those beyond are refused as "server busy". 0: 1024.
	Hashers, HashQueue int
	// RememberLogins is how many name and password pairs that were right are remembered until the next reload, as a keyed
	// digest, so that clients which come back in a storm are not hashed again; 0: 10000, below 0: none.
	RememberLogins int
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Rules are what holds for a listener. Without any file, token or hook everybody may connect if AllowAnonymous, nobody else,
// and whoever is connected may do everything.
type Rules struct {
	// AllowAnonymous lets clients in that give no user name. Without a password file, tokens and hook it lets everybody in.
	AllowAnonymous bool
	// PasswordFile is Mosquitto's password file; "": none.
	PasswordFile string
	// ACLFile is Mosquitto's ACL file, with Nightjar's additions; "": everything is allowed.
	ACLFile string
	// CertificateName makes the name in the client's certificate its user name. No password is asked for then.
	CertificateName CertificateName
	// NameIsClientID says that the broker makes the user name the client id (use_username_as_clientid).
	NameIsClientID bool
	// JWT lets clients log in by a token; nil: not.
	JWT *jwt.Options
	// HTTP asks a web service about those whom neither token nor password file decide on; nil: not.
	HTTP *httphook.Options
}

// CertificateName says what of a client's certificate is its user name.
type CertificateName byte

// What of a certificate is the user name.
const (
	NoCertificateName CertificateName = iota // nothing
	CommonName                               // use_identity_as_username
	Subject                                  // use_subject_as_username: the whole subject, RFC 2253
)
