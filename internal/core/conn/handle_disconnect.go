package conn

import (
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// handlePingreq answers [MQTT-3.12.4-1].
func (c *Conn) handlePingreq(w *router.Worker, f mqtt.Frame) error {
	if len(f.Body) > 0 {
		return &mqtt.Error{Code: mqtt.MalformedPacket, Packet: f.Type, Detail: "bytes after the packet's end"}
	}
	c.send(w, mqtt.PingrespBytes)
	return nil
}

// handleDisconnect takes DISCONNECT: the will is discarded unless the client asks for it [MQTT-3.14.4-3].
func (c *Conn) handleDisconnect(w *router.Worker, f mqtt.Frame) error {
	var p mqtt.Disconnect
	if err := p.Decode(f, c.version); err != nil {
		return err
	}
	if p.Props.Has.Has(mqtt.PropServerReference) {
		return violation(f.Type, "only a server sends a server reference", "MQTT 5 §3.14.2.2.5")
	}
	if p.Props.Has.Has(mqtt.PropSessionExpiry) && c.s != nil {
		e := p.Props.SessionExpiry
		if c.s.Expiry() == 0 && e != 0 {
			return violation(f.Type, "the session expiry interval cannot be raised from 0", "MQTT-3.14.2-2")
		}
		c.s.SetExpiry(min(e, c.live().MaxSessionExpiry)) // the store is told when the connection leaves the session
	}
	if p.Code == mqtt.NormalDisconnection {
		if c.will != nil {
			c.mine().will = nil
		}
	}
	c.leave(w, ErrDisconnected)
	if c.t.Out().Bytes() == 0 {
		c.t.Close(ErrDisconnected) // nothing to linger for
	} else {
		c.t.CloseAfterFlush(ErrDisconnected, c.live().Linger)
	}
	return nil
}
