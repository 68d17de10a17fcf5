package client_test

import (
	"fmt"
	"testing"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// TestQoS2Once checks that a message of QoS 2 is delivered once, however often
// it is sent, until PUBREL [MQTT-4.3.3].
func TestQoS2Once(t *testing.T) {
	f := newFake(t, mqtt.V5)
	messages := make(chan *client.Message, 10)
	_, p := f.connect(client.Options{ClientID: "me", SessionExpiry: 60, OnMessage: func(m *client.Message) { messages <- m }}, mqtt.Connack{})
	m := mqtt.Publish{QoS: 2, PacketID: 7, Topic: []byte("a"), Payload: []byte("1")}
	p.send(&m)
	p.expectAck(mqtt.PUBREC)
	m.Dup = true
	p.send(&m)
	p.expectAck(mqtt.PUBREC)
	p.conn.Close()

	p, _ = f.welcome(mqtt.Connack{SessionPresent: true})
	p.send(&m)
	if a := p.expectAck(mqtt.PUBREC); a.PacketID != 7 || a.Code.IsError() {
		t.Errorf("%+v", a)
	}
	for _, want := range []mqtt.ReasonCode{mqtt.Success, mqtt.PacketIdentifierNotFound} {
		p.send(&mqtt.Ack{Type: mqtt.PUBREL, PacketID: 7})
		if a := p.expectAck(mqtt.PUBCOMP); a.Code != want {
			t.Errorf("PUBCOMP with %v, want %v", a.Code, want)
		}
	}
	m.Payload = []byte("2") // the id is free again
	p.send(&m)
	p.expectAck(mqtt.PUBREC)
	got := receive(t, messages, 2)
	if string(got[0].Payload) != "1" || string(got[1].Payload) != "2" || got[0].Duplicate || got[0].PacketID != 7 {
		t.Errorf("%+v, %+v", got[0], got[1])
	}
	p.conn.Close()
	// A server that has lost the session starts afresh with its ids.
	p, _ = f.welcome(mqtt.Connack{})
	m.Payload = []byte("3")
	p.send(&m)
	p.expectAck(mqtt.PUBREC)
	if got := receive(t, messages, 1)[0]; string(got.Payload) != "3" {
		t.Errorf("%+v", got)
	}
	if len(messages) != 0 {
		t.Error("a message came twice")
	}
}

// TestManualAck checks that acknowledgements leave in the order of the messages
// [MQTT-4.6.0-2], whatever the order of Ack.
func TestManualAck(t *testing.T) {
	f := newFake(t, mqtt.V5)
	messages := make(chan *client.Message, 10)
	_, p := f.connect(client.Options{ManualAck: true, OnMessage: func(m *client.Message) { messages <- m }}, mqtt.Connack{})
	for id := range uint16(4) {
		p.send(&mqtt.Publish{QoS: byte(1 + id%2), PacketID: id + 1, Topic: []byte("a")})
	}
	got := receive(t, messages, 4)
	got[3].Ack()
	got[1].Reject(mqtt.QuotaExceeded)
	p.expectQuiet()
	got[0].Ack()
	got[0].Ack()
	if a := p.expectAck(mqtt.PUBACK); a.PacketID != 1 {
		t.Errorf("%+v", a)
	}
	if a := p.expectAck(mqtt.PUBREC); a.PacketID != 2 || a.Code != mqtt.QuotaExceeded {
		t.Errorf("%+v", a)
	}
	p.expectQuiet()
	got[2].Ack()
	if a := p.expectAck(mqtt.PUBACK); a.PacketID != 3 {
		t.Errorf("%+v", a)
	}
	if a := p.expectAck(mqtt.PUBREC); a.PacketID != 4 || a.Code != mqtt.Success {
		t.Errorf("%+v", a)
	}
	// The refused one is over: the server may use its id for something else.
	p.send(&mqtt.Publish{QoS: 2, PacketID: 2, Topic: []byte("new")})
	if m := receive(t, messages, 1)[0]; m.Topic != "new" {
		t.Errorf("%+v", m)
	}
}

// TestAckOfAnEarlierConnection checks that an acknowledgement does not meet
// another message of the same id on the next connection.
func TestAckOfAnEarlierConnection(t *testing.T) {
	f := newFake(t, mqtt.V5)
	messages := make(chan *client.Message, 10)
	_, p := f.connect(client.Options{ManualAck: true, ClientID: "me", SessionExpiry: 60, OnMessage: func(m *client.Message) { messages <- m }}, mqtt.Connack{})
	p.send(&mqtt.Publish{QoS: 1, PacketID: 1, Topic: []byte("a")}, &mqtt.Publish{QoS: 2, PacketID: 2, Topic: []byte("b")})
	old := receive(t, messages, 2)
	p.conn.Close()
	p, _ = f.welcome(mqtt.Connack{SessionPresent: true})
	p.send(&mqtt.Publish{QoS: 1, PacketID: 1, Topic: []byte("c")})
	c := receive(t, messages, 1)[0]
	old[0].Ack()
	old[1].Ack() // QoS 2 is remembered: PUBREC follows when the server sends it again
	p.expectQuiet()
	p.send(&mqtt.Publish{QoS: 2, Dup: true, PacketID: 2, Topic: []byte("b")})
	c.Ack()
	if a := p.expectAck(mqtt.PUBACK); a.PacketID != 1 {
		t.Errorf("%+v", a)
	}
	if a := p.expectAck(mqtt.PUBREC); a.PacketID != 2 {
		t.Errorf("%+v", a)
	}
}

// TestFullQueue checks that a slow handler makes the server wait, and that it
// may wait for the server's answer nevertheless.
func TestFullQueue(t *testing.T) {
	f := newFake(t, mqtt.V5)
	var c *client.Client
	ready := make(chan struct{})
	release := make(chan struct{})
	published := make(chan error, 1)
	var count int
	done := make(chan struct{})
	const n = 20
	c, p := f.connect(client.Options{Queue: 2, OnMessage: func(m *client.Message) {
		if count++; count == 1 {
			<-ready
			<-release
			_, err := c.Publish(testContext(t), &client.Message{Topic: "answer", QoS: 1})
			published <- err
		}
		if count == n {
			close(done)
		}
	}}, mqtt.Connack{})
	close(ready)
	for i := range n {
		p.send(&mqtt.Publish{Topic: fmt.Appendf(nil, "%d", i)})
	}
	close(release)
	m := p.expectPublish() // the PUBACK is behind more messages than the queue takes
	p.send(&mqtt.Ack{Type: mqtt.PUBACK, PacketID: m.PacketID})
	if err := await(t, "Publish", published); err != nil {
		t.Error(err)
	}
	await(t, "the last message", done)
}

// TestCloseWithFullQueue checks that a handler that hangs does not keep the
// connection.
func TestCloseWithFullQueue(t *testing.T) {
	f := newFake(t, mqtt.V311)
	started := make(chan struct{}, 100)
	release := make(chan struct{})
	c, p := f.connect(client.Options{Queue: 1, OnMessage: func(m *client.Message) {
		started <- struct{}{}
		<-release
	}}, mqtt.Connack{})
	for range 10 {
		p.send(&mqtt.Publish{Topic: []byte("a")})
	}
	await(t, "OnMessage", started)
	disconnected := background(func() error { return c.Disconnect(testContext(t)) })
	p.expect(mqtt.DISCONNECT)
	p.conn.Close()
	if err := await(t, "Disconnect", disconnected); err != nil {
		t.Error(err)
	}
	close(release)
}

// TestTopicAliasIn checks the aliases that the server may use.
func TestTopicAliasIn(t *testing.T) {
	aliased := func(topic string, alias uint16) *mqtt.Publish {
		m := &mqtt.Publish{Topic: []byte(topic)}
		m.Props.Has.Set(mqtt.PropTopicAlias)
		m.Props.TopicAlias = alias
		return m
	}
	f := newFake(t, mqtt.V5)
	messages := make(chan *client.Message, 10)
	o := client.Options{TopicAliasMaximum: 2, OnMessage: func(m *client.Message) { messages <- m }}
	_, p := f.connect(o, mqtt.Connack{})
	p.send(aliased("a", 1), aliased("b", 2), aliased("", 1), aliased("c", 1), aliased("", 1), aliased("", 2))
	want := []string{"a", "b", "a", "c", "c", "b"}
	for i, m := range receive(t, messages, len(want)) {
		if m.Topic != want[i] || m.Properties.TopicAlias == 0 {
			t.Errorf("message %d: %+v", i, m)
		}
	}
	p.conn.Close()
	p, _ = f.welcome(mqtt.Connack{})
	p.send(aliased("", 1)) // aliases end with their connection
	p.expectDisconnect(mqtt.ProtocolError)
	p.conn.Close()
	p, _ = f.welcome(mqtt.Connack{})
	p.send(aliased("x", 3))
	p.expectDisconnect(mqtt.TopicAliasInvalid)
}

// TestServerBreaksReceiveMaximum checks that the client holds the server to what
// it announced.
func TestServerBreaksReceiveMaximum(t *testing.T) {
	f := newFake(t, mqtt.V5)
	messages := make(chan *client.Message, 10)
	_, p := f.connect(client.Options{ReceiveMaximum: 2, ManualAck: true, OnMessage: func(m *client.Message) { messages <- m }}, mqtt.Connack{})
	p.send(&mqtt.Publish{QoS: 1, PacketID: 1, Topic: []byte("a")}, &mqtt.Publish{QoS: 2, PacketID: 2, Topic: []byte("a")})
	for _, m := range receive(t, messages, 2) {
		m.Ack()
	}
	p.expectAck(mqtt.PUBACK)
	p.expectAck(mqtt.PUBREC)
	p.send(&mqtt.Publish{QoS: 1, PacketID: 3, Topic: []byte("a")}) // id 2 is still open
	receive(t, messages, 1)[0].Ack()
	p.expectAck(mqtt.PUBACK)
	p.send(&mqtt.Ack{Type: mqtt.PUBREL, PacketID: 2})
	p.expectAck(mqtt.PUBCOMP)
	for id := range uint16(3) {
		p.send(&mqtt.Publish{QoS: 1, PacketID: 10 + id, Topic: []byte("a")})
	}
	p.expectDisconnect(mqtt.ReceiveMaximumExceeded)
}

// TestMalformed checks that a server that sends rubbish is told so and left.
func TestMalformed(t *testing.T) {
	for name, tt := range map[string]struct {
		bytes []byte
		code  mqtt.ReasonCode
	}{
		"type 0":          {[]byte{0, 0}, mqtt.MalformedPacket},
		"trailing bytes":  {[]byte{0xD0, 1, 0}, mqtt.MalformedPacket},
		"client's packet": {[]byte{0xC0, 0}, mqtt.ProtocolError},
		"second CONNACK":  {[]byte{0x20, 3, 0, 0, 0}, mqtt.ProtocolError},
		"unasked AUTH":    {[]byte{0xF0, 0}, mqtt.ProtocolError},
		"too large":       {[]byte{0x30, 0xFF, 0xFF, 0x03}, mqtt.PacketTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, mqtt.V5)
			lost := make(chan error, 10)
			_, p := f.connect(client.Options{MaximumPacketSize: 1000, OnDisconnect: func(err error) { lost <- err }}, mqtt.Connack{})
			p.sendRaw(tt.bytes)
			p.expectDisconnect(tt.code)
			p.conn.Close()
			if err := await(t, "OnDisconnect", lost); err == nil {
				t.Error("lost without an error")
			}
		})
	}
}

// TestLargeMessage checks a packet that is larger than every buffer.
func TestLargeMessage(t *testing.T) {
	f := newFake(t, mqtt.V311)
	messages := make(chan *client.Message, 10)
	c, p := f.connect(client.Options{OnMessage: func(m *client.Message) { messages <- m }}, mqtt.Connack{})
	big := make([]byte, 5<<20)
	for i := range big {
		big[i] = byte(i % 251)
	}
	go func() {
		_, _ = c.Publish(testContext(t), &client.Message{Topic: "a", Payload: big}) // the peer sees whether it came
	}()
	m := p.expectPublish()
	if string(m.Payload) != string(big) {
		t.Fatal("the payload was changed on its way out")
	}
	p.send(&m, &mqtt.Publish{Topic: []byte("small")})
	got := receive(t, messages, 2)
	if string(got[0].Payload) != string(big) || got[1].Topic != "small" {
		t.Fatal("the payload was changed on its way in")
	}
}
