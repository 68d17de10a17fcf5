package acl

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// slowRule and slowDecide are Mosquitto's way, as its documentation has it: go through the lines one by one.
type slowRule struct {
	owner, kind, access, filter string
}

func (r slowRule) covers(a access) bool {
	return map[string]access{"read": read, "write": write, "readwrite": 3, "deny": 3, "readdeny": read, "writedeny": write}[r.access]&a != 0
}

func slowDecide(rules []slowRule, user, id, name string, a access) bool {
	for _, kind := range []string{"topic", "pattern"} {
		if kind == "pattern" && slices.ContainsFunc(rules, func(r slowRule) bool { return r.kind == "pattern" }) && strings.ContainsAny(user+id, "+#") {
			return false
		}
		for _, denies := range []bool{true, false} {
			for _, r := range rules {
				if r.kind != kind || strings.HasSuffix(r.access, "deny") != denies || !r.covers(a) || kind == "topic" && r.owner != user {
					continue
				}
				filter := r.filter
				if kind == "pattern" {
					uses := strings.Contains(filter, "%u") && strings.Contains(user, "/") || strings.Contains(filter, "%c") && strings.Contains(id, "/")
					if strings.Contains(filter, "%u") && user == "" || strings.Contains(filter, "%c") && id == "" || uses && !denies {
						continue
					}
					if named, dollar := filter[0] == '%', name[0] == '$'; named && dollar {
						continue
					}
					// Both at once, or a name with %c in it would be replaced again.
					filter = strings.NewReplacer("%u", user, "%c", id).Replace(filter)
				}
				if topic.Match(filter, name) {
					return !denies
				}
			}
		}
	}
	return false
}

// The tree decides as going through the lines does.
func TestAgainstSlow(t *testing.T) {
	level := rapid.SampledFrom([]string{"a", "b", "", "$x", "%c", "%u", "u", "c"})
	names := rapid.SampledFrom([]string{"", "a", "b", "u", "c", "a/b", "+", "#", "%u", "%c", "$x"})
	rapid.Check(t, func(t *rapid.T) {
		var rules []slowRule
		text, owner := "", ""
		for range rapid.IntRange(0, 12).Draw(t, "lines") {
			if rapid.IntRange(0, 4).Draw(t, "section") == 0 {
				owner = rapid.SampledFrom([]string{"a", "b", "u", "a/b", "+"}).Draw(t, "owner")
				text += "user " + owner + "\n"
			}
			levels := rapid.SliceOfN(rapid.OneOf(level, rapid.Just("+"), rapid.SampledFrom([]string{"x%c", "%u-%c"})), 1, 4).Draw(t, "filter")
			if rapid.Bool().Draw(t, "hash") {
				levels = append(levels, "#")
			}
			r := slowRule{
				owner: owner, kind: rapid.SampledFrom([]string{"topic", "pattern"}).Draw(t, "kind"),
				access: rapid.SampledFrom([]string{"read", "write", "readwrite", "deny", "readdeny", "writedeny"}).Draw(t, "access"),
				filter: strings.Join(levels, "/"),
			}
			if r.filter == "" {
				continue
			}
			text += fmt.Sprintf("%s %s %s\n", r.kind, r.access, r.filter)
			rules = append(rules, r)
		}
		l, err := Parse("acl", text)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			user, id := names.Draw(t, "user"), names.Draw(t, "id")
			name := strings.Join(rapid.SliceOfN(rapid.OneOf(level, rapid.SampledFrom([]string{"xc", "u-c", "xa"})), 1, 5).Draw(t, "topic"), "/")
			if name == "" {
				continue
			}
			who := &Client{Username: user, ClientID: id}
			if got, want := l.Receive(who, name), slowDecide(rules, user, id, name, read); got.Allowed != want {
				t.Fatalf("user %q id %q reads %q: %+v, want %v\n%s", user, id, name, got, want, text)
			}
			if got, want := l.Publish(who, name, 0, false), slowDecide(rules, user, id, name, write); got.Allowed != want {
				t.Fatalf("user %q id %q writes %q: %+v, want %v\n%s", user, id, name, got, want, text)
			}
		}
	})
}

// a covers b: then every topic of b is one of a; and there is a topic that shows it where it does not.
func TestCoversAgainstMatch(t *testing.T) {
	level := rapid.SampledFrom([]string{"a", "b", "+", "$x"})
	rapid.Check(t, func(t *rapid.T) {
		filter := func(name string) string {
			levels := rapid.SliceOfN(level, 1, 3).Draw(t, name)
			if rapid.Bool().Draw(t, name+" hash") {
				levels = append(levels, "#")
			}
			return strings.Join(levels, "/")
		}
		a, b := filter("a"), filter("b")
		// Topics of b that only what is as wide as b matches: an own word in the place of each +, no level and many for #.
		short, _ := strings.CutSuffix(b, "/#")
		want := b[0] != '+' && b[0] != '#' || a[0] == '+' || a[0] == '#'
		for _, name := range []string{short, strings.ReplaceAll(b, "#", strings.Repeat("other/", 9)+"other")} {
			name = strings.NewReplacer("+", "other", "#", "other").Replace(name)
			want = want && topic.Match(a, name)
		}
		if got := Covers(a, b); got != want {
			t.Fatalf("Covers(%q, %q) is %v", a, b, got)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(example)
	f.Fuzz(func(t *testing.T, text string) {
		l, err := Parse("acl", text)
		if err != nil {
			return
		}
		who := &Client{Username: "u", ClientID: "c"}
		l.Publish(who, "a/b", 1, true)
		l.Receive(who, "$SYS/b")
	})
}

// large is a file as a site has it: a thousand users with ten lines each, and patterns.
func large() string {
	var b strings.Builder
	for u := range 1000 {
		fmt.Fprintf(&b, "user user%d\n", u)
		for r := range 10 {
			fmt.Fprintf(&b, "topic readwrite site/%d/line/%d/+/state\n", u, r)
		}
		fmt.Fprintf(&b, "topic deny site/%d/line/+/secret/#\n", u)
	}
	b.WriteString("pattern readwrite dev/%c/#\npattern write log/%u/%c\n")
	return b.String()
}

var decisions = map[string]struct{ user, id, topic string }{
	"own rule":   {"user500", "c", "site/500/line/7/motor/state"},
	"pattern":    {"user500", "client-1", "dev/client-1/temperature"},
	"no rule":    {"user500", "c", "site/501/line/7/motor/state"},
	"wrong name": {"user500", "a+b", "dev/a+b/x"},
}

func TestDecisionsAllocateNothing(t *testing.T) {
	l := mustParse(t, large())
	for name, c := range decisions {
		who := &Client{Username: c.user, ClientID: c.id}
		if n := testing.AllocsPerRun(100, func() { l.Publish(who, c.topic, 1, false) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	l := mustParse(b, large())
	for name, c := range decisions {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				who := Client{Username: c.user, ClientID: c.id}
				l.Publish(&who, c.topic, 1, false)
			}
		})
	}
}
