package conn_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// responder is a client that answers as the flows of QoS 1 and 2 want, at once, from whatever loop it hears on. It checks
// that what comes to a topic are the numbers 0, 1, 2 ... in order.
type responder struct {
	*client
	rmu      sync.Mutex
	next     map[string]int // by topic
	wrong    []string
	progress chan struct{}
}

func newResponder(w *world, name string, loop int) *responder {
	r := &responder{client: w.dialClient(name, loop), next: map[string]int{}, progress: make(chan struct{}, 1)}
	r.arrived = r.answer
	return r
}

func (r *responder) answer() {
	r.rmu.Lock()
	defer r.rmu.Unlock()
	for _, p := range r.read() {
		f := strings.Fields(p)
		switch f[0] {
		case "PUBLISH":
			r.take(f[1], strings.Trim(f[2], `"`), p)
			switch {
			case len(f) > 4 && f[3] == "qos=1":
				r.send("PUBACK " + strings.TrimPrefix(f[4], "id="))
			case len(f) > 4 && f[3] == "qos=2":
				r.send("PUBREC " + strings.TrimPrefix(f[4], "id="))
			}
		case "PUBREL":
			r.send("PUBCOMP " + f[1])
		case "PUBREC":
			r.send("PUBREL " + f[1])
		case "closed", "DISCONNECT":
			r.wrong = append(r.wrong, p)
		}
	}
	select {
	case r.progress <- struct{}{}:
	default:
	}
}

func (r *responder) take(topic, payload, packet string) {
	if n, err := strconv.Atoi(payload); err != nil || n != r.next[topic] {
		r.wrong = append(r.wrong, fmt.Sprintf("%s: expected number %d", packet, r.next[topic]))
	}
	r.next[topic]++
}

// await waits until n messages have come to each topic that the responder has.
func (r *responder) await(t *testing.T, n int) {
	t.Helper()
	late := time.After(stubbornLoops)
	for {
		r.rmu.Lock()
		got := fmt.Sprint(r.next)
		done := len(r.next) == 3
		for _, have := range r.next {
			done = done && have >= n
		}
		wrong := len(r.wrong) > 0
		r.rmu.Unlock()
		if wrong {
			t.Fatalf("%s: %q", r.name, r.wrong[:min(len(r.wrong), 5)])
		}
		if done {
			return
		}
		select {
		case <-r.progress:
		case <-late:
			t.Fatalf("%s waits for ever; it has got %s of %d each", r.name, got, n)
		}
	}
}
