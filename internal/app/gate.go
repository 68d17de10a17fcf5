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
// and bounds how often clients and users connect, and what they send (max_..._rate).
type gate struct {
	broker.Authenticator
	prefix atomic.Pointer[string]
	rates  *ratelimit.Limiter
	meters atomic.Bool // what clients send is bounded, not their connections alone
	ends   atomic.Bool // who exceeds that is disconnected
}

func newGate(a broker.Authenticator, c *config.Settings) *gate {
	g := &gate{Authenticator: a, rates: ratelimit.New(limits(&c.Rate))}
	g.set(c)
	return g
}

// set has another configuration hold.
func (g *gate) set(c *config.Settings) {
	g.prefix.Store(&c.ClientIDPrefix)
	g.rates.Set(limits(&c.Rate))
	r := c.Rate
	r.Connect, r.UserConnect, r.Action = 0, 0, ""
	g.meters.Store(r != config.Rate{})
	g.ends.Store(c.Rate.Action == "disconnect")
}

// limits are a configuration's, which has those of connections by the minute.
func limits(c *config.Rate) ratelimit.Limits {
	second := func(n int64) ratelimit.Rate { return ratelimit.Rate{PerSecond: float64(n)} }
	minute := func(n int) ratelimit.Rate { return ratelimit.Rate{PerSecond: float64(n) / 60, Burst: float64(n)} }
	return ratelimit.Limits{
		Client: ratelimit.Rates{Connections: minute(c.Connect), Publishes: second(int64(c.Publish)), Bytes: second(int64(c.Bytes)),
			Subscribes: second(int64(c.Subscribe))},
		User: ratelimit.Rates{Connections: minute(c.UserConnect), Publishes: second(int64(c.UserPublish)), Bytes: second(int64(c.UserBytes)),
			Subscribes: second(int64(c.UserSubscribe))},
		Refuse: c.Action != "slow",
	}
}

// meter is a client's share of the limits.
type meter struct {
	*ratelimit.Meter
	ends *atomic.Bool
}

func (m meter) Publish(now int64, bytes int) broker.Measure {
	return m.measure(m.Meter.Publish(now, bytes))
}

func (m meter) Subscribe(now int64, filters int) broker.Measure {
	return m.measure(m.Meter.Subscribe(now, filters))
}

func (m meter) measure(a ratelimit.Answer) broker.Measure {
	return broker.Measure{Refuse: a.Refuse, Close: a.Refuse && m.ends.Load(), Wait: a.Wait, Limit: a.Limit}
}

// admits tells whether a client id may connect; else it gives the verdict.
func (g *gate) admits(id string) (refusal broker.Verdict, ok bool) {
	prefix := *g.prefix.Load()
	return broker.Verdict{Code: mqtt.NotAuthorized, Reason: fmt.Sprintf("the client id does not begin with %q (clientid_prefixes)", prefix)},
		strings.HasPrefix(id, prefix)
}

func (g *gate) Authenticate(l *broker.Login, done func(broker.Verdict)) {
	if refusal, ok := g.admits(l.ClientID); !ok && !l.Assigned { // a token may give it another
		done(refusal)
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
		if v.ClientID != "" {
			id = v.ClientID
		}
		if refusal, ok := g.admits(id); !ok {
			done(refusal)
			return
		}
		m, answer := g.rates.Connect(time.Now().UnixMilli(), id, user)
		switch {
		case answer.Refuse:
			v = broker.Verdict{Code: mqtt.ConnectionRateExceeded, Reason: "too many " + answer.Limit + " (max_connect_rate, max_user_connect_rate)"}
		case g.meters.Load():
			v.Meter = meter{m, &g.ends}
		default:
			m.Close()
		}
		done(v)
	})
}
