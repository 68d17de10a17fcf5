package logging

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nightjar-mqtt/nightjar/broker"
)

// The sentences that scripts know from Mosquitto's log (2.1). What Nightjar knows more is put behind, in parentheses.

// sentence writes a line about a client as Mosquitto does. false: it is not of this kind.
func sentence(b *bytes.Buffer, l *line) bool {
	client := quote(l.get("client"))
	switch l.get(eventKey) {
	case broker.EventConnect:
		fmt.Fprintf(b, "New client connected from %s as %s (p%s, c%d, k%s", address(l), client, protocol(l.get("version")),
			bit(l.get("clean")), l.get("keepalive"))
		if user := l.get("user"); user != "" {
			fmt.Fprintf(b, ", u'%s'", quote(user))
		}
		b.WriteString(").")
	case broker.EventDisconnect, broker.EventRefused:
		ended(b, l, client)
	case broker.EventPublishRefused:
		fmt.Fprintf(b, "Denied PUBLISH from %s (q%s, r%d, '%s', ... (%s bytes))", client, l.get("qos"), bit(l.get("retain")),
			quote(l.get("topic")), l.get("bytes"))
		because(b, l.get("rule"))
	case broker.EventSubscribeRefused:
		fmt.Fprintf(b, "Denied SUBSCRIBE from %s to '%s'", client, quote(l.get("filter")))
		because(b, l.get("rule"))
	case broker.EventSubscribe:
		fmt.Fprintf(b, "%s %s %s", client, l.get("qos"), quote(l.get("filter")))
	case broker.EventUnsubscribe:
		fmt.Fprintf(b, "%s %s", client, quote(l.get("filter")))
	case broker.EventPacket:
		packet(b, l, client)
	default:
		return false
	}
	return true
}

func packet(b *bytes.Buffer, l *line, client string) {
	what := l.get("packet")
	if l.msg == "packet sent" {
		fmt.Fprintf(b, "Sending %s to %s", what, client)
		return
	}
	if l.get("client") == "" {
		client = "<unknown>"
	}
	fmt.Fprintf(b, "Received %s from %s", what, client)
	if topic := l.get("topic"); topic != "" {
		fmt.Fprintf(b, " (d%d, q%s, r%d, m%s, '%s', ... (%s bytes))", bit(l.get("dup")), l.get("qos"), bit(l.get("retain")), l.get("id"),
			quote(topic), l.get("bytes"))
	}
}

func ended(b *bytes.Buffer, l *line, client string) {
	if l.get("client") == "" {
		client = "<unknown>"
	}
	fmt.Fprintf(b, "Client %s [%s] ", client, address(l))
	switch cause := l.get("cause"); cause {
	case "", "disconnected":
		b.WriteString("disconnected.")
	case "closed its connection":
		b.WriteString("closed its connection.")
	default:
		b.WriteString("disconnected: ")
		switch reason := l.get("reason"); {
		case strings.HasPrefix(reason, cause):
			b.WriteString(unbracketed(reason))
		case reason != "":
			fmt.Fprintf(b, "%s (%s)", printable(cause), unbracketed(reason))
		default:
			b.WriteString(printable(cause))
		}
		b.WriteByte('.')
	}
}

func because(b *bytes.Buffer, rule string) {
	if rule != "" {
		b.WriteString(": ")
		b.WriteString(unbracketed(rule))
	}
}

// address is as Mosquitto prints it, HOST:PORT for IPv6 too. It is the socket's or a trusted proxy's word, not the client's.
func address(l *line) string {
	a := l.get("address")
	if host, port, err := net.SplitHostPort(a); err == nil {
		a = host + ":" + port
	}
	return printable(a)
}

// protocol gives Mosquitto's number of a protocol version.
func protocol(version string) string {
	switch version {
	case "3.1":
		return "1"
	case "3.1.1":
		return "2"
	}
	return version
}

func bit(s string) int {
	if s == "true" {
		return 1
	}
	return 0
}

// plain writes a line that has no sentence of Mosquitto's: its severity, message and attributes.
func plain(b *bytes.Buffer, l *line) {
	switch {
	case l.level >= slog.LevelError:
		b.WriteString("Error: ")
	case l.level >= slog.LevelWarn:
		b.WriteString("Warning: ")
	}
	b.WriteString(printable(l.msg))
	sep := ": "
	for i := range l.attrs {
		a := &l.attrs[i]
		if a.Key == eventKey {
			continue
		}
		b.WriteString(sep)
		b.WriteString(printable(a.Key))
		b.WriteByte('=')
		b.WriteString(quote(a.Value.String()))
		sep = " "
	}
}

// quote makes one word of what a client may have chosen. Most are one already and stay as they are; in others, whatever could
// end the word, the line, or pass for an address in brackets is escaped.
func quote(s string) string {
	if s != "" && strings.IndexFunc(s, suspicious) < 0 {
		return s
	}
	q := strconv.Quote(s)
	q = strings.ReplaceAll(q[1:len(q)-1], `\"`, `\x22`)
	return `"` + strings.ReplaceAll(q, "[", `\x5b`) + `"`
}

func suspicious(r rune) bool {
	return r == ' ' || r == '"' || r == '\'' || r == '\\' || r == '[' || r == utf8.RuneError || !strconv.IsPrint(r)
}

// unbracketed is printable for a text that may repeat what a client sent: it has no brackets but those around the number of a
// statement of the specification.
func unbracketed(s string) string {
	const mark = "[MQTT-"
	parts := strings.Split(printable(s), mark)
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], "[", `\x5b`)
	}
	return strings.Join(parts, mark)
}

// printable escapes what would begin a new line or steer a terminal.
func printable(s string) string {
	if strings.IndexFunc(s, unprintable) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unprintable(r) {
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func unprintable(r rune) bool { return r == utf8.RuneError || !strconv.IsPrint(r) }
