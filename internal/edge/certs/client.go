package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// clientCheck decides on clients' certificates beyond what crypto/tls does.
type clientCheck struct {
	roots       *x509.CertPool
	lists       []*x509.RevocationList
	crl         bool // lists are to be asked
	ignoreDates bool
	now         func() time.Time
}

// verify is called at the end of each handshake, also when an earlier session is resumed: then the authorities and lists of
// today count, not those of that session.
func (k *clientCheck) verify(s tls.ConnectionState) error {
	chains := s.VerifiedChains
	if s.DidResume || k.ignoreDates {
		var err error
		if chains, err = k.chains(s.PeerCertificates); err != nil {
			return err
		}
	}
	if !k.crl {
		return nil
	}
	var errs []error
	for _, chain := range chains {
		err := k.current(chain)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (k *clientCheck) chains(certs []*x509.Certificate) ([][]*x509.Certificate, error) {
	if len(certs) == 0 {
		return nil, errors.New("certs: the client showed no certificate")
	}
	o := x509.VerifyOptions{
		Roots: k.roots, Intermediates: x509.NewCertPool(), CurrentTime: k.now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range certs[1:] {
		o.Intermediates.AddCert(c)
	}
	chains, err := certs[0].Verify(o)
	var invalid x509.CertificateInvalidError
	if k.ignoreDates && errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		o.CurrentTime = certs[0].NotBefore // a time when its authority, too, is most likely to have been valid
		chains, err = certs[0].Verify(o)
	}
	return chains, err
}

// current asks the list of the authority that has signed the client's certificate, as OpenSSL does with X509_V_FLAG_CRL_CHECK.
func (k *clientCheck) current(chain []*x509.Certificate) error {
	leaf, issuer := chain[0], chain[min(1, len(chain)-1)]
	var out error
	for _, l := range k.lists {
		if !bytes.Equal(l.RawIssuer, leaf.RawIssuer) || l.CheckSignatureFrom(issuer) != nil {
			continue
		}
		if !l.NextUpdate.IsZero() && k.now().After(l.NextUpdate) {
			out = fmt.Errorf("certs: the revocation list of %q in crlfile was due to be replaced on %s; nobody with its certificates is let in until it is", l.Issuer, l.NextUpdate.Format(time.DateTime))
			continue
		}
		revoked := func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(leaf.SerialNumber) == 0 }
		if slices.ContainsFunc(l.RevokedCertificateEntries, revoked) {
			return fmt.Errorf("certs: the certificate of %q, serial number %s, has been revoked", leaf.Subject, leaf.SerialNumber)
		}
		return nil
	}
	if out != nil {
		return out
	}
	return fmt.Errorf("certs: crlfile has no revocation list of %q, who has signed the certificate of %q", leaf.Issuer, leaf.Subject)
}
