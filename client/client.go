package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Client is a connection to a broker that comes back when it is lost. Its
// methods may be called from any goroutine.
type Client struct {
	opts   Options
	addr   address
	inbox  inbox
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	link     *link  // nil while there is no connection
	clientID string // as given, or as the server assigned it
	connack  Connack
	leaving  bool          // Disconnect or Close was called
	err      error         // why the client has ended; nil while it lives
	changed  chan struct{} // closed and forgotten when a publisher should look again; nil when none waits
	nextID   uint16
	seq      uint64               // orders flights and requests
	flights  map[uint16]*outgoing // QoS 1 and 2, not yet completed
	requests map[uint16]*request  // SUBSCRIBE and UNSUBSCRIBE, not yet answered
	replay   []*outgoing          // flights to be sent again on this link, in order
	unacked  int                  // flights sent on this link
	window   int                  // how many of them there may be
	subs     []remembered         // what to subscribe to again
	reauth   chan<- error
	tell     []func() // what unlock calls: done functions, which may call the client
}

// Connect connects to the broker at url, which begins with mqtt://, mqtts:// or
// unix://. ctx bounds this first attempt, not the life of the client. A refused
// connection is a *ConnectError.
func Connect(ctx context.Context, url string, opts Options) (*Client, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	addr, err := parseURL(url, &opts)
	if err != nil {
		return nil, err
	}
	c := &Client{
		opts: opts, addr: addr, clientID: opts.ClientID,
		done:    make(chan struct{}),
		flights: map[uint16]*outgoing{}, requests: map[uint16]*request{},
	}
	if c.clientID == "" && opts.Version == mqtt.V31 { // an id is a must there, of at most 23 characters
		c.clientID = "nightjar-" + strconv.FormatUint(rand.Uint64()>>1, 36)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.inbox.init(c)
	l, r, ack, err := c.handshake(ctx, true)
	if err != nil {
		c.cancel()
		return nil, err
	}
	c.up(l, ack)
	go c.run(l, r, ack)
	return c, nil
}

// run looks after the connection until the client ends.
func (c *Client) run(l *link, r *reader, ack Connack) {
	defer close(c.done)
	var dispatcher sync.WaitGroup
	dispatcher.Go(c.inbox.dispatch)
	delay := c.opts.ReconnectMin
	for l != nil {
		since := time.Now()
		err := c.serve(l, r, ack)
		if time.Since(since) > delay {
			delay = c.opts.ReconnectMin // it stood: a flapping connection keeps its long delays
		}
		l = nil
		for l == nil && c.goOn(err) {
			select {
			case <-c.ctx.Done():
				err = ErrClosed
				continue
			case <-time.After(delay/2 + rand.N(delay/2+1)):
			}
			delay = min(2*delay, c.opts.ReconnectMax)
			if l, r, ack, err = c.handshake(c.ctx, false); err == nil {
				c.up(l, ack)
			}
		}
		if l == nil {
			c.end(err)
		}
	}
	dispatcher.Wait()
}

// serve runs the goroutines of one connection and returns why it ended.
func (c *Client) serve(l *link, r *reader, ack Connack) error {
	var wg sync.WaitGroup
	wg.Go(func() { l.write(ack.KeepAlive) })
	wg.Go(func() { c.read(l, r) })
	if c.opts.OnConnect != nil {
		c.opts.OnConnect(ack)
	}
	wg.Wait()
	c.mu.Lock()
	c.link = nil
	c.mu.Unlock()
	err := l.reason()
	c.endReauth(err)
	return err
}

// goOn reports err and decides whether there will be another attempt.
func (c *Client) goOn(err error) bool {
	c.mu.Lock()
	leaving := c.leaving
	c.mu.Unlock()
	if leaving {
		return false
	}
	if c.opts.OnDisconnect != nil {
		c.opts.OnDisconnect(err)
	}
	if c.opts.NoReconnect || c.ctx.Err() != nil {
		return false
	}
	if c.opts.RetryIf != nil {
		return c.opts.RetryIf(err)
	}
	var told *DisconnectError
	return !errors.As(err, &told) || told.Code != mqtt.SessionTakenOver
}

// up makes a new link the one that everybody uses, and brings it up to date.
func (c *Client) up(l *link, ack Connack) {
	c.mu.Lock()
	defer c.unlock()
	c.connack, c.clientID = ack, ack.ClientID
	// MQTT 3.1 has no session present flag: trust what was asked for.
	kept := ack.SessionPresent || c.opts.Version == mqtt.V31 && c.opts.KeepSession
	c.inbox.newLink(l, kept)
	c.link = l
	if c.leaving {
		l.close(ErrClosed)
		return
	}
	c.window = min(int(ack.ReceiveMaximum), c.opts.MaxInFlight)
	c.resume(l, kept)
	c.resubscribe(l, ack.SessionPresent)
	c.notifyLocked()
}

// end is the end of the client.
func (c *Client) end(err error) {
	c.mu.Lock()
	if c.leaving || err == nil {
		err = ErrClosed
	}
	c.err = err
	c.link = nil
	for _, o := range c.flights {
		c.tell = append(c.tell, func() { o.done(Result{}, err) })
	}
	for _, q := range c.requests {
		c.tell = append(c.tell, func() { q.done(nil, Result{}, err) })
	}
	clear(c.flights)
	clear(c.requests)
	c.replay = nil
	c.notifyLocked()
	c.unlock()
	c.cancel()
	c.inbox.close()
}

// unlock releases c.mu and then calls what has come to an end under it.
func (c *Client) unlock() {
	tell := c.tell
	c.tell = nil
	c.mu.Unlock()
	for _, f := range tell {
		f()
	}
}

// notify wakes publishers that wait for a connection, for a free place among the
// messages in flight, or for room in the buffer.
func (c *Client) notify() {
	c.mu.Lock()
	c.notifyLocked()
	c.mu.Unlock()
}

func (c *Client) notifyLocked() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// waitLocked releases c.mu until something has changed.
func (c *Client) waitLocked(ctx context.Context) error {
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	changed := c.changed
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// id returns a packet identifier that nothing in flight has, or 0 if there is
// none.
func (c *Client) id() uint16 {
	for range 65535 {
		c.nextID++
		if c.nextID == 0 {
			c.nextID = 1
		}
		if c.flights[c.nextID] == nil && c.requests[c.nextID] == nil {
			return c.nextID
		}
	}
	return 0
}

// Connack returns what the server said to the latest connection.
func (c *Client) Connack() Connack {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connack
}

// Connected tells whether there is a connection at the moment.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link != nil
}

// Done returns a channel that is closed when the client and all of its
// goroutines have ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil while the client lives, then why it ended: ErrClosed, or what
// ended its last connection.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Farewell is what Disconnect can tell the server. MQTT 5 only.
type Farewell struct {
	// Code is mqtt.NormalDisconnection, mqtt.DisconnectWithWill, or an error's.
	Code mqtt.ReasonCode
	// SessionExpiry changes that of Options, unless it was 0 there; nil leaves it.
	SessionExpiry *uint32
	Reason        string
	User          []UserProperty
}

// Disconnect ends the client in good order: what was handed to it is written,
// then DISCONNECT, so that the server drops the will. It does not wait for
// acknowledgements; Publish does. When ctx ends first, the connection is closed
// as it is.
func (c *Client) Disconnect(ctx context.Context) error {
	return c.DisconnectWith(ctx, Farewell{})
}

// DisconnectWith is Disconnect with a reason code and properties.
func (c *Client) DisconnectWith(ctx context.Context, f Farewell) error {
	if c.opts.Version != mqtt.V5 && (f.Code != 0 || f.SessionExpiry != nil || f.Reason != "" || len(f.User) > 0) {
		return ErrNeedsV5
	}
	p := mqtt.Disconnect{Code: f.Code}
	if f.SessionExpiry != nil {
		p.Props.Has.Set(mqtt.PropSessionExpiry)
		p.Props.SessionExpiry = *f.SessionExpiry
	}
	setString(&p.Props, mqtt.PropReasonString, &p.Props.ReasonString, f.Reason)
	p.Props.User = wireUser(f.User)
	if _, err := p.Append(nil, c.opts.Version); err != nil {
		return err
	}
	c.mu.Lock()
	c.leaving = true
	l := c.link
	c.mu.Unlock()
	c.cancel()
	if l == nil {
		return nil
	}
	l.closeAfter(ErrClosed, func(dst []byte) ([]byte, error) { return p.Append(dst, c.opts.Version) })
	c.inbox.wake()
	select {
	case <-l.gone:
		return nil
	case <-ctx.Done():
		l.close(ErrClosed)
		return ctx.Err()
	}
}

// Close ends the client at once, without DISCONNECT: the server publishes the
// will. It does not wait; Done tells when all has ended.
func (c *Client) Close() {
	c.mu.Lock()
	c.leaving = true
	l := c.link
	c.mu.Unlock()
	c.cancel()
	if l != nil {
		l.close(ErrClosed)
	}
	c.inbox.wake()
}
