package conn

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/core/outbox"
	"github.com/nightjar-mqtt/nightjar/internal/core/router"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/internal/store/memory"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// sink is a transport whose socket takes everything at once.
type sink struct {
	out outbox.Outbox
	iov [][]byte
	n   int
}

func (s *sink) Out() *outbox.Outbox { return &s.out }
func (s *sink) Flush() {
	for {
		bufs, ok := s.out.StartWrite(s.iov[:0])
		if !ok {
			return
		}
		n := 0
		for _, b := range bufs {
			n += len(b)
		}
		s.n += n
		if again, _ := s.out.FinishWrite(n, false); !again {
			return
		}
	}
}
func (s *sink) Post(fn func(loop int, now int64))    { fn(0, 1) }
func (s *sink) WantDrained()                         {}
func (s *sink) Close(error)                          {}
func (s *sink) CloseAfterFlush(error, time.Duration) {}
func (s *sink) Pause()                               {}
func (s *sink) Resume()                              {}
func (s *sink) SetDeadline(int64)                    {}

func benchShared() *Shared {
	r := router.New(router.Options{
		Limits: &session.Limits{MaxInflight: 1000, MaxQueued: 1000, OutboxBytes: 1 << 20, Outboxes: new(outbox.Budget)},
		Store:  memory.Store{}, Loops: 1,
	})
	return NewShared(&Shared{Config: Defaults(), Router: r, Addresses: func(Transport) (string, string) { return "peer", "local" }, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, 1)
}

func benchClient(b *testing.B, sh *Shared, id string, filter string, qos byte) (*Conn, *sink) {
	b.Helper()
	t := &sink{iov: make([][]byte, 0, 16)}
	c := New(t, sh)
	c.Opened(0, 1)
	frame, err := (&mqtt.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte(id)}).Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	c.Data(0, 1, frame)
	if filter != "" {
		frame, err = (&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: []byte(filter), Options: mqtt.SubOptions(qos)}}}).Append(nil, mqtt.V311)
		if err != nil {
			b.Fatal(err)
		}
		c.Data(0, 1, frame)
	}
	sh.Router.EndTurn(0)
	return c, t
}

// BenchmarkPublish measures the whole way of a QoS 0 PUBLISH without the socket: parse, check, match, deliver; per
// delivered message. 32 packets come in one read.
func BenchmarkPublish(b *testing.B) {
	for _, receivers := range []int{1, 100} {
		for _, topics := range []int{1, 10000} {
			b.Run(fmt.Sprintf("receivers=%d/topics=%d", receivers, topics), func(b *testing.B) {
				sh := benchShared()
				for i := range receivers {
					benchClient(b, sh, fmt.Sprintf("s%d", i), "a/#", 0)
				}
				p, _ := benchClient(b, sh, "p", "", 0)
				reads := make([][]byte, 0, topics)
				for t := 0; t < topics; t += 32 {
					var read []byte
					for i := range 32 {
						read, _ = (&mqtt.Publish{Topic: fmt.Appendf(nil, "a/device/%d", (t+i)%topics), Payload: make([]byte, 64)}).Append(read, mqtt.V311)
					}
					reads = append(reads, read)
				}
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; i < b.N; i += 32 * receivers {
					p.Data(0, 1, reads[(i/32/receivers)%len(reads)])
					sh.Router.EndTurn(0)
				}
			})
		}
	}
}
