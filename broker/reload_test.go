package broker_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// rights is an authorizer whose answers change: nobody receives, or publishes, topics below a denied prefix.
type rights struct {
	denied     atomic.Pointer[string]
	generation atomic.Uint64
}

func (r *rights) deny(prefix string) {
	r.denied.Store(&prefix)
	r.generation.Add(1)
}

func (r *rights) allows(topic string) bool {
	p := r.denied.Load()
	return p == nil || *p == "" || !strings.HasPrefix(topic, *p)
}

func (r *rights) MayPublish(_ *broker.Identity, topic string, _ byte, _ bool) broker.Decision {
	return broker.Decision{Allowed: r.allows(topic)}
}
func (*rights) MaySubscribe(*broker.Identity, string) broker.Decision {
	return broker.Decision{Allowed: true}
}
func (r *rights) MayReceive(_ *broker.Identity, topic string) broker.Decision {
	return broker.Decision{Allowed: r.allows(topic)}
}
func (r *rights) Generation() uint64 { return r.generation.Load() }

// join sends a CONNECT of any kind and returns its CONNACK.
func (p *peer) join(c *mqtt.Connect) mqtt.Connack {
	p.t.Helper()
	frame, err := c.Append(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.c.Write(frame); err != nil {
		p.t.Fatal(err)
	}
	var ack mqtt.Connack
	if err := ack.Decode(p.wait(mqtt.CONNACK), c.Version); err != nil {
		p.t.Fatal(err)
	}
	return ack
}

// durable is a CONNECT of a session that outlives its connection.
func durable(id string) *mqtt.Connect {
	c := &mqtt.Connect{Version: mqtt.V5, ClientID: []byte(id)}
	c.Props.Has.Set(mqtt.PropSessionExpiry)
	c.Props.SessionExpiry = 1000
	return c
}

func options() broker.Options {
	o := broker.DefaultOptions()
	o.Logger = slog.New(slog.DiscardHandler)
	return o
}

// What needs a restart is named, all of it, and then nothing has changed.
func TestReloadRefuses(t *testing.T) {
	o := options()
	b, address := serve(t, o)
	n := o
	n.Loops, n.MatchCache, n.MaxPayload = 17, 5, 1
	err := b.Reload(n)
	if !errors.Is(err, broker.ErrRestart) || !strings.Contains(err.Error(), "Loops, MatchCache") {
		t.Errorf("Reload: %v", err)
	}
	n = o
	n.MaxQoS, n.MaxPayload = 7, 1
	if err := b.Reload(n); err == nil || !strings.Contains(err.Error(), "MaxQoS") {
		t.Errorf("Reload: %v", err)
	}
	p := dial(t, address)
	p.connect("c", nil)
	p.subscribe("a")
	p.publish("a", "more than a byte")
	p.expect("a", "more than a byte")
}

// A limit that no CONNACK told counts at once for all; one that it told counts for connections to come.
func TestReloadLimits(t *testing.T) {
	o := options()
	b, address := serve(t, o)
	old, sub := dial(t, address), dial(t, address)
	old.connect("old", nil)
	sub.connect("sub", nil)
	sub.subscribe("a")

	o.MaxPayload, o.MaxPacket, o.MaxSubscriptions = 10, 100, 1
	if err := b.Reload(o); err != nil {
		t.Fatal(err)
	}
	old.publish("a", "more than ten bytes") // is not delivered
	long := strings.Repeat("x", 200)
	u := &mqtt.Publish{Topic: []byte("a"), Payload: []byte("ten bytes.")}
	u.Props.User = []mqtt.UserProperty{{Key: []byte("k"), Value: []byte(long)}}
	old.send(u) // larger than MaxPacket, but CONNACK promised more
	sub.expect("a", "ten bytes.")
	sub.send(&mqtt.Subscribe{PacketID: 2, Subscriptions: []mqtt.Subscription{{Filter: []byte("b")}}})
	var ack mqtt.Suback
	if err := ack.Decode(sub.wait(mqtt.SUBACK), mqtt.V5); err != nil || ack.Codes[0] != mqtt.QuotaExceeded {
		t.Errorf("SUBACK %v, %v; want %v", ack.Codes, err, mqtt.QuotaExceeded)
	}
	late := dial(t, address)
	if ack := late.join(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("late")}); ack.Props.MaximumPacketSize != 100 {
		t.Errorf("Maximum Packet Size %d, want 100", ack.Props.MaximumPacketSize)
	}
	late.send(u)
	late.wait(mqtt.DISCONNECT)
}

