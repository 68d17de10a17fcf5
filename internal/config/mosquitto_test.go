package config

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// since21 are options that Debian's mosquitto, 2.0, does not know.
var since21 = map[string]bool{
	"enable_control_api": true, "global_max_clients": true, "global_max_connections": true, "retain_expiry_interval": true,
	"packet_buffer_size": true, "global_plugin": true, "plugin_load": true, "accept_protocol_versions": true,
	"listener_allow_anonymous": true, "listener_auto_id_prefix": true, "max_topic_alias_broker": true, "enable_proxy_protocol": true,
	"websockets_origin": true, "disable_client_cert_date_checks": true, "bridge_max_topic_alias": true, "bridge_receive_maximum": true,
	"bridge_session_expiry_interval": true, "bridge_tcp_keepalive": true, "bridge_tcp_user_timeout": true, "bridge_reload_type": true,
	"bridge_ciphers": true, "bridge_ciphers_tls1.3": true, "bridge_tls_use_os_certs": true,
}

// TestAgainstMosquitto: what Nightjar takes, Debian's mosquitto takes, and the other way round, as far as it knows the options.
func TestAgainstMosquitto(t *testing.T) {
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto"
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("mosquitto is not installed: run test/install.sh, or make test, which does: %v", err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "m.conf")
	compared := 0
	for _, in := range comparable() {
		text := strings.ReplaceAll(expand(in)+"\n", "listener 1883\n", "listener 0 "+dir+"/s\n")
		// With a listener mosquitto opens no port.
		writeAs(t, path, text+"log_dest stderr\nlistener 0 "+dir+"/end\n")
		_, problems := Load(path)
		ours := problems.Failures()
		for i := len(ours) - 1; i >= 0; i-- {
			if strings.Contains(ours[i].Text, notYet) {
				ours = append(ours[:i], ours[i+1:]...)
			}
		}
		taken, said := verdictOf(t, program, path)
		if _, name, unknown := strings.Cut(said, `Unknown configuration variable "`); unknown {
			if name, _, _ = strings.Cut(name, `"`); since21[name] {
				continue
			}
		}
		compared++
		if taken != (len(ours) == 0) {
			t.Errorf("%q: taken by mosquitto: %v; by us: %v\n%s", in, taken, ours, said)
		}
	}
	t.Logf("%d compared", compared)
}

// comparable are configurations that both read: those of effects and some that are wrong.
func comparable() (out []string) {
	for _, e := range effects {
		skip := false
		for _, line := range strings.Split(e.in, "\n") {
			name, _, _ := strings.Cut(line, " ")
			o := Lookup(name)
			skip = skip || o != nil && o.Own || strings.HasPrefix(name, "log_") ||
				// These fail, or open a port, when mosquitto starts.
				name == "user" || name == "pid_file" || name == "port" || name == "bind_address" || name == "listener" || name == "memory_limit"
		}
		if !skip {
			out = append(out, e.in)
		}
	}
	return append(out, "foo 1", "allow_anonymous yes", "allow_anonymous", "l\nmax_qos 3", "l\nmount_point a/#", "persistent_client_expiration 5x",
		"max_packet_size 19", "notifications true", "c\naddress a:0", "c\naddress a\ntopic x up", "c\naddress a\ntopic x out 3",
		"c\naddress a\nstart_type manual", "plugin_opt_abc x", "max_inflight_messages 70000",
		"allow_anonymous true\nper_listener_settings true", "listener 70000", "listener",
		" allow_anonymous true", "  # comment", "sys_interval 70000", "message_size_limit 268435456", "c\nc\naddress a\ntopic #")
}

// verdictOf has Debian's mosquitto read a configuration, and returns whether it takes it and what it says.
func verdictOf(t *testing.T, program, path string) (taken bool, said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-c", path)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		all.WriteString(lines.Text() + "\n")
		if strings.HasSuffix(lines.Text(), " running") || strings.HasSuffix(lines.Text(), " starting") { // it has read everything
			_ = cmd.Process.Kill()
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	said = all.String()
	return strings.Contains(said, " starting") || err == nil, said
}
