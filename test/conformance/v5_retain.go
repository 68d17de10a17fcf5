package conformance

// Retained messages: MQTT 5 §3.3.1.3 and the options of SUBSCRIBE about them.

// retain publishes a retained message.
func retain(t *T, topic, payload string, qos byte, props ...Prop) {
	t.Client().Publish(Publish{Topic: topic, Payload: payload, QoS: qos, Retain: true, Props: props})
}

// expectRetained takes the next PUBLISH, which must be a retained one with this payload.
func expectRetained(p *Peer, topic, payload string, qos byte) *Packet {
	m := p.Receive(topic, payload, qos)
	if !m.Retain {
		p.t.Fatalf("the retained message comes with RETAIN 0")
	}
	return m
}

func init() {
	v5("MQTT-3.3.1-5", "a retained message is replaced by the next, with its QoS", func(t *T) {
		topic := t.Topic("a")
		for _, q := range []byte{1, 0, 2} {
			retain(t, topic, "q"+itoa(int(q)), q)
			sub := t.subscriber(topic, 2)
			expectRetained(sub, topic, "q"+itoa(int(q)), q)
			sub.ExpectNothing()
		}
	})
	v5("MQTT-3.3.1-6", "an empty retained message is delivered and removes what was retained", func(t *T) {
		topic := t.Topic("a")
		retain(t, topic, "x", 1)
		sub := t.subscriber(topic, 1)
		expectRetained(sub, topic, "x", 1)
		retain(t, topic, "", 1)
		sub.Receive(topic, "", 1)
		t.subscriber(topic, 1).ExpectNothing()
	})
	v5("MQTT-3.3.1-7", "an empty retained message is not stored", func(t *T) {
		topic := t.Topic("a")
		retain(t, topic, "", 2, text(PropContentType, "ct"))
		t.subscriber(topic, 1).ExpectNothing()
	})
	v5("MQTT-3.3.1-8", "a message with RETAIN 0 leaves what is retained alone", func(t *T) {
		topic, other := t.Topic("a"), t.Topic("b")
		retain(t, topic, "kept", 1)
		pub := t.Client()
		pub.Publish(Publish{Topic: topic, Payload: "passing", QoS: 1})
		pub.Publish(Publish{Topic: topic, Payload: "", QoS: 1})
		pub.Publish(Publish{Topic: other, Payload: "passing", QoS: 1})
		sub := t.subscriber(topic, 1)
		expectRetained(sub, topic, "kept", 1)
		sub.ExpectNothing()
		t.subscriber(other, 1).ExpectNothing()
	})
	v5("MQTT-3.3.1-9", "Retain Handling 0 sends what is retained at every SUBSCRIBE", func(t *T) {
		retain(t, t.Topic("a"), "x", 1)
		retain(t, t.Topic("b"), "y", 1)
		p := t.Client()
		for range 2 {
			p.Subscribe(t.Topic("+"), 1)
			got := p.payloads(2)
			if got[0] > got[1] {
				got[0], got[1] = got[1], got[0]
			}
			t.wantStrings("retained", got, "x", "y")
			p.ExpectNothing()
		}
	})
	v5("MQTT-3.3.1-10", "Retain Handling 1 sends it only to a new subscription", func(t *T) {
		topic := t.Topic("a")
		retain(t, topic, "x", 1)
		p := t.subscriber(topic, 1|retainHandling1)
		expectRetained(p, topic, "x", 1)
		p.Subscribe(topic, 1|retainHandling1)
		p.Subscribe(topic, 2|retainHandling1)
		p.ExpectNothing()
		p.Unsubscribe(topic)
		p.Subscribe(topic, 1|retainHandling1)
		expectRetained(p, topic, "x", 1)
	})
}

func init() {
	v5("MQTT-3.3.1-11", "Retain Handling 2 sends nothing, live messages still come", func(t *T) {
		topic := t.Topic("a")
		retain(t, topic, "x", 1)
		p := t.subscriber(topic, 1|retainHandling2)
		p.ExpectNothing()
		retain(t, topic, "y", 1)
		p.Receive(topic, "y", 1)
	})
	v5("MQTT-3.3.1-12", "Retain As Published 0: live messages come with RETAIN 0", func(t *T) {
		topic := t.Topic("a")
		p := t.subscriber(topic, 1)
		for q := range byte(2) {
			retain(t, topic, "x", q)
			if m := p.Receive(topic, "x", q); m.Retain {
				t.Fatalf("a live message with RETAIN 1 and QoS %d", q)
			}
		}
	})
	v5("MQTT-3.3.1-13", "Retain As Published 1: live messages come with their own RETAIN", func(t *T) {
		topic := t.Topic("a")
		p, pub := t.subscriber(topic, 2|retainAsPublished), t.Client()
		for q := range byte(3) {
			for _, r := range []bool{true, false} {
				pub.Publish(Publish{Topic: topic, Payload: "x", QoS: q, Retain: r})
				if m := p.Receive(topic, "x", q); m.Retain != r {
					t.Fatalf("published with RETAIN %t, delivered with %t at QoS %d", r, m.Retain, q)
				}
			}
		}
	})
}
