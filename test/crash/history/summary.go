package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Summary counts violations by kind, and shows the first few of each.
func Summary(found []Violation) string {
	const shown = 5
	byKind := make(map[Kind][]Violation)
	for _, v := range found {
		byKind[v.Kind] = append(byKind[v.Kind], v)
	}
	kinds := make([]Kind, 0, len(byKind))
	for k := range byKind {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b Kind) int { return cmp.Compare(a, b) })
	out := ""
	for _, k := range kinds {
		out += fmt.Sprintf("%d × %s\n", len(byKind[k]), k)
		for _, v := range byKind[k][:min(shown, len(byKind[k]))] {
			out += "    " + v.Text + "\n"
		}
	}
	return out
}

// stories tell, for the first few clients that violations are about, what happened to their sessions, and when the broker died.
func (h *History) stories(found []Violation) string {
	const clients, lives, connections = 2, 6, 8
	var b strings.Builder
	var told []string
	for _, v := range found {
		if v.Client == "" || slices.Contains(told, v.Client) || len(told) == clients {
			continue
		}
		told = append(told, v.Client)
		fmt.Fprintf(&b, "%s:\n", v.Client)
		var own []string
		for _, c := range h.Connections {
			if c.Client == v.Client {
				own = append(own, fmt.Sprintf("    CONNECT at %d, clean %v, CONNACK at %d, session present %v\n", c.Sent, c.Clean, c.Acked, c.Present))
			}
		}
		b.WriteString(strings.Join(own[max(0, len(own)-connections):], ""))
		for i, s := range h.Sessions {
			if s.Client != v.Client {
				continue
			}
			fmt.Fprintf(&b, "    session %d, ended at %d\n", i, s.Ended)
			for _, sub := range s.Subs {
				fmt.Fprintf(&b, "        %s %s: %+v, UNSUBSCRIBE at %d, UNSUBACK at %d\n", sub.Group, sub.Filter, sub.Changes, sub.UnsubSent, sub.UnsubAcked)
			}
		}
	}
	if len(told) > 0 {
		fmt.Fprintf(&b, "the broker's last lives: %+v; now it is %d\n", h.Lives[max(0, len(h.Lives)-lives):], h.now)
	}
	return b.String()
}

// copies are the deliveries of a message to one session, or, with -1, to the members of shared groups.
func (h *History) copies(stream int32, seq uint32, session int) string {
	var b strings.Builder
	for i, s := range h.Sessions {
		for _, d := range s.Got {
			if d.Stream == stream && d.Seq == seq && (i == session || session < 0 && len(s.Subs) > 0 && s.Subs[0].Group != "") {
				fmt.Fprintf(&b, " %s at %d (QoS %d, packet id %d, DUP %v)", s.Client, d.At, d.QoS, d.ID, d.Dup)
			}
		}
	}
	return b.String()
}
