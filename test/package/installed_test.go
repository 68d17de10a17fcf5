package packaging

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// insideMark is in the environment of the test in the system that boot.sh made.
const insideMark = "NIGHTJAR_PACKAGE_TEST"

// waiting is how long anything in there may take.
const waiting = 60 * time.Second

// TestInstalled is the package's life. The steps build on each other.
func TestInstalled(t *testing.T) {
	if os.Getenv(insideMark) == "" {
		t.Skip("TestPackage runs it, in a system of its own")
	}
	for _, step := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"install", install}, {"hardening", hardening}, {"everything a broker does is allowed", configure}, {"the log is rotated", rotate},
		{"the store's tools", tools}, {"killed", killed}, {"hung", hung}, {"upgraded", upgraded}, {"wrong configuration", wrongConfig},
		{"sockets of systemd", sockets}, {"removed and purged", removed}, {"instead of Mosquitto", changeOver}, {"with Home Assistant", homeAssistant}, {"the image's contents", image},
	} {
		begin := time.Now()
		if !t.Run(step.name, step.do) {
			t.Logf("systemctl status nightjar:\n%s", try("systemctl", "status", "--no-pager", "--lines=30", "nightjar"))
			return
		}
		t.Logf("%s: %v", step.name, time.Since(begin).Round(10*time.Millisecond))
	}
}

