package acl

import "strings"

// tree finds rules by topic: a node per level of their filters.
type tree struct {
	children map[string]*tree
	plus     *tree
	names    []*named // levels with %u or %c in them
	here     []*Rule  // filters that end here
	hash     []*Rule  // filters that end in # here
}

// named is a level of a pattern that depends on the client.
type named struct {
	level string // as in the file, for adding to the same node
	parts []part
	next  *tree
}

// part is a piece of such a level: text, or the user name (u), or the client id (c).
type part struct {
	name byte
	text string
}

// add puts a rule in. Only patterns have names in their levels; %u in a topic rule is text, as in Mosquitto.
func (t *tree) add(r *Rule) {
	n := t
	for rest, more := r.filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level == "#":
			n.hash = append(n.hash, r)
			return
		case level == "+":
			if n.plus == nil {
				n.plus = &tree{}
			}
			n = n.plus
		case r.pattern && (strings.Contains(level, "%u") || strings.Contains(level, "%c")):
			n = n.addNamed(level)
		default:
			if n.children == nil {
				n.children = map[string]*tree{}
			}
			c := n.children[level]
			if c == nil {
				c = &tree{}
				n.children[level] = c
			}
			n = c
		}
	}
	n.here = append(n.here, r)
}

func (t *tree) addNamed(level string) *tree {
	for _, x := range t.names {
		if x.level == level {
			return x.next
		}
	}
	x := &named{level: level, parts: split(level), next: &tree{}}
	t.names = append(t.names, x)
	return x.next
}

func split(level string) (parts []part) {
	for level != "" {
		i := 0
		for i < len(level) && !(level[i] == '%' && i+1 < len(level) && (level[i+1] == 'u' || level[i+1] == 'c')) {
			i++
		}
		if i > 0 {
			parts = append(parts, part{text: level[:i]})
		}
		if i < len(level) {
			parts = append(parts, part{name: level[i+1]})
			i += 2
		}
		level = level[i:]
	}
	return parts
}

// query is what is asked.
type query struct {
	who    *Client
	topic  string
	access access
	qos    byte
	retain bool
	deny   bool // it is a tree of rules that deny
}

// find returns a rule that matches, nil if there is none. Which of several is not defined, but always the same.
func (t *tree) find(q *query) *Rule {
	if t == nil || q.topic == "" {
		return nil
	}
	return t.walk(q, q.topic, true, q.topic[0] == '$')
}

// walk looks for the rest of the topic below t. more is false behind the last level. A wildcard at the start does not match
// topics that begin with $ [MQTT-4.7.2-1], and neither does a name there.
func (t *tree) walk(q *query, rest string, more, dollar bool) *Rule {
	if !more {
		if r := q.first(t.here); r != nil {
			return r
		}
		return q.first(t.hash) // "sport/#" matches its parent "sport" too (MQTT 5 §4.7.1.2)
	}
	level, next, left := strings.Cut(rest, "/")
	if c := t.children[level]; c != nil {
		if r := c.walk(q, next, left, false); r != nil {
			return r
		}
	}
	if !dollar && t.plus != nil {
		if r := t.plus.walk(q, next, left, false); r != nil {
			return r
		}
	}
	for _, x := range t.names {
		if dollar && (x.parts[0].name != 0 || x.parts[0].text[0] != '$') {
			continue
		}
		tail, ok := x.consume(q, rest)
		if !ok {
			continue
		}
		tail, more := strings.CutPrefix(tail, "/")
		if r := x.next.walk(q, tail, more, false); r != nil {
			return r
		}
	}
	if dollar {
		return nil
	}
	return q.first(t.hash)
}

// consume takes the level off the front of a topic; what is left is empty or begins with "/". A name that is empty matches
// nothing. A name with a wildcard or a "/" in it could reach into what belongs to others: it allows nothing. It can be
// denied, though, in all the levels it stands for.
func (x *named) consume(q *query, rest string) (tail string, ok bool) {
	for _, p := range x.parts {
		text := p.text
		switch p.name {
		case 'u':
			text = q.who.Username
		case 'c':
			text = q.who.ClientID
		}
		if text == "" || p.name != 0 && !q.deny && strings.ContainsAny(text, "/+#") {
			return "", false
		}
		if rest, ok = strings.CutPrefix(rest, text); !ok {
			return "", false
		}
	}
	return rest, rest == "" || rest[0] == '/'
}

// first returns the first rule that is about the access asked for and whose condition holds.
func (q *query) first(rules []*Rule) *Rule {
	for _, r := range rules {
		if r.access&q.access != 0 && (r.when == nil || r.when.holds(q.who, q, q.deny)) {
			return r
		}
	}
	return nil
}
