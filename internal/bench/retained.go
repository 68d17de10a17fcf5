package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Replays is the result of the scenario retained. The report's other figures are those of the pair meanwhile, and the CPU
// per message counts retained messages too.
type Replays struct {
	Topics        int     `json:"topics"`
	StoreRate     float64 `json:"stored_per_second"`
	BytesPerTopic float64 `json:"bytes_per_topic"`
	Complete      int     `json:"complete"` // subscriptions that have got all
	Received      int64   `json:"received"`
	Rate          float64 `json:"received_per_second"`
	Seconds       Latency `json:"time_to_all"` // of one subscription
}

// Alone is how the pair fared before the rest began.
type Alone struct {
	Rate          float64 `json:"delivered_per_second"`
	CPUPerMessage float64 `json:"cpu_us_per_message"`
	Latency       Latency `json:"latency"`
}

func (a *Replays) rows(row func(name, format string, args ...any), measured bool) {
	row("retained", "%d topics, stored %s/s", a.Topics, thousands(a.StoreRate))
	if measured {
		row("retained memory", "%s bytes per topic", thousands(a.BytesPerTopic))
	}
	row("subscriptions", "%d got all of them, %s/s; time to all: p50 %s  max %s", a.Complete, thousands(a.Rate), micros(a.Seconds.P50), micros(a.Seconds.Max))
}

// retained stores retained messages, then subscribes to all of them again and again beside a pair whose latency is measured.
func (r *run) retained(ctx context.Context, report *Report) error {
	before := r.sample()
	if err := r.openPair(ctx); err != nil {
		return err
	}
	stamp := r.addPseudo()
	began := time.Now()
	if err := r.store(ctx, stamp); err != nil {
		return err
	}
	took := time.Since(began)
	if err := r.sleep(ctx, r.o.Settle); err != nil {
		return err
	}
	after := r.sample()
	report.Retained = &Replays{Topics: r.o.Clients, StoreRate: float64(r.o.Clients) / took.Seconds()}
	if r.o.PID != 0 {
		report.Retained.BytesPerTopic = float64(after.broker.rss-before.broker.rss) / float64(r.o.Clients)
		report.Broker = &Broker{RSSBefore: before.broker.rss}
	}
	r.begin(ctx)
	if err := r.alone(ctx, report); err != nil {
		return err
	}
	replays := r.replay()
	if err := r.open(ctx, []*client{replays.client}); err != nil {
		return err
	}
	from, to, err := r.measure(ctx)
	if err != nil {
		return err
	}
	r.each(func(s *shard) {
		if s == replays.client.shard {
			report.Retained.Complete = replays.complete
			report.Retained.Seconds = latencyOf(replays.times)
			replays.stopped = true
		}
	})
	report.fill(r, from, to)
	c := to.counters.since(from.counters)
	report.Retained.Received, report.Retained.Rate = c.quiet, float64(c.quiet)/report.Seconds
	if report.Broker != nil {
		report.Broker.CPUPerMessage = per(report.Broker.CPUSeconds*1e6, c.delivered+c.quiet)
	}
	report.Generator.CPUPerMessage = per(report.Generator.CPUSeconds*1e6, c.delivered+c.quiet)
	report.Connections = 3
	if report.Lost, err = r.finish(ctx); err != nil || r.o.Keep {
		return err
	}
	return r.store(ctx, nil)
}

// alone measures the pair before the rest begins.
func (r *run) alone(ctx context.Context, report *Report) error {
	from, to, err := r.measure(ctx)
	if err != nil {
		return err
	}
	c := to.counters.since(from.counters)
	report.Alone = &Alone{Rate: float64(c.delivered) / (to.at - from.at).Seconds(), Latency: latencyOf(r.total.latency)}
	if r.o.PID != 0 {
		report.Alone.CPUPerMessage = per((to.broker.cpu-from.broker.cpu).Seconds()*1e6, c.delivered)
	}
	return nil
}

