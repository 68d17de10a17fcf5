package mqtt

import (
	"fmt"
	"testing"
)

var subscribeGoldens = []golden{
	{name: "one", v: V311, hex: "82 08 0001 0003'a/b' 01", packet: &Subscribe{PacketID: 1, Subscriptions: []Subscription{{[]byte("a/b"), 1}}}},
	{name: "one", v: V31, hex: "82 06 0001 0001'#' 02", packet: &Subscribe{PacketID: 1, Subscriptions: []Subscription{{[]byte("#"), 2}}}},
	{name: "again", v: V31, hex: "8A 06 0001 0001'#' 02", oneWay: true,
		packet: &Subscribe{PacketID: 1, Subscriptions: []Subscription{{[]byte("#"), 2}}}},
	{name: "three", v: V311, hex: "82 1B FFFF 0001'+' 00 0005'+/a/#' 01 000A'$share/g/#' 00", shorter: []int{6, 14},
		packet: &Subscribe{PacketID: 65535, Subscriptions: []Subscription{{[]byte("+"), 0}, {[]byte("+/a/#"), 1}, {[]byte("$share/g/#"), 0}}}},
	{name: "options", v: V5, hex: "82 13 0007 00 0003'a/+' 2E 0001'b' 10 0003'c/#' 01", shorter: []int{9, 13},
		packet: &Subscribe{PacketID: 7, Subscriptions: []Subscription{
			{[]byte("a/+"), 2 | SubNoLocal | SubRetainAsPublished | 2<<4}, {[]byte("b"), 1 << 4}, {[]byte("c/#"), 1}}}},
	{name: "all", v: V5, hex: "82 1D 0007 0B 0B FFFF03 26 0001'k' 0001'v' 000C'$share/g/a/#' 09",
		packet: &Subscribe{PacketID: 7, Subscriptions: []Subscription{{[]byte("$share/g/a/#"), 1 | SubRetainAsPublished}},
			Props: Properties{Has: has(PropSubscriptionID, PropUser), SubscriptionIDs: []uint32{65535}, User: []UserProperty{{[]byte("k"), []byte("v")}}}}},
}

func TestSubscribeRefused(t *testing.T) {
	checkRefused(t, []refused{
		{"packet id 0", V311, "82 06 0000 0001'a' 00", MalformedPacket, false},
		{"packet id 0", V5, "82 07 0000 00 0001'a' 00", MalformedPacket, false},
		{"no filter", V311, "82 02 0001", MalformedPacket, false},
		{"no filter", V5, "82 03 0001 00", MalformedPacket, false},
		{"empty filter", V311, "82 05 0001 0000 00", MalformedPacket, false},
		{"empty filter second", V5, "82 0A 0001 00 0001'a' 00 0000 00", MalformedPacket, false},
		{"QoS 3", V311, "82 06 0001 0001'a' 03", MalformedPacket, false},
		{"QoS 3", V5, "82 07 0001 00 0001'a' 03", MalformedPacket, false},
		{"no local before MQTT 5", V311, "82 06 0001 0001'a' 04", MalformedPacket, false},
		{"reserved bit 6", V5, "82 07 0001 00 0001'a' 40", MalformedPacket, false},
		{"reserved bit 7", V5, "82 07 0001 00 0001'a' 80", MalformedPacket, false},
		{"reserved bit 7", V31, "82 06 0001 0001'a' 81", MalformedPacket, false},
		{"retain handling 3", V5, "82 07 0001 00 0001'a' 30", MalformedPacket, false},
		{"no local on a shared subscription", V5, "82 10 0001 00 000A'$share/g/a' 04", ProtocolError, false},
		{"subscription id 0", V5, "82 09 0001 02 0B00 0001'a' 00", ProtocolError, false},
		{"subscription id twice", V5, "82 0B 0001 04 0B01 0B02 0001'a' 00", ProtocolError, false},
		{"subscription id of five bytes", V5, "82 0D 0001 06 0BFFFFFFFF01 0001'a' 00", MalformedPacket, false},
		{"subscription id not minimal", V5, "82 0A 0001 03 0B8100 0001'a' 00", MalformedPacket, false},
		{"# not at the end", V311, "82 0A 0001 0005'a/#/b' 00", MalformedPacket, false},
		{"# within a level", V5, "82 09 0001 00 0003'a#b' 00", MalformedPacket, false},
		{"+ within a level", V311, "82 08 0001 0003'a+/' 00", MalformedPacket, false},
		{"control character", V311, "82 06 0001 0001 02 00", MalformedPacket, false},
		{"$share alone", V311, "82 0B 0001 0006'$share' 00", MalformedPacket, false},
		{"$share without group", V5, "82 0E 0001 00 0008'$share//' 00", MalformedPacket, false},
		{"$share with empty group", V5, "82 0F 0001 00 0009'$share//a' 00", MalformedPacket, false},
		{"$share without filter", V5, "82 0E 0001 00 0008'$share/g' 00", MalformedPacket, false},
		{"$share with empty filter", V311, "82 0E 0001 0009'$share/g/' 00", MalformedPacket, false},
		{"$share with wildcard group", V5, "82 10 0001 00 000A'$share/+/a' 00", MalformedPacket, false},
		{"$share with bad filter", V5, "82 12 0001 00 000C'$share/g/#/a' 00", MalformedPacket, false},
		{"flags", V311, "80 06 0001 0001'a' 00", MalformedPacket, false},
		{"flags of 3.1", V311, "8A 06 0001 0001'a' 00", MalformedPacket, false},
	})
}

