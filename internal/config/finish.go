package config

import (
	"fmt"
	"path/filepath"
	"reflect"
)

// finish works out what follows from the lines together, and looks for what does not fit together.
func (p *parser) finish() {
	s := p.s
	p.applyPlugins(&s.Security)
	p.completeListeners()
	for i, l := range s.Listeners {
		p.applyPlugins(&l.Security)
		p.resolve(l)
		if !l.local || i == 0 { // both of those have the same options
			p.checkListener(l)
		}
	}
	p.finishBridges()
}

// completeListeners adds the default listener, or makes those on the loopback addresses that there are without one.
func (p *parser) completeListeners() {
	s := p.s
	def := s.defaultListener
	if s.localOnly {
		for _, host := range []string{"127.0.0.1", "::1"} {
			l := newListener(Position{File: s.File})
			if def != nil {
				copied := *def
				l = &copied
			}
			l.Port, l.Host, l.local = defaultPort, host, true
			s.Listeners = append(s.Listeners, l)
		}
		return
	}
	if def != nil && !def.isBlank() {
		for _, l := range s.Listeners {
			if l.Name() == def.Name() {
				p.failAt(l.Position, "listener", "", fmt.Sprintf("%s is the default listener's at %s already", l.Name(), def.Position))
				return
			}
		}
		s.Listeners = append([]*Listener{def}, s.Listeners...)
	}
}

// isBlank tells that the options in front of the first listener line say nothing that would make a listener of them: neither a
// port nor anything but defaults. Mosquitto 2.0 opens none then; 2.1 does.
func (l *Listener) isBlank() bool {
	blank := newListener(l.Position)
	blank.Port, blank.isDefault = defaultPort, true
	return reflect.DeepEqual(l, blank)
}

// SetPorts has the listeners without a listener line use other ports. It reports whether there are such listeners: else ports
// on the command line count for nothing, as with Mosquitto.
func (s *Settings) SetPorts(ports []int) bool {
	s.Ports = ports
	if !s.localOnly || len(ports) == 0 {
		return s.localOnly
	}
	pair := s.Listeners
	s.Listeners = nil
	for _, port := range ports {
		for _, l := range pair {
			copied := *l
			copied.Port = port
			s.Listeners = append(s.Listeners, &copied)
		}
	}
	return true
}

func (p *parser) failAt(pos Position, option, words, text string) {
	p.problems = append(p.problems, Problem{Position: pos, Severity: Failure, Option: option, Text: text, Words: words})
}

// applyPlugins has the plugins that are built in do what they would.
func (p *parser) applyPlugins(sec *Security) {
	for _, pl := range sec.plugins {
		for _, o := range pl.Options {
			switch {
			case pl.kind() == pluginPasswords && o[0] == "password_file":
				sec.PasswordFile = o[1]
			case pl.kind() == pluginACL && o[0] == "acl_file":
				sec.ACLFile = o[1]
			case pl.kind() == pluginSQLite:
				if o[0] == "db_file" && p.s.Store.DataDir == "" {
					p.s.Store.DataDir = filepath.Join(filepath.Dir(o[1]), "nightjar.data")
				}
			}
		}
		if pl.kind() == pluginSQLite {
			p.s.Store.Persistence = true
		}
	}
	sec.plugins = nil
}

// resolve sets what holds at a listener: its own, or what is for all.
func (p *parser) resolve(l *Listener) {
	own := l.Security
	if !p.s.PerListener {
		l.Security = p.s.Security
		if own.PasswordFile != "" { // by plugin_use
			l.Security.PasswordFile = own.PasswordFile
		}
		if own.ACLFile != "" {
			l.Security.ACLFile = own.ACLFile
		}
	}
	l.Security.listenerAnonymous = own.listenerAnonymous
	l.Security.listenerIDPrefix, l.Security.listenerIDPrefixSet = own.listenerIDPrefix, own.listenerIDPrefixSet
	if own.listenerAnonymous != Unset {
		l.Security.AllowAnonymous = own.listenerAnonymous
	}
	if own.listenerIDPrefixSet {
		l.Security.AutoIDPrefix = own.listenerIDPrefix
	}
	if l.Security.AllowAnonymous == Unset {
		l.Security.AllowAnonymous = No
		if l.local {
			l.Security.AllowAnonymous = Yes
		}
	}
}

// checkListener finds options of a listener that contradict each other.
func (p *parser) checkListener(l *Listener) {
	t := &l.TLS
	fail := func(option, words, text string) { p.failAt(p.where(l, option), option, words, text) }
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		fail("certfile", "Both certfile and keyfile must be provided to enable a TLS listener.", "has no keyfile beside it: a TLS listener needs both")
	case t.CertFile == "" && t.KeyFile != "":
		fail("keyfile", "Both certfile and keyfile must be provided to enable a TLS listener.", "has no certfile beside it: a TLS listener needs both")
	case t.CAFile != "" && t.CertFile == "":
		fail("cafile", "cafile specified without certfile and keyfile.", "is for client certificates, which need TLS: certfile and keyfile are missing")
	case t.CAPath != "" && t.CertFile == "":
		fail("capath", "capath specified without certfile and keyfile.", "is for client certificates, which need TLS: certfile and keyfile are missing")
	case t.RequireCertificate && t.CertFile != "" && t.CAFile == "" && t.CAPath == "":
		fail("require_certificate", "", "needs the authorities of client certificates: cafile or capath")
	case t.RequireCertificate && t.CertFile == "" && l.ProxyProtocol == "":
		fail("require_certificate", "", "needs TLS: certfile and keyfile are missing")
	}
	for _, c := range t.SNI {
		if c.KeyFile == "" {
			fail("sni_certfile", "", fmt.Sprintf("%s has no sni_keyfile line below it", c.CertFile))
		}
	}
	if len(t.SNI) > 0 && t.CertFile == "" {
		fail("sni_certfile", "", "needs certfile and keyfile as well, for clients that ask for no name")
	}
	if l.ProxyProtocol == "2" {
		if t.SubjectAsUsername {
			fail("use_subject_as_username", "use_subject_as_username cannot be used with `enable_proxy_protocol 2`.", "cannot be used with the PROXY protocol, which does not pass the subject on")
		}
		if t.CertFile != "" {
			fail("certfile", "certfile and keyfile cannot be used with `enable_proxy_protocol 2`.", "cannot be used with the PROXY protocol version 2: TLS ends at the proxy")
		}
	}
	if l.Protocol == "http_api" && l.ProxyProtocol != "" {
		fail("protocol", "", "http_api takes no PROXY headers")
	}
	if l.ProxyRequireTLS && l.ProxyProtocol != "2" {
		fail("proxy_protocol_v2_require_tls", "", "needs enable_proxy_protocol 2")
	}
}

// where is the line that gave an option of a listener, or the listener's.
func (p *parser) where(l *Listener, option string) Position {
	pos := l.Position
	for _, e := range p.s.Given {
		if e.Option == option && (e.Section == l.Name() || l.local) {
			pos = e.Position
		}
	}
	return pos
}

// Where is the last line that gave an option, in a section or in any if section is empty. The option may go by any of its names.
func (s *Settings) Where(option, section string) (Position, bool) {
	for i := len(s.Given) - 1; i >= 0; i-- {
		if e := s.Given[i]; e.Option == option && (section == "" || e.Section == section) {
			return e.Position, true
		}
	}
	return Position{File: s.File}, false
}
