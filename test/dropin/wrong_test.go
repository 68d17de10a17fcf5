//go:build linux

package dropin

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// runs is the status of a broker that has started and goes on.
const runs = -2

// outcome is how a command ended.
type outcome struct {
	status         int
	stdout, stderr string
}

// attempt runs a command until it ends, or until goesOn or the command itself says that it goes on.
func attempt(t *testing.T, dir string, goesOn func() bool, command []string, args ...string) (o outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], append(command[1:len(command):len(command)], args...)...)
	cmd.Dir = dir
	cmd.Cancel = func() error { return cmd.Process.Kill() }
	var out, errs output
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			return outcome{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
		case <-tick.C:
			if runningLine.MatchString(errs.String()) || goesOn() {
				_ = cmd.Process.Kill()
				<-ended //nolint:errcheck // it was killed
				return outcome{runs, out.String(), errs.String()}
			}
		}
	}
}

func never() bool { return false }

var runningLine = regexp.MustCompile(`(?m) running$`)

// plainWords are the words of an error, without what 2.1 writes otherwise than 2.0: quotes.
func plainWords(s string) string {
	s = regexp.MustCompile(`(?m)^\d+: `).ReplaceAllString(s, "")
	return strings.NewReplacer("'", "", `"`, "").Replace(s)
}

// errorLines are the lines in which mosquitto says what is wrong.
func errorLines(stderr string) (lines []string) {
	for _, line := range strings.Split(plainWords(stderr), "\n") {
		if strings.HasPrefix(line, "Error") && !strings.HasPrefix(line, "OpenSSL") {
			lines = append(lines, strings.TrimPrefix(strings.TrimSuffix(line, "."), "Error: ")) // a cause may follow, the place stand in front
		}
	}
	return lines
}

// Why a wrong configuration is refused otherwise.
const (
	likeNewer  = "2.0 takes it, or has other words; 2.1 refuses it in these"
	noNumber   = "2.0 takes it for 0; 2.1 refuses it"
	moreSaid   = "the same status, with the cause instead"
	statusFile = "2.0 ends with 13, its number for unknown errors; Nightjar with 1, and says the cause"
	noLog      = "2.0 goes on without a log; Nightjar does not"
)

// wrong are configurations that cannot be, with the reason if not all is as with Debian's mosquitto.
var wrong = []struct{ conf, unlike string }{
	{"max_conections 5", ""},
	{"max_qos 3", ""},
	{"allow_anonymous yes", ""},
	{"listener", ""},
	{"listener 0", ""},
	{"listener abc", likeNewer},
	{"listener 99999", ""},
	{"listener PORT1\nmax_connections many", noNumber},
	{"max_inflight_messages 70000", ""},
	{"max_packet_size 10", likeNewer},
	{"max_keepalive 70000", ""},
	{"max_keepalive -1", ""},
	{"persistent_client_expiration 5x", ""},
	{"listener PORT1\npersistent_client_expiration", likeNewer},
	{"listener PORT1\nautosave_interval x", noNumber},
	{"listener PORT1\nmax_queued_bytes x", noNumber},
	{"acl_file", ""},
	{"password_file", ""},
	{"acl_file /nowhere/acl\nlistener PORT1", statusFile},
	{"password_file /nowhere/passwords\nlistener PORT1", statusFile},
	{"listener PORT1\nmount_point a/#", likeNewer},
	{"listener PORT1\ncertfile /nowhere/c\nkeyfile /nowhere/k", ""},
	{"listener PORT1\ncertfile DIR/tls/server.crt\nkeyfile DIR/tls/one.key", moreSaid},
	{"listener PORT1\ncertfile DIR/tls/server.crt", likeNewer},
	{"listener PORT1\nprotocol quic", ""},
	{"log_type nothing", ""},
	{"log_dest nowhere", ""},
	{"log_dest file", ""},
	{"log_dest stderr\nlog_dest file /nowhere/log\nlistener PORT1", noLog},
	{"log_facility 9", ""},
	{"include_dir", ""},
	{"include_dir /nowhere", ""},
	{"sys_interval 70000", ""},
	{"sys_interval -1", ""},
	{"clientid_prefixes", ""},
	{"message_size_limit -1", likeNewer},
	{"memory_limit -1", ""},
	{"listener PORT1 nothing.invalid", moreSaid},
	{"listener PORT1\nsocket_domain ipv7", likeNewer},
	{"listener PORT1\nbind_interface nothere0", ""},
	{"user no-such-user\nlistener PORT1", moreSaid},
	{"pid_file /nowhere/pid\nlistener PORT1", ""},
	{"port PORT1\npid_file a\npid_file b", ""},
	{"topic #", likeNewer},
	{"address a", likeNewer},
	{"connection", ""},
	{"connection a", ""},
	{"per_listener_settings maybe", ""},
	{"bind_address", likeNewer},
	{"listener 0 /nowhere/s", moreSaid},
	{"websockets_headers_size 70000", likeNewer},
	{"listener PORT1\nmax_topic_alias 70000", ""},
	{"auth_opt_x y", likeNewer},
	{"listener TAKEN 127.0.0.1", moreSaid},
}

