package attack

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// noticed is the round trip from which on a bystander has noticed something.
const noticed = time.Second

// bystanders are a pair of clients, on different loops, that send each other messages while others attack. Now and then
// a new client comes and goes. The returned function stops them and fails the test if a round trip took too long.
func bystanders(t *testing.T, p *process) (check func()) {
	t.Helper()
	n := bystanderNumber.Add(1)
	topic := fmt.Sprintf("bystander/%d", n)
	sub := connect(t, p, login{id: fmt.Sprintf("bystander-%d-sub", n)})
	sub.subscribe(false, 1, topic)
	pub := connect(t, p, login{id: fmt.Sprintf("bystander-%d-pub", n)})

	stop, stopped := make(chan struct{}), make(chan error, 1)
	var worst atomic.Int64
	var rounds atomic.Int64
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			began := time.Now()
			if err := roundTrip(sub, pub, topic, int(rounds.Load())); err != nil {
				stopped <- err
				return
			}
			if took := int64(time.Since(began)); took > worst.Load() {
				worst.Store(took)
			}
			rounds.Add(1)
			select {
			case <-stop:
				stopped <- nil
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		t.Helper()
		close(stop)
		if err := <-stopped; err != nil {
			t.Errorf("a bystander was disturbed in round %d: %v", rounds.Load(), err)
		}
		took := time.Duration(worst.Load())
		t.Logf("bystanders: %d round trips, the longest %v", rounds.Load(), took.Round(time.Microsecond))
		if took > noticed {
			t.Errorf("a bystander waited %v for a message", took)
		}
	}
}

var bystanderNumber atomic.Int64

// roundTrip sends one message, at QoS 0 and 1 in turn, and waits until it has arrived and been acknowledged.
func roundTrip(sub, pub *peer, topic string, round int) error {
	qos, id := byte(round%2), round%65535+1
	payload := fmt.Sprint(round)
	if _, err := pub.Write(publish(topic, qos, id, []byte(payload))); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	limit := time.Now().Add(patience)
	_ = sub.SetReadDeadline(limit)
	_ = pub.SetReadDeadline(limit)
	first, body, err := sub.read()
	if err != nil {
		return fmt.Errorf("receiving: %w", err)
	}
	at := 2 + len(topic)
	if qos == 1 {
		if _, err := sub.Write(frame(0x40, body[at:at+2])); err != nil {
			return fmt.Errorf("acknowledging: %w", err)
		}
		at += 2
	}
	if first>>4 != tPublish || string(body[at:]) != payload {
		return fmt.Errorf("got %#x %q instead of %q", first, body, payload)
	}
	if qos == 1 {
		if first, _, err = pub.read(); err != nil || first>>4 != tPuback {
			return fmt.Errorf("waiting for PUBACK: %#x %w", first, err)
		}
	}
	return nil
}