// The option byte, all 256 of it, against the figure of MQTT 5 §3.8.3.
func TestSubscribeOptions(t *testing.T) {
	for o := range 256 {
		p, err := decode([]byte{0x82, 7, 0, 1, 0, 0, 1, 'a', byte(o)}, V5)
		valid := o&3 != 3 && o>>4&3 != 3 && o>>6 == 0
		if valid != (err == nil) {
			t.Errorf("options 0x%02X: %v", o, err)
		}
		if err == nil {
			got := p.(*Subscribe).Subscriptions[0].Options
			if fmt.Sprint(got.QoS(), got.NoLocal(), got.RetainAsPublished(), got.RetainHandling()) !=
				fmt.Sprint(o&3, o&4 != 0, o&8 != 0, o>>4) {
				t.Errorf("options 0x%02X: %v %v %v %v", o, got.QoS(), got.NoLocal(), got.RetainAsPublished(), got.RetainHandling())
			}
		}
		_, err = decode([]byte{0x82, 6, 0, 1, 0, 1, 'a', byte(o)}, V311)
		if (o <= 2) != (err == nil) {
			t.Errorf("options 0x%02X in 3.1.1: %v", o, err)
		}
	}
}

func TestSubscribeUnwritable(t *testing.T) {
	one := func(filter string, o SubOptions) *Subscribe {
		return &Subscribe{PacketID: 1, Subscriptions: []Subscription{{[]byte(filter), o}}}
	}
	ids := one("a", 0)
	ids.Props.SubscriptionIDs = []uint32{1, 2}
	checkUnwritable(t, []unwritable{
		{"packet id 0", V311, &Subscribe{Subscriptions: []Subscription{{[]byte("a"), 0}}}},
		{"no filter", V5, &Subscribe{PacketID: 1}},
		{"empty filter", V5, one("", 0)},
		{"long filter", V5, one(string(make([]byte, 65536)), 0)},
		{"QoS 3", V5, one("a", 3)},
		{"no local before MQTT 5", V311, one("a", SubNoLocal)},
		{"no local on a shared subscription", V5, one("$share/g/a", SubNoLocal)},
		{"two subscription ids", V5, ids},
	})
}
