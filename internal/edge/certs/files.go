package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Pair is a certificate, with those between it and the root behind it, and its private key, both PEM.
type Pair struct{ CertFile, KeyFile string }

// Files say what a server's TLS is made of. The names in parentheses are mosquitto.conf's.
type Files struct {
	// Pair is the server's certificate (certfile, keyfile).
	Pair
	// More are further certificates. Each client gets the first, of Pair and these, that is for the host name it asks for
	// (SNI) and that its version of TLS can use; without such a one it gets Pair.
	More []Pair
	// CAFile and CAPath hold the certificates of the authorities that sign clients' certificates: a file, and a directory of
	// which each file is looked at (cafile, capath).
	CAFile, CAPath string
	// RequireCertificate has clients show a certificate of one of them (require_certificate). Others are refused during the
	// handshake. Without it certificates are not asked for.
	RequireCertificate bool
	// CRLFile holds the authorities' lists of revoked certificates, PEM or DER (crlfile). A client is then refused too if its
	// authority has no list there, or one that is out of date.
	CRLFile string
	// IgnoreDates takes clients' certificates that are not valid yet or any more (disable_client_cert_date_checks).
	IgnoreDates bool
	// MinVersion is "tlsv1.2" or "tlsv1.3", the lowest that is taken (tls_version); "": tlsv1.2.
	MinVersion string
	// Ciphers are the cipher suites for TLS 1.2, as OpenSSL names them (ciphers); "": those that Go takes for safe, as
	// DEFAULT. Their order does not count.
	Ciphers string
	// Ciphers13 are those for TLS 1.3 (ciphers_tls1.3). Go offers all three, always: any other choice is an error.
	Ciphers13 string
	// KeyLogFile gets the secrets of all connections, for debugging with Wireshark (--tls-keylog); "": none.
	KeyLogFile string
	// Poll is how often the files are looked at; 0: every second. Below 0: only Reload reads them.
	Poll time.Duration
}

// config reads the files.
func (f *Files) config(log *slog.Logger) (*tls.Config, error) {
	c := new(tls.Config)
	switch f.MinVersion {
	case "", "tlsv1.2":
		c.MinVersion = tls.VersionTLS12
	case "tlsv1.3":
		c.MinVersion = tls.VersionTLS13
	default:
		return nil, fmt.Errorf("tls_version: %q is none of tlsv1.2 and tlsv1.3; earlier versions are not safe", f.MinVersion)
	}
	if err := f.setCiphers(c, log); err != nil {
		return nil, err
	}
	for _, p := range append([]Pair{f.Pair}, f.More...) {
		cert, err := p.load()
		if err != nil {
			return nil, err
		}
		c.Certificates = append(c.Certificates, cert)
	}
	if err := f.setClients(c); err != nil {
		return nil, err
	}
	return c, nil
}

func (f *Files) setCiphers(c *tls.Config, log *slog.Logger) error {
	ids, without, err := parseCiphers(f.Ciphers)
	if err != nil {
		return err
	}
	if len(without) > 0 {
		log.Warn("some of the cipher suites in 'ciphers' do not exist here; the others are offered", "without", strings.Join(without, " "))
	}
	c.CipherSuites = ids
	return checkCiphers13(f.Ciphers13)
}

// load reads a certificate and its key.
func (p Pair) load() (cert tls.Certificate, err error) {
	switch {
	case p.CertFile == "" || p.KeyFile == "":
		return cert, errors.New("TLS needs a certificate and a key: both certfile and keyfile must be given")
	}
	certPEM, err := os.ReadFile(p.CertFile)
	if err != nil {
		return cert, fmt.Errorf("Unable to load server certificate %q. Check certfile: %w", p.CertFile, err)
	}
	keyPEM, err := os.ReadFile(p.KeyFile)
	if err != nil {
		return cert, fmt.Errorf("Unable to load server key file %q. Check keyfile: %w", p.KeyFile, err)
	}
	if b, _ := pem.Decode(keyPEM); b != nil && (b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "") {
		return cert, fmt.Errorf("Unable to load server key file %q. Check keyfile: it needs a password, which nobody could type in when it is read again; take it off with: openssl pkey -in %s -out NEW.key", p.KeyFile, p.KeyFile)
	}
	cert, err = tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return cert, fmt.Errorf("Unable to use certificate %q with key file %q. Check certfile and keyfile: %w", p.CertFile, p.KeyFile, err)
	}
	return cert, nil
}

// setClients sets whom of the clients to trust.
func (f *Files) setClients(c *tls.Config) error {
	roots, err := f.authorities()
	if err != nil {
		return err
	}
	var lists []*x509.RevocationList
	if f.CRLFile != "" {
		if lists, err = readLists(f.CRLFile); err != nil {
			return err
		}
	}
	if !f.RequireCertificate {
		return nil
	}
	if roots == nil {
		return errors.New("require_certificate needs the authorities that sign clients' certificates: cafile or capath must be given")
	}
	check := &clientCheck{roots: roots, lists: lists, crl: f.CRLFile != "", ignoreDates: f.IgnoreDates, now: time.Now}
	c.ClientCAs, c.ClientAuth, c.VerifyConnection = roots, tls.RequireAndVerifyClientCert, check.verify
	if f.IgnoreDates {
		c.ClientAuth = tls.RequireAnyClientCert // verify does it all
	}
	return nil
}

// authorities reads cafile and capath; nil: neither is given.
func (f *Files) authorities() (*x509.CertPool, error) {
	if f.CAFile == "" && f.CAPath == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if f.CAFile != "" {
		text, err := os.ReadFile(f.CAFile)
		if err != nil {
			return nil, fmt.Errorf("Unable to load CA certificates. Check cafile %q: %w", f.CAFile, err)
		}
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("Unable to load CA certificates. Check cafile %q: it holds no certificate in PEM", f.CAFile)
		}
	}
	if f.CAPath == "" {
		return pool, nil
	}
	names, err := inFolder(f.CAPath)
	if err != nil {
		return nil, fmt.Errorf("Unable to load CA certificates. Check capath %q: %w", f.CAPath, err)
	}
	found := false
	for _, name := range names {
		if text, err := os.ReadFile(name); err == nil && pool.AppendCertsFromPEM(text) {
			found = true
		}
	}
	if !found {
		return nil, fmt.Errorf("Unable to load CA certificates. Check capath %q: no file in it holds a certificate in PEM", f.CAPath)
	}
	return pool, nil
}

func inFolder(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, filepath.Join(dir, e.Name()))
	}
	return names, err
}

// readLists reads the revocation lists in a file.
func readLists(name string) (lists []*x509.RevocationList, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("Unable to load certificate revocation file %q. Check crlfile: %w", name, err)
	}
	der := [][]byte{}
	for rest := text; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type == "X509 CRL" {
			der = append(der, b.Bytes)
		}
	}
	if len(der) == 0 {
		der = [][]byte{text}
	}
	for _, d := range der {
		l, err := x509.ParseRevocationList(d)
		if err != nil {
			return nil, fmt.Errorf("Unable to load certificate revocation file %q. Check crlfile: %w", name, err)
		}
		lists = append(lists, l)
	}
	return lists, nil
}
