package conn_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Packets as text, for scripts: a name, what the packet must have by place, and what it may have by name:
//
//	CONNECT v5 id=alice clean expiry=60        v3 is MQTT 3.1.1; v5 is the default
//	SUBSCRIBE 1 a/b qos=1 rap , c/# no-local   several filters are separated by commas
//	PUBLISH a/b "hello" qos=1 id=7 retain      a payload of 5000 bytes is 5000B; an empty topic is -
//	PUBACK 7 0x10                              codes below 3 are decimal
//
// What each CONNACK of MQTT 5 tells (the broker's limits) and reason strings are left out.

type words struct {
	text string
	rest []string
}

// split cuts at spaces outside quotes.
func split(s string) []string {
	quoted := false
	return strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
}

// next takes the next word; "" at the end.
func (w *words) next() string {
	if len(w.rest) == 0 {
		return ""
	}
	s := w.rest[0]
	w.rest = w.rest[1:]
	return s
}

// number panics with a fault: encode turns it into an error.
func number(s string, bits int) uint64 {
	n, err := strconv.ParseUint(s, 0, bits)
	if err != nil {
		panic(fault(fmt.Sprintf("%q is no number of %d bits", s, bits)))
	}
	return n
}

type fault string

func (w *words) id() uint16 { return uint16(number(w.next(), 16)) }

// payload reads "text" or 5000B.
func payload(s string) []byte {
	if t, ok := strings.CutPrefix(s, `"`); ok {
		return []byte(strings.TrimSuffix(t, `"`))
	}
	if n, ok := strings.CutSuffix(s, "B"); ok {
		return []byte(strings.Repeat("x", int(number(n, 32))))
	}
	panic(fault(fmt.Sprintf("%q is no payload: write \"text\" or 100B", s)))
}

// encode makes a packet. CONNECT sets the version that the others use.
func encode(text string, v *mqtt.Version) (p []byte, err error) {
	defer func() {
		if f, ok := recover().(fault); ok {
			err = fmt.Errorf("%s: %s", text, string(f))
		}
	}()
	w := &words{text: text, rest: split(text)}
	switch name := w.next(); name {
	case "CONNECT":
		return encodeConnect(w, v)
	case "PUBLISH":
		return encodePublish(w).Append(nil, *v)
	case "PUBACK", "PUBREC", "PUBREL", "PUBCOMP":
		types := map[string]mqtt.PacketType{"PUBACK": mqtt.PUBACK, "PUBREC": mqtt.PUBREC, "PUBREL": mqtt.PUBREL, "PUBCOMP": mqtt.PUBCOMP}
		a := &mqtt.Ack{Type: types[name], PacketID: w.id()}
		if s := w.next(); s != "" {
			a.Code = mqtt.ReasonCode(number(s, 8))
		}
		return a.Append(nil, *v)
	case "SUBSCRIBE":
		return encodeSubscribe(w).Append(nil, *v)
	case "UNSUBSCRIBE":
		u := &mqtt.Unsubscribe{PacketID: w.id()}
		for s := w.next(); s != ""; s = w.next() {
			u.Filters = append(u.Filters, []byte(s))
		}
		return u.Append(nil, *v)
	case "PINGREQ":
		return mqtt.PingreqBytes, nil
	case "DISCONNECT":
		d := &mqtt.Disconnect{}
		for s := w.next(); s != ""; s = w.next() {
			if e, ok := strings.CutPrefix(s, "expiry="); ok {
				d.Props.Has.Set(mqtt.PropSessionExpiry)
				d.Props.SessionExpiry = uint32(number(e, 32))
			} else {
				d.Code = mqtt.ReasonCode(number(s, 8))
			}
		}
		return d.Append(nil, *v)
	}
	return nil, fmt.Errorf("%s: no such packet", text)
}

