package acl

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// example has one of everything.
const example = `# anonymous
topic read public/#
topic public/%c

user alice
topic write sensors/+/temperature
topic readwrite a b/c
topic deny sensors/secret/#
topic sensors/secret/door
topic read $SYS/broker/uptime
topic read #
topic readdeny hidden/#
topic writedeny hidden/#

user bob
topic plant/#

group operators
member alice
member  carol b
topic read plant/#

clientid panel-1
topic read panels/#

pattern readwrite dev/%c/#
pattern read home/%u
pattern write mixed/x-%u-%c/y
pattern deny dev/%c/config

if from=10.0.0.0/8,192.0.2.1 topic write alarm/#
user bob
if from!=127.0.0.0/8 topic writedeny plant/danger/#
if qos<=1 retain=no topic write tele/#
if clientid=gate-*,door user=bob topic gates/#
if group=operators pattern write op/%u/#
if listener=inside topic read inside/#
`

func mustParse(t testing.TB, text string) *List {
	t.Helper()
	l, err := Parse("acl", text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Long: a table of what example allows, a case a line: user, client id, address, listener, action, topic; allowed or not, and
// the line of the rule that decides.
func TestDecide(t *testing.T) {
	l := mustParse(t, example)
	for _, c := range []struct {
		user, id, from, listener, do, topic string
		want                                bool
		line                                string
	}{
		{"", "x", "", "", "read", "public", true, "2"},
		{"", "x", "", "", "read", "public/a/b", true, "2"},
		{"", "x", "", "", "write", "public/a", false, ""},
		{"", "x", "", "", "write", "public/x", false, ""},   // %c is text in a topic rule
		{"", "x", "", "", "write", "public/%c", true, "3"},  // as in Mosquitto
		{"bob", "x", "", "", "read", "public/a", false, ""}, // rules before the first user are for anonymous clients only
		{"alice", "x", "", "", "write", "sensors/1/temperature", true, "6"},
		{"alice", "x", "", "", "write", "sensors/temperature", false, ""},
		{"alice", "x", "", "", "write", "sensors/1/2/temperature", false, ""},
		{"alice", "x", "", "", "write", "sensors/secret/temperature", false, "8"},
		{"alice", "x", "", "", "write", "sensors/secret/door", false, "8"},
		{"alice", "x", "", "", "read", "sensors/secret", false, "8"},
		{"alice", "x", "", "", "write", "a b/c", true, "7"},
		{"alice", "x", "", "", "read", "$SYS/broker/uptime", true, "10"},
		{"alice", "x", "", "", "read", "$SYS/broker/version", false, ""}, // # does not match $
		{"alice", "x", "", "", "read", "anything/else", true, "11"},
		{"alice", "x", "", "", "read", "hidden/a", false, "12"},
		{"alice", "x", "", "", "write", "hidden/a", false, "13"},
		{"alice", "x", "", "", "read", "plant/1", true, "11"},
		{"carol b", "x", "", "", "read", "plant/1", true, "21"},
		{"carol", "x", "", "", "read", "plant/1", false, ""},
		{"carol b", "x", "", "", "write", "plant/1", false, ""},
		{"bob", "panel-1", "", "", "read", "panels/2", true, "24"},
		{"bob", "panel-2", "", "", "read", "panels/2", false, ""},
		{"bob", "c", "", "", "write", "dev/c/x", true, "26"},
		{"bob", "c", "", "", "write", "dev/c/config", false, "29"},
		{"bob", "c", "", "", "write", "dev/d/x", false, ""},
		{"bob", "c", "", "", "read", "home/bob", true, "27"},
		{"", "c", "", "", "read", "home/", false, ""}, // no user name: %u matches nothing
		{"bob", "c", "", "", "write", "mixed/x-bob-c/y", true, "28"},
		{"bob", "c", "", "", "write", "mixed/x-bob-d/y", false, ""},
		{"bob", "c", "10.1.2.3", "", "write", "alarm/1", false, ""}, // that rule is in panel-1's section
		{"bob", "panel-1", "10.1.2.3", "", "write", "alarm/1", true, "31"},
		{"bob", "panel-1", "192.0.2.1", "", "write", "alarm/1", true, "31"},
		{"bob", "panel-1", "192.0.2.2", "", "write", "alarm/1", false, ""},
		{"bob", "panel-1", "", "", "write", "alarm/1", false, ""},
		{"bob", "c", "127.0.0.1", "", "write", "plant/danger/1", true, "16"},
		{"bob", "c", "10.0.0.1", "", "write", "plant/danger/1", false, "33"},
		{"bob", "c", "", "", "write", "plant/danger/1", false, "33"},
		{"bob", "c", "10.0.0.1", "", "read", "plant/danger/1", true, "16"},
		{"bob", "c", "", "", "write", "tele/1", true, "34"},
		{"bob", "c", "", "", "write2", "tele/1", false, ""},
		{"bob", "c", "", "", "retain", "tele/1", false, ""},
		{"bob", "gate-7", "", "", "write", "gates/1", true, "35"},
		{"bob", "door", "", "", "write", "gates/1", true, "35"},
		{"bob", "doors", "", "", "write", "gates/1", false, ""},
		{"alice", "c", "", "", "write", "op/alice/1", true, "36"},
		{"bob", "c", "", "", "write", "op/bob/1", false, ""},
		{"bob", "c", "", "inside", "read", "inside/1", true, "37"},
		{"bob", "c", "", "", "read", "inside/1", false, ""},
		{"bob", "c", "", "inside:192.0.2.1", "read", "inside/1", true, "37"},
		{"bob", "c", "", "insider", "read", "inside/1", false, ""},
	} {
		who := &Client{Username: c.user, ClientID: c.id, Listener: c.listener}
		if c.from != "" {
			who.Address = netip.MustParseAddr(c.from)
		}
		var d Decision
		switch c.do {
		case "read":
			d = l.Receive(who, c.topic)
		case "write":
			d = l.Publish(who, c.topic, 0, false)
		case "write2":
			d = l.Publish(who, c.topic, 2, false)
		case "retain":
			d = l.Publish(who, c.topic, 1, true)
		}
		rule := "no rule matched in acl"
		if c.line != "" {
			rule = "acl:" + c.line + ": "
		}
		if d.Allowed != c.want || !strings.HasPrefix(d.Rule, rule) {
			t.Errorf("%+v: %v by %q", c, d.Allowed, d.Rule)
		}
		if s := l.Subscribe(who, c.topic); !s.Allowed {
			t.Errorf("%+v: SUBSCRIBE is refused", c)
		}
	}
}

// A user name or client id must not reach what is somebody else's.
func TestNamesInPatterns(t *testing.T) {
	l := mustParse(t, "user a+b\ntopic own/#\npattern dev/%c/#\npattern usr/%u/#\npattern %u/x\npattern $SYS/broker/connection/%c/state\npattern deny dev/%c/no\npattern deny usr/%u/no\npattern pre-%u/#\n")
	for _, c := range []struct {
		user, id, topic string
		want            bool
		rule            string
	}{
		{"u", "victim", "dev/victim/1", true, "acl:3"},
		{"u", "victim/sub", "dev/victim/sub/1", false, "no rule matched in acl"},
		{"u", "victim/", "dev/victim/1", false, "no rule matched in acl"},
		{"u", "/", "dev///", false, "no rule"},
		{"u", "#", "dev/victim/1", false, "no rule matched in acl: patterns are not"},
		{"u", "+", "dev/victim/1", false, "no rule matched in acl: patterns are not"},
		{"u", "a+", "dev/victim/1", false, "no rule matched in acl: patterns are not"},
		{"+", "c", "usr/u/1", false, "no rule matched in acl: patterns are not"},
		{"#", "c", "usr/u/1", false, "no rule matched in acl: patterns are not"},
		{"#", "victim", "dev/victim/1", false, "no rule matched in acl: patterns are not"},
		{"a+b", "c", "own/1", true, "acl:2"}, // its own rules hold all the same
		{"a+b", "c", "dev/c/1", false, "no rule matched in acl: patterns are not"},
		{"a/b", "c", "usr/a/b/1", false, "no rule matched in acl"},
		{"a/b", "c", "usr/a/1", false, "no rule matched in acl"},
		{"a/b", "c", "usr/a/b/no", false, "acl:8"}, // but it can be denied
		{"u", "a/b", "dev/a/b/no", false, "acl:7"},
		{"$SYS", "c", "$SYS/x", false, "no rule"}, // as a name at the start, not as text
		{"u", "c", "$SYS/broker/connection/c/state", true, "acl:6"},
		{"u", "c", "$SYS/broker/connection/d/state", false, "no rule"},
		{"u", "", "dev//1", false, "no rule"},
		{"", "c", "usr//1", false, "no rule"},
		{"%c", "c", "usr/%c/1", true, "acl:4"},
		{"%c", "c", "usr/c/1", false, "no rule"},
		{"u", "%u", "dev/u/1", false, "no rule"},
		{"", "c", "pre-/1", false, "no rule"},
		{"u", "c", "pre-u", true, "acl:9"},
		{"u", "c", "pre-uu", false, "no rule"},
	} {
		d := l.Publish(&Client{Username: c.user, ClientID: c.id}, c.topic, 0, false)
		if d.Allowed != c.want || !strings.HasPrefix(d.Rule, c.rule) {
			t.Errorf("%+v: %v by %q", c, d.Allowed, d.Rule)
		}
	}
}

func TestExplain(t *testing.T) {
	l := mustParse(t, "topic read a/#\ntopic deny a/b\n")
	for _, c := range []struct {
		action, topic, want string
	}{
		{"receive", "a/c", "true acl:1: topic read a/#"}, {"receive", "a/b", "false acl:2: topic deny a/b"}, {"publish", "a/c", "false no rule matched in acl"},
		{"publish", "$SYS/x", "false reserved topic"}, {"publish", "$CONTROL/x", "false reserved topic"}, {"publish", "a/#", ""}, {"receive", "#", ""},
		{"subscribe", "x/#", "true " + granted}, {"subscribe", "$share/g/x", "true " + granted}, {"subscribe", "x/#/y", ""}, {"delete", "x", ""},
	} {
		d, err := l.Explain(&Client{ClientID: "c"}, c.action, c.topic, 0, false)
		if got := fmt.Sprint(d.Allowed, " ", d.Rule); err == nil && got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%+v: %s, %v", c, got, err)
		}
	}
	for name, want := range map[string]string{"listener 1883": "1883", "listener 1883 ::1": "1883:::1", "listener 0 /run/x": "0:/run/x", "": ""} {
		if got := ListenerName(name); got != want {
			t.Errorf("%q is %q", name, got)
		}
	}
}

// A file with nothing but comments denies everything; see behaviours of Mosquitto.
func TestEmptyFile(t *testing.T) {
	l := mustParse(t, "# nothing\n\n")
	for _, user := range []string{"", "u"} {
		if d := l.Publish(&Client{Username: user, ClientID: "c"}, "t", 0, false); d.Allowed || d.Rule != "no rule matched in acl" {
			t.Errorf("user %q: %+v", user, d)
		}
		if d := l.Receive(&Client{Username: user, ClientID: "c"}, "t"); d.Allowed {
			t.Errorf("user %q: %+v", user, d)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"topc a":                        "acl:1: unknown word 'topc': expected",
		"\n # indented":                 "acl:2: unknown word '#'",
		"topic":                         "acl:1: the topic is missing",
		"pattern ":                      "acl:1: the topic is missing",
		"topic reed a":                  "acl:1: unknown access 'reed': expected read, write",
		"topic read a/#/b":              "acl:1: 'a/#/b' is no topic filter",
		"topic a+":                      "acl:1: 'a+' is no topic filter",
		"topic\tread a":                 "acl:1: unknown word 'topic\tread'",
		"user":                          "acl:1: the name is missing: expected 'user NAME'",
		"user  ":                        "acl:1: the name is missing",
		"group":                         "acl:1: the name is missing",
		"member a":                      "acl:1: 'member' names a user of a group",
		"group g\nuser u\nmember a":     "acl:3: 'member' names a user of a group",
		"group g\nmember":               "acl:2: the user is missing",
		"if topic a":                    "acl:1: the condition is missing",
		"if":                            "acl:1: expected 'topic' or 'pattern'",
		"if qos=0":                      "acl:1: expected 'topic' or 'pattern'",
		"if qos=3 topic write a":        "acl:1: qos is '3'",
		"if qos<=0,1 topic write a":     "acl:1: qos is '0,1'",
		"if qos=1 topic a":              "acl:1: 'qos' and 'retain' are conditions on what a client publishes",
		"if retain=no topic deny a":     "acl:1: 'qos' and 'retain' are conditions",
		"if retain=maybe topic write a": "acl:1: retain is 'maybe'",
		"if from=10.0.0.0/33 topic a":   "acl:1: '10.0.0.0/33' is no address",
		"if from= topic a":              "acl:1: condition 'from=' has no value",
		"if from=10.0.0.1, topic a":     "acl:1: condition 'from=10.0.0.1,' has an empty value",
		"if tls topic a":                "acl:1: unknown condition 'tls'",
		"if user!=a topic a":            "acl:1: unknown condition 'user!='",
		"if group=g topic a":            "acl:1: group 'g' is not defined",
		"bad\ntopic ok\nworse":          "acl:1: unknown word 'bad'\nacl:3: unknown word 'worse'",
	} {
		_, err := Parse("acl", text)
		if err == nil {
			t.Errorf("%q is taken", text)
			continue
		}
		got := err.Error()
		for _, part := range strings.Split(want, "\n") {
			if !strings.Contains(got, part) {
				t.Errorf("%q: %q, want %q", text, got, want)
			}
		}
	}
	if _, err := Load("/nonexistent/acl"); err == nil {
		t.Error("a missing file is taken")
	}
}

func TestWarnings(t *testing.T) {
	for text, want := range map[string]string{
		"topic read a/#\ntopic read a/b":                       "acl:2: 'a/b' changes nothing: line 1",
		"topic read a/b\ntopic deny a/#":                       "acl:1: 'a/b' never matches: line 2 denies all of it",
		"topic read a\ntopic read a":                           "acl:2: 'a' changes nothing: line 1",
		"topic read a/+/c\ntopic a/b/c":                        "",
		"topic readwrite a/+/c\ntopic a/b/c":                   "acl:2: 'a/b/c' changes nothing",
		"topic writedeny a/#\ntopic write a/b\ntopic read a/b": "acl:2: 'a/b' never matches: line 1",
		"user u\ntopic a\nuser v\ntopic a":                     "",
		"user u\ntopic a\nuser v\nuser u\ntopic a":             "acl:5: 'a' changes nothing: line 2",
		"if from=10.0.0.0/8 topic deny a/#\ntopic a/b":         "",
		"topic deny a/#\nif from=10.0.0.0/8 topic a/b":         "acl:2: 'a/b' never matches: line 1",
		"pattern a/b":        "acl:1: ACL pattern 'a/b' does not contain '%c' or '%u'",
		"topic a/%u":         "acl:1: 'a/%u': %c and %u stand for themselves",
		"topic write $SYS/x": "acl:1: '$SYS/x' never matches: clients do not publish",
		"pattern write $SYS/broker/connection/%c/state": "",
		"topic $share/g/a":                           "acl:1: '$share/g/a' never matches",
		"group g\ntopic a":                           "acl:1: group 'g' has no member",
		"user u\ntopic dev/#\npattern deny dev/%c/x": "acl:3: pattern 'dev/%c/x' does not deny anything to user 'u': line 2",
		"topic deny #":                               "acl:1: '#' does not match topics that begin with $",
		"topic read #\ntopic read $SYS/#\ntopic write a\ntopic deny b/#":  "",
		"topic read a/#\ntopic read a":                                    "acl:2: 'a' changes nothing",
		"topic deny a/b\ntopic read a/#":                                  "",
		"topic deny a/+\ntopic deny a/b":                                  "acl:2: 'a/b' changes nothing",
		"pattern read dev/%c/#\npattern read dev/%c/x\npattern dev/%u/#":  "acl:2: 'dev/%c/x' changes nothing",
		"pattern read dev/+/#\npattern read dev/%c/#\npattern write a/%c": "acl:1: ACL pattern 'dev/+/#' does not\nacl:2: 'dev/%c/#' changes nothing",
	} {
		var got []string
		for _, w := range mustParse(t, text).Warnings() {
			got = append(got, w.Error())
		}
		all := strings.Join(got, "\n")
		if want == "" && all != "" {
			t.Errorf("%q: %s", text, all)
		}
		for _, part := range strings.Split(want, "\n") {
			if !strings.Contains(all, part) {
				t.Errorf("%q: %q, want %q", text, all, part)
			}
		}
		if n := strings.Count(want, "\n") + 1; want != "" && len(got) != n {
			t.Errorf("%q: %d warnings, want %d: %s", text, len(got), n, all)
		}
	}
}
