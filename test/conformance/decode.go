package conformance

import (
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf8"
)

// Packet is a packet received from the broker, fully decoded. Which fields count follows from Type.
type Packet struct {
	Type  byte
	Flags byte   // the low four bits of the first byte
	Body  []byte // what follows the fixed header

	ID             uint16 // packet identifier
	SessionPresent bool   // CONNACK
	Code           byte   // return code or reason code; 0 where the packet left it out
	Codes          []byte // SUBACK, UNSUBACK (MQTT 5)
	Dup, Retain    bool   // PUBLISH
	QoS            byte
	Topic          string
	Payload        string
	Props          []Prop
}

func (p *Packet) String() string {
	name := typeNames[p.Type]
	switch p.Type {
	case CONNACK:
		return fmt.Sprintf("%s session-present=%t code=0x%02x%s", name, p.SessionPresent, p.Code, propsString(p.Props))
	case PUBLISH:
		payload := p.Payload
		if len(payload) > 60 {
			payload = fmt.Sprintf("%s... (%d bytes)", payload[:60], len(payload))
		}
		return fmt.Sprintf("%s id=%d qos=%d dup=%t retain=%t topic=%q payload=%q%s", name, p.ID, p.QoS, p.Dup, p.Retain,
			p.Topic, payload, propsString(p.Props))
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return fmt.Sprintf("%s id=%d code=0x%02x%s", name, p.ID, p.Code, propsString(p.Props))
	case SUBACK, UNSUBACK:
		return fmt.Sprintf("%s id=%d codes=%x%s", name, p.ID, p.Codes, propsString(p.Props))
	case DISCONNECT, AUTH:
		return fmt.Sprintf("%s code=0x%02x%s", name, p.Code, propsString(p.Props))
	}
	return name
}

func propsString(props []Prop) string {
	if len(props) == 0 {
		return ""
	}
	return fmt.Sprintf(" props=%+v", props)
}

// Prop returns the first property with the id.
func (p *Packet) Prop(id byte) (Prop, bool) {
	for _, q := range p.Props {
		if q.ID == id {
			return q, true
		}
	}
	return Prop{}, false
}

// PropAll returns all properties with the id, in order.
func (p *Packet) PropAll(id byte) []Prop {
	var all []Prop
	for _, q := range p.Props {
		if q.ID == id {
			all = append(all, q)
		}
	}
	return all
}

// readPacket reads and decodes one packet as a server may send it, and refuses what the standard forbids a server.
// io.EOF is returned only between packets.
func readPacket(r io.Reader, v Version) (*Packet, error) {
	var b [1]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return nil, err
	}
	p := &Packet{Type: b[0] >> 4, Flags: b[0] & 0x0f}
	length, shift := 0, 0
	for {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, badf("%s cut off in its remaining length (%v)", typeNames[p.Type], err)
		}
		length |= int(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			break
		}
		if shift += 7; shift > 21 {
			return nil, badf("remaining length of more than four bytes in %s", typeNames[p.Type])
		}
	}
	if shift > 0 && b[0] == 0 {
		return nil, badf("remaining length of %s is not minimal", typeNames[p.Type])
	}
	p.Body = make([]byte, length)
	if _, err := io.ReadFull(r, p.Body); err != nil {
		return nil, badf("%s of %d bytes cut off: %v", typeNames[p.Type], length, err)
	}
	d := &decoder{b: p.Body, v: v}
	d.packet(p)
	if d.err == nil && len(d.b) > 0 {
		d.fail("%d bytes after the end of %s", len(d.b), typeNames[p.Type])
	}
	if d.err != nil {
		return nil, fmt.Errorf("%w (first byte 0x%02x, body %x)", d.err, p.Type<<4|p.Flags, clip(p.Body))
	}
	return p, nil
}

func clip(b []byte) []byte { return b[:min(len(b), 80)] }

// badPacket is an error in what the broker sent, as opposed to an error of the socket.
type badPacket string

func (e badPacket) Error() string { return "the broker sent a malformed packet: " + string(e) }

func badf(format string, args ...any) error { return badPacket(fmt.Sprintf(format, args...)) }

type decoder struct {
	b   []byte
	v   Version
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = badf(format, args...)
	}
}

func (d *decoder) take(n int) []byte {
	if d.err != nil || len(d.b) < n {
		d.fail("field of %d bytes runs over the end", n)
		return make([]byte, min(n, 8))
	}
	f := d.b[:n]
	d.b = d.b[n:]
	return f
}

func (d *decoder) byte() byte     { return d.take(1)[0] }
func (d *decoder) u16() uint16    { return binary.BigEndian.Uint16(d.take(2)) }
func (d *decoder) u32() uint32    { return binary.BigEndian.Uint32(d.take(4)) }
func (d *decoder) binary() string { return string(d.take(int(d.u16()))) }

func (d *decoder) string() string {
	s := d.binary()
	if !utf8.ValidString(s) {
		d.fail("string %q is not UTF-8", s)
	}
	for _, r := range s {
		if r == 0 {
			d.fail("string %q contains U+0000", s)
		}
	}
	return s
}

func (d *decoder) varint() int {
	n, shift := 0, 0
	for {
		c := d.byte()
		n |= int(c&0x7f) << shift
		if c < 0x80 {
			if shift > 0 && c == 0 {
				d.fail("variable byte integer is not minimal")
			}
			return n
		}
		if shift += 7; shift > 21 || d.err != nil {
			d.fail("variable byte integer of more than four bytes")
			return 0
		}
	}
}

