package mosquittodb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/store/mosquittodb"
	"github.com/nightjar-mqtt/nightjar/internal/store/storetest"
)

// The time of the imports below.
var now = time.Unix(1_800_000_000, 0)

func (f *builder) say(id uint64, text string) *builder {
	return f.message(mosquittodb.Message{ID: id, Topic: "t", Payload: []byte(text), QoS: 2})
}

// out puts a message into the queue of client c.
func (f *builder) out(id uint64, packetID uint16, qos byte, s mosquittodb.State) *builder {
	return f.clientMessage(mosquittodb.ClientMessage{ClientID: "c", MessageID: id, PacketID: packetID, QoS: qos, State: s})
}

func left(p *mosquittodb.Plan) map[string]int {
	out := make(map[string]int)
	for _, l := range p.Left {
		out[l.Reason] = l.Count
	}
	return out
}

// A golden file of version 5 arrives in a store.
func TestVersion5(t *testing.T) {
	p, s := imported(t, build(5).fill().b, now)
	want := mosquittodb.Counts{Sessions: 1, Subscriptions: 1, Queued: 2, InFlight: 1, Retained: 1, Messages: 2}
	if p.Version != 5 || p.Counts != want || len(p.Left) > 0 {
		t.Errorf("version %d, %+v, left %v; want 5, %+v", p.Version, p.Counts, p.Left, want)
	}
	c := s.Sessions["c"]
	// The end is the file's, though its client has asked for an hour only.
	if c.Left+int64(c.Expiry)*1000 != 2_000_000_000_000 {
		t.Errorf("record: %+v", c.Record)
	}
	if diff := cmp.Diff([]string{"#300 one QoS 1 sent", "#301 two QoS 2 sub 5 retain"}, queue(c)); diff != "" {
		t.Error(diff)
	}
	if r := s.Retained["r"]; r == nil || !r.Retain || r.Expires != 4_000_000_000_000 {
		t.Errorf("retained: %+v", r)
	}
}

