package workload

import (
	"context"
	"fmt"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Knock has a client of its own publish something that has to be stored, until it is accepted or ctx ends. It goes through
// the gate, and is no part of the history.
func (l *Load) Knock(ctx context.Context) error {
	err := ctx.Err()
	for ctx.Err() == nil {
		if err = l.knock(ctx); err == nil {
			return nil
		}
		pause(ctx, 10*time.Millisecond)
	}
	return fmt.Errorf("a publish is not accepted: %w", err)
}

func (l *Load) knock(ctx context.Context) error {
	conn, life, err := l.Gate.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := newClient(l, fmt.Sprintf("knock-%d", l.probes.Add(1)), mqtt.V5)
	c.link = &link{conn: conn, life: life}
	if c.link.out, err = (&mqtt.Connect{Version: mqtt.V5, ClientID: []byte(c.id), CleanStart: true}).Append(nil); err != nil {
		return err
	}
	c.put(&mqtt.Publish{QoS: 1, Retain: true, Topic: []byte("knock"), PacketID: 1, Payload: []byte(c.id)})
	for {
		f, err := c.link.next(answerTimeout)
		switch {
		case err != nil:
			return err
		case f.Type == mqtt.CONNACK:
			var ack mqtt.Connack
			if err := ack.Decode(f, mqtt.V5); err != nil || ack.Code != 0 {
				return fmt.Errorf("CONNACK with %v (%w)", ack.Code, err)
			}
		case f.Type == mqtt.PUBACK:
			ack := mqtt.Ack{Type: f.Type}
			if err := ack.Decode(f, mqtt.V5); err != nil {
				return err
			}
			if ack.Code.IsError() {
				return fmt.Errorf("PUBACK with %v (%#x) %q", ack.Code, byte(ack.Code), ack.Props.ReasonString)
			}
			return nil
		default:
			return c.unexpected(f)
		}
	}
}
