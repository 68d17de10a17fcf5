package conn_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestStubbornClients lets a publisher and a subscriber, who keep their sessions, lose their connections and take over from
// themselves at any moment, on two loops, over a store that answers late, in any order, and sometimes fails. At the end
// every QoS 1 message has come at least once, every QoS 2 message exactly once, and, unless the store failed, in order.
func TestStubbornClients(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			sim := newSim(t, seed)
			for range 300_000 {
				sim.step()
				if t.Failed() {
					t.FailNow()
				}
				if sim.done() {
					return
				}
			}
			t.Fatalf("no end: published %d, unfinished %+v, came %d and %d, the store waits for %q",
				sim.published, sim.pub.flows, len(sim.sub.first[1]), len(sim.sub.first[2]), sim.w.store.waiting())
		})
	}
}

const stubbornMessages = 60

type sim struct {
	t         *testing.T
	rnd       *rand.Rand
	w         *world
	pub, sub  *stubborn
	published int
	failing   bool // the store fails at times; what it refused is sent again, behind what it took
}

// stubborn is a client that keeps its side of the session, as MQTT asks it to.
type stubborn struct {
	*client // nil: not connected
	sim     *sim
	id      string
	open    bool // CONNACK has come
	flows   []flow
	lastID  int
	held    map[string]bool // incoming QoS 2 ids that wait for PUBREL
	first   map[int][]int   // numbers in the order in which they came first, by QoS
	times   map[[2]int]int  // how often each came
	inbox   []string
}

// flow is a publish of the client that is not finished.
type flow struct {
	id, qos, n int
	released   bool
}

func newSim(t *testing.T, seed uint64) *sim {
	st := defaults()
	st.loops, st.limits.MaxInflight = 2, 5
	s := &sim{t: t, failing: seed%3 == 2, rnd: rand.New(rand.NewPCG(seed, 7)), w: newWorld(t, &st)}
	s.pub = &stubborn{sim: s, id: "pub"}
	s.sub = &stubborn{sim: s, id: "sub", held: map[string]bool{}, first: map[int][]int{}, times: map[[2]int]int{}}
	setUp := s.w.connect("sub", "v3")
	setUp.do("SUBSCRIBE 1 a qos=2", "DISCONNECT")
	s.w.store.holdBack()
	return s
}

func (s *sim) done() bool {
	return s.published == stubbornMessages && len(s.pub.flows) == 0 && len(s.sub.first[1])+len(s.sub.first[2]) == stubbornMessages
}

func (s *sim) step() {
	switch n := s.rnd.IntN(100); {
	case n < 30:
		s.w.turn(s.rnd.IntN(2))
	case n < 50:
		var err error
		if s.failing && s.rnd.IntN(40) == 0 {
			err = errDisk
		}
		s.w.store.answerOne(err, s.rnd.IntN)
	case n < 68:
		s.pub.process()
	case n < 86:
		s.sub.process()
	case n < 98:
		s.publish()
	case n == 98:
		s.either().lose()
	default:
		s.either().connect() // perhaps while it is connected
	}
}

func (s *sim) either() *stubborn {
	if s.rnd.IntN(2) == 0 {
		return s.pub
	}
	return s.sub
}

// publish begins a flow, with up to five under way.
func (s *sim) publish() {
	p := s.pub
	if !p.open || len(p.flows) >= 5 || s.published == stubbornMessages {
		return
	}
	p.lastID++
	f := flow{id: p.lastID, qos: 1 + s.rnd.IntN(2), n: s.published}
	s.published++
	p.flows = append(p.flows, f)
	p.send(fmt.Sprintf(`PUBLISH a "%d" qos=%d id=%d`, f.n, f.qos, f.id))
}

func (c *stubborn) connect() {
	c.client = c.sim.w.dialClient(c.id, c.sim.rnd.IntN(2))
	c.open, c.inbox = false, nil
	c.send("CONNECT v3 id=" + c.id)
}

// lose is the end of the connection, with all that was on its way.
func (c *stubborn) lose() {
	if c.client != nil {
		c.hangUp()
		c.client = nil
		c.open, c.inbox = false, nil
	}
}

// process handles one packet, or notices that the connection has gone.
func (c *stubborn) process() {
	if c.client == nil {
		c.connect()
		return
	}
	c.inbox = append(c.inbox, c.read()...)
	if len(c.inbox) == 0 {
		return
	}
	p := strings.Fields(c.inbox[0])
	c.inbox = c.inbox[1:]
	at := -1
	if len(p) > 1 {
		at = slices.IndexFunc(c.flows, func(f flow) bool { return strconv.Itoa(f.id) == p[1] })
	}
	switch p[0] {
	case "closed":
		c.client, c.open = nil, false
	case "CONNACK":
		c.open = true
		c.resume()
	case "PUBACK", "PUBCOMP":
		if at >= 0 {
			c.flows = slices.Delete(c.flows, at, at+1)
		}
	case "PUBREC":
		if at >= 0 {
			c.flows[at].released = true
		}
		c.send("PUBREL " + p[1])
	case "PUBREL":
		delete(c.held, p[1])
		c.send("PUBCOMP " + p[1])
	case "PUBLISH":
		c.take(p)
	}
}

// resume sends again what is not finished, in order [MQTT-4.4.0-1].
func (c *stubborn) resume() {
	for _, f := range c.flows {
		if f.released {
			c.send(fmt.Sprintf("PUBREL %d", f.id))
		} else {
			c.send(fmt.Sprintf(`PUBLISH a "%d" qos=%d id=%d dup`, f.n, f.qos, f.id))
		}
	}
}

func (c *stubborn) take(p []string) {
	n, _ := strconv.Atoi(strings.Trim(p[2], `"`))
	qos, _ := strconv.Atoi(strings.TrimPrefix(p[3], "qos="))
	id := strings.TrimPrefix(p[4], "id=")
	if qos == 1 || !c.held[id] {
		c.times[[2]int{qos, n}]++
		if c.times[[2]int{qos, n}] == 1 {
			if f := c.first[qos]; len(f) > 0 && f[len(f)-1] > n && !c.sim.failing {
				c.sim.t.Errorf("QoS %d: %d came after %d", qos, n, f[len(f)-1])
			}
			c.first[qos] = append(c.first[qos], n)
		} else if qos == 2 {
			c.sim.t.Errorf("QoS 2: %d came twice", n)
		}
	}
	if qos == 1 {
		c.send("PUBACK " + id)
		return
	}
	c.held[id] = true
	c.send("PUBREC " + id)
}
