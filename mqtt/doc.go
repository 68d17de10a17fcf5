// Package mqtt is the wire of MQTT 3.1, 3.1.1 and 5: packets, properties and
// reason codes, on byte slices. It does no I/O and starts nothing; brokers,
// clients and tools bring their own connection.
//
// # Reading
//
// [ParseFrame] cuts one packet off the front of a buffer and tells how many
// bytes it took, or how many are needed. The Decode method of the packet's type
// then reads the [Frame]:
//
//	for {
//		f, n, _, err := mqtt.ParseFrame(buf, maximumPacketSize)
//		if err != nil {
//			return err // err.(*mqtt.Error).Code is what a DISCONNECT answers with
//		}
//		if n == 0 {
//			break // read more into buf
//		}
//		buf = buf[n:]
//		switch f.Type {
//		case mqtt.PUBLISH:
//			if err := publish.Decode(f, version); err != nil {
//				return err
//			}
//			// use publish before the next read
//		}
//	}
//
// Decoding copies nothing: the slices of a decoded packet are views of the
// buffer, valid as long as its bytes stay as they are. Keep the packet's struct
// and decode into it again: all its fields are overwritten, slices keep their
// room, and reading allocates nothing.
//
// Decode refuses what the specifications call malformed or a protocol error,
// with an [*Error] that names the reason code, the packet, what is wrong, and
// the normative statement that says so. It does not know which side it is on:
// that a client must not send a Subscription Identifier in a PUBLISH
// [MQTT-3.3.4-6], or a CONNACK at all, is for the server to say. Beyond the
// specifications' musts, it refuses control characters and Unicode
// non-characters in topics, client identifiers and user names, and topics with
// more than [topic.MaxLevels] separators, as Mosquitto does.
//
// PINGREQ and PINGRESP have no body: the Frame says it all, and [PingreqBytes]
// and [PingrespBytes] are what to send.
//
// # Writing
//
// The Append methods append the packet to a slice, in the version asked for,
// and return the longer slice. What that version does not have is left out
// (properties before MQTT 5); what no packet can hold is an error, and then the
// slice is returned as it was. Topics are not checked again on the way out: use
// package topic where they come from outside.
//
//	out, err = (&mqtt.Ack{Type: mqtt.PUBACK, PacketID: 7}).Append(out, mqtt.V5)
//
// # Properties
//
// [Properties] has a field per property, and a bit in Has that tells whether it
// is there:
//
//	var p mqtt.Properties
//	p.MessageExpiry = 60
//	p.Has.Set(mqtt.PropMessageExpiry)
//	p.User = append(p.User, mqtt.UserProperty{Key: []byte("unit"), Value: []byte("K")})
//
// User and SubscriptionIDs need no bit: they are written when they are not empty.
package mqtt
