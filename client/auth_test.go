package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// echo answers a challenge with the challenge in capitals.
type echo struct{ final string }

func (*echo) Method() string                        { return "ECHO" }
func (*echo) Start(context.Context) ([]byte, error) { return []byte("start"), nil }
func (*echo) Continue(_ context.Context, data []byte) ([]byte, error) {
	return []byte(strings.ToUpper(string(data))), nil
}
func (e *echo) Finish(_ context.Context, data []byte) error {
	if string(data) != e.final {
		return errors.New("the server's proof is wrong")
	}
	return nil
}

func (p *peer) auth(code mqtt.ReasonCode, data string) *mqtt.Auth {
	a := &mqtt.Auth{Code: code}
	a.Props = authProps(data)
	return a
}

func authProps(data string) (w mqtt.Properties) {
	w.Has.Set(mqtt.PropAuthMethod)
	w.AuthMethod = []byte("ECHO")
	w.Has.Set(mqtt.PropAuthData)
	w.AuthData = []byte(data)
	return w
}

func (p *peer) expectAuth(code mqtt.ReasonCode, data string) {
	p.t.Helper()
	var a mqtt.Auth
	if err := a.Decode(p.expect(mqtt.AUTH), mqtt.V5); err != nil {
		p.t.Fatal(err)
	}
	if a.Code != code || string(a.Props.AuthMethod) != "ECHO" || string(a.Props.AuthData) != data {
		p.t.Fatalf("AUTH: %+v, want %v with %q", a, code, data)
	}
}

// TestEnhancedAuth goes through an authentication of several steps, and repeats
// it on the standing connection (MQTT 5 §4.12).
func TestEnhancedAuth(t *testing.T) {
	f := newFake(t, mqtt.V5)
	var c *client.Client
	connected := background(func() (err error) {
		c, err = client.Connect(testContext(t), f.url(), client.Options{Auth: &echo{final: "proof"}, NoReconnect: true})
		return err
	})
	p := f.accept()
	var connect mqtt.Connect
	if err := connect.Decode(p.expect(mqtt.CONNECT)); err != nil {
		t.Fatal(err)
	}
	if string(connect.Props.AuthMethod) != "ECHO" || string(connect.Props.AuthData) != "start" {
		t.Errorf("CONNECT: %+v", connect.Props)
	}
	for _, challenge := range []string{"one", "two"} {
		p.send(p.auth(mqtt.ContinueAuthentication, challenge))
		p.expectAuth(mqtt.ContinueAuthentication, strings.ToUpper(challenge))
	}
	p.send(&mqtt.Connack{Props: authProps("proof")})
	if err := await(t, "Connect", connected); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, c) })

	again := background(func() error { return c.Reauthenticate(testContext(t)) })
	p.expectAuth(mqtt.ReAuthenticate, "start")
	p.send(p.auth(mqtt.ContinueAuthentication, "three"))
	p.expectAuth(mqtt.ContinueAuthentication, "THREE")
	p.send(p.auth(mqtt.Success, "proof"))
	if err := await(t, "Reauthenticate", again); err != nil {
		t.Fatal(err)
	}
	again = background(func() error { return c.Reauthenticate(testContext(t)) })
	p.expectAuth(mqtt.ReAuthenticate, "start")
	p.send(p.auth(mqtt.Success, "forged"))
	if err := await(t, "Reauthenticate", again); err == nil || !strings.Contains(err.Error(), "proof is wrong") {
		t.Errorf("forged proof: %v", err)
	}
	await(t, "the end", c.Done())
}

// TestForgedServer checks that a server that does not prove itself is left.
func TestForgedServer(t *testing.T) {
	for name, ack := range map[string]mqtt.Connack{
		"no authentication": {},
		"wrong proof":       {Props: authProps("forged")},
	} {
		f := newFake(t, mqtt.V5)
		connected := background(func() error {
			_, err := client.Connect(testContext(t), f.url(), client.Options{Auth: &echo{final: "proof"}})
			return err
		})
		f.welcome(ack)
		if err := await(t, "Connect", connected); err == nil {
			t.Errorf("%s: connected", name)
		}
	}
}
