package app

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// gate lets only those client ids pass to an authenticator that begin with a prefix (clientid_prefixes).
type gate struct {
	broker.Authenticator
	prefix atomic.Pointer[string]
}

func (g *gate) Authenticate(l *broker.Login, done func(broker.Verdict)) {
	if prefix := *g.prefix.Load(); !strings.HasPrefix(l.ClientID, prefix) {
		done(broker.Verdict{Code: mqtt.NotAuthorized, Reason: fmt.Sprintf("the client id does not begin with %q (clientid_prefixes)", prefix)})
		return
	}
	g.Authenticator.Authenticate(l, done)
}
