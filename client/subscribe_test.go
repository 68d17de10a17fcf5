package client_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// TestSubscribe checks options and properties on the wire, and the codes on
// the way back.
func TestSubscribe(t *testing.T) {
	f := newFake(t, mqtt.V5)
	c, p := f.connect(client.Options{}, mqtt.Connack{})
	type answer struct {
		client.SubscribeResult
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		r, err := c.SubscribeWith(testContext(t), client.SubscribeOptions{ID: 9, User: []client.UserProperty{{Key: "k", Value: "v"}}},
			client.Subscription{Filter: "a/#", QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: client.RetainedNever},
			client.Subscription{Filter: "b"})
		answers <- answer{r, err}
	}()
	s := p.expectSubscribe()
	if len(s.Subscriptions) != 2 || s.Subscriptions[0].Options != 0x2E || s.Subscriptions[1].Options != 0 ||
		!slices.Equal(s.Props.SubscriptionIDs, []uint32{9}) || len(s.Props.User) != 1 {
		t.Errorf("SUBSCRIBE: %+v", s)
	}
	p.send(&mqtt.Suback{PacketID: s.PacketID, Codes: []mqtt.ReasonCode{mqtt.GrantedQoS1, mqtt.NotAuthorized}})
	a := await(t, "Subscribe", answers)
	var refused *client.ReasonError
	if !errors.As(a.err, &refused) || refused.Topic != "b" || refused.Code != mqtt.NotAuthorized || len(a.Codes) != 2 {
		t.Errorf("%+v", a)
	}
	// Only what was granted is asked for again, with all that belongs to it.
	p.conn.Close()
	p, _ = f.welcome(mqtt.Connack{})
	s = p.expectSubscribe()
	if len(s.Subscriptions) != 1 || s.Subscriptions[0].Options != 0x2E || !slices.Equal(s.Props.SubscriptionIDs, []uint32{9}) {
		t.Errorf("SUBSCRIBE again: %+v", s)
	}
	p.send(&mqtt.Suback{PacketID: s.PacketID, Codes: []mqtt.ReasonCode{mqtt.GrantedQoS1}})
	p.expectQuiet()

	unsubscribed := background(func() error {
		r, err := c.Unsubscribe(testContext(t), "a/#", "never/was")
		if len(r.Codes) != 2 || r.Codes[1] != mqtt.NoSubscriptionExisted {
			t.Errorf("Unsubscribe: %+v", r)
		}
		return err
	})
	var u mqtt.Unsubscribe
	if err := u.Decode(p.expect(mqtt.UNSUBSCRIBE), mqtt.V5); err != nil {
		t.Fatal(err)
	}
	p.send(&mqtt.Unsuback{PacketID: u.PacketID, Codes: []mqtt.ReasonCode{mqtt.Success, mqtt.NoSubscriptionExisted}})
	if err := await(t, "Unsubscribe", unsubscribed); err != nil {
		t.Error(err)
	}
	p.conn.Close()
	p, _ = f.welcome(mqtt.Connack{})
	p.expectQuiet() // nothing is left to ask for
}

// TestSubscribeSurvives checks that a request that a lost connection left
// without an answer is sent again, and that one that nobody waits for is not.
func TestSubscribeSurvives(t *testing.T) {
	f := newFake(t, mqtt.V311)
	c, p := f.connect(client.Options{}, mqtt.Connack{})
	ctx, cancel := context.WithCancel(context.Background())
	given := background(func() error {
		_, err := c.Subscribe(ctx, client.Subscription{Filter: "given/up"})
		return err
	})
	p.expectSubscribe()
	kept := background(func() error {
		_, err := c.Subscribe(testContext(t), client.Subscription{Filter: "kept"})
		return err
	})
	p.expectSubscribe()
	cancel()
	if err := await(t, "Subscribe", given); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	p.conn.Close()
	p, _ = f.welcome(mqtt.Connack{})
	s := p.expectSubscribe()
	if string(s.Subscriptions[0].Filter) != "kept" {
		t.Errorf("%+v", s)
	}
	p.send(&mqtt.Suback{PacketID: s.PacketID, Codes: []mqtt.ReasonCode{0}})
	if err := await(t, "Subscribe", kept); err != nil {
		t.Error(err)
	}
	p.expectQuiet()
}

// TestResubscribeRefused checks that a subscription that cannot be renewed is
// not lost in silence.
func TestResubscribeRefused(t *testing.T) {
	f := newFake(t, mqtt.V5)
	lost := make(chan error, 10)
	c, p := f.connect(client.Options{
		OnDisconnect: func(err error) { lost <- err },
		RetryIf:      func(err error) bool { return !errors.As(err, new(*client.ReasonError)) },
	}, mqtt.Connack{})
	subscribed := background(func() error {
		_, err := c.Subscribe(testContext(t), client.Subscription{Filter: "a"})
		return err
	})
	p.send(&mqtt.Suback{PacketID: p.expectSubscribe().PacketID, Codes: []mqtt.ReasonCode{0}})
	if err := await(t, "Subscribe", subscribed); err != nil {
		t.Fatal(err)
	}
	p.conn.Close()
	if err := await(t, "OnDisconnect", lost); !errors.Is(err, io.EOF) {
		t.Errorf("lost: %v", err)
	}
	p, _ = f.welcome(mqtt.Connack{})
	p.send(&mqtt.Suback{PacketID: p.expectSubscribe().PacketID, Codes: []mqtt.ReasonCode{mqtt.NotAuthorized}})
	await(t, "the end", c.Done())
	var refused *client.ReasonError
	if !errors.As(c.Err(), &refused) || refused.Topic != "a" {
		t.Errorf("%v", c.Err())
	}
}

// TestBadSubscriptions checks what is refused before it is sent.
func TestBadSubscriptions(t *testing.T) {
	f := newFake(t, mqtt.V311)
	c, p := f.connect(client.Options{}, mqtt.Connack{})
	ctx := testContext(t)
	for name, s := range map[string]client.Subscription{
		"filter":   {Filter: "a/#/b"},
		"empty":    {},
		"QoS":      {Filter: "a", QoS: 3},
		"no local": {Filter: "a", NoLocal: true}, // MQTT 3
	} {
		if _, err := c.Subscribe(ctx, s); err == nil {
			t.Errorf("%s: sent", name)
		}
	}
	if _, err := c.Subscribe(ctx); err == nil {
		t.Error("nothing: sent")
	}
	if _, err := c.Unsubscribe(ctx, "a#"); err == nil {
		t.Error("bad filter to unsubscribe: sent")
	}
	p.expectQuiet()
}
