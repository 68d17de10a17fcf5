package broker_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// mounts is a broker with a listener without and two with mount points.
func mounts(t *testing.T, o broker.Options) (b *broker.Broker, plain, a, z string) {
	t.Helper()
	b, plain = serve(t, o)
	at := func(point string) string {
		return listen(t, b, broker.Listener{Name: point, Limits: limits(func(l *broker.ConnectionLimits) { l.MountPoint = point })})
	}
	return b, plain, at("a/"), at("z/")
}

// What a client behind a mount point publishes and receives, in every way there is.
func TestMountPoint(t *testing.T) {
	b, plain, a, z := mounts(t, options())
	out, in, other := dial(t, plain), dial(t, a), dial(t, z)
	out.connect("out", nil)
	in.connect("in", nil)
	other.connect("other", nil)
	out.subscribe("#")
	in.subscribe("#", "+/+")
	other.subscribe("#")

	in.publish("t/1", "from within")
	out.expect("a/t/1", "from within")
	in.expect("t/1", "from within")
	out.publish("a/t/2", "from outside")
	out.expect("a/t/2", "from outside")
	in.expect("t/2", "from outside")
	out.publish("a", "the parent level, which # matches")
	out.expect("a", "the parent level, which # matches")
	out.publish("a/", "the mount point itself: nothing would be left of the topic")
	out.expect("a/", "the mount point itself: nothing would be left of the topic")
	out.publish("b/t", "another branch")
	out.expect("b/t", "another branch")
	in.publish("$SYS/x", "a topic like any other here")
	out.expect("a/$SYS/x", "a topic like any other here")
	in.expect("$SYS/x", "a topic like any other here")
	if err := b.Publish("$SYS/y", []byte("the broker's own"), 0, false); err != nil {
		t.Fatal(err)
	}
	other.publish("t", "own branch") // and nothing before that
	other.expect("t", "own branch")
	out.expect("z/t", "own branch")
	in.publish("last", "") // nothing of all that came between
	in.expect("last", "")
	out.expect("a/last", "")

	dying := dial(t, a)
	dying.connect("dying", &mqtt.Will{Topic: []byte("will"), Payload: []byte("w"), Retain: true})
	_ = dying.c.Close()
	out.expect("a/will", "w")
	in.expect("will", "w")
	late, outside := dial(t, a), dial(t, plain)
	late.connect("late", nil)
	late.subscribe("will", "+")
	late.expect("will", "w")
	outside.connect("outside", nil)
	outside.subscribe("a/will")
	outside.expect("a/will", "w")
	late.expect("will", "w") // of the other filter

	in.send(&mqtt.Unsubscribe{PacketID: 2, Filters: [][]byte{[]byte("#")}})
	var ack mqtt.Unsuback
	if err := ack.Decode(in.wait(mqtt.UNSUBACK), mqtt.V5); err != nil || ack.Codes[0] != mqtt.Success {
		t.Errorf("UNSUBACK %v, %v", ack.Codes, err)
	}
	out.publish("a/one", "only # matches it")
	out.publish("a/one/two", "+/+ matches it")
	in.expect("one/two", "+/+ matches it")
}

// Shared subscriptions behind a mount point, which Mosquitto has not: the group is shared by all who name it.
func TestMountPointShared(t *testing.T) {
	_, plain, a, z := mounts(t, options())
	out, in, within, other := dial(t, plain), dial(t, a), dial(t, a), dial(t, z)
	out.connect("out", nil)
	in.connect("in", nil)
	within.connect("within", nil)
	other.connect("other", nil)
	in.subscribe("$share/g/t")
	within.subscribe("t")
	other.subscribe("$share/g/t")
	for i := range 3 {
		p := fmt.Sprint(i)
		out.publish("a/t", p)
		in.expect("t", p)
		within.expect("t", p)
		out.publish("z/t", p)
		other.expect("t", p)
	}
	in.send(&mqtt.Unsubscribe{PacketID: 2, Filters: [][]byte{[]byte("$share/g/t")}})
	in.wait(mqtt.UNSUBACK)
	out.publish("a/t", "nobody's")
	within.expect("t", "nobody's")
}

// QoS 1 and 2, queued while the client is away, aliases in both directions, and MQTT 3.
func TestMountPointQoS(t *testing.T) {
	_, plain, a, _ := mounts(t, options())
	out := dial(t, plain)
	out.connect("out", nil)
	for _, version := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		join := func(clean bool) *peer {
			p := dial(t, a)
			c := &mqtt.Connect{Version: version, CleanStart: clean, ClientID: []byte("c")}
			if version == mqtt.V5 {
				c.Props.Has.Set(mqtt.PropSessionExpiry)
				c.Props.SessionExpiry = 1000
				c.Props.Has.Set(mqtt.PropTopicAliasMaximum)
				c.Props.TopicAliasMaximum = 5
			}
			p.join(c)
			return p
		}
		in := join(version == mqtt.V5)
		sub := &mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte("long/topic"), Options: 2}}}
		frame, err := sub.Append(nil, version)
		if err == nil {
			_, err = in.c.Write(frame)
		}
		if err != nil {
			t.Fatal(err)
		}
		in.wait(mqtt.SUBACK)
		receive := func(payload string, qos byte) {
			t.Helper()
			var m mqtt.Publish
			if err := m.Decode(in.wait(mqtt.PUBLISH), version); err != nil || string(m.Payload) != payload || m.QoS != qos ||
				string(m.Topic) != "long/topic" && !(len(m.Topic) == 0 && m.Props.TopicAlias == 1) {
				t.Errorf("version %v: got %q %q QoS %d, %v; want long/topic %q QoS %d", version, m.Topic, m.Payload, m.QoS, err, payload, qos)
			}
		}
		for qos := range byte(3) {
			out.send(&mqtt.Publish{Topic: []byte("a/long/topic"), Payload: []byte{'0' + qos}, QoS: qos, PacketID: uint16(qos)})
			if qos == 2 {
				out.wait(mqtt.PUBREC)
				out.send(&mqtt.Ack{Type: mqtt.PUBREL, PacketID: 2})
			}
			receive(string('0'+qos), qos)
			if qos > 0 {
				out.wait(mqtt.PUBACK + mqtt.PacketType(3*(qos-1)))
			}
		}
		_ = in.c.Close()
		out.send(&mqtt.Publish{Topic: []byte("a/long/topic"), Payload: []byte("away"), QoS: 1, PacketID: 9})
		out.wait(mqtt.PUBACK)
		in = join(false)
		receive("1", 1) // not acknowledged
		receive("2", 2)
		receive("away", 1)
		_ = in.c.Close()
	}
}

