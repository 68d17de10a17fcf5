package conformance

import (
	"fmt"
	"strings"
	"time"
)

// Reason codes of MQTT 5 that the cases speak of.
const (
	rcSuccess           = 0x00
	rcDisconnectWill    = 0x04
	rcNoSubscribers     = 0x10
	rcNoSubscription    = 0x11
	rcContinue          = 0x18
	rcReauthenticate    = 0x19
	rcUnspecified       = 0x80
	rcMalformed         = 0x81
	rcProtocolError     = 0x82
	rcImplementation    = 0x83
	rcBadVersion        = 0x84
	rcBadClientID       = 0x85
	rcBadPassword       = 0x86
	rcNotAuthorized     = 0x87
	rcBadAuthMethod     = 0x8c
	rcKeepAliveTimeout  = 0x8d
	rcTakenOver         = 0x8e
	rcFilterInvalid     = 0x8f
	rcTopicInvalid      = 0x90
	rcIDNotFound        = 0x92
	rcReceiveMaximum    = 0x93
	rcAliasInvalid      = 0x94
	rcPacketTooLarge    = 0x95
	rcRetainUnsupported = 0x9a
	rcQoSUnsupported    = 0x9b
)

// The Subscription Options of MQTT 5 §3.8.3.1.
const (
	noLocal           = 0x04
	retainAsPublished = 0x08
	retainHandling1   = 0x10
	retainHandling2   = 0x20
)

// Which codes may come with the close that a malformed packet or protocol error ends in. The packet itself is a SHOULD
// (MQTT 5 §4.13), and which of the two errors something is reads differently to different people.
var (
	badPacketCodes = []byte{rcMalformed, rcProtocolError}
	badTopicCodes  = []byte{rcMalformed, rcProtocolError, rcTopicInvalid, rcFilterInvalid}
)

// v5 registers a case of MQTT 5.
func v5(id, title string, run func(*T)) { v5part(id, "", title, run) }

func v5part(id, part, title string, run func(*T)) {
	register(Case{ID: id, Version: V5, Part: part, Title: title, Run: run})
}

// v5same registers one check that several statements come down to, once for each.
func v5same(ids, title string, run func(*T)) {
	for _, id := range strings.Fields(ids) {
		v5(id, title, run)
	}
}

// v5with registers a case that needs a broker of its own.
func v5with(o Options, id, part, title string, run func(*T)) {
	register(Case{ID: id, Version: V5, Part: part, Title: title, Options: o, Run: run})
}

func num(id byte, n uint32) Prop        { return Prop{ID: id, Int: n} }
func text(id byte, s string) Prop       { return Prop{ID: id, Str: s} }
func user(key, value string) Prop       { return Prop{ID: PropUser, Key: key, Str: value} }
func expiry(seconds uint32) Prop        { return num(PropSessionExpiry, seconds) }
func ptr[V any](v V) *V                 { return &v }
func bytesOf(b ...byte) []byte          { return b }
func publish5(m Publish) []byte         { return m.Bytes(V5) }
func props5(props ...Prop) []Prop       { return props }
func connect5(c Connect) []byte         { c.Version = V5; return c.Bytes() }
func sub5(id uint16, s Sub) []byte      { return Subscribe(V5, id, nil, s) }
func unsub5(id uint16, f string) []byte { return Unsubscribe(V5, id, nil, f) }

// clientWith connects with a fresh session, a unique client id and these properties.
func (t *T) clientWith(props ...Prop) *Peer {
	p, _ := t.Connect(Connect{ClientID: t.ClientID(fmt.Sprintf("p%d", len(t.peers))), Clean: true, Props: props})
	return p
}

// resume connects to a session that lasts for the seconds after its connection, and tells whether it was present.
func (t *T) resume(clientID string, seconds uint32, props ...Prop) (*Peer, bool) {
	p, ack := t.Connect(Connect{ClientID: clientID, Props: append([]Prop{expiry(seconds)}, props...)})
	return p, ack.SessionPresent
}

// withWill connects a fresh client that has a will.
func (t *T) withWill(w Will, props ...Prop) *Peer {
	p, _ := t.Connect(Connect{ClientID: t.ClientID(fmt.Sprintf("w%d", len(t.peers))), Clean: true, Will: &w, Props: props})
	return p
}

