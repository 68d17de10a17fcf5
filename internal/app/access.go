package app

import (
	"reflect"

	"github.com/nightjar-mqtt/nightjar/internal/access"
	"github.com/nightjar-mqtt/nightjar/internal/access/httphook"
	"github.com/nightjar-mqtt/nightjar/internal/access/jwt"
	"github.com/nightjar-mqtt/nightjar/internal/access/throttle"
	"github.com/nightjar-mqtt/nightjar/internal/config"
)

// accessOptions are who may connect by which listener, and what they may do.
func accessOptions(c *config.Settings) access.Options {
	t := &c.Throttle
	o := access.Options{
		Listeners: make(map[string]access.Rules, len(c.Listeners)),
		Throttle: throttle.Options{Off: !t.Throttle, Free: t.Free, First: t.First, Longest: t.Longest, Forget: t.Forget,
			Entries: t.Entries},
		Hashers: t.Hashers, HashQueue: t.HashQueue, RememberLogins: t.RememberLogins,
	}
	same := true
	for _, l := range c.Listeners {
		o.Listeners[l.Name()] = accessRules(l)
		same = same && reflect.DeepEqual(o.Listeners[l.Name()], accessRules(c.Listeners[0]))
	}
	if same {
		o.Rules, o.Listeners = accessRules(c.Listeners[0]), nil
	}
	return o
}

func accessRules(l *config.Listener) access.Rules {
	s := &l.Security
	r := access.Rules{AllowAnonymous: s.AllowAnonymous == config.Yes, PasswordFile: s.PasswordFile, ACLFile: s.ACLFile,
		NameIsClientID: l.UsernameAsClientID}
	switch {
	case l.TLS.IdentityAsUsername:
		r.CertificateName = access.CommonName
	case l.TLS.SubjectAsUsername:
		r.CertificateName = access.Subject
	}
	if j := &s.JWT; j.Used() {
		r.JWT = &jwt.Options{
			Algorithms: j.Algorithms, SecretFile: j.SecretFile, KeyFile: j.KeyFile, JWKS: j.JWKS, JWKSRefresh: j.JWKSRefresh,
			JWKSMinRefresh: j.JWKSMinRefresh, JWKSTimeout: j.JWKSTimeout, Issuer: j.Issuer, Audience: j.Audience, Leeway: j.Leeway,
			NoExpiry: j.NoExpiry, MaxAge: j.MaxAge, UsernameClaim: j.UsernameClaim, IgnoreUsername: j.IgnoreUsername,
			ClientIDClaim: j.ClientIDClaim, PublishClaim: j.PublishClaim, SubscribeClaim: j.SubscribeClaim, Required: j.Required,
		}
	}
	if h := &s.HTTP; h.URL != "" {
		r.HTTP = &httphook.Options{
			URL: h.URL, Header: h.Headers, CAFile: h.CAFile, Timeout: h.Timeout, Concurrent: h.Concurrent, Waiting: h.Waiting,
			CacheTime: h.CacheTime, CacheRefusals: h.CacheRefusals, CacheEntries: h.CacheEntries,
		}
	}
	return r
}
