// Package authority is a private certificate authority in files: it makes itself, signs certificates for servers and clients,
// and revokes them.
package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Authority signs certificates.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// early is how long before now certificates begin to be valid: clocks differ.
const early = time.Hour

// Make makes an authority: a certificate that may sign others, and its key, each in a file that must not be there. name is
// its common name; "": one is made up.
func Make(name string, until time.Time, certFile, keyFile string) error {
	serial := newSerial()
	if name == "" {
		name = fmt.Sprintf("Nightjar private CA %04x", serial.Uint64()&0xFFFF)
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-early), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return issue(t, nil, certFile, keyFile)
}

func newSerial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[0] &= 0x7F           // positive
	b[15] |= 1             // and not zero
	return new(big.Int).SetBytes(b[:])
}

// issue signs t with a new key, by ca or by itself, and writes both files or none.
func issue(t *x509.Certificate, ca *Authority, certFile, keyFile string) error {
	for _, name := range []string{certFile, keyFile} {
		if _, err := os.Lstat(name); err == nil {
			return fmt.Errorf("%s is there already and is not overwritten; remove it, or choose another --dir or --out", name)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if ca == nil {
		ca = &Authority{t, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return fmt.Errorf("cannot make the certificate: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(keyFile), 0o755); err != nil {
		return err
	}
	if err := create(keyFile, 0o600, &pem.Block{Type: "PRIVATE KEY", Bytes: secret}); err != nil {
		return err
	}
	if err := create(certFile, 0o644, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		return errors.Join(err, os.Remove(keyFile))
	}
	return nil
}

// create writes a file that must not be there.
func create(name string, mode os.FileMode, b *pem.Block) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	err = errors.Join(pem.Encode(f, b), f.Sync(), f.Close())
	if err != nil {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// Load reads one that Make has made.
func Load(certFile, keyFile string) (*Authority, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no certificate authority (%w); make one with 'nightjar cert ca', or name it by --dir, or by --ca and --ca-key", err)
	}
	if err != nil {
		return nil, fmt.Errorf("the certificate authority %s with key %s: %w", certFile, keyFile, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("%s is no certificate authority with an ECDSA key, as 'nightjar cert ca' makes it", certFile)
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("the certificate authority %s was valid until %s; make another", certFile, pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	return &Authority{pair.Leaf, key}, nil
}

// Server makes a certificate for a server with these host names and IP addresses, and its key. It tells until when it is
// valid: not longer than the authority.
func (a *Authority) Server(names []string, until time.Time, certFile, keyFile string) (time.Time, error) {
	t := a.leaf(names[0], until, x509.ExtKeyUsageServerAuth)
	for _, n := range names {
		if ip, err := netip.ParseAddr(n); err == nil {
			t.IPAddresses = append(t.IPAddresses, ip.AsSlice())
			continue
		}
		if !hostName.MatchString(n) || len(n) > 253 {
			return until, fmt.Errorf("%q is neither a host name nor an IP address; give what clients write behind -h, without a port", n)
		}
		t.DNSNames = append(t.DNSNames, n)
	}
	return t.NotAfter, issue(t, a, certFile, keyFile)
}

// hostName is one as in RFC 1123, with an underscore for those who have it, and perhaps a wildcard at its front.
var hostName = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$`)

// Client makes a certificate for a client with this common name, and its key. It tells until when it is valid.
func (a *Authority) Client(name string, until time.Time, certFile, keyFile string) (time.Time, error) {
	const longest = 64 // ub-common-name, RFC 5280
	if name == "" || len(name) > longest || strings.ContainsAny(name, "/\\+#:") || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
		return until, fmt.Errorf("%q cannot be a client's name: it has from 1 to %d bytes, and none of / \\ + # :", name, longest)
	}
	t := a.leaf(name, until, x509.ExtKeyUsageClientAuth)
	return t.NotAfter, issue(t, a, certFile, keyFile)
}

func (a *Authority) leaf(name string, until time.Time, usage x509.ExtKeyUsage) *x509.Certificate {
	if until.After(a.cert.NotAfter) {
		until = a.cert.NotAfter
	}
	if len(name) > 64 {
		name = name[:64] // nobody looks at it: the alternative names count
	}
	return &x509.Certificate{
		SerialNumber: newSerial(), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-early), NotAfter: until,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
}

// Revoke adds certificates to a revocation list, or begins one, and tells how many are on it. The file is replaced in one
// step: a broker that reads it at any time finds a whole one.
func (a *Authority) Revoke(certFiles []string, until time.Time, listFile string) (int, error) {
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-early), NextUpdate: until}
	if old, err := readList(listFile); err == nil {
		if err := old.CheckSignatureFrom(a.cert); err != nil {
			return 0, fmt.Errorf("%s is not a list of this authority: %w", listFile, err)
		}
		list.Number.Add(old.Number, big.NewInt(1))
		list.RevokedCertificateEntries = old.RevokedCertificateEntries
	} else if !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	on := make(map[string]bool)
	for _, e := range list.RevokedCertificateEntries {
		on[e.SerialNumber.String()] = true
	}
	for _, name := range certFiles {
		c, err := readCertificate(name)
		if err != nil {
			return 0, err
		}
		if err := c.CheckSignatureFrom(a.cert); err != nil {
			return 0, fmt.Errorf("%s is not of this authority: %w", name, err)
		}
		if !on[c.SerialNumber.String()] {
			on[c.SerialNumber.String()] = true
			list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
				x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
		}
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		return 0, fmt.Errorf("cannot make the revocation list: %w", err)
	}
	temporary := listFile + ".new"
	_ = os.Remove(temporary) // of a run that was cut off
	if err := create(temporary, 0o644, &pem.Block{Type: "X509 CRL", Bytes: der}); err != nil {
		return 0, err
	}
	return len(list.RevokedCertificateEntries), os.Rename(temporary, listFile)
}

func readPEM(name, kind string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	b, _ := pem.Decode(text)
	if b == nil || b.Type != kind {
		return nil, fmt.Errorf("%s does not begin with a %s in PEM", name, kind)
	}
	return b.Bytes, nil
}

func readList(name string) (*x509.RevocationList, error) {
	der, err := readPEM(name, "X509 CRL")
	if err != nil {
		return nil, err
	}
	return x509.ParseRevocationList(der)
}

func readCertificate(name string) (*x509.Certificate, error) {
	der, err := readPEM(name, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
