//go:build linux

// Package interop runs MQTT clients of many languages against a real broker process. README.md says what each step is.
package interop

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// runLimit bounds one client program: its steps take seconds, each of its waits gives up after 10.
const runLimit = 45 * time.Second

// steps are the names that a client program has to report for an MQTT version.
func steps(version string) []string {
	s := []string{"connect", "qos0", "qos1", "qos2", "wildcards", "retained", "will", "resume"}
	if version == "5" {
		s = append(s, "properties")
	}
	return s
}

// A client is one program and the MQTT versions it speaks. It is called with HOST PORT VERSION after argv, and with SCHEME
// CAFILE after these for the transports named in over, in the last of its versions.
type client struct {
	name     string
	versions []string
	over     []string
	needs    []requirement
	compile  *compile // nil for interpreted languages
	argv     []string // OUT stands for outDir
}

const javaJars = "/usr/share/java/mqtt-client.jar:/usr/share/java/hawtbuf.jar:/usr/share/java/hawtdispatch.jar:" +
	"/usr/share/java/hawtdispatch-transport.jar"

var (
	all      = []string{"3.1", "3.1.1", "5"}
	upTo311  = []string{"3.1", "3.1.1"}
	only5    = []string{"5"}
	paho     = "/usr/lib/python3/dist-packages/paho"
	warnings = []string{"-Wall", "-Wextra", "-Werror", "-O1"}
)

// clients is the table of programs; compile steps are shared by all brokers of a test run.
var clients = []*client{
	{name: "mosquitto", versions: all, over: []string{"mqtts"},
		needs: []requirement{{"mosquitto_pub", "Debian's mosquitto-clients"}, {"mosquitto_sub", "Debian's mosquitto-clients"},
			{"bash", "Debian's bash"}, {"stdbuf", "Debian's coreutils"}},
		argv: []string{"bash", "mosquitto/steps.sh"}},
	// Debian's interpreter by path: another one earlier in PATH does not see Debian's packages.
	{name: "python", versions: all, over: overs,
		needs: []requirement{{"/usr/bin/python3", "Debian's python3"}, {paho, "Debian's python3-paho-mqtt"}},
		argv:  []string{"/usr/bin/python3", "-B", "python/steps.py"}},
	{name: "c", versions: all, over: overs,
		compile: &compile{
			needs: []requirement{{"gcc", "Debian's gcc"}, {"/usr/include/MQTTClient.h", "Debian's libpaho-mqtt-dev"}},
			argv:  append(append([]string{"gcc", "-std=c11"}, warnings...), "-o", "OUT/c", "c/steps.c", "-lpaho-mqtt3cs")},
		argv: []string{"OUT/c"}},
	{name: "cpp", versions: all,
		compile: &compile{
			needs: []requirement{{"g++", "Debian's g++"},
				{"/usr/include/mqtt/async_client.h", "Debian's libpaho-mqttpp-dev"}},
			argv: append(append([]string{"g++", "-std=c++17"}, warnings...), "-o", "OUT/cpp", "cpp/steps.cpp",
				"-lpaho-mqttpp3", "-lpaho-mqtt3as")},
		argv: []string{"OUT/cpp"}},
	{name: "java", versions: upTo311,
		needs: []requirement{{"java", "Debian's default-jdk-headless"}},
		compile: &compile{
			needs: []requirement{{"javac", "Debian's default-jdk-headless"},
				{"/usr/share/java/mqtt-client.jar", "Debian's libmqtt-client-java"}},
			argv: []string{"javac", "-Xlint:all,-path,-try", "-Werror", "-cp", javaJars, "-d", "OUT/java", "java/Steps.java"}},
		argv: []string{"java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", javaJars + ":OUT/java", "Steps"}},
	{name: "js", versions: all, over: overs,
		needs: []requirement{{"node", "Debian's nodejs"}, {"js/node_modules/mqtt", "`npm ci` in test/interop/js"}},
		argv:  []string{"node", "js/steps.mjs"}},
	{name: "paho.mqtt.golang", versions: upTo311, over: overs,
		compile: &compile{needs: goNeeds, dir: "goclients", argv: []string{"go", "build", "-o", "OUT/gov3", "./v3"}},
		argv:    []string{"OUT/gov3"}},
	{name: "paho.golang", versions: only5, over: []string{"mqtts"},
		compile: &compile{needs: goNeeds, dir: "goclients", argv: []string{"go", "build", "-o", "OUT/gov5", "./v5"}},
		argv:    []string{"OUT/gov5"}},
	{name: "ruby", versions: all, needs: []requirement{{"ruby", "Debian's ruby"}}, argv: []string{"ruby", "ruby/steps.rb"}},
	{name: "perl", versions: all, needs: []requirement{{"perl", "Debian's perl"}}, argv: []string{"perl", "perl/steps.pl"}},
	{name: "php", versions: all, needs: []requirement{{"php", "Debian's php-cli"}}, argv: []string{"php", "php/steps.php"}},
}