// The queue of a session that is there already gets the new bound.
func TestReloadQueueLimit(t *testing.T) {
	o := options()
	b, address := serve(t, o)
	sub := dial(t, address)
	sub.join(durable("sub"))
	sub.send(&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("a"), Options: 1}}})
	sub.wait(mqtt.SUBACK)
	sub.send(&mqtt.Disconnect{})
	sub.expectEnd()
	o.MaxQueued = 2
	if err := b.Reload(o); err != nil {
		t.Fatal(err)
	}
	pub := dial(t, address)
	pub.connect("pub", nil)
	for i := range 5 {
		pub.send(&mqtt.Publish{Topic: []byte("a"), Payload: fmt.Append(nil, i), QoS: 1, PacketID: uint16(i + 1)})
		pub.wait(mqtt.PUBACK)
	}
	if n := b.Stats().Dropped["queue full"]; n != 3 {
		t.Errorf("%d dropped, want 3", n)
	}
}

// Another authorizer counts from Reload's return on, none at all too, and back again.
func TestReloadAuthorizer(t *testing.T) {
	o := options()
	b, address := serve(t, o)
	sub, pub := dial(t, address), dial(t, address)
	sub.connect("sub", nil)
	sub.subscribe("#")
	pub.connect("pub", nil)
	first, second := &rights{}, &rights{}
	first.deny("secret/")
	second.deny("other/")
	for i, step := range []struct {
		a      broker.Authorizer
		denied string
	}{{first, "secret/"}, {nil, ""}, {second, "other/"}, {first, "secret/"}} {
		o.Authorizer = step.a
		if err := b.Reload(o); err != nil {
			t.Fatal(err)
		}
		for _, topic := range []string{"secret/a", "other/a"} {
			payload := fmt.Sprint(i, topic)
			if err := b.Publish(topic, []byte(payload), 0, false); err != nil { // by the broker: only receiving is decided
				t.Fatal(err)
			}
			if step.denied == "" || !strings.HasPrefix(topic, step.denied) {
				sub.expect(topic, payload)
			}
		}
	}
	pub.publish("secret/a", "x")
	pub.publish("z", "x")
	sub.expect("z", "x")
}

// A right that is taken away: nothing more of the topic comes, whether live, queued for the absent, sent but not
// acknowledged, retained, or through a shared subscription.
func TestRecheckStopsDelivery(t *testing.T) {
	r := &rights{}
	o := options()
	o.Authorizer, o.MaxInflight = r, 1
	b, address := serve(t, o)
	live, away, shared := dial(t, address), dial(t, address), dial(t, address)
	live.connect("live", nil)
	live.subscribe("#")
	shared.connect("shared", nil)
	shared.subscribe("$share/g/#")
	away.join(durable("away"))
	away.send(&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("#"), Options: 1}}})
	away.wait(mqtt.SUBACK)

	publish := func(topic string, retain bool) {
		t.Helper()
		if err := b.Publish(topic, []byte("x"), 1, retain); err != nil {
			t.Fatal(err)
		}
	}
	publish("secret/1", true)
	publish("secret/2", true)
	for _, topic := range []string{"secret/1", "secret/2"} {
		live.expect(topic, "x")
		shared.expect(topic, "x")
	}
	away.expect("secret/1", "x") // not acknowledged, so the next one waits
	_ = away.c.Close()

	r.deny("secret/")
	if n := b.Recheck(nil); n != 0 {
		t.Errorf("%d clients were disconnected", n)
	}
	publish("secret/3", false)
	publish("open", true)
	live.expect("open", "x")
	shared.expect("open", "x")

	back := dial(t, address)
	if ack := back.join(durable("away")); !ack.SessionPresent {
		t.Error("the session is gone")
	}
	back.expect("open", "x")
	fresh := dial(t, address)
	fresh.connect("fresh", nil)
	fresh.subscribe("#")
	fresh.expect("open", "x")

	r.deny("") // the right is given back: subscriptions are still there
	publish("secret/4", false)
	live.expect("secret/4", "x")
	fresh.expect("secret/4", "x")
}

