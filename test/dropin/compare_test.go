//go:build linux

package dropin

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	mqtt "github.com/nightjar-mqtt/nightjar/test/conformance"
)

var propNames = map[byte]string{
	mqtt.PropPayloadFormat: "format", mqtt.PropMessageExpiry: "expiry", mqtt.PropContentType: "type", mqtt.PropResponseTopic: "response",
	mqtt.PropCorrelationData: "corr", mqtt.PropSubscriptionID: "subscription", mqtt.PropSessionExpiry: "session-expiry",
	mqtt.PropAssignedClientID: "assigned-id", mqtt.PropServerKeepAlive: "server-keepalive", mqtt.PropReasonString: "reason",
	mqtt.PropReceiveMaximum: "receive-max", mqtt.PropTopicAliasMaximum: "alias-max", mqtt.PropTopicAlias: "alias",
	mqtt.PropMaximumQoS: "max-qos", mqtt.PropRetainAvailable: "retain-available", mqtt.PropUser: "user",
	mqtt.PropMaximumPacketSize: "max-packet", mqtt.PropWildcardAvailable: "wildcards", mqtt.PropSubIDAvailable: "subscription-ids",
	mqtt.PropSharedAvailable: "shared", mqtt.PropAuthMethod: "auth-method", mqtt.PropAuthData: "auth-data",
	mqtt.PropResponseInfo: "response-info", mqtt.PropServerReference: "server-reference",
}

// uuid is the part of a client id that a server makes up.
var uuid = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`)

var digits = regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)

// text is a packet as it is compared: without packet identifiers, properties by name.
func text(p *mqtt.Packet) string {
	var b strings.Builder
	b.WriteString(mqtt.TypeName(p.Type))
	switch p.Type {
	case mqtt.CONNACK:
		fmt.Fprintf(&b, " 0x%02X", p.Code)
		if p.SessionPresent {
			b.WriteString(" session")
		}
	case mqtt.PUBLISH:
		payload := p.Payload
		if strings.HasPrefix(p.Topic, "$SYS/") { // figures and log lines
			payload = digits.ReplaceAllString(payload, "N")
		}
		if len(payload) > 30 && !strings.Contains(payload, " ") {
			payload = fmt.Sprintf("%.10s… (%d bytes)", payload, len(payload))
		}
		fmt.Fprintf(&b, " %s %q", p.Topic, payload)
		if p.QoS > 0 {
			fmt.Fprintf(&b, " q%d", p.QoS)
		}
		if p.Retain {
			b.WriteString(" retain")
		}
		if p.Dup {
			b.WriteString(" dup")
		}
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP, mqtt.DISCONNECT, mqtt.AUTH:
		if p.Code != 0 {
			fmt.Fprintf(&b, " 0x%02X", p.Code)
		}
	case mqtt.SUBACK, mqtt.UNSUBACK:
		for _, c := range p.Codes {
			fmt.Fprintf(&b, " 0x%02X", c)
		}
	}
	var props []string
	for _, q := range p.Props {
		switch {
		case q.ID == mqtt.PropReceiveMaximum && q.Int == 65535: // what its absence means
		case q.ID == mqtt.PropMessageExpiry: // to ten seconds, so that a slow machine is none
			props = append(props, fmt.Sprintf("%s=%d", propNames[q.ID], (q.Int+9)/10*10))
		case q.ID == mqtt.PropUser:
			props = append(props, fmt.Sprintf("%s=%s:%s", propNames[q.ID], q.Key, q.Str))
		case q.Str != "":
			props = append(props, propNames[q.ID]+"="+strings.ReplaceAll(q.Str, " ", "_"))
		default:
			props = append(props, fmt.Sprintf("%s=%d", propNames[q.ID], q.Int))
		}
	}
	sort.Strings(props)
	for _, q := range props {
		b.WriteString(" " + q)
	}
	return uuid.ReplaceAllString(b.String(), "UUID")
}

// inOrder sorts retained messages that stand side by side: SUBSCRIBE brings them in any order.
func inOrder(in []string) []string {
	out := slices.Clone(in)
	kept := func(s string) bool { return strings.HasPrefix(s, "PUBLISH ") && strings.Contains(s+" ", " retain ") }
	for i := 0; i < len(out); {
		j := i
		for j < len(out) && kept(out[j]) {
			j++
		}
		sort.Strings(out[i:j])
		i = max(j, i+1)
	}
	return out
}

// found is a difference between the answers to a line.
type found struct {
	title, line, client string
	mosquitto, nightjar string
}

func (f found) String() string {
	return fmt.Sprintf("== %s\n   %s\n   %s of Mosquitto: %s\n   %s of Nightjar:  %s", f.title, f.line, f.client, f.mosquitto, f.client, f.nightjar)
}

// compare finds where the brokers differ, apart from what the rules allow. used counts how often each does.
func compare(c conversation, mosquitto, nightjar answers, used map[string]int) (all []found) {
	for i, line := range c.lines {
		var clients []string
		for _, a := range []answers{mosquitto, nightjar} {
			for name := range a[i] {
				if !slices.Contains(clients, name) {
					clients = append(clients, name)
				}
			}
		}
		sort.Strings(clients)
		for _, name := range clients {
			theirs, ours := inOrder(mosquitto[i][name]), inOrder(nightjar[i][name])
			if slices.Equal(theirs, ours) {
				continue
			}
			theirs, ours = applyRules(theirs, ours, used)
			if !slices.Equal(theirs, ours) {
				all = append(all, found{c.title, line, name, join(theirs), join(ours)})
			}
		}
	}
	return all
}

func join(events []string) string {
	if len(events) == 0 {
		return "nothing"
	}
	return strings.Join(events, "; ")
}

// applyRules takes out what a rule allows, and counts the rules that were needed.
func applyRules(theirs, ours []string, used map[string]int) (a, b []string) {
	a, b = slices.Clone(theirs), slices.Clone(ours)
	for _, r := range rules {
		x, y := r.level(slices.Clone(a), slices.Clone(b))
		if !slices.Equal(x, a) || !slices.Equal(y, b) {
			used[r.what]++
			a, b = x, y
		}
	}
	return a, b
}
