package bench

import (
	"context"
	"fmt"
	"time"
)

// traffic runs the scenarios in which messages flow from publishers to subscribers.
func (r *run) traffic(ctx context.Context, report *Report) error {
	subscribers, err := r.cast()
	if err != nil {
		return err
	}
	if err := r.open(ctx, subscribers); err != nil {
		return err
	}
	publishers := make([]*client, len(r.pubs))
	for i, p := range r.pubs {
		publishers[i] = p.client
	}
	if err := r.open(ctx, publishers); err != nil {
		return err
	}
	report.Connections = len(subscribers) + len(publishers)
	return r.flow(ctx, report)
}

// flow lets the publishers send, measures, and waits for the last messages.
func (r *run) flow(ctx context.Context, report *Report) error {
	r.begin(ctx)
	from, to, err := r.measure(ctx)
	if err != nil {
		return err
	}
	report.fill(r, from, to)
	report.Lost, err = r.finish(ctx)
	return err
}

// begin lets the publishers send.
func (r *run) begin(ctx context.Context) {
	watching, stop := context.WithCancel(ctx)
	r.unwatch = stop
	go r.watchStalls(watching)
	first := time.Since(r.start) + 2*time.Millisecond
	r.each(func(s *shard) { s.begin(first) })
}

// finish stops the publishers, waits for the last messages and returns how many have not come.
func (r *run) finish(ctx context.Context) (lost int64, err error) {
	r.unwatch()
	r.each((*shard).halt)
	return r.drain(ctx)
}

// drainTime is how long the last messages may take once nothing more is sent.
const drainTime = 5 * time.Second

// drain waits until everything has arrived and returns how many messages have not: those of the whole run.
func (r *run) drain(ctx context.Context) (lost int64, err error) {
	quiet, before := 0, int64(-1)
	for end := time.Now().Add(drainTime); time.Now().Before(end) && quiet < 20; {
		var expected, got int64
		r.each(func(s *shard) {
			r.mu.Lock()
			defer r.mu.Unlock()
			got += s.counters.delivered
			for _, p := range s.pubs {
				expected += p.win.sent * p.win.receivers
			}
		})
		if lost = expected - got; lost <= 0 {
			return lost, nil
		}
		if quiet++; got != before {
			quiet, before = 0, got
		}
		if err := r.sleep(ctx, 50*time.Millisecond); err != nil {
			return lost, err
		}
	}
	return lost, nil
}

// cast makes the clients of the scenario, the publishers into r.pubs.
func (r *run) cast() (subscribers []*client, err error) {
	o := &r.o
	topic := func(i int) string { return fmt.Sprintf("%s/%s/%d", o.Prefix, o.Scenario, i) }
	all := fmt.Sprintf("%s/%s/+", o.Prefix, o.Scenario)
	name := func(kind string, i int) string { return fmt.Sprintf("%s-%s-%s-%d", o.Prefix, o.Scenario, kind, i) }
	publish := func(i, receivers int) {
		if err == nil {
			err = r.addPublisher(r.shardOf(i), name("pub", i), topic(i), o.QoS, o.Payload, receivers)
		}
	}
	switch o.Scenario {
	case Pairs:
		for i := range o.Clients {
			subscribers = append(subscribers, r.newClient(r.shardOf(i), name("sub", i), topic(i)))
			publish(i, 1)
		}
	case Fanout:
		for i := range o.Clients {
			subscribers = append(subscribers, r.newClient(r.shardOf(i), name("sub", i), topic(0)))
		}
		publish(0, o.Clients)
	case Fanin:
		filter := all
		if o.Group > 0 {
			filter = "$share/" + o.Prefix + "/" + all
		}
		for i := range max(o.Group, 1) {
			subscribers = append(subscribers, r.newClient(r.shardOf(i), name("sub", i), filter))
		}
		for i := range o.Clients {
			publish(i, 1)
		}
	case Mixed:
		return r.castMixed()
	}
	return subscribers, err
}

// castMixed makes clients of many kinds: of ten publishers seven use QoS 0, two QoS 1 and one QoS 2, two of ten have
// payloads four times and two sixteen times as large as the others. Each topic has a subscriber of its own and shares one
// with a wildcard with its nine neighbours.
func (r *run) castMixed() (subscribers []*client, err error) {
	o := &r.o
	levels := [10]int{0, 0, 1, 0, 0, 2, 0, 1, 0, 0}
	sizes := [10]int{1, 1, 1, 4, 1, 1, 16, 4, 16, 1}
	add := func(kind string, i int, filter string) {
		c := r.newClient(r.shardOf(i), fmt.Sprintf("%s-mixed-%s-%d", o.Prefix, kind, i), filter)
		c.qos = 2
		subscribers = append(subscribers, c)
	}
	for i := range o.Clients {
		group := fmt.Sprintf("%s/mixed/%d", o.Prefix, i/10)
		topic := fmt.Sprintf("%s/%d", group, i)
		if i%10 == 0 {
			add("wild", i, group+"/+")
		}
		add("sub", i, topic)
		id := fmt.Sprintf("%s-mixed-pub-%d", o.Prefix, i)
		if err := r.addPublisher(r.shardOf(i), id, topic, levels[i%10], o.Payload*sizes[i%10], 2); err != nil {
			return nil, err
		}
	}
	return subscribers, nil
}

// addPublisher makes a publisher, of whose messages receivers copies are expected each.
func (r *run) addPublisher(s *shard, id, topic string, qos, payload, receivers int) error {
	b, err := newBatch(&r.o, topic, qos, payload, r.o.Burst, false, r.id, uint32(len(r.pubs)))
	if err != nil {
		return err
	}
	p := &publisher{
		client: r.newClient(s, id), batch: b, qos: qos, open: r.o.Rate > 0,
		win: window{size: int64(r.o.Window), receivers: int64(receivers)},
	}
	p.client.pub = p
	p.posted = func(int, int64) { p.pump() }
	r.pubs = append(r.pubs, p)
	s.pubs = append(s.pubs, p)
	r.senders++
	return nil
}
