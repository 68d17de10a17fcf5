package broker_test

import (
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/test/mosquitto"
)

// gets reports whether a client comes as far as CONNACK.
func gets(t *testing.T, address string, config *tls.Config) bool {
	t.Helper()
	c, err := tls.Dial("tcp", address, config)
	if err != nil {
		return false
	}
	p := over(t, c)
	b, err := (&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("c")}).Append(nil)
	if err == nil {
		_, err = c.Write(b)
	}
	if err != nil {
		return false
	}
	f, err := p.next()
	return err == nil && f.Type == mqtt.CONNACK
}

// certificates are the clients' ones that the two brokers are shown, and files with authorities and revocation lists.
func (k *keys) certificates() map[string]tls.Certificate {
	k.t.Helper()
	month := time.Now().AddDate(0, 1, 0)
	foreign := newKeys(k.t)
	all := map[string]tls.Certificate{
		"none": {}, "good": k.client("good", month), "revoked": k.client("revoked", month),
		"expired": k.client("expired", time.Now().Add(-time.Minute)), "foreign": foreign.client("foreign", month),
	}
	server, err := tls.LoadX509KeyPair(k.file("server.crt"), k.file("server.key"))
	if err != nil {
		k.t.Fatal(err)
	}
	all["a server's"] = server
	for list, until := range map[string]time.Time{"ca.crl": month, "old.crl": time.Now().Add(-time.Minute)} {
		if _, err := k.ca.Revoke([]string{k.file("revoked.crt")}, until, k.file(list)); err != nil {
			k.t.Fatal(err)
		}
	}
	if _, err := foreign.ca.Revoke([]string{foreign.file("foreign.crt")}, month, k.file("foreign.crl")); err != nil {
		k.t.Fatal(err)
	}
	folder := k.file("authorities")
	if err := os.Mkdir(folder, 0o755); err != nil {
		k.t.Fatal(err)
	}
	text, err := os.ReadFile(k.file("ca.crt"))
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "ca.crt"), text, 0o644)
	}
	if err != nil {
		k.t.Fatal(err)
	}
	if out, err := exec.Command("openssl", "rehash", folder).CombinedOutput(); err != nil {
		k.t.Fatalf("openssl rehash: %v: %s", err, out)
	}
	return all
}

// Whom Debian's mosquitto lets in over TLS, Nightjar does, and nobody else.
func TestAsMosquittoTLS(t *testing.T) {
	k := newKeys(t)
	all := k.certificates()
	b, _ := serve(t, options())
	for i, tt := range []struct {
		lines  []string
		change func(f *broker.TLSFiles)
	}{
		{nil, func(*broker.TLSFiles) {}},
		{[]string{"cafile ca.crt", "require_certificate true"}, func(f *broker.TLSFiles) { f.RequireCertificate = true }},
		{[]string{"capath authorities", "require_certificate true"}, func(f *broker.TLSFiles) {
			f.RequireCertificate, f.CAFile, f.CAPath = true, "", k.file("authorities")
		}},
		{[]string{"cafile ca.crt", "require_certificate true", "crlfile ca.crl"}, func(f *broker.TLSFiles) { f.RequireCertificate, f.CRLFile = true, k.file("ca.crl") }},
		{[]string{"cafile ca.crt", "require_certificate true", "crlfile old.crl"}, func(f *broker.TLSFiles) { f.RequireCertificate, f.CRLFile = true, k.file("old.crl") }},
		{[]string{"cafile ca.crt", "require_certificate true", "crlfile foreign.crl"}, func(f *broker.TLSFiles) { f.RequireCertificate, f.CRLFile = true, k.file("foreign.crl") }},
		{[]string{"tls_version tlsv1.3"}, func(f *broker.TLSFiles) { f.MinVersion = "tlsv1.3" }},
		{[]string{"tls_version tlsv1.2"}, func(f *broker.TLSFiles) { f.MinVersion = "tlsv1.2" }},
	} {
		lines := []string{"certfile " + k.file("server.crt"), "keyfile " + k.file("server.key")}
		for _, l := range tt.lines {
			name, value, _ := strings.Cut(l, " ")
			if _, err := os.Stat(k.file(value)); err == nil {
				value = k.file(value)
			}
			lines = append(lines, name+" "+value)
		}
		theirs := mosquitto.StartListener(t, lines...)
		ours := listen(t, b, broker.Listener{Name: fmt.Sprint(i), Transport: broker.Transport{Certificates: k.load(tt.change)}})
		for name, cert := range all {
			for _, version := range []uint16{tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
				config := k.config()
				config.MinVersion, config.MaxVersion = tls.VersionTLS10, version
				if cert.Certificate != nil {
					config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
				}
				if us, them := gets(t, ours, config), gets(t, theirs.Addr, config); us != them {
					t.Errorf("%v: certificate %q, %s: let in by Nightjar %v, by mosquitto %v", tt.lines, name, tls.VersionName(version), us, them)
				}
			}
		}
		theirs.Stop()
	}
}

// And so it is with cipher suites: those that both have are let through by the same lists.
func TestAsMosquittoCiphers(t *testing.T) {
	k := newKeys(t)
	b, _ := serve(t, options())
	for i, list := range []string{
		"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305", "HIGH:!AESGCM", "ECDHE+AESGCM", "EECDH+AES128:!SHA1",
		"ALL:-AES256:!aNULL", "DEFAULT:!CHACHA20", "kEECDH+CHACHA20:DHE-RSA-AES256-GCM-SHA384", "HIGH:!aNULL:!MD5:!RC4:@STRENGTH", "AES256+ECDSA", "SHA1:SHA384", "ECDHE-ECDSA-AES128-SHA256:AES256",
	} {
		theirs := mosquitto.StartListener(t, "certfile "+k.file("server.crt"), "keyfile "+k.file("server.key"), "ciphers "+list)
		ours := listen(t, b, broker.Listener{Name: fmt.Sprint(i), Transport: broker.Transport{Certificates: k.load(func(f *broker.TLSFiles) { f.Ciphers = list })}})
		for _, id := range []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA} {
			config := k.config()
			config.MaxVersion, config.CipherSuites = tls.VersionTLS12, []uint16{id}
			if us, them := gets(t, ours, config), gets(t, theirs.Addr, config); us != them {
				t.Errorf("ciphers %s: %s: let through by Nightjar %v, by mosquitto %v", list, tls.CipherSuiteName(id), us, them)
			}
		}
		theirs.Stop()
	}
}
