package conn

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// setup is what a CONNECT asked for; it lives until CONNACK.
type setup struct {
	login         Login
	clean         bool
	assigned      bool // the client id was made by us
	keepAlive     uint16
	expiry        uint32
	expiryReduced bool
	maxPacket     uint32
	receiveMax    uint16
	topicAliasMax uint16
	wantsInfo     bool
	authMethod    []byte
	authData      []byte
	will          *router.Will
	hooks         *hooks // that decide
}

// refusal is a CONNACK that refuses.
type refusal struct {
	code   mqtt.ReasonCode
	reason string
}

func (r *refusal) Error() string { return r.code.String() + ": " + r.reason }

// handleConnect takes the first packet: checks, then asks who may connect. It goes on in authenticated.
func (c *Conn) handleConnect(w *router.Worker, f mqtt.Frame) error {
	var p mqtt.Connect
	err := p.Decode(f)
	c.version, c.bridge = p.Version, p.Bridge
	c.leaveOpening()
	if err != nil {
		c.connectError(w, &p, err)
		return nil
	}
	if !slices.Contains(c.sh.Versions, p.Version) {
		c.refuse(w, &refusal{mqtt.UnsupportedProtocolVersion, "protocol version " + p.Version.String() + " is not accepted here"})
		return nil
	}
	c.maxOut = p.Props.MaximumPacketSize
	su, bad := c.prepare(&p)
	if bad != nil {
		c.refuse(w, bad)
		return nil
	}
	c.mine().setup = su
	if c.sh.UsernameAsClientID && su.login.HasUsername {
		su.login.ClientID = su.login.Username
	}
	c.id = &message.Identity{ClientID: su.login.ClientID, Username: su.login.Username}
	c.quiet = p.Props.Has.Has(mqtt.PropRequestProblemInfo) && p.Props.RequestProblemInfo == 0
	if bad := c.prepareWill(&p); bad != nil {
		c.refuse(w, bad)
		return nil
	}
	if p.Props.Has.Has(mqtt.PropAuthMethod) {
		c.startEnhanced(w)
	} else {
		c.ask(w)
	}
	return nil
}

// connectError answers a CONNECT that cannot be taken. What does not even name the protocol gets no answer
// [MQTT-3.1.2-1].
func (c *Conn) connectError(w *router.Worker, p *mqtt.Connect, err error) {
	var e *mqtt.Error
	if !errors.As(err, &e) || e.Code == mqtt.ProtocolError && p.Version == 0 {
		c.fail(w, err)
		return
	}
	if e.Code == mqtt.UnsupportedProtocolVersion {
		c.version = mqtt.V311 // return code 1 is what every version knows [MQTT-3.1.2-2]
		c.refuse(w, &refusal{e.Code, e.Detail})
		return
	}
	if c.version == mqtt.V5 {
		c.maxOut = p.Props.MaximumPacketSize
		c.refuse(w, &refusal{e.Code, e.Detail})
		return
	}
	c.fail(w, err)
}

