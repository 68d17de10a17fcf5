package client_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// TestResume loses the connection with one message at each step of its way.
func TestResume(t *testing.T) {
	f := newFake(t, mqtt.V5)
	c, p := f.connect(client.Options{ClientID: "me", SessionExpiry: 60}, mqtt.Connack{})
	first := publish(t, c, &client.Message{Topic: "a", QoS: 1})
	second := publish(t, c, &client.Message{Topic: "b", QoS: 2})
	third := publish(t, c, &client.Message{Topic: "c", QoS: 2})
	for range 3 {
		if m := p.expectPublish(); m.Dup {
			t.Errorf("%s: DUP on the first delivery [MQTT-3.3.1-1]", m.Topic)
		}
	}
	p.send(&mqtt.Ack{Type: mqtt.PUBREC, PacketID: 2})
	p.expectAck(mqtt.PUBREL)
	p.conn.Close()

	p, connect := f.welcome(mqtt.Connack{SessionPresent: true})
	if connect.CleanStart {
		t.Error("the reconnection asks for a clean start")
	}
	if m := p.expectPublish(); !m.Dup || m.PacketID != 1 || string(m.Topic) != "a" {
		t.Errorf("first: %+v", m)
	}
	if a := p.expectAck(mqtt.PUBREL); a.PacketID != 2 {
		t.Errorf("second: %+v", a)
	}
	if m := p.expectPublish(); !m.Dup || m.PacketID != 3 || string(m.Topic) != "c" {
		t.Errorf("third: %+v", m)
	}
	p.send(&mqtt.Ack{Type: mqtt.PUBACK, PacketID: 1}, &mqtt.Ack{Type: mqtt.PUBCOMP, PacketID: 2}, &mqtt.Ack{Type: mqtt.PUBREC, PacketID: 3})
	p.expectAck(mqtt.PUBREL)
	p.send(&mqtt.Ack{Type: mqtt.PUBCOMP, PacketID: 3})
	for i, ch := range []<-chan outcome{first, second, third} {
		if o := await(t, "outcome", ch); o.err != nil {
			t.Errorf("message %d: %v", i+1, o.err)
		}
	}
}

// TestSessionLost loses the connection and finds that the server has forgotten.
func TestSessionLost(t *testing.T) {
	f := newFake(t, mqtt.V311)
	c, p := f.connect(client.Options{ClientID: "me", KeepSession: true}, mqtt.Connack{})
	subscribed := background(func() error {
		_, err := c.Subscribe(testContext(t), client.Subscription{Filter: "x/#", QoS: 1})
		return err
	})
	s := p.expectSubscribe()
	p.send(&mqtt.Suback{PacketID: s.PacketID, Codes: []mqtt.ReasonCode{1}})
	if err := await(t, "Subscribe", subscribed); err != nil {
		t.Fatal(err)
	}
	first := publish(t, c, &client.Message{Topic: "a", QoS: 1})
	second := publish(t, c, &client.Message{Topic: "b", QoS: 2})
	p.expectPublish()
	p.expectPublish()
	p.conn.Close()

	p, _ = f.welcome(mqtt.Connack{})
	if o := await(t, "outcome", second); !errors.Is(o.err, client.ErrSessionLost) {
		t.Errorf("QoS 2: %v", o.err)
	}
	m := p.expectPublish()
	if m.Dup || string(m.Topic) != "a" {
		t.Errorf("QoS 1: %+v", m)
	}
	if s := p.expectSubscribe(); string(s.Subscriptions[0].Filter) != "x/#" || s.Subscriptions[0].Options.QoS() != 1 {
		t.Errorf("subscribed again to %+v", s)
	}
	p.send(&mqtt.Ack{Type: mqtt.PUBACK, PacketID: m.PacketID})
	if o := await(t, "outcome", first); o.err != nil {
		t.Errorf("QoS 1: %v", o.err)
	}
}

// TestReceiveMaximum checks that no more is on its way than the server allows,
// also when it allows less after a reconnection [MQTT-3.3.4-7].
func TestReceiveMaximum(t *testing.T) {
	f := newFake(t, mqtt.V5)
	c, p := f.connect(client.Options{ClientID: "me", SessionExpiry: 60}, receiveMaximum(2))
	publish(t, c, &client.Message{Topic: "1", QoS: 1})
	publish(t, c, &client.Message{Topic: "2", QoS: 1})
	third := background(func() error {
		return c.PublishAsync(testContext(t), &client.Message{Topic: "3", QoS: 1}, nil)
	})
	p.expectPublish()
	p.expectPublish()
	if _, err := c.Publish(testContext(t), &client.Message{Topic: "QoS 0 needs no place"}); err != nil {
		t.Fatal(err)
	}
	p.expectPublish()
	p.expectQuiet()
	p.send(&mqtt.Ack{Type: mqtt.PUBACK, PacketID: 1})
	if m := p.expectPublish(); string(m.Topic) != "3" {
		t.Fatalf("%+v", m)
	}
	if err := await(t, "PublishAsync", third); err != nil {
		t.Fatal(err)
	}
	p.conn.Close()

	ack := receiveMaximum(1)
	ack.SessionPresent = true
	p, _ = f.welcome(ack)
	if m := p.expectPublish(); string(m.Topic) != "2" {
		t.Fatalf("%+v", m)
	}
	p.expectQuiet()
	p.send(&mqtt.Ack{Type: mqtt.PUBACK, PacketID: 2})
	if m := p.expectPublish(); string(m.Topic) != "3" || !m.Dup {
		t.Fatalf("%+v", m)
	}
}

