package bench

import (
	"encoding/binary"
	"fmt"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// The header of each payload: time of sending in nanoseconds since the run began (8 bytes), run (4), publisher (4).
const stampSize = 16

// batch is what a publisher sends with one write: some PUBLISH packets that differ in packet id and stamp only.
type batch struct {
	buf     []byte
	tail    []byte // the rest of a large payload, which is never changed and so not copied; then buf ends with the stamp
	frame   int    // bytes of one packet within buf
	pidAt   int    // offset of the packet id in a packet; 0: QoS 0
	stampAt int    // offset of the stamp in a packet
	count   int
}

// refPayload is the payload from which on the outbox takes a reference to what follows the stamp.
const refPayload = 8 << 10

func newBatch(o *Options, topic string, qos, payload, count int, retain bool, run, publisher uint32) (*batch, error) {
	p := mqtt.Publish{QoS: byte(qos), Topic: []byte(topic), Retain: retain, Payload: make([]byte, payload)}
	if qos > 0 {
		p.PacketID = 1
	}
	stamp := p.Payload[:stampSize]
	binary.BigEndian.PutUint32(stamp[8:], run)
	binary.BigEndian.PutUint32(stamp[12:], publisher)
	for i := stampSize; i < payload; i++ {
		p.Payload[i] = byte('a' + i%26)
	}
	one, err := p.Append(nil, o.Version)
	if err != nil {
		return nil, fmt.Errorf("bench: making a PUBLISH to %q: %w", topic, err)
	}
	b := &batch{frame: len(one), count: count, stampAt: len(one) - payload}
	if qos > 0 {
		b.pidAt = b.stampAt - 2
		if o.Version == mqtt.V5 {
			b.pidAt-- // the empty properties
		}
	}
	if payload >= refPayload && count == 1 {
		b.tail = one[b.stampAt+stampSize:]
		b.buf = one[:b.stampAt+stampSize]
		b.frame = len(b.buf)
		return b, nil
	}
	for range count {
		b.buf = append(b.buf, one...)
	}
	return b, nil
}

func (b *batch) size() int { return len(b.buf) + len(b.tail) }

// stamp sets the time, and the packet ids, of which the last used is given and the last used returned.
func (b *batch) stamp(at int64, pid uint16) uint16 {
	for off := 0; off < len(b.buf); off += b.frame {
		binary.BigEndian.PutUint64(b.buf[off+b.stampAt:], uint64(at))
		if b.pidAt != 0 {
			if pid++; pid == 0 {
				pid = 1
			}
			binary.BigEndian.PutUint16(b.buf[off+b.pidAt:], pid)
		}
	}
	return pid
}

// stampOf reads a payload's header.
func stampOf(p []byte) (at int64, run, publisher uint32) {
	return int64(binary.BigEndian.Uint64(p)), binary.BigEndian.Uint32(p[8:]), binary.BigEndian.Uint32(p[12:])
}

func connectFrame(o *Options, id string, clean bool) ([]byte, error) {
	c := mqtt.Connect{Version: o.Version, CleanStart: clean, KeepAlive: o.KeepAlive, ClientID: []byte(id)}
	if o.Username != "" {
		c.HasUsername, c.Username = true, []byte(o.Username)
	}
	if o.Password != "" {
		c.HasPassword, c.Password = true, []byte(o.Password)
	}
	if !clean && o.Version == mqtt.V5 {
		c.Props.Has.Set(mqtt.PropSessionExpiry)
		c.Props.SessionExpiry = 3600
	}
	return c.Append(nil)
}

func subscribeFrame(o *Options, dst []byte, pid uint16, qos int, filters ...string) ([]byte, error) {
	s := mqtt.Subscribe{PacketID: pid}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, mqtt.Subscription{Filter: []byte(f), Options: mqtt.SubOptions(qos)})
	}
	return s.Append(dst, o.Version)
}

func unsubscribeFrame(o *Options, dst []byte, pid uint16, filters ...string) ([]byte, error) {
	u := mqtt.Unsubscribe{PacketID: pid}
	for _, f := range filters {
		u.Filters = append(u.Filters, []byte(f))
	}
	return u.Append(dst, o.Version)
}

var disconnectFrame = []byte{byte(mqtt.DISCONNECT) << 4, 0}

// connackOf reads a CONNACK's body: the code, and what MQTT 5 says about how much may be under way.
func connackOf(f mqtt.Frame, v mqtt.Version) (code mqtt.ReasonCode, receiveMaximum int, err error) {
	var c mqtt.Connack
	if err := c.Decode(f, v); err != nil {
		return 0, 0, err
	}
	receiveMaximum = 65535
	if c.Props.Has.Has(mqtt.PropReceiveMaximum) {
		receiveMaximum = int(c.Props.ReceiveMaximum)
	}
	return c.Code, receiveMaximum, nil
}