// allowedProps: which properties a server may put in which packet (MQTT 5 §2.2.2.2).
var allowedProps = map[byte]string{
	CONNACK: string([]byte{PropSessionExpiry, PropAssignedClientID, PropServerKeepAlive, PropAuthMethod, PropAuthData,
		PropResponseInfo, PropServerReference, PropReasonString, PropReceiveMaximum, PropTopicAliasMaximum, PropMaximumQoS,
		PropRetainAvailable, PropUser, PropMaximumPacketSize, PropWildcardAvailable, PropSubIDAvailable, PropSharedAvailable}),
	PUBLISH: string([]byte{PropPayloadFormat, PropMessageExpiry, PropContentType, PropResponseTopic, PropCorrelationData,
		PropSubscriptionID, PropTopicAlias, PropUser}),
	PUBACK:     string([]byte{PropReasonString, PropUser}),
	PUBREC:     string([]byte{PropReasonString, PropUser}),
	PUBREL:     string([]byte{PropReasonString, PropUser}),
	PUBCOMP:    string([]byte{PropReasonString, PropUser}),
	SUBACK:     string([]byte{PropReasonString, PropUser}),
	UNSUBACK:   string([]byte{PropReasonString, PropUser}),
	DISCONNECT: string([]byte{PropServerReference, PropReasonString, PropUser}),
	AUTH:       string([]byte{PropAuthMethod, PropAuthData, PropReasonString, PropUser}),
}

func (d *decoder) props(typ byte) []Prop {
	n := d.varint()
	block := &decoder{b: d.take(n), v: d.v, err: d.err}
	var props []Prop
	seen := map[byte]bool{}
	for len(block.b) > 0 && block.err == nil {
		p := Prop{ID: block.byte()}
		switch propKind[p.ID] {
		case 1:
			p.Int = uint32(block.byte())
		case 2:
			p.Int = uint32(block.u16())
		case 4:
			p.Int = block.u32()
		case 'v':
			p.Int = uint32(block.varint())
		case 's':
			p.Str = block.string()
		case 'b':
			p.Str = block.binary()
		case 'p':
			p.Key, p.Str = block.string(), block.string()
		default:
			block.fail("unknown property 0x%02x in %s", p.ID, typeNames[typ])
		}
		allowed := false
		for i := range allowedProps[typ] {
			allowed = allowed || allowedProps[typ][i] == p.ID
		}
		if !allowed {
			block.fail("property 0x%02x does not belong in %s", p.ID, typeNames[typ])
		}
		if seen[p.ID] && p.ID != PropUser && (p.ID != PropSubscriptionID || typ != PUBLISH) {
			block.fail("property 0x%02x twice in %s", p.ID, typeNames[typ])
		}
		seen[p.ID] = true
		props = append(props, p)
	}
	d.err = block.err
	return props
}

func (d *decoder) packet(p *Packet) {
	wantFlags := byte(0)
	if p.Type == PUBREL {
		wantFlags = 2
	}
	if p.Type != PUBLISH && p.Flags != wantFlags {
		d.fail("reserved flags of %s are %04b", typeNames[p.Type], p.Flags)
		return
	}
	switch p.Type {
	case CONNACK:
		flags := d.byte()
		if flags > 1 {
			d.fail("reserved CONNACK flags are set: 0x%02x", flags)
		}
		p.SessionPresent, p.Code = flags == 1, d.byte()
		// A broker that does not know MQTT 5, or does not speak it, answers in the old form of two bytes.
		if d.v == V5 && (len(d.b) > 0 || p.Code == 0 || p.Code >= 0x80) {
			p.Props = d.props(p.Type)
		}
	case PUBLISH:
		d.publish(p)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		if p.ID = d.u16(); p.ID == 0 {
			d.fail("packet identifier 0 in %s", typeNames[p.Type])
		}
		d.reasonAndProps(p)
	case SUBACK:
		p.ID = d.u16()
		if d.v == V5 {
			p.Props = d.props(p.Type)
		}
		p.Codes = d.take(len(d.b))
	case UNSUBACK:
		p.ID = d.u16()
		if d.v == V5 {
			p.Props = d.props(p.Type)
			p.Codes = d.take(len(d.b))
		}
	case PINGRESP:
	case DISCONNECT, AUTH:
		if d.v != V5 {
			d.fail("a server of MQTT 3 does not send %s", typeNames[p.Type])
			return
		}
		d.reasonAndProps(p)
	default:
		d.fail("a server does not send %s", typeNames[p.Type])
	}
}

// reasonAndProps: both may be left out at the end of an MQTT 5 packet.
func (d *decoder) reasonAndProps(p *Packet) {
	if d.v != V5 || len(d.b) == 0 {
		return
	}
	p.Code = d.byte()
	if len(d.b) > 0 {
		p.Props = d.props(p.Type)
	}
}

func (d *decoder) publish(p *Packet) {
	p.Dup, p.QoS, p.Retain = p.Flags&8 != 0, p.Flags>>1&3, p.Flags&1 != 0
	if p.QoS == 3 {
		d.fail("PUBLISH with QoS 3")
	}
	if p.QoS == 0 && p.Dup {
		d.fail("PUBLISH with QoS 0 and DUP")
	}
	p.Topic = d.string()
	for _, r := range p.Topic {
		if r == '#' || r == '+' {
			d.fail("wildcard in the topic name %q", p.Topic)
		}
	}
	if p.QoS > 0 {
		if p.ID = d.u16(); p.ID == 0 {
			d.fail("packet identifier 0 in PUBLISH")
		}
	}
	if d.v == V5 {
		p.Props = d.props(p.Type)
	} else if p.Topic == "" {
		d.fail("empty topic name in PUBLISH")
	}
	p.Payload = string(d.take(len(d.b)))
}
