package conformance

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/store/storetest"
)

// What the broker does when its store is slow or fails is no statement of the standard's, but what makes a PUBACK worth
// something: DESIGN sections 5 and 6. These tests speak raw packets to an embedded broker whose store they control.

// storeTest is a broker on a store, with the peers of a case.
type storeTest struct {
	*T
	b       *embeddedBroker
	store   *storetest.Late
	failing atomic.Pointer[func(storetest.Change) bool] // nil: nothing fails
}

// onStore runs a test for each engine and each of the versions.
func onStore(t *testing.T, versions []Version, run func(s *storeTest)) {
	for _, engine := range broker.Engines() {
		for _, v := range versions {
			t.Run(engine+"/"+v.String(), func(t *testing.T) {
				t.Parallel()
				s := new(storeTest)
				s.store = storetest.NewLate(storetest.LateOptions{Seed: 1, Fail: func(c storetest.Change) bool {
					f := s.failing.Load()
					return f != nil && (*f)(c)
				}})
				b, err := embedded{engine: engine, late: true}.start(Options{}, s.store)
				if err != nil {
					t.Fatal(err)
				}
				s.b = b
				c := Case{ID: "store", Version: v, Title: t.Name(), Run: func(ct *T) { s.T = ct; run(s) }}
				res := c.RunOn(embedded{engine: engine, late: true}, b)
				if err := b.shutdown(); err != nil {
					t.Errorf("stop: %v", err)
				}
				if res.Failure != "" {
					t.Errorf("%s\n%s\n%s", res.Failure, res.Transcript, b.Log())
				}
			})
		}
	}
}

var (
	allVersions = []Version{V31, V311, V5}
	oldAndNew   = []Version{V311, V5}
)

// fail has commits fail for which f holds; nil: none.
func (s *storeTest) fail(f func(storetest.Change) bool) {
	if f == nil {
		s.failing.Store(nil)
		return
	}
	s.failing.Store(&f)
}

// away makes a session with a subscription and leaves it.
func (s *storeTest) away(name, filter string, qos byte) (clientID string) {
	clientID = s.ClientID(name)
	p, _ := s.Session(clientID)
	p.Subscribe(filter, qos)
	p.Disconnect()
	s.store.Sync()
	return clientID
}

// stored are the payloads in the store's queue of a client.
func (s *storeTest) stored(clientID string) map[string]bool {
	s.store.Sync()
	got := map[string]bool{}
	if c := s.store.State().Sessions[clientID]; c != nil {
		for _, q := range c.Messages {
			got[string(q.M.Payload)] = true
		}
	}
	return got
}

// wantRefused: MQTT 5 names a code, before it the connection is closed; nothing else comes.
func (s *storeTest) wantRefused(p *Peer, ack byte, id uint16) {
	if s.Version != V5 {
		p.ExpectClosed()
		return
	}
	pkt := p.ExpectAck(ack, id)
	if pkt.Code < 0x80 {
		s.Fatalf("%s although the commit failed, want a code of 0x80 or more", pkt)
	}
	p.ExpectNothing()
}

// TestFailedCommitQoS1: a QoS 1 publish that cannot be stored is refused, and the broker goes on.
func TestFailedCommitQoS1(t *testing.T) {
	onStore(t, allVersions, func(s *storeTest) {
		topic := s.Topic("a")
		away := s.away("away", topic, 1)
		bystander := s.Client()
		s.fail(storetest.Change.Enqueues)
		p := s.Client()
		p.Send(Publish{Topic: topic, Payload: "lost", QoS: 1, ID: 7}.Bytes(s.Version))
		s.wantRefused(p, PUBACK, 7)
		bystander.ExpectNothing() // it lives
		s.fail(nil)
		s.Client().Publish(Publish{Topic: topic, Payload: "kept", QoS: 1})
		if got := s.stored(away); !got["kept"] || got["lost"] {
			s.Fatalf("the store has %v, want kept alone", got)
		}
		back, _ := s.Session(away)
		back.AwaitMatch("PUBLISH kept", func(q *Packet) bool { return q.Type == PUBLISH && q.Payload == "kept" })
	})
}

// TestFailedCommitQoS2: PUBREC of a message that cannot be stored refuses it; its packet id is then free.
func TestFailedCommitQoS2(t *testing.T) {
	onStore(t, oldAndNew, func(s *storeTest) {
		topic := s.Topic("a")
		sub := s.Client()
		sub.Subscribe(topic, 2)
		s.fail(storetest.Change.Receives)
		p, _ := s.Session(s.ClientID("p"))
		p.Send(Publish{Topic: topic, Payload: "x", QoS: 2, ID: 7}.Bytes(s.Version))
		s.wantRefused(p, PUBREC, 7)
		sub.ExpectNothing()
		s.fail(nil)
		dup := false
		if s.Version != V5 {
			p, _ = s.Session(s.ClientID("p")) // and sends what was not acknowledged again [MQTT-4.4.0-1]
			dup = true
		}
		p.Send(Publish{Topic: topic, Payload: "x", QoS: 2, ID: 7, Dup: dup}.Bytes(s.Version))
		s.wantCode(p.ExpectAck(PUBREC, 7), rcSuccess)
		p.Send(Ack(PUBREL, 7))
		s.wantCode(p.ExpectAck(PUBCOMP, 7), rcSuccess)
		sub.Receive(topic, "x", 2)
		sub.ExpectNothing()
	})
}

