package conformance

import "fmt"

// Section 3.1.2.5 to 3.1.2.7 and 3.14.4: the will.

func init() {
	register(
		Case{ID: "MQTT-3.1.2-8", Version: V311, Part: "close", Title: "a close without DISCONNECT sends the will", Run: willOnClose},
		Case{ID: "MQTT-3.1.2-8", Version: V311, Part: "error", Title: "a protocol error sends the will", Run: willOnError},
		Case{ID: "MQTT-3.1.2-8", Version: V311, Part: "stored", Title: "the will is sent to lasting sessions that are offline", Run: willToOffline},
		Case{ID: "MQTT-3.1.2-9", Version: V311, Title: "the will flag without will fields closes", Run: func(t *T) {
			t.eachConnectCloses(t.flagsCase("no will topic", 0x06),
				packetCase{"no will message", t.connectBody(0x06, Str(nil, t.Topic("w")))},
				packetCase{"will message cut short", t.connectBody(0x06, Str(nil, t.Topic("w")), []byte{0, 5, 'a'})})
		}},
		Case{ID: "MQTT-3.1.2-10", Version: V311, Title: "a will is sent once, and gone after DISCONNECT", Run: willOnce},
		Case{ID: "MQTT-3.1.2-11", Version: V311, Title: "will fields without the will flag are surplus and close", Run: func(t *T) {
			t.eachConnectCloses(packetCase{"will fields without flag", t.connectBody(0x02, Str(nil, t.Topic("w")), Str(nil, "x"))},
				t.flagsCase("will QoS and retain without flag", 0x2a))
		}},
		Case{ID: "MQTT-3.1.2-12", Version: V311, Title: "without the will flag nothing is sent", Run: func(t *T) {
			sub := t.Client()
			sub.Subscribe(t.Prefix()+"/#", 1)
			t.Client().CloseWrite()
			t.sentinelWill(sub)
		}},
		Case{ID: "MQTT-3.1.2-13", Version: V311, Title: "will QoS without the will flag closes", Run: func(t *T) {
			t.eachConnectCloses(t.flagsCase("will QoS 1", 0x0a), t.flagsCase("will QoS 2", 0x12), t.flagsCase("will QoS 3", 0x1a))
		}},
		Case{ID: "MQTT-3.1.2-14", Version: V311, Part: "qos3", Title: "will QoS 3 closes", Run: func(t *T) {
			t.eachConnectCloses(packetCase{"will QoS 3", t.connectBody(0x1e, Str(nil, t.Topic("w")), Str(nil, "x"))})
		}},
		Case{ID: "MQTT-3.1.2-14", Version: V311, Title: "the will is sent with its QoS", Run: willQoS},
		Case{ID: "MQTT-3.1.2-15", Version: V311, Title: "will retain without the will flag closes", Run: func(t *T) {
			t.eachConnectCloses(t.flagsCase("will retain", 0x22))
		}},
		Case{ID: "MQTT-3.1.2-16", Version: V311, Title: "will retain 0: not kept", Run: func(t *T) { willRetain(t, false) }},
		Case{ID: "MQTT-3.1.2-17", Version: V311, Title: "will retain 1: kept", Run: func(t *T) { willRetain(t, true) }},
		Case{ID: "MQTT-3.14.4-3", Version: V311, Title: "DISCONNECT discards the will", Run: func(t *T) {
			sub := t.Client()
			sub.Subscribe(t.Prefix()+"/#", 1)
			t.clientWithWill("w", Will{Topic: t.Topic("w"), Payload: "must not be seen", QoS: 1}).Disconnect()
			t.sentinelWill(sub)
		}},
	)
}

func (t *T) clientWithWill(name string, w Will) *Peer {
	p, _ := t.Connect(Connect{ClientID: t.ClientID(name), Clean: true, Will: &w})
	return p
}

