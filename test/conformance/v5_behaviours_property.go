package conformance

import (
	"fmt"
	"math"
)

// Behaviour B-15: every property in every packet of a client: where it does not belong, cut short, twice, at its limits.

// carrier is a packet of a client that can hold properties.
type carrier struct {
	name    string
	allowed []byte
	packet  func(t *T, props []byte) []byte // props with their length in front
	first   bool                            // a CONNECT: sent on a fresh socket
}

// then is a packet with a PINGREQ behind it, whose answer shows at once that the packet was taken.
func then(raw []byte) []byte { return Cat(raw, Ping) }

func ackCarrier(typ byte) carrier {
	return carrier{typeNames[typ], bytesOf(PropReasonString, PropUser), func(_ *T, props []byte) []byte {
		return then(Raw(Ack(typ, 1)[0], Cat(U16(1), bytesOf(0), props)...))
	}, false}
}

var carriers = []carrier{
	{"CONNECT", bytesOf(PropSessionExpiry, PropRequestProblemInfo, PropRequestResponseInfo, PropReceiveMaximum, PropTopicAliasMaximum,
		PropUser, PropMaximumPacketSize), func(t *T, props []byte) []byte {
		return Raw(0x10, Cat(Str(nil, "MQTT"), bytesOf(5, 2, 0, 0), props, Str(nil, t.ClientID("x")))...)
	}, true},
	{"will", bytesOf(PropPayloadFormat, PropMessageExpiry, PropContentType, PropResponseTopic, PropCorrelationData, PropWillDelay,
		PropUser), func(t *T, props []byte) []byte {
		return connectPayload(0x06, Str(nil, t.ClientID("x")), props, Str(nil, t.Topic("w")), Str(nil, "w"))
	}, true},
	{"PUBLISH", bytesOf(PropPayloadFormat, PropMessageExpiry, PropContentType, PropResponseTopic, PropCorrelationData, PropTopicAlias,
		PropUser), func(t *T, props []byte) []byte {
		return then(Raw(0x32, Cat(Str(nil, t.Topic("a")), U16(1), props)...))
	}, false},
	ackCarrier(PUBACK), ackCarrier(PUBREC), ackCarrier(PUBREL), ackCarrier(PUBCOMP),
	{"SUBSCRIBE", bytesOf(PropSubscriptionID, PropUser), func(t *T, props []byte) []byte {
		return then(Raw(0x82, Cat(U16(1), props, Str(nil, t.Topic("a")), bytesOf(0))...))
	}, false},
	{"UNSUBSCRIBE", bytesOf(PropUser), func(t *T, props []byte) []byte {
		return then(Raw(0xa2, Cat(U16(1), props, Str(nil, t.Topic("a")))...))
	}, false},
	{"DISCONNECT", bytesOf(PropSessionExpiry, PropReasonString, PropUser), func(_ *T, props []byte) []byte {
		return Raw(0xe0, Cat(bytesOf(0), props)...)
	}, false},
}

// sample is a value for the property that is right anywhere.
func sample(id byte) Prop { return Prop{ID: id, Int: 1, Key: "k", Str: "v"} }

