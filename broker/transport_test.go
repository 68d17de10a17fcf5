package broker_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/internal/access/authority"
	"github.com/nightjar-mqtt/nightjar/test/mosquitto"
)

// connectURL is Nightjar's client.
func connectURL(t *testing.T, url string, config *tls.Config, change ...func(*client.Options)) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	o := client.Options{TLS: config, NoReconnect: true}
	for _, fn := range change {
		fn(&o)
	}
	c, err := client.Connect(ctx, url, o)
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	t.Cleanup(c.Close)
	return c
}

func publishBy(t *testing.T, c *client.Client, topic, payload string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := c.Publish(ctx, &client.Message{Topic: topic, Payload: []byte(payload), QoS: 1}); err != nil {
		t.Fatal(err)
	}
}

// keys is an authority with a server's certificate for localhost and clients' ones, in files.
type keys struct {
	t   *testing.T
	dir string
	ca  *authority.Authority
}

func newKeys(t *testing.T) *keys {
	t.Helper()
	k := &keys{t: t, dir: t.TempDir()}
	year := time.Now().AddDate(1, 0, 0)
	err := authority.Make("Test CA", year, k.file("ca.crt"), k.file("ca.key"))
	if err == nil {
		k.ca, err = authority.Load(k.file("ca.crt"), k.file("ca.key"))
	}
	if err == nil {
		_, err = k.ca.Server([]string{"localhost", "127.0.0.1"}, year, k.file("server.crt"), k.file("server.key"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *keys) file(name string) string { return filepath.Join(k.dir, name) }

// client makes a client's certificate.
func (k *keys) client(name string, until time.Time) tls.Certificate {
	k.t.Helper()
	if _, err := k.ca.Client(name, until, k.file(name+".crt"), k.file(name+".key")); err != nil {
		k.t.Fatal(err)
	}
	c, err := tls.LoadX509KeyPair(k.file(name+".crt"), k.file(name+".key"))
	if err != nil {
		k.t.Fatal(err)
	}
	return c
}

// config is a client's.
func (k *keys) config(own ...tls.Certificate) *tls.Config {
	k.t.Helper()
	pool := x509.NewCertPool()
	text, err := os.ReadFile(k.file("ca.crt"))
	if err != nil || !pool.AppendCertsFromPEM(text) {
		k.t.Fatal(err)
	}
	return &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: own}
}

func (k *keys) load(change ...func(*broker.TLSFiles)) *broker.Certificates {
	k.t.Helper()
	f := broker.TLSFiles{Pair: broker.CertificatePair{CertFile: k.file("server.crt"), KeyFile: k.file("server.key")}, CAFile: k.file("ca.crt"), Poll: -1}
	for _, fn := range change {
		fn(&f)
	}
	c, err := broker.LoadCertificates(f, slog.New(slog.DiscardHandler))
	if err != nil {
		k.t.Fatal(err)
	}
	return c
}

// MQTT and WebSocket on one port, with and without TLS, for clients that name a protocol by ALPN and those that do not.
func TestMixedPort(t *testing.T) {
	everyEngine(t, func(t *testing.T, o broker.Options) {
		k := newKeys(t)
		b, plain := serve(t, o)
		watcher := dial(t, plain)
		watcher.connect("watcher", nil)
		watcher.subscribe("#")
		open := listen(t, b, broker.Listener{Name: "open", Transport: broker.Transport{Mixed: true, Origins: []string{"https://good.example"}}})
		secret := listen(t, b, broker.Listener{Name: "secret", Transport: broker.Transport{Mixed: true, Certificates: k.load()}})
		alpn := k.config()
		alpn.NextProtos = []string{"mqtt"}
		big := strings.Repeat("z", 200_000)
		for _, c := range []*client.Client{
			connectURL(t, "mqtt://"+open, nil), connectURL(t, "ws://"+open, nil), connectURL(t, "mqtts://"+secret, k.config()),
			connectURL(t, "mqtts://"+secret, alpn), connectURL(t, "wss://"+secret, k.config()),
		} {
			publishBy(t, c, "t", big)
			watcher.expect("t", big)
		}
		// What is neither is closed.
		for _, junk := range []string{"\x16\x03\x01\x00\xa5", "hello\r\n\r\n", "\x00"} {
			p := dial(t, open)
			if _, err := io.WriteString(p.c, junk); err != nil {
				t.Fatal(err)
			}
			p.expectEnd()
		}
		for origin, want := range map[string]int{"https://evil.example": http.StatusForbidden, "https://good.example": http.StatusSwitchingProtocols} {
			if got := upgrade(t, open, origin); got != want {
				t.Errorf("origin %s: HTTP %d, want %d", origin, got, want)
			}
		}
	})
}

// upgrade asks for a WebSocket and returns the status.
func upgrade(t *testing.T, address, origin string) int {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://"+address+"/mqtt", nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "mqtt", "Origin": origin} {
		r.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// A silent connection on a mixed port is closed as on any other.
func TestMixedPortSilence(t *testing.T) {
	o := options()
	o.ConnectTimeout = 50 * time.Millisecond
	b, _ := serve(t, o)
	address := listen(t, b, broker.Listener{Name: "mixed", Transport: broker.Transport{Mixed: true}})
	dial(t, address).expectEnd()
	slow := dial(t, address)
	if _, err := io.WriteString(slow.c, "GET / HTTP/1.1\r\n"); err != nil {
		t.Fatal(err)
	}
	slow.expectEnd()
	eventually(t, "all to be counted out", func() bool { return b.Stats().Connections == 0 })
}

// The certificate that a client has shown reaches the authenticator, over TLS and secure WebSocket; those who have none, or a
// revoked or expired one, do not get as far.
func TestClientCertificate(t *testing.T) {
	everyEngine(t, func(t *testing.T, o broker.Options) {
		who := new(logins)
		o.Authenticator = who
		b, plain := serve(t, o)
		k := newKeys(t)
		month := time.Now().AddDate(0, 1, 0)
		good, revoked, expired := k.client("sensor 1", month), k.client("revoked", month), k.client("expired", time.Now().Add(-time.Minute))
		if _, err := k.ca.Revoke([]string{k.file("revoked.crt")}, month, k.file("ca.crl")); err != nil {
			t.Fatal(err)
		}
		require := func(f *broker.TLSFiles) { f.RequireCertificate, f.CRLFile = true, k.file("ca.crl") }
		mqtts := listen(t, b, broker.Listener{Name: "mqtts", Transport: broker.Transport{Certificates: k.load(require)}})
		wss := listen(t, b, broker.Listener{Name: "wss", Transport: broker.Transport{Certificates: k.load(require), WebSocket: true}})
		dates := listen(t, b, broker.Listener{Name: "dates", Transport: broker.Transport{Certificates: k.load(func(f *broker.TLSFiles) { f.RequireCertificate, f.IgnoreDates = true, true })}})
		optional := listen(t, b, broker.Listener{Name: "optional", Transport: broker.Transport{Certificates: k.load()}})

		id := func(id string) func(*client.Options) { return func(o *client.Options) { o.ClientID = id } }
		connectURL(t, "mqtts://"+mqtts, k.config(good), id("a"))
		connectURL(t, "wss://"+wss, k.config(good), id("b"))
		connectURL(t, "mqtts://"+dates, k.config(expired), id("c"))
		connectURL(t, "mqtts://"+optional, k.config(good), id("d"))
		for id, want := range map[string]string{"a": "sensor 1", "b": "sensor 1", "c": "expired", "d": ""} {
			l := who.of(id)
			if l.CommonName != want || (l.Certificate != nil) != (want != "") || want != "" && l.Certificate.Subject.CommonName != want {
				t.Errorf("client %s: common name %q, certificate %v; want %q", id, l.CommonName, l.Certificate != nil, want)
			}
		}
		for name, config := range map[string]*tls.Config{"none": k.config(), "revoked": k.config(revoked), "expired": k.config(expired)} {
			for _, url := range []string{"mqtts://" + mqtts, "wss://" + wss} {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				if c, err := client.Connect(ctx, url, client.Options{TLS: config, ClientID: "bad", NoReconnect: true}); err == nil {
					c.Close()
					t.Errorf("%s: a client with certificate %s is let in", url, name)
				}
				cancel()
			}
		}
		if l := who.of("bad"); l.ClientID != "" {
			t.Error("the authenticator was asked about a client that TLS has refused")
		}

		// Mosquitto's clients, over TLS with a client certificate.
		watcher := dial(t, plain)
		watcher.connect("watcher", nil)
		watcher.subscribe("#")
		_, port, _ := net.SplitHostPort(mqtts)
		cmd := exec.Command(mosquitto.Command(t, "mosquitto_pub"), "-h", "localhost", "-p", port, "-i", "m", "-t", "t", "-m", "x",
			"--cafile", k.file("ca.crt"), "--cert", k.file("sensor 1.crt"), "--key", k.file("sensor 1.key"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		watcher.expect("t", "x")
		if l := who.of("m"); l.CommonName != "sensor 1" {
			t.Errorf("mosquitto_pub: common name %q", l.CommonName)
		}
		cmd.Args[len(cmd.Args)-3], cmd.Args[len(cmd.Args)-1] = k.file("revoked.crt"), k.file("revoked.key")
		if out, err := exec.Command(cmd.Path, cmd.Args[1:]...).CombinedOutput(); err == nil {
			t.Errorf("mosquitto_pub with a revoked certificate is let in: %s", out)
		}
	})
}

// Why a client's certificate was refused is in the log, however fast the client goes away when it hears of it.
func TestRefusedCertificateIsLogged(t *testing.T) {
	everyEngine(t, func(t *testing.T, o broker.Options) {
		log := new(logBuffer)
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
		b, _ := serve(t, o)
		k := newKeys(t)
		month := time.Now().AddDate(0, 1, 0)
		revoked := k.client("revoked", month)
		if _, err := k.ca.Revoke([]string{k.file("revoked.crt")}, month, k.file("ca.crl")); err != nil {
			t.Fatal(err)
		}
		address := listen(t, b, broker.Listener{Name: "tls", Transport: broker.Transport{Certificates: k.load(func(f *broker.TLSFiles) { f.RequireCertificate, f.CRLFile = true, k.file("ca.crl") })}})
		const times = 30
		for i := range times {
			c, err := tls.Dial("tcp", address, k.config(revoked))
			if err == nil {
				_, err = c.Read(make([]byte, 1))
				_ = c.Close()
			}
			if err == nil {
				t.Fatal("it is let in")
			}
			eventually(t, "the reason", func() bool { return strings.Count(log.String(), "has been revoked") == i+1 })
		}
	})
}

// Certificates are closed with their listener, or when it gets others.
func TestCertificatesAreClosed(t *testing.T) {
	o := options()
	b, _ := serve(t, o)
	k := newKeys(t)
	first := k.load()
	address := listen(t, b, broker.Listener{Name: "tls", Transport: broker.Transport{Certificates: first}})
	connected := connectURL(t, "mqtts://"+address, k.config())
	second := k.load()
	if err := b.UpdateListener(broker.Listener{Name: "tls", Transport: broker.Transport{Certificates: second}}); err != nil {
		t.Fatal(err)
	}
	first.Close() // once more does no harm
	publishBy(t, connected, "t", "the old certificate's connection goes on")
	publishBy(t, connectURL(t, "mqtts://"+address, k.config()), "t", "x")
	if err := b.StopListener(context.Background(), "tls", nil); err != nil {
		t.Fatal(err)
	}
	second.Close()
	publishBy(t, connected, "t", "still")
}
