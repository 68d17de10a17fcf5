package app

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/access/ratelimit"
	"github.com/nightjar-mqtt/nightjar/internal/config"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// gate stands in front of an authenticator: it lets only those client ids pass that begin with a prefix (clientid_prefixes),
// and bounds how often clients and users connect (max_connect_rate, max_user_connect_rate).
type gate struct {
	broker.Authenticator
	prefix atomic.Pointer[string]
	rates  *ratelimit.Limiter
}

func newGate(a broker.Authenticator, c *config.Settings) *gate {
	g := &gate{Authenticator: a, rates: ratelimit.New(connectRates(c))}
	g.prefix.Store(&c.ClientIDPrefix)
	return g
}

// set has another configuration hold.
func (g *gate) set(c *config.Settings) {
	g.prefix.Store(&c.ClientIDPrefix)
	g.rates.Set(connectRates(c))
}

// connectRates are those of a configuration, which has them by the minute.
func connectRates(c *config.Settings) (l ratelimit.Limits) {
	rate := func(n int) ratelimit.Rate { return ratelimit.Rate{PerSecond: float64(n) / 60, Burst: float64(n)} }
	l.Client.Connections, l.User.Connections = rate(c.Rate.Connect), rate(c.Rate.UserConnect)
	return l
}

func (g *gate) Authenticate(l *broker.Login, done func(broker.Verdict)) {
	if prefix := *g.prefix.Load(); !strings.HasPrefix(l.ClientID, prefix) {
		done(broker.Verdict{Code: mqtt.NotAuthorized, Reason: fmt.Sprintf("the client id does not begin with %q (clientid_prefixes)", prefix)})
		return
	}
	id, user := l.ClientID, l.Username
	// Those who have proved who they are count: else anybody could use up somebody else's connections.
	g.Authenticator.Authenticate(l, func(v broker.Verdict) {
		if v.Code != mqtt.Success {
			done(v)
			return
		}
		if v.Username != "" {
			user = v.Username
		}
		m, answer := g.rates.Connect(time.Now().UnixMilli(), id, user)
		if answer.Refuse {
			v = broker.Verdict{Code: mqtt.ConnectionRateExceeded, Reason: "too many " + answer.Limit + " (max_connect_rate, max_user_connect_rate)"}
		} else {
			m.Close()
		}
		done(v)
	})
}