// TestWrongConfigurations: what Debian's mosquitto refuses, Nightjar does, with the same status and the same words on stderr,
// apart from what is listed; and nothing on stdout.
func TestWrongConfigurations(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for _, w := range wrong {
		t.Run(w.conf, func(t *testing.T) {
			t.Parallel()
			var said []outcome
			conf := strings.ReplaceAll(w.conf, "TAKEN", port) + "\n"
			for name, command := range map[string][]string{"mosquitto": mosquittoCommand(t), "nightjar": nightjarCommand(t)} {
				d := newDaemon(t, name, command, conf)
				d.write("mosquitto.conf", d.conf)
				goesOn := never
				if strings.HasSuffix(conf, "listener PORT1\n") {
					goesOn = d.listens // 2.0 may go on without a word
				}
				o := attempt(t, d.dir, goesOn, command, "mosquitto.conf")
				o.stderr = strings.ReplaceAll(o.stderr, d.dir, "DIR")
				for i, p := range d.ports {
					o.stderr = strings.ReplaceAll(o.stderr, strconv.Itoa(p), "PORT"+strconv.Itoa(i+1))
				}
				said = append(said, o)
				if name == "mosquitto" {
					said[0], said[len(said)-1] = said[len(said)-1], said[0]
				}
			}
			theirs, ours := said[0], said[1]
			if ours.status <= 0 || ours.stdout != "" || !strings.Contains(ours.stderr, "Error: ") && !strings.Contains(ours.stderr, "mosquitto.conf:") {
				t.Errorf("nightjar: %+v", ours)
			}
			same := theirs.status == ours.status && theirs.stdout == ours.stdout
			for _, line := range errorLines(theirs.stderr) {
				same = same && strings.Contains(plainWords(ours.stderr), line)
			}
			if same != (w.unlike == "") {
				t.Errorf("alike: %t, listed: %q\nmosquitto: %d\n%s\nnightjar: %d\n%s", same, w.unlike, theirs.status, theirs.stderr, ours.status, ours.stderr)
			}
		})
	}
}

// TestCommandLine: statuses, streams and words of wrong command lines.
func TestCommandLine(t *testing.T) {
	mosquitto, nightjar := mosquittoCommand(t)[:1], nightjarCommand(t)[:1]
	dir := t.TempDir()
	for _, c := range []struct{ args, unlike string }{
		{"-h", "a question is no error: 0, as 2.1 answers it; 2.0 ends with 3"},
		{"--foo", ""},
		{"-x", ""},
		{"-c", ""},
		{"-p", ""},
		{"-p 99999", ""},
		{"-c none.conf", ""},
		{"-c /", ""},
		{"-c none.conf -d", ""},
		{"-v --foo", ""},
	} {
		theirs, ours := attempt(t, dir, never, mosquitto, strings.Fields(c.args)...), attempt(t, dir, never, nightjar, strings.Fields(c.args)...)
		same := theirs.status == ours.status
		for _, line := range errorLines(theirs.stderr) {
			same = same && strings.Contains(plainWords(ours.stderr), line)
		}
		if same != (c.unlike == "") {
			t.Errorf("%s: alike: %t, listed: %q\nmosquitto: %+v\nnightjar: %+v", c.args, same, c.unlike, theirs, ours)
		}
	}
}

