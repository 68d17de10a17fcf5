// Package metrics tells the broker's figures to Prometheus. Nothing is counted here: a scrape reads what the event loops have
// counted anyway, so that metrics cost nothing between scrapes.
package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

// Source is what figures come from: a broker.
type Source interface {
	Stats() broker.Stats
	Listeners() []broker.ListenerStatus
	LoopLag(within time.Duration) []time.Duration
}

// Options are what else there is to tell.
type Options struct {
	Version string
	// Store gives the figures of a store on disk; nil: there is none.
	Store func() Store
	// LogLost gives how many lines of the log were lost; nil: not told.
	LogLost func() int64
}

// Store are figures of a store on disk, since it was opened.
type Store struct {
	DiskBytes uint64 // now
	FreeBytes int64  // on its disk, now; below 0: not known
	Refusing  bool   // batches that add something, now
	Batches   int64  // committed
	Commits   int64  // each of one or more batches
	Refused   int64  // batches
	// SyncSteps counts the syncs that took less than 1, 2, 4, … microseconds and not less than the step before; SyncTotal is the
	// time of all.
	SyncSteps []int64
	SyncTotal time.Duration
}

// Handler answers scrapes, in the text format of Prometheus or as OpenMetrics.
func Handler(s Source, o Options) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(&collector{s, o}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes})
}

const (
	// maxScrapes bounds the scrapes at a time: each looks at all figures.
	maxScrapes = 4
	// lagLimit is how long a scrape waits for an event loop.
	lagLimit = time.Second
)

// collector makes the metrics of a scrape.
type collector struct {
	s Source
	o Options
}

// name gives a metric's description.
func name(metric, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("nightjar_"+metric, help, labels, nil)
}

var (
	buildInfo = name("build_info", "Always 1; the label tells the version.", "version")

	connections = name("connections", "Open connections.", "listener")
	accepted    = name("connections_accepted_total", "Connections accepted.")
	connects    = name("connect_packets_total", "CONNECT packets received, those that were refused included.")
	refused     = name("connections_refused_total", "Connections that ended without a session.", "cause")
	ended       = name("disconnects_total", "Connections of clients that ended.", "cause")
	clients     = name("clients", "Connected clients.", "version")
	sessions    = name("sessions", "Sessions, of connected and of absent clients.", "state")
	expired     = name("sessions_expired_total", "Sessions that ended because their time had passed.")

	subscriptions = name("subscriptions", "Subscriptions, shared ones included.")
	shared        = name("shared_subscriptions", "Members of shared subscriptions.")
	retained      = name("retained_messages", "Retained messages.")
	retainedBytes = name("retained_bytes", "Memory of retained messages.")

	packetsIn  = name("received_packets_total", "Packets received, of any type.")
	packetsOut = name("sent_packets_total", "Packets sent, of any type.")
	bytesIn    = name("received_bytes_total", "Bytes of MQTT received.")
	bytesOut   = name("sent_bytes_total", "Bytes of MQTT sent.")

	messagesIn = name("received_messages_total", "PUBLISH packets received.", "qos")
	messageOut = name("sent_messages_total", "PUBLISH packets sent.", "qos")
	payloadIn  = name("received_payload_bytes_total", "Payloads received.")
	payloadOut = name("sent_payload_bytes_total", "Payloads sent.")

	dropped          = name("dropped_messages_total", "Messages that did not reach a receiver, each counted once per receiver.", "reason")
	publishRefused   = name("refused_publishes_total", "PUBLISH packets that were not allowed.")
	subscribeRefused = name("refused_subscribes_total", "Filters of SUBSCRIBE packets that were not allowed.")

	queued      = name("queued_messages", "Messages in memory that wait for clients or for their acknowledgements, each counted once.")
	queuedBytes = name("queued_bytes", "Memory of those, and of the queues' references to them.")
	outboxBytes = name("outbox_bytes", "Memory of what waits for sockets.")

	panics  = name("handler_panics_total", "Connections that were closed because their handler failed.")
	lag     = name("loop_lag_seconds", "How long an event loop took to begin a turn, when it was asked to at the scrape; at most 1.", "loop")
	logLost = name("log_lines_lost_total", "Lines of the log that could not be written.")

	storeDisk     = name("store_disk_bytes", "What the store takes on disk.")
	storeFree     = name("store_free_bytes", "What the store's disk has left.")
	storeRefusing = name("store_refusing", "1 while the store takes nothing more, because its disk is full.")
	storeBatches  = name("store_batches_total", "Changes that were made durable.")
	storeCommits  = name("store_commits_total", "Commits of the store, each of one or more changes.")
	storeRefused  = name("store_refused_batches_total", "Changes that the store did not take.")
	storeSync     = name("store_sync_duration_seconds", "How long it took until a write was on stable storage.")
)

