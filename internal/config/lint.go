package config

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
)

// Lint tells what is insecure in settings, or will surprise, though it can be used: Warnings and Notices. It looks at the files
// that they name, but not into them.
func (s *Settings) Lint() Problems {
	l := &linter{s: s}
	for i, listener := range s.Listeners {
		if !listener.local || i == 0 {
			l.listener(listener)
		}
	}
	l.files()
	l.general()
	return l.found
}

type linter struct {
	s     *Settings
	found Problems
}

// say notes something about an option, in a section or where it stands.
func (l *linter) say(severity Severity, option, section, format string, args ...any) {
	pos, ok := l.s.Where(option, section)
	if !ok {
		pos, _ = l.s.Where(option, "")
	}
	l.found = append(l.found, Problem{Position: pos, Severity: severity, Option: option, Text: fmt.Sprintf(format, args...)})
}

// about notes something about a listener as a whole.
func (l *linter) about(severity Severity, on *Listener, format string, args ...any) {
	l.found = append(l.found, Problem{Position: on.Position, Severity: severity, Text: on.Name() + ": " + fmt.Sprintf(format, args...)})
}

// Public tells whether others than this machine may reach the listener.
func (l *Listener) Public() bool {
	if l.Path != "" || l.Host == "localhost" || l.BindInterface == "lo" {
		return false
	}
	addr, err := netip.ParseAddr(l.Host)
	return err != nil || !addr.IsLoopback()
}

func (l *linter) listener(on *Listener) {
	sec := &on.Security
	named := on.TLS.IdentityAsUsername || on.TLS.SubjectAsUsername
	asks := sec.PasswordFile != "" || sec.JWT.Used() || sec.HTTP.URL != ""
	anonymous := sec.AllowAnonymous == Yes
	switch {
	case anonymous && on.Public() && sec.ACLFile == "" && !on.TLS.RequireCertificate:
		l.about(Warning, on, "anybody who reaches it may connect without a password, read everything and publish everything; set allow_anonymous false and a password_file, or listen on 127.0.0.1")
	case anonymous && on.Public() && !on.TLS.RequireCertificate:
		l.about(Warning, on, "anybody who reaches it may connect without a password, and do what %s lets anonymous clients do", sec.ACLFile)
	case anonymous && asks:
		l.about(Notice, on, "clients without a user name may connect although there are passwords (allow_anonymous true)")
	case !anonymous && !asks && !named:
		l.about(Warning, on, "nobody can connect: anonymous clients may not, and there is no password_file, jwt_key_file or auth_http_url; set one of them, or allow_anonymous true")
	}
	if asks && on.Public() && !on.TLS.Used() && on.ProxyProtocol == "" {
		l.about(Warning, on, "passwords go over the network as they are, readable to all in between; give it certfile and keyfile ('nightjar cert' makes them)")
	}
	if sec.ACLFile != "" && !asks && !named && anonymous {
		l.about(Warning, on, "nothing proves who a client is, so that anybody can have the rights of any user in %s", sec.ACLFile)
	}
	if on.ProxyProtocol != "" && len(on.ProxyTrusted) == 0 && on.Public() {
		l.about(Warning, on, "anybody who reaches it can claim to come from any address, because proxy_trusted does not say where the proxy is")
	}
	if on.Protocol != "mqtt" && len(on.Origins) == 0 && anonymous {
		l.about(Notice, on, "any web page that a browser shows may connect; name those that shall in websockets_origin")
	}
	if on.Path != "" && (on.BindInterface != "" || on.SocketDomain != "") {
		l.about(Notice, on, "bind_interface and socket_domain have no effect: it is a unix socket")
	}
	l.tls(on, named)
}

