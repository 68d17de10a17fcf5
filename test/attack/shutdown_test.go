package attack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// ended waits for the process and returns its exit code and how long it took.
func (p *process) ended(within time.Duration) (code int, took time.Duration) {
	p.t.Helper()
	began := time.Now()
	select {
	case <-p.done:
	case <-time.After(within):
		p.t.Fatalf("the broker still runs %v after the signal", within)
	}
	took = time.Since(began)
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		return exit.ExitCode(), took
	}
	if p.err != nil {
		p.t.Fatal(p.err)
	}
	return 0, took
}

func (p *process) endsWell(within time.Duration) {
	p.t.Helper()
	code, took := p.ended(patience)
	p.t.Logf("ended after %v with exit code %d", took.Round(time.Millisecond), code)
	if code != 0 {
		p.t.Errorf("exit code %d; the shutdown was in order", code)
	}
	if took > within {
		p.t.Errorf("the shutdown took %v; %v are allowed", took, within)
	}
}

// Clients of MQTT 5 are told, all are closed, new ones are not taken, and wills are published.
func TestShutdownTellsClients(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		p := start(t, options{engine: engine, race: true})
		var five, three []*peer
		for i := range 20 {
			five = append(five, connect(t, p, login{id: fmt.Sprintf("five-%d", i), v5: true, will: fmt.Sprintf("will/five/%d", i)}))
			three = append(three, connect(t, p, login{id: fmt.Sprintf("three-%d", i), will: fmt.Sprintf("will/three/%d", i)}))
		}
		watcher := connect(t, p, login{id: "watcher"})
		watcher.subscribe(false, 1, "will/#")
		waiting := dial(t, p) // has not sent CONNECT
		p.signal(syscall.SIGTERM)
		for _, c := range five {
			last, _, err := c.awaitEnd(patience)
			if err != nil || len(last) < 2 || last[0]>>4 != tDisconnect || last[1] != 0x8B {
				t.Errorf("an MQTT 5 client got % x (%v) instead of DISCONNECT with 0x8b", last, err)
			}
		}
		for _, c := range three {
			if last, _, err := c.awaitEnd(patience); err != nil || last != nil {
				t.Errorf("an MQTT 3 client got % x (%v) instead of the end", last, err)
			}
		}
		wills := map[string]bool{}
		for {
			_ = watcher.SetReadDeadline(time.Now().Add(patience))
			first, body, err := watcher.read()
			if err != nil {
				break
			}
			if first>>4 == tPublish {
				wills[string(body[2:2+binary.BigEndian.Uint16(body)])] = true
			}
		}
		if len(wills) != 40 {
			t.Errorf("%d wills of 40 reached a subscriber", len(wills))
		}
		if _, _, err := waiting.awaitEnd(patience); err != nil {
			t.Errorf("a connection without CONNECT: %v", err)
		}
		p.endsWell(4 * second)
		if c, err := net.Dial("tcp", p.addr); err == nil {
			_ = c.Close()
			t.Error("the broker still accepts")
		}
	})
}

// Somebody who sends CONNECT while the broker shuts down holds it up no longer than anybody else.
func TestShutdownWhileConnecting(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		p := start(t, options{engine: engine, race: true})
		held := deaf(t, p, login{id: "held"}) // makes the shutdown take a moment
		held.send(subscribe(1, 0, "own"))
		held.flood(publish("own", 0, 0, make([]byte, 1000)), time.Second/2)
		var conns []*peer
		for range 200 {
			conns = append(conns, dial(t, p))
		}
		p.signal(syscall.SIGTERM)
		p.log.await(t, patience, "shutting down")
		parallel(len(conns), func(i int) {
			_, _ = conns[i].Write(login{id: fmt.Sprintf("late-%d", i), v5: true}.packet())
		})
		for _, c := range conns {
			if _, _, err := c.awaitEnd(patience); err != nil {
				t.Fatalf("one that sent CONNECT during the shutdown: %v", err)
			}
		}
		p.endsWell(4 * second)
	})
}

// What was sent to a subscriber before the shutdown still reaches it, if it reads.
func TestShutdownFlushes(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		p := start(t, options{engine: engine, race: true})
		sub := connect(t, p, login{id: "sub", v5: true})
		sub.subscribe(true, 0, "much")
		pub := connect(t, p, login{id: "pub", v5: true})
		const messages = 8000 // 8 MB: more than the kernel keeps for the subscriber, less than with the outbox
		for i := range messages {
			pub.send(publish5("much", 0, 0, nil, binary.BigEndian.AppendUint32(make([]byte, 0, 1000), uint32(i))[:1000]))
		}
		pub.send(pingreq)
		pub.expect(tPingresp)
		p.signal(syscall.SIGTERM)
		p.log.await(t, patience, "shutting down")
		next := uint32(0)
		for {
			_ = sub.SetReadDeadline(time.Now().Add(patience))
			first, body, err := sub.read()
			if err != nil {
				t.Fatalf("the connection ended without DISCONNECT after %d messages: %v", next, err)
			}
			if first>>4 == tDisconnect {
				break
			}
			payload := body[2+len("much")+1:]
			if got := binary.BigEndian.Uint32(payload); got < next {
				t.Fatalf("message %d after %d", got, next)
			} else {
				next = got + 1
			}
		}
		t.Logf("the last message that arrived is %d of %d", next, messages)
		if next < 500 {
			t.Errorf("only %d messages arrived", next)
		}
		p.endsWell(4 * second)
	})
}

// A client that never reads does not keep the broker from ending well.
func TestShutdownWithDeafClients(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		p := start(t, options{engine: engine, race: true})
		for i := range 20 {
			c := deaf(t, p, login{id: fmt.Sprintf("deaf-%d", i), v5: i%2 == 0})
			if i%2 == 0 {
				c.send(subscribe5(1, byte(i%3), "much"))
			} else {
				c.send(subscribe(1, byte(i%3), "much"))
			}
		}
		pub := connect(t, p, login{id: "pub"})
		pub.flood(publish("much", 0, 0, make([]byte, 10_000)), second)
		p.signal(syscall.SIGTERM)
		p.endsWell(4 * second)
	})
}

// A second signal ends the process at once, and its exit code says that this was not in order.
func TestSecondSignal(t *testing.T) {
	onBoth(t, func(t *testing.T, engine string) {
		p := start(t, options{engine: engine})
		sub := deaf(t, p, login{id: "deaf"})
		sub.send(subscribe(1, 0, "much"))
		pub := connect(t, p, login{id: "pub"})
		pub.flood(publish("much", 0, 0, make([]byte, 10_000)), second/2)
		p.signal(syscall.SIGTERM)
		p.log.await(t, patience, "shutting down")
		p.signal(syscall.SIGTERM)
		code, took := p.ended(patience)
		if took > second/2 {
			t.Errorf("the process ended %v after the second signal", took)
		}
		if code == 0 {
			t.Error("the exit code is 0, as if all had been written")
		}
	})
}
