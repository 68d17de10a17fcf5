//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"sort"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// client is one MQTT 3.1.1 connection with blocking reads and writes: the simplest there can be, since it shares the
// machine with what is measured.
type client struct {
	conn net.Conn
	in   *bufio.Reader
}

const patience = 2 * time.Minute

// connect opens a connection; present tells whether the broker has a session of the client.
func connect(address, id string, clean bool) (c *client, present bool, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, false, err
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, false, err
	}
	c = &client{conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
	p := mqtt.Connect{Version: mqtt.V311, ClientID: []byte(id), CleanStart: clean}
	frame, err := p.Append(nil)
	if err != nil {
		return nil, false, err
	}
	if _, err := conn.Write(frame); err != nil {
		return nil, false, err
	}
	first, body, err := c.read()
	if err != nil {
		return nil, false, fmt.Errorf("client %s: CONNACK: %w", id, err)
	}
	if mqtt.PacketType(first>>4) != mqtt.CONNACK || len(body) != 2 || body[1] != 0 {
		return nil, false, fmt.Errorf("client %s: CONNECT is answered by %#x % x", id, first, body)
	}
	return c, body[0] == 1, nil
}

// read takes one packet. body is valid until the next.
func (c *client) read() (first byte, body []byte, err error) {
	if first, err = c.in.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(c.in)
	if err != nil {
		return 0, nil, err
	}
	if int(n) <= c.in.Size() {
		if body, err = c.in.Peek(int(n)); err == nil {
			_, err = c.in.Discard(int(n))
		}
		return first, body, err
	}
	return 0, nil, fmt.Errorf("a packet of %d bytes", n)
}

// subscribe subscribes.
func (c *client) subscribe(filter string, qos byte) error {
	p := mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte(filter), Options: mqtt.SubOptions(qos)}}}
	frame, err := p.Append(nil, mqtt.V311)
	if err != nil {
		return err
	}
	if _, err := c.conn.Write(frame); err != nil {
		return err
	}
	first, body, err := c.read()
	if err == nil && (mqtt.PacketType(first>>4) != mqtt.SUBACK || body[2] != qos) {
		err = fmt.Errorf("SUBSCRIBE is answered by %#x % x", first, body)
	}
	return err
}

func (c *client) disconnect() error {
	_, err := c.conn.Write([]byte{byte(mqtt.DISCONNECT) << 4, 0})
	if err == nil {
		_, _ = c.in.ReadByte() // the broker closes when it has left the session
	}
	return errJoin(err, c.conn.Close())
}

// absent makes a session with a subscription and leaves it.
func absent(address, id, filter string) error {
	c, _, err := connect(address, id, false)
	if err != nil {
		return err
	}
	if err := c.subscribe(filter, 1); err != nil {
		return err
	}
	return c.disconnect()
}

// publish is the frame of a QoS 1 PUBLISH; its packet id is to be put in at the place given.
func publish(topic string, payload int) (frame []byte, idAt int) {
	p := mqtt.Publish{Topic: []byte(topic), QoS: 1, PacketID: 1, Payload: make([]byte, payload)}
	frame, err := p.Append(nil, mqtt.V311)
	if err != nil {
		panic(err)
	}
	return frame, len(frame) - payload - 2
}

// flood keeps a window of QoS 1 messages under way until more says that it is enough, and returns how many were
// acknowledged.
func (c *client) flood(topic string, payload, window int, more func(sent int) bool) (acknowledged int, err error) {
	frame, idAt := publish(topic, payload)
	var out []byte
	sent := 0
	add := func(n int) {
		for ; n > 0 && more(sent); n-- {
			sent++
			id := uint16(sent%65535) + 1
			frame[idAt], frame[idAt+1] = byte(id>>8), byte(id)
			out = append(out, frame...)
		}
	}
	add(window)
	for acknowledged < sent {
		if len(out) > 0 {
			if _, err := c.conn.Write(out); err != nil {
				return acknowledged, err
			}
			out = out[:0]
		}
		n := 0
		for ok := true; ok; ok = c.in.Buffered() >= 4 {
			first, body, err := c.read()
			if err != nil {
				return acknowledged, err
			}
			if mqtt.PacketType(first>>4) != mqtt.PUBACK {
				return acknowledged, fmt.Errorf("PUBLISH is answered by %#x % x", first, body)
			}
			n++
		}
		acknowledged += n
		add(n)
	}
	return acknowledged, nil
}

// take acknowledges n QoS 1 messages that come.
func (c *client) take(n int) error {
	var out []byte
	for got := 0; got < n; {
		first, body, err := c.read()
		if err != nil {
			return fmt.Errorf("after %d messages of %d: %w", got, n, err)
		}
		if mqtt.PacketType(first>>4) != mqtt.PUBLISH {
			continue
		}
		topic := int(binary.BigEndian.Uint16(body))
		out = append(out, byte(mqtt.PUBACK)<<4, 2, body[2+topic], body[3+topic])
		got++
		if c.in.Buffered() < 4 || len(out) >= 4096 {
			if _, err := c.conn.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
	_, err := c.conn.Write(out)
	return err
}

// quantile of sorted times.
func quantile(times []time.Duration, q float64) time.Duration {
	sort.Slice(times, func(i, j int) bool { return times[i] < times[j] })
	return times[min(len(times)-1, int(q*float64(len(times))))]
}
