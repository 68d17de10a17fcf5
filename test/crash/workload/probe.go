package workload

import (
	"fmt"
	"net"

	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/test/crash/history"
)

// Probe looks at the retained messages of a broker, as a new subscriber does, and records them. It goes past the gate, so
// that it can be done before any other client is back.
func (l *Load) Probe(addr string, life int) error {
	c := newClient(l, fmt.Sprintf("probe-%d", l.probes.Add(1)), mqtt.V5)
	conn, err := net.DialTimeout("tcp", addr, dialTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	c.link = &link{conn: conn, life: life}
	if c.link.out, err = (&mqtt.Connect{Version: mqtt.V5, ClientID: []byte(c.id), CleanStart: true}).Append(nil); err != nil {
		return err
	}
	if f, err := c.link.next(answerTimeout); err != nil || f.Type != mqtt.CONNACK {
		return fmt.Errorf("probe: %v instead of CONNACK: %w", f.Type, err)
	}
	var sent history.Stamp
	if err := c.do(func(h *history.History) { sent = h.Tick() }); err != nil {
		return err
	}
	// At QoS 0 no window holds anything back.
	c.put(&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("r/#")}}})
	found := make(map[string]heard)
	for pinged := false; ; {
		f, err := c.link.next(answerTimeout)
		if err != nil {
			return fmt.Errorf("probe: %w", err)
		}
		switch f.Type {
		case mqtt.SUBACK:
			if !pinged { // its answer comes behind the retained messages
				pinged = true
				c.link.out = append(c.link.out, mqtt.PingreqBytes...)
			}
		case mqtt.PUBLISH:
			var p mqtt.Publish
			if err := p.Decode(f, mqtt.V5); err != nil {
				return fmt.Errorf("probe: %w", err)
			}
			stream, seq, ok := parsePayload(p.Payload)
			if !ok || stream.Topic != string(p.Topic) {
				c.anomaly(history.Corrupt, "retained on %s: %.100q", p.Topic, p.Payload)
			}
			found[string(p.Topic)] = heard{stream, seq}
		case mqtt.PINGRESP:
			return l.probed(&c, sent, found)
		default:
			return fmt.Errorf("probe: %w", c.unexpected(f))
		}
	}
}

// probed records what a probe found.
func (l *Load) probed(c *client, sent history.Stamp, found map[string]heard) error {
	return c.do(func(h *history.History) {
		got := h.Tick()
		for _, t := range l.retained {
			p := history.Probe{Topic: t, Sent: sent, Got: got, Stream: -1}
			if m, ok := found[t]; ok {
				p.Seq, p.Stream = m.seq, h.Find(m.stream, m.seq)
				delete(found, t)
			}
			h.Probes = append(h.Probes, p)
		}
		for t, m := range found {
			h.Probes = append(h.Probes, history.Probe{Topic: t, Sent: sent, Got: got, Seq: m.seq, Stream: h.Find(m.stream, m.seq)})
		}
	})
}
