package app

import (
	"math"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/config"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// brokerOptions are what a configuration says for the broker as a whole.
func brokerOptions(c *config.Settings) broker.Options {
	o := broker.DefaultOptions()
	o.ConnectionLimits = commonLimits(c)
	o.MaxConnections = max(c.MaxConnections, 0)
	o.Engine, o.Loops = c.Own.Engine, c.Own.Loops
	o.MaxInflight = c.MaxInflight
	o.MaxQueued, o.MaxQueuedBytes = c.MaxQueued, c.MaxQueuedBytes
	o.OutboxBytes, o.MemoryLimit = int(c.Own.OutboxBytes), int64(c.MemoryLimit)
	o.MaxClients = max(c.MaxClients, 0)
	o.MaxInflightBytes, o.MaxRetainedBytes = c.MaxInflightBytes, int64(c.Own.RetainedBytes)
	o.RetainExpiry, o.CheckRetainSource, o.AllowDuplicates = c.RetainExpiry, c.CheckRetainSource, c.AllowDuplicates
	o.QueueQoS0, o.UpgradeQoS = c.QueueQoS0, c.UpgradeQoS
	o.MatchCache = c.Own.MatchCache
	return o
}

// commonLimits are those of every listener.
func commonLimits(c *config.Settings) broker.ConnectionLimits {
	l := broker.DefaultOptions().ConnectionLimits
	l.MaxPacket = c.MaxPacket
	l.MaxConnect = min(int(c.Own.MaxConnect), c.MaxPacket)
	l.MaxPayload = int(c.MaxPayload)
	l.ConnectTimeout, l.MaxOpening = c.Own.ConnectTimeout, c.Own.MaxOpening
	l.PacketTimeout, l.PacketRate = c.Own.PacketTimeout, int(c.Own.PacketRate)
	l.ReceiveMaximum = receiveMaximum(c)
	l.MaxKeepAlive = uint16(c.MaxKeepAlive)
	l.MaxSubscriptions = c.Own.MaxSubscriptions
	if c.SessionExpiry > 0 {
		l.MaxSessionExpiry = uint32(min(c.SessionExpiry/time.Second, math.MaxUint32-1))
	}
	l.RetainAvailable = c.RetainAvailable
	return l
}

// receiveMaximum is what MQTT 5 clients are told; Mosquitto has one limit for both directions.
func receiveMaximum(c *config.Settings) uint16 {
	switch {
	case c.Own.ReceiveMaximum > 0:
		return uint16(c.Own.ReceiveMaximum)
	case c.MaxInflight > 0:
		return uint16(c.MaxInflight)
	}
	return math.MaxUint16
}

// listenerLimits are those of one listener.
func listenerLimits(c *config.Settings, l *config.Listener) broker.ConnectionLimits {
	out := commonLimits(c)
	out.MaxConnections = max(l.MaxConnections, 0)
	out.MaxTopicAlias, out.MaxTopicAliasOut = uint16(l.MaxTopicAlias), uint16(l.MaxTopicAliasBroker)
	out.MaxQoS = byte(l.MaxQoS)
	out.AllowEmptyClientID, out.AutoIDPrefix = l.Security.AllowEmptyClientID, l.Security.AutoIDPrefix
	out.MountPoint, out.UsernameAsClientID = l.MountPoint, l.UsernameAsClientID
	out.Versions = nil
	for _, v := range l.Versions {
		out.Versions = append(out.Versions, map[int]mqtt.Version{3: mqtt.V31, 4: mqtt.V311, 5: mqtt.V5}[v])
	}
	return out
}
