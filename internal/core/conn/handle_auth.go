package conn

import (
	"bytes"

	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// enhanced is a connection's enhanced authentication.
type enhanced struct {
	exchange Exchange
	method   []byte
	reauth   bool // the exchange waits for the client's next AUTH
	stepping bool // the exchange has the client's last AUTH and has not answered
}

// startEnhanced begins enhanced authentication with the data of CONNECT (MQTT 5 §4.12).
func (c *Conn) startEnhanced(w *router.Worker) {
	var x Exchange
	h := c.sh.common.hooks.Load()
	c.setup.hooks = h
	if h.enhanced != nil {
		x = h.enhanced.Start(&c.setup.login, string(c.setup.authMethod))
	}
	if x == nil {
		c.refuse(w, &refusal{mqtt.BadAuthenticationMethod, "the authentication method is not known here"})
		return
	}
	c.mine().enhanced = &enhanced{exchange: x, method: c.setup.authMethod}
	c.step(c.setup.authData)
}

func (c *Conn) step(data []byte) {
	before := c.state
	if before != stateOpen {
		c.suspend()
	}
	c.enhanced.stepping = true
	c.enhanced.exchange.Step(bytes.Clone(data), once(c, func(w *router.Worker, st Step) {
		c.enhanced.stepping = false
		if before == stateOpen {
			c.reauthStep(w, st)
			return
		}
		c.authStep(w, st)
	}))
}

// authStep takes the server's turn before CONNACK.
func (c *Conn) authStep(w *router.Worker, st Step) {
	if c.state != stateWaiting {
		return
	}
	switch st.Code {
	case mqtt.ContinueAuthentication:
		c.state = stateAuth
		c.sendAuth(w, st, c.setup.authMethod)
		c.t.SetDeadline(w.Now + c.sh.ConnectTimeout.Milliseconds())
		c.t.Resume()
	case mqtt.Success:
		if c.outdated() {
			c.refuse(w, errReloaded)
			return
		}
		c.identify(&Verdict{Username: st.Username, Grant: st.Grant})
		c.setup.authData = st.Data
		c.authenticated(w)
	default:
		c.refuse(w, &refusal{st.Code, st.Reason})
	}
}

// reauthStep takes the server's turn in a re-authentication.
func (c *Conn) reauthStep(w *router.Worker, st Step) {
	switch {
	case c.state != stateOpen:
	case st.Code.IsError():
		c.disconnect(w, st.Code, &refusal{st.Code, st.Reason})
	default:
		c.enhanced.reauth = st.Code == mqtt.ContinueAuthentication
		c.sendAuth(w, st, c.enhanced.method)
	}
}

func (c *Conn) sendAuth(w *router.Worker, st Step, method []byte) {
	a := mqtt.Auth{Code: st.Code}
	a.Props.Has.Set(mqtt.PropAuthMethod)
	a.Props.AuthMethod = method
	if len(st.Data) > 0 {
		a.Props.Has.Set(mqtt.PropAuthData)
		a.Props.AuthData = st.Data
	}
	if frame, err := a.Append(nil, c.version); err == nil {
		c.send(w, frame)
	}
}

// handleAuth takes the client's turn.
func (c *Conn) handleAuth(_ *router.Worker, f mqtt.Frame) error {
	if c.version != mqtt.V5 {
		return violation(f.Type, "AUTH is not known before MQTT 5", "")
	}
	var p mqtt.Auth
	if err := p.Decode(f, c.version); err != nil {
		return err
	}
	if c.enhanced == nil {
		return violation(f.Type, "no authentication method was agreed on in CONNECT", "MQTT-4.12.0-7")
	}
	if c.enhanced.stepping {
		// A re-authentication is read on meanwhile, but an Exchange takes one step at a time.
		return violation(f.Type, "AUTH out of turn: the last one is not answered", "MQTT-4.12.0-3")
	}
	if !bytes.Equal(p.Props.AuthMethod, c.enhanced.method) {
		return violation(f.Type, "the authentication method differs from CONNECT's", "MQTT-4.12.0-5")
	}
	switch {
	case c.state == stateAuth && p.Code == mqtt.ContinueAuthentication,
		c.state == stateOpen && p.Code == mqtt.ReAuthenticate,
		c.state == stateOpen && p.Code == mqtt.ContinueAuthentication && c.enhanced.reauth:
		c.step(p.Props.AuthData)
		return nil
	}
	return violation(f.Type, "reason code does not fit the state of the exchange", "MQTT-4.12.0-3")
}
