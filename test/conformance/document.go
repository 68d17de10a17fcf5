package conformance

import (
	"fmt"
	"sort"
	"strings"
)

// Document is docs/conformance.md: every statement with its cases or the reason for none, the behaviours, and where
// mosquitto differs. It is made from the tables and the registered cases alone, so that it cannot drift from them.
func Document() string {
	var b strings.Builder
	b.WriteString(`<!-- Made by: go test ./test/conformance -run TestConformanceDoc -update. Do not edit. -->

# Conformance

The suite in [test/conformance](../test/conformance) holds a broker to every normative statement of MQTT 3.1.1 and
MQTT 5.0 that a server can be held to, with raw packets over a socket. It has an encoder and a decoder of its own and
shares no code with the broker. It runs

- against Nightjar as a process, built with the race detector, on both network engines. Cases that want what
  ` + "`nightjar serve`" + ` has no flag for (users, an ACL, enhanced authentication, response information) run there on a broker
  embedded in the test process, with hooks for them. No case is skipped on Nightjar;
- the same over TLS, WebSocket and both, with packets and frames that are not aligned;
- against the embedded broker, on both engines, with a store that answers commits late and in an order that is random
  between sessions. When a broker is stopped, its memory and its store must agree;
- against Debian's mosquitto 2.0.11, which tests the suite.

Tests of their own hold that nothing is acknowledged before it is stored or although storing failed
([failing_store_test.go](../test/conformance/failing_store_test.go)).

    go test ./test/conformance                                            everything
    go test ./test/conformance -run 'Nightjar/epoll/MQTT-3.1.2-24$'       one statement
    go test -race ./test/conformance -run 'Embedded/epoll/MQTT-3.1.2-24$' the same on the late store
    NIGHTJAR_CONFORMANCE_ADDR=127.0.0.1:1883 go test ./test/conformance -run Address    any broker that runs already
    NIGHTJAR_CONFORMANCE_WS_ADDR=127.0.0.1:8080                           where it listens for WebSocket

The statements are given in our own short words; the standards' text rules. A case is named by the statement it is for,
and by a part in parentheses where there are several.

`)
	documentTotals(&b)
	documentStatements(&b, "MQTT 3.1.1", V311, StatementsV311())
	documentStatements(&b, "MQTT 5.0", V5, StatementsV5())
	documentBehaviours(&b)
	documentDifferences(&b)
	return b.String()
}

func casesByID(v Version) map[string][]Case {
	byID := map[string][]Case{}
	for _, c := range Cases() {
		if c.Version == v {
			byID[c.ID] = append(byID[c.ID], c)
		}
	}
	return byID
}

func documentTotals(b *strings.Builder) {
	b.WriteString("## Totals\n\n")
	b.WriteString("| | statements | with a case | bind servers | of these with a case | cases |\n|---|---|---|---|---|---|\n")
	for _, t := range []struct {
		name       string
		v          Version
		statements []Statement
	}{{"MQTT 3.1.1", V311, StatementsV311()}, {"MQTT 5.0", V5, StatementsV5()}} {
		byID := casesByID(t.v)
		var with, server, serverWith, cases int
		for _, s := range t.statements {
			n := len(byID[s.ID])
			cases += n
			if n > 0 {
				with++
			}
			if s.Subject != Client {
				server++
				if n > 0 {
					serverWith++
				}
			}
		}
		fmt.Fprintf(b, "| %s | %d | %d | %d | %d | %d |\n", t.name, len(t.statements), with, server, serverWith, cases)
	}
	behaviours := 0
	for _, c := range Cases() {
		if !strings.HasPrefix(c.ID, "MQTT-") {
			behaviours++
		}
	}
	hooks := 0
	for _, c := range Cases() {
		if wantsHooks(c.Options) != nil {
			hooks++
		}
	}
	right := map[Verdict]int{}
	for _, d := range MosquittoDifferences() {
		right[d.Right]++
	}
	fmt.Fprintf(b, "\nBeside these, %d cases hold MQTT 3.1 and the behaviours of Mosquitto that clients rely on. Debian's mosquitto differs in %d of all\ncases: "+
		"in %d the standard is right, in %d both are allowed, in %d mosquitto 2.1 has come to do what the case asks.\n\n"+
		"%d cases run on the embedded broker alone.\n",
		behaviours, len(MosquittoDifferences()), right[StandardRight], right[BothAllowed], right[NewerMosquitto], hooks)
}

func documentStatements(b *strings.Builder, name string, v Version, statements []Statement) {
	fmt.Fprintf(b, "\n## %s\n\n| statement | binds | what it asks | cases, or why there is none |\n|---|---|---|---|\n", name)
	byID := casesByID(v)
	for _, s := range statements {
		cell := "none: " + cellText(s.Untestable)
		if cs := byID[s.ID]; len(cs) > 0 {
			cell = caseList(cs)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", s.ID, s.Subject, cellText(s.Text), cell)
	}
}

// caseList names cases of one statement: their titles, parts in parentheses.
func caseList(cases []Case) string {
	var titles []string
	for _, c := range cases {
		title := cellText(c.Title)
		if c.Part != "" {
			title += " (" + c.Part + ")"
		}
		titles = append(titles, title)
	}
	return strings.Join(titles, "; ")
}

func documentBehaviours(b *strings.Builder) {
	b.WriteString("\n## Behaviours of Mosquitto (B-), MQTT 3.1 (V31-), WebSocket frames (RFC6455-)\n\nWhat Mosquitto's clients and configurations rely on beyond the standards, or where these leave room; MQTT 3.1 and RFC 6455 number no statements.\n\n" +
		"| behaviour | MQTT 3.1 and 3.1.1 | MQTT 5.0 |\n|---|---|---|\n")
	old, v31, five := casesByID(V311), casesByID(V31), casesByID(V5)
	ids := map[string]bool{}
	for _, byID := range []map[string][]Case{old, v31, five} {
		for id := range byID {
			if !strings.HasPrefix(id, "MQTT-") {
				ids[id] = true
			}
		}
	}
	for _, id := range sortedKeys(ids) {
		fmt.Fprintf(b, "| %s | %s | %s |\n", id, caseList(append(v31[id], old[id]...)), caseList(five[id]))
	}
}

func documentDifferences(b *strings.Builder) {
	b.WriteString("\n## Where Debian's mosquitto 2.0.11 differs\n\n| case | right is | what mosquitto does |\n|---|---|---|\n")
	for _, key := range sortedKeys(MosquittoDifferences()) {
		d := MosquittoDifferences()[key]
		fmt.Fprintf(b, "| %s | %s | %s |\n", key, d.Right, cellText(d.Reason))
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// cellText keeps a text within its cell of a Markdown table, and plain.
func cellText(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`, "#", `\#`, "_", `\_`).Replace(s)
}
