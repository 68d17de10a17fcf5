package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// number reads the first word of value, as options of several words need it.
func number(name, word string) (int, *fault) {
	n, f := (&Option{Name: name}).parseInt(word)
	return int(n), f
}

// parseListener opens a listener section: PORT [ADDRESS], or 0 PATH.
func parseListener(p *parser, value string) *fault {
	words := strings.Fields(value)
	port, f := number("listener port", words[0])
	if f != nil {
		return f
	}
	if port < 0 || port > 65535 {
		return faultf(fmt.Sprintf("Invalid 'port' value (%d).", port), "%d is no port: it must be from 1 to 65535, or 0 for a unix socket", port)
	}
	where := ""
	if len(words) > 1 && words[1][0] != '#' {
		where = words[1]
	}
	l := newListener(p.line.Position)
	p.s.localOnly = false
	switch {
	case port == 0 && where == "":
		return faultf("A listener with port 0 must provide a Unix socket path.", "port 0 is a unix socket's, whose path must follow: listener 0 /run/nightjar.sock")
	case port == 0:
		l.Path = where
	default:
		l.Port, l.Host = port, where
	}
	for _, other := range p.s.Listeners {
		if other.Name() == l.Name() {
			p.l = l // what follows is not complained about as well
			return &fault{text: fmt.Sprintf("stands at %s already: %s", other.Position, l.Name())}
		}
	}
	p.l = l
	p.s.Listeners = append(p.s.Listeners, l)
	return nil
}

// parsePort and parseBindAddress set the listener that has no listener line.
func parsePort(p *parser, value string) *fault {
	word, _, _ := strings.Cut(value, " ")
	port, f := number("port", word)
	if f != nil {
		return f
	}
	if port < 1 || port > 65535 {
		return faultf(fmt.Sprintf("Invalid 'port' value (%d).", port), "%d is no port: it must be from 1 to 65535", port)
	}
	p.openDefault()
	p.s.localOnly = false
	p.l.Port, p.l.asked = port, true
	return nil
}

func parseBindAddress(p *parser, value string) *fault {
	p.openDefault()
	p.s.localOnly = false
	p.l.Host, p.l.asked = value, true
	return nil
}

func parseInclude(p *parser, value string) *fault { return p.include(value) }

func parsePerListener(p *parser, value string) *fault {
	if p.s.PerListener {
		return nil // once true it stays so
	}
	on, f := Lookup("per_listener_settings").parseBool(firstWord(value))
	if f != nil {
		return f
	}
	if on && p.secured {
		return faultf("per_listener_settings must be set before any other security settings.", "must stand in front of all security options")
	}
	p.s.PerListener = on
	return nil
}

func firstWord(value string) string {
	word, _, _ := strings.Cut(value, " ")
	return word
}

func parseVersions(p *parser, value string) *fault {
	var versions []int
	for _, word := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		n, err := strconv.Atoi(word)
		if err != nil || n < 3 || n > 5 {
			return faultf("", "%q is no protocol version: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5", word)
		}
		if !slices.Contains(versions, n) {
			versions = append(versions, n)
		}
	}
	slices.Sort(versions)
	p.l.Versions = versions
	return nil
}

func parseMountPoint(p *parser, value string) *fault {
	if err := topic.ValidName([]byte(value)); err != nil {
		return faultf(fmt.Sprintf("Invalid 'mount_point' value (%s). Does it contain a wildcard character?", value), "%q: %v", value, err)
	}
	p.l.MountPoint = value
	return nil
}

// parseProxy reads Mosquitto's enable_proxy_protocol.
func parseProxy(p *parser, value string) *fault {
	n, f := number("enable_proxy_protocol", firstWord(value))
	if f != nil {
		return f
	}
	if n < 1 || n > 2 {
		return faultf("enable_proxy_protocol must be 1 or 2.", "%d is no version of the PROXY protocol: it must be 1 or 2", n)
	}
	p.l.ProxyProtocol = strconv.Itoa(n)
	return nil
}

// parseOwnProxy reads proxy_protocol.
func parseOwnProxy(p *parser, value string) *fault {
	switch value {
	case "v1", "v2":
		p.l.ProxyProtocol = value[1:]
	case "on":
		p.l.ProxyProtocol = "on"
	case "off":
		p.l.ProxyProtocol = ""
	default:
		return faultf("", "%q is not one of v1, v2, on, off", value)
	}
	return nil
}

// parseSNI reads sni_certfile and sni_keyfile, which come in pairs.
func parseSNICert(p *parser, value string) *fault {
	p.l.TLS.SNI = append(p.l.TLS.SNI, SNI{CertFile: value})
	return nil
}

func parseSNIKey(p *parser, value string) *fault {
	n := len(p.l.TLS.SNI)
	if n == 0 || p.l.TLS.SNI[n-1].KeyFile != "" {
		return faultf("", "belongs to the sni_certfile line that stands in front of it, and there is none")
	}
	p.l.TLS.SNI[n-1].KeyFile = value
	return nil
}

