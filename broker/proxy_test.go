package broker_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// PROXY headers, as the specification writes them; not by the library that reads them.

const signature = "\r\n\r\n\x00\r\nQUIT\n"

func headerV2(command, family byte, addresses []byte, tlvs ...[]byte) string {
	body := append(bytes.Clone(addresses), bytes.Join(tlvs, nil)...)
	out := append([]byte(signature), 0x20|command, family)
	return string(append(binary.BigEndian.AppendUint16(out, uint16(len(body))), body...))
}

func tlv(kind byte, value []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value))), value...)
}

// sslTLV tells of a client that speaks TLS: flags as in the specification, 0 for a certificate that was verified.
func sslTLV(flags byte, verify uint32, commonName string) []byte {
	v := binary.BigEndian.AppendUint32([]byte{flags}, verify)
	v = append(v, tlv(0x21, []byte("TLSv1.3"))...)
	if commonName != "" {
		v = append(v, tlv(0x22, []byte(commonName))...)
	}
	return tlv(0x20, v)
}

var (
	ip4  = []byte{192, 0, 2, 7, 203, 0, 113, 1, 0x30, 0x39, 0x07, 0x5b} // 192.0.2.7:12345 to 203.0.113.1:1883
	ip6  = append(append(netip.MustParseAddr("2001:db8::7").AsSlice(), netip.MustParseAddr("2001:db8::1").AsSlice()...), 0x30, 0x39, 0x07, 0x5b)
	path = append(append([]byte("/run/a"), make([]byte, 102)...), append([]byte("/run/b"), make([]byte, 102)...)...)
)

const v1Line = "PROXY TCP4 192.0.2.7 203.0.113.1 12345 1883\r\n"

