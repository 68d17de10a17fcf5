package workload

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/test/crash/history"
)

// Options are what a load is made with.
type Options struct {
	Seed uint64
	// Every is the time between two messages of one publisher, on average.
	Every time.Duration
	// Tolerant: the broker may refuse and close connections, because its disk fails; clients try again.
	Tolerant bool
	// WillDelay in seconds; 0: no wills.
	WillDelay uint32
	// Patience is how long a drain may stand still before it is given up; 0: 10 s. What is missing then is lost, and the check
	// says so. It has to be longer than WillDelay.
	Patience time.Duration
}

// Load is all clients. Use: Setup once; then rounds of Start, any number of deaths of the broker, Drain, and a look at Check.
type Load struct {
	Gate *Gate

	o           Options
	rec         *history.Recorder
	publishers  []*publisher
	subscribers []*subscriber
	testators   []*testator
	versions    map[string]mqtt.Version // of the publishers
	retained    []string                // topics
	probes      atomic.Uint64
	refused     atomic.Uint64

	noWills                       bool
	stopLoad, stopDrain, stopHard context.CancelFunc
	publishing, subscribing       sync.WaitGroup
}

// New returns a load whose clients write to rec.
func New(o Options, rec *history.Recorder) *Load {
	if o.Patience == 0 {
		o.Patience = 10 * time.Second
	}
	l := &Load{Gate: NewGate(), o: o, rec: rec, versions: make(map[string]mqtt.Version)}
	for _, p := range []struct {
		id      string
		version mqtt.Version
		qos     byte
		window  int
		topics  []string
		retain  bool
	}{
		{"pub-a", mqtt.V311, 1, 8, []string{"t/a/0", "t/a/1", "t/x"}, false},
		{"pub-b", mqtt.V5, 1, 16, []string{"t/b/0", "t/b/1", "t/x"}, false},
		{"pub-c", mqtt.V311, 2, 4, []string{"t/c/0", "t/x"}, false},
		{"pub-d", mqtt.V5, 2, 12, []string{"t/d/0", "t/d/1", "t/d/2"}, false},
		{"pub-e", mqtt.V5, 1, 4, []string{"r/e/0", "r/e/1", "r/e/2", "r/e/3"}, true},
		{"pub-f", mqtt.V311, 2, 3, []string{"r/f/0", "r/f/1", "r/f/2"}, true},
	} {
		l.versions[p.id] = p.version
		if p.retain {
			l.retained = append(l.retained, p.topics...)
		}
		l.publishers = append(l.publishers, &publisher{client: newClient(l, p.id, p.version), qos: p.qos, window: p.window, topics: p.topics, retain: p.retain, every: o.Every})
	}
	for _, s := range []struct {
		id      string
		version mqtt.Version
		habit   habit
		qos     byte
		group   string
		lag     int
		recvMax uint16
		filters []string
	}{
		{"sub-here-5", mqtt.V5, stays, 2, "", 0, 0, []string{"t/#", "r/#", "w/#"}},
		{"sub-here-3", mqtt.V311, stays, 2, "", 3, 0, []string{"t/+/0", "t/+/1", "r/#"}},
		{"sub-slow", mqtt.V5, stays, 2, "", 5, 12, []string{"t/+/#"}},
		{"sub-away-5", mqtt.V5, absent, 2, "", 0, 7, []string{"t/#", "w/+"}},
		{"sub-away-3", mqtt.V311, absent, 1, "", 0, 0, []string{"t/#", "r/e/+"}},
		{"sub-flaps-5", mqtt.V5, flaps, 2, "", 2, 9, []string{"t/#", "r/f/+"}},
		{"sub-flaps-3", mqtt.V311, flaps, 2, "", 4, 0, []string{"t/#"}},
		{"sub-turns-5", mqtt.V5, changes, 1, "", 0, 0, []string{"t/a/#", "t/b/#", "t/c/+", "t/d/+", "r/e/#"}},
		{"sub-turns-3", mqtt.V311, changes, 2, "", 1, 0, []string{"t/a/#", "t/d/#", "r/f/#", "t/x"}},
		{"share-1", mqtt.V5, stays, 2, "g", 3, 6, []string{"t/+/0", "t/x"}},
		{"share-2", mqtt.V311, flaps, 2, "g", 0, 0, []string{"t/+/0", "t/x"}},
		{"share-3", mqtt.V5, absent, 2, "g", 0, 0, []string{"t/+/0", "t/x"}},
	} {
		sub := &subscriber{client: newClient(l, s.id, s.version), habit: s.habit, group: s.group, lag: s.lag}
		sub.recvMax = s.recvMax
		for i, f := range s.filters {
			sub.filters = append(sub.filters, &filter{text: f, subID: uint32(i + 1), qos: s.qos, want: true})
		}
		l.subscribers = append(l.subscribers, sub)
	}
	for i := range 4 {
		if o.WillDelay > 0 {
			w := &testator{client: newClient(l, fmt.Sprintf("will-%d", i), mqtt.V5), qos: byte(1 + i%2), delay: o.WillDelay}
			l.testators = append(l.testators, w)
		}
	}
	return l
}

