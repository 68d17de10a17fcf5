package bench

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/edge/netloop"
)

// shard is an event loop of the generator with its clients. All its fields belong to the loop. It is an engine of one
// loop, because so the generator decides which connection goes where.
type shard struct {
	run    *run
	index  int
	engine netloop.Engine

	counters counters
	hist     *histograms
	spare    *histograms // the next hist; nil while it is being read
	clients  []*client
	pubs     []*publisher
	dirty    []netloop.Conn // to be flushed at the end of the turn
	touched  []*publisher   // whose messages have arrived in this turn
	acks     []byte         // scratch
	clear    [2][]byte      // scratch of tunnels
	plan     schedule       // open loop
	pacer    pacer
	churn    churn
	running  bool
	ending   bool
}

func newShard(r *run, index int) (*shard, error) {
	s := &shard{run: r, index: index, hist: newHistograms(), spare: newHistograms()}
	var err error
	s.engine, err = netloop.New(netloop.Options{
		Loops: 1, ReadBuffer: 1 << 20, EndTurn: func(int, int64) { s.endTurn() },
		Logger: slog.New(slog.DiscardHandler),
		OnPanic: func(_ int, _ netloop.Conn, v any, stack []byte) {
			r.fail(fmt.Errorf("bench: a fault of the generator: %v\n%s", v, stack))
		},
	})
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return s, nil
}

// flushLater promises the connection's outbox a flush.
func (s *shard) flushLater(c netloop.Conn) { s.dirty = append(s.dirty, c) }

// touch notes that p may have room again.
func (s *shard) touch(p *publisher) {
	if p.client.shard == s {
		if p.touched {
			return
		}
		p.touched = true
	} else if n := len(s.touched); n > 0 && s.touched[n-1] == p {
		return
	}
	s.touched = append(s.touched, p)
}

func (s *shard) endTurn() {
	for _, p := range s.touched {
		if p.client.shard == s {
			p.touched = false
			p.pump()
		} else if p.waiting.Swap(false) {
			p.client.conn.Post(p.posted)
		}
	}
	s.touched = s.touched[:0]
	for i, c := range s.dirty {
		s.dirty[i] = nil
		c.Flush()
	}
	s.dirty = s.dirty[:0]
}

// begin sets the publishers going. An open loop's first message is due at first.
func (s *shard) begin(first time.Duration) {
	s.running = true
	o := &s.run.o
	if len(s.pubs) == 0 {
		return
	}
	if o.Rate == 0 {
		for _, p := range s.pubs {
			p.pump()
		}
		return
	}
	share := o.Rate * float64(len(s.pubs)) / float64(s.run.senders)
	s.plan = newSchedule(first, share, o.Burst)
	if err := s.pacer.start(s, s.pace); err != nil {
		s.run.fail(fmt.Errorf("bench: the clock of the open loop: %w", err))
	}
}

// pace sends what is due and returns when the next write is.
func (s *shard) pace() (next int64, more bool) {
	for s.running {
		now := s.run.now()
		k, at, ok := s.plan.take(now)
		if !ok {
			return at, true
		}
		p := s.pubs[k%int64(len(s.pubs))]
		if p.ackRoom() < int64(p.batch.count) || len(p.deferred) > 0 {
			p.deferred = append(p.deferred, at)
			continue
		}
		record(s.hist.lag, now-at, 1)
		p.write(at)
		if n := waiting(p.client.conn); n > maxBacklog {
			s.run.fail(fmt.Errorf("bench: %s: the broker does not take %g messages a second: %d bytes wait for its socket", p.client.id, s.run.o.Rate, n))
			s.running = false
		}
	}
	return 0, false
}

// waiting is how many bytes wait for a connection's socket.
func waiting(c netloop.Conn) int {
	n := c.Out().Bytes()
	if t, ok := c.(*tunnel); ok {
		n += waiting(t.Conn)
	}
	return n
}

// maxBacklog is how many bytes may wait for the socket of a publisher.
const maxBacklog = 64 << 20

// halt stops the publishers.
func (s *shard) halt() {
	s.running = false
	s.pacer.stop()
	s.churn.stop()
}

// end says goodbye.
func (s *shard) end() {
	s.halt()
	s.ending = true
	for _, c := range s.clients {
		if c.conn != nil {
			c.send(disconnectFrame)
		}
	}
}

// unstall gives up on QoS 0 messages that have not come for a while: the broker has dropped them, and without that the
// window would stay closed for ever. It is called once a second.
func (s *shard) unstall() {
	for _, p := range s.pubs {
		got := p.copies.Load()
		if missing := p.win.sent*p.win.receivers - got; got == p.seen && missing > 0 && s.running && p.qos == 0 && !p.open {
			p.copies.Add(missing)
			p.seen = got + missing
			p.pump()
			continue
		}
		p.seen = got
	}
}

// watchStalls has unstall called until ctx ends.
func (r *run) watchStalls(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			r.each((*shard).unstall)
		case <-ctx.Done():
			return
		}
	}
}
