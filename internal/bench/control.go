package bench

import (
	"errors"
	"fmt"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// control handles the packets that are not in the stream of messages.
func (c *client) control(f mqtt.Frame, now int64) {
	switch f.Type {
	case mqtt.CONNACK:
		c.connack(f, now)
	case mqtt.SUBACK:
		c.subacked(f, now)
	case mqtt.UNSUBACK:
		c.shard.counters.unsubacks++
	case mqtt.PINGRESP:
	case mqtt.DISCONNECT:
		var d mqtt.Disconnect
		if err := d.Decode(f, c.shard.run.o.Version); err != nil {
			c.refuse(err)
			return
		}
		c.refuse(fmt.Errorf("the broker sent DISCONNECT: %v %s", d.Code, d.Props.ReasonString))
	default:
		c.refuse(fmt.Errorf("the broker sent %v, which nobody asked for", f.Type))
	}
}

func (c *client) connack(f mqtt.Frame, now int64) {
	code, receiveMaximum, err := connackOf(f, c.shard.run.o.Version)
	switch {
	case err != nil:
		c.refuse(err)
		return
	case code != mqtt.Success && c.shard.run.o.Version != mqtt.V5:
		c.refuse(fmt.Errorf("the broker refused the connection with return code %d", byte(code)))
		return
	case code != mqtt.Success:
		c.refuse(fmt.Errorf("the broker refused the connection: %v", code))
		return
	}
	c.receiveMaximum = receiveMaximum
	if c.pub != nil {
		c.pub.limit = int64(receiveMaximum)
	}
	if c.shard.run.o.KeepAlive > 0 && !c.once {
		c.conn.SetDeadline(now + c.pingInterval())
	}
	c.stage, c.next = subscribing, 0
	c.advance(now)
}

// advance subscribes to the next filters, and when there are none the client is ready.
func (c *client) advance(now int64) {
	rest := c.filters[c.next:]
	if len(rest) == 0 {
		c.serve(now)
		return
	}
	rest = rest[:min(len(rest), filtersPerPacket)]
	c.next += len(rest)
	c.subscribe(rest...)
}

const filtersPerPacket = 50

// subscribe sends one SUBSCRIBE.
func (c *client) subscribe(filters ...string) {
	if c.pid++; c.pid == 0 {
		c.pid = 1
	}
	frame, err := subscribeFrame(&c.shard.run.o, nil, c.pid, c.qos, filters...)
	if err != nil {
		c.refuse(err)
		return
	}
	c.send(frame)
}

func (c *client) unsubscribe(filters ...string) {
	if c.pid++; c.pid == 0 {
		c.pid = 1
	}
	frame, err := unsubscribeFrame(&c.shard.run.o, nil, c.pid, filters...)
	if err != nil {
		c.refuse(err)
		return
	}
	c.send(frame)
}

func (c *client) subacked(f mqtt.Frame, now int64) {
	var s mqtt.Suback
	if err := s.Decode(f, c.shard.run.o.Version); err != nil {
		c.refuse(err)
		return
	}
	for i, code := range s.Codes {
		if code.IsError() {
			c.refuse(fmt.Errorf("the broker refused subscription %d of %d: %v", i+1, len(s.Codes), code))
			return
		}
		if int(code) < c.qos {
			c.refuse(fmt.Errorf("the broker granted QoS %d instead of %d", byte(code), c.qos))
			return
		}
	}
	c.shard.counters.subacks += int64(len(s.Codes))
	if c.stage == subscribing {
		c.advance(now)
	}
}

// serve: the client has come as far as it should.
func (c *client) serve(now int64) {
	c.stage = serving
	s := c.shard
	s.counters.connected++
	if c.ready != nil {
		c.ready()
	}
	if c.once {
		c.stage = leaving
		c.send(disconnectFrame)
		c.conn.SetDeadline(now + lingerTime.Milliseconds()) // brokers close, though they only should (MQTT 5 §3.14.4)
	}
}

// errDone is why a client that has done all it should closes.
var errDone = errors.New("done")
