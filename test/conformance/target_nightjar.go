package conformance

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
)

// nightjar is this tree's broker, built with the race detector once per test run, on one network engine.
type nightjar struct {
	engine string
	over   Transport
}

func (n nightjar) Name() string { return "Nightjar on " + n.engine + n.over.over() }

// KeepAliveSlack covers a coarse timer under the race detector on a busy machine.
func (nightjar) KeepAliveSlack() time.Duration { return 2 * time.Second }

func (n nightjar) Start(o Options) (Broker, error) {
	bin, err := nightjarBinary()
	if err != nil {
		return nil, err
	}
	args, err := nightjarArgs(n.engine, o)
	if err != nil {
		return nil, err
	}
	// One engine is tried with the durable store, the other without.
	dir, data := "", "none"
	if n.engine == broker.Engines()[0] {
		if data, err = os.MkdirTemp("", "conformance-data-"); err != nil {
			return nil, err
		}
	}
	args = append(args, "--data", data)
	if n.over.secure() {
		id, err := testIdentity()
		if err != nil {
			return nil, err
		}
		if dir, err = writeTemp(map[string]string{"cert": string(id.cert), "key": string(id.key)}); err != nil {
			return nil, err
		}
		args = append(args, "--cert", filepath.Join(dir, "cert"), "--key", filepath.Join(dir, "key"))
	}
	if n.over != OverTCP && n.over != OverWS {
		args = append(args, "--listen", string(n.over)+"://127.0.0.1:0")
	}
	cmd := exec.Command(bin, args...)
	// A data race is a failure of its own, reported when the broker is stopped (exit code 66).
	cmd.Env = append(os.Environ(), "GORACE=halt_on_error=0")
	p, err := startProcess(cmd)
	if err != nil {
		return nil, err
	}
	p.tidy = func() {
		for _, made := range []string{dir, data} {
			if filepath.IsAbs(made) {
				_ = os.RemoveAll(made)
			}
		}
	}
	if err := p.awaitAddr(func() string { return nightjarAddr(p.out.String()) }); err != nil {
		return nil, err
	}
	p.ws, p.over = schemeAddr(p.out.String(), OverWS), n.over
	if p.to = schemeAddr(p.out.String(), n.over); n.over != OverTCP && p.to == "" {
		return nil, fmt.Errorf("nightjar does not say where it listens for %s:\n%s", n.over, p.out.String())
	}
	return p, nil
}

// nightjarArgs is the one place that knows the command line of nightjar serve.
func nightjarArgs(engine string, o Options) ([]string, error) {
	args := []string{"serve", "--listen", "127.0.0.1:0", "--listen", "ws://127.0.0.1:0", "--engine", engine}
	for _, f := range []struct {
		flag  string
		value int
	}{
		{"--max-connections", o.MaxConnections}, {"--max-keepalive", o.MaxKeepAlive},
		{"--max-inflight-messages", o.MaxInflight}, {"--max-queued-messages", o.MaxQueued},
		{"--max-topic-alias", o.MaxTopicAlias}, {"--max-packet-size", o.MaxPacketSize},
		{"--message-size-limit", o.MessageSizeLimit},
	} {
		if f.value > 0 {
			args = append(args, f.flag, fmt.Sprint(f.value))
		}
	}
	for _, f := range []struct {
		flag string
		set  bool
	}{
		{"--allow-zero-length-clientid=false", o.RefuseEmptyClientID}, {"--retain-available=false", o.RefuseRetain},
		{"--queue-qos0-messages", o.QueueQoS0}, {"--upgrade-outgoing-qos", o.UpgradeOutgoingQoS},
	} {
		if f.set {
			args = append(args, f.flag)
		}
	}
	if o.MaxQoS != nil {
		args = append(args, "--max-qos", fmt.Sprint(*o.MaxQoS))
	}
	if o.NoTopicAlias {
		args = append(args, "--max-topic-alias", "0")
	}
	if len(o.AcceptVersions) > 0 {
		var list []string
		for _, v := range o.AcceptVersions {
			list = append(list, fmt.Sprint(byte(v)))
		}
		args = append(args, "--accept-protocol-versions", strings.Join(list, ","))
	}
	return args, wantsHooks(o)
}

// wantsHooks tells what the options ask for that nightjar serve has no flag for; errCannot (wrapped), or nil.
func wantsHooks(o Options) error {
	for _, f := range []struct {
		what string
		set  bool
	}{
		{"a password file", len(o.Users) > 0}, {"an ACL", o.ACL != ""}, {"response information", o.ResponseInformation != ""},
		{"enhanced authentication", o.Enhanced},
	} {
		if f.set {
			return fmt.Errorf("nightjar serve has no flag for %s: %w", f.what, errCannot)
		}
	}
	return nil
}

var listeningLine = regexp.MustCompile(`listens on (127\.0\.0\.1:[1-9][0-9]*).*\n`)

// nightjarAddr finds the address in what nightjar serve prints when it listens; "" while it has not.
func nightjarAddr(output string) string {
	if m := listeningLine.FindStringSubmatch(output); m != nil {
		return m[1]
	}
	return ""
}

// nightjarBinary builds cmd/nightjar once.
var nightjarBinary = sync.OnceValues(func() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "conformance-nightjar-")
	if err != nil {
		return "", err
	}
	builtIn = dir
	bin := filepath.Join(dir, "nightjar")
	cmd := exec.Command("go", "build", "-race", "-o", bin, "./cmd/nightjar")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build -race ./cmd/nightjar: %w\n%s", err, out)
	}
	return bin, nil
})

// builtIn is the directory nightjarBinary made, removed by TestMain.
var builtIn string

// moduleRoot walks up from the working directory to go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = parent
	}
}

// raceReport cuts the first report of the race detector out of a broker's output; "" when there is none.
func raceReport(output string) string {
	i := strings.Index(output, "WARNING: DATA RACE")
	if i < 0 {
		return ""
	}
	return output[i:min(len(output), i+4000)]
}
