package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// certificate makes one for localhost that signs itself.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// TestTLS connects with a certificate that verifies, and not with one that does not.
func TestTLS(t *testing.T) {
	cert, pool := certificate(t)
	f := newFake(t, mqtt.V5)
	url := "mqtts" + f.url()[len("mqtt"):]
	connected := background(func() error {
		_, err := client.Connect(testContext(t), url, client.Options{TLS: &tls.Config{ServerName: "localhost"}})
		return err
	})
	serve := func() *peer {
		p := f.accept()
		p.conn = tls.Server(p.conn, &tls.Config{Certificates: []tls.Certificate{cert}})
		return p
	}
	if f, err := serve().next(); err == nil {
		t.Errorf("got %v over a connection that is not verified", f.Type)
	}
	var unknown *tls.CertificateVerificationError
	if err := await(t, "Connect", connected); !errors.As(err, &unknown) {
		t.Errorf("unknown certificate: %v", err)
	}

	var c *client.Client
	connected = background(func() (err error) {
		c, err = client.Connect(testContext(t), url, client.Options{TLS: &tls.Config{ServerName: "localhost", RootCAs: pool}})
		return err
	})
	p := serve()
	p.expect(mqtt.CONNECT)
	p.send(&mqtt.Connack{})
	if err := await(t, "Connect", connected); err != nil {
		t.Fatal(err)
	}
	ended := background(func() error { return c.Disconnect(testContext(t)) })
	p.expectDisconnect(mqtt.NormalDisconnection)
	p.conn.Close()
	if err := await(t, "Disconnect", ended); err != nil {
		t.Error(err)
	}
	await(t, "the end", c.Done())
}
