package attack

import (
	"testing"
	"time"
)

// An attack that a broker without flags ends by itself.
type drop struct {
	name string
	// login comes first; nil: the attacker does not log in.
	login *login
	send  []byte
	// trickle is sent after that, a byte a second.
	trickle []byte
	// The connection is closed between these two.
	from, to time.Duration
	reason   string // what the log says
	code     byte   // of the DISCONNECT that an MQTT 5 client gets; 0: none
}

const second = time.Second

var huge = []byte{0xFF, 0xFF, 0xFF, 0x7F} // 268,435,455

func drops() []drop {
	v3, v5 := &login{id: "three"}, &login{id: "five", v5: true}
	slow := login{id: "a client id that takes a minute to come, were it waited for, as it has this many bytes"}.packet()
	return []drop{
		{name: "a web browser", send: []byte("GET / HTTP/1.1\r\nHost: broker\r\n\r\n"), to: 2 * second, reason: "not CONNECT"},
		{name: "zeroes", send: make([]byte, 1000), to: 2 * second, reason: "not CONNECT"},
		{name: "garbage that begins like CONNECT", send: append([]byte{0x10, 200, 1}, make([]byte, 200)...), to: 2 * second, reason: "CONNECT"},
		{name: "268,435,455 bytes before CONNECT", send: append([]byte{0x10}, huge...), to: 2 * second, reason: "too large"},
		{name: "268,435,455 bytes of PUBLISH before CONNECT", send: append([]byte{0x30}, huge...), to: 2 * second, reason: "not CONNECT"},
		{name: "268,435,455 bytes after CONNECT", login: v5, send: append([]byte{0x30}, huge...), to: 2 * second, reason: "too large", code: 0x95},
		{name: "268,435,455 bytes after CONNECT of MQTT 3", login: v3, send: append([]byte{0x30}, huge...), to: 2 * second, reason: "too large"},
		{name: "a length that never ends", login: v5, send: []byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, to: 2 * second, reason: "alformed", code: 0x81},
		{name: "nothing", from: 9 * second, to: 13 * second, reason: "no CONNECT in time"},
		{name: "half a CONNECT", send: slow[:20], from: 9 * second, to: 13 * second, reason: "no CONNECT in time"},
		{name: "CONNECT at a byte a second", send: slow[:2], trickle: slow[2:], from: 9 * second, to: 13 * second, reason: "no CONNECT in time"},
		{name: "half a PUBLISH", login: v5, send: publish5("t", 0, 0, nil, make([]byte, 100))[:50], from: 18 * second, to: 24 * second, reason: "not completed in time", code: 0x82},
		{name: "PUBLISH at a byte a second", login: v3, send: []byte{0x30, 200, 1, 0, 1, 't'}, trickle: make([]byte, 100), from: 18 * second, to: 24 * second, reason: "not completed in time"},
		{name: "a large PUBLISH at a byte a second", login: v5, send: publish5("t", 0, 0, nil, make([]byte, 1_000_000))[:400], trickle: make([]byte, 100), from: 18 * second, to: 26 * second, reason: "not completed in time", code: 0x82},
		{name: "silence for longer than the keep alive", login: &login{v5: true, keepAlive: 2}, from: 2 * second, to: 5 * second, reason: "keep alive", code: 0x8D},
	}
}

// TestDefaultLimits lets the limits that stand without any flag work: they are what a newcomer's broker has.
func TestDefaultLimits(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		t.Parallel()
		p := start(t, options{engine: engine})
		check := bystanders(t, p)
		var wait []func(t *testing.T)
		for i, d := range drops() {
			wait = append(wait, d.begin(t, p, i))
		}
		for i, d := range drops() {
			t.Run(d.name, wait[i])
		}
		check()
	})
}

// begin starts the attack; the returned function waits for its end and judges it.
func (d *drop) begin(t *testing.T, p *process, number int) (wait func(t *testing.T)) {
	var c *peer
	who := ""
	if d.login == nil {
		c = dial(t, p)
		who = c.port()
	} else {
		l := *d.login
		l.id = "attacker-" + string(rune('a'+number))
		c = connect(t, p, l)
		who = "Client " + l.id + " ["
	}
	began := time.Now()
	c.send(d.send)
	type end struct {
		last []byte
		took time.Duration
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		last, _, err := c.awaitEnd(d.to)
		ended <- end{last, time.Since(began), err}
	}()
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for i := range d.trickle {
			<-tick.C
			if _, err := c.Write(d.trickle[i : i+1]); err != nil {
				return // closed: what the test waits for
			}
		}
	}()
	return func(t *testing.T) {
		e := <-ended
		if e.err != nil {
			t.Fatalf("not dropped: %v", e.err)
		}
		if e.took < d.from {
			t.Errorf("dropped after %v already; a slow client has %v", e.took, d.from)
		}
		if d.code != 0 && (len(e.last) < 2 || e.last[0]>>4 != tDisconnect || e.last[1] != d.code) {
			t.Errorf("the last packet is % x instead of DISCONNECT with %#x", e.last, d.code)
		}
		p.log.await(t, patience, who, d.reason)
	}
}
