package config

import "slices"

// Options is the table of all options, those of Mosquitto 2.1 and Nightjar's own.
var Options = slices.Concat(generalOptions, storeOptions, logOptions, securityOptions, listenerOptions, tlsOptions, bridgeOptions, ownOptions, accessOptions)

var byName = make(map[string]*Option)

func init() {
	for _, o := range Options {
		byName[o.Name] = o
		for _, a := range o.Aliases {
			byName[a] = o
		}
	}
	// These look into the table themselves, which Go would take for a circle.
	for name, parse := range map[string]func(*parser, string) *fault{
		"per_listener_settings":          parsePerListener,
		"auth_plugin_deny_special_chars": parseDenySpecial,
		"include_dir":                    parseInclude,
	} {
		byName[name].parse = parse
	}
}

// Lookup finds an option by its name or another name that it has; nil: there is none.
func Lookup(name string) *Option { return byName[name] }
