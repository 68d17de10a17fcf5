// Package broker is an MQTT broker to embed in another program: MQTT 3.1, 3.1.1 and 5, QoS 0, 1 and 2.
//
//	b, err := broker.New(broker.DefaultOptions())
//	if err != nil { … }
//	l, err := broker.Listen("127.0.0.1:1883")
//	if err != nil { … }
//	go b.Serve(l)
//	…
//	err = b.Shutdown(ctx)
//
// What clients may do is decided by the hooks in Options. What must survive the process is the Store's; without one,
// nothing does.
package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/conn"
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/internal/edge/listener"
	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// ErrShutdown is what Serve and Publish return once Shutdown was called.
var ErrShutdown = errors.New("broker: shut down")

// Broker is a running broker. It is safe for concurrent use.
type Broker struct {
	o       Options
	engine  netloop.Engine
	router  *router.Router
	shared  *conn.Shared
	layers  *listener.Layers
	started time.Time
	stop    chan struct{}
	ticker  sync.WaitGroup
	drops   drops
	reload  sync.Mutex // of o, and one change at a time

	mu        sync.Mutex
	listeners []*served
	closed    bool
}

// maxTopicAlias is no bound: the settings of each listener are.
const maxTopicAlias = math.MaxUint16

// tickInterval is how often what is due is looked for: delayed wills, expired sessions and messages.
const tickInterval = 200 * time.Millisecond

// New starts a broker that serves nobody yet.
func New(o Options) (*Broker, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.complete()
	b := &Broker{o: o, started: time.Now(), stop: make(chan struct{})}
	b.drops.log, b.drops.ticks = o.Logger, reportEvery // the first loss is told at once
	budget := new(outbox.Budget)
	limits := o.bounds()
	limits.Outboxes, limits.Paged = budget, o.Store.Durable()
	// The router comes first: the loops call it from their start.
	b.router = router.New(router.Options{
		Limits: limits, Store: o.Store, Authorizer: o.Authorizer, Loops: o.Loops,
		Post:       func(loop int, fn func(loop int, now int64)) { b.engine.PostLoop(loop, fn) },
		MatchCache: o.MatchCache, MaxClients: o.MaxClients, Dropped: b.drops.note,
		Unread: func(sessions int, err error) {
			o.Logger.Error("queued messages cannot be read from the store; it is tried again", "sessions", sessions, "reason", err)
		},
	})
	engine, err := netloop.New(netloop.Options{
		Engine: o.Engine, Loops: o.Loops, Budget: budget, Logger: o.Logger,
		EndTurn: func(loop int, _ int64) { b.router.EndTurn(loop) },
		OnPanic: func(_ int, c netloop.Conn, v any, stack []byte) {
			b.drops.panics.Add(1)
			if inSharedState(stack) {
				o.Logger.Log(context.Background(), LevelFatal, "state that all connections share has failed; the process ends, because what it holds can no longer be trusted",
					"address", c.RemoteAddr(), "panic", v, "stack", string(stack))
				panic(v)
			}
			o.Logger.Error("a connection's handler failed; the connection is closed, the broker goes on",
				"address", c.RemoteAddr(), "panic", v, "stack", string(stack))
		},
	})
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	b.engine = engine
	b.layers = listener.NewLayers(engine, budget)
	b.shared = conn.NewShared(&conn.Shared{
		Config: o.ConnectionLimits, Router: b.router, Authenticator: o.Authenticator, Enhanced: o.Enhanced, Log: o.Logger,
		Addresses: listener.Addresses, Certificate: listener.Certificate,
	}, engine.Loops())
	b.shared.SetControl(o.Control)
	loaded := make(chan error, 1)
	engine.PostLoop(0, func(loop int, now int64) { loaded <- b.router.Worker(loop, now).Load() })
	if err := <-loaded; err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("broker: %w", err), engine.Close(ctx))
	}
	b.ticker.Add(1)
	go b.tick()
	return b, nil
}

// Publish sends a message from the broker itself. It returns when the message is on its way.
func (b *Broker) Publish(name string, payload []byte, qos byte, retain bool) error {
	if err := topic.ValidName([]byte(name)); err != nil {
		return fmt.Errorf("broker: cannot publish to %q: %w", name, err)
	}
	if qos > 2 {
		return fmt.Errorf("broker: cannot publish to %q: QoS %d does not exist", name, qos)
	}
	b.mu.Lock()
	closed := b.closed
	b.mu.Unlock()
	if closed {
		return ErrShutdown
	}
	m := &message.Message{Topic: name, Payload: append([]byte(nil), payload...), QoS: qos, Retain: retain}
	m.MarkOwned()
	done := make(chan struct{})
	b.engine.PostLoop(0, func(loop int, now int64) {
		defer close(done)
		b.router.Worker(loop, now).PublishOwn(m)
	})
	select {
	case <-done:
		return nil
	case <-b.stop:
		return ErrShutdown
	}
}

// tick has what is due done, on the first loop.
func (b *Broker) tick() {
	defer b.ticker.Done()
	t := time.NewTicker(tickInterval)
	defer t.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-t.C:
			b.engine.PostLoop(0, func(loop int, now int64) {
				b.router.Worker(loop, now).Tick()
				b.shared.Tick()
			})
			b.drops.report()
		}
	}
}

// Shutdown stops accepting, tells clients that the broker goes (MQTT 5: DISCONNECT 0x8B), decides their wills, writes what
// is still to be written and waits for the store. When ctx ends first, the rest is closed at once.
func (b *Broker) Shutdown(ctx context.Context) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return ErrShutdown
	}
	b.closed = true
	listeners := slices.Clone(b.listeners)
	b.mu.Unlock()
	for _, l := range listeners {
		l.closeSockets()
	}
	b.shared.Close()
	clients := b.router.Holders()
	forAll(ctx, clients, (*conn.Conn).ShutdownWill)
	forAll(ctx, clients, (*conn.Conn).Shutdown)
	err := b.awaitClients(ctx)
	close(b.stop)
	b.ticker.Wait()
	if e := b.engine.Close(ctx); e != nil && err == nil {
		err = e
	}
	b.reload.Lock()
	store := b.o.Store
	b.reload.Unlock()
	if e := store.Close(); e != nil {
		err = errors.Join(err, e)
	}
	return err
}

// forAll has fn done for all clients and waits for that, or for ctx.
func forAll(ctx context.Context, clients []router.Holder, fn func(c *conn.Conn, done func())) {
	var all sync.WaitGroup
	for _, h := range clients {
		if c, ok := h.(*conn.Conn); ok {
			all.Add(1)
			fn(c, all.Done)
		}
	}
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// awaitClients waits until the sessions' connections have gone. Connections without a session have nothing to lose: those
// that wait for a hook may wait for ever.
func (b *Broker) awaitClients(ctx context.Context) error {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for b.shared.Bound() > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("broker: %d connections were not closed in time: %w", b.shared.Bound(), ctx.Err())
		case <-t.C:
		}
	}
	return nil
}
