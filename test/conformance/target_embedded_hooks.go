package conformance

import (
	"fmt"
	"strings"

	"github.com/nightjar-mqtt/nightjar/broker"
)

// The hooks of the embedded broker. All answer from another goroutine, where they may.

// passwords is an Authenticator of names and passwords; nobody else may connect.
type passwords map[string]string

func (p passwords) Authenticate(l *broker.Login, done func(broker.Verdict)) {
	v := broker.Verdict{}
	if want, known := p[l.Username]; !l.HasUsername || !l.HasPassword || !known || want != string(l.Password) {
		v = broker.Verdict{Code: rcNotAuthorized, Reason: "wrong user name or password"}
	}
	go done(v)
}

// acl is an Authorizer in the way of Mosquitto's acl_file, of which it knows `topic [read|write|readwrite] FILTER` lines
// for everybody. What no line allows is denied; subscribing is always allowed and then brings nothing.
type acl struct{ read, write []aclRule }

type aclRule struct {
	filter []string
	line   string // for the log
}

func parseACL(text string) (*acl, error) {
	a := new(acl)
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.Fields(line)
		if len(f) == 2 {
			f = []string{f[0], "readwrite", f[1]}
		}
		if len(f) != 3 || f[0] != "topic" {
			return nil, fmt.Errorf("ACL line %d: %q, want topic [read|write|readwrite] FILTER", i+1, line)
		}
		r := aclRule{strings.Split(f[2], "/"), fmt.Sprintf("line %d: %s", i+1, line)}
		switch f[1] {
		case "read":
			a.read = append(a.read, r)
		case "write":
			a.write = append(a.write, r)
		case "readwrite":
			a.read, a.write = append(a.read, r), append(a.write, r)
		default:
			return nil, fmt.Errorf("ACL line %d: access %q", i+1, f[1])
		}
	}
	return a, nil
}

func decide(rules []aclRule, topic string) broker.Decision {
	levels := strings.Split(topic, "/")
	for _, r := range rules {
		if r.matches(levels) {
			return broker.Decision{Allowed: true, Rule: r.line}
		}
	}
	return broker.Decision{Rule: "no line allows it"}
}

func (r aclRule) matches(levels []string) bool {
	for i, f := range r.filter {
		if f == "#" {
			return true
		}
		if i >= len(levels) || f != "+" && f != levels[i] {
			return false
		}
	}
	return len(levels) == len(r.filter)
}

func (a *acl) MayPublish(_ *identity, topic string, _ byte, _ bool) broker.Decision {
	return decide(a.write, topic)
}
func (a *acl) MaySubscribe(*identity, string) broker.Decision { return broker.Decision{Allowed: true} }
func (a *acl) MayReceive(_ *identity, topic string) broker.Decision {
	return decide(a.read, topic)
}
func (a *acl) Generation() uint64 { return 0 }

// identity is who asks.
type identity = broker.Identity

// riddleMethod is the authentication method that riddles know.
const riddleMethod = "riddle"

// riddles is a toy of enhanced authentication (MQTT 5 §4.12). The client gives its name, or none, as authentication data;
// the server asks riddleSteps times, "1?" and "2?"; the client answers "1!" and "2!". Anything else is refused. Success
// comes with the data "welcome NAME".
type riddles struct{}

const riddleSteps = 2

func (riddles) Start(_ *broker.Login, method string) broker.Exchange {
	if method != riddleMethod {
		return nil
	}
	return new(riddle)
}

type riddle struct {
	name  string
	asked int // 0: the name comes next
}

// longReason is what an MQTT 5 client of small packets must not be sent.
var longReason = strings.Repeat("because ", 20)

func (r *riddle) Step(data []byte, done func(broker.Step)) {
	go done(r.turn(string(data)))
}

func (r *riddle) turn(data string) broker.Step {
	switch {
	case r.asked == 0:
		r.name = data
	case data != fmt.Sprintf("%d!", r.asked):
		r.asked = 0
		return broker.Step{Code: rcNotAuthorized, Reason: longReason}
	}
	if r.asked < riddleSteps {
		r.asked++
		return broker.Step{Code: rcContinue, Data: fmt.Appendf(nil, "%d?", r.asked), Reason: longReason}
	}
	r.asked = 0
	return broker.Step{Data: []byte("welcome " + r.name), Username: r.name}
}
