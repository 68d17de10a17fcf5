// Command v5 runs the interop steps with github.com/eclipse/paho.golang (MQTT 5).
package main

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/nightjar-mqtt/nightjar/test/interop/goclients/steps"
)

func main() { steps.Main("gov5", open, steps.Step{Name: "properties", Run: properties}) }

type peer struct {
	client  *paho.Client
	conn    net.Conn
	present bool
	inbox   chan steps.Message
	props   chan *paho.PublishProperties // of each message in inbox
}

func open(o steps.Options) (steps.Peer, error) {
	conn, err := o.Dial()
	if err != nil {
		return nil, err
	}
	if o.TLS != nil {
		conn = packets.NewThreadSafeConn(conn) // the library writes a packet in parts, which only TCP joins
	}
	p := &peer{conn: conn, inbox: make(chan steps.Message, 100), props: make(chan *paho.PublishProperties, 100)}
	p.client = paho.NewClient(paho.ClientConfig{
		Conn:              conn,
		PacketTimeout:     steps.Wait,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){p.arrive},
	})
	expiry := uint32(300)
	if o.Clean {
		expiry = 0
	}
	connect := &paho.Connect{ClientID: o.ClientID, CleanStart: o.Clean, KeepAlive: 60,
		Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry}}
	if o.Will != "" {
		connect.WillMessage = &paho.WillMessage{QoS: 1, Topic: o.WillTopic, Payload: []byte(o.Will)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), steps.Wait)
	defer cancel()
	connack, err := p.client.Connect(ctx, connect)
	if err != nil {
		conn.Close()
		return nil, err
	}
	p.present = connack.SessionPresent
	return p, nil
}

func (p *peer) arrive(r paho.PublishReceived) (bool, error) {
	m := r.Packet
	p.inbox <- steps.Message{Topic: m.Topic, Text: string(m.Payload), QoS: m.QoS, Retain: m.Retain}
	p.props <- m.Properties
	return true, nil
}

func (p *peer) SessionPresent() bool        { return p.present }
func (p *peer) Inbox() <-chan steps.Message { return p.inbox }

func (p *peer) Subscribe(filter string, qos byte) error { return p.subscribe(filter, qos, nil) }

func (p *peer) subscribe(filter string, qos byte, props *paho.SubscribeProperties) error {
	ctx, cancel := context.WithTimeout(context.Background(), steps.Wait)
	defer cancel()
	suback, err := p.client.Subscribe(ctx, &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos}}, Properties: props})
	if err != nil {
		return fmt.Errorf("SUBSCRIBE to %s: %w", filter, err)
	}
	if got := suback.Reasons[0]; got != qos {
		return fmt.Errorf("SUBACK of %s: got %#x, want %d", filter, got, qos)
	}
	return nil
}

func (p *peer) Publish(m steps.Message) error { return p.publish(m, nil) }

func (p *peer) publish(m steps.Message, props *paho.PublishProperties) error {
	ctx, cancel := context.WithTimeout(context.Background(), steps.Wait)
	defer cancel()
	_, err := p.client.Publish(ctx, &paho.Publish{
		QoS: m.QoS, Retain: m.Retain, Topic: m.Topic, Payload: []byte(m.Text), Properties: props})
	return err
}

func (p *peer) Close() error {
	if err := p.client.Disconnect(&paho.Disconnect{}); err != nil {
		return fmt.Errorf("DISCONNECT: %w", err)
	}
	<-p.client.Done()
	return nil
}

func (p *peer) Drop() error { return p.conn.Close() }

func properties(e *steps.Env) error {
	s, err := e.Peer("sub")
	if err != nil {
		return err
	}
	sub := s.(*peer)
	id, format, expiry := 7, byte(1), uint32(100)
	if err := sub.subscribe(e.Prefix+"prop", 1, &paho.SubscribeProperties{SubscriptionIdentifier: &id}); err != nil {
		return err
	}
	want := &paho.PublishProperties{
		ContentType: "text/plain", ResponseTopic: e.Prefix + "reply", CorrelationData: []byte{0, 1, 255},
		PayloadFormat: &format, MessageExpiry: &expiry,
		User: paho.UserProperties{{Key: "k", Value: "1"}, {Key: "k", Value: "2"}, {Key: "a", Value: "z"}},
	}
	p, err := e.Peer("pub")
	if err != nil {
		return err
	}
	if err := p.(*peer).publish(steps.Message{Topic: e.Prefix + "prop", Text: "x", QoS: 1}, want); err != nil {
		return err
	}
	if err := e.Expect(sub, "message", steps.Message{Topic: "prop", Text: "x", QoS: 1}); err != nil {
		return err
	}
	var got *paho.PublishProperties
	select {
	case got = <-sub.props:
	case <-time.After(steps.Wait):
		return fmt.Errorf("no properties within %v", steps.Wait)
	}
	if got.MessageExpiry == nil || *got.MessageExpiry > expiry || *got.MessageExpiry < expiry-10 {
		return fmt.Errorf("message expiry left: got %v, want %d or little less", got.MessageExpiry, expiry)
	}
	got.MessageExpiry = &expiry
	want.SubscriptionIdentifier = &id
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("properties: got %+v, want %+v", got, want)
	}
	return nil
}
