package conformance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/store/storetest"
)

// embedded is this tree's broker in the test process, through package broker: with hooks made from the case's options,
// and with a store that is hostile if late is set. Its files are the only ones of the suite that import the broker.
type embedded struct {
	engine string
	late   bool
	over   Transport
}

// sysTopics is how many retained $SYS topics the embedded broker has in memory only.
const sysTopics = 1

func (e embedded) Name() string {
	store := "memory"
	if e.late {
		store = "a late store"
	}
	return fmt.Sprintf("Nightjar embedded on %s with %s", e.engine+e.over.over(), store)
}

// KeepAliveSlack is as for the process.
func (embedded) KeepAliveSlack() time.Duration { return nightjar{}.KeepAliveSlack() }

// lateSeeds numbers the late stores of a run, so that each has another order and all runs have the same.
var lateSeeds atomic.Uint64

func (e embedded) Start(o Options) (Broker, error) {
	var store *storetest.Late
	if e.late {
		store = storetest.NewLate(storetest.LateOptions{Seed: lateSeeds.Add(1)})
	}
	return e.start(o, store)
}

// start runs a broker on the store; nil: in memory.
func (e embedded) start(o Options, store *storetest.Late) (*embeddedBroker, error) {
	b := &embeddedBroker{store: store, over: e.over, served: make(chan error, 3)}
	opts, err := e.options(o)
	if err != nil {
		return nil, err
	}
	opts.Logger = slog.New(slog.NewTextHandler(&b.log, nil))
	if store != nil {
		opts.Store = store
	}
	if b.broker, err = broker.New(opts); err != nil {
		return nil, err
	}
	if b.addr, err = b.listen(OverTCP); err != nil {
		return nil, err
	}
	if b.ws, err = b.listen(OverWS); err != nil {
		return nil, err
	}
	if e.over != OverTCP {
		if b.to, err = b.listen(e.over); err != nil {
			return nil, err
		}
	}
	// $SYS belongs to the program around the broker; the cases look for this topic of it. It is made anew at each start,
	// so the broker does not store it: see sysTopics.
	if err := b.broker.Publish("$SYS/broker/version", []byte("nightjar embedded"), 0, true); err != nil {
		return nil, err
	}
	return b, nil
}

// options says in the broker's terms what a case wants.
func (e embedded) options(o Options) (broker.Options, error) {
	opts := broker.DefaultOptions()
	opts.Engine, opts.Loops = e.engine, 2
	opts.MaxConnections, opts.MaxPayload = o.MaxConnections, o.MessageSizeLimit
	opts.MaxKeepAlive = uint16(o.MaxKeepAlive)
	opts.ResponseInformation = o.ResponseInformation
	opts.AllowEmptyClientID, opts.RetainAvailable = !o.RefuseEmptyClientID, !o.RefuseRetain
	opts.QueueQoS0, opts.UpgradeQoS = o.QueueQoS0, o.UpgradeOutgoingQoS
	for _, n := range []struct {
		to    *int
		value int
	}{{&opts.MaxInflight, o.MaxInflight}, {&opts.MaxQueued, o.MaxQueued}, {&opts.MaxPacket, o.MaxPacketSize}} {
		if n.value > 0 {
			*n.to = n.value
		}
	}
	switch {
	case o.NoTopicAlias:
		opts.MaxTopicAlias = 0
	case o.MaxTopicAlias > 0:
		opts.MaxTopicAlias = uint16(o.MaxTopicAlias)
	}
	if o.MaxQoS != nil {
		opts.MaxQoS = *o.MaxQoS
	}
	if len(o.AcceptVersions) > 0 {
		all := opts.Versions
		opts.Versions = nil
		for _, v := range all {
			if slices.Contains(o.AcceptVersions, Version(v)) {
				opts.Versions = append(opts.Versions, v)
			}
		}
	}
	if len(o.Users) > 0 {
		opts.Authenticator = passwords(o.Users)
	}
	if o.ACL != "" {
		acl, err := parseACL(o.ACL)
		if err != nil {
			return opts, err
		}
		opts.Authorizer = acl
	}
	if o.Enhanced {
		opts.Enhanced = riddles{}
	}
	return opts, nil
}