// Refused is how often the broker refused, if that is tolerated.
func (l *Load) Refused() uint64 { return l.refused.Load() }

// Wills says whether the next rounds have wills.
func (l *Load) Wills(on bool) { l.noWills = !on }

// Setup makes the sessions and their subscriptions.
func (l *Load) Setup(ctx context.Context) error {
	var all sync.WaitGroup
	for _, s := range l.subscribers {
		all.Go(func() { s.setup(ctx) })
	}
	all.Wait()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("the sessions could not be set up: %w", err)
	}
	return nil
}

// Start begins a round.
func (l *Load) Start() {
	load, stopLoad := context.WithCancel(context.Background())
	drain, stopDrain := context.WithCancel(context.Background())
	hard, stopHard := context.WithCancel(context.Background())
	l.stopLoad, l.stopDrain, l.stopHard = stopLoad, stopDrain, stopHard
	for _, p := range l.publishers {
		l.publishing.Go(func() { p.run(load, hard) })
	}
	for _, w := range l.testators {
		if l.noWills {
			break
		}
		l.publishing.Go(func() { w.run(load) })
	}
	for _, s := range l.subscribers {
		l.subscribing.Go(func() { s.run(phases{load, drain, hard}) })
	}
}

// Drain ends the round: publishers complete what they have under way, every session comes back, and all that was promised
// is waited for. The error is for what keeps it from being a drain at all.
func (l *Load) Drain() error {
	defer l.stopHard()
	defer l.stopDrain()
	l.stopLoad()
	if !within(&l.publishing, answerTimeout) {
		l.stopHard()
		l.publishing.Wait()
		l.subscribing.Wait()
		return fmt.Errorf("the publishers could not complete what they had under way in %v", answerTimeout)
	}
	l.rec.Expect()
	for {
		missing, changed := l.rec.Missing()
		if missing == 0 {
			break
		}
		t := time.NewTimer(l.o.Patience)
		select {
		case <-changed:
			t.Stop()
			continue
		case <-t.C:
		}
		break
	}
	l.stopDrain()
	if !within(&l.subscribing, answerTimeout) {
		l.stopHard()
		l.subscribing.Wait()
		return fmt.Errorf("the subscribers got no answers in %v", answerTimeout)
	}
	return nil
}

// Stop ends the round at once, and Close all connections.
func (l *Load) Stop() {
	l.stopLoad()
	l.stopHard()
	l.publishing.Wait()
	l.subscribing.Wait()
}

// Close closes all connections.
func (l *Load) Close() {
	for _, p := range l.publishers {
		p.drop()
	}
	for _, s := range l.subscribers {
		s.drop()
		if s.old != nil {
			_ = s.old.conn.Close()
		}
	}
	for _, w := range l.testators {
		w.drop()
	}
}

// within waits for a group, not for ever.
func within(g *sync.WaitGroup, d time.Duration) bool {
	done := make(chan struct{})
	go func() {
		g.Wait()
		close(done)
	}()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}