// prepare reads what the session will be like.
func (c *Conn) prepare(p *mqtt.Connect) (*setup, *refusal) {
	su := &setup{clean: p.CleanStart, keepAlive: p.KeepAlive}
	peer, local := c.sh.Addresses(c.t)
	su.login = Login{
		ClientID: string(p.ClientID), HasUsername: p.HasUsername, Username: string(p.Username), HasPassword: p.HasPassword,
		Password: slices.Clone(p.Password), Version: p.Version, RemoteAddr: peer, LocalAddr: local,
		CleanStart: p.CleanStart, Listener: c.sh.listener.name,
	}
	if c.sh.Certificate != nil {
		su.login.Certificate, su.login.CommonName = c.sh.Certificate(c.t)
	}
	if p.Version == mqtt.V5 {
		props := &p.Props
		su.expiry, su.maxPacket = props.SessionExpiry, props.MaximumPacketSize
		su.receiveMax, su.topicAliasMax = props.ReceiveMaximum, props.TopicAliasMaximum
		su.wantsInfo = props.Has.Has(mqtt.PropRequestResponseInfo) && props.RequestResponseInfo == 1
		su.authMethod, su.authData = slices.Clone(props.AuthMethod), slices.Clone(props.AuthData)
	} else if !p.CleanStart {
		su.expiry = session.NeverExpires
	}
	if su.expiry > c.sh.MaxSessionExpiry {
		su.expiry, su.expiryReduced = c.sh.MaxSessionExpiry, true
	}
	if len(p.ClientID) == 0 {
		if !c.sh.AllowEmptyClientID {
			if p.Version == mqtt.V5 {
				return nil, &refusal{mqtt.UnspecifiedError, "an empty client id is not allowed here"}
			}
			return nil, &refusal{mqtt.ClientIdentifierNotValid, "an empty client id is not allowed here"}
		}
		if p.Version != mqtt.V5 && !p.CleanStart || p.Version == mqtt.V31 {
			return nil, &refusal{mqtt.ClientIdentifierNotValid, "an empty client id needs a clean session [MQTT-3.1.3-8]"}
		}
		su.login.ClientID = c.sh.AutoIDPrefix + newUUID()
		su.assigned, su.login.Assigned = true, true
	}
	if limit := c.sh.MaxKeepAlive; limit > 0 && (su.keepAlive == 0 || su.keepAlive > limit) {
		if p.Version != mqtt.V5 {
			return nil, &refusal{mqtt.ClientIdentifierNotValid, fmt.Sprintf("keep alive %d s is above the limit of %d s", su.keepAlive, limit)}
		}
		su.keepAlive = limit
	}
	return su, nil
}

// prepareWill keeps the will message.
func (c *Conn) prepareWill(p *mqtt.Connect) *refusal {
	if !p.HasWill {
		return nil
	}
	wl := &p.Will
	switch {
	case wl.QoS > c.sh.MaxQoS:
		return &refusal{mqtt.QoSNotSupported, "the will's QoS is not supported [MQTT-3.2.2-12]"}
	case wl.Retain && !c.sh.RetainAvailable:
		return &refusal{mqtt.RetainNotSupported, "retained messages are not available [MQTT-3.2.2-13]"}
	case c.sh.MaxPayload > 0 && len(wl.Payload) > c.sh.MaxPayload:
		return &refusal{mqtt.PacketTooLarge, "the will's payload is larger than the limit"}
	case len(c.sh.MountPoint)+len(wl.Topic) > math.MaxUint16:
		return &refusal{mqtt.TopicNameInvalid, "the will's topic is too long for this listener"}
	case reserved(c.sh.MountPoint + string(wl.Topic)):
		return &refusal{mqtt.NotAuthorized, "a client may not have a will on this topic"}
	}
	m := &message.Message{
		Topic: c.sh.MountPoint + string(wl.Topic), Payload: slices.Clone(wl.Payload), QoS: wl.QoS, Retain: wl.Retain, From: c.id,
	}
	if c.version == mqtt.V5 {
		m.Props = message.AppendForwarded(nil, &wl.Props)
	}
	will := &router.Will{M: m.MarkOwned(), Delay: wl.Props.WillDelay}
	if wl.Props.Has.Has(mqtt.PropMessageExpiry) {
		will.Expiry, will.Expires = wl.Props.MessageExpiry, true
	}
	c.setup.will = will
	return nil
}

// verdict takes the authenticator's answer.
func (c *Conn) verdict(w *router.Worker, v Verdict) {
	if c.state != stateWaiting { // the client has gone
		v.discard()
		return
	}
	if c.outdated() {
		v.discard()
		c.ask(w)
		return
	}
	if v.Code != mqtt.Success {
		v.discard()
		c.refuse(w, &refusal{v.Code, v.Reason})
		return
	}
	c.identify(&v)
	c.bind(&v)
	c.authenticated(w)
}

