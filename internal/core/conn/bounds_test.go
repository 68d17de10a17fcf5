package conn_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/conn"
	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
)

// granting answers every login with one verdict.
type granting struct{ conn.Verdict }

func (g *granting) Authenticate(_ *conn.Login, done func(conn.Verdict)) { done(g.Verdict) }

// meter lets a number of things pass, and does with the rest what it is told to.
type meter struct {
	left, closed int
	then         conn.Measure
}

func (m *meter) take(n int) conn.Measure {
	if m.left -= n; m.left < 0 {
		return m.then
	}
	return conn.Measure{}
}

func (m *meter) Publish(int64, int) conn.Measure       { return m.take(1) }
func (m *meter) Subscribe(_ int64, n int) conn.Measure { return m.take(n) }
func (m *meter) Close()                                { m.closed++ }

func metered(t *testing.T, m *meter) *world {
	t.Helper()
	st := defaults()
	w := newWorld(t, &st)
	w.shared.SetHooks(&granting{conn.Verdict{Meter: m}}, nil)
	return w
}

// A client that sends faster than it may is read more slowly. It loses nothing, not even its connection while its keep
// alive passes; and others are served meanwhile.
func TestSlowed(t *testing.T) {
	m := &meter{left: 3, then: conn.Measure{Wait: 5000, Limit: "publishes"}}
	w := metered(t, m)
	sub := w.connect("sub", "clean")
	sub.do("SUBSCRIBE 1 a") // takes one
	pub := w.connect("pub", "clean keepalive=2")
	sub.read()
	pub.read()
	for i := range 5 {
		pub.send(fmt.Sprintf(`PUBLISH a "%d"`, i)) // all lie in one buffer
	}
	w.run()
	sub.expect(`PUBLISH a "0"`, `PUBLISH a "1"`, `PUBLISH a "2"`) // the one over the limit is taken
	w.advance(4 * time.Second)
	sub.expect()
	w.advance(1200 * time.Millisecond)
	sub.expect(`PUBLISH a "3"`)
	m.left = 100
	w.advance(5 * time.Second)
	sub.expect(`PUBLISH a "4"`)
	pub.expect()
	w.advance(4 * time.Second)
	pub.expect("DISCONNECT 0x8D", "closed") // the keep alive counts again
	if m.closed != 1 {
		t.Errorf("the meter was closed %d times for one connection", m.closed)
	}
}

func TestRateRefused(t *testing.T) {
	for name, c := range map[string]struct {
		options string
		then    conn.Measure
		want    []string
	}{
		"refused":         {"v5 clean", conn.Measure{Refuse: true, Limit: "publishes"}, []string{"PUBACK 1 0x10", "PUBACK 2 0x97", "PUBREC 3 0x97"}},
		"refused, 3.1.1":  {"v3 clean", conn.Measure{Refuse: true, Limit: "publishes"}, []string{"PUBACK 1", "PUBACK 2", "PUBREC 3"}},
		"closed":          {"v5 clean", conn.Measure{Close: true, Limit: "publishes"}, []string{"PUBACK 1 0x10", "DISCONNECT 0x96", "closed"}},
		"closed, in 3.11": {"v3 clean", conn.Measure{Close: true, Limit: "publishes"}, []string{"PUBACK 1", "closed"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := metered(t, &meter{left: 1, then: c.then})
			p := w.connect("p", c.options)
			p.read()
			p.do(`PUBLISH a "x" qos=1 id=1`, `PUBLISH a "x" qos=1 id=2`)
			if !c.then.Close {
				p.do(`PUBLISH a "x" qos=2 id=3`)
			}
			p.expect(c.want...)
			if n := w.shared.Counts().PublishRefused; c.then.Refuse && n != 2 {
				t.Errorf("%d refusals are counted", n)
			}
		})
	}
}

func TestSubscribeRate(t *testing.T) {
	w := metered(t, &meter{left: 2, then: conn.Measure{Refuse: true, Limit: "subscribes"}})
	c := w.connect("c", "clean v5")
	c.do("SUBSCRIBE 1 a , b", "SUBSCRIBE 2 c , d", "UNSUBSCRIBE 3 a")
	c.expect("CONNACK", "SUBACK 1 0 0", "SUBACK 2 0x97 0x97", "UNSUBACK 3 0")
	if n := w.router.Figures().Subscriptions; n != 1 {
		t.Errorf("%d subscriptions", n)
	}
}

// A meter is closed whatever becomes of the login that brought it.
func TestMeterOfRefusedLogin(t *testing.T) {
	m := &meter{}
	w := metered(t, m)
	w.shared.Close()
	w.connect("c", "clean").expect("CONNACK 0x88", "closed")
	if m.closed != 1 {
		t.Errorf("the meter of a login that comes to nothing was closed %d times", m.closed)
	}
}

// A login that expires ends the connection then, not the session.
func TestExpires(t *testing.T) {
	st := defaults()
	w := newWorld(t, &st)
	w.shared.SetHooks(&granting{conn.Verdict{Expires: w.now + 3000}}, nil)
	c := w.connect("c", "v5 expiry=100 keepalive=60")
	w.advance(2800 * time.Millisecond)
	c.do("PINGREQ")
	c.expect("CONNACK", "PINGRESP")
	w.advance(400 * time.Millisecond)
	c.expect("DISCONNECT 0x87", "closed")
	if f := w.router.Figures(); f.Sessions != 1 || f.Connected != 0 {
		t.Errorf("%+v", f)
	}
}

// grant is one that lets its client read one topic.
type grant string

func (g grant) Equal(was any) bool { return was == any(g) }

type byGrant struct{}

func (byGrant) MayPublish(*message.Identity, string, byte, bool) router.Decision {
	return router.Decision{Allowed: true}
}

func (byGrant) MaySubscribe(*message.Identity, string) router.Decision {
	return router.Decision{Allowed: true}
}

func (byGrant) MayReceive(who *message.Identity, topic string) router.Decision {
	g, ok := who.Grant.(grant)
	return router.Decision{Allowed: ok && string(g) == topic}
}

func (byGrant) Generation() uint64 { return 0 }

// What a client may read follows its last login, also where a loop remembers the receivers of a topic; and what waits for it
// is held against it again.
func TestGrantOfTheLastLogin(t *testing.T) {
	st := defaults()
	st.authorizer = byGrant{}
	w := newWorld(t, &st)
	as := &granting{conn.Verdict{Grant: grant("a"), ClientID: "given"}}
	w.shared.SetHooks(as, nil)
	c := w.connect("c", "v5 expiry=100")
	c.do("SUBSCRIBE 1 + qos=1")
	w.shared.SetHooks(nil, nil)
	pub := w.connect("pub", "clean")
	pub.do(`PUBLISH a "1"`, `PUBLISH b "1"`)
	c.expect("CONNACK", "SUBACK 1 1", `PUBLISH a "1"`)
	c.hangUp()
	w.run()
	pub.do(`PUBLISH a "2" qos=1 id=1`, `PUBLISH b "2" qos=1 id=2`)
	as.Grant = grant("b")
	w.shared.SetHooks(as, nil)
	c = w.connect("another", "v5 expiry=100") // has the same id given
	pub.do(`PUBLISH a "3"`, `PUBLISH b "3"`)
	c.expect("CONNACK session-present", `PUBLISH b "3"`)
}
