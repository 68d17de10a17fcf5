package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Publish one message and know that the broker has it.
func ExampleClient_Publish() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Connect(ctx, "mqtt://localhost:1883", client.Options{ClientID: "thermometer"})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = c.Disconnect(ctx) }() // the message has been acknowledged
	result, err := c.Publish(ctx, &client.Message{Topic: "house/temperature", Payload: []byte("21.5"), QoS: 1, Retain: true})
	if err != nil {
		log.Fatal(err)
	}
	if result.Code == mqtt.NoMatchingSubscribers {
		fmt.Println("nobody listens")
	}
}

// Receive over a channel, and acknowledge what has been dealt with.
func ExampleOptions_manualAck() {
	messages := make(chan *client.Message)
	ctx := context.Background()
	c, err := client.Connect(ctx, "mqtts://broker.example.org", client.Options{
		ClientID: "archive", KeepSession: true, SessionExpiry: 3600,
		ManualAck: true,
		OnMessage: func(m *client.Message) { messages <- m },
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Subscribe(ctx, client.Subscription{Filter: "house/#", QoS: 2}); err != nil {
		log.Fatal(err)
	}
	for m := range messages {
		fmt.Printf("%s: %s\n", m.Topic, m.Payload) // store it
		m.Ack()
	}
}

// Tell apart why a connection was refused.
func ExampleConnectError() {
	_, err := client.Connect(context.Background(), "mqtt://localhost", client.Options{Username: "me", Password: []byte("secret")})
	var refused *client.ConnectError
	switch {
	case errors.As(err, &refused) && refused.Code == mqtt.NotAuthorized:
		fmt.Println("wrong password")
	case err != nil:
		fmt.Println("cannot connect:", err)
	}
}