// embeddedBroker is one broker in this process.
type embeddedBroker struct {
	broker *broker.Broker
	store  *storetest.Late // nil: in memory
	addr   string
	ws     string // the address for WebSocket
	over   Transport
	to     string // the address for over, if it is not TCP
	log    syncBuffer
	served chan error // what each Serve returned
	serves int
}

// listen serves one more address and returns it.
func (b *embeddedBroker) listen(over Transport) (string, error) {
	tr := broker.Transport{WebSocket: over.webSocket()}
	if over.secure() {
		id, err := testIdentity()
		if err != nil {
			return "", err
		}
		tr.TLS = &tls.Config{Certificates: []tls.Certificate{id.pair}}
	}
	l, err := broker.Listen("127.0.0.1:0")
	if err != nil {
		return "", err
	}
	b.serves++
	go func() { b.served <- b.broker.ServeTransport(l, tr) }()
	return l.Addr().String(), nil
}

func (b *embeddedBroker) Addr() string          { return b.addr }
func (b *embeddedBroker) WebSocketAddr() string { return b.ws }
func (b *embeddedBroker) Log() string           { return tail(b.log.String()) }

// Dial connects as the target's clients do.
func (b *embeddedBroker) Dial() (net.Conn, error) {
	if b.over == OverTCP {
		return OverTCP.dial(b.addr)
	}
	return b.over.dial(b.to)
}

// Stop compares the broker's memory with the store and shuts the broker down.
func (b *embeddedBroker) Stop() error {
	if b.store == nil {
		return b.shutdown()
	}
	return errors.Join(b.compare(), b.shutdown())
}

// shutdown ends the broker and reports what went wrong unseen.
func (b *embeddedBroker) shutdown() error {
	var errs []error
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	errs = append(errs, b.broker.Shutdown(ctx))
	for range b.serves {
		if err := <-b.served; !errors.Is(err, broker.ErrShutdown) {
			errs = append(errs, fmt.Errorf("Serve returned %w, want %w", err, broker.ErrShutdown))
		}
	}
	if n := b.broker.Stats().Panics; n > 0 {
		errs = append(errs, fmt.Errorf("%d connections' handlers failed\n%s", n, b.Log()))
	}
	if b.store != nil {
		if breaches := b.store.Breaches(); len(breaches) > 0 {
			errs = append(errs, fmt.Errorf("what the broker asked of the store: %s", strings.Join(firstOf(breaches, 10), "\n")))
		}
	}
	return errors.Join(errs...)
}

func firstOf(list []string, n int) []string {
	if len(list) > n {
		return append(slices.Clone(list[:n]), fmt.Sprintf("and %d more", len(list)-n))
	}
	return list
}

// compare waits until the clients have gone and nothing is on its way, and holds the numbers in the broker's memory
// against the store's. Sessions that end with their connection are then no more, so that both must agree.
func (b *embeddedBroker) compare() error {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		b.store.Sync()
		n, st := b.broker.Stats(), b.store.State()
		var diff []string
		for _, d := range []struct {
			what          string
			memory, store int
		}{
			{"clients", n.Clients, 0},
			{"sessions", n.Sessions, len(st.Sessions)},
			{"subscriptions", n.Subscriptions, st.Subscriptions()},
			{"retained messages", n.Retained - sysTopics, len(st.Retained)},
			{"removals of what never came", 0, st.Leftovers()},
		} {
			if d.memory != d.store {
				diff = append(diff, fmt.Sprintf("%d %s in memory, %d in the store", d.memory, d.what, d.store))
			}
		}
		if len(diff) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("memory and store differ: %s", strings.Join(diff, "; "))
		}
	}
}
