package config

import "reflect"

// notYet is what is said of options with NotYet.
const notYet = "not supported by this version"

// Unsupported are the options that are given, have another value than the default, and that this version does nothing with. A
// configuration that needs one of them is refused: running without it would be a surprise.
func (s *Settings) Unsupported() (out Problems) {
	blank := blankTarget()
	look := func(section string, scopes []Scope, t *target) {
		for _, o := range Options {
			if !o.NotYet || o.bind == nil || !containsScope(scopes, o.Scope) || reflect.DeepEqual(o.bind(t), o.bind(blank)) {
				continue
			}
			pos, _ := s.Where(o.Name, section)
			out = append(out, Problem{Position: pos, Severity: Failure, Option: o.Name, Text: notYet})
		}
	}
	look("", []Scope{General, Securing}, &target{s: s, sec: &s.Security})
	for _, l := range s.Listeners {
		look(l.Name(), []Scope{OfListener}, &target{s: s, l: l, sec: &l.Security})
		if l.Protocol == "http_api" {
			pos, _ := s.Where("protocol", l.Name())
			out = append(out, Problem{Position: pos, Severity: Failure, Option: "protocol", Text: "http_api is " + notYet})
		}
	}
	return out
}

func containsScope(all []Scope, s Scope) bool {
	for _, one := range all {
		if one == s {
			return true
		}
	}
	return false
}
