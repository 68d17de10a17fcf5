package acl

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// Load reads a file. The error names every line that is wrong.
func Load(path string) (*List, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("ACL file: %w", err)
	}
	return Parse(path, string(text))
}

// Parse is Load for a text; path is for what is said about it.
func Parse(path, text string) (*List, error) {
	p := parser{path: path, list: &List{path: path, users: map[string][]*set{}}, users: map[string][]*Rule{}, clients: map[string][]*Rule{}, groups: map[string]*group{}}
	p.section = p.anonymousRule
	for line := range strings.Lines(text) {
		p.line++
		line = strings.TrimRight(line, " \t\r\n\v\f")
		if line == "" || line[0] == '#' {
			continue
		}
		if err := p.read(line); err != nil {
			p.errs = append(p.errs, Problem{path, p.line, err.Error()})
		}
	}
	for _, u := range p.uses {
		if p.groups[u.name].line == 0 {
			p.errs = append(p.errs, Problem{path, u.line, fmt.Sprintf("group '%s' is not defined: expected a line 'group %s' somewhere", u.name, u.name)})
		}
	}
	if p.errs != nil {
		return nil, errors.Join(p.errs...)
	}
	return p.compile(), nil
}

// parser reads a file. section takes the topic rules, as the last "user", "group" or "clientid" line says.
type parser struct {
	path    string
	line    int
	list    *List
	errs    []error
	section func(*Rule)
	in      *group // the section's, if it is one

	anonymous, patterns []*Rule
	users, clients      map[string][]*Rule
	groups              map[string]*group
	uses                []use
}

// use is a group that a condition names.
type use struct {
	name string
	line int
}

func (p *parser) anonymousRule(r *Rule) { p.anonymous = append(p.anonymous, r) }

const expected = "expected 'user', 'topic', 'pattern', 'group', 'member', 'clientid' or 'if'"

// read takes one line. Words are parted by spaces only, as in Mosquitto.
func (p *parser) read(line string) error {
	word, rest := cut(line)
	switch word {
	case "topic", "pattern":
		return p.rule(line, word, rest, nil)
	case "if":
		return p.conditional(line, rest)
	case "member":
		name := trim(rest)
		if p.in == nil {
			return errors.New("'member' names a user of a group: expected a line 'group NAME' before it")
		}
		if name == "" {
			return errors.New("the user is missing: expected 'member USERNAME'")
		}
		p.in.members[name] = true
		return nil
	case "user", "group", "clientid":
		return p.open(word, trim(rest))
	}
	return fmt.Errorf("unknown word '%s': %s", word, expected)
}

// open begins a section.
func (p *parser) open(word, name string) error {
	if name == "" {
		return fmt.Errorf("the name is missing: expected '%s NAME'", word)
	}
	p.in = nil
	switch word {
	case "user":
		p.section = func(r *Rule) { p.users[name] = append(p.users[name], r) }
	case "clientid":
		p.section = func(r *Rule) { p.clients[name] = append(p.clients[name], r) }
	case "group":
		g := p.group(name)
		g.line = p.line
		p.in = g
		p.section = func(r *Rule) { g.rules = append(g.rules, r) }
	}
	return nil
}

func (p *parser) group(name string) *group {
	g := p.groups[name]
	if g == nil {
		g = &group{name: name, members: map[string]bool{}}
		p.groups[name] = g
	}
	return g
}

var accesses = map[string]struct {
	access access
	deny   bool
}{
	"read": {read, false}, "write": {write, false}, "readwrite": {read | write, false},
	"deny": {read | write, true}, "readdeny": {read, true}, "writedeny": {write, true},
}

// rule takes "[read|write|readwrite|deny|readdeny|writedeny] FILTER". A filter that holds spaces needs the access before it.
func (p *parser) rule(line, word, rest string, when *condition) error {
	first, filter := cut(rest)
	if first == "" {
		return fmt.Errorf("the topic is missing: expected '%s [read|write|readwrite|deny|readdeny|writedeny] TOPIC'", word)
	}
	r := &Rule{
		text: fmt.Sprintf("%s:%d: %s", p.path, p.line, strings.Join(strings.Fields(line), " ")), line: p.line,
		access: read | write, pattern: word == "pattern", when: when,
	}
	if filter = trim(filter); filter == "" {
		r.filter = first
	} else {
		a, ok := accesses[first]
		if !ok {
			return fmt.Errorf("unknown access '%s': expected read, write, readwrite, deny, readdeny or writedeny", first)
		}
		r.access, r.deny, r.filter = a.access, a.deny, filter
	}
	if err := topic.ValidFilter([]byte(r.filter)); err != nil {
		return fmt.Errorf("'%s' is no topic filter: %w", r.filter, err)
	}
	if when != nil && (!when.anyQoS || when.retain != 0) && r.access != write {
		return errors.New("'qos' and 'retain' are conditions on what a client publishes: expected 'write' or 'writedeny' before the topic")
	}
	if r.pattern {
		p.patterns = append(p.patterns, r)
	} else {
		p.section(r)
	}
	return nil
}

