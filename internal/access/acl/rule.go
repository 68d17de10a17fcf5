// Package acl reads Mosquitto's access control lists, with additions, and decides by them. Each decision names the line that
// made it. docs/security.md has the syntax.
//
// A List is compiled when it is read and does not change: rules.go holds what a line says, parse.go reads it, tree.go finds
// the rules that match a topic, list.go decides, lint.go looks for lines that do not do what somebody may have meant.
package acl

import (
	"fmt"
	"net/netip"
	"strings"
)

// access is what a rule allows or denies.
type access byte

const (
	read  access = 1 << iota // messages of the topic are delivered to the client
	write                    // the client may publish to the topic
)

// Rule is a line that allows or denies.
type Rule struct {
	text   string // "FILE:LINE: the line", for logs
	line   int
	filter string
	access access
	deny   bool
	// pattern is a rule that holds for everybody, with %u and %c in its filter.
	pattern bool
	when    *condition // nil: always
}

// String is where the rule stands and what it says, as in the log.
func (r *Rule) String() string { return r.text }

// condition is what an "if" asks for. All of it must hold.
type condition struct {
	from, notFrom []netip.Prefix
	qos           [3]bool // which are meant
	anyQoS        bool
	retain        int8 // 0: any; 1: retained, -1: not
	clientIDs     []string
	users         []string
	listeners     []string
	group         *group
}

// holds tells whether the condition is met. What is not known of a client (its address and listener, after a restart) does not allow
// anything, and does not keep anything from being denied.
func (c *condition) holds(who *Client, q *query, deny bool) bool {
	if !c.anyQoS && q.access == write && !c.qos[q.qos] {
		return false
	}
	if c.retain != 0 && q.access == write && (c.retain > 0) != q.retain {
		return false
	}
	switch {
	case c.from == nil && c.notFrom == nil:
	case !who.Address.IsValid():
		if !deny {
			return false
		}
	case c.from != nil && !within(c.from, who.Address) || within(c.notFrom, who.Address):
		return false
	}
	if c.listeners != nil && !isListener(c.listeners, who.Listener) && (who.Listener != "" || !deny) {
		return false
	}
	return c.isAbout(who)
}

// isListener: "1883" is the listener "1883:192.0.2.1", too.
func isListener(list []string, name string) bool {
	for _, l := range list {
		if rest, ok := strings.CutPrefix(name, l); ok && (rest == "" || rest[0] == ':') {
			return true
		}
	}
	return false
}

// ListenerName is how conditions call a listener: "listener 1883 192.0.2.1" of the configuration file is 1883:192.0.2.1.
func ListenerName(name string) string {
	return strings.Join(strings.Fields(strings.TrimPrefix(name, "listener ")), ":")
}

// isAbout: the client is one of those that are named.
func (c *condition) isAbout(who *Client) bool {
	if c.clientIDs != nil && !anyMatches(c.clientIDs, who.ClientID) {
		return false
	}
	if c.users != nil && !anyMatches(c.users, who.Username) {
		return false
	}
	return c.group == nil || c.group.has(who.Username)
}

func within(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// anyMatches: a name with * at its end stands for all that begin so.
func anyMatches(list []string, name string) bool {
	for _, l := range list {
		if prefix, ok := strings.CutSuffix(l, "*"); ok && strings.HasPrefix(name, prefix) || l == name {
			return true
		}
	}
	return false
}

// group is a named set of users.
type group struct {
	name    string
	line    int
	members map[string]bool
	rules   []*Rule
}

func (g *group) has(user string) bool { return user != "" && g.members[user] }

// Problem is a line that cannot be used, or does not do what it seems to.
type Problem struct {
	Path string
	Line int
	Text string
}

func (p Problem) Error() string { return fmt.Sprintf("%s:%d: %s", p.Path, p.Line, p.Text) }