// install: the broker runs, and clients on this machine reach it. (Further calls of dpkg leave out man-db's index, which takes it
// seconds.)
func install(t *testing.T) {
	must(t, "dpkg", "--install", "/test/nightjar.deb")
	if got := property(t, "ActiveState") + property(t, "StatusText") + property(t, "UnitFileState"); got != "active"+"serving clients"+"enabled" {
		t.Errorf("the service: %s", got)
	}
	if out := must(t, "nightjar", "check", "/etc/nightjar/nightjar.conf"); !strings.Contains(out, "nothing to say against it") {
		t.Errorf("the configuration as it is shipped: %s", out)
	}
	talk(t, "from the package")
	for _, host := range []string{"127.0.0.1", "::1"} {
		if out := must(t, "nightjar", "sub", "-h", host, "-t", "test/talk", "-C", "1", "-W", "30"); out != "from the package\n" {
			t.Errorf("from %s: %q", host, out)
		}
	}
	for path, want := range map[string]string{
		"/etc/nightjar/nightjar.conf": "644 root root", "/etc/nightjar/passwords": "640 root nightjar",
		"/var/lib/nightjar": "750 nightjar nightjar", "/var/lib/nightjar/data": "700 nightjar nightjar",
		"/var/log/nightjar": "750 nightjar nightjar", "/run/nightjar": "755 nightjar nightjar",
	} {
		if got := strings.TrimSpace(must(t, "stat", "-c", "%a %U %G", path)); got != want {
			t.Errorf("%s: %s, not %s", path, got, want)
		}
	}
	if out := must(t, "systemd-analyze", "verify", "nightjar.service"); strings.Contains(out, "nightjar") {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	must(t, "man", "-w", "nightjar-serve")
	must(t, "man", "-w", "nightjar.conf")
	must(t, "bash", "-n", "/usr/share/bash-completion/completions/nightjar")
	if out := must(t, "nightjar", "--version"); out != "nightjar version v0.1.0-test\n" {
		t.Errorf("version: %s", out)
	}
}

// hardening: what the unit takes away is gone.
func hardening(t *testing.T) {
	status := must(t, "cat", "/proc/"+property(t, "MainPID")+"/status")
	for _, want := range []string{`NoNewPrivs:\s+1`, `Seccomp:\s+2`, `CapBnd:\s+0000000000000400`, `CapEff:\s+0000000000000400`} {
		if !regexp.MustCompile(want).MatchString(status) {
			t.Errorf("no %s in its status:\n%s", want, status)
		}
	}
	limits := must(t, "cat", "/proc/"+property(t, "MainPID")+"/limits")
	// Where the machine itself allows less, systemd gives as much as it has.
	open := regexp.MustCompile(`Max open files\s+(\d+)\s+(\d+)`).FindStringSubmatch(limits)
	if open == nil || open[1] != open[2] || property(t, "LimitNOFILE") != "1048576" {
		t.Errorf("open files: LimitNOFILE=%s, and\n%s", property(t, "LimitNOFILE"), limits)
	}
	// systemd's measure: 0 is locked up, 10 is free.
	must(t, "systemd-analyze", "security", "--no-pager", "--threshold=20", "nightjar.service")
}

// everything: TLS, WebSocket, Unix sockets, a port below 1024, an interface's name, passwords, a log file.
const everything = `log_dest file /var/log/nightjar/nightjar.log
log_dest syslog
log_type all
acl_file /etc/nightjar/acl
listener 1883
password_file /etc/nightjar/passwords
listener 443
bind_interface lo
certfile /etc/nightjar/localhost.crt
keyfile /etc/nightjar/localhost.key
listener 9001
protocol websockets
listener 0 /run/nightjar/socket
socket_mode 0666
`

// configure: in the sandbox of its unit the broker can do all of that, and a reload takes a further listener in.
func configure(t *testing.T) {
	must(t, "nightjar", "passwd", "-b", "/etc/nightjar/passwords", "alice", "secret")
	must(t, "nightjar", "cert", "ca", "--dir", "/etc/nightjar")
	must(t, "nightjar", "cert", "server", "localhost", "127.0.0.1", "--dir", "/etc/nightjar")
	must(t, "chown", "nightjar:", "/etc/nightjar/localhost.key", "/etc/nightjar/localhost.crt", "/etc/nightjar/ca.crt")
	write(t, "/etc/nightjar/acl", "user alice\ntopic test/#\n")
	must(t, "chown", "root:nightjar", "/etc/nightjar/acl")
	must(t, "chmod", "640", "/etc/nightjar/acl")
	write(t, "/etc/nightjar/conf.d/all.conf", everything)
	must(t, "nightjar", "check", "/etc/nightjar/nightjar.conf")
	must(t, "systemctl", "restart", "nightjar")
	pid := property(t, "MainPID")
	write(t, "/etc/nightjar/conf.d/more.conf", "listener 1884 127.0.0.1\n")
	must(t, "systemctl", "reload", "nightjar")
	eventually(t, "the broker uses its new configuration", func() bool {
		return try("nightjar", "pub", "-p", "1884", "-u", "alice", "-P", "secret", "-t", "test/talk", "-r", "-q", "2", "-m", "after the reload") == ""
	})
	for _, way := range []string{
		"-p 1883", "-h localhost -p 443 --cafile /etc/nightjar/ca.crt", "-p 9001 --ws", "--unix /run/nightjar/socket",
	} {
		args := append(strings.Fields(way), "-u", "alice", "-P", "secret", "-t", "test/talk", "-C", "1", "-W", "30")
		if out := must(t, "nightjar", append([]string{"sub"}, args...)...); out != "after the reload\n" {
			t.Errorf("%s: %q", way, out)
		}
		if out := try("nightjar", append([]string{"sub"}, append(args, "-P", "wrong")...)...); !strings.Contains(strings.ToLower(out), "not authori") {
			t.Errorf("%s with a wrong password: %q", way, out)
		}
	}
	if got := property(t, "MainPID"); got != pid {
		t.Error("the reload was a restart")
	}
	if log := must(t, "cat", "/var/log/nightjar/nightjar.log"); !strings.Contains(log, "login refused from 127.0.0.1: wrong password") {
		t.Errorf("the log file:\n%s", log)
	}
	if log := must(t, "journalctl", "--no-pager", "-u", "nightjar"); !strings.Contains(log, "Opening websockets listen socket on port 9001.") {
		t.Errorf("the journal:\n%s", log)
	}
}

// rotate: logrotate as Debian runs it.
func rotate(t *testing.T) {
	const log = "/var/log/nightjar/nightjar.log"
	must(t, "logrotate", "--force", "--state", "/test/logrotate", "/etc/logrotate.d/nightjar")
	eventually(t, "the broker opens its log anew", func() bool { _, err := os.Stat(log); return err == nil })
	if _, err := os.Stat(log + ".1"); err != nil {
		t.Error(err)
	}
}

// tools: they find the store, and ask the broker that has it.
func tools(t *testing.T) {
	if out := must(t, "nightjar", "store", "check", "-c", "/etc/nightjar/nightjar.conf"); out == "" {
		t.Error("store check says nothing")
	}
	must(t, "nightjar", "store", "backup", "-c", "/etc/nightjar/nightjar.conf", "/var/lib/nightjar/backup")
	must(t, "nightjar", "store", "check", "--data", "/var/lib/nightjar/backup")
	must(t, "rm", "-r", "/var/lib/nightjar/backup")
}

// killed: systemd starts it again, and nothing is lost.
func killed(t *testing.T) {
	talk(t, "before the end", "-u", "alice", "-P", "secret")
	pid := property(t, "MainPID")
	must(t, "kill", "-KILL", pid)
	restarted(t, pid)
	if out := must(t, "nightjar", "sub", "-u", "alice", "-P", "secret", "-t", "test/talk", "-C", "1", "-W", "30"); out != "before the end\n" {
		t.Errorf("after the restart: %q", out)
	}
}

// hung: the watchdog ends a broker that does nothing any more.
func hung(t *testing.T) {
	must(t, "mkdir", "-p", "/etc/systemd/system/nightjar.service.d")
	write(t, "/etc/systemd/system/nightjar.service.d/quick.conf", "[Service]\nWatchdogSec=1s\nRestartSec=0\n")
	must(t, "systemctl", "daemon-reload")
	must(t, "systemctl", "restart", "nightjar")
	pid := property(t, "MainPID")
	must(t, "kill", "-STOP", pid)
	restarted(t, pid)
	if log := must(t, "journalctl", "--no-pager", "-u", "nightjar"); !strings.Contains(log, "Watchdog timeout") {
		t.Errorf("the journal has no word of the watchdog:\n%s", log)
	}
	must(t, "rm", "-r", "/etc/systemd/system/nightjar.service.d")
	must(t, "systemctl", "daemon-reload")
}

// upgraded: the broker is restarted, and the configuration stays the user's.
func upgraded(t *testing.T) {
	must(t, "sed", "-i", "1i # mine", "/etc/nightjar/nightjar.conf")
	pid := property(t, "MainPID")
	must(t, "dpkg", "--no-triggers", "--install", "/test/nightjar.deb")
	if property(t, "MainPID") == pid || property(t, "ActiveState") != "active" {
		t.Error("the new version does not run")
	}
	if conf := must(t, "head", "-1", "/etc/nightjar/nightjar.conf"); conf != "# mine\n" {
		t.Errorf("the configuration begins with %q", conf)
	}
	must(t, "systemctl", "disable", "nightjar")
	must(t, "dpkg", "--no-triggers", "--install", "/test/nightjar.deb")
	if got := property(t, "UnitFileState"); got != "disabled" {
		t.Errorf("the service was disabled; after an upgrade it is %s", got)
	}
}

// wrongConfig: a configuration that cannot be used is told once, and not tried again and again.
func wrongConfig(t *testing.T) {
	write(t, "/etc/nightjar/conf.d/wrong.conf", "max_qos 9\n")
	pid := property(t, "MainPID")
	must(t, "systemctl", "reload", "nightjar")
	eventually(t, "the log says what is wrong", func() bool {
		return strings.Contains(must(t, "journalctl", "--no-pager", "-u", "nightjar"), "max_qos")
	})
	talk(t, "still there", "-u", "alice", "-P", "secret")
	if property(t, "MainPID") != pid {
		t.Error("a reload of a wrong configuration ended the broker")
	}
	if out := try("systemctl", "restart", "nightjar"); !strings.Contains(out, "failed") {
		t.Errorf("it starts with a wrong configuration: %s", out)
	}
	if got := property(t, "ActiveState") + " " + property(t, "ExecMainStatus") + " " + property(t, "NRestarts"); got != "failed 3 0" {
		t.Errorf("state, exit status and restarts: %s", got)
	}
	must(t, "rm", "-r", "/etc/nightjar/conf.d/wrong.conf", "/etc/nightjar/conf.d/all.conf", "/etc/nightjar/conf.d/more.conf")
	must(t, "systemctl", "reset-failed", "nightjar")
}

// sockets: with the example's socket unit, a client that comes while the broker is down waits for it.
func sockets(t *testing.T) {
	must(t, "cp", "/usr/share/doc/nightjar/examples/nightjar.socket", "/etc/systemd/system/")
	must(t, "systemd-analyze", "verify", "/etc/systemd/system/nightjar.socket")
	must(t, "systemctl", "daemon-reload")
	must(t, "systemctl", "start", "nightjar.socket")
	talk(t, "through systemd's socket")
	must(t, "systemctl", "restart", "nightjar.service")
	if out := must(t, "nightjar", "sub", "-h", "::1", "-t", "test/talk", "-C", "1", "-W", "30"); out != "through systemd's socket\n" {
		t.Errorf("%q", out)
	}
	must(t, "systemctl", "stop", "nightjar.socket", "nightjar.service")
	must(t, "rm", "/etc/systemd/system/nightjar.socket")
	must(t, "systemctl", "daemon-reload")
	must(t, "systemctl", "enable", "--now", "nightjar")
}

// removed: removing leaves what the user has, purging leaves nothing.
func removed(t *testing.T) {
	pid := property(t, "MainPID")
	must(t, "dpkg", "--no-triggers", "--remove", "nightjar")
	if _, err := os.Stat("/proc/" + pid); err == nil {
		t.Error("the broker runs on")
	}
	for _, path := range []string{"/etc/nightjar/nightjar.conf", "/etc/nightjar/passwords", "/var/lib/nightjar/data"} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("gone with the package: %v", err)
		}
	}
	must(t, "rm", "/etc/nightjar/acl", "/etc/nightjar/ca.crt", "/etc/nightjar/ca.key", "/etc/nightjar/localhost.crt", "/etc/nightjar/localhost.key")
	must(t, "dpkg", "--no-triggers", "--purge", "nightjar")
	left := strings.Fields(try("find", "/etc", "/lib/systemd", "/usr", "/var", "-xdev", "-name", "*nightjar*", "-not", "-path", "/usr/local/*"))
	left = slices.DeleteFunc(left, func(path string) bool {
		return strings.HasPrefix(path, "/var/lib/systemd/") || strings.HasPrefix(path, "/var/cache/man/")
	})
	if len(left) > 0 {
		t.Errorf("left behind: %s", left)
	}
}

