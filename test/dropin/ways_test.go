//go:build linux

package dropin

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// waysConf has a listener for each way.
const waysConf = `allow_anonymous true
listener PORT1 127.0.0.1
listener PORT2 127.0.0.1
certfile DIR/tls/server.crt
keyfile DIR/tls/server.key
listener PORT3 127.0.0.1
cafile DIR/tls/ca.crt
certfile DIR/tls/server.crt
keyfile DIR/tls/server.key
require_certificate true
use_identity_as_username true
listener PORT4 127.0.0.1
protocol websockets
listener PORT5 127.0.0.1
protocol websockets
certfile DIR/tls/server.crt
keyfile DIR/tls/server.key
listener PORT6 127.0.0.1
enable_proxy_protocol 1
listener PORT7 127.0.0.1
enable_proxy_protocol 2
listener 0 DIR/s
`

// TestWays: Mosquitto's commands and Nightjar's publish and subscribe over TLS, with a client certificate, through HAProxy with both
// versions of the PROXY protocol; Nightjar's also over WebSocket and a unix socket, for which mosquitto_pub 2.0 has no flag.
func TestWays(t *testing.T) {
	d := newDaemon(t, "nightjar", nightjarCommand(t), waysConf)
	d.start()
	t.Cleanup(d.kill)
	startHAProxy(t, d)
	tls := "-h localhost --cafile DIR/tls/ca.crt"
	both := map[string]string{
		"tcp":         "-p PORT1",
		"tls":         "-p PORT2 " + tls,
		"tls 1.2":     "-p PORT2 --tls-version tlsv1.2 " + tls,
		"certificate": "-p PORT3 --cert DIR/tls/one.crt --key DIR/tls/one.key " + tls,
		"proxy v1":    "-p PORT8",
		"proxy v2":    "-p PORT9",
	}
	ours := map[string]string{
		"unix": "--unix DIR/s",
		"ws":   "-p PORT4 --ws",
		"wss":  "-p PORT5 --ws " + tls,
	}
	for _, tools := range []struct {
		name     string
		pub, sub []string
		ways     []map[string]string
	}{
		{"mosquitto", []string{"mosquitto_pub"}, []string{"mosquitto_sub"}, []map[string]string{both}},
		{"nightjar", []string{d.command[0], "pub"}, []string{d.command[0], "sub"}, []map[string]string{both, ours}},
	} {
		for _, ways := range tools.ways {
			for name, way := range ways {
				topic := tools.name + "/" + strings.ReplaceAll(name, " ", "-")
				args := strings.Fields(d.fill(way))
				id := strings.ReplaceAll(topic, "/", "-")
				run(t, tools.pub, append(args, "-i", id, "-t", topic, "-m", "over "+name, "-q", "2", "-r")...)
				got := run(t, tools.sub, append(args, "-i", id, "-t", topic, "-q", "2", "-C", "1", "-W", "20", "-F", "%r %p")...)
				if want := "1 over " + name + "\n"; got != want {
					t.Errorf("%s by %s gets %q, not %q", tools.name, name, got, want)
				}
				if name == "certificate" && !d.until(func() bool { return strings.Contains(d.out.String(), "as "+id+" (p2, c1, k60, u'one')") }, patience) {
					t.Errorf("%s has no user name by its certificate:\n%s", id, d.out.String())
				}
			}
		}
	}
	// And who has no right to a way does not get in.
	for way, why := range map[string]string{
		"-p PORT3 " + tls: "no certificate", "-p PORT3 --cert DIR/tls/stranger.crt --key DIR/tls/stranger.key " + tls: "a stranger's certificate",
		"-p PORT2": "no TLS", "-p PORT6": "no PROXY header",
	} {
		for _, pub := range [][]string{{"mosquitto_pub"}, {d.command[0], "pub"}} {
			args := append(strings.Fields(d.fill(way)), "-t", "a", "-m", "x", "-q", "1")
			if out, err := exec.Command(pub[0], append(pub[1:len(pub):len(pub)], args...)...).CombinedOutput(); err == nil {
				t.Errorf("%v with %s: %s", pub, why, out)
			}
		}
	}
}

func run(t *testing.T, command []string, args ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], append(command[1:len(command):len(command)], args...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v %v: %v: %s", command, args, err, out)
	}
	return string(out)
}

// startHAProxy has Debian's HAProxy pass PORT8 on to PORT6 by version 1 of the PROXY protocol, and PORT9 to PORT7 by version 2.
func startHAProxy(t *testing.T, d *daemon) {
	t.Helper()
	conf := "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n"
	for i, send := range []string{"send-proxy", "send-proxy-v2"} {
		conf += fmt.Sprintf("listen v%d\n  bind 127.0.0.1:PORT%d\n  server b 127.0.0.1:PORT%d %s\n", i+1, i+8, i+6, send)
	}
	d.write("haproxy.cfg", conf)
	program, err := exec.LookPath("haproxy")
	if err != nil {
		program = "/usr/sbin/haproxy" // test/install.sh installs it
	}
	cmd := exec.Command(program, "-db", "-f", d.dir+"/haproxy.cfg")
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	listens := func() bool {
		open := listening(t)
		return open[strconv.Itoa(d.ports[7])] && open[strconv.Itoa(d.ports[8])]
	}
	if !d.until(listens, patience) {
		t.Fatalf("haproxy does not listen: %s", out.String())
	}
}