func receiveMaximum(n uint16) mqtt.Connack {
	var ack mqtt.Connack
	ack.Props.Has.Set(mqtt.PropReceiveMaximum)
	ack.Props.ReceiveMaximum = n
	return ack
}

// TestReasonCodes checks what the server's codes become.
func TestReasonCodes(t *testing.T) {
	f := newFake(t, mqtt.V5)
	c, p := f.connect(client.Options{}, mqtt.Connack{})
	ch := publish(t, c, &client.Message{Topic: "a", QoS: 1})
	p.expectPublish()
	p.send(&mqtt.Ack{Type: mqtt.PUBACK, PacketID: 1, Code: mqtt.NoMatchingSubscribers})
	if o := await(t, "outcome", ch); o.err != nil || o.Code != mqtt.NoMatchingSubscribers {
		t.Errorf("%+v", o)
	}
	for qos, answer := range map[byte]mqtt.PacketType{1: mqtt.PUBACK, 2: mqtt.PUBREC} {
		ch := publish(t, c, &client.Message{Topic: "a/b", QoS: qos})
		refusal := &mqtt.Ack{Type: answer, PacketID: p.expectPublish().PacketID, Code: mqtt.NotAuthorized}
		refusal.Props.Has.Set(mqtt.PropReasonString)
		refusal.Props.ReasonString = []byte("rule 7")
		p.send(refusal)
		o := await(t, "outcome", ch)
		var refused *client.ReasonError
		if !errors.As(o.err, &refused) || refused.Code != mqtt.NotAuthorized || refused.Packet != answer ||
			o.err.Error() != `the server refused "a/b": Not authorized: rule 7` {
			t.Errorf("QoS %d: %v", qos, o.err)
		}
	}
	p.expectQuiet() // no PUBREL after a refused PUBREC
}

// TestServerLimits checks that what the server cannot take is not sent.
func TestServerLimits(t *testing.T) {
	f := newFake(t, mqtt.V5)
	var ack mqtt.Connack
	for _, id := range []mqtt.PropertyID{mqtt.PropMaximumQoS, mqtt.PropRetainAvailable, mqtt.PropMaximumPacketSize, mqtt.PropTopicAliasMaximum} {
		ack.Props.Has.Set(id)
	}
	ack.Props.MaximumQoS, ack.Props.MaximumPacketSize, ack.Props.TopicAliasMaximum = 1, 30, 2
	c, p := f.connect(client.Options{}, ack)
	for name, m := range map[string]client.Message{
		"QoS":        {Topic: "a", QoS: 2},
		"retain":     {Topic: "a", Retain: true},
		"size":       {Topic: "a", Payload: make([]byte, 30)},
		"alias":      {Topic: "a", Properties: client.Properties{TopicAlias: 3}},
		"wildcard":   {Topic: "a/#"},
		"no topic":   {},
		"bad QoS":    {Topic: "a", QoS: 3},
		"only alias": {Properties: client.Properties{TopicAlias: 1}},
	} {
		if _, err := c.Publish(testContext(t), &m); err == nil {
			t.Errorf("%s: sent", name)
		}
	}
	var refused *client.ReasonError
	_, err := c.Publish(testContext(t), &client.Message{Topic: "a", QoS: 1, Payload: make([]byte, 30)})
	if !errors.As(err, &refused) || refused.Code != mqtt.PacketTooLarge {
		t.Errorf("size: %v", err)
	}
	p.expectQuiet()
	// The alias: with its topic the first time, without it afterwards, until it is given another one.
	for i, m := range []struct{ topic, want string }{{"t", "t"}, {"t", ""}, {"u", "u"}, {"u", ""}} {
		if _, err := c.Publish(testContext(t), &client.Message{Topic: m.topic, Properties: client.Properties{TopicAlias: 2}}); err != nil {
			t.Fatal(err)
		}
		if got := p.expectPublish(); string(got.Topic) != m.want || got.Props.TopicAlias != 2 {
			t.Errorf("publish %d: %+v", i, got)
		}
	}
}

