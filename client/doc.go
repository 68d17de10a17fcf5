// Package client is an MQTT client for the protocol versions 3.1, 3.1.1 and 5.
//
// # Connect, subscribe, publish
//
//	c, err := client.Connect(ctx, "mqtt://localhost", client.Options{
//		OnMessage: func(m *client.Message) { fmt.Printf("%s: %s\n", m.Topic, m.Payload) },
//	})
//	if err != nil {
//		return err
//	}
//	defer c.Disconnect(ctx)
//	_, err = c.Subscribe(ctx, client.Subscription{Filter: "greetings/#", QoS: 1})
//	...
//	_, err = c.Publish(ctx, &client.Message{Topic: "greetings/world", Payload: []byte("hello"), QoS: 1})
//
// Connect makes one attempt and reports what went wrong. From then on the
// client keeps the connection: it reconnects with growing, jittered delays,
// resumes the session where the server still has it, sends again what was not
// acknowledged, in the original order, and subscribes again where the server
// has forgotten. Publish and Subscribe wait meanwhile, until their context
// ends. Options.NoReconnect turns that off.
//
// The URL's scheme is mqtt, mqtts (TLS), ws or wss (WebSocket, without and with
// TLS), or unix.
//
// # What is delivered, and when it is acknowledged
//
// One goroutine calls Options.OnMessage, one message after the other, in the
// order in which the server sent them. A message of QoS 1 or 2 is acknowledged
// when OnMessage returns, or, with Options.ManualAck, when Message.Ack is
// called. A handler may call any method of the client, also those that wait for
// the server. While it runs, up to Options.Queue messages are read ahead; then
// the client stops reading, and the server has to wait.
//
// A message of QoS 2 is delivered once, over lost connections too, as long as
// server and client keep the session; a client keeps it in memory, until it is
// closed.
//
// # Errors
//
// What the server refused is an error that carries its reason code: a
// *ConnectError for a refused connection, a *ReasonError for a refused publish,
// subscription or unsubscription, a *DisconnectError when the server ended the
// connection with a reason. errors.As finds them.
//
//	var refused *client.ConnectError
//	if errors.As(err, &refused) && refused.Code == mqtt.NotAuthorized { ... }
//
// # Goroutines
//
// A client has four goroutines while it is connected: one reads, one writes,
// one calls OnMessage, one looks after the connection. All of them have ended
// when Done's channel is closed, after Disconnect or Close. Package client has
// no global state.
package client
