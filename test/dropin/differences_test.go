//go:build linux

package dropin

import (
	"regexp"
	"strings"
)

// rule is a difference that comes with many packets.
type rule struct {
	what, why string
	// level makes the answers alike where they differ in just this.
	level func(mosquitto, nightjar []string) (a, b []string)
}

var rules = []rule{
	{"MQTT 5: CONNACK has Server Keep Alive 65535 with Mosquitto", "2.0's default of max_keepalive is 65535, which it tells " +
		"those who ask for none. 2.1's default, and Nightjar's, is none", without(ofMosquitto, "CONNACK", ` server-keepalive=65535`)},
	{"MQTT 5: CONNACK has Maximum Packet Size 2000000 with Nightjar", "2.0 has no limit; this is the default of max_packet_size in 2.1",
		without(ofNightjar, "CONNACK", ` max-packet=2000000`)},
	{"MQTT 5: refusals have a Reason String with Nightjar", "it tells why, as the standard provides for [MQTT-3.2.2-19]; clients who " +
		"do not want it set Request Problem Information to 0", without(ofNightjar, "", ` reason=\S+`)},
	{"MQTT 5: PUBREC has 0x10, no matching subscribers, with Nightjar", "as PUBACK has with both; Mosquitto does not look for " +
		"subscribers before PUBREL", without(ofNightjar, "PUBREC", ` 0x10`)},
	{"MQTT 5: PUBACK has 0x10, no matching subscribers, with Nightjar when a subscription matches whose client may not get the " +
		"message", "the ACL file or No Local keep it from him, so that nobody gets it", without(ofNightjar, "PUBACK", ` 0x10`)},
	{"MQTT 5: a DISCONNECT with the reason comes before Nightjar closes", "2.0 just closes when another connection uses the client " +
		"id, and when a reload ends a session; [MQTT-3.1.4-3] asks for 0x8E in the first case", reasoned},
}

// reasoned takes out a DISCONNECT in front of a close that the other has without.
func reasoned(a, b []string) (x, y []string) {
	last := len(b) - 1
	if last > 0 && len(a) == last && a[last-1] == "closed" && strings.HasPrefix(b[last-1], "DISCONNECT ") {
		b = append(b[:last-1], "closed")
	}
	return a, b
}

// Whose answers a rule is about.
const (
	ofMosquitto = iota
	ofNightjar
)

// without takes a part out of the packets of a type that one of the brokers sends, where the other has none.
func without(whose int, typ, part string) func(a, b []string) (x, y []string) {
	re := regexp.MustCompile(part)
	return func(a, b []string) (x, y []string) {
		mine, other := a, b
		if whose == ofNightjar {
			mine, other = b, a
		}
		for i, s := range mine {
			if strings.HasPrefix(s, typ) && (i >= len(other) || !re.MatchString(other[i])) {
				mine[i] = re.ReplaceAllString(s, "")
			}
		}
		return a, b
	}
}
