package mosquittodb_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/store/mosquittodb"
	"github.com/nightjar-mqtt/nightjar/internal/store/storetest"
	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/test/mosquitto"
)

const never = 0xFFFFFFFF

func v5(id, user string, clean bool, expiry uint32) *mqtt.Connect {
	c := &mqtt.Connect{Version: mqtt.V5, ClientID: []byte(id), CleanStart: clean, HasUsername: user != "", Username: []byte(user)}
	if expiry > 0 {
		c.Props.SessionExpiry = expiry
		c.Props.Has.Set(mqtt.PropSessionExpiry)
	}
	return c
}

func v311(id, user string) *mqtt.Connect {
	return &mqtt.Connect{Version: mqtt.V311, ClientID: []byte(id), HasUsername: user != "", Username: []byte(user)}
}

// written has Debian's mosquitto write a file with all that can be in one.
func written(t *testing.T) (file string) {
	t.Helper()
	dir := t.TempDir()
	b := mosquitto.Start(t, "persistence true", "persistence_location "+dir+"/", "max_inflight_messages 5")
	addr := b.Addr
	session := func(c *mqtt.Connect, filter string, o mqtt.SubOptions, id uint32) {
		r, _ := connect(t, addr, c)
		r.subscribe(filter, o, id)
		r.disconnect()
	}
	session(v311("three", ""), "a/#", 2, 0)
	session(v311("three", ""), "b/+", 1, 0)
	session(v5("five", "bob", false, 3600), "a/#", 1|mqtt.SubNoLocal|mqtt.SubRetainAsPublished, 7)
	session(v5("never", "", false, never), "r/#", 1, 0)
	session(v5("clean", "", true, 3600), "a/#", 1, 0)
	session(v5("ends", "", false, 0), "a/#", 1, 0)
	session(v5("group", "", false, 3600), "$share/g/a/#", 1, 0)
	there, _ := connect(t, addr, v5("there", "", false, 50))
	there.subscribe("nothing", 0, 0)

	flight, _ := connect(t, addr, v311("flight", "alice"))
	flight.subscribe("f/#", 2, 0)

	pub, _ := connect(t, addr, v5("pub", "carol", true, 0))
	for i := range 10 {
		p := &mqtt.Publish{Topic: []byte("a/b"), Payload: fmt.Appendf(nil, "a%d", i), QoS: byte(i % 3)}
		if i == 4 {
			p.Props.ContentType, p.Props.CorrelationData = []byte("text/plain"), []byte{0, 1, 2}
			p.Props.User = []mqtt.UserProperty{{Key: []byte("k"), Value: []byte("v")}}
			p.Props.Has.Set(mqtt.PropContentType)
			p.Props.Has.Set(mqtt.PropCorrelationData)
			p.Props.MessageExpiry = 900
			p.Props.Has.Set(mqtt.PropMessageExpiry)
		}
		pub.publish(p)
	}
	for i := range 3 {
		p := &mqtt.Publish{Topic: fmt.Appendf(nil, "r/%d", i), Payload: fmt.Appendf(nil, "r%d", i), QoS: byte(i), Retain: true}
		if i == 2 {
			p.Props.MessageExpiry = 900
			p.Props.Has.Set(mqtt.PropMessageExpiry)
		}
		pub.publish(p)
	}
	for i := range 8 {
		pub.publish(&mqtt.Publish{Topic: []byte("f/x"), Payload: fmt.Appendf(nil, "f%d", i), QoS: byte(1 + i%2)})
	}
	// f0 QoS 1, f1 QoS 2 and so on; five come.
	var got []*mqtt.Publish
	for range 5 {
		got = append(got, flight.receive())
	}
	flight.ack(mqtt.PUBREC, got[1].PacketID)
	flight.await(mqtt.PUBREL)
	flight.publishOnly(&mqtt.Publish{Topic: []byte("a/in"), Payload: []byte("in"), QoS: 2, PacketID: 77})
	flight.await(mqtt.PUBREC)
	flight.disconnect()
	b.Terminate(t)
	return filepath.Join(dir, "mosquitto.db")
}

// imported scans a file and writes what is in it into a store.
func imported(t *testing.T, data []byte, now time.Time) (*mosquittodb.Plan, *storetest.State) {
	t.Helper()
	p, err := mosquittodb.Scan(bytes.NewReader(data), int64(len(data)), now)
	if err != nil {
		t.Fatal(err)
	}
	s := storetest.NewLate(storetest.LateOptions{Loose: true})
	if err := p.Write(t.Context(), s, false); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, b := range s.Breaches() {
		t.Error(b)
	}
	return p, s.State()
}

// queue shows a queue in its order: QoS, payload, packet id, and how far it has come.
func queue(s *storetest.Session) (out []string) {
	seqs := slices.AppendSeq(slices.Collect(maps.Keys(s.Messages)), maps.Keys(s.Released))
	slices.Sort(seqs)
	for _, seq := range seqs {
		line := fmt.Sprintf("#%d", seq%65535+1)
		if s.Released[seq] {
			line += " released"
		} else {
			q := s.Messages[seq]
			line += fmt.Sprintf(" %s QoS %d", q.M.Payload, q.QoS)
			for _, id := range q.SubIDs {
				line += fmt.Sprintf(" sub %d", id)
			}
			if q.Retain {
				line += " retain"
			}
		}
		if seq+1 < s.Sent {
			line += " sent"
		}
		out = append(out, line)
	}
	return out
}