// A client whose right goes while its retained messages are being sent gets no more of them.
func TestRecheckStopsReplay(t *testing.T) {
	r := &rights{}
	o := options()
	o.Authorizer, o.OutboxBytes = r, 4096
	b, address := serve(t, o)
	const topics = 2000
	payload := make([]byte, 10_000)
	for i := range topics {
		if err := b.Publish(fmt.Sprintf("secret/%05d", i), payload, 0, true); err != nil {
			t.Fatal(err)
		}
	}
	p := dial(t, address)
	p.connect("c", nil)
	p.send(&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("#"), Options: 1}}})
	p.wait(mqtt.SUBACK) // what the sockets' buffers do not take waits
	r.deny("secret/")
	b.Recheck(nil)
	if err := b.Publish("end", nil, 1, false); err != nil { // at QoS 0 it might be dropped: the outbox is full
		t.Fatal(err)
	}
	n := 0
	for {
		var m mqtt.Publish
		if err := m.Decode(p.wait(mqtt.PUBLISH), mqtt.V5); err != nil {
			t.Fatal(err)
		}
		if string(m.Topic) == "end" {
			break
		}
		n++
	}
	if n == 0 || n >= topics {
		t.Errorf("%d retained messages came of %d; the right was taken away in between", n, topics)
	}
}

// Revoked clients are disconnected and told why, and their wills are held against the new rules; others stay.
func TestRecheckDisconnects(t *testing.T) {
	r := &rights{}
	o := options()
	o.Authorizer = r
	b, address := serve(t, o)
	watcher, v5, v3, other := dial(t, address), dial(t, address), dial(t, address), dial(t, address)
	watcher.connect("watcher", nil)
	watcher.subscribe("#")
	v5.connect("bad5", &mqtt.Will{Topic: []byte("secret/will"), Payload: []byte("5")})
	v3.join(&mqtt.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte("bad3"), HasWill: true,
		Will: mqtt.Will{Topic: []byte("will"), Payload: []byte("3")}})
	other.connect("good", nil)
	r.deny("secret/")
	if n := b.Recheck(func(who *broker.Identity) bool { return strings.HasPrefix(who.ClientID, "bad") }); n != 2 {
		t.Errorf("%d clients were disconnected, want 2", n)
	}
	var d mqtt.Disconnect
	if err := d.Decode(v5.wait(mqtt.DISCONNECT), mqtt.V5); err != nil || d.Code != mqtt.NotAuthorized {
		t.Errorf("DISCONNECT %v, %v; want %v", d.Code, err, mqtt.NotAuthorized)
	}
	if !strings.Contains(string(d.Props.ReasonString), "no longer allowed") {
		t.Errorf("reason %q", d.Props.ReasonString)
	}
	v5.expectEnd()
	v3.expectEnd()
	watcher.expect("will", "3")
	other.publish("still", "here")
	watcher.expect("still", "here")
}

// slowJudge lets in whoever it has let in when it is asked, but tells it later.
type slowJudge struct {
	open  atomic.Bool
	asked chan func()
}

func (j *slowJudge) Authenticate(_ *broker.Login, done func(broker.Verdict)) {
	v := broker.Verdict{Code: mqtt.NotAuthorized}
	if j.open.Load() {
		v.Code = mqtt.Success
	}
	j.asked <- func() { done(v) }
}

// A login that was decided before a Recheck and is answered after it is decided anew.
func TestRecheckLoginUnderWay(t *testing.T) {
	j := &slowJudge{asked: make(chan func(), 1)}
	j.open.Store(true)
	o := options()
	o.Authenticator = j
	b, address := serve(t, o)
	p := dial(t, address)
	frame, err := (&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("c")}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.c.Write(frame); err != nil {
		t.Fatal(err)
	}
	answer := <-j.asked
	j.open.Store(false)
	b.Recheck(func(*broker.Identity) bool { return true })
	answer()      // yes, it says
	(<-j.asked)() // asked again, it says no
	var ack mqtt.Connack
	if err := ack.Decode(p.wait(mqtt.CONNACK), mqtt.V5); err != nil || ack.Code != mqtt.NotAuthorized {
		t.Errorf("CONNACK %v, %v; want %v", ack.Code, err, mqtt.NotAuthorized)
	}
	p.expectEnd()
}

