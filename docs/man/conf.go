package main

import (
	"slices"
	"strings"

	"github.com/nightjar-mqtt/nightjar/internal/config"
)

// configPage is nightjar.conf(5).
func configPage(h header) string {
	p := newPage(h, "nightjar.conf", "5", "configuration of the Nightjar MQTT broker")
	p.section("SYNOPSIS")
	p.synopsis("/etc/nightjar/nightjar.conf", "")
	p.section("DESCRIPTION")
	p.prose(syntax)
	for _, part := range []struct {
		title string
		scope config.Scope
		intro string
	}{
		{"OPTIONS OF THE BROKER", config.General, ""},
		{"OPTIONS OF SECURITY", config.Securing, "They are for all listeners, or with per_listener_settings true for the listener above."},
		{"OPTIONS OF LISTENERS", config.OfListener, "They belong to the listener line above. In front of the first one they make a listener on port 1883."},
		{"OPTIONS OF BRIDGES", config.OfBridge, "They belong to the connection line above."},
		{"OPTIONS OF PLUGINS", config.OfPlugin, "They belong to the plugin line above."},
	} {
		chosen := slices.DeleteFunc(slices.Clone(config.Options), func(o *config.Option) bool {
			return o.Scope != part.scope || o.Refused != "" || o.NotYet
		})
		if len(chosen) == 0 {
			continue
		}
		p.section(part.title)
		p.prose(part.intro)
		for _, o := range chosen {
			p.option(o)
		}
	}
	p.refused()
	p.section("EXAMPLES")
	p.prose("Let the network in, with passwords and TLS:\n\n  listener 8883\n  certfile /etc/nightjar/server.crt\n  keyfile /etc/nightjar/server.key\n  password_file /etc/nightjar/passwords")
	p.seeAlso("nightjar(1)", "nightjar-check(1)", "nightjar-serve(1)", "nightjar-passwd(1)")
	return p.String()
}

const syntax = `The syntax and the options are those of mosquitto.conf, so that Mosquitto's file can be used as it is. A line is an option and its value. A # as the first character of a line makes it a comment.

The lines listener, connection and plugin begin a section: options of listeners, bridges and plugins belong to the line of that kind above them.

nightjar-check(1) says what is wrong with a file, insecure or a surprise. SIGHUP has the broker read the file again; if anything is wrong with it, nothing changes. Options of which it is said here that they need a restart stay as they are until then.`

func (p *page) option(o *config.Option) {
	p.item(o.Name, o.Usage())
	for _, s := range []string{
		o.About,
		said("Also: ", strings.Join(o.Aliases, ", "), "."),
		said("Default: ", o.Default(), "."),
		said("Nightjar only.", "", "", o.Own),
		said("Needs a restart.", "", "", !o.Live),
		said("Unlike Mosquitto: ", o.Unlike, "."),
		said("No effect: ", o.Obsolete, "."),
		said("Deprecated: ", o.Deprecated, "."),
	} {
		if s != "" {
			p.sentence(s)
		}
	}
}

// said is a sentence, if there is something to say.
func said(before, what, after string, only ...bool) string {
	if what == "" && !slices.Contains(only, true) {
		return ""
	}
	return before + what + after
}

// refused lists the options with which the broker does not start.
func (p *page) refused() {
	p.section("OPTIONS THAT ARE REFUSED")
	p.prose("With one of these the broker does not start, and says why: running without what a configuration asks for would be a surprise.")
	for _, o := range config.Options {
		switch {
		case o.Refused != "":
			p.item(o.Name, o.Usage())
			p.sentence(o.Refused + ".")
		case o.NotYet:
			p.item(o.Name, o.Usage())
			p.sentence(o.About)
			p.sentence("Not supported by this version.")
		}
	}
}
