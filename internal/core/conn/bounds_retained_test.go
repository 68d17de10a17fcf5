package conn_test

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// publishers is an authorizer that knows who may publish.
type publishers struct{ may map[string]bool }

func (p *publishers) MayPublish(who *message.Identity, _ string, _ byte, _ bool) router.Decision {
	return router.Decision{Allowed: p.may[who.ClientID]}
}

func (p *publishers) MaySubscribe(*message.Identity, string) router.Decision {
	return router.Decision{Allowed: true}
}

func (p *publishers) MayReceive(*message.Identity, string) router.Decision {
	return router.Decision{Allowed: true}
}

func (p *publishers) Generation() uint64 { return 0 }

// A retained message is not sent any more when its publisher may no longer publish there (CVE-2018-12546), unless that is not
// to be checked.
func TestRetainSource(t *testing.T) {
	for _, check := range []bool{true, false} {
		p := &publishers{may: map[string]bool{"good": true, "bad": true}}
		st := defaults()
		st.authorizer, st.limits.CheckRetainSource = p, check
		w := newWorld(t, &st)
		w.connect("good", "clean").do(`PUBLISH r/good "x" retain`)
		w.connect("bad", "clean").do(`PUBLISH r/bad "x" retain`)
		p.may["bad"] = false
		c := w.connect("c", "clean")
		c.do("SUBSCRIBE 1 r/+")
		want := []string{"CONNACK", "SUBACK 1 0", `PUBLISH r/bad "x" retain`, `PUBLISH r/good "x" retain`}
		if check {
			want = append(want[:2], want[3])
		}
		c.expect(want...)
	}
}

// Retained messages end after the broker's time if they have none of their own; what is delivered at once has no end.
func TestRetainExpiryInterval(t *testing.T) {
	st := defaults()
	st.limits.RetainExpiry = 60_000
	w := newWorld(t, &st)
	live := w.connect("live", "clean")
	live.do("SUBSCRIBE 1 r/+")
	p := w.connect("p", "clean")
	p.do(`PUBLISH r/a "a" retain`, `PUBLISH r/b "b" retain expiry=100`)
	live.expect("CONNACK", "SUBACK 1 0", `PUBLISH r/a "a"`, `PUBLISH r/b "b" expiry=100`)
	w.advance(59 * time.Second)
	early := w.connect("early", "clean v3")
	early.do("SUBSCRIBE 1 r/+")
	early.expect("CONNACK", "SUBACK 1 0", `PUBLISH r/a "a" retain`, `PUBLISH r/b "b" retain`)
	w.advance(2 * time.Second)
	late := w.connect("late", "clean v3")
	late.do("SUBSCRIBE 1 r/+")
	late.expect("CONNACK", "SUBACK 1 0", `PUBLISH r/b "b" retain`)
	if n := w.router.Figures().Retained; n != 1 {
		t.Errorf("%d are kept", n)
	}
}

// All retained messages together are bounded. What replaces a larger one, or deletes one, is taken all the same.
func TestRetainedMemory(t *testing.T) {
	st := defaults()
	st.limits.MaxRetainedBytes = 2000
	w := newWorld(t, &st)
	p, old := w.connect("p", "clean"), w.connect("old", "v3 clean")
	p.do(`PUBLISH r/1 900B qos=1 id=1 retain`, `PUBLISH r/2 600B qos=1 id=2 retain`, `PUBLISH r/3 900B qos=1 id=3 retain`,
		`PUBLISH r/3 900B qos=2 id=4 retain`, `PUBLISH r/3 900B qos=1 id=5`, `PUBLISH r/1 901B qos=1 id=6 retain`,
		`PUBLISH r/1 899B qos=1 id=7 retain`, `PUBLISH r/3 900B retain`)
	p.expect("CONNACK", "PUBACK 1 0x10", "PUBACK 2 0x10", "PUBACK 3 0x97", "PUBREC 4 0x97", "PUBACK 5 0x10", "PUBACK 6 0x97", "PUBACK 7 0x10")
	old.do(`PUBLISH r/3 900B qos=1 id=1 retain`)
	old.expect("CONNACK", "PUBACK 1")
	if n := w.shared.Counts().PublishRefused; n != 5 {
		t.Errorf("%d refusals are counted", n)
	}
	// A will cannot be refused any more: it is sent, and not kept.
	sub := w.connect("sub", "clean")
	sub.do("SUBSCRIBE 1 r/9")
	w.connect("w", "clean will-topic=r/9 will=900B will-retain").hangUp()
	w.run()
	if got := sub.read(); len(got) != 3 || !strings.HasPrefix(got[2], "PUBLISH r/9") {
		t.Errorf("%q", got)
	}
	p.do(`PUBLISH r/1 "" qos=1 id=8 retain`, `PUBLISH r/3 900B qos=1 id=9 retain`)
	p.expect("PUBACK 8 0x10", "PUBACK 9 0x10")
	if f := w.router.Figures(); f.Retained != 2 || f.RetainedBytes > 2000 {
		t.Errorf("%d are kept, %d bytes", f.Retained, f.RetainedBytes)
	}
}

