package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// Subscription asks for the messages whose topics match a filter.
type Subscription struct {
	Filter string // such as "sensors/+/temperature", "sensors/#", "$share/workers/jobs/#"
	QoS    byte   // the highest QoS wanted
	// The rest needs MQTT 5.
	NoLocal           bool // not what this client publishes itself
	RetainAsPublished bool // keep the retain flag of what is forwarded
	RetainHandling    RetainHandling
}

// RetainHandling says when a subscription gets the retained messages.
type RetainHandling byte

// The ways to handle retained messages (MQTT 5 §3.8.3.1).
const (
	RetainedAlways RetainHandling = iota // on every SUBSCRIBE
	RetainedIfNew                        // on a SUBSCRIBE for which there was no subscription
	RetainedNever
)

// SubscribeOptions are the properties of a SUBSCRIBE. MQTT 5 only.
type SubscribeOptions struct {
	ID   uint32 // subscription identifier, 1 to 268,435,455; 0: none
	User []UserProperty
}

// SubscribeResult is what the server answered, with one code per filter in the
// order of the request.
type SubscribeResult struct {
	Codes  []mqtt.ReasonCode
	Reason string
	User   []UserProperty
}

// remembered is a subscription to make again when the server has lost it.
type remembered struct {
	Subscription
	options SubscribeOptions
}

// request is a SUBSCRIBE or UNSUBSCRIBE that waits for its answer.
type request struct {
	id     uint16
	seq    uint64
	answer mqtt.PacketType // SUBACK or UNSUBACK
	n      int             // of filters
	encode func(dst []byte, id uint16) ([]byte, error)
	done   func([]mqtt.ReasonCode, Result, error)
}

// Subscribe subscribes and returns when the server has answered. If it refused
// a filter, the error is a *ReasonError for the first of them, and the result
// tells about each. It waits while there is no connection.
func (c *Client) Subscribe(ctx context.Context, subs ...Subscription) (SubscribeResult, error) {
	return c.SubscribeWith(ctx, SubscribeOptions{}, subs...)
}

// SubscribeWith is Subscribe with properties.
func (c *Client) SubscribeWith(ctx context.Context, o SubscribeOptions, subs ...Subscription) (SubscribeResult, error) {
	if len(subs) == 0 {
		return SubscribeResult{}, errors.New("mqtt client: nothing to subscribe to")
	}
	if err := c.checkSubscribe(o, subs); err != nil {
		return SubscribeResult{}, err
	}
	result, err := c.ask(ctx, c.subscribeRequest(o, subs))
	if err != nil {
		return result, fmt.Errorf("subscribing to %s: %w", filterList(subs), err)
	}
	c.remember(o, subs, result.Codes)
	for i, code := range result.Codes {
		if code.IsError() {
			return result, &ReasonError{Packet: mqtt.SUBACK, Topic: subs[i].Filter, Code: code, Reason: result.Reason}
		}
	}
	return result, nil
}

func (c *Client) checkSubscribe(o SubscribeOptions, subs []Subscription) error {
	v5 := o.ID != 0 || len(o.User) > 0
	for _, s := range subs {
		if err := topic.ValidFilter([]byte(s.Filter)); err != nil {
			return fmt.Errorf("mqtt client: cannot subscribe to %q: %w", s.Filter, err)
		}
		if s.QoS > 2 || s.RetainHandling > RetainedNever {
			return fmt.Errorf("mqtt client: cannot subscribe to %q with QoS %d and retain handling %d: each is 0, 1 or 2", s.Filter, s.QoS, s.RetainHandling)
		}
		v5 = v5 || s.NoLocal || s.RetainAsPublished || s.RetainHandling != 0
	}
	if v5 && c.opts.Version != mqtt.V5 {
		return fmt.Errorf("%w: options and properties of a subscription", ErrNeedsV5)
	}
	return nil
}

