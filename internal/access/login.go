package access

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/access/acl"
	"github.com/nightjar-mqtt/nightjar/internal/access/httphook"
	"github.com/nightjar-mqtt/nightjar/internal/access/jwt"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// attempt is one login on its way through certificate, token, password file and HTTP hook, in this order: the first that has
// something to say decides.
type attempt struct {
	a       *Access
	st      *state
	site    *site
	l       *broker.Login
	address netip.Addr
	done    func(broker.Verdict)
}

// Authenticate decides who may connect. What takes time is done elsewhere.
func (a *Access) Authenticate(l *broker.Login, done func(broker.Verdict)) {
	st := a.state.Load()
	t := &attempt{a: a, st: st, site: st.site(l.Listener), l: l, address: addressOf(l.RemoteAddr), done: done}
	r := &t.site.rules
	if st.strict && st.named[l.Listener] == nil {
		t.refuse(mqtt.ServerUnavailable, fmt.Sprintf("there are rules for listeners, but none for %q nor for others", l.Listener), false)
		return
	}
	if r.CertificateName != NoCertificateName {
		t.certificate(r.CertificateName)
		return
	}
	if !t.site.asks() {
		if r.AllowAnonymous {
			t.accept(anybody, l.Username, nil)
		} else {
			t.refuse(mqtt.NotAuthorized, "nobody may connect here: there is no password file, and anonymous clients are not allowed", false)
		}
		return
	}
	if l.HasUsername || l.HasPassword {
		if b := a.throttle.Load().Ask(st.o.Now(), t.address, l.Username); b.Wait > 0 {
			if b.First {
				t.log(fmt.Sprintf("too many failures of this %s, the next try in %d s", b.Who, (b.Wait+time.Second-1)/time.Second))
			}
			t.verdict(broker.Verdict{Code: mqtt.ConnectionRateExceeded, Reason: "too many failed logins: try again later"})
			return
		}
	}
	t.credentials()
}

// credentials goes by what the client says of itself.
func (t *attempt) credentials() {
	l, s := t.l, t.site
	token := s.jwt != nil && l.HasPassword && jwt.Looks(l.Password)
	switch {
	case token && s.jwt.Remote():
		t.later(&t.a.askers, t.token)
	case token:
		t.later(&t.a.hashers, t.token)
	case s.jwt != nil && s.jwt.Required():
		t.refuse(mqtt.NotAuthorized, "the client has no token", l.HasPassword)
	case !l.HasUsername && s.rules.AllowAnonymous:
		t.accept(anonymous, "", nil)
	case s.passwords != nil && l.HasUsername && (s.hook == nil || s.passwords.Has(l.Username)):
		t.password()
	case s.hook != nil:
		t.ask()
	case !l.HasUsername:
		t.refuse(mqtt.NotAuthorized, "anonymous clients are not allowed", false)
	default:
		t.refuse(mqtt.NotAuthorized, "the client has no token", l.HasPassword)
	}
}

// certificate takes the name that TLS has checked.
func (t *attempt) certificate(by CertificateName) {
	name := t.l.CommonName
	if by == Subject {
		name = ""
		if c := t.l.Certificate; c != nil {
			name = c.Subject.String()
		}
	}
	if name == "" || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		t.refuse(mqtt.BadUserNameOrPassword, "the client shows no certificate with a name", false)
		return
	}
	t.accept(byCertificate, name, nil)
}

// password looks into the password file.
func (t *attempt) password() {
	f, l := t.site.passwords, t.l
	d := t.st.remembered.digest(f.Path(), l.Username, l.Password)
	if l.HasPassword && t.st.remembered.has(d) {
		t.accept(byPassword, l.Username, nil)
		return
	}
	t.later(&t.a.hashers, func() {
		switch {
		case f.Check(l.Username, l.Password) && l.HasPassword:
			t.st.remembered.add(d)
			t.accept(byPassword, l.Username, nil)
		case f.Has(l.Username):
			t.refuse(mqtt.NotAuthorized, "wrong password", true)
		default:
			t.refuse(mqtt.NotAuthorized, "unknown user", true)
		}
	})
}

// token checks one. It runs on a goroutine that may wait.
func (t *attempt) token() {
	c, err := t.site.jwt.Verify(context.Background(), t.l.Password, t.l.Username)
	switch {
	case err != nil || c.ClientID == "":
	case t.l.Assigned && !t.site.rules.NameIsClientID: // it gets the token's
		if !validID(c.ClientID) {
			err = errors.New("the token's client id cannot be one")
		}
	case c.ClientID != t.clientID(c.Username):
		err = errors.New("the client id is not the token's")
	}
	switch {
	case errors.Is(err, jwt.ErrUnavailable):
		t.refuse(mqtt.ServerUnavailable, err.Error(), false)
		return
	case err != nil:
		t.refuse(mqtt.NotAuthorized, err.Error(), true)
		return
	}
	g := &grant{}
	if c.ListsPublish {
		g.publish = acl.NewFilters(c.Publish)
	}
	if c.ListsSubscribe {
		g.subscribe = acl.NewFilters(c.Subscribe)
	}
	v := broker.Verdict{}
	if !c.Expires.IsZero() {
		v.Expires = c.Expires.UnixMilli()
	}
	if t.l.Assigned && !t.site.rules.NameIsClientID {
		v.ClientID = c.ClientID
	}
	t.acceptAs(byToken, c.Username, g, v)
}

