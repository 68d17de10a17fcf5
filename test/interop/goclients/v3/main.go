// Command v3 runs the interop steps with github.com/eclipse/paho.mqtt.golang (MQTT 3.1 and 3.1.1).
package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nightjar-mqtt/nightjar/test/interop/goclients/steps"
)

func main() { steps.Main("gov3", open) }

type peer struct {
	client  mqtt.Client
	conn    net.Conn
	present bool
	inbox   chan steps.Message
}

func open(o steps.Options) (steps.Peer, error) {
	p := &peer{inbox: make(chan steps.Message, 100)}
	opts := mqtt.NewClientOptions().AddBroker("tcp://" + o.Addr).SetClientID(o.ClientID).SetCleanSession(o.Clean)
	opts.SetProtocolVersion(map[string]uint{"3.1": 3, "3.1.1": 4}[o.Version])
	opts.SetConnectTimeout(steps.Wait).SetAutoReconnect(false).SetConnectRetry(false)
	opts.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		p.inbox <- steps.Message{Topic: m.Topic(), Text: string(m.Payload()), QoS: m.Qos(), Retain: m.Retained()}
	})
	opts.SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
		var conn net.Conn
		var err error
		if o.Scheme == "ws" || o.Scheme == "wss" {
			u.Scheme, u.Path = o.Scheme, "/mqtt"
			conn, err = mqtt.NewWebsocket(u.String(), o.TLS, steps.Wait, nil, nil)
		} else {
			conn, err = o.Dial()
		}
		p.conn = conn
		return conn, err
	})
	if o.Will != "" {
		opts.SetWill(o.WillTopic, o.Will, 1, false)
	}
	p.client = mqtt.NewClient(opts)
	token := p.client.Connect().(*mqtt.ConnectToken)
	if err := done(token, "CONNECT"); err != nil {
		return nil, err
	}
	p.present = token.SessionPresent()
	return p, nil
}

// done waits for what a token stands for.
func done(t mqtt.Token, what string) error {
	if !t.WaitTimeout(steps.Wait) {
		return fmt.Errorf("%s was not answered within %v", what, steps.Wait)
	}
	return t.Error()
}

func (p *peer) SessionPresent() bool        { return p.present }
func (p *peer) Inbox() <-chan steps.Message { return p.inbox }

func (p *peer) Subscribe(filter string, qos byte) error {
	token := p.client.Subscribe(filter, qos, nil).(*mqtt.SubscribeToken)
	if err := done(token, "SUBSCRIBE"); err != nil {
		return err
	}
	if got := token.Result()[filter]; got != qos {
		return fmt.Errorf("SUBACK of %s: got %#x, want %d", filter, got, qos)
	}
	return nil
}

func (p *peer) Publish(m steps.Message) error {
	return done(p.client.Publish(m.Topic, m.QoS, m.Retain, m.Text), "PUBLISH")
}

func (p *peer) Close() error {
	if !p.client.IsConnectionOpen() {
		return errors.New("the connection was lost before DISCONNECT")
	}
	p.client.Disconnect(uint(steps.Wait.Milliseconds()))
	return nil
}

func (p *peer) Drop() error { return p.conn.Close() }
