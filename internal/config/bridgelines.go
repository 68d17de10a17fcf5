package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

func parseConnection(p *parser, value string) *fault {
	name := firstWord(value)
	b := newBridge(p.line.Position, name)
	p.bridge = b
	for _, other := range p.s.Bridges {
		if other.Name == name {
			return faultf(fmt.Sprintf("Duplicate bridge name '%s'.", name), "the name %q is that of the connection at %s already", name, other.Position)
		}
	}
	p.s.Bridges = append(p.s.Bridges, b)
	return nil
}

// parseAddresses reads HOST[:PORT] once or more.
func parseAddresses(p *parser, value string) *fault {
	if len(p.bridge.Addresses) > 0 {
		return faultf("Invalid bridge configuration, 'address' only allowed once.", "stands here a second time; write all addresses in one line")
	}
	for _, word := range strings.Fields(value) {
		if word[0] == '#' {
			break
		}
		a := Address{Host: word, Port: 1883}
		if i := strings.LastIndexByte(word, ':'); i >= 0 {
			port, err := strconv.Atoi(word[i+1:])
			if err != nil || port < 1 || port > 65535 {
				return faultf(fmt.Sprintf("Invalid bridge port value (%d).", port), "%q is no port in %q; an IPv6 address needs one: ::1:1883", word[i+1:], word)
			}
			a = Address{Host: strings.Trim(word[:i], "[]"), Port: port}
		}
		p.bridge.Addresses = append(p.bridge.Addresses, a)
	}
	if len(p.bridge.Addresses) == 0 {
		return faultf("Empty address value in configuration.", "names no address")
	}
	return nil
}

// parseBridgeTopic reads PATTERN [out|in|both [QOS [LOCAL [REMOTE]]]].
func parseBridgeTopic(p *parser, value string) *fault {
	pattern, rest, f := cutPattern(value)
	if f != nil {
		return f
	}
	t := BridgeTopic{Pattern: pattern, Out: true}
	words := strings.Fields(rest)
	for i, w := range words {
		if w[0] == '#' { // a comment
			words = words[:i]
			break
		}
	}
	if len(words) > 0 {
		direction := strings.ToLower(words[0])
		t.Out, t.In = direction == "out" || direction == "both", direction == "in" || direction == "both"
		if !t.In && !t.Out {
			return faultf(fmt.Sprintf("Invalid bridge topic direction '%s'.", words[0]), "%q is not one of out, in, both", words[0])
		}
	}
	if len(words) > 1 {
		q, err := strconv.Atoi(words[1])
		if err != nil || q < 0 || q > 2 {
			return faultf(fmt.Sprintf("Invalid bridge QoS level '%s'.", words[1]), "%q is no QoS: it must be 0, 1 or 2", words[1])
		}
		t.QoS = q
	}
	if len(words) > 2 && words[2] != `""` {
		t.Local = words[2]
	}
	if len(words) > 3 && words[3] != `""` {
		t.Remote = words[3]
	}
	if len(words) > 4 {
		p.report(Warning, fmt.Sprintf("the words behind the remote prefix are not read: %q", strings.Join(words[4:], " ")), "")
	}
	if f := t.check(); f != nil {
		return f
	}
	p.bridge.Topics = append(p.bridge.Topics, t)
	return nil
}

// cutPattern takes the pattern off, which stands in quotes if it has spaces; "" is an empty one.
func cutPattern(value string) (pattern, rest string, f *fault) {
	if value[0] != '"' {
		pattern, rest, _ = strings.Cut(value, " ")
		return pattern, rest, nil
	}
	end := strings.IndexByte(value[1:], '"')
	if end < 0 {
		return "", "", faultf(fmt.Sprintf("Missing closing quote in topic value (%s).", value), "the pattern's closing quote is missing")
	}
	return value[1 : 1+end], value[end+2:], nil
}

