package app

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/access"
	"github.com/nightjar-mqtt/nightjar/internal/access/acl"
	"github.com/nightjar-mqtt/nightjar/internal/access/password"
	"github.com/nightjar-mqtt/nightjar/internal/config"
)

// Check reads a configuration with all files that it names, and tells what is wrong, insecure or a surprise.
func (s *Settings) Check() config.Problems {
	c, problems := s.LoadConfig()
	if len(problems.Failures()) > 0 {
		return problems
	}
	problems = append(problems, c.Lint()...)
	problems = append(problems, checkLists(c)...)
	problems = append(problems, checkCertificates(c, time.Now())...)
	if a, err := access.New(accessOptions(c), slog.New(slog.NewTextHandler(io.Discard, nil))); err != nil {
		problems = append(problems, fileProblems(c, err, config.Failure)...)
	} else {
		a.Close()
	}
	var out config.Problems
	for _, p := range problems { // several listeners may have the same file
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// checkLists looks into ACL and password files.
func checkLists(c *config.Settings) (out config.Problems) {
	for _, l := range c.Listeners {
		if path := l.Security.ACLFile; path != "" {
			if list, err := acl.Load(path); err == nil { // else access says so
				for _, w := range list.Warnings() {
					out = append(out, fileProblems(c, w, config.Warning)...)
				}
			}
		}
		if path := l.Security.PasswordFile; path != "" {
			if _, bad, err := password.Load(path); err == nil {
				for _, p := range bad {
					out = append(out, fileProblems(c, p, config.Warning)...)
				}
			}
		}
	}
	return out
}

// fileProblems puts what is wrong with files, by themselves or joined, among the problems of the configuration.
func fileProblems(c *config.Settings, err error, severity config.Severity) (out config.Problems) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // the parts are looked at one by one
		for _, e := range joined.Unwrap() {
			out = append(out, fileProblems(c, e, severity)...)
		}
		return out
	}
	p := config.Problem{Position: config.Position{File: c.File}, Severity: severity, Text: err.Error()}
	var list acl.Problem
	var pass password.Problem
	switch {
	case errors.As(err, &list):
		p.File, p.Line, p.Text = list.Path, list.Line, list.Text
	case errors.As(err, &pass):
		p.File, p.Line, p.Text = pass.Path, pass.Line, pass.Text
	}
	return append(out, p)
}

// soon is when a certificate's end is worth a word.
const soon = 30 * 24 * time.Hour

// checkCertificates loads the certificates of all listeners.
func checkCertificates(c *config.Settings, now time.Time) (out config.Problems) {
	for i, l := range c.Listeners {
		if !l.TLS.Used() || l.Local() && i > 0 {
			continue
		}
		files := tlsFiles(l, "")
		files.Poll = -1
		pos, _ := c.Where("certfile", l.Name())
		say := func(severity config.Severity, format string, args ...any) {
			out = append(out, config.Problem{Position: pos, Severity: severity, Option: "certfile", Text: fmt.Sprintf(format, args...)})
		}
		loaded, err := broker.LoadCertificates(files, slog.New(slog.NewTextHandler(io.Discard, nil)))
		if err != nil {
			say(config.Failure, "%v", err)
			continue
		}
		loaded.Close()
		for _, pair := range append([]broker.CertificatePair{files.Pair}, files.More...) {
			cert, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile)
			if err != nil {
				continue // it has just been loaded; it is being replaced
			}
			leaf, err := x509.ParseCertificate(cert.Certificate[0])
			switch {
			case err != nil:
				say(config.Failure, "%s: %v", pair.CertFile, err)
			case now.Before(leaf.NotBefore):
				say(config.Warning, "%s is not valid before %s: clients refuse it", pair.CertFile, leaf.NotBefore.Format(time.DateOnly))
			case now.After(leaf.NotAfter):
				say(config.Warning, "%s has expired on %s: clients refuse it", pair.CertFile, leaf.NotAfter.Format(time.DateOnly))
			case now.Add(soon).After(leaf.NotAfter):
				say(config.Warning, "%s expires on %s", pair.CertFile, leaf.NotAfter.Format(time.DateOnly))
			case len(leaf.DNSNames)+len(leaf.IPAddresses) == 0:
				say(config.Warning, "%s names no host (subject alternative name): most clients refuse it", pair.CertFile)
			}
		}
	}
	return out
}
