package access

import (
	"reflect"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/access/password"
)

// Change is what a Reload did.
type Change struct {
	old, now *state
}

// Revoked reports whether a client that is connected could not log in as it did: its user is gone or has another password
// hash, the way it came is closed, or anonymous clients are no longer allowed. Its connection is to be ended. A token that is
// signed with a key which is gone is not noticed; it ends when it expires.
func (c *Change) Revoked(who *broker.Identity) bool {
	if c.old == nil || who == nil {
		return false
	}
	if g := grantOf(who); g != nil {
		return revoked(c.old.site(g.at.name), c.now.site(g.at.name), who, g.way)
	}
	// Nothing is known of it but its names: it goes if it could come back by none of the ways by which it may have come.
	gone := false
	for _, before := range c.old.sites {
		by := before.wayOf(who)
		if by == unknownWay {
			continue
		}
		for _, after := range c.now.sites {
			if !revoked(before, after, who, by) {
				return false
			}
			gone = true
		}
	}
	return gone
}

func revoked(before, after *site, who *broker.Identity, by way) bool {
	switch by {
	case anonymous:
		return !after.rules.AllowAnonymous
	case anybody:
		return after.asks() || !after.rules.AllowAnonymous || after.rules.CertificateName != before.rules.CertificateName
	case byCertificate:
		return after.rules.CertificateName != before.rules.CertificateName
	case byPassword:
		return !password.Same(before.passwords, after.passwords, who.Username)
	case byToken:
		return !reflect.DeepEqual(before.rules.JWT, after.rules.JWT)
	case byHook:
		return after.rules.HTTP == nil || after.rules.HTTP.URL != before.rules.HTTP.URL
	case unknownWay:
	}
	return false
}

// wayOf guesses how a client has logged in; unknownWay: it did not, or in one of several ways.
func (s *site) wayOf(who *broker.Identity) way {
	switch {
	case s.rules.CertificateName != NoCertificateName:
		return byCertificate
	case !s.asks() && s.rules.AllowAnonymous:
		return anybody
	case who.Username == "" && s.rules.AllowAnonymous:
		return anonymous
	case s.passwords != nil && s.passwords.Has(who.Username):
		return byPassword
	case s.jwt != nil && s.hook == nil:
		return byToken
	case s.hook != nil && s.jwt == nil:
		return byHook
	}
	return unknownWay
}
