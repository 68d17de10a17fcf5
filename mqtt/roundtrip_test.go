package mqtt

import (
	"bytes"
	"strings"
	"testing"

	"github.com/nightjar-mqtt/nightjar/mqtt/topic"

	"pgregory.net/rapid"
)

// Random packets, each valid, written and read again.

func drawVersion(t *rapid.T) Version {
	return rapid.SampledFrom([]Version{V31, V311, V5}).Draw(t, "version")
}

func drawBinary(t *rapid.T, label string) []byte {
	return rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, label)
}

// drawText returns any string that a property may hold.
func drawText(t *rapid.T, label string) []byte {
	s := rapid.StringOfN(rapid.Rune(), 0, 20, 80).Draw(t, label)
	return []byte(strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "0"))
}

// drawName returns a string that a client identifier, user name or topic may be.
func drawName(t *rapid.T, label string) []byte {
	s := rapid.StringOfN(rapid.OneOf(rapid.RuneFrom([]rune("ab/ é温😀$")), rapid.Rune()), 0, 20, 80).Draw(t, label)
	b := []byte(strings.NewReplacer("+", "p", "#", "h").Replace(s))
	if topic.ValidCharacters(b) != nil {
		return []byte("plain")
	}
	return b
}

func drawTopic(t *rapid.T, label string) []byte {
	if b := drawName(t, label); len(b) > 0 {
		return b
	}
	return []byte("a/b")
}

func drawFilter(t *rapid.T) []byte {
	levels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "+", "", "b c", "é"}), 1, 5).Draw(t, "levels")
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		levels = append(levels, "#")
	case 1:
		levels = append([]string{"$share", "g"}, levels...)
	}
	f := strings.Join(levels, "/")
	if topic.ValidFilter([]byte(f)) != nil {
		return []byte("+/f/#")
	}
	return []byte(f)
}

func drawID(t *rapid.T) uint16 { return rapid.Uint16Range(1, 65535).Draw(t, "packet id") }

func drawCode(t *rapid.T, list codeSet) ReasonCode {
	var all []ReasonCode
	for c := range 256 {
		if list.has(ReasonCode(c)) {
			all = append(all, ReasonCode(c))
		}
	}
	return rapid.SampledFrom(all).Draw(t, "code")
}

// drawProps sets each property that may stand there, or not.
func drawProps(t *rapid.T, at place) (p Properties) {
	for id := range PropertyID(64) {
		if !allowed[at].Has(id) || rapid.IntRange(0, 2).Draw(t, "with "+id.String()) != 0 {
			continue
		}
		p.Has.Set(id)
		switch kinds[id] {
		case kindByte:
			*p.byteField(id) = rapid.ByteRange(0, 1).Draw(t, "byte")
		case kindUint16:
			*p.uint16Field(id) = rapid.Uint16Range(1, 65535).Draw(t, "uint16")
		case kindUint32:
			*p.uint32Field(id) = rapid.Uint32Range(1, 1<<32-1).Draw(t, "uint32")
		case kindText:
			if id == PropResponseTopic {
				*p.bytesField(id) = drawTopic(t, "response topic")
			} else {
				*p.bytesField(id) = drawText(t, "text")
			}
		case kindBinary:
			*p.bytesField(id) = drawBinary(t, "binary")
		case kindIDs:
			most := 1
			if at == place(PUBLISH) {
				most = 5
			}
			p.SubscriptionIDs = rapid.SliceOfN(rapid.Uint32Range(1, MaxRemainingLength), 1, most).Draw(t, "subscription ids")
		case kindUser:
			for range rapid.IntRange(1, 5).Draw(t, "user properties") {
				p.User = append(p.User, UserProperty{drawText(t, "key"), drawText(t, "value")})
			}
		}
	}
	return p
}

// props is drawProps in MQTT 5 and nothing before.
func props(t *rapid.T, at place, v Version) Properties {
	if v != V5 {
		return Properties{}
	}
	return drawProps(t, at)
}

