package acl

import (
	"slices"
	"strings"
)

// Filters are topic filters for one client that do not come from a file: from its token, or the HTTP hook. %u and %c in
// them are as in a pattern.
type Filters struct {
	tree    tree
	filters []string
}

// NewFilters compiles valid filters.
func NewFilters(filters []string) *Filters {
	f := &Filters{filters: filters}
	for _, s := range filters {
		f.tree.add(&Rule{filter: s, access: read | write, pattern: true})
	}
	return f
}

// Equal reports whether both have the same filters in the same order; nil is no list.
func (f *Filters) Equal(o *Filters) bool {
	if f == nil || o == nil {
		return f == o
	}
	return slices.Equal(f.filters, o.filters)
}

// Match tells whether one of them matches the topic.
func (f *Filters) Match(who *Client, topic string) bool {
	return f.tree.find(&query{who: who, topic: topic, access: read}) != nil
}

// Covers tells whether one of them matches all that a subscription to filter would bring.
func (f *Filters) Covers(who *Client, filter string) bool {
	for _, s := range f.filters {
		if named, ok := put(s, who); ok && Covers(named, filter) {
			return true
		}
	}
	return false
}

// put puts the client's names into a filter; ok is false if they could reach elsewhere.
func put(filter string, who *Client) (out string, ok bool) {
	for _, n := range []struct{ mark, name string }{{"%u", who.Username}, {"%c", who.ClientID}} {
		if strings.Contains(filter, n.mark) && (n.name == "" || strings.ContainsAny(n.name, "/+#")) {
			return "", false
		}
	}
	// At once: a user name that contains %c is text.
	return strings.NewReplacer("%u", who.Username, "%c", who.ClientID).Replace(filter), true
}