// ask asks the HTTP hook.
func (t *attempt) ask() {
	l := t.l
	r := &httphook.Request{
		ClientID: l.ClientID, Username: l.Username, Listener: l.Listener, Protocol: l.Version.String(), CommonName: l.CommonName,
		Address: l.RemoteAddr,
	}
	if t.address.IsValid() {
		r.Address = t.address.String()
	}
	if utf8.Valid(l.Password) {
		r.Password = string(l.Password)
	} else {
		r.PasswordBytes = l.Password
	}
	if a := t.site.hook.Remembered(r); a != nil {
		t.answered(a, nil)
		return
	}
	t.later(&t.a.askers, func() { t.answered(t.site.hook.Ask(context.Background(), r)) })
}

func (t *attempt) answered(a *httphook.Answer, err error) {
	switch {
	case err != nil:
		t.refuse(mqtt.ServerUnavailable, err.Error(), false)
		return
	case !a.Allowed():
		why := "the HTTP hook says no"
		if a.Reason != "" {
			why += ": " + a.Reason
		}
		t.refuse(mqtt.NotAuthorized, why, true)
		return
	}
	g := &grant{}
	if a.Publish != nil {
		g.publish = acl.NewFilters(*a.Publish)
	}
	if a.Subscribe != nil {
		g.subscribe = acl.NewFilters(*a.Subscribe)
	}
	name := t.l.Username
	if a.Username != "" {
		name = a.Username
	}
	t.accept(byHook, name, g)
}

// later runs fn on a pool; if that has too much to do already, the client is refused.
func (t *attempt) later(p *pool, fn func()) {
	ok := p.do(job{
		run: func() {
			defer func() {
				if e := recover(); e != nil { // the client would wait for ever
					t.a.log.Error("a login ended the code that checks it", "panic", e)
					t.verdict(broker.Verdict{Code: mqtt.UnspecifiedError})
				}
			}()
			fn()
		},
		refuse: func() { t.verdict(broker.Verdict{Code: mqtt.ServerUnavailable}) },
	})
	if !ok {
		t.verdict(broker.Verdict{Code: mqtt.ServerBusy, Reason: "too many clients log in at a time"})
	}
}

// validID tells whether text can be a client id (MQTT 5 §1.5.4).
func validID(text string) bool {
	return len(text) <= math.MaxUint16 && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// accept lets the client in, under a name.
func (t *attempt) accept(by way, name string, g *grant) {
	t.acceptAs(by, name, g, broker.Verdict{})
}

// acceptAs is accept with more in the verdict.
func (t *attempt) acceptAs(by way, name string, g *grant, v broker.Verdict) {
	now := t.st.o.Now()
	switch by {
	case byPassword, byToken, byHook:
		t.a.throttle.Load().Succeeded(now, t.address, t.l.Username)
	case unknownWay, anonymous, anybody, byCertificate:
	}
	if g == nil {
		g = &grant{}
	}
	g.way, g.at, g.address = by, t.a.place(t.l.Listener), t.address
	g.known, g.addresses = t.st.known, t.st.addresses
	v.Grant = g
	if name != t.l.Username {
		v.Username = name
	}
	t.verdict(v)
}

// clientID is what the client's id will be under this name.
func (t *attempt) clientID(name string) string {
	if t.site.rules.NameIsClientID && name != "" {
		return name
	}
	return t.l.ClientID
}

// refuse sends the client away. It is told no more than that; the log has the reason. guess counts towards the throttle.
func (t *attempt) refuse(code mqtt.ReasonCode, why string, guess bool) {
	if guess {
		t.a.throttle.Load().Failed(t.st.o.Now(), t.address, t.l.Username)
	}
	t.log(why)
	reason := "not authorized"
	if code == mqtt.ServerUnavailable {
		reason = "logins cannot be checked now"
	}
	t.verdict(broker.Verdict{Code: code, Reason: reason})
}

// log writes the line that fail2ban reads: "login refused from ADDRESS: REASON". What the client may choose, its name and
// id, is not in the text but behind it.
func (t *attempt) log(why string) {
	from := "an unknown address"
	if t.address.IsValid() {
		from = t.address.String()
	}
	t.a.log.Warn("login refused from "+from+": "+why, "event", broker.EventLoginRefused, "user", t.l.Username, "client", t.l.ClientID, "listener", t.l.Listener)
}

func (t *attempt) verdict(v broker.Verdict) { t.done(v) }