// image: there is no Docker here, so what its file says is done by hand: the program and its configuration in an otherwise empty
// root, started by the words of the file and as its user.
func image(t *testing.T) {
	file := must(t, "cat", "/test/Dockerfile")
	word := func(pattern string) string {
		found := regexp.MustCompile(`(?m)^` + pattern + `$`).FindStringSubmatch(file)
		if found == nil {
			t.Fatalf("the Dockerfile has no line %s", pattern)
		}
		return found[1]
	}
	list := func(text string) []string { return strings.Split(strings.Trim(text, `"`), `", "`) }
	user, volume, entry, args := word(`USER (\d+:\d+)`), word(`VOLUME (/\S+)`), list(word(`ENTRYPOINT \[(.*)\]`)), list(word(`CMD \[(.*)\]`))
	const root = "/tmp/image"
	must(t, "mkdir", "-p", root+"/usr/bin", root+"/etc/nightjar", root+volume)
	must(t, "cp", "/usr/bin/nightjar", root+"/usr/bin/")
	must(t, "cp", "/test/docker.conf", root+word(`COPY deploy/docker/nightjar.conf (\S+)`))
	must(t, "chown", user, root+volume)
	run := func(args ...string) []string {
		return slices.Concat([]string{"chroot", "--userspec=" + user, root}, entry, args)
	}
	if out := try("chroot", run(args...)[1:]...); !strings.Contains(out, volume+"/passwords") {
		t.Errorf("without a user it should say what is missing: %s", out)
	}
	first := regexp.MustCompile(`nightjar passwd (-c \S+) alice`).FindStringSubmatch(must(t, "cat", "/test/docker.conf"))
	must(t, "chroot", run(slices.Concat([]string{"passwd", "-b"}, strings.Fields(first[1]), []string{"alice", "secret"})...)[1:]...)
	must(t, "chroot", run("check", args[len(args)-1])[1:]...)
	must(t, "systemd-run", append([]string{"--unit=image"}, run(args...)...)...)
	eventually(t, "the broker serves", func() bool {
		return try("nightjar", "pub", "-u", "alice", "-P", "secret", "-t", "a", "-m", "b", "-q", "1") == ""
	})
	talk(t, "from the image", "-u", "alice", "-P", "secret")
	must(t, "systemctl", "stop", "image")
	if out := must(t, "systemctl", "show", "--value", "--property=Result", "image"); strings.TrimSpace(out) != "success" {
		t.Errorf("stopped: %s", out)
	}
}

