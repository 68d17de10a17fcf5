package access

import (
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/access/acl"
	"github.com/nightjar-mqtt/nightjar/internal/access/httphook"
	"github.com/nightjar-mqtt/nightjar/internal/access/jwt"
	"github.com/nightjar-mqtt/nightjar/internal/access/password"
)

// state is what Options and their files say. It does not change.
type state struct {
	o      Options
	others *site // for listeners that have no rules of their own
	named  map[string]*site
	sites  []*site // all that a client can have come by, each once
	strict bool    // all listeners are named: others are nobody's rules
	// known is set if decisions depend on more than the names of a client, addresses if they depend on its address.
	known, addresses bool
	// open is set if everybody who is in may do everything.
	open       bool
	remembered *remembered
}

// site is the rules of some listeners with their files.
type site struct {
	rules     Rules
	passwords *password.File
	acl       *acl.List
	jwt       *jwt.Verifier
	hook      *httphook.Hook
}

// asks tells whether there is anything that decides on names and passwords.
func (s *site) asks() bool { return s.passwords != nil || s.jwt != nil || s.hook != nil }

// lists tells whether clients can have lists of their own topics.
func (s *site) lists() bool {
	j := s.rules.JWT
	return s.hook != nil || j != nil && (j.PublishClaim != "" || j.SubscribeClaim != "")
}

// site returns the rules for a listener.
func (st *state) site(listener string) *site {
	if s := st.named[listener]; s != nil {
		return s
	}
	return st.others
}

// siteOf returns the rules for a client that has a grant; nil: it is not known by which listener it came, or that one is gone
// and there are no rules for others. Then all that a client can have come by must allow what it does.
func (st *state) siteOf(g *grant) *site {
	switch {
	case len(st.named) == 0:
		return st.others
	case g == nil:
		return nil
	}
	if s := st.named[g.at.name]; s != nil || st.strict {
		return s
	}
	return st.others
}

// loader reads each file once.
type loader struct {
	log       *slog.Logger
	now       func() time.Time
	errs      []error
	sites     []*site
	passwords map[string]*password.File
	lists     map[string]*acl.List
}

// load reads all files. The error has all that is wrong with them.
func load(o Options, log *slog.Logger, old *state) (*state, error) {
	l := &loader{log: log, now: o.Now, passwords: map[string]*password.File{}, lists: map[string]*acl.List{}}
	st := &state{o: o, named: map[string]*site{}}
	names := make([]string, 0, len(o.Listeners))
	for name := range o.Listeners {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		st.named[name] = l.site(o.Listeners[name])
	}
	st.sites = slices.Clone(l.sites)
	st.others = l.site(o.Rules)
	if st.strict = len(st.sites) > 0 && reflect.ValueOf(o.Rules).IsZero(); !st.strict {
		st.sites = l.sites
	}
	if l.errs != nil {
		for _, s := range l.sites {
			s.close()
		}
		return nil, errors.Join(l.errs...)
	}
	st.open = true
	for _, s := range l.sites {
		st.addresses = st.addresses || s.acl != nil && s.acl.UsesAddresses()
		st.known = st.known || s.lists() || st.addresses
		st.open = st.open && s.acl == nil && !s.lists()
		s.adopt(old)
	}
	st.known = st.known || len(l.sites) > 1
	st.remembered = newRemembered(o.RememberLogins)
	return st, nil
}

// site makes the rules of a listener, or finds the same ones.
func (l *loader) site(r Rules) *site {
	for _, s := range l.sites {
		if reflect.DeepEqual(s.rules, r) {
			return s
		}
	}
	s := &site{rules: r}
	if r.PasswordFile != "" {
		s.passwords = l.passwordFile(r.PasswordFile)
	}
	if r.ACLFile != "" {
		s.acl = l.aclFile(r.ACLFile)
	}
	var err error
	if r.JWT != nil {
		if s.jwt, err = jwt.New(*r.JWT, l.log, l.now); err != nil {
			l.errs = append(l.errs, err)
		}
	}
	if r.HTTP != nil {
		if s.hook, err = httphook.New(*r.HTTP, l.now); err != nil {
			l.errs = append(l.errs, err)
		}
	}
	l.sites = append(l.sites, s)
	return s
}

// passwordFile reads a file. As in Mosquitto a line that makes no sense shuts its user out and is logged; the file is used.
func (l *loader) passwordFile(path string) *password.File {
	if f, ok := l.passwords[path]; ok {
		return f
	}
	f, problems, err := password.Load(path)
	if err != nil {
		l.errs = append(l.errs, err)
	}
	for _, p := range problems {
		l.log.Error("password file: " + p.Error())
	}
	l.passwords[path] = f
	return f
}

func (l *loader) aclFile(path string) *acl.List {
	if f, ok := l.lists[path]; ok {
		return f
	}
	f, err := acl.Load(path)
	if err != nil {
		l.errs = append(l.errs, err)
	} else {
		for _, w := range f.Warnings() {
			l.log.Warn("ACL file: " + w.Error())
		}
	}
	l.lists[path] = f
	return f
}

// adopt takes over the keys that were fetched for the same tokens.
func (s *site) adopt(old *state) {
	if old == nil || s.jwt == nil {
		return
	}
	for _, o := range append(slices.Clone(old.sites), old.others) {
		if o.jwt != nil && reflect.DeepEqual(*o.rules.JWT, *s.rules.JWT) {
			s.jwt.Adopt(o.jwt)
		}
	}
}

func (s *site) close() {
	if s.hook != nil {
		s.hook.Close()
	}
}