// Long: one case per option.
func encodeConnect(w *words, v *mqtt.Version) ([]byte, error) {
	p := &mqtt.Connect{Version: mqtt.V5}
	props, will := &p.Props, &p.Will
	for s := w.next(); s != ""; s = w.next() {
		name, value, _ := strings.Cut(s, "=")
		switch name {
		case "v31":
			p.Version = mqtt.V31
		case "v3":
			p.Version = mqtt.V311
		case "v5":
		case "id":
			p.ClientID = []byte(value)
		case "clean":
			p.CleanStart = true
		case "keepalive":
			p.KeepAlive = uint16(number(value, 16))
		case "user":
			p.HasUsername, p.Username = true, []byte(value)
		case "expiry":
			props.Has.Set(mqtt.PropSessionExpiry)
			props.SessionExpiry = uint32(number(value, 32))
		case "receive-max":
			props.Has.Set(mqtt.PropReceiveMaximum)
			props.ReceiveMaximum = uint16(number(value, 16))
		case "alias-max":
			props.Has.Set(mqtt.PropTopicAliasMaximum)
			props.TopicAliasMaximum = uint16(number(value, 16))
		case "max-packet":
			props.Has.Set(mqtt.PropMaximumPacketSize)
			props.MaximumPacketSize = uint32(number(value, 32))
		case "will-topic":
			p.HasWill, will.Topic = true, []byte(value)
		case "will":
			will.Payload = payload(value)
		case "will-qos":
			will.QoS = byte(number(value, 2))
		case "will-retain":
			will.Retain = true
		case "will-delay":
			will.Props.Has.Set(mqtt.PropWillDelay)
			will.Props.WillDelay = uint32(number(value, 32))
		case "will-expiry":
			will.Props.Has.Set(mqtt.PropMessageExpiry)
			will.Props.MessageExpiry = uint32(number(value, 32))
		default:
			panic(fault("CONNECT has no option " + name))
		}
	}
	*v = p.Version
	return p.Append(nil)
}

func encodePublish(w *words) *mqtt.Publish {
	p := &mqtt.Publish{Topic: []byte(strings.TrimPrefix(w.next(), "-")), Payload: payload(w.next())}
	for s := w.next(); s != ""; s = w.next() {
		name, value, _ := strings.Cut(s, "=")
		switch name {
		case "qos":
			p.QoS = byte(number(value, 2))
		case "id":
			p.PacketID = uint16(number(value, 16))
		case "dup":
			p.Dup = true
		case "retain":
			p.Retain = true
		case "expiry":
			p.Props.Has.Set(mqtt.PropMessageExpiry)
			p.Props.MessageExpiry = uint32(number(value, 32))
		case "alias":
			p.Props.Has.Set(mqtt.PropTopicAlias)
			p.Props.TopicAlias = uint16(number(value, 16))
		case "user":
			k, v, _ := strings.Cut(value, ":")
			p.Props.User = append(p.Props.User, mqtt.UserProperty{Key: []byte(k), Value: []byte(v)})
		case "type":
			p.Props.Has.Set(mqtt.PropContentType)
			p.Props.ContentType = []byte(value)
		default:
			panic(fault("PUBLISH has no option " + name))
		}
	}
	return p
}

func encodeSubscribe(w *words) *mqtt.Subscribe {
	p := &mqtt.Subscribe{PacketID: w.id()}
	add := func(filter string) {
		p.Subscriptions = append(p.Subscriptions, mqtt.Subscription{Filter: []byte(filter)})
	}
	add(w.next())
	for s := w.next(); s != ""; s = w.next() {
		o := &p.Subscriptions[len(p.Subscriptions)-1].Options
		name, value, _ := strings.Cut(s, "=")
		switch name {
		case ",":
			add(w.next())
		case "qos":
			*o |= mqtt.SubOptions(number(value, 2))
		case "no-local":
			*o |= mqtt.SubNoLocal
		case "rap":
			*o |= mqtt.SubRetainAsPublished
		case "rh":
			*o |= mqtt.SubOptions(number(value, 2) << 4)
		case "subid":
			p.Props.SubscriptionIDs = []uint32{uint32(number(value, 28))}
		default:
			panic(fault("SUBSCRIBE has no option " + name))
		}
	}
	return p
}

