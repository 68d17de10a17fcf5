package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Connack is what the server said when it accepted the connection.
type Connack struct {
	// SessionPresent tells that the server still had the session.
	SessionPresent bool
	// ClientID is the client's own, or the one that the server assigned.
	ClientID string
	// KeepAlive is the time in force; 0: none.
	KeepAlive time.Duration
	// SessionExpiry is how long, in seconds, the server keeps the session after
	// the connection. Of the fields from here on only defaults are set unless
	// MQTT 5 is spoken.
	SessionExpiry uint32
	// What the server can do, and how much of it.
	ReceiveMaximum        uint16
	MaximumQoS            byte
	RetainAvailable       bool
	MaximumPacketSize     uint32 // bytes; 0: no limit
	TopicAliasMaximum     uint16
	WildcardSubscriptions bool
	SubscriptionIDs       bool
	SharedSubscriptions   bool
	// Texts and references, where given.
	ResponseInfo    string
	ServerReference string
	Reason          string
	User            []UserProperty
}

// limits are the server's, for what is sent on one link.
type limits struct {
	maxQoS    byte
	retain    bool
	maxPacket uint32 // 0: no limit
	aliasMax  uint16
	aliases   map[uint16]string // outgoing aliases that the server knows
}

// handshake opens a connection and takes it up to the CONNACK.
func (c *Client) handshake(ctx context.Context, first bool) (*link, *reader, Connack, error) {
	if c.opts.ConnectTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.opts.ConnectTimeout)
		defer cancel()
	}
	conn, err := c.open(ctx)
	if err != nil {
		return nil, nil, Connack{}, fmt.Errorf("connecting to %s: %w", c.addr.target, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	r := &reader{conn: conn, max: int(c.opts.MaximumPacketSize), trace: c.opts.Trace}
	ack, err := c.greet(ctx, conn, r, first)
	if !stop() && err == nil {
		err = ctx.Err() // the deadline has been set: the connection is of no use
	}
	if err != nil {
		conn.Close()
		if cause := ctx.Err(); cause != nil {
			err = fmt.Errorf("no CONNACK in time: %w", cause)
		}
		return nil, nil, Connack{}, fmt.Errorf("connecting to %s: %w", c.addr.target, err)
	}
	l := newLink(conn, &c.opts, c.notify)
	l.limits = limits{
		maxQoS: ack.MaximumQoS, retain: ack.RetainAvailable, maxPacket: ack.MaximumPacketSize,
		aliasMax: ack.TopicAliasMaximum, aliases: map[uint16]string{},
	}
	return l, r, ack, nil
}

// greet sends CONNECT and reads until the CONNACK, with AUTH in between.
func (c *Client) greet(ctx context.Context, conn net.Conn, r *reader, first bool) (Connack, error) {
	packet, err := c.connectPacket(ctx, first)
	if err != nil {
		return Connack{}, err
	}
	traceSent(c.opts.Trace, packet)
	if _, err := conn.Write(packet); err != nil {
		return Connack{}, err
	}
	for {
		f, err := r.next(func() {})
		if err != nil {
			return Connack{}, fmt.Errorf("the server closed the connection before its CONNACK: %w", err)
		}
		switch {
		case f.Type == mqtt.CONNACK:
			return c.accepted(ctx, f)
		case f.Type == mqtt.AUTH && c.opts.Auth != nil:
			answer, err := c.answerAuth(ctx, f)
			if err != nil {
				return Connack{}, err
			}
			traceSent(c.opts.Trace, answer)
			if _, err := conn.Write(answer); err != nil {
				return Connack{}, err
			}
		default:
			return Connack{}, fmt.Errorf("the server sent %v before its CONNACK [MQTT-3.2.0-1]", f.Type)
		}
	}
}

// connectPacket is the encoded CONNECT.
func (c *Client) connectPacket(ctx context.Context, first bool) ([]byte, error) {
	o := &c.opts
	p := mqtt.Connect{
		Version:    o.Version,
		CleanStart: o.cleanStart(first),
		ClientID:   []byte(c.clientID),
	}
	if o.KeepAlive > 0 {
		p.KeepAlive = uint16(o.KeepAlive / time.Second)
	}
	if o.Username != "" {
		p.HasUsername, p.Username = true, []byte(o.Username)
	}
	if o.Password != nil {
		p.HasPassword, p.Password = true, o.Password
	}
	if o.Will != nil {
		p.HasWill = true
		p.Will = mqtt.Will{Topic: []byte(o.Will.Topic), Payload: o.Will.Payload, QoS: o.Will.QoS, Retain: o.Will.Retain}
		if o.Version == mqtt.V5 {
			o.Will.Properties.wire(&p.Will.Props)
			if o.Will.Delay > 0 {
				p.Will.Props.Has.Set(mqtt.PropWillDelay)
				p.Will.Props.WillDelay = o.Will.Delay
			}
		}
	}
	if o.Version == mqtt.V5 {
		if err := c.connectProperties(ctx, &p.Props); err != nil {
			return nil, err
		}
	}
	return p.Append(nil)
}

func (c *Client) connectProperties(ctx context.Context, w *mqtt.Properties) error {
	o := &c.opts
	if o.SessionExpiry > 0 {
		w.Has.Set(mqtt.PropSessionExpiry)
		w.SessionExpiry = o.SessionExpiry
	}
	if o.ReceiveMaximum > 0 {
		w.Has.Set(mqtt.PropReceiveMaximum)
		w.ReceiveMaximum = o.ReceiveMaximum
	}
	if o.MaximumPacketSize > 0 {
		w.Has.Set(mqtt.PropMaximumPacketSize)
		w.MaximumPacketSize = o.MaximumPacketSize
	}
	if o.TopicAliasMaximum > 0 {
		w.Has.Set(mqtt.PropTopicAliasMaximum)
		w.TopicAliasMaximum = o.TopicAliasMaximum
	}
	if o.RequestResponseInfo {
		w.Has.Set(mqtt.PropRequestResponseInfo)
		w.RequestResponseInfo = 1
	}
	if o.NoProblemInfo {
		w.Has.Set(mqtt.PropRequestProblemInfo)
		w.RequestProblemInfo = 0
	}
	w.User = wireUser(o.UserProperties)
	if o.Auth == nil {
		return nil
	}
	data, err := o.Auth.Start(ctx)
	if err != nil {
		return fmt.Errorf("authentication %s: %w", o.Auth.Method(), err)
	}
	setAuth(w, o.Auth.Method(), data)
	return nil
}

func setAuth(w *mqtt.Properties, method string, data []byte) {
	w.Has.Set(mqtt.PropAuthMethod)
	w.AuthMethod = []byte(method)
	if data != nil {
		w.Has.Set(mqtt.PropAuthData)
		w.AuthData = data
	}
}

// accepted reads a CONNACK: the terms of the connection, or a *ConnectError.
func (c *Client) accepted(ctx context.Context, f mqtt.Frame) (Connack, error) {
	if v3 := byte(mqtt.ConnRefusedVersion); c.opts.Version == mqtt.V5 && len(f.Body) == 2 && f.Body[1] == v3 {
		// A server without MQTT 5 says so in its own language.
		return Connack{}, &ConnectError{Version: mqtt.V5, Code: mqtt.UnsupportedProtocolVersion, Reason: "it speaks MQTT 3 only"}
	}
	var p mqtt.Connack
	if err := p.Decode(f, c.opts.Version); err != nil {
		return Connack{}, err
	}
	w := &p.Props
	if p.Code != mqtt.Success {
		e := &ConnectError{Version: c.opts.Version, Code: p.Code, Reason: reasonString(w)}
		if w.Has.Has(mqtt.PropServerReference) {
			e.ServerReference = string(w.ServerReference)
		}
		return Connack{}, e
	}
	if c.opts.Auth != nil {
		if string(w.AuthMethod) != c.opts.Auth.Method() {
			return Connack{}, errors.New("the server accepted the connection without the authentication that was asked for [MQTT-4.12.0-5]")
		}
		if err := c.opts.Auth.Finish(ctx, w.AuthData); err != nil {
			return Connack{}, fmt.Errorf("authentication %s: %w", c.opts.Auth.Method(), err)
		}
	}
	return c.terms(&p), nil
}

// terms fills in what a CONNACK leaves to defaults (MQTT 5 §3.2.2.3).
func (c *Client) terms(p *mqtt.Connack) Connack {
	w := &p.Props
	ack := Connack{
		SessionPresent:        p.SessionPresent,
		ClientID:              c.clientID,
		KeepAlive:             max(c.opts.KeepAlive.Truncate(time.Second), 0),
		SessionExpiry:         c.opts.SessionExpiry,
		ReceiveMaximum:        65535,
		MaximumQoS:            2,
		RetainAvailable:       true,
		WildcardSubscriptions: true,
		SubscriptionIDs:       c.opts.Version == mqtt.V5,
		SharedSubscriptions:   true,
		ResponseInfo:          string(w.ResponseInfo),
		ServerReference:       string(w.ServerReference),
		Reason:                reasonString(w),
		User:                  userFrom(w.User),
	}
	has := w.Has.Has
	if has(mqtt.PropAssignedClientID) {
		ack.ClientID = string(w.AssignedClientID)
	}
	if has(mqtt.PropServerKeepAlive) {
		ack.KeepAlive = time.Duration(w.ServerKeepAlive) * time.Second
	}
	if has(mqtt.PropSessionExpiry) {
		ack.SessionExpiry = w.SessionExpiry
	}
	if has(mqtt.PropReceiveMaximum) {
		ack.ReceiveMaximum = w.ReceiveMaximum
	}
	if has(mqtt.PropMaximumQoS) {
		ack.MaximumQoS = w.MaximumQoS
	}
	if has(mqtt.PropRetainAvailable) {
		ack.RetainAvailable = w.RetainAvailable == 1
	}
	if has(mqtt.PropMaximumPacketSize) {
		ack.MaximumPacketSize = w.MaximumPacketSize
	}
	if has(mqtt.PropTopicAliasMaximum) {
		ack.TopicAliasMaximum = w.TopicAliasMaximum
	}
	if has(mqtt.PropWildcardSubAvailable) {
		ack.WildcardSubscriptions = w.WildcardSubAvailable == 1
	}
	if has(mqtt.PropSubIDAvailable) {
		ack.SubscriptionIDs = w.SubIDAvailable == 1
	}
	if has(mqtt.PropSharedSubAvailable) {
		ack.SharedSubscriptions = w.SharedSubAvailable == 1
	}
	return ack
}
