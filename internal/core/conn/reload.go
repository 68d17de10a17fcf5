package conn

import (
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// What changes while connections are there. A connection keeps the settings that its CONNACK has promised; those that it
// has not are looked up, and so count for everybody at once.

// live are the listener's settings as they are now: what they say of payload, subscriptions and times counts for connections
// that came before, too. The others, which the client was told, are in c.sh.
func (c *Conn) live() *Config { return &c.sh.listener.latest.Load().Config }

// hooks are who decides on CONNECT. Another pointer means another decision, even if it is the same authenticator that makes it.
type hooks struct {
	authenticator Authenticator
	enhanced      Enhanced
}

// SetHooks replaces who decides on CONNECT, on all listeners. It also has those asked again about whom a decision is not made,
// or not carried out: call it with the same hooks when their answers have changed.
func (sh *Shared) SetHooks(a Authenticator, e Enhanced) { sh.common.hooks.Store(&hooks{a, e}) }

// ask has the authenticator decide. The answer comes to verdict.
func (c *Conn) ask(w *router.Worker) {
	h := c.sh.common.hooks.Load()
	c.setup.hooks = h
	if h.authenticator == nil {
		c.authenticated(w)
		return
	}
	if c.state != stateWaiting {
		c.suspend()
	}
	h.authenticator.Authenticate(&c.setup.login, once(c, c.verdict))
}

// outdated: the decision that let the client in would now be made anew.
func (c *Conn) outdated() bool {
	h := c.sh.common.hooks.Load()
	return c.setup.hooks != h && (h.authenticator != nil || h.enhanced != nil)
}

// errReloaded is what a client is told that must begin anew.
var errReloaded = &refusal{mqtt.ServerBusy, "who may connect has changed meanwhile; connect again"}
