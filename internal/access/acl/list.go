package acl

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// Client is whom a decision is about.
type Client struct {
	Username string // "": anonymous
	ClientID string
	Address  netip.Addr // the zero Addr: not known
	Listener string     // its ListenerName; "": not known
}

// Decision is allowed or not, and why: Rule is the line that decided, with file and number, or says that there was none.
type Decision struct {
	Allowed bool
	Rule    string
}

// List is a file, compiled.
type List struct {
	path      string
	anonymous set
	users     map[string][]*set // the user's own, and those of its groups
	clients   map[string]*set
	patterns  set
	addresses bool // some rule asks for an address or a listener

	none, odd string // said when nothing matched
	warnings  []Problem
}

// set is rules that belong together: those that deny are looked at first.
type set struct {
	deny, allow *tree
	rules       []*Rule
}

func (s *set) add(r *Rule) {
	s.rules = append(s.rules, r)
	t := &s.allow
	if r.deny {
		t = &s.deny
	}
	if *t == nil {
		*t = &tree{}
	}
	(*t).add(r)
}

func newSet(rules []*Rule) *set {
	s := &set{}
	for _, r := range rules {
		s.add(r)
	}
	return s
}

// compile makes the list of what was read.
func (p *parser) compile() *List {
	l := p.list
	l.none = "no rule matched in " + p.path
	l.odd = "no rule matched in " + p.path + ": patterns are not for a user name or client id with '+' or '#' in it"
	l.anonymous, l.patterns = *newSet(p.anonymous), *newSet(p.patterns)
	for name, rules := range p.users {
		l.users[name] = append(l.users[name], newSet(rules))
	}
	names := make([]string, 0, len(p.groups))
	for name := range p.groups {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		g := p.groups[name]
		s := newSet(g.rules)
		for user := range g.members {
			l.users[user] = append(l.users[user], s)
		}
	}
	if len(p.clients) > 0 {
		l.clients = map[string]*set{}
		for id, rules := range p.clients {
			l.clients[id] = newSet(rules)
		}
	}
	for _, rules := range p.all() {
		for _, r := range rules {
			if w := r.when; w != nil && (w.from != nil || w.notFrom != nil || w.listeners != nil) {
				l.addresses = true
			}
		}
	}
	l.warnings = p.lint()
	return l
}

// all are the sections' rules.
func (p *parser) all() [][]*Rule {
	out := [][]*Rule{p.anonymous, p.patterns}
	for _, rules := range p.users {
		out = append(out, rules)
	}
	for _, rules := range p.clients {
		out = append(out, rules)
	}
	for _, g := range p.groups {
		out = append(out, g.rules)
	}
	return out
}

// Path is where it was read from.
func (l *List) Path() string { return l.path }

// Warnings are lines that can never match, or do something else than they seem to, in the order of lines.
func (l *List) Warnings() []Problem { return l.warnings }

// UsesAddresses tells whether any rule asks by which address or listener a client came.
func (l *List) UsesAddresses() bool { return l.addresses }

// Publish decides on a PUBLISH or a will.
func (l *List) Publish(who *Client, topic string, qos byte, retain bool) Decision {
	return l.decide(&query{who: who, topic: topic, access: write, qos: min(qos, 2), retain: retain})
}

// Receive decides whether a client gets the messages of a topic.
func (l *List) Receive(who *Client, topic string) Decision {
	return l.decide(&query{who: who, topic: topic, access: read})
}

// Explain decides as the broker does, and says so in its words: it knows, too, where clients may not publish whatever the
// rules. action is "publish", "subscribe" or "receive".
func (l *List) Explain(who *Client, action, name string, qos byte, retain bool) (Decision, error) {
	valid := topic.ValidName
	if action == "subscribe" {
		valid = topic.ValidFilter
	}
	if err := valid([]byte(name)); err != nil {
		return Decision{}, fmt.Errorf("'%s': %w", name, err)
	}
	switch action {
	case "publish":
		first, _, _ := strings.Cut(name, "/")
		if first == "$SYS" || first == "$CONTROL" || first == "$share" {
			return Decision{Rule: "reserved topic"}, nil
		}
		return l.Publish(who, name, qos, retain), nil
	case "receive":
		return l.Receive(who, name), nil
	case "subscribe":
		return l.Subscribe(who, name), nil
	}
	return Decision{}, fmt.Errorf("unknown action '%s': expected publish, subscribe or receive", action)
}

// Subscribe decides on a filter of a SUBSCRIBE. As in Mosquitto anybody may subscribe to anything; what of it is delivered
// Receive decides, message by message, so that no wildcard and no $share gets around it.
func (*List) Subscribe(*Client, string) Decision {
	return Decision{Allowed: true, Rule: granted}
}

const granted = "every SUBSCRIBE is granted; the rules decide on each message that is delivered"

// decide goes in Mosquitto's order: the client's own rules, those that deny first, then the patterns, those that deny first.
func (l *List) decide(q *query) Decision {
	var own []*set
	if q.who.Username != "" {
		own = l.users[q.who.Username]
	}
	client := l.clients[q.who.ClientID]
	q.deny = true
	for _, s := range own {
		if r := s.deny.find(q); r != nil {
			return Decision{false, r.text}
		}
	}
	if q.who.Username == "" {
		if r := l.anonymous.deny.find(q); r != nil {
			return Decision{false, r.text}
		}
	}
	if client != nil {
		if r := client.deny.find(q); r != nil {
			return Decision{false, r.text}
		}
	}
	q.deny = false
	for _, s := range own {
		if r := s.allow.find(q); r != nil {
			return Decision{true, r.text}
		}
	}
	if q.who.Username == "" {
		if r := l.anonymous.allow.find(q); r != nil {
			return Decision{true, r.text}
		}
	}
	if client != nil {
		if r := client.allow.find(q); r != nil {
			return Decision{true, r.text}
		}
	}
	return l.byPattern(q)
}

// byPattern decides by the patterns. A name with wildcards gets nothing from them: it could be anybody's.
func (l *List) byPattern(q *query) Decision {
	if len(l.patterns.rules) == 0 {
		return Decision{false, l.none}
	}
	if strings.ContainsAny(q.who.Username, "+#") || strings.ContainsAny(q.who.ClientID, "+#") {
		return Decision{false, l.odd}
	}
	q.deny = true
	if r := l.patterns.deny.find(q); r != nil {
		return Decision{false, r.text}
	}
	q.deny = false
	if r := l.patterns.allow.find(q); r != nil {
		return Decision{true, r.text}
	}
	return Decision{false, l.none}
}

// Denies tells whether a rule denies what is asked for in so many words, and which. Where other than the file allows, this
// is what the file has to say.
func (l *List) Denies(who *Client, publish bool, topic string, qos byte, retain bool) (rule string, denied bool) {
	q := query{who: who, topic: topic, access: read, deny: true}
	if publish {
		q.access, q.qos, q.retain = write, min(qos, 2), retain
	}
	sets := []*set{&l.patterns, l.clients[who.ClientID]}
	if who.Username == "" {
		sets[1], sets = &l.anonymous, append(sets, sets[1])
	}
	for _, s := range append(sets, l.users[who.Username]...) {
		if s == nil {
			continue
		}
		if r := s.deny.find(&q); r != nil {
			return r.text, true
		}
	}
	return "", false
}