// identify makes the client who the verdict says.
func (c *Conn) identify(v *Verdict) {
	if v.Username == "" && v.ClientID == "" && v.Grant == nil {
		return
	}
	id := *c.id
	id.Grant = v.Grant
	if v.Username != "" {
		id.Username = v.Username
	}
	switch {
	case c.sh.UsernameAsClientID && v.Username != "":
		id.ClientID = v.Username
	case v.ClientID != "" && !c.sh.UsernameAsClientID:
		id.ClientID = v.ClientID
	}
	c.id = &id
	if c.setup.will != nil {
		c.setup.will.M.From = c.id
	}
}

// authenticated claims the client id. Whoever holds it is evicted first; accept follows when it has gone.
func (c *Conn) authenticated(w *router.Worker) {
	c.setup.login.Password = nil
	if c.sh.UsernameAsClientID && c.id.Username == "" {
		c.refuse(w, &refusal{mqtt.NotAuthorized, "a user name is needed here: it becomes the client id"})
		return
	}
	prev, full := c.sh.Router.Claim(c.id.ClientID, c)
	if full {
		c.refuse(w, &refusal{mqtt.ServerBusy, "the limit of clients is reached"})
		return
	}
	c.claimed = true
	if prev == nil {
		c.accept(w)
		return
	}
	c.suspend()
	clean := c.setup.clean
	prev.Evict(clean, func() {
		c.t.Post(func(loop int, now int64) { c.accept(c.sh.Router.Worker(loop, now)) })
	})
}

// suspend stops reading until an answer comes.
func (c *Conn) suspend() {
	c.state = stateWaiting
	c.t.Pause()
}

// accept binds the session and sends CONNACK. It runs when nobody else has the client id any more.
func (c *Conn) accept(w *router.Worker) {
	if c.state == stateClosed || c.evicted != nil {
		// The client went, or another one came, while this one waited.
		c.yield(w)
		return
	}
	// Looked at after the claim: either the one who shuts down finds this connection, or it sees that somebody does.
	if err := c.sh.closed(); err != nil {
		c.refuse(w, &refusal{mqtt.ServerUnavailable, err.Error()})
		c.yield(w)
		return
	}
	if c.outdated() { // looked at after the claim, too: see Shared.SetHooks
		c.refuse(w, errReloaded)
		c.yield(w)
		return
	}
	resumed := c.state == stateWaiting
	su := c.setup
	if frame, err := c.connack(su, false); err != nil || !c.fits(frame) { // what a hook wants to tell it fits into no packet, or into none it takes
		c.fail(w, cmp.Or(err, ErrTooSmall))
		c.yield(w)
		return
	}
	s, present, ended := w.Bind(c.id, su.clean)
	c.s = s
	c.sh.common.bound.Add(1)
	was := s.Expiry()
	s.SetExpiry(su.expiry)
	forget := ended != nil && ended.Durable()
	if !s.Durable() && !forget {
		c.welcome(w, present, resumed)
		return
	}
	// A session that the client is told of is one that a restart finds, and one that it has ended is not.
	c.state = stateWaiting
	if !resumed {
		c.t.Pause()
	}
	b := w.NewBatch()
	if forget {
		b.DeleteSession(ended.Key)
	}
	c.storeSession(w, b, s, present, was)
}

// storeSession has the session stored, if it is durable, with what b has already, and goes on then. was is its expiry before.
func (c *Conn) storeSession(w *router.Worker, b session.Batch, s *session.Session, present bool, was uint32) {
	if s.Durable() {
		b.PutSession(&session.Record{Key: s.Key, ClientID: c.id.ClientID, Username: c.id.Username, Expiry: s.Expiry()})
	}
	w.CommitBatch(b, router.Then(func(w *router.Worker, err error) {
		switch {
		case c.state == stateClosed:
		case err != nil:
			if s.SetExpiry(0); present {
				s.SetExpiry(was)
			}
			c.refuse(w, &refusal{storeConnackCode(err), "the session cannot be stored: " + err.Error()})
			c.yield(w)
		case c.evicted != nil:
			c.yield(w)
		default:
			c.welcome(w, present, true)
		}
	}))
}

