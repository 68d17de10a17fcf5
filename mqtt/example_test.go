package mqtt_test

import (
	"errors"
	"fmt"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// A server reads what a client sent: a CONNECT, a PUBLISH, and the beginning of
// something else.
func Example() {
	var sent []byte
	sent, _ = (&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("thermometer")}).Append(sent)
	sent, _ = (&mqtt.Publish{QoS: 1, PacketID: 7, Topic: []byte("kitchen/temperature"), Payload: []byte("21.5")}).Append(sent, mqtt.V5)
	sent = append(sent, 0xC0)

	var (
		connect mqtt.Connect
		publish mqtt.Publish
		reply   []byte
	)
	for buf := sent; ; {
		f, n, _, err := mqtt.ParseFrame(buf, 2_000_000)
		if err != nil {
			fmt.Println(err)
			return
		}
		if n == 0 {
			fmt.Println(len(buf), "byte left, waiting for more")
			break
		}
		buf = buf[n:]
		switch f.Type {
		case mqtt.CONNECT:
			err = connect.Decode(f)
			fmt.Printf("%s speaks MQTT %v\n", connect.ClientID, connect.Version)
			reply, _ = (&mqtt.Connack{}).Append(reply, connect.Version)
		case mqtt.PUBLISH:
			err = publish.Decode(f, connect.Version)
			fmt.Printf("%s: %s\n", publish.Topic, publish.Payload)
			reply, _ = (&mqtt.Ack{Type: mqtt.PUBACK, PacketID: publish.PacketID}).Append(reply, connect.Version)
		}
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Printf("reply: % x\n", reply)
	// Output:
	// thermometer speaks MQTT 5
	// kitchen/temperature: 21.5
	// 1 byte left, waiting for more
	// reply: 20 03 00 00 00 40 02 00 07
}

// The error of a bad packet holds what to answer.
func ExampleError() {
	packet := append([]byte{0x30, 0x0A, 0, 7}, "a/#/b\x00\x00!"...)
	f, _, _, _ := mqtt.ParseFrame(packet, 0)
	err := new(mqtt.Publish).Decode(f, mqtt.V311)
	fmt.Println(err)

	if bad := (*mqtt.Error)(nil); errors.As(err, &bad) {
		answer, _ := (&mqtt.Disconnect{Code: bad.Code}).Append(nil, mqtt.V5)
		fmt.Printf("% x\n", answer)
	}
	// Output:
	// PUBLISH: Malformed Packet: topic contains U+0000 [MQTT-1.5.4-2]
	// e0 01 81
}

// Properties are set with their bit.
func ExampleProperties() {
	p := mqtt.Publish{Topic: []byte("a"), Payload: []byte("{}")}
	p.Props.ContentType = []byte("application/json")
	p.Props.Has.Set(mqtt.PropContentType)
	p.Props.User = []mqtt.UserProperty{{Key: []byte("unit"), Value: []byte("K")}}
	packet, err := p.Append(nil, mqtt.V5)
	fmt.Printf("%q %v\n", packet, err)
	// Output:
	// "0#\x00\x01a\x1d\x03\x00\x10application/json&\x00\x04unit\x00\x01K{}" <nil>
}
