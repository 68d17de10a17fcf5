package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/test/mosquitto"
)

// live is a running 'nightjar sub'.
type live struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  chan string
	stderr bytes.Buffer
}

// startSub runs sub with -d, and returns when it has subscribed.
func startSub(t *testing.T, args ...string) *live {
	t.Helper()
	l := &live{t: t, lines: make(chan string, 1000)}
	l.cmd = exec.Command("nightjar", append([]string{"sub", "-d"}, args...)...)
	l.cmd.Stderr = &l.stderr
	stdout, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.cmd.Process.Kill() }) // it may have ended
	go func() {
		in := bufio.NewScanner(stdout)
		for in.Scan() {
			l.lines <- in.Text()
		}
		close(l.lines)
	}()
	l.expect("Subscribed (mid: ")
	return l
}

// expect reads until a line with text.
func (l *live) expect(text string) {
	l.t.Helper()
	timeout := time.After(testTime)
	for {
		select {
		case line, ok := <-l.lines:
			if !ok {
				l.t.Fatalf("no %q before the end", text)
			}
			if strings.Contains(line, text) {
				return
			}
		case <-timeout:
			l.t.Fatalf("no %q", text)
		}
	}
}

// end waits for the end and checks the status.
func (l *live) end(status int) {
	l.t.Helper()
	for range l.lines { // the pipe must be empty before Wait
	}
	err := l.cmd.Wait()
	if got := l.cmd.ProcessState.ExitCode(); got != status {
		l.t.Errorf("status %d (%v), want %d\n%s", got, err, status, &l.stderr)
	}
}

// TestSubInterrupted checks that an interrupted sub says goodbye so that the
// broker publishes its will, as mosquitto_sub does.
func TestSubInterrupted(t *testing.T) {
	port := mosquitto.Start(t).Port
	watcher := startSub(t, "-p", port, "-t", "will", "-C", "1", "-v")
	victim := startSub(t, "-p", port, "-V", "5", "-t", "a", "--will-topic", "will", "--will-payload", "gone")
	if err := victim.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	victim.expect("sending DISCONNECT")
	victim.end(0)
	watcher.expect("will gone")
	watcher.end(0)
}

// TestSubEnds checks the ways in which sub ends by itself.
func TestSubEnds(t *testing.T) {
	port := startNightjar(t, "")
	stale := startSub(t, "-p", port, "-t", "r", "--retained-only")
	output(t, "nightjar", "pub", "-p", port, "-t", "r", "-m", "fresh")
	stale.end(0)

	// A session that is taken over is not fought for.
	first := startSub(t, "-p", port, "-V", "5", "-i", "same", "-t", "a")
	second := startSub(t, "-p", port, "-V", "5", "-i", "same", "-t", "a", "-C", "1")
	first.end(statusConnectionLost)
	if !strings.Contains(first.stderr.String(), "Session taken over") {
		t.Errorf("stderr: %s", &first.stderr)
	}
	output(t, "nightjar", "pub", "-p", port, "-t", "a", "-m", "x")
	second.end(0)
}

// TestPubLosesBroker checks that a broker that goes away in the middle is an
// error with libmosquitto's status.
func TestPubLosesBroker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		buf := make([]byte, 1000)
		if _, err := conn.Read(buf); err == nil {
			_, _ = conn.Write([]byte{0x20, 2, 0, 0}) // what follows shows in the command
			_, _ = conn.Read(buf)
		}
		conn.Close()
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	out, err := exec.Command("nightjar", "pub", "-h", "127.0.0.1", "-p", port, "-t", "a", "-m", "x", "-q", "1").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != statusConnectionLost || !strings.Contains(string(out), "closed the connection") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestTLS connects with the flags for certificates to mosquitto.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := writeCertificate(t, dir)
	port := mosquitto.Start(t, "listener 0 "+filepath.Join(dir, "plain.sock")).Port // the socket of the last case
	secure := mosquitto.StartTLS(t, cert, key).Port
	output(t, "nightjar", "pub", "-h", "localhost", "-p", secure, "--cafile", cert, "-t", "a", "-m", "x", "-r")
	output(t, "nightjar", "pub", "-h", "localhost", "-p", secure, "--capath", dir, "--tls-version", "tlsv1.3", "-t", "a", "-m", "x", "-r")
	output(t, "nightjar", "pub", "-h", "127.0.0.1", "-p", secure, "--cafile", cert, "--insecure", "-t", "a", "-m", "x", "-r")
	keyLog := filepath.Join(dir, "keys")
	got := output(t, "nightjar", "sub", "-h", "localhost", "-p", secure, "--cafile", cert, "-t", "a", "-C", "1", "-W", "20", "--tls-keylog", keyLog)
	if got != "x\n" {
		t.Errorf("%q", got)
	}
	if text, err := os.ReadFile(keyLog); err != nil || !bytes.Contains(text, []byte("TRAFFIC_SECRET")) {
		t.Errorf("--tls-keylog: %v: %s", err, text)
	}
	for name, args := range map[string][]string{
		"another name":   {"-h", "127.0.0.1", "--cafile", cert},
		"system's roots": {"-h", "localhost", "--tls-use-os-certs"},
		"no signature":   {"-h", "localhost", "--tls-use-os-certs", "--insecure"},
	} {
		args = append([]string{"pub", "-p", secure, "-t", "a", "-m", "x"}, args...)
		if out, err := exec.Command("nightjar", args...).CombinedOutput(); err == nil || !strings.Contains(string(out), "certificate") {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	output(t, "nightjar", "pub", "--unix", filepath.Join(dir, "plain.sock"), "-t", "u", "-m", "over the socket", "-r")
	if got := output(t, "nightjar", "sub", "-p", port, "-t", "u", "-C", "1", "-W", "20"); got != "over the socket\n" {
		t.Errorf("--unix: %q", got)
	}
}

// writeCertificate makes one for localhost that signs itself.
func writeCertificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestProxy connects through a SOCKS5 proxy, which finds the host.
func TestProxy(t *testing.T) {
	port := mosquitto.Start(t).Port
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		asked <- serveSocks(conn, "127.0.0.1:"+port)
	}()
	output(t, "nightjar", "pub", "--proxy", "socks5h://"+l.Addr().String(), "-h", "broker.invalid", "-p", port, "-t", "a", "-m", "x")
	if got := <-asked; got != "broker.invalid" {
		t.Errorf("the proxy was asked for %q", got)
	}
}

// serveSocks answers one SOCKS5 request (RFC 1928), connects to target whatever
// was asked for, and returns the name that was.
func serveSocks(conn net.Conn, target string) string {
	buf := make([]byte, 300)
	if _, err := io.ReadFull(conn, buf[:2]); err != nil {
		return err.Error()
	}
	if _, err := io.ReadFull(conn, buf[:buf[1]]); err != nil {
		return err.Error()
	}
	_, _ = conn.Write([]byte{5, 0}) // an error shows at the next read
	if _, err := io.ReadFull(conn, buf[:5]); err != nil {
		return err.Error()
	}
	name := make([]byte, int(buf[4])+2) // and the port
	if _, err := io.ReadFull(conn, name); err != nil {
		return err.Error()
	}
	broker, err := net.Dial("tcp", target)
	if err != nil {
		return err.Error()
	}
	_, _ = conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(broker, conn)
		broker.Close()
		cancel()
	}()
	_, _ = io.Copy(conn, broker)
	conn.Close()
	<-ctx.Done()
	return string(name[:len(name)-2])
}