// sentinelWill lets another client die with a will that sub gets, and expects sub to get nothing else before: a will that
// was wrongly sent for an earlier close would have come first. sub must be subscribed to Prefix/#.
func (t *T) sentinelWill(sub *Peer) {
	t.clientWithWill(fmt.Sprintf("sent%d", len(t.peers)), Will{Topic: t.Topic("sentinel"), Payload: "sentinel"}).CloseWrite()
	sub.Receive(t.Topic("sentinel"), "sentinel", 0)
	sub.ExpectNothing()
}

func willOnClose(t *T) {
	sub := t.Client()
	sub.Subscribe(t.Topic("w"), 2)
	t.clientWithWill("w", Will{Topic: t.Topic("w"), Payload: "gone"}).CloseWrite()
	sub.Receive(t.Topic("w"), "gone", 0)
	p := t.clientWithWill("w", Will{Topic: t.Topic("w"), Payload: "reset"})
	p.Close()
	sub.Receive(t.Topic("w"), "reset", 0)
}

func willOnError(t *T) {
	sub := t.Client()
	sub.Subscribe(t.Topic("w"), 1)
	p := t.clientWithWill("w", Will{Topic: t.Topic("w"), Payload: "error", QoS: 1})
	p.Send(Publish{Topic: t.Topic("#")}.Bytes(t.Version))
	p.ExpectClosed()
	sub.Receive(t.Topic("w"), "error", 1)
}

func willToOffline(t *T) {
	sub, _ := t.Session(t.ClientID("s"))
	sub.Subscribe(t.Topic("w"), 1)
	live := t.Client()
	live.Subscribe(t.Topic("w"), 1)
	sub.Disconnect()
	t.clientWithWill("w", Will{Topic: t.Topic("w"), Payload: "gone", QoS: 1}).CloseWrite()
	live.Receive(t.Topic("w"), "gone", 1)
	sub, _ = t.Session(t.ClientID("s"))
	sub.Receive(t.Topic("w"), "gone", 1)
}

func willOnce(t *T) {
	sub := t.Client()
	sub.Subscribe(t.Prefix()+"/#", 1)
	p, _ := t.Connect(Connect{ClientID: t.ClientID("w"), Will: &Will{Topic: t.Topic("w"), Payload: "first", QoS: 1}})
	p.CloseWrite()
	sub.Receive(t.Topic("w"), "first", 1)
	// The session lasts, its will does not.
	p, _ = t.Session(t.ClientID("w"))
	p.CloseWrite()
	t.sentinelWill(sub)
	// After DISCONNECT it is not sent when the client later dies without one.
	p, _ = t.Connect(Connect{ClientID: t.ClientID("w"), Will: &Will{Topic: t.Topic("w"), Payload: "second", QoS: 1}})
	p.Disconnect()
	p, _ = t.Session(t.ClientID("w"))
	p.CloseWrite()
	t.sentinelWill(sub)
}

func willQoS(t *T) {
	sub := t.Client()
	sub.Subscribe(t.Topic("w"), 2)
	for qos := byte(0); qos < 3; qos++ {
		t.clientWithWill("w", Will{Topic: t.Topic("w"), Payload: fmt.Sprint(qos), QoS: qos}).CloseWrite()
		sub.Receive(t.Topic("w"), fmt.Sprint(qos), qos)
	}
}

func willRetain(t *T, retain bool) {
	live := t.Client()
	live.Subscribe(t.Topic("w"), 1)
	t.clientWithWill("w", Will{Topic: t.Topic("w"), Payload: "gone", QoS: 1, Retain: retain}).CloseWrite()
	if pkt := live.Receive(t.Topic("w"), "gone", 1); pkt.Retain {
		t.Fatalf("RETAIN 1 for an established subscription")
	}
	late := t.Client()
	late.Subscribe(t.Topic("w"), 1)
	if retain && !late.Receive(t.Topic("w"), "gone", 1).Retain {
		t.Fatalf("RETAIN 0 for a new subscription")
	}
	late.ExpectNothing()
}