func (l *linter) tls(on *Listener, named bool) {
	t := &on.TLS
	if named && !t.RequireCertificate && on.ProxyProtocol == "" {
		l.about(Warning, on, "no client is asked for a certificate, so that there is no name in it to use; set require_certificate true")
	}
	if t.CRLFile != "" && !t.RequireCertificate {
		l.say(Warning, "crlfile", on.Name(), "no client is asked for a certificate, so that there is none to revoke; set require_certificate true")
	}
	if t.NoDateChecks {
		l.say(Warning, "disable_client_cert_date_checks", on.Name(), "certificates count for ever: who has lost one can be kept out by crlfile only")
	}
	if t.Version == "tlsv1.1" {
		l.say(Notice, "tls_version", on.Name(), "the lowest version is 1.2: earlier ones are not safe")
	}
	if t.Ciphers13 != "" {
		l.say(Notice, "ciphers_tls1.3", on.Name(), "all cipher suites of TLS 1.3 are offered: there are three, and all are safe")
	}
	if !t.Used() && (t.IdentityAsUsername || t.Ciphers != "" || t.Version != "" || t.CRLFile != "") && on.ProxyProtocol == "" {
		l.about(Warning, on, "it has options of TLS and no TLS: certfile and keyfile are missing")
	}
}

// files looks at who may read what should be secret.
func (l *linter) files() {
	seen := make(map[string]bool)
	check := func(option, section, path, what string) {
		if path == "" || seen[path] {
			return
		}
		seen[path] = true
		info, err := os.Stat(path)
		if err != nil { // who opens it says so
			return
		}
		const others, group = fs.FileMode(0o004), fs.FileMode(0o022)
		switch mode := info.Mode().Perm(); {
		case mode&others != 0:
			l.say(Warning, option, section, "everybody on this machine may read %s (%s): chmod o-rwx %[1]s", path, what)
		case mode&group != 0:
			l.say(Warning, option, section, "others than its owner may change %s (%s): chmod go-w %[1]s", path, what)
		}
	}
	for _, on := range l.s.Listeners {
		check("keyfile", on.Name(), on.TLS.KeyFile, "a private key")
		for _, pair := range on.TLS.SNI {
			check("sni_keyfile", on.Name(), pair.KeyFile, "a private key")
		}
		check("password_file", "", on.Security.PasswordFile, "hashed passwords")
		check("jwt_secret_file", "", on.Security.JWT.SecretFile, "the secret that tokens are signed with")
	}
	for _, b := range l.s.Bridges {
		check("bridge_keyfile", "", b.KeyFile, "a private key")
		if b.RemotePassword != "" {
			check("connection", "", b.File, "it has a bridge's password in it")
		}
	}
}

func (l *linter) general() {
	s := l.s
	if !s.Store.Persistence {
		l.found = append(l.found, Problem{Position: Position{File: s.File}, Severity: Notice,
			Text: "persistence is off, as by default: sessions, queued and retained messages end with the process"})
	}
	if s.Store.Persistence && s.Store.Sync.Mode == "never" {
		l.say(Warning, "sync", "", "what was acknowledged is lost when the machine stops, as far as the system has not written it yet")
	}
	if s.Store.Persistence && s.Store.Sync.Mode == "interval" {
		l.say(Notice, "sync", "", "what was acknowledged in the last %v is lost when the machine stops", s.Store.Sync.Interval)
	}
	if s.User == "root" {
		l.say(Warning, "user", "", "the broker keeps all rights on this machine; leave the option out, or name a user of its own")
	}
	for option, unlimited := range map[string]bool{"max_queued_messages": s.MaxQueued == 0 && s.MaxQueuedBytes == 0, "memory_limit": s.MemoryLimit == 0} {
		if unlimited {
			l.say(Notice, option, "", "there is no limit: clients that are absent or slow can use up the memory")
		}
	}
	if s.Log.None || !s.Log.Stderr && !s.Log.Stdout && !s.Log.Syslog && !s.Log.Topic && s.Log.File == "" {
		l.say(Notice, "log_dest", "", "nothing is logged")
	}
	if dir := s.Store.Location; s.Store.Persistence && dir != "" {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			l.say(Warning, "persistence_location", "", "%s is no directory", dir)
		}
	}
}