func (c *Client) subscribeRequest(o SubscribeOptions, subs []Subscription) *request {
	p := mqtt.Subscribe{}
	for _, s := range subs {
		options := mqtt.SubOptions(s.QoS) | mqtt.SubOptions(s.RetainHandling)<<4
		if s.NoLocal {
			options |= mqtt.SubNoLocal
		}
		if s.RetainAsPublished {
			options |= mqtt.SubRetainAsPublished
		}
		p.Subscriptions = append(p.Subscriptions, mqtt.Subscription{Filter: []byte(s.Filter), Options: options})
	}
	if o.ID != 0 {
		p.Props.Has.Set(mqtt.PropSubscriptionID)
		p.Props.SubscriptionIDs = []uint32{o.ID}
	}
	p.Props.User = wireUser(o.User)
	return &request{answer: mqtt.SUBACK, n: len(subs), encode: func(dst []byte, id uint16) ([]byte, error) {
		p.PacketID = id
		return p.Append(dst, c.opts.Version)
	}}
}

// Unsubscribe ends subscriptions and returns when the server has answered. It
// is no error if there was none (mqtt.NoSubscriptionExisted).
func (c *Client) Unsubscribe(ctx context.Context, filters ...string) (SubscribeResult, error) {
	return c.UnsubscribeWith(ctx, nil, filters...)
}

// UnsubscribeWith is Unsubscribe with user properties, which need MQTT 5.
func (c *Client) UnsubscribeWith(ctx context.Context, user []UserProperty, filters ...string) (SubscribeResult, error) {
	if len(filters) == 0 {
		return SubscribeResult{}, errors.New("mqtt client: nothing to unsubscribe from")
	}
	if len(user) > 0 && c.opts.Version != mqtt.V5 {
		return SubscribeResult{}, fmt.Errorf("%w: user properties", ErrNeedsV5)
	}
	p := mqtt.Unsubscribe{}
	p.Props.User = wireUser(user)
	for _, f := range filters {
		if err := topic.ValidFilter([]byte(f)); err != nil {
			return SubscribeResult{}, fmt.Errorf("mqtt client: cannot unsubscribe from %q: %w", f, err)
		}
		p.Filters = append(p.Filters, []byte(f))
	}
	c.forget(filters) // before the answer: a reconnection must not bring them back
	result, err := c.ask(ctx, &request{answer: mqtt.UNSUBACK, n: len(filters), encode: func(dst []byte, id uint16) ([]byte, error) {
		p.PacketID = id
		return p.Append(dst, c.opts.Version)
	}})
	if err != nil {
		return result, fmt.Errorf("unsubscribing from %q: %w", filters, err)
	}
	for i, code := range result.Codes {
		if code.IsError() {
			return result, &ReasonError{Packet: mqtt.UNSUBACK, Topic: filters[i], Code: code, Reason: result.Reason}
		}
	}
	return result, nil
}

// ask sends a request and waits for its answer. A request that a lost
// connection left unanswered is sent again on the next one.
func (c *Client) ask(ctx context.Context, q *request) (SubscribeResult, error) {
	c.inbox.begin()
	defer c.inbox.end()
	if _, err := q.encode(nil, 1); err != nil {
		return SubscribeResult{}, err
	}
	type answer struct {
		SubscribeResult
		error
	}
	done := make(chan answer, 1)
	q.done = func(codes []mqtt.ReasonCode, r Result, err error) {
		done <- answer{SubscribeResult{Codes: codes, Reason: r.Reason, User: r.User}, err}
	}
	if err := c.issue(ctx, q); err != nil {
		return SubscribeResult{}, err
	}
	select {
	case a := <-done:
		return a.SubscribeResult, a.error
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.requests, q.id) // nobody waits: do not send it again
		c.mu.Unlock()
		return SubscribeResult{}, fmt.Errorf("no answer yet: %w", ctx.Err())
	}
}

// issue registers q and sends it.
func (c *Client) issue(ctx context.Context, q *request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.awaitTurn(ctx, 0); err != nil {
		return err
	}
	if err := c.register(q); err != nil {
		return err
	}
	c.sendRequest(c.link, q)
	return nil
}

