// Package sys publishes the broker's figures under $SYS/broker, with Mosquitto's names and meanings.
package sys

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
)

// Publisher is what the figures are published through.
type Publisher interface {
	Publish(topic string, payload []byte, qos byte, retain bool) error
	Stats() broker.Stats
}

// Tree publishes $SYS topics, retained at QoS 2, each only when its value has changed.
type Tree struct {
	to   Publisher
	last map[string]string
}

// New makes a tree and publishes what never changes.
func New(to Publisher, version string) (*Tree, error) {
	t := &Tree{to: to, last: make(map[string]string)}
	return t, t.set("version", "nightjar version "+version)
}

// Run publishes every interval until stop is closed or publishing fails.
func (t *Tree) Run(interval time.Duration, stop <-chan struct{}) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := t.Update(); err != nil {
			return err
		}
		select {
		case <-stop:
			return nil
		case <-tick.C:
		}
	}
}

// Update publishes what has changed.
func (t *Tree) Update() error {
	s := t.to.Stats()
	for _, v := range []struct {
		name  string
		value int64
	}{
		{"clients/total", int64(s.Sessions)},
		{"clients/maximum", int64(s.ClientsMaximum)},
		{"clients/connected", int64(s.Clients)},
		{"clients/active", int64(s.Clients)}, // Mosquitto's older name
		{"clients/disconnected", int64(s.Sessions - s.Clients)},
		{"clients/inactive", int64(s.Sessions - s.Clients)}, // older name
		{"clients/expired", int64(s.SessionsExpired)},
		{"messages/received", s.MessagesReceived},
		{"messages/sent", s.MessagesSent},
		{"bytes/received", s.BytesReceived},
		{"bytes/sent", s.BytesSent},
		{"publish/messages/received", s.PublishReceived},
		{"publish/messages/sent", s.PublishSent},
		{"publish/messages/dropped", s.DroppedTotal},
		{"publish/bytes/received", s.PublishBytesReceived},
		{"publish/bytes/sent", s.PublishBytesSent},
		{"subscriptions/count", int64(s.Subscriptions)},
		{"shared_subscriptions/count", int64(s.SharedSubscriptions)},
		{"retained messages/count", int64(s.Retained)},
		{"connections/socket/count", int64(s.Connections)},
	} {
		if err := t.set(v.name, strconv.FormatInt(v.value, 10)); err != nil {
			return err
		}
	}
	for reason, n := range s.Dropped {
		if err := t.set("publish/messages/dropped/"+reason, strconv.FormatInt(n, 10)); err != nil {
			return err
		}
	}
	return t.set("uptime", fmt.Sprintf("%d seconds", int64(s.Uptime.Seconds())))
}

func (t *Tree) set(name, value string) error {
	if t.last[name] == value {
		return nil
	}
	t.last[name] = value
	return t.to.Publish("$SYS/broker/"+name, []byte(value), 2, true)
}