func (t *BridgeTopic) check() *fault {
	if t.Pattern == "" && (t.Local == "" || t.Remote == "") {
		return faultf("Invalid bridge remap topic definition.", `without a pattern ("") both a local and a remote topic are needed`)
	}
	for _, prefix := range []string{t.Local, t.Remote} {
		filter := prefix + t.Pattern
		if filter == "" {
			continue
		}
		if err := topic.ValidFilter([]byte(filter)); err != nil {
			return faultf(fmt.Sprintf("Invalid bridge topic '%s'.", filter), "%q: %v", filter, err)
		}
	}
	return nil
}

func parseTCPKeepAlive(p *parser, value string) *fault {
	words := strings.Fields(value)
	if len(words) < 3 {
		return faultf("Empty 'bridge_tcp_keepalive' value in configuration.", "needs three numbers: idle and interval in seconds, and a count")
	}
	for i, what := range [...]string{"idle", "interval", "counter"} {
		n, f := number("bridge_tcp_keepalive_"+what, words[i])
		if f != nil {
			return f
		}
		if n <= 0 {
			return faultf(fmt.Sprintf("invalid TCP keepalive %s value.", what), "%d must be above 0", n)
		}
		p.bridge.TCPKeepAlive[i] = n
	}
	return nil
}

// parseRestart reads BASE [CAP [STABLE]] in seconds.
func parseRestart(p *parser, value string) *fault {
	words := strings.Fields(value)
	var n [3]int
	for i := range min(len(words), 3) {
		if words[i][0] == '#' {
			words = words[:i]
			break
		}
		var f *fault
		if n[i], f = number("restart_timeout", words[i]); f != nil {
			return f
		}
	}
	if n[0] < 1 || n[0] > 3600 {
		p.report(Notice, fmt.Sprintf("%d seconds are not possible: it must be from 1 to 3600", n[0]), "")
		n[0] = max(1, min(n[0], 3600))
	}
	switch {
	case len(words) > 1 && n[1] < n[0]:
		return faultf("backoff cap is lower than the base in restart_timeout.", "the cap, %d, is below the base, %d", n[1], n[0])
	case n[1] > 7200:
		p.report(Notice, fmt.Sprintf("%d seconds are too many for the cap: 7200 are taken", n[1]), "")
		n[1] = 7200
	case n[2] < 0:
		return faultf("stable connection period cannot be negative.", "the stable period is negative: %d", n[2])
	}
	p.bridge.Restart = Restart{seconds(n[0]), seconds(n[1]), seconds(n[2])}
	return nil
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// finishBridges looks at each section as a whole.
func (p *parser) finishBridges() {
	for _, b := range p.s.Bridges {
		fail := func(words, text string) {
			p.problems = append(p.problems, Problem{Position: b.Position, Severity: Failure, Option: "connection", Text: text, Words: words})
		}
		if len(b.Addresses) == 0 {
			fail("Invalid bridge configuration: no remote addresses defined.", fmt.Sprintf("connection %s has no address", b.Name))
		}
		if len(b.Topics) == 0 {
			fail("Invalid bridge configuration: no topics defined.", fmt.Sprintf("connection %s has no topic", b.Name))
		}
		if (b.CertFile == "") != (b.KeyFile == "") {
			fail("", fmt.Sprintf("connection %s: bridge_certfile and bridge_keyfile belong together", b.Name))
		}
		if b.LocalClientID == "" {
			continue
		}
		for _, other := range p.s.Bridges {
			if other != b && other.LocalClientID == b.LocalClientID && other.Line > b.Line {
				fail(fmt.Sprintf("Bridge local_clientid '%s' is not unique. Try changing or setting the local_clientid value for one of the bridges.", b.LocalClientID),
					fmt.Sprintf("connection %s has the local_clientid of the one at %s", b.Name, other.Position))
			}
		}
	}
	// What can be wrong in them has been said; here is why the rest does not help yet.
	for _, b := range p.s.Bridges {
		p.problems = append(p.problems, Problem{Position: b.Position, Severity: Failure, Option: "connection",
			Text: fmt.Sprintf("bridges are not supported by this version: connection %s would not run", b.Name)})
	}
}
