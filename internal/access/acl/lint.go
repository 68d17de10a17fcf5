package acl

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxLint bounds the rules of one section that are compared with each other.
const maxLint = 5000

// linter looks for lines that can never match, or do something else than they seem to.
type linter struct {
	path  string
	found []Problem
}

func (p *parser) lint() []Problem {
	l := &linter{path: p.path}
	for _, rules := range p.all() {
		for _, r := range rules {
			l.alone(r)
		}
		l.among(rules)
	}
	for _, g := range p.groups {
		if len(g.members) == 0 && g.line > 0 {
			l.say(g.line, "group '%s' has no member: its rules never match; expected 'member USERNAME' lines in it", g.name)
		}
	}
	l.overruled("anonymous clients", p.anonymous, p.patterns)
	for user, rules := range p.users {
		l.overruled("user '"+user+"'", rules, p.patterns)
	}
	slices.SortFunc(l.found, func(a, b Problem) int { return cmp.Or(a.Line-b.Line, strings.Compare(a.Text, b.Text)) })
	return slices.Compact(l.found)
}

func (l *linter) say(line int, format string, args ...any) {
	l.found = append(l.found, Problem{l.path, line, fmt.Sprintf(format, args...)})
}

// alone looks at one line.
func (l *linter) alone(r *Rule) {
	named := strings.Contains(r.filter, "%c") || strings.Contains(r.filter, "%u")
	first, _, _ := strings.Cut(r.filter, "/")
	switch {
	case r.pattern && !named:
		l.say(r.line, "ACL pattern '%s' does not contain '%%c' or '%%u': it holds for every client alike", r.filter)
	case !r.pattern && named:
		l.say(r.line, "'%s': %%c and %%u stand for themselves in 'topic'; only 'pattern' puts the client id or user name there", r.filter)
	}
	switch {
	case first == "$share":
		l.say(r.line, "'%s' never matches: rules are asked about topics, without $share and the group", r.filter)
	case first == "$SYS" && !r.deny && r.access == write && !Covers("$SYS/broker/connection/+/state", plain(r.filter)):
		l.say(r.line, "'%s' never matches: clients do not publish to $SYS, whatever the rules", r.filter)
	case r.filter == "#" && r.deny:
		l.say(r.line, "'#' does not match topics that begin with $: $SYS/# needs a line of its own")
	}
}

// plain puts a + in the place of names, which is how far they can reach.
func plain(filter string) string {
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		if strings.Contains(level, "%u") || strings.Contains(level, "%c") {
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}

// among compares the lines of a section: of two that match, one that denies decides before one that allows, wherever it
// stands.
func (l *linter) among(rules []*Rule) {
	if len(rules) > maxLint {
		l.say(rules[0].line, "there are more than %d rules in this section: they are not compared with each other", maxLint)
		return
	}
	for i, r := range rules {
		for j, other := range rules {
			if i == j || other.when != nil || r.access&^other.access != 0 || !Covers(other.filter, r.filter) {
				continue
			}
			same := other.filter == r.filter && other.access == r.access && other.deny == r.deny && r.when == nil
			switch {
			case same && j > i: // of two alike the second is the one too many
				continue
			case other.deny && !r.deny:
				l.say(r.line, "'%s' never matches: line %d denies all of it", r.filter, other.line)
			case other.deny == r.deny:
				l.say(r.line, "'%s' changes nothing: line %d says it already", r.filter, other.line)
			default:
				continue
			}
			break
		}
	}
}

// overruled finds patterns that deny what a client's own rule allows: its own rules decide first, as in Mosquitto.
func (l *linter) overruled(who string, own, patterns []*Rule) {
	if len(own)*len(patterns) > maxLint*maxLint {
		return
	}
	for _, p := range patterns {
		if !p.deny {
			continue
		}
		for _, r := range own {
			if !r.deny && r.access&p.access != 0 && (Covers(r.filter, plain(p.filter)) || Covers(plain(p.filter), r.filter)) {
				l.say(p.line, "pattern '%s' does not deny anything to %s: line %d allows it, and a client's own rules are looked at before patterns", p.filter, who, r.line)
				break
			}
		}
	}
}

// Covers tells whether every topic that the filter b matches is matched by the filter a.
func Covers(a, b string) bool {
	if (a[0] == '#' || a[0] == '+') && b[0] == '$' {
		return false
	}
	for {
		la, resta, morea := strings.Cut(a, "/")
		lb, restb, moreb := strings.Cut(b, "/")
		switch {
		case la == "#":
			return true
		case lb == "#":
			return false
		case la != "+" && la != lb:
			return false
		case !moreb:
			return !morea || resta == "#"
		case !morea:
			return false
		}
		a, b = resta, restb
	}
}