func TestExpiry(t *testing.T) {
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	f := build(6)
	for id, c := range map[string]mosquittodb.Client{
		"ends":     {Expiry: 0},
		"past":     {Expiry: 60, Ends: at(-time.Second)},
		"soon":     {Expiry: 60, Ends: at(10 * time.Second)},
		"there":    {Expiry: 60},
		"never":    {Expiry: never},
		"limited":  {Expiry: never, Ends: at(time.Hour)},
		"limited2": {Expiry: 4_000_000_000, Ends: at(time.Hour)},
		"":         {Expiry: 60},
	} {
		c.ID = id
		f.client(c)
	}
	p, s := imported(t, f.b, now)
	got := make(map[string]string)
	for id, ss := range s.Sessions {
		got[id] = fmt.Sprintf("%d %d", ss.Expiry, (ss.Left-now.UnixMilli())/1000)
	}
	want := map[string]string{"soon": "60 -50", "there": "60 0", "never": "4294967295 0", "limited": "3600 0", "limited2": "3600 0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("expiry and seconds since the client left (-want +got):\n%s", diff)
	}
	wantLeft := map[string]int{
		"sessions that have expired": 1, "sessions that end with their connection (MQTT 5, session expiry interval 0)": 1,
		"sessions whose client id is not valid MQTT": 1,
	}
	if diff := cmp.Diff(wantLeft, left(p)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// What is sent again is sent under the packet id it had; what has none yet comes behind it.
func TestPacketIDs(t *testing.T) {
	const (
		w1, w2, rel, q = mosquittodb.StateWaitPuback, mosquittodb.StateWaitPubrec, mosquittodb.StateWaitPubcomp, mosquittodb.StateQueued
	)
	client := func() *builder {
		f := build(6)
		for id := range uint64(6) {
			f.say(id, fmt.Sprintf("m%d", id))
		}
		return f.client(mosquittodb.Client{ID: "c", Expiry: never})
	}
	for _, c := range []struct {
		name string
		f    *builder
		want []string
		left string
	}{
		{"in flight with gaps", client().out(1, 5, 1, w1).out(2, 9, 2, w2).out(3, 10, 2, rel).out(4, 77, 1, q),
			[]string{"#5 m1 QoS 1 sent", "#9 m2 QoS 2 sent", "#10 released sent", "#11 m4 QoS 1"}, ""},
		{"past the last packet id", client().out(1, 65534, 2, w2).out(2, 65535, 2, w2).out(3, 1, 2, w2).out(4, 2, 1, q),
			[]string{"#65534 m1 QoS 2 sent", "#65535 m2 QoS 2 sent", "#1 m3 QoS 2 sent", "#2 m4 QoS 1"}, ""},
		{"assigned, never sent", client().out(1, 5, 1, mosquittodb.StatePublishQoS1).out(2, 6, 2, mosquittodb.StatePublishQoS2),
			[]string{"#5 m1 QoS 1", "#6 m2 QoS 2"}, ""},
		{"QoS 0", client().out(1, 0, 0, q).out(2, 3, 1, q), []string{"#1 m1 QoS 0", "#2 m2 QoS 1"}, ""},
		{"out of order, QoS 1", client().out(1, 9, 1, w1).out(2, 5, 1, w1), []string{"#9 m1 QoS 1 sent", "#10 m2 QoS 1 sent"}, ""},
		{"out of order, QoS 2", client().out(1, 9, 2, w2).out(2, 5, 2, w2), []string{"#9 m1 QoS 2 sent", "#10 m2 QoS 2"},
			"packet ids of QoS 2 messages in flight that are out of order or far apart: the message is carried over, the client may get it twice"},
		{"out of order, released", client().out(1, 9, 2, w2).out(2, 5, 2, rel).out(3, 0, 1, q), []string{"#9 m1 QoS 2 sent", "#10 m3 QoS 1"},
			"QoS 2 deliveries before their last step, whose packet ids are out of order or far apart"},
		{"text missing", client().out(99, 1, 1, q).out(99, 2, 2, rel), []string{"#2 released sent"},
			"queued messages whose text the file does not have"},
	} {
		p, s := imported(t, c.f.b, now)
		if diff := cmp.Diff(c.want, queue(s.Sessions["c"])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if c.left == "" && len(p.Left) > 0 || c.left != "" && left(p)[c.left] != 1 {
			t.Errorf("%s: left %v, want %q", c.name, p.Left, c.left)
		}
	}
}

func TestLeft(t *testing.T) {
	f := build(6).say(1, "one").
		message(mosquittodb.Message{ID: 2, Topic: "old", Expires: now.Unix()}).
		message(mosquittodb.Message{ID: 3, Topic: "bad/#"}).
		message(mosquittodb.Message{ID: 4, Topic: "t", Properties: []byte{200}}).
		message(mosquittodb.Message{ID: 5, Topic: "t", Properties: []byte{0, 0}}).
		client(mosquittodb.Client{ID: "c", Expiry: 60}).client(mosquittodb.Client{ID: "gone", Expiry: 60, Ends: 5}).
		out(2, 1, 1, mosquittodb.StateQueued).
		clientMessage(mosquittodb.ClientMessage{ClientID: "gone", MessageID: 1, QoS: 1, State: mosquittodb.StateQueued}).
		clientMessage(mosquittodb.ClientMessage{ClientID: "who", MessageID: 1, QoS: 1, State: mosquittodb.StateQueued}).
		clientMessage(mosquittodb.ClientMessage{ClientID: "c", MessageID: 1, QoS: 1, PacketID: 1, Incoming: true}).
		clientMessage(mosquittodb.ClientMessage{ClientID: "c", MessageID: 2, QoS: 2, PacketID: 8, Incoming: true, State: mosquittodb.StateWaitPubrel}).
		subscription(mosquittodb.Subscription{ClientID: "c", Filter: "a/#/b"}).
		subscription(mosquittodb.Subscription{ClientID: "who", Filter: "a"}).
		subscription(mosquittodb.Subscription{ClientID: "gone", Filter: "a"}).
		retained(2).retained(77)
	f.b = chunk(f.b, 99, []byte("?"))
	p, s := imported(t, f.b, now)
	want := map[string]int{
		"messages that have expired": 1, "messages that are not valid MQTT": 3, "sessions that have expired": 1,
		"queued messages of sessions that are not carried over": 1, "queued messages of clients that the file does not have": 1,
		"incoming messages in a state that no QoS 2 message has": 1, "subscriptions that are not valid MQTT": 1,
		"subscriptions of clients that the file does not have": 1, "subscriptions of sessions that are not carried over": 1,
		"retained messages whose text the file does not have":           1,
		"chunks of a kind that is not known, which Mosquitto skips too": 1,
	}
	if diff := cmp.Diff(want, left(p)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	// The id of the expired incoming message stays: PUBREL will ask for it.
	c := s.Sessions["c"]
	if m, there := c.Received[8]; !there || m != nil || len(c.Received) != 1 || len(c.Messages) > 0 || len(s.Retained) > 0 {
		t.Errorf("received %v, queued %v, retained %v", c.Received, c.Messages, s.Retained)
	}
}

// Files that contradict themselves are refused before anything is written.
func TestContradiction(t *testing.T) {
	for want, f := range map[string]*builder{
		"a second one with the id 1":                build(6).say(1, "a").say(1, "b"),
		`a second one with the client id "c"`:       build(6).client(mosquittodb.Client{ID: "c", Expiry: 1}).client(mosquittodb.Client{ID: "c", Expiry: 1}),
		"its properties: PUBLISH: Malformed Packet": build(6).say(1, "a").client(mosquittodb.Client{ID: "c", Expiry: 1}).clientMessage(mosquittodb.ClientMessage{ClientID: "c", MessageID: 1, QoS: 1, Properties: []byte{9}}),
	} {
		_, err := mosquittodb.Scan(bytes.NewReader(f.b), int64(len(f.b)), now)
		var e *mosquittodb.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A store that has something is refused, unless it is to be added to.
func TestAdd(t *testing.T) {
	scan := func(f *builder) *mosquittodb.Plan {
		p, err := mosquittodb.Scan(bytes.NewReader(f.b), int64(len(f.b)), now)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	client := func(f *builder, id string) *builder { return f.client(mosquittodb.Client{ID: id, Expiry: never}) }
	_, before := imported(t, client(client(build(6).say(1, "old"), "c"), "d").out(1, 0, 1, mosquittodb.StateQueued).retained(1).b, now)

	s := storetest.NewLate(storetest.LateOptions{State: before})
	next := scan(client(build(6).say(1, "new"), "c").retained(1))
	var refused *mosquittodb.NotEmptyError
	if err := next.Write(t.Context(), s, false); !errors.As(err, &refused) || refused.Sessions != 2 || refused.Retained != 1 {
		t.Errorf("%v", err)
	}
	s.Close()
	s = storetest.NewLate(storetest.LateOptions{State: before})
	if err := next.Write(t.Context(), s, true); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if got := s.Breaches(); len(got) > 0 {
		t.Error(got)
	}
	after := s.State()
	if got := slices.Sorted(maps.Keys(after.Sessions)); !slices.Equal(got, []string{"c", "d"}) || len(after.Sessions["c"].Messages) > 0 {
		t.Errorf("sessions %v; the queue of the one replaced: %v", got, after.Sessions["c"].Messages)
	}
	if r := after.Retained["t"]; r == nil || string(r.Payload) != "new" {
		t.Errorf("retained: %+v", r)
	}
}

// Many messages for many sessions, in many batches, each stored once.
func TestMany(t *testing.T) {
	f := build(6)
	for id := range uint64(3000) {
		f.message(mosquittodb.Message{ID: 1 + id, Topic: fmt.Sprintf("t/%d", id), Payload: bytes.Repeat([]byte{'x'}, int(id)), QoS: 1})
	}
	for c := range 5 {
		name := fmt.Sprintf("c%d", c)
		f.client(mosquittodb.Client{ID: name, Expiry: never})
		for id := uint64(3000); id > 0; id-- {
			f.clientMessage(mosquittodb.ClientMessage{ClientID: name, MessageID: id, PacketID: 1, QoS: 1, State: mosquittodb.StateQueued})
		}
	}
	p, s := imported(t, f.b, now)
	if p.Counts.Queued != 15_000 || p.Counts.Messages != 3000 {
		t.Errorf("%+v", p.Counts)
	}
	different := make(map[*message.Message]bool)
	for _, ss := range s.Sessions {
		at := 3000
		for _, seq := range slices.Sorted(maps.Keys(ss.Messages)) {
			at--
			if m := ss.Messages[seq].M; len(m.Payload) != at {
				t.Fatalf("client %s has %d bytes at %d", ss.ClientID, len(m.Payload), at)
			}
			different[ss.Messages[seq].M] = true
		}
	}
	if len(different) != 3000 {
		t.Errorf("%d messages are stored, want 3000", len(different))
	}
}

// A store that fails, and a user who loses patience, end an import.
func TestWriteFails(t *testing.T) {
	f := build(6)
	for id := range uint64(20_000) {
		f.say(1+id, "x")
	}
	f.client(mosquittodb.Client{ID: "c", Expiry: never})
	for id := range uint64(20_000) {
		f.out(1+id, 0, 1, mosquittodb.StateQueued)
	}
	p, err := mosquittodb.Scan(bytes.NewReader(f.b), int64(len(f.b)), now)
	if err != nil {
		t.Fatal(err)
	}
	handed := 0
	s := storetest.NewLate(storetest.LateOptions{Fail: func(c storetest.Change) bool {
		if c.Enqueues() {
			handed++
		}
		return c.Enqueues()
	}})
	if err := p.Write(t.Context(), s, false); !errors.Is(err, storetest.ErrInjected) {
		t.Errorf("%v, want %v", err, storetest.ErrInjected)
	}
	if handed > 10 {
		t.Errorf("%d batches were handed over after the first failed", handed)
	}
	s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s = storetest.NewLate(storetest.LateOptions{})
	if err := p.Write(ctx, s, false); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	s.Close()
}

var _ session.Store = (*storetest.Late)(nil)

// Whatever a file says, it is refused, or what is made of it is something a store can make sense of.
func FuzzScan(f *testing.F) {
	for _, v := range []int{5, 6} {
		f.Add(build(v).fill().b)
	}
	f.Add(build(6).say(1, "a").client(mosquittodb.Client{ID: "c", Expiry: never}).
		out(1, 65535, 2, mosquittodb.StateWaitPubrec).out(1, 1, 2, mosquittodb.StateWaitPubcomp).out(1, 0, 0, mosquittodb.StateQueued).b)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := mosquittodb.Scan(bytes.NewReader(data), int64(len(data)), now)
		var e *mosquittodb.Error
		if errors.As(err, &e) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		s := storetest.NewLate(storetest.LateOptions{MaxRest: time.Microsecond})
		err = p.Write(t.Context(), s, false)
		s.Close()
		for _, b := range s.Breaches() {
			t.Error(b)
		}
		if err != nil {
			t.Error(err)
		}
	})
}