// What is under way to a client is bounded in bytes, too; more goes on when it has acknowledged.
func TestMaxInflightBytes(t *testing.T) {
	st := defaults()
	st.limits.MaxInflightBytes = 150
	w := newWorld(t, &st)
	c, p := w.connect("c", "expiry=100"), w.connect("p", "clean")
	c.do("SUBSCRIBE 1 a qos=2")
	p.do(`PUBLISH a 100B qos=1 id=1`, `PUBLISH a 100B qos=2 id=2`, "PUBREL 2", `PUBLISH a 100B qos=1 id=3`, `PUBLISH a "0"`)
	got := c.read()
	if n := count(got, "PUBLISH"); n != 3 || !slices.Contains(got, `PUBLISH a "0"`) { // QoS 0 is not counted
		t.Fatalf("%q", got)
	}
	c.do("PUBREC 2")
	c.expect("PUBREL 2")
	c.do("PUBACK 1")
	if got := c.read(); count(got, "PUBLISH") != 1 {
		t.Fatalf("after an acknowledgement: %q", got)
	}
	c.hangUp() // and all of it again on the next connection
	w.run()
	c = w.connect("c", "expiry=100")
	if got := c.read(); count(got, "PUBREL") != 1 || count(got, "PUBLISH") != 1 {
		t.Fatalf("again: %q", got)
	}
	c.do("PUBACK 3", "PUBCOMP 2")
	p.do(`PUBLISH a 200B qos=1 id=4`, `PUBLISH a "x" qos=1 id=5`)
	if got := c.read(); count(got, "PUBLISH") != 1 { // one that is larger than the bound goes alone
		t.Fatalf("%q", got)
	}
	c.do("PUBACK 4")
	c.expect(`PUBLISH a "x" qos=1 id=5`)
}

// With duplicates each subscription that matches brings a copy of its own, at its QoS and with its identifier.
func TestDuplicates(t *testing.T) {
	st := defaults()
	st.limits.Duplicates = true
	w := newWorld(t, &st)
	c, p := w.connect("c", "clean"), w.connect("p", "clean")
	c.do("SUBSCRIBE 1 a/b subid=1", "SUBSCRIBE 2 a/+ qos=1 subid=2", "SUBSCRIBE 3 # no-local subid=3")
	c.read()
	copies := func(who *client, publish string, want int) {
		t.Helper()
		who.do(publish)
		got := c.read()
		if n := count(got, "PUBLISH"); n != want {
			t.Errorf("%s: %d copies, want %d: %q", publish, n, want, got)
		}
	}
	copies(p, `PUBLISH a/b "x" qos=1 id=1`, 3)
	copies(c, `PUBLISH a/b "x"`, 2)
	copies(p, `PUBLISH a/c "x"`, 2)
	c.do("UNSUBSCRIBE 4 a/+")
	copies(p, `PUBLISH a/b "x"`, 2)
	c.do("SUBSCRIBE 5 a/b qos=2 subid=9")
	copies(p, `PUBLISH a/b "x"`, 2)
	w.router.Limits().Change(&st.limits)
	st.limits.Duplicates = false
	w.router.Forget()
	copies(p, `PUBLISH a/b "x"`, 1)
}

// Two megabytes of the same filter make one subscription and one answer, and leave nothing else behind.
func TestManyFiltersInOnePacket(t *testing.T) {
	st := defaults()
	w := newWorld(t, &st)
	retain(w, 3, `"x"`)
	for name, filter := range map[string]func(i int) string{
		"the same": func(int) string { return "#" },
		"others":   func(i int) string { return fmt.Sprintf("%x", i) },
	} {
		c := w.connect("c", "clean")
		c.read()
		body := []byte{0, 1, 0}
		n := 0
		for ; len(body) < 1_999_900; n++ {
			f := filter(n)
			body = append(append(body, 0, byte(len(f))), f...)
			body = append(body, 0)
		}
		packet := append(mqtt.AppendVarint([]byte{0x82}, uint32(len(body))), body...)
		before := heap()
		c.write(packet)
		for range 20 { // the answers to other filters come slice by slice
			w.run()
		}
		c.mu.Lock()
		packets, sent := bytes.Count(c.received, []byte{0x31}), len(c.received)
		c.received, c.unread = nil, nil
		c.mu.Unlock()
		held := heap() - before
		subs := w.router.Figures().Subscriptions
		t.Logf("%s: %d filters, %d subscriptions, %d bytes held, %d bytes sent", name, n, subs, held, sent)
		if name == "the same" && (subs != 1 || packets > 50) {
			t.Errorf("%d subscriptions, about %d retained messages", subs, packets)
		}
		if subs > st.conn.MaxSubscriptions {
			t.Errorf("%d subscriptions of one client", subs)
		}
		if limit := int64(2<<20 + 400*subs); held > limit {
			t.Errorf("%s: %d bytes are held for %d filters, %d subscriptions", name, held, n, subs)
		}
		c.hangUp()
		w.run()
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