// Describe leaves it to Collect: what there is depends on the options.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the figures.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.s.Stats()
	o := out{ch}
	o.gauge(buildInfo, 1, c.o.Version)
	c.connections(o, &s)
	c.messages(o, &s)
	for i, d := range c.s.LoopLag(lagLimit) {
		o.gauge(lag, d.Seconds(), strconv.Itoa(i))
	}
	if c.o.LogLost != nil {
		o.count(logLost, c.o.LogLost())
	}
	if c.o.Store != nil {
		st := c.o.Store()
		st.collect(o)
	}
}

func (c *collector) connections(o out, s *broker.Stats) {
	byName := make(map[string]int) // listeners without a name are one
	for _, l := range c.s.Listeners() {
		byName[l.Name] += l.Connections
	}
	for n, open := range byName {
		o.gauge(connections, float64(open), n)
	}
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		o.gauge(clients, float64(s.Connected[v]), v.String())
	}
	o.gauge(sessions, float64(s.Clients), "connected")
	o.gauge(sessions, float64(max(0, s.Sessions-s.Clients)), "absent")
	o.count(expired, int64(s.SessionsExpired))
	o.count(accepted, s.Accepted)
	o.count(connects, s.Connects)
	o.counts(refused, s.Refused)
	o.counts(ended, s.Ended)
	o.count(panics, s.Panics)
	o.gauge(subscriptions, float64(s.Subscriptions))
	o.gauge(shared, float64(s.SharedSubscriptions))
}

func (c *collector) messages(o out, s *broker.Stats) {
	o.count(packetsIn, s.MessagesReceived)
	o.count(packetsOut, s.MessagesSent)
	o.count(bytesIn, s.BytesReceived)
	o.count(bytesOut, s.BytesSent)
	for qos := range s.ReceivedByQoS {
		o.count(messagesIn, s.ReceivedByQoS[qos], strconv.Itoa(qos))
		o.count(messageOut, s.SentByQoS[qos], strconv.Itoa(qos))
	}
	o.count(payloadIn, s.PublishBytesReceived)
	o.count(payloadOut, s.PublishBytesSent)
	for _, reason := range broker.DropReasons() { // all of them, from the start: an alert needs a 0 to rise from
		o.count(dropped, s.Dropped[reason], reason)
	}
	o.count(publishRefused, s.PublishRefused)
	o.count(subscribeRefused, s.SubscribeRefused)
	o.gauge(retained, float64(s.Retained))
	o.gauge(retainedBytes, float64(s.RetainedBytes))
	o.gauge(queued, float64(s.Queued))
	o.gauge(queuedBytes, float64(s.QueuedBytes))
	o.gauge(outboxBytes, float64(s.OutboxBytes))
}

func (s *Store) collect(o out) {
	o.gauge(storeDisk, float64(s.DiskBytes))
	if s.FreeBytes >= 0 {
		o.gauge(storeFree, float64(s.FreeBytes))
	}
	refusing := 0.0
	if s.Refusing {
		refusing = 1
	}
	o.gauge(storeRefusing, refusing)
	o.count(storeBatches, s.Batches)
	o.count(storeCommits, s.Commits)
	o.count(storeRefused, s.Refused)
	buckets := make(map[float64]uint64)
	var all uint64
	for i, n := range s.SyncSteps {
		all += uint64(max(0, n))
		if i >= firstStep && i <= lastStep {
			buckets[(time.Microsecond << i).Seconds()] = all
		}
	}
	o.ch <- prometheus.MustNewConstHistogram(storeSync, all, s.SyncTotal.Seconds(), buckets)
}

// The steps that are told: 64 µs to 4 s. Below and above nothing is to be learned.
const firstStep, lastStep = 6, 22

// out sends metrics.
type out struct{ ch chan<- prometheus.Metric }

func (o out) gauge(d *prometheus.Desc, v float64, labels ...string) {
	o.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (o out) count(d *prometheus.Desc, v int64, labels ...string) {
	o.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (o out) counts(d *prometheus.Desc, by map[string]int64) {
	for label, n := range by {
		o.count(d, n, label)
	}
}
