package app

import (
	"fmt"
	"reflect"

	"github.com/nightjar-mqtt/nightjar/internal/config"
)

// unsupported are options that the table knows and this version does nothing with. A configuration that needs one of them
// is refused, because running without it would be a surprise.
func unsupported(c *config.Settings) (out config.Problems) {
	add := func(option, section string) {
		pos, _ := c.Where(option, section)
		out = append(out, config.Problem{Position: pos, Severity: config.Failure, Option: option, Text: "not supported by this version"})
	}
	for _, u := range []struct {
		option string
		used   bool
	}{
		{"allow_duplicate_messages", !c.AllowDuplicates},
		{"enable_control_api", c.ControlAPI},
		{"max_inflight_bytes", c.MaxInflightBytes != 0},
		{"retain_expiry_interval", c.RetainExpiry != 0},
		{"check_retain_source", !c.CheckRetainSource},
	} {
		if u.used {
			add(u.option, "")
		}
	}
	out = append(out, unsupportedRates(c)...)
	for _, l := range c.Listeners {
		for _, u := range []struct {
			option string
			used   bool
		}{
			{"protocol", l.Protocol == "http_api"},
			{"http_dir", l.HTTPDir != ""},
		} {
			if u.used {
				add(u.option, l.Name())
			}
		}
	}
	return out
}

func unsupportedRates(c *config.Settings) (out config.Problems) {
	if reflect.DeepEqual(c.Rate, config.Rate{Action: c.Rate.Action}) {
		return nil
	}
	for _, e := range c.Given {
		if o := config.Lookup(e.Option); o != nil && o.IsRate() {
			out = append(out, config.Problem{Position: e.Position, Severity: config.Failure, Option: e.Option, Text: "not supported by this version"})
		}
	}
	return out
}

// asError is what stands on stderr when a configuration cannot be used.
func asError(ps config.Problems) error {
	if err := ps.Err(); err != nil {
		return fmt.Errorf("%w", err)
	}
	return nil
}
