package attack

import (
	"fmt"
	"testing"
	"time"
)

// Who subscribes while a retained message is being replaced gets the new one, as the retained message or live.
func TestSubscribeWhileRetainedChanges(t *testing.T) {
	const rounds, subscribers = 300, 8
	onBoth(t, func(t *testing.T, engine string) {
		p := start(t, options{engine: engine})
		pub := connect(t, p, login{id: "pub"})
		for round := range rounds {
			topic, want := "changes", fmt.Sprint(round)
			subs := make([]*peer, subscribers)
			for i := range subs {
				subs[i] = connect(t, p, login{id: fmt.Sprintf("sub-%d-%d", round, i)})
			}
			lost := make([]string, subscribers)
			parallel(subscribers+1, func(i int) {
				if i == subscribers {
					_, _ = pub.Write(frame(0x33, text(topic), u16(round+1), []byte(want)))
					return
				}
				c := subs[i]
				_, _ = c.Write(subscribe(1, 0, topic))
				_ = c.SetReadDeadline(time.Now().Add(2 * second))
				for {
					first, body, err := c.read()
					if err != nil {
						lost[i] += fmt.Sprintf("(%v)", err)
						return
					}
					if first>>4 == tPublish {
						got := string(body[2+len(topic):])
						if got == want {
							lost[i] = ""
							return
						}
						lost[i] = "only " + got
					}
				}
			})
			pub.expect(tPuback)
			for i, why := range lost {
				if why != "" {
					t.Fatalf("round %d: subscriber %d did not get %q: %s", round, i, want, why)
				}
				_ = subs[i].Close()
			}
		}
	})
}