// openPair connects one publisher and its subscriber.
func (r *run) openPair(ctx context.Context) error {
	topic := r.o.Prefix + "/pair"
	if err := r.addPublisher(r.shards[0], r.o.Prefix+"-pair-pub", topic, r.o.QoS, r.o.Payload, 1); err != nil {
		return err
	}
	return r.open(ctx, []*client{r.newClient(r.shards[0], r.o.Prefix+"-pair-sub", topic), r.pubs[0].client})
}

// addPseudo adds a publisher that only lends its number to messages which others send, and returns such a payload.
func (r *run) addPseudo() (payload []byte) {
	b, err := newBatch(&r.o, "x", 0, r.o.Payload, 1, false, r.id, uint32(len(r.pubs)))
	if err != nil {
		r.fail(err)
		return nil
	}
	whole := append(b.buf, b.tail...)
	r.pubs = append(r.pubs, &publisher{client: r.pubs[0].client})
	return whole[b.stampAt:]
}

// store publishes all retained topics with QoS 1, or removes them with an empty payload.
func (r *run) store(ctx context.Context, payload []byte) error {
	finished := make(chan struct{})
	loader := &loader{run: r, payload: payload, done: func() { close(finished) }}
	c := r.newClient(r.shards[0], r.o.Prefix+"-loader")
	c.acked = loader.acked
	c.closed = func(err error) {
		if c.stage != leaving && !c.shard.ending {
			r.fail(fmt.Errorf("bench: %s, which stores retained messages, was closed: %w", c.id, err))
		}
	}
	loader.client = c
	if err := r.open(ctx, []*client{c}); err != nil {
		return err
	}
	r.shards[0].engine.PostLoop(0, func(int, int64) { loader.push() })
	select {
	case <-finished:
		return nil
	case <-r.failed:
		return r.failure
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(r.o.SetupTime):
		return fmt.Errorf("bench: %d retained messages were not stored within %v", r.o.Clients, r.o.SetupTime)
	}
}

// loader publishes retained messages with QoS 1 as fast as they are acknowledged.
type loader struct {
	run         *run
	client      *client
	payload     []byte
	sent, ended int
	pid         uint16
	buf         []byte
	done        func()
}

func (l *loader) acked() {
	if l.ended++; l.ended == l.run.o.Clients {
		l.client.stage = leaving
		l.client.send(disconnectFrame)
		l.client.conn.CloseAfterFlush(errDone, lingerTime)
		l.done()
		return
	}
	l.push()
}

func (l *loader) push() {
	o := &l.run.o
	room := min(o.Window, l.client.receiveMaximum)
	for l.sent < o.Clients && l.sent-l.ended < room {
		if l.pid++; l.pid == 0 {
			l.pid = 1
		}
		p := mqtt.Publish{
			QoS: 1, Retain: true, PacketID: l.pid, Payload: l.payload,
			Topic: fmt.Appendf(nil, "%s/retained/%d/%d", o.Prefix, l.sent%1000, l.sent),
		}
		var err error
		if l.buf, err = p.Append(l.buf[:0], o.Version); err != nil {
			l.client.refuse(err)
			return
		}
		l.client.send(l.buf)
		l.sent++
	}
}

// replayer subscribes again as soon as it has got everything.
type replayer struct {
	client   *client
	got      int64
	complete int
	began    int64
	times    *hdrhistogram.Histogram
	stopped  bool
}

func (r *run) replay() *replayer {
	p := &replayer{times: newHistogram()}
	filter := r.o.Prefix + "/retained/#"
	if r.o.Everything {
		filter = "#"
	}
	p.client = r.newClient(r.shardOf(1), r.o.Prefix+"-all", filter)
	p.client.quiet = true
	p.client.came = func(n int64) {
		if p.began == 0 {
			p.began = p.client.begun
		}
		if p.got += n; p.got < int64(r.o.Clients) {
			return
		}
		now := r.now()
		record(p.times, now-p.began, 1)
		p.got -= int64(r.o.Clients)
		p.complete++
		if p.began = now; !p.stopped {
			p.client.subscribe(filter) // which sends all of them again [MQTT-3.8.4-3]
		}
	}
	return p
}
