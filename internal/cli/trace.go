package cli

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// tracer prints packets as Mosquitto's clients do with -d.
type tracer struct {
	version mqtt.Version

	mu sync.Mutex
	id string
}

// packet prints one packet. What cannot be decoded is an error elsewhere.
func (t *tracer) packet(sent bool, f mqtt.Frame) {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := t.detail(f)
	id := t.id
	if id == "" {
		id = "(null)"
	}
	way := "received"
	if sent {
		way = "sending"
	}
	fmt.Fprintf(os.Stdout, "Client %s %s %v%s\n", id, way, f.Type, text)
	if f.Type == mqtt.SUBACK {
		t.subscribed(f)
	}
}

func (t *tracer) detail(f mqtt.Frame) string {
	switch f.Type {
	case mqtt.CONNACK:
		var p mqtt.Connack
		if p.Decode(f, t.version) == nil {
			if p.Props.Has.Has(mqtt.PropAssignedClientID) {
				t.id = string(p.Props.AssignedClientID)
			}
			return fmt.Sprintf(" (%d)", p.Code)
		}
	case mqtt.PUBLISH:
		var p mqtt.Publish
		if p.Decode(f, t.version) == nil {
			return fmt.Sprintf(" (d%d, q%d, r%d, m%d, '%s', ... (%d bytes))", digit(p.Dup), p.QoS, digit(p.Retain), p.PacketID, p.Topic, len(p.Payload))
		}
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		var p mqtt.Ack
		if p.Decode(f, t.version) == nil {
			return fmt.Sprintf(" (Mid: %d, RC:%d)", p.PacketID, p.Code)
		}
	case mqtt.SUBSCRIBE:
		var p mqtt.Subscribe
		if p.Decode(f, t.version) == nil {
			var b strings.Builder
			fmt.Fprintf(&b, " (Mid: %d", p.PacketID)
			for _, s := range p.Subscriptions {
				fmt.Fprintf(&b, ", Topic: %s, QoS: %d, Options: 0x%02x", s.Filter, s.Options.QoS(), byte(s.Options)&^3)
			}
			return b.String() + ")"
		}
	case mqtt.UNSUBSCRIBE:
		var p mqtt.Unsubscribe
		if p.Decode(f, t.version) == nil {
			return fmt.Sprintf(" (Mid: %d, Topic: %s)", p.PacketID, p.Filters[0])
		}
	}
	return ""
}

// subscribed prints what a SUBACK granted.
func (t *tracer) subscribed(f mqtt.Frame) {
	var p mqtt.Suback
	if p.Decode(f, t.version) != nil {
		return
	}
	codes := make([]string, len(p.Codes))
	for i, c := range p.Codes {
		codes[i] = fmt.Sprint(byte(c))
	}
	fmt.Fprintf(os.Stdout, "Subscribed (mid: %d): %s\n", p.PacketID, strings.Join(codes, ", "))
}

func digit(b bool) int {
	if b {
		return 1
	}
	return 0
}