// storeConnackCode is storeCode, as far as CONNACK has it.
func storeConnackCode(err error) mqtt.ReasonCode {
	if code := storeCode(err); code == mqtt.QuotaExceeded {
		return code
	}
	return mqtt.ServerUnavailable
}

// welcome sends CONNACK: the connection has its session.
func (c *Conn) welcome(w *router.Worker, present, resumed bool) {
	s, su := c.s, c.setup
	r := c.mine()
	if r.setup, r.will = nil, su.will; *r == nothingRare {
		c.rare = &nothingRare
	}
	c.state, c.keepAlive = stateOpen, su.keepAlive
	connack, _ := c.connack(su, present) // as it was in accept, but for a flag
	s.Attach(&w.Turn, session.Link{
		ID: c.id, Conn: c.t, V5: c.version == mqtt.V5, MaxPacket: su.maxPacket, ReceiveMaximum: su.receiveMax,
		TopicAliasMax: min(su.topicAliasMax, c.sh.MaxTopicAliasOut), Expiry: su.expiry, Mount: c.sh.MountPoint, Connack: connack,
	})
	c.received = uint16(min(s.Figures().Received, 0xFFFF))
	for _, r := range s.Replays() {
		r.Held = false // its SUBACK was lost with the last connection
	}
	c.sh.connected(c, su, present)
	c.lastSeen, c.since = w.Now, w.Now
	c.watch(w.Now)
	c.proceedSending(w)
	if resumed {
		c.t.Resume()
	}
}

func (c *Conn) connack(su *setup, present bool) ([]byte, error) {
	ack := mqtt.Connack{SessionPresent: present && c.version != mqtt.V31} // 3.1 has no such flag
	if c.version == mqtt.V5 {
		c.connackProperties(&ack.Props, su)
	}
	return ack.Append(nil, c.version)
}

// connackProperties tells the client what is ours to tell, as Mosquitto does (MQTT 5 §3.2.2.3).
func (c *Conn) connackProperties(p *mqtt.Properties, su *setup) {
	if su.expiryReduced {
		p.Has.Set(mqtt.PropSessionExpiry)
		p.SessionExpiry = su.expiry
	}
	if su.assigned {
		p.Has.Set(mqtt.PropAssignedClientID)
		p.AssignedClientID = []byte(c.id.ClientID)
	}
	if su.keepAlive != 0 && c.sh.MaxKeepAlive > 0 && su.keepAlive == c.sh.MaxKeepAlive {
		p.Has.Set(mqtt.PropServerKeepAlive)
		p.ServerKeepAlive = su.keepAlive
	}
	if c.sh.MaxTopicAlias > 0 {
		p.Has.Set(mqtt.PropTopicAliasMaximum)
		p.TopicAliasMaximum = c.sh.MaxTopicAlias
	}
	if c.sh.ReceiveMaximum > 0 {
		p.Has.Set(mqtt.PropReceiveMaximum)
		p.ReceiveMaximum = c.sh.ReceiveMaximum
	}
	if c.sh.MaxPacket > 0 {
		p.Has.Set(mqtt.PropMaximumPacketSize)
		p.MaximumPacketSize = uint32(c.sh.MaxPacket)
	}
	if c.sh.MaxQoS < 2 {
		p.Has.Set(mqtt.PropMaximumQoS)
		p.MaximumQoS = c.sh.MaxQoS
	}
	if !c.sh.RetainAvailable {
		p.Has.Set(mqtt.PropRetainAvailable)
		p.RetainAvailable = 0
	}
	if su.wantsInfo && c.sh.ResponseInformation != "" {
		p.Has.Set(mqtt.PropResponseInfo)
		p.ResponseInfo = []byte(c.sh.ResponseInformation)
	}
	if len(su.authMethod) > 0 {
		p.Has.Set(mqtt.PropAuthMethod)
		p.AuthMethod = su.authMethod
		if len(su.authData) > 0 {
			p.Has.Set(mqtt.PropAuthData)
			p.AuthData = su.authData
		}
	}
}

// newUUID makes a random UUID (RFC 9562 version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0F|0x40, b[8]&0x3F|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