// conditional takes "CONDITION... topic|pattern ...".
func (p *parser) conditional(line, rest string) error {
	c := &condition{anyQoS: true}
	for n := 0; ; n++ {
		word, after := cut(rest)
		switch word {
		case "topic", "pattern":
			if n == 0 {
				return errors.New("the condition is missing: expected 'if CONDITION... topic ...'")
			}
			return p.rule(line, word, after, c)
		case "":
			return errors.New("expected 'topic' or 'pattern' after the conditions")
		}
		if err := p.condition(c, word); err != nil {
			return err
		}
		rest = after
	}
}

// condition takes one "NAME=VALUE".
func (p *parser) condition(c *condition, word string) error {
	i := strings.IndexAny(word, "!<=")
	if i < 0 {
		return fmt.Errorf("unknown condition '%s': expected from=, from!=, qos=, qos<=, retain=, user=, group=, clientid= or listener=", word)
	}
	name, op, value := word[:i], "=", word[i+1:]
	if strings.HasPrefix(word[i:], "!=") || strings.HasPrefix(word[i:], "<=") {
		op, value = word[i:i+2], word[i+2:]
	}
	if value == "" {
		return fmt.Errorf("condition '%s' has no value", word)
	}
	values := strings.Split(value, ",")
	if slices.Contains(values, "") {
		return fmt.Errorf("condition '%s' has an empty value", word)
	}
	switch name + op {
	case "from=":
		return prefixes(&c.from, values)
	case "from!=":
		return prefixes(&c.notFrom, values)
	case "qos=", "qos<=":
		return c.setQoS(op, values)
	case "retain=":
		switch value {
		case "yes", "true":
			c.retain = 1
		case "no", "false":
			c.retain = -1
		default:
			return fmt.Errorf("retain is '%s': expected yes or no", value)
		}
	case "user=":
		c.users = append(c.users, values...)
	case "clientid=":
		c.clientIDs = append(c.clientIDs, values...)
	case "listener=":
		c.listeners = append(c.listeners, values...)
	case "group=":
		if c.group != nil {
			return errors.New("a rule can ask for one group only")
		}
		c.group = p.group(value)
		p.uses = append(p.uses, use{value, p.line})
	default:
		return fmt.Errorf("unknown condition '%s': expected from=, from!=, qos=, qos<=, retain=, user=, group=, clientid= or listener=", name+op)
	}
	return nil
}

func (c *condition) setQoS(op string, values []string) error {
	c.anyQoS = false
	for _, v := range values {
		if v != "0" && v != "1" && v != "2" || op == "<=" && len(values) > 1 {
			return fmt.Errorf("qos is '%s': expected 0, 1 or 2", strings.Join(values, ","))
		}
		n := v[0] - '0'
		c.qos[n] = true
		for op == "<=" && n > 0 {
			n--
			c.qos[n] = true
		}
	}
	return nil
}

func prefixes(list *[]netip.Prefix, values []string) error {
	for _, v := range values {
		p, err := netip.ParsePrefix(v)
		if err != nil {
			a, err := netip.ParseAddr(v)
			if err != nil {
				return fmt.Errorf("'%s' is no address: expected one like 10.0.0.0/8, 192.0.2.1 or 2001:db8::/32", v)
			}
			p = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		}
		*list = append(*list, p.Masked())
	}
	return nil
}

// cut takes the first word off, as C's strtok does with " ".
func cut(s string) (word, rest string) {
	s = strings.TrimLeft(s, " ")
	word, rest, _ = strings.Cut(s, " ")
	return word, rest
}

func trim(s string) string { return strings.Trim(s, " \t\r\n\v\f") }
