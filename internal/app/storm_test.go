package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/client"
)

// TestReloadStorm: while clients publish, an ACL, a certificate, a limit and a listener change with each of many reloads. No
// message is lost, nobody is disconnected, and no descriptors and no goroutines are left behind.
func TestReloadStorm(t *testing.T) {
	const clients, reloads = 20, 100
	dir := shortDir(t)
	writeCertificate(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "acl"), []byte("topic readwrite #\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startIn(t, dir, stormConfig(0)...)
	var got atomic.Int64
	reader := p.mustConnect("s", client.Options{ClientID: "reader", OnMessage: func(*client.Message) { got.Add(1) }})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if _, err := reader.Subscribe(ctx, client.Subscription{Filter: "load/+", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var all sync.WaitGroup
	var sent atomic.Int64
	for i := range clients {
		c := p.mustConnect("s", client.Options{ClientID: fmt.Sprint("p", i)})
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := c.Publish(ctx, &client.Message{Topic: fmt.Sprint("load/", i), QoS: 1}); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				sent.Add(1)
			}
		})
	}
	reload := func(i int) {
		p.configure(stormConfig(i)...)
		acl := fmt.Sprintf("topic readwrite load/#\ntopic read other/%d\n", i)
		if err := os.WriteFile(filepath.Join(dir, "acl"), []byte(acl), 0o600); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			writeCertificate(t, dir)
		}
		p.signals <- syscall.SIGHUP
		p.waitFor("changed: max_keepalive", i)
	}
	var before, goroutines int
	for i := 1; i <= reloads; i++ {
		reload(i)
		if i == 10 {
			before, goroutines = descriptors(t), runtime.NumGoroutine()
		}
	}
	close(stop)
	all.Wait()
	until(t, func() bool { return got.Load() == sent.Load() }, func() string {
		return fmt.Sprintf("%d messages were acknowledged, %d came\n%.2000s", sent.Load(), got.Load(), p.logged())
	})
	t.Logf("%d messages during %d reloads", sent.Load(), reloads)
	until(t, func() bool { return descriptors(t) <= before && runtime.NumGoroutine() <= goroutines+5 }, func() string {
		return fmt.Sprintf("descriptors: %d → %d, goroutines: %d → %d", before, descriptors(t), goroutines, runtime.NumGoroutine())
	})
}

// stormConfig is the configuration of the i-th reload.
func stormConfig(i int) []string {
	out := []string{"allow_anonymous true", "acl_file DIR/acl", fmt.Sprintf("max_keepalive %d", 1000+i), "log_type error", "log_type warning",
		"log_type information", "listener 0 DIR/s", "listener 0 DIR/tls", "certfile DIR/crt", "keyfile DIR/key"}
	if i%2 == 1 {
		out = append(out, fmt.Sprintf("listener 0 DIR/extra%d", i), "protocol websockets")
	}
	return out
}

// descriptors counts the open ones; 0 where the system does not tell.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil && runtime.GOOS == "linux" {
		t.Fatal(err)
	}
	return len(all)
}

// writeCertificate puts a certificate of its own, and its key, into dir.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "localhost"},
		DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"crt": {Type: "CERTIFICATE", Bytes: cert}, "key": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
