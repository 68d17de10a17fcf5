package broker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// descriptors is how many the process has open; 0 where that cannot be told.
func descriptors() int {
	all, _ := os.ReadDir("/proc/self/fd")
	return len(all)
}

// changeListeners gives the listener that stays other settings, and has another one come and go, with a guest.
func changeListeners(t *testing.T, b *broker.Broker, k *keys, i int) {
	t.Helper()
	l := broker.Listener{Name: "stays", Transport: broker.Transport{Certificates: k.load(watched)}, Limits: limits(func(l *broker.ConnectionLimits) { l.MaxPacket = 100_000 + i })}
	if err := b.UpdateListener(l); err != nil {
		t.Fatal(err)
	}
	sockets, err := broker.OpenSockets(broker.Socket{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- b.ServeListener(broker.Listener{Name: "temporary", Transport: broker.Transport{Certificates: k.load(watched)}}, sockets...)
	}()
	eventually(t, "the listener", func() bool { return status(b, "temporary").Addresses != nil })
	guest := connectURL(t, "mqtts://"+sockets[0].Addr().String(), k.config())
	var drop error
	if i%2 == 0 {
		drop = errors.New("it is over")
	}
	if err := b.StopListener(context.Background(), "temporary", drop); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if drop != nil {
		<-guest.Done()
	}
	guest.Close()
}

// Listeners come, change and go while clients publish over one that is changed with them: nobody of that one loses a message
// or its connection, and nothing is left behind.
func TestListenersChurn(t *testing.T) {
	everyEngine(t, func(t *testing.T, o broker.Options) {
		b, plain := serve(t, o)
		k := newKeys(t)
		watcher := dial(t, plain)
		watcher.connect("watcher", nil)
		watcher.subscribe("t/#")
		stays := listen(t, b, broker.Listener{Name: "stays", Transport: broker.Transport{Certificates: k.load(watched)}})

		changeListeners(t, b, k, 0)
		runtime.GC()
		eventually(t, "the guest to be gone", func() bool { return b.Stats().Connections == 1 })
		before, goroutines := descriptors(), runtime.NumGoroutine()

		const publishers, turns = 4, 40
		stop := make(chan struct{})
		sent := make([]int, publishers)
		var wg sync.WaitGroup
		var clients []*client.Client
		for i := range publishers {
			c := connectURL(t, "mqtts://"+stays, k.config())
			clients = append(clients, c)
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						publishBy(t, c, fmt.Sprintf("t/%d", i), fmt.Sprint(sent[i]))
						sent[i]++
					}
				}
			})
		}
		received := make(chan map[string]int)
		go func() { received <- countUntil(watcher, "t/end") }()
		for i := range turns {
			changeListeners(t, b, k, i)
		}
		close(stop)
		wg.Wait()
		if err := b.Publish("t/end", nil, 0, false); err != nil {
			t.Fatal(err)
		}
		got := <-received
		for i, n := range sent {
			if topic := fmt.Sprintf("t/%d", i); n == 0 || got[topic] != n {
				t.Errorf("%d messages of %d arrived on %s", got[topic], n, topic)
			}
		}
		for _, c := range clients {
			if !c.Connected() {
				t.Error("a connection of the listener that stays was lost")
			}
			c.Close()
		}
		eventually(t, "descriptors to be closed", func() bool { return descriptors() <= before })
		eventually(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	})
}

// countUntil counts messages by topic until one comes on the last topic. The connection must not wait for more than patience.
func countUntil(p *peer, last string) map[string]int {
	n := map[string]int{}
	for {
		var m mqtt.Publish
		f, err := p.next()
		if err == nil {
			err = m.Decode(f, mqtt.V5)
		}
		if err != nil {
			p.t.Error(err)
			return n
		}
		if string(m.Topic) == last {
			return n
		}
		n[string(m.Topic)]++
	}
}

// watched has files looked at, as usual.
func watched(f *broker.TLSFiles) { f.Poll = 0 }