// joinFrame is a CONNECT packet.
func joinFrame(t *testing.T, id string) string {
	t.Helper()
	b, err := (&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte(id)}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// proxyListener serves a listener that takes PROXY headers.
func proxyListener(t *testing.T, o broker.Options, tr broker.Transport) (who *logins, address string) {
	t.Helper()
	who = new(logins)
	o.Authenticator = who
	b, _ := serve(t, o)
	return who, listen(t, b, broker.Listener{Name: "proxied", Transport: tr})
}

// What a header tells is what the broker takes for the client's address, in one piece, byte by byte and with the first
// packets behind it.
func TestProxyHeader(t *testing.T) {
	everyEngine(t, func(t *testing.T, o broker.Options) {
		who, address := proxyListener(t, o, broker.Transport{Proxy: &broker.Proxy{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}})
		for i, tt := range []struct {
			name, header, remote, local, cn string
		}{
			{"v1 IPv4", v1Line, "192.0.2.7:12345", "203.0.113.1:1883", ""},
			{"v1 IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 12345 1883\r\n", "[2001:db8::7]:12345", "[2001:db8::1]:1883", ""},
			{"v1 unknown", "PROXY UNKNOWN\r\n", "127.0.0.1:", address, ""},
			{"v1 unknown with more", "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", "127.0.0.1:", address, ""},
			{"v2 IPv4", headerV2(1, 0x11, ip4), "192.0.2.7:12345", "203.0.113.1:1883", ""},
			{"v2 IPv6", headerV2(1, 0x21, ip6), "[2001:db8::7]:12345", "[2001:db8::1]:1883", ""},
			{"v2 Unix", headerV2(1, 0x31, path), "/run/a", "/run/b", ""},
			{"v2 local", headerV2(0, 0x00, nil), "127.0.0.1:", address, ""},
			{"v2 local with addresses", headerV2(0, 0x11, ip4), "127.0.0.1:", address, ""},
			{"v2 with much behind the address", headerV2(1, 0x11, ip4, tlv(0x05, bytes.Repeat([]byte("u"), 128)), tlv(0xE0, make([]byte, 3000))), "192.0.2.7:12345", "203.0.113.1:1883", ""},
			{"v2 TLS", headerV2(1, 0x11, ip4, sslTLV(1, 0, "")), "192.0.2.7:12345", "203.0.113.1:1883", ""},
			{"v2 TLS, certificate", headerV2(1, 0x11, ip4, sslTLV(7, 0, "sensor 1")), "192.0.2.7:12345", "203.0.113.1:1883", "sensor 1"},
			{"v2 TLS, certificate not verified", headerV2(1, 0x11, ip4, sslTLV(7, 1, "sensor 1")), "192.0.2.7:12345", "203.0.113.1:1883", ""},
		} {
			for _, pieces := range []bool{false, true} {
				id := fmt.Sprintf("%d-%v", i, pieces)
				p := dial(t, address)
				all := tt.header + joinFrame(t, id)
				if pieces {
					_ = p.c.(*net.TCPConn).SetNoDelay(true)
					for n := range all {
						if _, err := io.WriteString(p.c, all[n:n+1]); err != nil {
							t.Fatal(err)
						}
					}
				} else if _, err := io.WriteString(p.c, all); err != nil {
					t.Fatal(err)
				}
				p.wait(mqtt.CONNACK)
				if l := who.of(id); !strings.HasPrefix(l.RemoteAddr, tt.remote) || l.LocalAddr != tt.local || l.CommonName != tt.cn {
					t.Errorf("%s: from %q to %q, common name %q; want %q, %q, %q", tt.name, l.RemoteAddr, l.LocalAddr, l.CommonName, tt.remote, tt.local, tt.cn)
				}
				p.subscribe("t")
				p.publish("t", "x")
				p.expect("t", "x")
			}
		}
	})
}

// Headers that are wrong, too long, of the wrong version, or that do not say enough: closed, nothing is answered, nobody is
// asked about the client.
func TestProxyRefused(t *testing.T) {
	everyEngine(t, func(t *testing.T, o broker.Options) {
		who := new(logins)
		o.Authenticator = who
		b, plain := serve(t, o)
		at := func(name string, p broker.Proxy) string {
			return listen(t, b, broker.Listener{Name: name, Transport: broker.Transport{Proxy: &p}})
		}
		both, v1, v2 := at("both", broker.Proxy{}), at("v1", broker.Proxy{V1: true}), at("v2", broker.Proxy{V2: true})
		tls, cert := at("tls", broker.Proxy{RequireTLS: true}), at("cert", broker.Proxy{RequireCertificate: true})
		foreign := at("foreign", broker.Proxy{Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}})
		long := headerV2(1, 0x11, ip4, tlv(0xE0, make([]byte, 4100)))
		for _, tt := range []struct{ name, address, sent string }{
			{"untrusted v1", foreign, v1Line}, {"untrusted v2", foreign, headerV2(1, 0x11, ip4)}, {"untrusted, nothing sent", foreign, ""},
			{"no header", both, ""}, {"two headers", both, v1Line + v1Line},
			{"v1 too long", both, "PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n"},
			{"v1 without end", both, "PROXY TCP4 " + strings.Repeat("1", 150)},
			{"v1 junk", both, "PROXY TCP4 1.2.3 4.5.6.7 1 2\r\n"}, {"v1 port", both, "PROXY TCP4 1.2.3.4 4.5.6.7 1 99999\r\n"},
			{"v1 other family", both, "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n"}, {"v1 without CR", both, "PROXY TCP4 1.2.3.4 4.5.6.7 1 2\n"},
			{"v2 too long", both, long}, {"v2 announces 64 KiB", both, signature + "\x21\x11\xff\xff"},
			{"v2 version 3", both, strings.Replace(headerV2(1, 0x11, ip4), "\n\x21", "\n\x31", 1)}, {"v2 command", both, headerV2(2, 0x11, ip4)},
			{"v2 family", both, headerV2(1, 0x51, ip4)}, {"v2 datagrams", both, headerV2(1, 0x12, ip4)}, {"v2 short", both, headerV2(1, 0x21, ip4)},
			{"v2 TLV beyond its end", both, headerV2(1, 0x11, ip4, []byte{0x20, 0xff, 0xff, 1})},
			{"v1 where v2 is", v2, v1Line}, {"v2 where v1 is", v1, headerV2(1, 0x11, ip4)},
			{"TLS is needed: v1", tls, v1Line}, {"TLS is needed: v2 without", tls, headerV2(1, 0x11, ip4)}, {"TLS is needed: local", tls, headerV2(0, 0, nil)},
			{"a certificate is needed", cert, headerV2(1, 0x11, ip4, sslTLV(1, 0, ""))}, {"a verified one is", cert, headerV2(1, 0x11, ip4, sslTLV(7, 1, "x"))},
		} {
			p := dial(t, tt.address)
			if tt.name != "untrusted, nothing sent" {
				_, _ = io.WriteString(p.c, tt.sent+joinFrame(t, "bad")) // it may be closed already
			}
			if f, err := p.next(); err == nil || os.IsTimeout(err) {
				t.Errorf("%s: %v, %v; want it closed", tt.name, f.Type, err)
			}
		}
		if l := who.of("bad"); l.ClientID != "" {
			t.Error("the authenticator was asked")
		}
		// A proxy that looks whether somebody is there is none of that.
		check := dial(t, tls)
		if _, err := io.WriteString(check.c, headerV2(0, 0, nil)); err != nil {
			t.Fatal(err)
		}
		if err := check.c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := check.next(); err != io.EOF { //nolint:errorlint // nothing else may have happened
			t.Errorf("the end of a check: %v", err)
		}
		for _, address := range []string{tls, cert} {
			p := dial(t, address)
			if _, err := io.WriteString(p.c, headerV2(1, 0x11, ip4, sslTLV(7, 0, "x"))+joinFrame(t, "good")); err != nil {
				t.Fatal(err)
			}
			p.wait(mqtt.CONNACK)
		}
		ok := dial(t, plain)
		ok.connect("ok", nil)
	})
}

