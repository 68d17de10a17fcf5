package mqtt

import "testing"

var unsubscribeGoldens = []golden{
	{name: "one", v: V311, hex: "A2 07 0001 0003'a/b'", packet: &Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte("a/b")}}},
	{name: "again", v: V31, hex: "AA 05 0001 0001'#'", packet: &Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte("#")}}, oneWay: true},
	{name: "two", v: V31, hex: "A2 08 0001 0001'a' 0001'+'", shorter: []int{5},
		packet: &Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte("a"), []byte("+")}}},
	{name: "one", v: V5, hex: "A2 06 FFFF 00 0001'a'", packet: &Unsubscribe{PacketID: 65535, Filters: [][]byte{[]byte("a")}}},
	{name: "all", v: V5, hex: "A2 19 0007 07 26 0001'k' 0001'v' 0001'a' 000A'$share/g/#'", shorter: []int{13},
		packet: &Unsubscribe{PacketID: 7, Filters: [][]byte{[]byte("a"), []byte("$share/g/#")},
			Props: Properties{Has: has(PropUser), User: []UserProperty{{[]byte("k"), []byte("v")}}}}},
}

func TestUnsubscribeRefused(t *testing.T) {
	checkRefused(t, []refused{
		{"packet id 0", V311, "A2 05 0000 0001'a'", MalformedPacket, false},
		{"packet id 0", V5, "A2 06 0000 00 0001'a'", MalformedPacket, false},
		{"no filter", V311, "A2 02 0001", MalformedPacket, false},
		{"no filter", V5, "A2 03 0001 00", MalformedPacket, false},
		{"empty filter", V311, "A2 04 0001 0000", MalformedPacket, false},
		{"bad wildcard", V311, "A2 06 0001 0002'a#'", MalformedPacket, false},
		{"$share without filter", V5, "A2 0D 0001 00 0008'$share/g'", MalformedPacket, false},
		{"NUL", V5, "A2 06 0001 00 0001 00", MalformedPacket, false},
		{"subscription identifier", V5, "A2 08 0001 02 0B01 0001'a'", ProtocolError, false},
		{"flags", V311, "A0 05 0001 0001'a'", MalformedPacket, false},
		{"flags of 3.1", V5, "AA 06 0001 00 0001'a'", MalformedPacket, false},
	})
}

func TestUnsubscribeUnwritable(t *testing.T) {
	checkUnwritable(t, []unwritable{
		{"packet id 0", V311, &Unsubscribe{Filters: [][]byte{[]byte("a")}}},
		{"no filter", V5, &Unsubscribe{PacketID: 1}},
		{"empty filter", V5, &Unsubscribe{PacketID: 1, Filters: [][]byte{nil}}},
		{"long filter", V311, &Unsubscribe{PacketID: 1, Filters: [][]byte{make([]byte, 65536)}}},
		{"misplaced property", V5, &Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte("a")}, Props: Properties{Has: has(PropReasonString)}}},
	})
}