func code(c mqtt.ReasonCode) string {
	if c < 3 {
		return " " + strconv.Itoa(int(c))
	}
	return fmt.Sprintf(" 0x%02X", byte(c))
}

func codeUnlessSuccess(c mqtt.ReasonCode) string {
	if c == mqtt.Success {
		return ""
	}
	return code(c)
}

func codes(cs []mqtt.ReasonCode) (s string) {
	for _, c := range cs {
		s += code(c)
	}
	return s
}

// describe is the text of a packet from the broker.
func describe(f mqtt.Frame, v mqtt.Version) string {
	var err error
	s := f.Type.String()
	switch f.Type {
	case mqtt.CONNACK:
		var p mqtt.Connack
		err = p.Decode(f, v)
		if p.SessionPresent {
			s += " session-present"
		}
		s += codeUnlessSuccess(p.Code)
		if p.Props.Has.Has(mqtt.PropAssignedClientID) {
			s += " assigned-id"
		}
		if p.Props.Has.Has(mqtt.PropServerKeepAlive) {
			s += fmt.Sprintf(" keepalive=%d", p.Props.ServerKeepAlive)
		}
		if p.Props.Has.Has(mqtt.PropSessionExpiry) {
			s += fmt.Sprintf(" expiry=%d", p.Props.SessionExpiry)
		}
	case mqtt.PUBLISH:
		var p mqtt.Publish
		err = p.Decode(f, v)
		s += describePublish(&p)
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		var p mqtt.Ack
		err = p.Decode(f, v)
		s += fmt.Sprintf(" %d", p.PacketID) + codeUnlessSuccess(p.Code)
	case mqtt.SUBACK:
		var p mqtt.Suback
		err = p.Decode(f, v)
		s += fmt.Sprintf(" %d", p.PacketID) + codes(p.Codes)
	case mqtt.UNSUBACK:
		var p mqtt.Unsuback
		err = p.Decode(f, v)
		s += fmt.Sprintf(" %d", p.PacketID) + codes(p.Codes)
	case mqtt.PINGRESP:
	case mqtt.DISCONNECT:
		var p mqtt.Disconnect
		err = p.Decode(f, v)
		s += codeUnlessSuccess(p.Code)
	default:
		return s + ": a server does not send this"
	}
	if err != nil {
		return fmt.Sprintf("%s that cannot be decoded: %v: %x", f.Type, err, f.Body)
	}
	return s
}

func describePublish(p *mqtt.Publish) string {
	var b strings.Builder
	opt := func(on bool, format string, args ...any) {
		if on {
			fmt.Fprintf(&b, " "+format, args...)
		}
	}
	opt(len(p.Topic) > 0, "%s", p.Topic)
	opt(len(p.Topic) == 0, "-")
	opt(len(p.Payload) <= 40, `"%s"`, p.Payload)
	opt(len(p.Payload) > 40, "%dB", len(p.Payload))
	opt(p.QoS > 0, "qos=%d id=%d", p.QoS, p.PacketID)
	opt(p.Dup, "dup")
	opt(p.Retain, "retain")
	has := p.Props.Has.Has
	opt(has(mqtt.PropMessageExpiry), "expiry=%d", p.Props.MessageExpiry)
	opt(has(mqtt.PropTopicAlias), "alias=%d", p.Props.TopicAlias)
	for i, id := range slices.Sorted(slices.Values(p.Props.SubscriptionIDs)) { // their order means nothing
		if i == 0 {
			opt(true, "subids=%d", id)
		} else {
			fmt.Fprintf(&b, ",%d", id)
		}
	}
	opt(has(mqtt.PropContentType), "type=%s", p.Props.ContentType)
	for _, u := range p.Props.User {
		opt(true, "user=%s:%s", u.Key, u.Value)
	}
	return b.String()
}
