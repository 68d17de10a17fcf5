package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
)

// tlsFlags are the flags that say how to speak TLS.
type tlsFlags struct {
	caFile, caPath     string
	cert, key, keyForm string
	insecure           bool
	version, alpn      string
	keyLog             string
	useOSCerts, off    bool

	// What crypto/tls does not have. They are flags so that they are refused by
	// name, with what to use instead.
	psk, pskIdentity, ciphers, engine, enginePassword string
}

func (t *tlsFlags) flags(fs *pflag.FlagSet) {
	fs.StringVar(&t.caFile, "cafile", "", "TLS: `file` with the certificates of the authorities to trust")
	fs.StringVar(&t.caPath, "capath", "", "TLS: `directory` with such files")
	fs.BoolVar(&t.useOSCerts, "tls-use-os-certs", false, "TLS: trust the system's authorities; the default with port 8883 and with mqtts://")
	fs.StringVar(&t.cert, "cert", "", "TLS: `file` with the client's certificate")
	fs.StringVar(&t.key, "key", "", "TLS: `file` with its private key")
	fs.BoolVar(&t.insecure, "insecure", false, "TLS: do not check that the certificate is for this host; for tests only")
	fs.StringVar(&t.version, "tls-version", "", "TLS: lowest `version` to accept: tlsv1.3, tlsv1.2 or tlsv1.1 (tlsv1.2)")
	fs.StringVar(&t.alpn, "tls-alpn", "", "TLS: application `protocol` to ask for")
	fs.StringVar(&t.keyLog, "tls-keylog", "", "TLS: write the session's secrets to `file`, for debugging only")
	fs.BoolVar(&t.off, "no-tls", false, "no TLS, whatever the port")
	fs.StringVar(&t.keyForm, "keyform", "pem", "TLS: form of the key; only pem")
	fs.StringVar(&t.psk, "psk", "", "TLS: not supported; use certificates")
	fs.StringVar(&t.pskIdentity, "psk-identity", "", "TLS: not supported; use certificates")
	fs.StringVar(&t.ciphers, "ciphers", "", "TLS: not supported; use --tls-version")
	fs.StringVar(&t.engine, "tls-engine", "", "TLS: not supported; use --cert and --key")
	fs.StringVar(&t.enginePassword, "tls-engine-kpass-sha1", "", "TLS: not supported; use --cert and --key")
	for _, name := range []string{"keyform", "psk", "psk-identity", "ciphers", "tls-engine", "tls-engine-kpass-sha1"} {
		fs.Lookup(name).Hidden = true
	}
}

// config returns the configuration, or nil for a connection without TLS.
func (t *tlsFlags) config(port int) (*tls.Config, error) {
	switch {
	case t.psk != "" || t.pskIdentity != "":
		return nil, errors.New("--psk: pre-shared keys are not supported; use certificates: --cafile, --cert, --key")
	case t.ciphers != "":
		return nil, errors.New("--ciphers: the cipher suites cannot be chosen; only safe ones are offered. Use --tls-version to choose the version")
	case t.engine != "" || t.enginePassword != "" || t.keyForm != "pem":
		return nil, errors.New("--tls-engine and --keyform: OpenSSL engines are not supported; use a key in a PEM file: --key")
	case (t.cert == "") != (t.key == ""):
		return nil, errors.New("Both --cert and --key must be provided if one of them is set.")
	case t.off:
		return nil, nil
	case t.caFile == "" && t.caPath == "" && !t.useOSCerts && t.cert == "" && port != 8883:
		if t.insecure || t.version != "" || t.alpn != "" || t.keyLog != "" {
			return nil, errors.New("TLS options given, but no TLS: add --cafile, --capath or --tls-use-os-certs")
		}
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	switch t.version {
	case "", "tlsv1.2":
	case "tlsv1.3":
		config.MinVersion = tls.VersionTLS13
	case "tlsv1.1":
		config.MinVersion = tls.VersionTLS11
	default:
		return nil, fmt.Errorf("--tls-version %s: use tlsv1.3, tlsv1.2 or tlsv1.1", t.version)
	}
	if t.alpn != "" {
		config.NextProtos = []string{t.alpn}
	}
	if err := t.authorities(config); err != nil {
		return nil, err
	}
	if t.cert != "" {
		pair, err := tls.LoadX509KeyPair(t.cert, t.key)
		if err != nil {
			return nil, fmt.Errorf("--cert and --key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if t.keyLog != "" {
		f, err := os.OpenFile(t.keyLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("--tls-keylog: %w", err)
		}
		config.KeyLogWriter = f
	}
	return config, nil
}

// authorities sets whom to trust.
func (t *tlsFlags) authorities(config *tls.Config) error {
	if t.caFile != "" || t.caPath != "" {
		pool := x509.NewCertPool()
		if t.useOSCerts {
			system, err := x509.SystemCertPool()
			if err != nil {
				return fmt.Errorf("--tls-use-os-certs: %w", err)
			}
			pool = system
		}
		if t.caFile != "" {
			if err := addFile(pool, t.caFile); err != nil {
				return fmt.Errorf("--cafile: %w", err)
			}
		}
		if t.caPath != "" {
			if err := addFolder(pool, t.caPath); err != nil {
				return fmt.Errorf("--capath: %w", err)
			}
		}
		config.RootCAs = pool
	}
	if t.insecure {
		// Mosquitto's --insecure leaves out the host name, not the signatures.
		config.InsecureSkipVerify = true
		config.VerifyConnection = func(s tls.ConnectionState) error {
			o := x509.VerifyOptions{Roots: config.RootCAs, Intermediates: x509.NewCertPool()}
			for _, c := range s.PeerCertificates[1:] {
				o.Intermediates.AddCert(c)
			}
			_, err := s.PeerCertificates[0].Verify(o)
			return err
		}
	}
	return nil
}

func addFile(pool *x509.CertPool, name string) error {
	pem, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate in PEM", name)
	}
	return nil
}

func addFolder(pool *x509.CertPool, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	found := false
	for _, e := range entries {
		if pem, err := os.ReadFile(filepath.Join(dir, e.Name())); err == nil && pool.AppendCertsFromPEM(pem) {
			found = true
		}
	}
	if !found {
		return fmt.Errorf("no file in %s holds a certificate in PEM", dir)
	}
	return nil
}