// A header that does not come, or not to its end, takes no longer than CONNECT may, however it trickles.
func TestProxySlow(t *testing.T) {
	everyEngine(t, func(t *testing.T, o broker.Options) {
		o.ConnectTimeout = 150 * time.Millisecond
		b, _ := serve(t, o)
		address := listen(t, b, broker.Listener{Name: "proxied", Transport: broker.Transport{Proxy: &broker.Proxy{}}})
		silent, part := dial(t, address), dial(t, address)
		if _, err := io.WriteString(part.c, v1Line[:20]); err != nil {
			t.Fatal(err)
		}
		trickle := dial(t, address)
		begun := time.Now()
		go func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for i := range v1Line[:len(v1Line)-1] {
				<-tick.C
				if _, err := io.WriteString(trickle.c, v1Line[i:i+1]); err != nil {
					return
				}
			}
		}()
		for _, p := range []*peer{silent, part, trickle} {
			p.expectEnd()
		}
		if d := time.Since(begun); d > 10*time.Second {
			t.Errorf("that took %v", d)
		}
		eventually(t, "all to be counted out", func() bool { return b.Stats().Connections == 0 })
	})
}

// The log of a proxied client has its address, not the proxy's.
func TestProxyLog(t *testing.T) {
	log := new(logBuffer)
	o := options()
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	b, _ := serve(t, o)
	address := listen(t, b, broker.Listener{Name: "proxied", Transport: broker.Transport{Proxy: &broker.Proxy{}}})
	p := dial(t, address)
	if _, err := io.WriteString(p.c, v1Line+joinFrame(t, "logged")); err != nil {
		t.Fatal(err)
	}
	p.wait(mqtt.CONNACK)
	eventually(t, "the log line", func() bool { return strings.Contains(log.String(), "192.0.2.7:12345") })
}

