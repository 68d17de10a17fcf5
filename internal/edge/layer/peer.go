package layer

import (
	"crypto/x509"

	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// Certificate gives the certificate that the client of a connection has shown and that was checked, and the common name in
// it. A proxy may have told the name alone. nil and "": there is none. Owner only, after the handshake.
func Certificate(c netloop.Conn) (cert *x509.Certificate, commonName string) {
	for {
		switch l := c.(type) {
		case *mixed:
			c = l.Conn
		case *proxied:
			return nil, l.commonName
		case *conn:
			if t, ok := l.codec.(*tlsCodec); ok {
				// Chains are there only if crypto/tls has checked it.
				if state := t.tls.ConnectionState(); len(state.PeerCertificates) > 0 && (t.checked || len(state.VerifiedChains) > 0) {
					cert = state.PeerCertificates[0]
					return cert, cert.Subject.CommonName
				}
			}
			c = l.below
		default:
			return nil, ""
		}
	}
}