// TestFailedCommitPubrel: a message acknowledged by PUBREC is neither lost nor doubled when the commit that its PUBREL
// needs fails: the connection is closed without PUBCOMP, and PUBREL on the next one has it delivered.
func TestFailedCommitPubrel(t *testing.T) {
	onStore(t, oldAndNew, func(s *storeTest) {
		topic := s.Topic("a")
		away := s.away("away", topic, 2)
		sub := s.Client() // its copy needs no store, but its publisher's PUBREL does
		sub.Subscribe(topic, 2)
		p, _ := s.Session(s.ClientID("p"))
		p.Send(Publish{Topic: topic, Payload: "x", QoS: 2, ID: 7}.Bytes(s.Version))
		s.wantCode(p.ExpectAck(PUBREC, 7), rcSuccess)
		s.fail(storetest.Change.Frees)
		p.Send(Ack(PUBREL, 7))
		p.ExpectRefused(rcUnspecified)
		s.fail(nil)
		p, _ = s.Session(s.ClientID("p"))
		p.Send(Ack(PUBREL, 7))
		s.wantCode(p.ExpectAck(PUBCOMP, 7), rcSuccess)
		sub.Receive(topic, "x", 2)
		sub.ExpectNothing()
		back, _ := s.Session(away)
		back.Receive(topic, "x", 2)
		back.ExpectNothing()
		s.store.Sync()
		if n := len(s.store.State().Sessions[s.ClientID("p")].Received); n != 0 {
			s.Fatalf("the store still has %d incoming messages", n)
		}
	})
}

// TestLatePubrelOverReconnect: PUBCOMP waits for the commit also when PUBREL comes again on a new connection while it is
// under way.
func TestLatePubrelOverReconnect(t *testing.T) {
	onStore(t, oldAndNew, func(s *storeTest) {
		topic := s.Topic("a")
		away := s.away("away", topic, 2)
		p, _ := s.Session(s.ClientID("p"))
		p.Send(Publish{Topic: topic, Payload: "x", QoS: 2, ID: 7}.Bytes(s.Version))
		s.wantCode(p.ExpectAck(PUBREC, 7), rcSuccess)
		s.store.Sync()
		s.store.Hold()
		p.Send(Ack(PUBREL, 7))
		p.ExpectNothing()
		p.CloseWrite()
		p = s.Dial()
		again := Connect{ClientID: s.ClientID("p"), Props: []Prop{{ID: PropSessionExpiry, Int: 600}}, Version: s.Version}
		p.version = s.Version
		p.Send(again.Bytes(), Ack(PUBREL, 7))
		s.store.Release()
		if !p.Expect(CONNACK).SessionPresent {
			s.Fatalf("the session is gone")
		}
		// The first PUBREL has been stored before CONNACK; its loop may know of it or not, when the second comes.
		if pkt := p.ExpectAck(PUBCOMP, 7); pkt.Code != rcSuccess && pkt.Code != 0x92 {
			s.Fatalf("%s, want success, or that the packet id is not known", pkt)
		}
		if !s.stored(away)["x"] {
			s.Fatalf("PUBCOMP came, but the store has no message for its receiver")
		}
		back, _ := s.Session(away)
		back.Receive(topic, "x", 2)
		back.ExpectNothing()
	})
}

// TestFailedCommitRetained: a retained publish that cannot be stored is refused.
func TestFailedCommitRetained(t *testing.T) {
	onStore(t, oldAndNew, func(s *storeTest) {
		topic := s.Topic("a")
		s.Client().Publish(Publish{Topic: topic, Payload: "old", QoS: 1, Retain: true})
		s.fail(storetest.Change.Stores)
		p := s.Client()
		p.Send(Publish{Topic: topic, Payload: "new", QoS: 1, ID: 7, Retain: true}.Bytes(s.Version))
		s.wantRefused(p, PUBACK, 7)
		s.fail(nil)
		s.store.Sync()
		if m := s.store.State().Retained[topic]; m == nil || string(m.Payload) != "old" {
			s.Fatalf("the store has retained %v, want old", m)
		}
		s.Client().Publish(Publish{Topic: topic, Payload: "newest", QoS: 1, Retain: true})
		late := s.Client()
		late.Subscribe(topic, 1)
		late.Receive(topic, "newest", 1)
	})
}