// talk has a retained message published, and received as it is.
func talk(t *testing.T, message string, login ...string) {
	t.Helper()
	must(t, "nightjar", append([]string{"pub", "-t", "test/talk", "-r", "-q", "2", "-m", message}, login...)...)
	if out := must(t, "nightjar", append([]string{"sub", "-t", "test/talk", "-C", "1", "-W", "30"}, login...)...); out != message+"\n" {
		t.Errorf("received: %q, not %q", out, message)
	}
}

// restarted waits until the broker is another process than pid, and serves.
func restarted(t *testing.T, pid string) {
	t.Helper()
	eventually(t, "systemd starts the broker again", func() bool {
		now := property(t, "MainPID")
		return now != pid && now != "0" && property(t, "ActiveState") == "active"
	})
}

// property is one of the unit's as systemd has it.
func property(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(must(t, "systemctl", "show", "--value", "--property="+name, "nightjar.service"))
}

// must runs a command and returns what it prints.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := output(name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// try is must for a command that may fail.
func try(name string, args ...string) string {
	out, _ := output(name, args...)
	return out
}

func output(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), waiting)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func eventually(t *testing.T, what string, true func() bool) {
	t.Helper()
	limit, tick := time.After(waiting), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for !true() {
		select {
		case <-limit:
			t.Fatal("not within a minute: " + what)
		case <-tick.C:
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Clean(path), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // the broker reads it
		t.Fatal(err)
	}
}