// All that Debian's mosquitto keeps arrives in a store.
func TestVersion6(t *testing.T) {
	data, err := os.ReadFile(written(t))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	p, s := imported(t, data, now)
	if p.Version != 6 || !p.Shutdown {
		t.Errorf("version %d, at shutdown %v; want 6, true", p.Version, p.Shutdown)
	}
	want := mosquittodb.Counts{
		Sessions: 6, Subscriptions: 6, Queued: 27, InFlight: 4, Released: 1, Received: 1, Retained: 3, Messages: 17,
	}
	if p.Counts != want || len(p.Left) > 0 {
		t.Errorf("counts are %+v, left %v\nwant       %+v, nothing left", p.Counts, p.Left, want)
	}
	wantSessions(t, s, now)
	flight := []string{"#1 f0 QoS 1 sent", "#2 released sent", "#3 f2 QoS 1 sent", "#4 f3 QoS 2 sent", "#5 f4 QoS 1 sent",
		"#6 f5 QoS 2", "#7 f6 QoS 1", "#8 f7 QoS 2"}
	if diff := cmp.Diff(flight, queue(s.Sessions["flight"])); diff != "" {
		t.Errorf("queue of flight (-want +got):\n%s", diff)
	}
	five := []string{"#1 a1 QoS 1 sub 7", "#2 a2 QoS 1 sub 7", "#3 a4 QoS 1 sub 7", "#4 a5 QoS 1 sub 7", "#5 a7 QoS 1 sub 7", "#6 a8 QoS 1 sub 7"}
	if diff := cmp.Diff(five, queue(s.Sessions["five"])); diff != "" {
		t.Errorf("queue of five (-want +got):\n%s", diff)
	}
	if m := s.Sessions["flight"].Received[77]; len(s.Sessions["flight"].Received) != 1 || m == nil || string(m.Payload) != "in" {
		t.Errorf("received of flight: %v", s.Sessions["flight"].Received)
	}
	wantMessages(t, s, now)
}

func wantSessions(t *testing.T, s *storetest.State, now time.Time) {
	t.Helper()
	type summary struct {
		User, Subs string
		Expiry     uint32
	}
	got := make(map[string]summary)
	for id, ss := range s.Sessions {
		sum := summary{User: ss.Username, Expiry: ss.Expiry}
		for _, f := range slices.Sorted(maps.Keys(ss.Subscriptions)) {
			sum.Subs += fmt.Sprintf("%s %d id %d;", f, ss.Subscriptions[f].Options, ss.Subscriptions[f].ID)
		}
		got[id] = sum
		if age := now.UnixMilli() - ss.Left; age < 0 || age > 60_000 {
			t.Errorf("client %s left %d ms before the import", id, age)
		}
	}
	want := map[string]summary{
		"three": {"", "a/# 2 id 0;b/+ 1 id 0;", never}, "five": {"bob", "a/# 13 id 7;", 3600}, "never": {"", "r/# 1 id 0;", never},
		"there": {"", "nothing 0 id 0;", 50}, "flight": {"alice", "f/# 2 id 0;", never},
		"group": {got["group"].User, "", 3600}, // its name in the file is another's: see fields.client
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
}

func wantMessages(t *testing.T, s *storetest.State, now time.Time) {
	t.Helper()
	var full *message.Message
	for _, q := range s.Sessions["three"].Messages {
		if string(q.M.Payload) == "a4" {
			full = q.M
		}
	}
	if full == nil {
		t.Fatal("a4 is not in the queue of three")
	}
	props := []byte("\x03\x00\x0atext/plain\x09\x00\x03\x00\x01\x02\x26\x00\x01k\x00\x01v")
	if full.Topic != "a/b" || full.QoS != 1 || *full.From != (message.Identity{ClientID: "pub", Username: "carol"}) || !bytes.Equal(full.Props, props) {
		t.Errorf("a4 is %+v from %+v, properties %q", full, full.From, full.Props)
	}
	for name, m := range map[string]*message.Message{"a4": full, "r/2": s.Retained["r/2"]} {
		if left := m.Remaining(now.UnixMilli()); left < 840 || left > 900 {
			t.Errorf("%s expires in %d s: %+v", name, left, m)
		}
	}
	if len(s.Retained) != 3 {
		t.Errorf("retained: %v", s.Retained)
	}
	for i := range 3 {
		m := s.Retained[fmt.Sprintf("r/%d", i)]
		if m == nil || string(m.Payload) != fmt.Sprintf("r%d", i) || int(m.QoS) != i || !m.Retain || (m.Expires != 0) != (i == 2) {
			t.Errorf("retained r/%d: %+v", i, m)
		}
	}
	// Stored once: the queues share it.
	for _, q := range s.Sessions["five"].Messages {
		if string(q.M.Payload) == "a4" && q.M != full {
			t.Error("the message is there twice")
		}
	}
}
