package conn

import (
	"math"
	"slices"

	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

const (
	// fewFilters is up to how many filters a SUBSCRIBE may have one twice and get retained messages for it twice. Among many
	// a filter is answered once: two megabytes of them would ask for as many answers.
	fewFilters = 16
	// manyFilters is from how many on the memory for them is given back.
	manyFilters = 4096
)

// handleSubscribe takes SUBSCRIBE. The subscriptions are in force before SUBACK leaves; retained messages follow it.
func (c *Conn) handleSubscribe(w *router.Worker, f mqtt.Frame) error {
	sc := &c.sh.scratch[w.Loop]
	p := &sc.subscribe
	if err := p.Decode(f, c.version); err != nil {
		return err
	}
	var subID uint32
	if ids := p.Props.SubscriptionIDs; len(ids) > 0 {
		subID = ids[0]
	}
	for _, sub := range p.Subscriptions {
		if _, _, shared := topic.ParseShare(string(sub.Filter)); shared && sub.Options.NoLocal() {
			return violation(f.Type, "No Local on a shared subscription", "MQTT-3.8.3-4")
		}
	}
	if c.bounds != nil {
		if refused, err := c.measureSubscribe(w, p); refused || err != nil {
			return err
		}
	}
	var batch session.Batch
	if c.s.Durable() {
		batch = w.NewBatch()
	}
	var replays []*session.Replay
	var answered map[string]struct{} // filters with a replay, if there are many
	if len(p.Subscriptions) > fewFilters {
		answered = make(map[string]struct{})
	}
	codes := sc.codes[:0]
	for _, sub := range p.Subscriptions {
		filter := c.mounted(string(sub.Filter))
		code, existed, opts := c.subscribe(w, filter, sub.Options, subID, batch)
		codes = append(codes, code)
		_, _, shared := topic.ParseShare(filter)
		rh := opts.RetainHandling()
		// None for shared subscriptions (MQTT 5 §4.8.2), nor where the client asked for none (§3.8.3.1).
		if !code.IsError() && !shared && (rh == 0 || rh == 1 && !existed) {
			if _, again := answered[filter]; again {
				continue // one answer will do
			}
			if answered != nil {
				answered[filter] = struct{}{}
			}
			if r := w.PrepareReplay(c.s, filter, opts, subID); r != nil {
				replays = append(replays, r)
				if batch != nil {
					w.StoreReplay(c.s, r, opts, subID, batch)
				}
			}
		}
	}
	sc.codes = codes
	frame, err := (&mqtt.Suback{PacketID: p.PacketID, Codes: codes}).Append(nil, c.version)
	if cap(p.Subscriptions) > manyFilters {
		*p, sc.codes = mqtt.Subscribe{}, nil // not kept for the next, which is small again
	}
	if err != nil {
		return err
	}
	c.answerAfter(w, batch, &place{frame: frame, sent: func(w *router.Worker) {
		for _, r := range replays {
			r.Held = false
		}
		c.proceedSending(w)
	}})
	return nil
}

// subscribe takes one filter of a SUBSCRIBE and gives its code in SUBACK.
func (c *Conn) subscribe(w *router.Worker, filter string, opts mqtt.SubOptions, subID uint32, batch session.Batch) (code mqtt.ReasonCode, existed bool, eff mqtt.SubOptions) {
	_, bare, shared := topic.ParseShare(filter)
	if !shared {
		bare = filter
	}
	if len(filter) > math.MaxUint16 {
		c.sh.subscribeRefused(c, filter, "the filter is too long for this listener")
		return c.subackError(mqtt.TopicFilterInvalid), false, opts
	}
	if d := c.sh.Router.MaySubscribe(c.id, bare); !d.Allowed {
		c.sh.subscribeRefused(c, filter, d.Rule)
		return c.subackError(mqtt.NotAuthorized), false, opts
	}
	if limit := c.live().MaxSubscriptions; limit > 0 && c.sh.Router.Subscriptions(c.s) >= limit && !c.sh.Router.Subscribed(c.s, filter) {
		c.sh.subscribeRefused(c, filter, "the limit of subscriptions per client is reached")
		return c.subackError(mqtt.QuotaExceeded), false, opts
	}
	if opts.QoS() > c.sh.MaxQoS {
		opts = opts&^3 | mqtt.SubOptions(c.sh.MaxQoS)
	}
	if c.bridge {
		opts |= mqtt.SubNoLocal | mqtt.SubRetainAsPublished // what a bridge of MQTT 3 expects
		if shared {
			opts &^= mqtt.SubNoLocal
		}
	}
	existed = w.Subscribe(c.s, filter, opts, subID, batch)
	c.sh.subscribed(c, filter, opts)
	return mqtt.ReasonCode(opts.QoS()), existed, opts
}

// subackError is a refusal as the client's version knows it [MQTT-3.9.3-2].
func (c *Conn) subackError(code mqtt.ReasonCode) mqtt.ReasonCode {
	if c.version != mqtt.V5 {
		return mqtt.UnspecifiedError // 0x80, Failure
	}
	return code
}

// handleUnsubscribe takes UNSUBSCRIBE. Nothing is delivered by the filters once UNSUBACK has left [MQTT-3.10.4-2].
func (c *Conn) handleUnsubscribe(w *router.Worker, f mqtt.Frame) error {
	sc := &c.sh.scratch[w.Loop]
	p := &sc.unsubscribe
	if err := p.Decode(f, c.version); err != nil {
		return err
	}
	if c.bounds != nil && c.bounds.meter != nil {
		c.slow(w, c.bounds.meter.Subscribe(w.Now, len(p.Filters)).Wait) // it frees something: never refused
	}
	var batch session.Batch
	if c.s.Durable() {
		batch = w.NewBatch()
	}
	codes := sc.codes[:0]
	for _, filter := range p.Filters {
		code := mqtt.Success
		if !w.Unsubscribe(c.s, c.mounted(string(filter)), batch) {
			code = mqtt.NoSubscriptionExisted
		}
		c.sh.unsubscribed(c, string(filter))
		codes = append(codes, code)
	}
	sc.codes = codes
	frame, err := (&mqtt.Unsuback{PacketID: p.PacketID, Codes: slices.Clone(codes)}).Append(nil, c.version)
	if cap(p.Filters) > manyFilters {
		*p, sc.codes = mqtt.Unsubscribe{}, nil
	}
	if err != nil {
		return err
	}
	c.answerAfter(w, batch, &place{frame: frame})
	return nil
}
