package session_test

import (
	"fmt"
	"testing"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Long: one story, told once for each of two ways.
//
// A client holds one acknowledgement back while tens of thousands of messages go by, or
// expire while they wait. Its packet id is used for no other message meanwhile [MQTT-2.2.1-4].
func TestPacketIDNeverReusedInFlight(t *testing.T) {
	for _, expiring := range []bool{false, true} {
		t.Run(fmt.Sprintf("expiring=%v", expiring), func(t *testing.T) {
			lim := &session.Limits{MaxInflight: 20, MaxQueued: 1000, OutboxBytes: 1 << 20, Outboxes: new(outbox.Budget)}
			turn := &session.Turn{Now: 1000, NewBatch: func() session.Batch { return nothing{} }}
			s := session.New(&message.Identity{ClientID: "c"}, 1, 1, lim)
			var l *link
			attach := func() {
				l = &link{}
				s.Attach(turn, session.Link{ID: s.ID(), Conn: l, V5: true, Expiry: 100, Connack: []byte{0x20, 3, 0, 0, 0}})
				s.Pump(turn)
			}
			var pub session.Publication
			deliver := func(payload string, expires int64) {
				pub.Start(&message.Message{Topic: "t", Payload: []byte(payload), QoS: 1, Expires: expires}, turn.Now)
				s.Deliver(turn, &pub, &session.Grant{QoS: 1}, s.SubEpoch())
			}
			held, last := map[uint16]string{}, ""
			acknowledge := func() {
				turn.Flush()
				for _, f := range l.take(nil) {
					var p mqtt.Publish
					if f.Type != mqtt.PUBLISH || p.Decode(f, mqtt.V5) != nil {
						continue
					}
					if was, used := held[p.PacketID]; used && was != string(p.Payload) {
						t.Fatalf("packet id %d of %q, which is in flight, is used for %q", p.PacketID, was, p.Payload)
					}
					held[p.PacketID], last = string(p.Payload), string(p.Payload)
					if last != "held" {
						s.Puback(turn, p.PacketID)
						delete(held, p.PacketID)
					}
				}
				s.Pump(turn)
			}
			attach()
			deliver("held", 0)
			acknowledge()
			if expiring {
				s.Detach(turn)
			}
			for i := range 66_400 {
				turn.Now++
				if expiring && i < 65_534 { // the next one has the same packet id as the first
					deliver(fmt.Sprint(i), turn.Now+1)
				} else {
					deliver(fmt.Sprint(i), 0)
				}
				if !expiring {
					acknowledge()
				}
			}
			if expiring {
				attach()
			}
			for range 100 {
				acknowledge()
			}
			for id := range held { // at last
				s.Puback(turn, id)
				delete(held, id)
			}
			s.Pump(turn)
			for range 100 {
				acknowledge()
			}
			if f := s.Figures(); expiring && last != "66399" || f.Queued+f.Inflight > 0 {
				t.Errorf("the last message delivered is %q; %d are queued, %d in flight", last, f.Queued, f.Inflight)
			}
		})
	}
}