func (c *Client) register(q *request) error {
	if q.id = c.id(); q.id == 0 {
		return errors.New("mqtt client: all 65,535 packet identifiers are in use")
	}
	q.seq = c.seq
	c.seq++
	c.requests[q.id] = q
	return nil
}

// sendRequest sends q on l. If l is down, resubscribe will send it on the next
// link; it was encoded once before, so there is no other error.
func (c *Client) sendRequest(l *link, q *request) {
	_ = l.send(func(dst []byte) ([]byte, error) { return q.encode(dst, q.id) })
}

// resubscribe sends what is unanswered again, behind the subscriptions that the
// server has lost.
func (c *Client) resubscribe(l *link, kept bool) {
	waiting := slices.SortedFunc(maps.Values(c.requests), func(a, b *request) int { return cmp.Compare(a.seq, b.seq) })
	if !kept && !c.opts.NoResubscribe {
		for _, s := range c.subs {
			q := c.subscribeRequest(s.options, []Subscription{s.Subscription})
			q.done = func(codes []mqtt.ReasonCode, r Result, err error) {
				if err == nil && codes[0].IsError() {
					// Silence would be a subscription that is lost without a trace.
					l.close(&ReasonError{Packet: mqtt.SUBACK, Topic: s.Filter, Code: codes[0], Reason: r.Reason})
				}
			}
			if c.register(q) == nil {
				c.sendRequest(l, q)
			}
		}
	}
	for _, q := range waiting {
		c.sendRequest(l, q)
	}
}

// handleAnswer takes SUBACK and UNSUBACK.
func (c *Client) handleAnswer(l *link, f mqtt.Frame) error {
	var id uint16
	var codes []mqtt.ReasonCode
	var props *mqtt.Properties
	if f.Type == mqtt.SUBACK {
		var p mqtt.Suback
		if err := p.Decode(f, l.version); err != nil {
			return err
		}
		id, codes, props = p.PacketID, p.Codes, &p.Props
	} else {
		var p mqtt.Unsuback
		if err := p.Decode(f, l.version); err != nil {
			return err
		}
		id, codes, props = p.PacketID, p.Codes, &p.Props
	}
	c.mu.Lock()
	defer c.unlock()
	q := c.requests[id]
	if q == nil {
		return nil // given up meanwhile
	}
	if f.Type == mqtt.UNSUBACK && l.version != mqtt.V5 {
		codes = make([]mqtt.ReasonCode, q.n) // MQTT 3 has no codes there
	}
	if f.Type != q.answer || len(codes) != q.n {
		return &mqtt.Error{Code: mqtt.ProtocolError, Packet: f.Type,
			Detail: fmt.Sprintf("%d codes do not answer packet identifier %d with its %d filters", len(codes), id, q.n), Statement: "MQTT-3.8.4-6"}
	}
	delete(c.requests, id)
	codes = slices.Clone(codes)
	r := Result{Reason: reasonString(props), User: userFrom(props.User)}
	c.tell = append(c.tell, func() { q.done(codes, r, nil) })
	return nil
}

// remember keeps the granted subscriptions for a new session.
func (c *Client) remember(o SubscribeOptions, subs []Subscription, codes []mqtt.ReasonCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, s := range subs {
		if codes[i].IsError() {
			continue
		}
		entry := remembered{s, o}
		if at := slices.IndexFunc(c.subs, func(r remembered) bool { return r.Filter == s.Filter }); at >= 0 {
			c.subs[at] = entry
		} else {
			c.subs = append(c.subs, entry)
		}
	}
}

func (c *Client) forget(filters []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subs = slices.DeleteFunc(c.subs, func(r remembered) bool { return slices.Contains(filters, r.Filter) })
}

func filterList(subs []Subscription) string {
	filters := make([]string, len(subs))
	for i, s := range subs {
		filters[i] = s.Filter
	}
	return fmt.Sprintf("%q", filters)
}