// TestPublishProperties checks that all properties of a message reach the wire.
func TestPublishProperties(t *testing.T) {
	f := newFake(t, mqtt.V5)
	c, p := f.connect(client.Options{}, mqtt.Connack{})
	_, err := c.Publish(testContext(t), &client.Message{Topic: "a", Retain: true, Payload: []byte("x"), Properties: client.Properties{
		PayloadFormat: new(byte(1)), MessageExpiry: new(uint32(0)), ContentType: "text", ResponseTopic: "r",
		CorrelationData: []byte{}, User: []client.UserProperty{{Key: "k", Value: "1"}, {Key: "k", Value: "2"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	m := p.expectPublish()
	w := &m.Props
	if !m.Retain || w.PayloadFormat != 1 || !w.Has.Has(mqtt.PropMessageExpiry) || string(w.ContentType) != "text" || string(w.ResponseTopic) != "r" ||
		!w.Has.Has(mqtt.PropCorrelationData) || len(w.User) != 2 || string(w.User[1].Value) != "2" {
		t.Errorf("%+v", m)
	}
}

// TestPublishWaits checks what Publish does while there is no connection.
func TestPublishWaits(t *testing.T) {
	f := newFake(t, mqtt.V311)
	lost := make(chan error, 10)
	c, p := f.connect(client.Options{OnDisconnect: func(err error) { lost <- err }}, mqtt.Connack{})
	p.conn.Close()
	if err := await(t, "OnDisconnect", lost); !errors.Is(err, io.EOF) {
		t.Errorf("lost: %v", err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Publish(ctx, &client.Message{Topic: "a"}); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	sent := background(func() error {
		_, err := c.Publish(testContext(t), &client.Message{Topic: "b", QoS: 1})
		return err
	})
	p, connect := f.welcome(mqtt.Connack{})
	if !connect.CleanStart {
		t.Error("the session was clean, the reconnection is not")
	}
	if m := p.expectPublish(); string(m.Topic) != "b" {
		t.Errorf("%+v", m)
	}
	p.send(&mqtt.Ack{Type: mqtt.PUBACK, PacketID: 1})
	if err := await(t, "Publish", sent); err != nil {
		t.Error(err)
	}

	// A context that ends leaves the message on its way.
	ctx, cancel = context.WithCancel(context.Background())
	sent = background(func() error {
		_, err := c.Publish(ctx, &client.Message{Topic: "c", QoS: 1})
		return err
	})
	p.expectPublish()
	cancel()
	if err := await(t, "Publish", sent); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// What waits for a client that ends is told so.
	ch := publish(t, c, &client.Message{Topic: "d", QoS: 2})
	c.Close()
	if o := await(t, "outcome", ch); !errors.Is(o.err, client.ErrClosed) {
		t.Errorf("after Close: %v", o.err)
	}
	if _, err := c.Publish(testContext(t), &client.Message{Topic: "e"}); !errors.Is(err, client.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestWrongAcks checks that a server that mixes up the steps is left.
func TestWrongAcks(t *testing.T) {
	for name, tt := range map[string]struct {
		qos    byte
		answer mqtt.PacketType
	}{"PUBACK for QoS 2": {2, mqtt.PUBACK}, "PUBREC for QoS 1": {1, mqtt.PUBREC}, "early PUBCOMP": {2, mqtt.PUBCOMP}} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, mqtt.V5)
			c, p := f.connect(client.Options{NoReconnect: true}, mqtt.Connack{})
			ch := publish(t, c, &client.Message{Topic: "a", QoS: tt.qos})
			p.expectPublish()
			p.send(&mqtt.Ack{Type: tt.answer, PacketID: 1})
			p.expectDisconnect(mqtt.ProtocolError)
			p.conn.Close()
			var broken *mqtt.Error
			if o := await(t, "outcome", ch); !errors.As(o.err, &broken) {
				t.Errorf("%v", o.err)
			}
			<-c.Done()
			if !errors.As(c.Err(), &broken) {
				t.Errorf("Err: %v", c.Err())
			}
		})
	}
	// One that nothing waits for is no mistake: it may belong to an earlier session.
	f := newFake(t, mqtt.V5)
	_, p := f.connect(client.Options{}, mqtt.Connack{})
	p.send(&mqtt.Ack{Type: mqtt.PUBACK, PacketID: 9}, &mqtt.Ack{Type: mqtt.PUBCOMP, PacketID: 9}, &mqtt.Ack{Type: mqtt.PUBREC, PacketID: 9})
	if a := p.expectAck(mqtt.PUBREL); a.Code != mqtt.PacketIdentifierNotFound {
		t.Errorf("PUBREL: %+v", a)
	}
}
