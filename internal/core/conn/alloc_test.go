package conn

import (
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"testing"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/store/memory"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// TestPublishAllocatesNothing holds the way of a QoS 0 PUBLISH, from the bytes read to the bytes written, to no allocation:
// with an authorizer, over 10,000 topics, from two loops to a subscriber that takes each in its own form.
func TestPublishAllocatesNothing(t *testing.T) {
	const topics, perRead = 10_000, 50
	properties := mqtt.Properties{
		MessageExpiry: 100, ContentType: []byte("text/plain"), CorrelationData: []byte{1, 2},
		User: []mqtt.UserProperty{{Key: []byte("a"), Value: []byte("b")}, {Key: []byte("a"), Value: []byte("c")}},
	}
	properties.Has.Set(mqtt.PropMessageExpiry)
	properties.Has.Set(mqtt.PropContentType)
	properties.Has.Set(mqtt.PropCorrelationData)
	tests := []struct {
		name       string
		pub, sub   mqtt.Version
		properties mqtt.Properties
		subID      uint32
		aliasMax   uint16
		filters    []string
	}{
		{name: "MQTT 3", pub: mqtt.V311, sub: mqtt.V311, filters: []string{"a/#"}},
		{name: "MQTT 5 with properties", pub: mqtt.V5, sub: mqtt.V5, properties: properties, filters: []string{"a/#"}},
		{name: "MQTT 5 to 3", pub: mqtt.V5, sub: mqtt.V311, properties: properties, filters: []string{"a/#"}},
		{name: "subscription identifiers, overlapping", pub: mqtt.V5, sub: mqtt.V5, subID: 7, filters: []string{"a/#", "a/+/+"}},
		{name: "topic aliases", pub: mqtt.V311, sub: mqtt.V5, aliasMax: 10, filters: []string{"a/#"}},
		{name: "shared", pub: mqtt.V311, sub: mqtt.V311, filters: []string{"$share/g/a/#"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sh := allocShared(2)
			connect := &mqtt.Connect{Version: tt.sub, CleanStart: true, ClientID: []byte("sub")}
			if tt.aliasMax > 0 {
				connect.Props.Has.Set(mqtt.PropTopicAliasMaximum)
				connect.Props.TopicAliasMaximum = tt.aliasMax
			}
			_, out := allocClient(t, sh, 1, connect, tt.filters, tt.subID)
			var pubs [2]*Conn
			for i := range pubs {
				pubs[i], _ = allocClient(t, sh, i, &mqtt.Connect{Version: tt.pub, CleanStart: true, ClientID: fmt.Append(nil, "pub", i)}, nil, 0)
			}
			reads := allocReads(t, topics, perRead, tt.pub, tt.properties)
			round := func() {
				for i, read := range reads {
					for p := 0; p < len(read); {
						n, _, again := pubs[i%2].Data(i%2, 1, read[p:])
						if p += n; !again && p < len(read) {
							t.Fatal("a read was not consumed")
						}
						sh.Router.EndTurn(i % 2)
					}
				}
			}
			round()
			round() // each topic has been on each loop's cache by now, buffers have grown
			before := out.n
			defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the pools
			allocations := testing.AllocsPerRun(2, round)
			if sent := out.n - before; sent < 3*topics*(64+len("a/device/0")) {
				t.Fatalf("only %d bytes have come", sent)
			}
			limit := 0.0
			if raceEnabled {
				limit = topics / 20 // with the race detector pools lose a part of what is put into them
			}
			if allocations > limit {
				t.Errorf("%v allocations for %d messages, want at most %v", allocations, topics, limit)
			}
		})
	}
}

// allocReads makes reads of several PUBLISH packets each, to as many topics.
func allocReads(t *testing.T, topics, perRead int, v mqtt.Version, properties mqtt.Properties) (reads [][]byte) {
	for i := 0; i < topics; i += perRead {
		var read []byte
		for j := range perRead {
			p := mqtt.Publish{Topic: fmt.Appendf(nil, "a/device/%d", i+j), Payload: make([]byte, 64), Props: properties}
			var err error
			if read, err = p.Append(read, v); err != nil {
				t.Fatal(err)
			}
		}
		reads = append(reads, read)
	}
	return reads
}

func allocShared(loops int) *Shared {
	r := router.New(router.Options{
		Limits: &session.Limits{MaxInflight: 20, MaxQueued: 1000, OutboxBytes: 1 << 20, MaxTopicAlias: 10, Outboxes: new(outbox.Budget)},
		Store:  memory.Store{}, Loops: loops, Authorizer: allowAll{},
	})
	return NewShared(&Shared{
		Config: Defaults(), Router: r, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Addresses: func(Transport) (string, string) { return "peer", "local" },
	}, loops)
}

func allocClient(t *testing.T, sh *Shared, loop int, connect *mqtt.Connect, filters []string, subID uint32) (*Conn, *sink) {
	t.Helper()
	out := &sink{iov: make([][]byte, 0, 16)}
	c := New(out, sh)
	c.Opened(loop, 1)
	frame, err := connect.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Data(loop, 1, frame)
	for i, filter := range filters {
		s := &mqtt.Subscribe{PacketID: uint16(i + 1), Subscriptions: []mqtt.Subscription{{Filter: []byte(filter)}}}
		if subID > 0 {
			s.Props.SubscriptionIDs = []uint32{subID + uint32(i)}
		}
		if frame, err = s.Append(nil, connect.Version); err != nil {
			t.Fatal(err)
		}
		c.Data(loop, 1, frame)
	}
	sh.Router.EndTurn(loop)
	return c, out
}

// allowAll is an authorizer that is asked, and allows.
type allowAll struct{}

func (allowAll) MayPublish(*message.Identity, string, byte, bool) router.Decision {
	return router.Decision{Allowed: true}
}
func (allowAll) MaySubscribe(*message.Identity, string) router.Decision {
	return router.Decision{Allowed: true}
}
func (allowAll) MayReceive(*message.Identity, string) router.Decision {
	return router.Decision{Allowed: true}
}
func (allowAll) Generation() uint64 { return 1 }