// PROXY comes before TLS and WebSocket, as a proxy that passes TLS through sends it.
func TestProxyBelowTLS(t *testing.T) {
	everyEngine(t, func(t *testing.T, o broker.Options) {
		k := newKeys(t)
		for _, mixed := range []bool{false, true} {
			who, address := proxyListener(t, o, broker.Transport{Proxy: &broker.Proxy{}, Certificates: k.load(func(f *broker.TLSFiles) { f.RequireCertificate = true }), WebSocket: !mixed, Mixed: mixed})
			id := fmt.Sprint("c", mixed)
			own := k.client(id, time.Now().AddDate(0, 1, 0))
			c := connectURL(t, "wss://"+address, k.config(own), func(o *client.Options) {
				o.ClientID = id
				o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					c, err := new(net.Dialer).DialContext(ctx, network, address)
					if err == nil {
						_, err = io.WriteString(c, v1Line)
					}
					return c, err
				}
			})
			publishBy(t, c, "t", "x")
			if l := who.of(id); l.RemoteAddr != "192.0.2.7:12345" || l.CommonName != id {
				t.Errorf("from %q, common name %q", l.RemoteAddr, l.CommonName)
			}
		}
	})
}

// haproxy runs Debian's in front of an address. server is what its configuration says behind it, bind behind the socket.
func haproxy(t *testing.T, address, server, bind string) string {
	t.Helper()
	program := "/usr/sbin/haproxy"
	if _, err := os.Stat(program); err != nil {
		t.Fatal("haproxy is not installed: run test/install.sh, or make test, which does")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	conf := filepath.Join(t.TempDir(), "haproxy.cfg")
	text := fmt.Sprintf("global\n maxconn 100\ndefaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n"+
		"frontend in\n bind fd@3 %s\n default_backend out\nbackend out\n server broker %s %s\n", bind, address, server)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-db", "-f", conf)
	cmd.ExtraFiles = []*os.File{f}
	out := new(logBuffer)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("haproxy: %s", out)
		}
	})
	return l.Addr().String()
}

// Debian's HAProxy in front: the broker sees the client's address, with version 2 also its certificate's name.
func TestHAProxy(t *testing.T) {
	everyEngine(t, func(t *testing.T, o broker.Options) {
		k := newKeys(t)
		who := new(logins)
		o.Authenticator = who
		b, _ := serve(t, o)
		at := func(name string, p broker.Proxy) string {
			p.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
			return listen(t, b, broker.Listener{Name: name, Transport: broker.Transport{Proxy: &p}})
		}
		pem := k.file("both.pem")
		for _, name := range []string{"server.crt", "server.key"} {
			part, err := os.ReadFile(k.file(name))
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(pem, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(part); err != nil {
				t.Fatal(err)
			}
			_ = f.Close()
		}
		strict := at("strict", broker.Proxy{V2: true, RequireTLS: true, RequireCertificate: true})
		own := k.client("sensor 1", time.Now().AddDate(0, 1, 0))
		for _, tt := range []struct {
			name, address, scheme, cn string
		}{
			{"v1", haproxy(t, at("v1", broker.Proxy{V1: true}), "send-proxy", ""), "mqtt", ""},
			{"v2", haproxy(t, at("v2", broker.Proxy{V2: true}), "send-proxy-v2", ""), "mqtt", ""},
			{"v2-tls", haproxy(t, strict, "send-proxy-v2-ssl-cn", "ssl crt "+pem+" ca-file "+k.file("ca.crt")+" verify required"), "mqtts", "sensor 1"},
		} {
			var from string
			c := connectURL(t, tt.scheme+"://"+tt.address, k.config(own), func(o *client.Options) {
				o.ClientID = tt.name
				o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					c, err := new(net.Dialer).DialContext(ctx, network, address)
					if err == nil {
						from = c.LocalAddr().String()
					}
					return c, err
				}
			})
			publishBy(t, c, "t", strings.Repeat("x", 100_000))
			if l := who.of(tt.name); l.RemoteAddr != from || l.LocalAddr != tt.address || l.CommonName != tt.cn {
				t.Errorf("%s: from %q to %q, common name %q; want %q, %q, %q", tt.name, l.RemoteAddr, l.LocalAddr, l.CommonName, from, tt.address, tt.cn)
			}
		}
	})
}