var goNeeds = []requirement{{"go", "the Go that the main README names"}}

// TestNightjar is the purpose of this suite: every client against the real process, on both network engines.
func TestNightjar(t *testing.T) {
	compileAll() // while Nightjar itself is compiled
	for _, engine := range []string{"epoll", "goroutine"} {
		t.Run(engine, func(t *testing.T) { runClients(t, startNightjar(t, engine)) })
	}
}

// TestMosquitto shows that the client programs are right: they pass on a broker that we did not write.
func TestMosquitto(t *testing.T) {
	compileAll()
	runClients(t, startMosquitto(t))
}

// compileAll starts every compile step at once and does not wait: client.run waits for its own.
func compileAll() {
	for _, c := range clients {
		if c.compile != nil {
			compiling.Go(func() { _ = c.compile.run() }) // client.run asks again and judges
		}
	}
}

// runClients runs every program in every version it speaks, in parallel, and returns when all have ended.
func runClients(t *testing.T, b *broker) {
	if err := readTree(); err != nil {
		t.Fatal(err)
	}
	t.Run("clients", func(t *testing.T) {
		for _, c := range clients {
			for _, version := range c.versions {
				t.Run(c.name+"/"+version, func(t *testing.T) {
					t.Parallel()
					c.run(t, version, strconv.Itoa(b.port))
				})
			}
			for _, scheme := range c.over {
				t.Run(c.name+"/"+scheme, func(t *testing.T) {
					t.Parallel()
					c.run(t, c.versions[len(c.versions)-1], strconv.Itoa(b.ports[scheme]), scheme, b.ca)
				})
			}
		}
	})
	if t.Failed() {
		t.Logf("the broker's last output:\n%s", b.log)
	}
}

// run executes one program and judges what it reports. over is empty, or a scheme and the file of the authority.
func (c *client) run(t *testing.T, version, port string, over ...string) {
	t.Helper()
	need(t, c.needs...)
	if c.compile != nil {
		if err := c.compile.run(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	defer cancel()
	argv := append(append(inOutDir(c.argv), "127.0.0.1", port, version), over...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that a time-out also ends what the program started
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	began := time.Now()
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Errorf("the program did not end within %v", runLimit)
	}
	r := parseReport(stdout.String())
	problems := r.problems(steps(version))
	for _, p := range problems {
		t.Error(p)
	}
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		t.Errorf("run %v: %v", argv, err)
	case err != nil && len(problems) == 0:
		t.Errorf("every step is ok, but the program ended with %v", err)
	case err == nil && len(problems) > 0 && ctx.Err() == nil:
		t.Error("the program ended with code 0 although not every step is ok")
	}
	if t.Failed() {
		t.Logf("%v took %v; stdout:\n%s\nstderr:\n%s", argv, time.Since(began), &stdout, &stderr)
	}
}
