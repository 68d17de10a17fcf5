package broker

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// ErrRestart is in the error of a Reload that wants what only a restart can bring.
var ErrRestart = errors.New("this needs a restart")

// Reload changes the options of a running broker: all of them or, with an error, none. ConnectionLimits are those of listeners
// without settings of their own. When Reload returns, nothing is decided by the old options any more, but a connection keeps
// what its CONNACK has promised: sizes, windows, aliases, QoS.
//
// An error that is ErrRestart names the options that cannot change: Engine, Loops, Store, MatchCache, Logger (a logger's handler
// may change, its own way). Authenticator and Enhanced decide on clients that connect, not on those that are there: see Recheck.
func (b *Broker) Reload(o Options) error {
	if err := o.validate(); err != nil {
		return err
	}
	b.reload.Lock()
	defer b.reload.Unlock()
	if err := b.fixed(&o); err != nil {
		return err
	}
	o.Engine, o.Loops, o.Store, o.MatchCache, o.Logger = b.o.Engine, b.o.Loops, b.o.Store, b.o.MatchCache, b.o.Logger
	o.complete()
	b.router.Limits().Change(o.bounds())
	if o.AllowDuplicates != b.o.AllowDuplicates {
		b.router.Forget()
	}
	b.router.SetMaxClients(o.MaxClients)
	if !same(o.Authorizer, b.o.Authorizer) {
		b.router.SetAuthorizer(o.Authorizer)
	}
	b.relimit(o.ConnectionLimits)
	b.shared.SetMaxConnections(o.MaxConnections)
	b.shared.SetHooks(o.Authenticator, o.Enhanced)
	b.shared.SetControl(o.Control)
	b.o = o
	b.barrier()
	return nil
}

// fixed names what o would change and a running broker cannot. What o leaves out stays.
func (b *Broker) fixed(o *Options) error {
	var names []string
	for _, f := range []struct {
		name    string
		changed bool
	}{
		{"Engine", o.Engine != "" && o.Engine != b.o.Engine},
		{"Loops", o.Loops > 0 && o.Loops != b.o.Loops},
		{"MatchCache", o.MatchCache > 0 && o.MatchCache != b.o.MatchCache},
		{"Store", o.Store != nil && !same(o.Store, b.o.Store)},
		{"Logger", o.Logger != nil && o.Logger != b.o.Logger},
	} {
		if f.changed {
			names = append(names, f.name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("broker: %s cannot change while the broker runs: %w", strings.Join(names, ", "), ErrRestart)
}

// same reports whether two hooks are one. Those that cannot be compared are not.
func same(a, b any) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	t := reflect.TypeOf(a)
	return t == reflect.TypeOf(b) && t.Comparable() && a == b
}

// Recheck is called when the hooks answer otherwise than before. Logins under way are decided anew; the clients of which revoked
// says so are disconnected as not authorized (nil: none), and it returns how many. What clients may no longer receive is not
// delivered to them from the rise of the Authorizer's Generation on, queued and retained messages included; their
// subscriptions stay, so that they go on when the right is given back. When Recheck returns, all this is done.
func (b *Broker) Recheck(revoked func(*Identity) bool) int {
	b.reload.Lock()
	defer b.reload.Unlock()
	b.shared.SetHooks(b.o.Authenticator, b.o.Enhanced)
	b.barrier()
	if revoked == nil {
		return 0
	}
	return b.Disconnect(revoked, mqtt.NotAuthorized, "no longer allowed to connect")
}

// barrier returns when every loop has begun a turn since.
func (b *Broker) barrier() {
	var all sync.WaitGroup
	for i := range b.engine.Loops() {
		all.Add(1)
		b.engine.PostLoop(i, func(int, int64) { all.Done() })
	}
	b.await(&all)
}