// subscriber is a fresh client with one subscription.
func (t *T) subscriber(filter string, options byte) *Peer {
	p := t.Client()
	p.Subscribe(filter, options)
	return p
}

// letPass lets the broker's clock run, for cases about intervals; nothing is synchronised by it.
func (t *T) letPass(d time.Duration) {
	t.Logf("%v pass", d)
	<-time.After(d)
}

// variant is one of several inputs to the same check.
type variant struct {
	what string
	raw  []byte
}

// each runs a check for every variant and reports all that fail, not only the first.
func (t *T) each(variants []variant, check func(variant)) {
	var failed []string
	for _, v := range variants {
		func() {
			defer func() {
				if r := recover(); r != nil {
					f, ok := r.(failure)
					if !ok {
						panic(r)
					}
					failed = append(failed, v.what+": "+string(f))
				}
			}()
			t.Logf("--- %s", v.what)
			check(v)
		}()
	}
	if len(failed) > 0 {
		t.Fatalf("%d of %d: %s", len(failed), len(variants), strings.Join(failed, "\n"))
	}
}

// refused sends each packet on a fresh MQTT 5 connection, which must be closed, with at most a DISCONNECT of one of the
// codes before.
func (t *T) refused(codes []byte, variants ...variant) {
	t.each(variants, func(v variant) {
		p := t.Client()
		p.Send(v.raw)
		p.ExpectRefused(codes...)
	})
}

// disconnected is refused with the DISCONNECT demanded, of one of the codes.
func (t *T) disconnected(codes []byte, variants ...variant) {
	t.each(variants, func(v variant) {
		p := t.Client()
		p.Send(v.raw)
		p.ExpectDisconnect(codes...)
	})
}

// refusedConnect sends each CONNECT on a fresh socket, which must be closed, with at most a CONNACK of one of the codes
// before.
func (t *T) refusedConnect(codes []byte, variants ...variant) {
	t.each(variants, func(v variant) {
		p := t.Dial()
		p.Send(v.raw)
		if last := p.ExpectRefused(codes...); last != nil && last.Type != CONNACK {
			t.Fatalf("%s before any CONNACK, see [MQTT-3.14.0-1]", last)
		}
	})
}

// connackRefused is refusedConnect with the CONNACK demanded.
func (t *T) connackRefused(codes []byte, variants ...variant) {
	t.each(variants, func(v variant) {
		p := t.Dial()
		p.Send(v.raw)
		p.ExpectConnackRefusal(codes...)
	})
}

// payloads takes n PUBLISH packets, acknowledges them and returns their payloads in order.
func (p *Peer) payloads(n int) []string {
	var got []string
	for range n {
		m := p.Expect(PUBLISH)
		p.Acknowledge(m)
		got = append(got, m.Payload)
	}
	return got
}

// wantProp fails unless the packet has the property with this value.
func (t *T) wantProp(p *Packet, want Prop) {
	got, ok := p.Prop(want.ID)
	if !ok || got != want {
		t.Fatalf("property 0x%02x is %+v (present: %t), want %+v in %s", want.ID, got, ok, want, p)
	}
}

// wantNoProp fails if the packet has the property.
func (t *T) wantNoProp(p *Packet, id byte) {
	if got, ok := p.Prop(id); ok {
		t.Fatalf("property 0x%02x is %+v, want it absent in %s", id, got, p)
	}
}

// size is the packet's length on the wire.
func (p *Packet) size() int { return 1 + len(Varint(nil, len(p.Body))) + len(p.Body) }

// wantStrings fails unless both lists are equal.
func (t *T) wantStrings(what string, got []string, want ...string) {
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("%s: got %q, want %q", what, got, want)
	}
}

// wantCode fails unless the packet has one of the codes.
func (t *T) wantCode(p *Packet, codes ...byte) {
	for _, c := range codes {
		if p.Code == c {
			return
		}
	}
	t.Fatalf("code 0x%02x, want one of % x in %s", p.Code, codes, p)
}

func itoa(n int) string { return fmt.Sprint(n) }