func parseSocketMode(p *parser, value string) *fault {
	n, err := strconv.ParseUint(firstWord(value), 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		return faultf("", "%q are no permissions in octal, such as 0660", value)
	}
	p.l.SocketMode = uint32(n)
	return nil
}

// Plugins of Mosquitto's that are built in here, by the names of their files.
const (
	pluginPasswords = "mosquitto_password_file"
	pluginACL       = "mosquitto_acl_file"
	pluginSQLite    = "mosquitto_persist_sqlite"
	pluginDynsec    = "mosquitto_dynamic_security"
	pluginSparkplug = "mosquitto_sparkplug_aware"
)

// kind is the name of a plugin's file, without its ending.
func (pl *Plugin) kind() string {
	return strings.TrimSuffix(strings.TrimSuffix(filepath.Base(pl.Path), ".so"), ".dll")
}

// loadPlugin opens a plugin section.
func (p *parser) loadPlugin(name, path string) *fault {
	if path == "" {
		return faultf(fmt.Sprintf("Empty '%s' value in configuration.", p.line.Option), "has no path")
	}
	pl := &Plugin{Position: p.line.Position, Name: name, Path: path, DenySpecial: true}
	p.plugin = pl
	for _, other := range p.s.Plugins {
		if name != "" && other.Name == name {
			return faultf(fmt.Sprintf("Duplicate plugin name '%s'.", name), "the name %q is that of the plugin at %s already", name, other.Position)
		}
	}
	p.s.Plugins = append(p.s.Plugins, pl)
	switch pl.kind() {
	case pluginPasswords, pluginACL, pluginSQLite:
		return nil
	case pluginDynsec:
		return &fault{text: "dynamic security is not supported by this version; use password_file and acl_file"}
	case pluginSparkplug:
		return &fault{text: "Sparkplug awareness is not supported by this version; leave the plugin out"}
	}
	return &fault{text: fmt.Sprintf("%s cannot be loaded: Nightjar takes no plugins in C; use password_file and acl_file, auth_http_url for a service of your own that decides on logins, or jwt_key_file for tokens", path)}
}

// attach has the plugin decide for a listener, or for all.
func (p *parser) attach(sec *Security) { sec.plugins = append(sec.plugins, p.plugin) }

func parsePlugin(p *parser, value string) *fault {
	p.secured = true
	sec := &p.s.Security
	if p.s.PerListener {
		if p.l == nil {
			return p.outOfPlace("a listener (because of per_listener_settings)", "listener")
		}
		sec = &p.l.Security
	}
	f := p.loadPlugin("", value)
	if p.plugin != nil {
		p.attach(sec)
	}
	return f
}

func parseGlobalPlugin(p *parser, value string) *fault {
	f := p.loadPlugin("", value)
	if p.plugin != nil {
		p.attach(&p.s.Security)
	}
	return f
}

func parsePluginLoad(p *parser, value string) *fault {
	name, path, _ := strings.Cut(value, " ")
	return p.loadPlugin(name, strings.TrimLeft(path, " "))
}

func parsePluginUse(p *parser, value string) *fault {
	if p.l == nil || p.l.isDefault {
		return p.outOfPlace("a listener", "listener")
	}
	for _, pl := range p.s.Plugins {
		if pl.Name == value {
			p.plugin = pl
			p.attach(&p.l.Security)
			return nil
		}
	}
	return faultf(fmt.Sprintf("Plugin '%s' not previously loaded.", value), "no plugin_load line in front of this one names a plugin %q", value)
}

func parseDenySpecial(p *parser, value string) *fault {
	if p.plugin == nil {
		return faultf("An auth_plugin_deny_special_chars option exists in the config file without a plugin.", "belongs to a plugin: it has to stand below a plugin line")
	}
	on, f := Lookup("auth_plugin_deny_special_chars").parseBool(firstWord(value))
	if f == nil {
		p.plugin.DenySpecial = on
	}
	return f
}

// pluginOption reads plugin_opt_KEY and auth_opt_KEY.
func (p *parser) pluginOption(name, value string) {
	key := strings.TrimPrefix(strings.TrimPrefix(name, "plugin_opt_"), "auth_opt_")
	switch {
	case p.plugin == nil:
		p.report(Failure, "belongs to a plugin: it has to stand below a plugin line",
			fmt.Sprintf("The '%s' option requires plugin/global_plugin/plugin_load to be defined first.", name))
	case len(key) < 3:
		p.report(Failure, "the name behind plugin_opt_ has fewer than three letters", "Invalid 'plugin_opt_' config option.")
	case value == "":
		p.report(Failure, "has no value", fmt.Sprintf("Empty '%s' value in configuration.", key))
	default:
		p.plugin.Options = append(p.plugin.Options, [2]string{key, value})
		p.note(name, "plugin "+p.plugin.Path, value)
	}
}
