package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// mosquitto is Debian's mosquitto, started with a configuration file in a temporary directory. It tests the suite.
type mosquitto struct{}

func (mosquitto) Name() string { return "mosquitto" }

// KeepAliveSlack: mosquitto looks at its keep-alives every five seconds.
func (mosquitto) KeepAliveSlack() time.Duration { return 7 * time.Second }

func (m mosquitto) Start(o Options) (Broker, error) {
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		if bin, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			return nil, fmt.Errorf("mosquitto is not installed (apt-get install mosquitto): %w", err)
		}
	}
	for try := 0; ; try++ {
		b, err := m.startOn(bin, o)
		// Another process may have taken the free port in between.
		if err == nil || try == 3 || !strings.Contains(err.Error(), "in use") {
			return b, err
		}
	}
}

func (m mosquitto) startOn(bin string, o Options) (Broker, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	conf, err := m.config(port, o)
	if err != nil {
		return nil, err
	}
	ws := ""
	if o.IsZero() {
		// Not as the only listener: 2.0.11 then ends with "Unable to start any listening sockets".
		wsPort, err := freePort()
		if err != nil {
			return nil, err
		}
		conf += fmt.Sprintf("listener %d 127.0.0.1\nprotocol websockets\n", wsPort)
		ws = fmt.Sprintf("127.0.0.1:%d", wsPort)
	}
	dir, err := writeTemp(map[string]string{"acl": o.ACL})
	if err != nil {
		return nil, err
	}
	for name, password := range o.Users {
		out, err := exec.Command("mosquitto_passwd", "-c", "-b", filepath.Join(dir, "one"), name, password).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("mosquitto_passwd: %w: %s", err, out)
		}
		one, err := os.ReadFile(filepath.Join(dir, "one"))
		if err != nil {
			return nil, err
		}
		f, err := os.OpenFile(filepath.Join(dir, "passwd"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		_, err = f.Write(one)
		if err = firstError(err, f.Close()); err != nil {
			return nil, err
		}
	}
	conf = strings.ReplaceAll(conf, "DIR", dir)
	file := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	p, err := startProcess(exec.Command(bin, "-c", file))
	if err != nil {
		return nil, err
	}
	p.tidy = func() { _ = os.RemoveAll(dir) }
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	// Dialling a port that nobody listens on yet may be answered by another process, or by the dialling socket itself, which the
	// kernel may give that very port.
	running := func() string {
		if strings.Contains(p.out.String(), " running") {
			return addr
		}
		return ""
	}
	if err := p.awaitAddr(running); err != nil {
		return nil, err
	}
	p.ws = ws
	return p, nil
}

// config writes mosquitto.conf for 2.0; DIR stands for the temporary directory.
func (mosquitto) config(port int, o Options) (string, error) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("listener %d 127.0.0.1", port)
	if o.MaxConnections > 0 {
		line("max_connections %d", o.MaxConnections)
	}
	if o.MaxTopicAlias > 0 {
		line("max_topic_alias %d", o.MaxTopicAlias)
	}
	line("log_dest stderr")
	line("log_type error\nlog_type warning\nlog_type notice\nlog_type information")
	line("persistence false")
	if os.Getuid() == 0 {
		line("user root") // the temporary directory is for its owner alone
	}
	if len(o.Users) > 0 {
		line("allow_anonymous false\npassword_file DIR/passwd")
	} else {
		line("allow_anonymous true")
	}
	if o.ACL != "" {
		line("acl_file DIR/acl")
	}
	for _, n := range []struct {
		name  string
		value int
	}{
		{"max_keepalive", o.MaxKeepAlive}, {"max_inflight_messages", o.MaxInflight},
		{"max_queued_messages", o.MaxQueued}, {"max_packet_size", o.MaxPacketSize},
		{"message_size_limit", o.MessageSizeLimit},
	} {
		if n.value > 0 {
			line("%s %d", n.name, n.value)
		}
	}
	if o.RefuseEmptyClientID {
		line("allow_zero_length_clientid false")
	}
	if o.RefuseRetain {
		line("retain_available false")
	}
	if o.QueueQoS0 {
		line("queue_qos0_messages true")
	}
	if o.UpgradeOutgoingQoS {
		line("upgrade_outgoing_qos true")
	}
	if o.MaxQoS != nil {
		line("max_qos %d", *o.MaxQoS)
	}
	if o.NoTopicAlias {
		line("max_topic_alias 0")
	}
	if o.ResponseInformation != "" || o.Enhanced {
		return "", fmt.Errorf("mosquitto has no response information, and authentication methods by plugins only: %w", errCannot)
	}
	if len(o.AcceptVersions) > 0 {
		return "", fmt.Errorf("accept_protocol_versions came with mosquitto 2.1: %w", errCannot)
	}
	return b.String(), nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
