package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// write makes a configuration file of lines.
func write(t *testing.T, lines ...string) string {
	t.Helper()
	return writeAs(t, filepath.Join(t.TempDir(), "m.conf"), lines...)
}

func writeAs(t *testing.T, path string, lines ...string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load reads lines that must be without failures.
func load(t *testing.T, lines ...string) *Settings {
	t.Helper()
	s, problems := Load(write(t, lines...))
	if err := problems.Err(); err != nil {
		t.Fatalf("%q: %v", lines, err)
	}
	return s
}

func TestTableIsComplete(t *testing.T) {
	seen := make(map[string]bool)
	for _, o := range Options {
		for _, name := range append([]string{o.Name}, o.Aliases...) {
			if seen[name] {
				t.Errorf("%s stands in the table twice", name)
			}
			seen[name] = true
		}
		if o.bind == nil && o.parse == nil && o.Refused == "" && o.Obsolete == "" {
			t.Errorf("%s has no effect", o.Name)
		}
		if o.About == "" && o.Obsolete == "" {
			t.Errorf("%s has no description", o.Name)
		}
		_, _ = o.Usage(), o.Default()
	}
}

func TestEmptyFileIsTheDefaults(t *testing.T) {
	s := load(t, "# nothing", "", "   ")
	if changes := Diff(NoFile(), s); len(changes) > 0 {
		t.Errorf("an empty file changes %v", changes)
	}
	if len(s.Listeners) != 2 || !s.Listeners[0].Local() || s.Listeners[0].Security.AllowAnonymous != Yes {
		t.Errorf("an empty file has listeners %+v", s.Listeners)
	}
}

// TestErrors: each line has its error, in Nightjar's words and in Mosquitto 2.1's, which scripts may look for.
func TestErrors(t *testing.T) {
	for _, c := range []struct{ in, want, words string }{
		{"max_conections 5", "option 'max_conections': unknown; did you mean 'max_connections'?", "Unknown configuration variable 'max_conections'."},
		{"log-type all", "unknown; did you mean 'log_type'?", "Unknown configuration variable 'log-type'."},
		{"foo 5", "option 'foo': unknown", "Unknown configuration variable 'foo'."},
		{" # comment", "the # of a comment must be the first character", "Unknown configuration variable '#'."},
		{"port\t1883", "not a tab", "Unknown configuration variable"},
		{"listener", "has no value; it is written: listener PORT [ADDRESS], or 0 PATH", "Empty 'listener' value in configuration."},
		{"listener 70000", "70000 is no port", "Invalid 'port' value (70000)."},
		{"listener 0", "unix socket", "A listener with port 0 must provide a Unix socket path."},
		{"listener abc", `"abc" is not a whole number`, "'listener port' value not a number."},
		{"max_inflight_messages 99999999999", "out of range", "'max_inflight_messages' value out of range."},
		{"max_inflight_messages 70000", "at most 65535", "'max_inflight_messages' must be <= 65535."},
		{"allow_anonymous yes", `"yes" is neither true nor false`, "Invalid 'allow_anonymous' value (yes)."},
		{"max_packet_size 19", "at least 20", "'max_packet_size' must be >= 20."},
		{"cafile /x", "belongs to a listener", "The 'cafile' option requires a listener to be defined first."},
		{"port 1883\naccept_protocol_versions 3", "belongs to a listener", "The 'accept_protocol_versions' option requires a listener to be defined first."},
		{"notifications true", "belongs to a connection", "The 'notifications' option requires a bridge to be defined first."},
		{"plugin_opt_file x", "belongs to a plugin", "requires plugin/global_plugin/plugin_load to be defined first."},
		{"auth_plugin_deny_special_chars true", "belongs to a plugin", "An auth_plugin_deny_special_chars option exists in the config file without a plugin."},
		{"per_listener_settings true\nacl_file x", "belongs to a listener", "The 'acl_file' option requires a listener to be defined first."},
		{"allow_anonymous true\nper_listener_settings true", "in front of all security options", "per_listener_settings must be set before any other security settings."},
		{"listener 1883\nmount_point a/#", "wildcard", "Invalid 'mount_point' value (a/#). Does it contain a wildcard character?"},
		{"listener 1883\nmax_qos 3", "0, 1 or 2", "'max_qos' must be between 0 and 2 inclusive."},
		{"listener 1883\ncertfile /c", "has no keyfile", "Both certfile and keyfile must be provided to enable a TLS listener."},
		{"listener 1883\ncafile /c", "certfile and keyfile are missing", "cafile specified without certfile and keyfile."},
		{"listener 1883\nenable_proxy_protocol 3", "must be 1 or 2", "enable_proxy_protocol must be 1 or 2."},
		{"listener 1883\nenable_proxy_protocol 2\ncertfile /c\nkeyfile /k", "TLS ends at the proxy", "certfile and keyfile cannot be used with `enable_proxy_protocol 2`."},
		{"listener 1883\nprotocol gopher", "not one of mqtt, websockets", "Invalid 'protocol' value (gopher)."},
		{"listener 1883\nlistener 1883", "stands at", ""},
		{"pid_file a\npid_file b", "a second time", "Duplicate 'pid_file' value in configuration."},
		{"log_dest foo", "not one of stdout", "Invalid 'log_dest' value (foo)."},
		{"log_dest file", "path of the file is missing", `Empty "log_dest file" value in configuration.`},
		{"log_dest file a\nlog_dest file b", "a file already", `Duplicate "log_dest file" value.`},
		{"log_type foo", "not one of error", "Invalid 'log_type' value (foo)."},
		{"log_facility 8", "local0 to local7", "Invalid 'log_facility' value (8)."},
		{"persistent_client_expiration 5x", "such as 14d", "Invalid 'persistent_client_expiration' duration in configuration."},
		{"sync sometimes", "always, interval TIME, never", ""},
		{"sync interval", "needs a time", ""},
		{"memory_limit lots", "number of bytes", "'memory_limit' value not a number."},
		{"connection a\nconnection a", "already", "Duplicate bridge name 'a'."},
		{"connection a\naddress b:0", "no port", "Invalid bridge port value (0)."},
		{"connection a\ntopic x up", "out, in, both", "Invalid bridge topic direction 'up'."},
		{"connection a\ntopic x out 3", "0, 1 or 2", "Invalid bridge QoS level '3'."},
		{"connection a\ntopic \"\" out 0 l", "without a pattern", "Invalid bridge remap topic definition."},
		{"connection a\ntopic \"x", "closing quote", "Missing closing quote"},
		{"connection a\nstart_type manual", "not supported", "Manual start_type not supported."},
		{"connection a\nrestart_timeout 9 3", "below the base", "backoff cap is lower than the base in restart_timeout."},
		{"plugin_use x", "belongs to a listener", ""},
		{"listener 1883\nplugin_use x", "no plugin_load line", "Plugin 'x' not previously loaded."},
		{"listener 1883\nproxy_protocol v1\nproxy_trusted here", "no address and no network", ""},
		{"auth_http_url ftp://x", "https:// or http://", ""},
	} {
		_, problems := Load(write(t, c.in))
		err := problems.Err()
		if err == nil {
			t.Errorf("%q is taken", c.in)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%q: %v\nwants %q and %q", c.in, err, c.want, c.words)
		}
	}
}

// TestAllErrors: every line's error is told, with file and line, not the first alone; then Mosquitto's words for the first.
func TestAllErrors(t *testing.T) {
	path := write(t, "# a", "max_conections 5", "", "max_qos 7", "psk_file x", "sys_interval 5")
	_, problems := Load(path)
	want := path + ":2: option 'max_conections': unknown; did you mean 'max_connections'?\n" +
		path + ":4: option 'max_qos': 7 is no QoS: it must be 0, 1 or 2\n" +
		path + ":5: option 'psk_file': cannot be had: " + noPSK + "\n" +
		"Error: Unknown configuration variable 'max_conections'.\n" +
		"Error found at " + path + ":2."
	if got := problems.Err(); got == nil || got.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", got, want)
	}
}