// TestPortOnTheCommandLine: -p opens the loopback addresses, for anybody there.
func TestPortOnTheCommandLine(t *testing.T) {
	for name, command := range map[string][]string{"mosquitto": mosquittoCommand(t)[:1], "nightjar": nightjarCommand(t)[:1]} {
		d := newDaemon(t, name, nil, "")
		d.write("mosquitto.conf", "log_dest stderr\n")
		cmd := exec.Command(command[0], "-c", "mosquitto.conf", "-p", strconv.Itoa(d.ports[0]), "-v")
		cmd.Dir, cmd.Stderr = d.dir, &d.out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if !d.until(func() bool { return runningLine.MatchString(d.out.String()) }, patience) {
			t.Errorf("%s does not run: %s", name, d.out.String())
		}
		answers := hold(t, d, conversation{lines: []string{"a connect id=a", "a subscribe t qos=1", "a publish t x qos=1", "b connect id=b host=::1", "log Received SUBSCRIBE from a"}}, nil)
		for i, want := range []string{"CONNACK 0x00", "SUBACK 0x01", `PUBACK`, "CONNACK 0x00", "true"} {
			if got := join(append(answers[i]["a"], append(answers[i]["b"], answers[i][""]...)...)); !strings.Contains(got, want) {
				t.Errorf("%s: line %d: %s, not %s", name, i, got, want)
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// TestRefused: what cannot be is refused by name, with what to use instead, and not left out.
func TestRefused(t *testing.T) {
	for name, text := range map[string][2]string{
		"psk_file":              {"psk_file DIR/passwd\nlistener PORT1", "require_certificate"},
		"psk_hint":              {"listener PORT1\npsk_hint x", "require_certificate"},
		"tls_engine":            {"listener PORT1\ntls_engine pkcs11", "keyfile"},
		"tls_engine_kpass_sha1": {"listener PORT1\ntls_engine_kpass_sha1 00", "keyfile"},
		"plugin":                {"plugin DIR/mine.so\nlistener PORT1", "auth_http_url"},
		"auth_plugin":           {"auth_plugin DIR/mine.so\nlistener PORT1", "auth_http_url"},
		"connection":            {"connection a\naddress b\ntopic #\nlistener PORT1", "not supported by this version"},
		"log_dest":              {"log_dest dlt\nlistener PORT1", "syslog"},
	} {
		d := newDaemon(t, "nightjar", nightjarCommand(t), text[0]+"\n")
		d.write("mosquitto.conf", d.conf)
		o := attempt(t, d.dir, never, d.command, "mosquitto.conf")
		if o.status != 3 || !strings.Contains(o.stderr, "option '"+name+"'") || !strings.Contains(o.stderr, text[1]) {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

// TestPasswordFiles: mosquitto_passwd's files are read by Nightjar, and Nightjar's by mosquitto.
func TestPasswordFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	makers := map[string][]string{"mosquitto": {"mosquitto_passwd"}, "nightjar": {nightjarCommand(t)[0], "passwd"}}
	for maker, command := range makers {
		_ = os.Remove(path)
		for _, args := range [][]string{{"-c", "-b", path, "joe", "first"}, {"-b", path, "ann", "pässword"}, {"-b", path, "joe", "secret"}} {
			if out, err := exec.Command(command[0], append(command[1:len(command):len(command)], args...)...).CombinedOutput(); err != nil {
				t.Fatalf("%v %v: %v: %s", command, args, err, out)
			}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, reader := range map[string][]string{"mosquitto": mosquittoCommand(t), "nightjar": nightjarCommand(t)} {
			d := newDaemon(t, name, reader, "password_file DIR/passwd\nlistener PORT1 127.0.0.1\n")
			d.write("passwd", string(bytes.Clone(b)))
			d.start()
			answers := hold(t, d, conversation{lines: []string{"a connect id=a user=joe pass=secret", "b connect id=b user=ann pass=pässword", "c connect id=c user=joe pass=first"}}, nil)
			for i, want := range []string{"a:CONNACK 0x00", "b:CONNACK 0x00", "c:CONNACK 0x05; closed"} {
				client, events, _ := strings.Cut(want, ":")
				if got := join(answers[i][client]); got != events {
					t.Errorf("the file of %s, read by %s: %s gets %s, not %s", maker, name, client, got, events)
				}
			}
			d.terminate()
		}
	}
}
