package cli

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nightjar-mqtt/nightjar/test/mosquitto"
)

// testTime bounds what waits for something that does not come.
const testTime = 30 * time.Second

func TestMain(m *testing.M) {
	// A command with the race detector would take a second to end.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){
		"nightjar": func() { os.Exit(Main(os.Args)) },
	})
}

// TestScriptsMosquitto runs the scripts against Debian's broker.
func TestScriptsMosquitto(t *testing.T) {
	runScripts(t, "testdata/any", mosquitto.Start(t).Port)
}

// TestScriptsNightjar runs the same scripts against our own.
func TestScriptsNightjar(t *testing.T) {
	runScripts(t, "testdata/any", startNightjar(t, ""))
}

// TestScriptsWebSocket runs the scripts that connect through a WebSocket, to both brokers.
func TestScriptsWebSocket(t *testing.T) {
	t.Run("nightjar", func(t *testing.T) { runScripts(t, "testdata/ws", startNightjar(t, "ws://")) })
	t.Run("mosquitto", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		l.Close()
		mosquitto.Start(t, "listener "+port+" 127.0.0.1", "protocol websockets")
		runScripts(t, "testdata/ws", port)
	})
}

// TestScriptsAuth runs the scripts that need a broker with passwords and an
// access control list.
func TestScriptsAuth(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { // mosquitto gives up its rights
		t.Fatal(err)
	}
	passwords, acl := filepath.Join(dir, "passwords"), filepath.Join(dir, "acl")
	if out, err := exec.Command(mosquitto.Command(t, "mosquitto_passwd"), "-b", "-c", passwords, "bob", "secret").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v: %s", err, out)
	}
	for name, text := range map[string]string{acl: "user bob\ntopic readwrite mine/#\n"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(passwords, 0o644); err != nil {
		t.Fatal(err)
	}
	runScripts(t, "testdata/auth", mosquitto.Start(t, "allow_anonymous false", "password_file "+passwords, "acl_file "+acl).Port)
}

func runScripts(t *testing.T, dir, port string) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir:      dir,
		Deadline: time.Now().Add(3 * testTime),
		Setup: func(e *testscript.Env) error {
			e.Setenv("PORT", port)
			e.Setenv("TZ", "UTC")
			e.Setenv("GORACE", os.Getenv("GORACE"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status": status,
		},
	})
}

// status runs a command that must end with the status given: "status 5 nightjar
// pub ...". Its output is for stdout and stderr as after exec.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command args...")
	}
	// exec's own message holds the status: it is not to be had otherwise.
	err := ts.Exec(args[1], args[2:]...)
	want := "exit status " + args[0]
	if got := describe(err); got != want {
		ts.Fatalf("%s: %s, want %s", strings.Join(args[1:], " "), got, want)
	}
}

func describe(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// startNightjar runs our broker on a free port, for what the scheme says; "" is plain MQTT, on both loopback addresses.
func startNightjar(t *testing.T, scheme string) (port string) {
	t.Helper()
	where := []string{"-p", "0"}
	if scheme != "" {
		where = []string{"--listen", scheme + "127.0.0.1:0"}
	}
	port, cmd, stderr := startServe(t, scheme, append(where, "--data", "none")...)
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended, which Wait tells
		if err := cmd.Wait(); err != nil {
			t.Errorf("nightjar serve: %v\n%s", err, stderr)
		}
	})
	return port
}

// startServe runs 'nightjar serve' and waits until it says on what port of loopback it listens.
func startServe(t *testing.T, scheme string, args ...string) (port string, cmd *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	cmd, stderr = exec.Command("nightjar", append([]string{"serve"}, args...)...), new(bytes.Buffer)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listens := regexp.MustCompile(`listens on ` + scheme + `127\.0\.0\.1:(\d+)`)
	found := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if m := listens.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
		}
	}()
	select {
	case port = <-found:
	case <-time.After(testTime):
		_ = cmd.Process.Kill()
		t.Fatal("nightjar serve does not say what it listens on")
	}
	return port, cmd, stderr
}

// output runs a client and returns what it prints.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}
