package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Change is a difference between two configurations.
type Change struct {
	Section  string // empty: general
	Option   string
	Old, New string
	// Live changes are applied by a reload; the others need a restart.
	Live bool
}

func (c Change) String() string {
	in := ""
	if c.Section != "" {
		in = " (" + c.Section + ")"
	}
	switch {
	case c.Option == "listener" && c.Old == "":
		return c.New + " is new"
	case c.Option == "listener" && c.New == "":
		return c.Old + " is gone"
	}
	return fmt.Sprintf("%s%s: %s → %s", c.Option, in, orNothing(c.Old), orNothing(c.New))
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// secret options are not shown.
var secret = []string{"auth_http_url", "auth_http_header", "remote_password", "local_password", "bridge_psk"}

// Diff tells which options have another effect in new than in old.
func Diff(old, new *Settings) []Change {
	var out []Change
	compare := func(section string, scopes []Scope, a, b *target) {
		for _, o := range Options {
			if o.bind == nil || !slices.Contains(scopes, o.Scope) {
				continue
			}
			x, y := o.bind(a), o.bind(b)
			if reflect.DeepEqual(x, y) {
				continue
			}
			c := Change{Section: section, Option: o.Name, Old: format(x, o.unit), New: format(y, o.unit), Live: o.Live}
			if slices.Contains(secret, o.Name) {
				c.Old, c.New = "(hidden)", "(hidden)"
			}
			if o.parse != nil && o.def != "" || strings.Contains(c.New, "{") {
				c.Old, c.New = old.values(o.Name, section), new.values(o.Name, section)
			}
			out = append(out, c)
		}
	}
	a, b := &target{s: old, sec: &old.Security}, &target{s: new, sec: &new.Security}
	compare("", []Scope{General, Securing}, a, b)
	out = append(out, diffListeners(old, new, compare)...)
	return out
}

// Keep takes the values of changes that are not live over from old to new, so that new is what is in force.
func Keep(old, new *Settings) {
	keep := func(scopes []Scope, a, b *target) {
		for _, o := range Options {
			if o.bind == nil || o.Live || !slices.Contains(scopes, o.Scope) {
				continue
			}
			reflect.ValueOf(o.bind(b)).Elem().Set(reflect.ValueOf(o.bind(a)).Elem())
		}
	}
	keep([]Scope{General}, &target{s: old}, &target{s: new})
	for _, l := range new.Listeners {
		for _, was := range old.Listeners {
			if was.Name() == l.Name() {
				keep([]Scope{OfListener}, &target{s: old, l: was}, &target{s: new, l: l})
			}
		}
	}
}

func diffListeners(old, new *Settings, compare func(string, []Scope, *target, *target)) (out []Change) {
	before := make(map[string]*Listener)
	for _, l := range old.Listeners {
		before[l.Name()] = l
	}
	for _, l := range new.Listeners {
		was := before[l.Name()]
		delete(before, l.Name())
		if was == nil {
			out = append(out, Change{Option: "listener", New: l.Name(), Live: true})
			continue
		}
		scopes := []Scope{OfListener}
		if new.PerListener || old.PerListener {
			scopes = append(scopes, Securing)
		}
		compare(l.Name(), scopes, &target{s: old, l: was, sec: &was.Security}, &target{s: new, l: l, sec: &l.Security})
	}
	for _, l := range old.Listeners {
		if before[l.Name()] != nil {
			out = append(out, Change{Option: "listener", Old: l.Name(), Live: true})
		}
	}
	return out
}

// values are an option's lines in a section.
func (s *Settings) values(option, section string) string {
	var vs []string
	for _, e := range s.Given {
		if e.Option == option && e.Section == section {
			vs = append(vs, e.Value)
		}
	}
	return strings.Join(vs, ", ")
}