// TestFailedCommitSubscribe: a subscription of a lasting session that cannot be stored is not granted.
func TestFailedCommitSubscribe(t *testing.T) {
	onStore(t, oldAndNew, func(s *storeTest) {
		id, topic := s.ClientID("s"), s.Topic("a")
		p, _ := s.Session(id)
		s.store.Sync()
		s.fail(storetest.Change.Subscribes)
		p.Send(Subscribe(s.Version, 5, nil, Sub{topic, 1}))
		if pkt, closed := p.nextOrClosed(); !closed && (pkt.Type != DISCONNECT && pkt.Type != SUBACK || pkt.Type == SUBACK && pkt.Codes[0] < 0x80) {
			s.Fatalf("SUBSCRIBE was answered by %s although its commit failed", pkt)
		}
		s.fail(nil)
		p, _ = s.Session(id)
		p.Subscribe(topic, 1)
		s.store.Sync()
		if n := s.store.State().Subscriptions(); n != 1 {
			s.Fatalf("%d subscriptions in the store, want 1", n)
		}
	})
}

// TestFailedCommitPubrec: when the PUBREC of a receiver cannot be stored, PUBREL does not leave, and the message still
// comes once.
func TestFailedCommitPubrec(t *testing.T) {
	onStore(t, oldAndNew, func(s *storeTest) {
		id, topic := s.ClientID("s"), s.Topic("a")
		sub, _ := s.Session(id)
		sub.Subscribe(topic, 2)
		s.Client().Publish(Publish{Topic: topic, Payload: "x", QoS: 2})
		m := sub.ExpectPublish(topic, "x", 2)
		s.fail(storetest.Change.Releases)
		sub.Send(Ack(PUBREC, m.ID))
		sub.ExpectRefused(rcUnspecified)
		s.fail(nil)
		sub, _ = s.Session(id)
		again := sub.ExpectPublish(topic, "x", 2)
		if !again.Dup || again.ID != m.ID {
			s.Fatalf("got %s, want the same packet identifier %d with DUP", again, m.ID)
		}
		sub.Acknowledge(again)
		sub.ExpectNothing()
	})
}

// TestLateCommitGates: what depends on a commit waits for it, what does not does not.
func TestLateCommitGates(t *testing.T) {
	onStore(t, oldAndNew, func(s *storeTest) {
		topic := s.Topic("a")
		away := s.away("away", topic, 1)
		sub, _ := s.Session(s.ClientID("s"))
		sub.Subscribe(topic, 2)
		p := s.Client()
		s.store.Sync()
		s.store.Hold()
		p.Send(Publish{Topic: topic, Payload: "one", QoS: 1, ID: 1}.Bytes(s.Version),
			Publish{Topic: s.Topic("nobody"), Payload: "x", QoS: 1, ID: 2}.Bytes(s.Version))
		p.ExpectNothing() // not even for 2, which stores nothing: acknowledgements keep their order [MQTT-4.6.0-2]
		sub.Receive(topic, "one", 1)
		s.Client().Publish(Publish{Topic: s.Topic("nobody"), Payload: "x", QoS: 2})
		s.store.Release()
		p.ExpectAck(PUBACK, 1)
		p.ExpectAck(PUBACK, 2)
		if !s.stored(away)["one"] {
			s.Fatalf("PUBACK came before the message was stored")
		}
		// An outgoing QoS 2 PUBLISH to a lasting session waits too.
		p.Send(Publish{Topic: topic, Payload: "two", QoS: 2, ID: 3}.Bytes(s.Version))
		p.ExpectAck(PUBREC, 3)
		s.store.Sync()
		s.store.Hold()
		p.Send(Ack(PUBREL, 3))
		p.ExpectNothing()
		sub.ExpectNothing()
		s.store.Release()
		p.ExpectAck(PUBCOMP, 3)
		sub.Receive(topic, "two", 2)
	})
}

// TestFailingAtRandom: with every third commit failing, nothing is acknowledged that is not in the store.
func TestFailingAtRandom(t *testing.T) {
	onStore(t, oldAndNew, func(s *storeTest) {
		topic := s.Topic("a")
		away := s.away("away", topic, 2)
		var n atomic.Uint32
		s.fail(func(c storetest.Change) bool { return c.Stores() && n.Add(1)%3 == 0 })
		acknowledged := map[string]bool{}
		const messages = 60
		p, id := s.Client(), uint16(0)
		refused := 0
		for i := range messages {
			payload := fmt.Sprint(i)
			id++
			p.Send(Publish{Topic: topic, Payload: payload, QoS: 1, ID: id}.Bytes(s.Version))
			pkt, closed := p.nextOrClosed()
			switch {
			case closed && s.Version != V5:
				p, id = s.Client(), 0
				refused++
			case !closed && pkt.Type == PUBACK && pkt.ID == id && pkt.Code < 0x80:
				acknowledged[payload] = true
			case !closed && pkt.Type == PUBACK && pkt.ID == id:
				refused++
			default:
				s.Fatalf("message %d: got %s, closed %t", i, pkt, closed)
			}
		}
		s.fail(nil)
		got := s.stored(away)
		for payload := range acknowledged {
			if !got[payload] {
				s.Fatalf("message %s was acknowledged and is not in the store", payload)
			}
		}
		if refused != messages/3 || len(acknowledged) != messages-refused {
			s.Fatalf("%d acknowledged, %d refused of %d; every third was to fail", len(acknowledged), refused, messages)
		}
	})
}