// A session that goes on at a listener with another mount point gets nothing that does not lie below it.
func TestMountPointMoved(t *testing.T) {
	_, plain, a, z := mounts(t, options())
	out, in := dial(t, plain), dial(t, a)
	out.connect("out", nil)
	in.join(durable("c"))
	in.subscribe("t")
	_ = in.c.Close()
	out.send(&mqtt.Publish{Topic: []byte("a/t"), Payload: []byte("queued at a"), QoS: 1, PacketID: 1})
	out.wait(mqtt.PUBACK)
	resume := durable("c")
	resume.CleanStart = false
	moved := dial(t, z)
	if ack := moved.join(resume); !ack.SessionPresent {
		t.Fatal("the session is not there")
	}
	out.publish("a/t", "live at a")
	moved.subscribe("here")
	out.publish("z/here", "x")
	moved.expect("here", "x")
	_ = moved.c.Close()
	home := dial(t, plain)
	home.join(resume)
	out.publish("a/t", "whole topics at the listener without mount point")
	home.expect("a/t", "whole topics at the listener without mount point")
}

// What an authorizer is asked about has the mount point: rules hold for whole topics.
func TestMountPointRights(t *testing.T) {
	r := &rights{}
	o := options()
	o.Authorizer = r
	_, plain, a, _ := mounts(t, o)
	out, in := dial(t, plain), dial(t, a)
	out.connect("out", nil)
	in.connect("in", nil)
	out.subscribe("#")
	in.subscribe("#")
	r.deny("a/secret")
	in.publish("secret", "refused")
	out.publish("a/secret", "refused")
	out.publish("secret", "allowed")
	out.expect("secret", "allowed")
	in.publish("t", "allowed")
	in.expect("t", "allowed")
	out.expect("a/t", "allowed")
}

// Topics that are too long with the mount point are refused, and no frame is broken by them.
func TestMountPointTooLong(t *testing.T) {
	_, plain, a, _ := mounts(t, options())
	out := dial(t, plain)
	out.connect("out", nil)
	out.subscribe("#")
	in := dial(t, a)
	in.connect("in", nil)
	fits := strings.Repeat("x", 65_533)
	in.publish(fits, "x")
	out.expect("a/"+fits, "x")
	var ack mqtt.Suback
	in.send(&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte(fits + "x")}}})
	if err := ack.Decode(in.wait(mqtt.SUBACK), mqtt.V5); err != nil || ack.Codes[0] != mqtt.TopicFilterInvalid {
		t.Errorf("SUBACK %v, %v", ack.Codes, err)
	}
	in.publish(fits+"x", "x")
	var d mqtt.Disconnect
	if err := d.Decode(in.wait(mqtt.DISCONNECT), mqtt.V5); err != nil || d.Code != mqtt.TopicNameInvalid {
		t.Errorf("DISCONNECT %v, %v", d.Code, err)
	}
	late := dial(t, a)
	if ack := late.join(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("late"), HasWill: true, Will: mqtt.Will{Topic: []byte(fits + "x")}}); ack.Code != mqtt.TopicNameInvalid {
		t.Errorf("CONNACK %v", ack.Code)
	}
	out.publish("t", "goes on")
	out.expect("t", "goes on")
}

// Many publishers behind mount points at a time do not get into each other's scratch memory.
func TestMountPointsAtOnce(t *testing.T) {
	everyEngine(t, func(t *testing.T, o broker.Options) {
		_, plain, a, z := mounts(t, o)
		out := dial(t, plain)
		out.connect("out", nil)
		out.subscribe("#")
		const each, peers = 200, 8
		var wg sync.WaitGroup
		for i := range peers {
			address, point := a, "a/"
			if i%2 == 1 {
				address, point = z, "z/"
			}
			p := dial(t, address)
			p.connect(fmt.Sprint(i), nil)
			wg.Go(func() {
				for n := range each {
					p.publish(fmt.Sprintf("t%d", i), fmt.Sprintf("%st%d %d", point, i, n))
				}
			})
		}
		next := map[string]int{}
		for range each * peers {
			var m mqtt.Publish
			if err := m.Decode(out.wait(mqtt.PUBLISH), mqtt.V5); err != nil {
				t.Fatal(err)
			}
			topic := string(m.Topic)
			if want := fmt.Sprintf("%s %d", topic, next[topic]); string(m.Payload) != want {
				t.Fatalf("topic %s, payload %q, want %q", topic, m.Payload, want)
			}
			next[topic]++
		}
		wg.Wait()
	})
}
