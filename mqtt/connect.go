package mqtt

import (
	"fmt"

	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// Connect is a CONNECT packet (MQTT 5 §3.1, MQTT 3.1.1 §3.1).
type Connect struct {
	ProtocolName []byte // set by Decode; Append derives it from Version
	Version      Version
	Bridge       bool   // 0x80 set in the protocol level: the sender is a bridge (3.1 and 3.1.1 only)
	CleanStart   bool   // "clean session" before MQTT 5
	KeepAlive    uint16 // seconds; 0 none
	ClientID     []byte
	HasUsername  bool
	HasPassword  bool
	Username     []byte
	Password     []byte
	HasWill      bool
	Will         Will
	Props        Properties
}

// Will is the message that a server publishes for a client that is gone.
type Will struct {
	Topic   []byte
	Payload []byte
	QoS     byte
	Retain  bool
	Props   Properties
}

// The bits of the connect flags (MQTT 5 §3.1.2.3).
const (
	flagReserved   = 1 << 0
	flagCleanStart = 1 << 1
	flagWill       = 1 << 2
	flagWillQoS    = 3 << 3
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUsername   = 1 << 7

	bridgeBit = 0x80
)

const (
	nameV31 = "MQIsdp"
	name    = "MQTT"
)

// Decode reads f, and the version from it. Slices are views of f.Body.
//
// A protocol name that is none of MQTT's is a ProtocolError. A level that the
// name does not have is an UnsupportedProtocolVersion, with Version and Bridge
// set to what was asked for, so that the caller can choose how to answer. A
// client identifier with bad characters is ClientIdentifierNotValid in MQTT 5.
func (p *Connect) Decode(f Frame) error {
	p.reset()
	if err := f.check(CONNECT, V311); err != nil {
		return err
	}
	b, err := p.decodeVersion(f.Body)
	if err != nil {
		return err
	}
	if len(b) < 3 {
		return truncated(CONNECT, "the connect flags and keep alive")
	}
	flags := b[0]
	if err := p.decodeFlags(flags); err != nil {
		return err
	}
	p.KeepAlive = uint16At(b[1:])
	b = b[3:]
	if p.Version == V5 {
		if b, err = p.Props.decode(b, place(CONNECT)); err != nil {
			return err
		}
		if p.Props.Has.Has(PropAuthData) && !p.Props.Has.Has(PropAuthMethod) {
			return protocolError(CONNECT, "Authentication Data without Authentication Method", "MQTT 5 §3.1.2.11.10")
		}
	}
	if b, err = p.decodeClientID(b); err != nil {
		return err
	}
	if p.HasWill {
		if b, err = p.decodeWill(b); err != nil {
			return err
		}
	}
	if b, err = p.decodeCredentials(b); err != nil {
		return err
	}
	if len(b) > 0 {
		return trailing(CONNECT)
	}
	return nil
}

func (p *Connect) reset() {
	p.Props.Reset()
	p.Will.Props.Reset()
	*p = Connect{Props: p.Props, Will: Will{Props: p.Will.Props}}
}

// decodeVersion reads the protocol name and level.
func (p *Connect) decodeVersion(b []byte) (rest []byte, err error) {
	var ok bool
	if p.ProtocolName, b, ok = cutString(b); !ok {
		return nil, truncated(CONNECT, "the protocol name")
	}
	if s := string(p.ProtocolName); s != name && s != nameV31 {
		return nil, protocolError(CONNECT, fmt.Sprintf("protocol name is %.32q, must be \"MQTT\" or \"MQIsdp\"", p.ProtocolName), "MQTT-3.1.2-1")
	}
	if len(b) == 0 {
		return nil, truncated(CONNECT, "the protocol level")
	}
	p.Bridge = b[0]&bridgeBit != 0
	p.Version = Version(b[0] &^ bridgeBit)
	known := p.Version == V311 || (p.Version == V5 && !p.Bridge)
	if string(p.ProtocolName) == nameV31 {
		known = p.Version == V31
	}
	if !known {
		return nil, &Error{UnsupportedProtocolVersion, CONNECT,
			fmt.Sprintf("%s has no level 0x%02X; 3.1, 3.1.1 and 5 exist", p.ProtocolName, b[0]), "MQTT-3.1.2-2"}
	}
	return b[1:], nil
}

func (p *Connect) decodeFlags(flags byte) error {
	if flags&flagReserved != 0 && p.Version != V31 {
		return malformed(CONNECT, "reserved bit of the connect flags is set", "MQTT-3.1.2-3")
	}
	p.CleanStart = flags&flagCleanStart != 0
	p.HasWill = flags&flagWill != 0
	p.Will.QoS = flags & flagWillQoS >> 3
	p.Will.Retain = flags&flagWillRetain != 0
	p.HasPassword = flags&flagPassword != 0
	p.HasUsername = flags&flagUsername != 0
	switch {
	case p.Will.QoS == 3:
		return malformed(CONNECT, "QoS of the will is 3", "MQTT-3.1.2-12")
	case !p.HasWill && p.Will.QoS != 0:
		return malformed(CONNECT, "QoS of a will without the will flag", "MQTT-3.1.2-11")
	case !p.HasWill && p.Will.Retain:
		return malformed(CONNECT, "retain of a will without the will flag", "MQTT-3.1.2-13")
	case p.HasPassword && !p.HasUsername && p.Version != V5:
		return malformed(CONNECT, "password without user name", "MQTT 3.1.1 MQTT-3.1.2-22")
	}
	return nil
}

func (p *Connect) decodeClientID(b []byte) (rest []byte, err error) {
	var ok bool
	if p.ClientID, b, ok = cutString(b); !ok {
		return nil, truncated(CONNECT, "the client identifier")
	}
	if bad := topic.ValidCharacters(p.ClientID); bad != nil {
		e := topicError(CONNECT, "client identifier", bad)
		if p.Version == V5 {
			e.Code = ClientIdentifierNotValid
		}
		return nil, e
	}
	return b, nil
}

func (p *Connect) decodeWill(b []byte) (rest []byte, err error) {
	if p.Version == V5 {
		if b, err = p.Will.Props.decode(b, willPlace); err != nil {
			return nil, err
		}
	}
	var ok bool
	if p.Will.Topic, b, ok = cutString(b); !ok {
		return nil, truncated(CONNECT, "the will topic")
	}
	if err := topic.ValidName(p.Will.Topic); err != nil {
		return nil, topicError(CONNECT, "will topic", err)
	}
	if p.Will.Payload, b, ok = cutString(b); !ok {
		return nil, truncated(CONNECT, "the will payload")
	}
	return b, nil
}

// decodeCredentials reads user name and password. MQTT 3.1 wants a server to
// take a CONNECT that ends before them although their flags are set ("the
// Remaining Length takes precedence", MQTT 3.1 §3.1).
func (p *Connect) decodeCredentials(b []byte) (rest []byte, err error) {
	if p.Version == V31 && len(b) == 0 {
		p.HasUsername, p.HasPassword = false, false
	}
	var ok bool
	if p.HasUsername {
		if p.Username, b, ok = cutString(b); !ok {
			return nil, truncated(CONNECT, "the user name")
		}
		if err := topic.ValidCharacters(p.Username); err != nil {
			return nil, topicError(CONNECT, "user name", err)
		}
	}
	if p.Version == V31 && len(b) == 0 {
		p.HasPassword = false
	}
	if p.HasPassword {
		if p.Password, b, ok = cutString(b); !ok {
			return nil, truncated(CONNECT, "the password")
		}
	}
	return b, nil
}

// Append appends the packet in p.Version. Before MQTT 5, Props and Will.Props
// are left out; so is Will if HasWill is false, and so on.
func (p *Connect) Append(dst []byte) ([]byte, error) {
	size, err := p.measure()
	if err != nil {
		return dst, err
	}
	out, err := appendHeader(dst, CONNECT, 0, size)
	if err != nil {
		return dst, err
	}
	if p.Version == V31 {
		out = AppendString(out, []byte(nameV31))
	} else {
		out = AppendString(out, []byte(name))
	}
	level := byte(p.Version)
	if p.Bridge {
		level |= bridgeBit
	}
	out = append(out, level, p.flags())
	out = AppendUint16(out, p.KeepAlive)
	if p.Version == V5 {
		out = p.Props.Append(out)
	}
	out = AppendString(out, p.ClientID)
	if p.HasWill {
		if p.Version == V5 {
			out = p.Will.Props.Append(out)
		}
		out = AppendString(AppendString(out, p.Will.Topic), p.Will.Payload)
	}
	if p.HasUsername {
		out = AppendString(out, p.Username)
	}
	if p.HasPassword {
		out = AppendString(out, p.Password)
	}
	return out, nil
}

func (p *Connect) flags() (flags byte) {
	if p.CleanStart {
		flags |= flagCleanStart
	}
	if p.HasWill {
		flags |= flagWill | p.Will.QoS<<3
		if p.Will.Retain {
			flags |= flagWillRetain
		}
	}
	if p.HasPassword {
		flags |= flagPassword
	}
	if p.HasUsername {
		flags |= flagUsername
	}
	return flags
}

// measure returns the remaining length, or why there is none.
func (p *Connect) measure() (size int, err error) {
	switch {
	case p.Version != V31 && p.Version != V311 && p.Version != V5:
		return 0, unencodable(CONNECT, fmt.Sprintf("Version is %d, must be V31, V311 or V5", p.Version), "")
	case p.Bridge && p.Version == V5:
		return 0, unencodable(CONNECT, "MQTT 5 has no bridge bit", "")
	case p.HasPassword && !p.HasUsername && p.Version != V5:
		return 0, unencodable(CONNECT, "password without user name", "MQTT 3.1.1 MQTT-3.1.2-22")
	case p.HasWill && p.Will.QoS > 2:
		return 0, unencodable(CONNECT, "QoS of the will is above 2", "MQTT-3.1.2-12")
	case p.HasWill && len(p.Will.Topic) == 0:
		return 0, unencodable(CONNECT, "will topic is empty", "MQTT-4.7.3-1")
	}
	size = 2 + len(name) + 4
	if p.Version == V31 {
		size = 2 + len(nameV31) + 4
	}
	if p.Version == V5 {
		if size, err = addProps(size, &p.Props, place(CONNECT)); err != nil {
			return 0, err
		}
		if p.HasWill {
			if size, err = addProps(size, &p.Will.Props, willPlace); err != nil {
				return 0, err
			}
		}
	}
	for _, s := range [...]struct {
		what  string
		value []byte
		there bool
	}{
		{"client identifier", p.ClientID, true},
		{"will topic", p.Will.Topic, p.HasWill},
		{"will payload", p.Will.Payload, p.HasWill},
		{"user name", p.Username, p.HasUsername},
		{"password", p.Password, p.HasPassword},
	} {
		if !s.there {
			continue
		}
		if len(s.value) > MaxStringLength {
			return 0, unencodable(CONNECT, s.what+" is longer than 65535 bytes", "MQTT 5 §1.5.4")
		}
		size += 2 + len(s.value)
	}
	return size, nil
}

func addProps(size int, p *Properties, at place) (int, error) {
	n, err := p.measure(at)
	return size + n, err
}