func drawPacket(t *rapid.T, typ PacketType, v Version) any {
	switch typ {
	case CONNECT:
		return drawConnect(t, v)
	case CONNACK:
		p := &Connack{Props: props(t, place(CONNACK), v)}
		if v == V5 {
			p.Code = drawCode(t, connackCodes)
		} else {
			p.Code = ReasonCode(rapid.ByteRange(0, 5).Draw(t, "code"))
		}
		p.SessionPresent = p.Code == Success && v != V31 && rapid.Bool().Draw(t, "present")
		return p
	case PUBLISH:
		return drawPublish(t, v)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		p := &Ack{Type: typ, PacketID: drawID(t), Props: props(t, place(typ), v)}
		if v == V5 {
			p.Code = drawCode(t, map[bool]codeSet{false: receivedCodes, true: releasedCodes}[typ >= PUBREL])
		}
		return p
	case SUBSCRIBE:
		p := &Subscribe{PacketID: drawID(t), Props: props(t, place(SUBSCRIBE), v)}
		for range rapid.IntRange(1, 4).Draw(t, "filters") {
			s := Subscription{drawFilter(t), SubOptions(rapid.ByteRange(0, 2).Draw(t, "qos"))}
			if v == V5 {
				s.Options |= SubOptions(rapid.ByteRange(0, 2).Draw(t, "retain handling") << 4)
				s.Options |= SubOptions(rapid.ByteRange(0, 3).Draw(t, "flags") << 2)
				if isShared(s.Filter) {
					s.Options &^= SubNoLocal
				}
			}
			p.Subscriptions = append(p.Subscriptions, s)
		}
		return p
	case SUBACK:
		p := &Suback{PacketID: drawID(t), Props: props(t, place(SUBACK), v)}
		for range rapid.IntRange(1, 4).Draw(t, "codes") {
			p.Codes = append(p.Codes, drawCode(t, map[bool]codeSet{false: subackCodesV3, true: subackCodes}[v == V5]))
		}
		return p
	case UNSUBSCRIBE:
		p := &Unsubscribe{PacketID: drawID(t), Props: props(t, place(UNSUBSCRIBE), v)}
		for range rapid.IntRange(1, 4).Draw(t, "filters") {
			p.Filters = append(p.Filters, drawFilter(t))
		}
		return p
	case UNSUBACK:
		p := &Unsuback{PacketID: drawID(t), Props: props(t, place(UNSUBACK), v)}
		for range rapid.IntRange(1, 4).Draw(t, "codes") {
			if v == V5 {
				p.Codes = append(p.Codes, drawCode(t, unsubackCodes))
			}
		}
		return p
	case DISCONNECT:
		p := &Disconnect{Props: props(t, place(DISCONNECT), v)}
		if v == V5 {
			p.Code = ReasonCode(rapid.Byte().Draw(t, "code"))
		}
		return p
	default:
		p := &Auth{Code: drawCode(t, authCodes), Props: drawProps(t, place(AUTH))}
		p.Props.Has.Set(PropAuthMethod)
		p.Props.AuthMethod = drawText(t, "method")
		return p
	}
}

func drawConnect(t *rapid.T, v Version) *Connect {
	p := &Connect{Version: v, ProtocolName: []byte(name), KeepAlive: rapid.Uint16().Draw(t, "keep alive"), ClientID: drawName(t, "client id"),
		CleanStart: rapid.Bool().Draw(t, "clean"), Bridge: v != V5 && rapid.Bool().Draw(t, "bridge"), Props: props(t, place(CONNECT), v)}
	if v == V31 {
		p.ProtocolName = []byte(nameV31)
	}
	if p.Props.Has.Has(PropAuthData) {
		p.Props.Has.Set(PropAuthMethod)
		p.Props.AuthMethod = drawText(t, "method")
	}
	if p.HasUsername = rapid.Bool().Draw(t, "has user name"); p.HasUsername {
		p.Username = drawName(t, "user name")
	}
	if p.HasPassword = (p.HasUsername || v == V5) && rapid.Bool().Draw(t, "has password"); p.HasPassword {
		p.Password = drawBinary(t, "password")
	}
	if p.HasWill = rapid.Bool().Draw(t, "has will"); p.HasWill {
		p.Will = Will{Topic: drawTopic(t, "will topic"), Payload: drawBinary(t, "will payload"), QoS: rapid.ByteRange(0, 2).Draw(t, "will qos"),
			Retain: rapid.Bool().Draw(t, "will retain"), Props: props(t, willPlace, v)}
	}
	return p
}

func drawPublish(t *rapid.T, v Version) *Publish {
	p := &Publish{QoS: rapid.ByteRange(0, 2).Draw(t, "qos"), Retain: rapid.Bool().Draw(t, "retain"), Topic: drawTopic(t, "topic"),
		Payload: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload"), Props: props(t, place(PUBLISH), v)}
	if p.QoS > 0 {
		p.PacketID = drawID(t)
		p.Dup = rapid.Bool().Draw(t, "dup")
	}
	if p.Props.Has.Has(PropTopicAlias) && rapid.Bool().Draw(t, "alias only") {
		p.Topic = nil
	}
	return p
}

func TestRoundTrip(t *testing.T) {
	for typ := CONNECT; typ <= AUTH; typ++ {
		if newPacket(typ) == nil {
			continue
		}
		t.Run(typ.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				v := drawVersion(t)
				if typ == AUTH {
					v = V5
				}
				want := drawPacket(t, typ, v)
				out, err := appendPacket([]byte{0xAA}, want, v)
				if err != nil || out[0] != 0xAA {
					t.Fatalf("%+v: %v", want, err)
				}
				got, err := decode(out[1:], v)
				if err != nil {
					t.Fatalf("% x: %v", out[1:], err)
				}
				if diff := same(want, got); diff != "" {
					t.Fatalf("(-want +got):\n%s", diff)
				}
				again, err := appendPacket(nil, got, v)
				if err != nil || !bytes.Equal(again, out[1:]) {
					t.Fatalf("written again: % x, %v", again, err)
				}
				// One byte of room is as good as enough: Append never writes past len.
				if tight, _ := appendPacket(make([]byte, 0, 1), want, v); !bytes.Equal(tight, out[1:]) {
					t.Fatalf("into little room: % x", tight)
				}
			})
		})
	}
}

// A byte changed anywhere gives an *Error or a packet, never a panic, and that
// packet can be written.
func TestMutated(t *testing.T) {
	for _, g := range allGoldens() {
		whole := unhex(t, g.hex)
		for i := range whole {
			for _, c := range []byte{0, 1, 0x7F, 0x80, 0xFF, whole[i] ^ 1, whole[i] + 1, whole[i] ^ 0x80} {
				b := bytes.Clone(whole)
				b[i] = c
				for _, v := range []Version{V31, V311, V5} {
					checkBytes(t, b, v)
				}
			}
		}
	}
}