// allProps are the identifiers of all properties.
func allProps() []byte {
	var ids []byte
	for id := byte(1); id < 0x7f; id++ {
		if propKind[id] != 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

func (c carrier) allows(id byte) bool {
	for _, a := range c.allowed {
		if a == id {
			return true
		}
	}
	return false
}

// refuses expects each property list to end the connection. A DISCONNECT is taken as an answer by any broker, so its
// refusal must show in a DISCONNECT.
func (c carrier) refuses(t *T, lists []variant) {
	for i := range lists {
		lists[i].raw = c.packet(t, lists[i].raw)
	}
	switch {
	case c.first:
		t.refusedConnect(badPacketCodes, lists...)
	case c.name == "DISCONNECT":
		t.disconnected(badPacketCodes, lists...)
	default:
		t.refused(badPacketCodes, lists...)
	}
}

func init() {
	for _, c := range carriers {
		v5part("B-15", "misplaced-"+c.name, "properties that do not belong in "+c.name+" are refused", func(t *T) {
			var lists []variant
			for _, id := range allProps() {
				// Authentication method and data in CONNECT belong there, though nobody provides any; a subscription
				// identifier in PUBLISH is the case of MQTT-3.3.4-6.
				if !c.allows(id) && (c.name != "CONNECT" || id != PropAuthMethod && id != PropAuthData) &&
					(c.name != "PUBLISH" || id != PropSubscriptionID) {
					lists = append(lists, variant{fmt.Sprintf("0x%02x", id), Props(sample(id))})
				}
			}
			c.refuses(t, lists)
		})
		v5part("B-15", "unknown-"+c.name, "unknown property identifiers in "+c.name+", of one to four bytes, are refused", func(t *T) {
			var lists []variant
			for _, id := range [][]byte{{0x00}, {0x04}, {0x7f}, {0x80, 0x01}, {0xff, 0x7f}, {0x80, 0x80, 0x01}, {0xff, 0xff, 0xff, 0x7f}} {
				lists = append(lists, variant{fmt.Sprintf("% x", id), Cat(bytesOf(byte(len(id)+1)), id, bytesOf(0))})
			}
			c.refuses(t, lists)
		})
		v5part("B-15", "cut-"+c.name, "properties of "+c.name+" that are cut short are refused", func(t *T) {
			var lists []variant
			for _, id := range c.allowed {
				field := PropFields(sample(id))
				lists = append(lists, variant{fmt.Sprintf("0x%02x", id), Cat(bytesOf(byte(len(field)-1)), field[:len(field)-1])})
			}
			c.refuses(t, lists)
		})
		v5part("B-15", "twice-"+c.name, "properties of "+c.name+" that come twice are refused, but for user properties", func(t *T) {
			var lists []variant
			for _, id := range c.allowed {
				if id != PropUser {
					lists = append(lists, variant{fmt.Sprintf("0x%02x", id), Props(sample(id), sample(id))})
				}
			}
			if len(lists) > 0 {
				c.refuses(t, lists)
			}
			t.Client().ExpectNothing()
		})
	}
	v5part("B-15", "limits", "properties at their limits are taken", func(t *T) {
		long := string(make5(65535))
		for _, props := range [][]Prop{
			{expiry(0), num(PropReceiveMaximum, 1), num(PropTopicAliasMaximum, 0), num(PropRequestProblemInfo, 0), num(PropRequestResponseInfo, 0)},
			{expiry(math.MaxUint32), num(PropReceiveMaximum, 65535), num(PropTopicAliasMaximum, 65535), num(PropMaximumPacketSize, math.MaxUint32),
				num(PropRequestProblemInfo, 1), num(PropRequestResponseInfo, 1), user("", ""), user(long, long)},
		} {
			p, _ := t.Connect(Connect{ClientID: t.ClientID("x"), Clean: true, Props: props})
			p.Send(DisconnectReason(0, expiry(0), text(PropReasonString, long)))
			p.ExpectClosed()
		}
		topic := t.Topic("a")
		p := t.Client()
		subscribe5(p, topic, 1, 1)
		subscribe5(p, topic, 1, 268_435_455)
		props := props5(num(PropPayloadFormat, 0), num(PropMessageExpiry, math.MaxUint32), text(PropContentType, long), text(PropCorrelationData, long), user(long, ""))
		p.Publish(Publish{Topic: topic, Payload: "x", QoS: 1, Props: props})
		m := p.Receive(topic, "x", 1)
		t.wantProp(m, text(PropContentType, long))
		t.wantProp(m, text(PropCorrelationData, long))
		p.Publish(Publish{Topic: topic, Payload: "y", QoS: 1, Props: props5(text(PropContentType, ""), text(PropCorrelationData, ""))})
		p.Receive(topic, "y", 1)
	})
}
