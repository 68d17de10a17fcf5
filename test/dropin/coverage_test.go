//go:build linux

package dropin

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nightjar-mqtt/nightjar/internal/config"
)

// notThere are the options of the reference that Debian's mosquitto does not know: no configuration can have them.
var notThere = []string{
	"accept_protocol_versions", "disable_client_cert_date_checks", "enable_control_api", "enable_proxy_protocol", "global_max_clients",
	"global_max_connections", "global_plugin", "listener_allow_anonymous", "listener_auto_id_prefix", "max_topic_alias_broker",
	"packet_buffer_size", "plugin_load", "plugin_use", "proxy_protocol_v2_require_tls", "retain_expiry_interval", "websockets_origin",
}

// refused are those that Nightjar refuses, by name: TestRefused.
var refused = map[string]string{
	"psk_file": "TLS with pre-shared keys is not in Go's crypto/tls", "psk_hint": "as psk_file",
	"tls_engine": "OpenSSL's engines are not there", "tls_engine_kpass_sha1": "as tls_engine",
	"plugin": "modules in C cannot be loaded", "auth_plugin": "as plugin", "auth_plugin_deny_special_chars": "stands below a plugin",
	"connection": "not supported by this version",
}

// unseen have nothing that a client could see. They stand in a configuration, which both brokers take.
var unseen = map[string]string{
	"set_tcp_nodelay": "changes when packets leave, not which", "memory_limit": "bounds memory, and 2.0 counts it only if built for that",
	"retry_interval": "without effect since Mosquitto 1.5", "websockets_headers_size": "a buffer's size", "websockets_log_level": "libwebsockets's own log",
	"dhparamfile": "Go's TLS has no DHE", "tls_keyform": "pem is the default, and all that is not an engine",
	"autosave_interval": "when Mosquitto writes its file", "autosave_on_changes": "as autosave_interval", "persistence_file": "a file's name",
	"http_dir": "files for browsers: the tests of protocol http_api", "log_facility": "where syslog puts lines", "bind_interface": "lo is where the tests are", "connection_messages": "seen in log_types",
}

// TestEveryOption: each option that Debian's mosquitto knows has a value other than its default in one of the configurations.
func TestEveryOption(t *testing.T) {
	given := make(map[string]bool)
	paths, _ := filepath.Glob("testdata/*.conf")
	more, _ := filepath.Glob("testdata/files/conf.d/*.conf")
	for _, path := range append(paths, more...) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(b), "\n") {
			name, value, _ := strings.Cut(line, " ")
			o := config.Lookup(name)
			if o == nil {
				continue
			}
			if o.Own {
				t.Errorf("%s: Mosquitto does not know %s", path, name)
			}
			if value != o.Default() || name == "tls_keyform" {
				given[name] = true
			}
		}
	}
	out := make(map[string]bool)
	for _, name := range notThere {
		out[name] = true
		if given[name] {
			t.Errorf("%s stands in a configuration", name)
		}
	}
	for _, o := range config.Options {
		if o.Own || o.Scope == config.OfBridge {
			continue
		}
		for _, name := range append([]string{o.Name}, o.Aliases...) {
			switch {
			case out[name], refused[name] != "":
			case !given[name]:
				t.Errorf("%s has no value but its default in any configuration", name)
			}
		}
	}
	for name := range unseen {
		if !given[name] {
			t.Errorf("%s stands in no configuration", name)
		}
	}
}

// TestNotThere: Debian's mosquitto does not know them.
func TestNotThere(t *testing.T) {
	command := mosquittoCommand(t)
	path := filepath.Join(t.TempDir(), "mosquitto.conf")
	for _, name := range notThere {
		if err := os.WriteFile(path, []byte("listener 0 /nowhere\n"+name+" 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(command[0], command[1], path).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "Unknown configuration variable") {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