func TestMissingFile(t *testing.T) {
	dir := t.TempDir()
	for path, words := range map[string]string{
		dir + "/no": "Error: Unable to open config file '" + dir + "/no'.",
		dir:         "Error: Config file '" + dir + "' is a directory.",
	} {
		_, problems := Load(path)
		if err := problems.Err(); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestSyntax(t *testing.T) {
	s := load(t, "\r", "sys_interval   5  \r", "  max_keepalive 7", "max_queued_messages 9 # comment", "pid_file   /a b  ", "allow_anonymous true  ")
	if s.SysInterval.Seconds() != 5 || s.MaxKeepAlive != 7 || s.MaxQueued != 9 || s.PIDFile != "/a b" || s.Security.AllowAnonymous != Yes {
		t.Errorf("read wrongly: %+v", s)
	}
	_, problems := Load(write(t, "max_keepalive 7 8", "acl_file /x # comment", "auto_id_prefix a", "autosave_interval 5", "auth_plugin mosquitto_acl_file.so"))
	for i, want := range []string{`words behind the value are not read: "8"`, "a comment needs a line of its own", "is deprecated", "has no effect", "old name of 'plugin'"} {
		if i >= len(problems) || !strings.Contains(problems[i].String(), want) {
			t.Errorf("no word of %q: %v", want, problems)
			break
		}
	}
}

// TestIncludeDir: the manual's example of the order; what is no .conf is left alone; sections end with their file.
func TestIncludeDir(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.conf", "A.conf", "01.conf", "a.conf", "B.conf", "00.conf", "c_.conf", "ca.conf"} {
		writeAs(t, filepath.Join(dir, name), "log_type none", "websockets_origin https://"+name)
	}
	writeAs(t, filepath.Join(dir, "x.txt"), "nonsense")
	writeAs(t, filepath.Join(dir, ".conf"), "nonsense")
	main := write(t, "listener 1", "include_dir "+dir, "max_qos 1")
	s, problems := Load(main)
	var order []string
	for _, p := range problems.Failures() { // websockets_origin has no listener in these files
		order = append(order, filepath.Base(p.File))
	}
	if got := strings.Join(order, " "); got != "00.conf 01.conf A.conf a.conf B.conf b.conf ca.conf c_.conf" {
		t.Errorf("read in the order %s", got)
	}
	if len(s.Listeners) != 1 || s.Listeners[0].MaxQoS != 1 {
		t.Errorf("the listener in front of include_dir does not go on behind it: %+v", s.Listeners)
	}
	writeAs(t, filepath.Join(dir, "00.conf"), "include_dir "+dir)
	if _, problems = Load(main); !strings.Contains(problems.Error(), "The include_dir option is only valid in the main configuration file.") {
		t.Errorf("an include_dir in an included file: %v", problems)
	}
	if _, problems = Load(write(t, "include_dir /does/not/exist")); !strings.Contains(problems.Error(), "Unable to open include_dir '/does/not/exist'.") {
		t.Errorf("an include_dir that is not there: %v", problems)
	}
}

func TestDefaultListener(t *testing.T) {
	s := load(t, "port 1885", "max_connections 3", "listener 1886", "max_connections 4")
	if len(s.Listeners) != 2 || s.Listeners[0].Port != 1885 || s.Listeners[0].MaxConnections != 3 || s.Listeners[1].MaxConnections != 4 {
		t.Errorf("listeners %+v", s.Listeners)
	}
	s = load(t, "max_connections 3", "listener 1886")
	if len(s.Listeners) != 2 || s.Listeners[0].Port != 1883 {
		t.Errorf("options in front of the first listener make no listener on 1883: %+v", s.Listeners)
	}
	s = load(t, "max_connections 3")
	if len(s.Listeners) != 2 || !s.Listeners[0].Local() || s.Listeners[0].MaxConnections != 3 {
		t.Errorf("without a port only this machine may connect: %+v", s.Listeners)
	}
}

func TestPortsOfTheCommandLine(t *testing.T) {
	s := load(t, "max_connections 3")
	if !s.SetPorts([]int{1, 2}) || len(s.Listeners) != 4 || s.Listeners[2].Port != 2 || s.Listeners[3].Host != "::1" || s.Listeners[3].MaxConnections != 3 {
		t.Errorf("listeners %+v", s.Listeners)
	}
	s = load(t, "listener 1883")
	if s.SetPorts([]int{1}) || len(s.Listeners) != 1 || s.Listeners[0].Port != 1883 {
		t.Errorf("ports of the command line count beside a listener: %+v", s.Listeners)
	}
}

func TestPerListenerSettings(t *testing.T) {
	s := load(t, "per_listener_settings true", "listener 1", "password_file /a", "allow_anonymous true", "allow_zero_length_clientid false", "listener 2", "acl_file /b", "jwt_key_file /k")
	a, b := s.Listeners[0].Security, s.Listeners[1].Security
	if a.PasswordFile != "/a" || a.AllowAnonymous != Yes || a.AllowEmptyClientID || a.ACLFile != "" ||
		b.PasswordFile != "" || b.AllowAnonymous != No || !b.AllowEmptyClientID || b.ACLFile != "/b" || !b.JWT.Used() || a.JWT.Used() {
		t.Errorf("first %+v\nsecond %+v", a, b)
	}
	s = load(t, "listener 1", "password_file /a", "listener 2", "listener_allow_anonymous true")
	a, b = s.Listeners[0].Security, s.Listeners[1].Security
	if a.PasswordFile != "/a" || b.PasswordFile != "/a" || a.AllowAnonymous != No || b.AllowAnonymous != Yes {
		t.Errorf("first %+v\nsecond %+v", a, b)
	}
}

// TestBridge: a complete one has no error but that this version does not run it.
func TestBridge(t *testing.T) {
	_, problems := Load(write(t, "connection a", "address b", "topic #"))
	if failures := problems.Failures(); len(failures) != 1 || !strings.Contains(failures[0].Text, "bridges are not supported by this version: connection a would not run") {
		t.Errorf("failures: %v", failures)
	}
	_, problems = Load(write(t, "connection a"))
	for _, want := range []string{"no remote addresses defined", "has no topic"} {
		if !strings.Contains(problems.Error(), want) {
			t.Errorf("no word of %q: %v", want, problems)
		}
	}
}

func TestDiff(t *testing.T) {
	old := load(t, "listener 1", "max_connections 5", "listener 2", "bind_interface eth0", "sys_interval 5", "log_type all", "auth_http_header a: secret")
	new := load(t, "listener 1", "max_connections 6", "listener 2", "bind_interface eth1", "listener 3", "sys_interval 5", "loops 2", "auth_http_header a: geheim", "log_type error")
	var got []string
	for _, c := range Diff(old, new) {
		s := c.String()
		if !c.Live {
			s += " (later)"
		}
		got = append(got, s)
	}
	want := []string{
		"log_type: all → error", "loops: 0 → 2 (later)", "auth_http_header: (hidden) → (hidden)",
		"max_connections (listener 1): 5 → 6", "bind_interface (listener 2): eth0 → eth1 (later)", "listener 3 is new",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	Keep(old, new)
	if new.Own.Loops != 0 || new.Listeners[1].BindInterface != "eth0" || new.Listeners[0].MaxConnections != 6 {
		t.Errorf("after Keep: %+v", new)
	}
	if gone := Diff(new, old); !strings.Contains(gone[len(gone)-1].String(), "listener 3 is gone") {
		t.Errorf("a listener that has gone: %v", gone)
	}
}

// TestFiles: the configurations in testdata, as people have them. Each begins with what is wrong with it: "# want: OPTION:
// TEXT", all of it and in any order, or "# want: ok".
func TestFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.conf")
	if err != nil || len(files) < 10 {
		t.Fatalf("testdata has %d files, %v", len(files), err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := make(map[string]string)
		for _, line := range strings.Split(strings.ReplaceAll(string(b), "\r", ""), "\n") {
			if text, ok := strings.CutPrefix(line, "# want: "); ok && text != "ok" {
				option, text, _ := strings.Cut(text, ": ")
				want[option] = text
			}
		}
		_, problems := Load(file)
		for _, p := range problems.Failures() {
			option := p.Option
			if option == "auth_plugin" {
				option = "plugin"
			}
			pattern, ok := want[option]
			if matched, err := regexp.MatchString(pattern, p.Text); !ok || !matched || err != nil {
				t.Errorf("%s: %v", file, p)
			}
			delete(want, option)
		}
		if len(want) > 0 {
			t.Errorf("%s: nothing is said of %v: %v", file, want, problems)
		}
	}
}