func TestClients(t *testing.T) {
	b, address := serve(t, options())
	p, q := dial(t, address), dial(t, address)
	p.join(&mqtt.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte("b"), KeepAlive: 60, HasUsername: true, Username: []byte("u")})
	q.connect("a", nil)
	q.subscribe("x", "y")
	q.publish("x", "1")
	q.expect("x", "1")
	list := b.Clients(nil)
	if len(list) != 2 || list[0].ClientID != "a" || list[1].ClientID != "b" {
		t.Fatalf("clients %+v", list)
	}
	a := list[0]
	// CONNECT, SUBSCRIBE, PUBLISH; CONNACK, SUBACK, PUBLISH.
	if a.Version != mqtt.V5 || a.PacketsReceived != 3 || a.PacketsSent != 3 || a.Subscriptions != 2 || a.BytesReceived == 0 || a.BytesSent == 0 ||
		a.Address != q.c.LocalAddr().String() || a.Local != address || a.Since == 0 {
		t.Errorf("client %+v", a)
	}
	only := b.Clients(func(who *broker.Identity) bool { return who.Username == "u" })
	if len(only) != 1 || only[0].ClientID != "b" || only[0].Version != mqtt.V311 || only[0].KeepAlive != 60 {
		t.Errorf("clients %+v", only)
	}
	if n := b.Disconnect(func(who *broker.Identity) bool { return who.ClientID == "a" }, mqtt.AdministrativeAction, "kicked"); n != 1 {
		t.Errorf("%d disconnected", n)
	}
	var d mqtt.Disconnect
	if err := d.Decode(q.wait(mqtt.DISCONNECT), mqtt.V5); err != nil || d.Code != mqtt.AdministrativeAction {
		t.Errorf("DISCONNECT %v, %v", d.Code, err)
	}
	q.expectEnd()
	if list := b.Clients(nil); len(list) != 1 {
		t.Errorf("clients %+v", list)
	}
}

// echo publishes to itself, so many at a time, and looks that all come back in order.
func (p *peer) echo(topic string, messages, window int) error {
	for at := 0; at < messages; at += window {
		var out []byte
		for j := range window {
			var err error
			m := mqtt.Publish{Topic: []byte(topic), Payload: fmt.Append(nil, at+j)}
			if out, err = m.Append(out, mqtt.V5); err != nil {
				return err
			}
		}
		if _, err := p.c.Write(out); err != nil {
			return err
		}
		for j := range window {
			f, err := p.next()
			if err != nil {
				return err
			}
			var m mqtt.Publish
			if err := m.Decode(f, mqtt.V5); err != nil {
				return err
			}
			if want := fmt.Sprint(at + j); string(m.Payload) != want {
				return fmt.Errorf("got %q, want %q", m.Payload, want)
			}
		}
	}
	return nil
}

// Reloads that change something each time, while clients publish: nothing is lost, nobody is disconnected.
func TestReloadUnderLoad(t *testing.T) {
	const clients, messages, window = 8, 16_000, 16
	o := options()
	a := [2]*rights{{}, {}}
	b, address := serve(t, o)
	var wg sync.WaitGroup
	var running atomic.Int64
	running.Store(clients)
	for i := range clients {
		p := dial(t, address)
		p.connect(fmt.Sprint("c", i), nil)
		topic := fmt.Sprint("t/", i)
		p.subscribe(topic)
		wg.Go(func() {
			defer running.Add(-1)
			if err := p.echo(topic, messages, window); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	n := 0
	for ; running.Load() > 0 || n < 100; n++ {
		a[n%2].deny(fmt.Sprint("denied/", n))
		o.Authorizer, o.MaxPayload, o.MaxQueued = a[n%2], 1000+n%7, 100+n%5
		if err := b.Reload(o); err != nil {
			t.Fatal(err)
		}
		b.Recheck(func(*broker.Identity) bool { return false })
	}
	wg.Wait()
	if s := b.Stats(); s.DroppedTotal != 0 || s.Clients != clients {
		t.Errorf("%d dropped, %d clients after %d reloads", s.DroppedTotal, s.Clients, n)
	}
	t.Logf("%d reloads", n)
}
