package conformance

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Version is a protocol level as it stands in CONNECT.
type Version byte

// The versions of MQTT.
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

func (v Version) String() string {
	switch v {
	case V31:
		return "v31"
	case V311:
		return "v311"
	case V5:
		return "v5"
	}
	return fmt.Sprintf("level%d", byte(v))
}

// Case holds a server to one normative statement (ID "MQTT-3.1.2-24") or one behaviour of Mosquitto that clients rely
// on (ID "B-05").
type Case struct {
	ID      string
	Version Version
	Part    string // tells the cases of one statement and version apart; empty when there is only one
	Title   string // what the case shows, in a few words
	Options Options
	Run     func(t *T)
}

// Key names a case uniquely: "v311/MQTT-3.1.2-24" or "v311/MQTT-1.5.3-1/topic".
func (c Case) Key() string {
	k := c.Version.String() + "/" + c.ID
	if c.Part != "" {
		k += "/" + c.Part
	}
	return k
}

var registered []Case

// register adds cases to the suite; for init functions.
func register(cases ...Case) { registered = append(registered, cases...) }

// Cases returns all registered cases ordered by Key.
func Cases() []Case {
	all := append([]Case(nil), registered...)
	sort.SliceStable(all, func(i, j int) bool { return all[i].Key() < all[j].Key() })
	return all
}

// Result is the outcome of one case: passed when Failure and Skip are empty.
type Result struct {
	Failure    string // why the broker does not conform
	Skip       string // why the target cannot run this case
	Transcript string // the packets that went over the wire
}

// RunOn runs the case against a running broker of the target.
func (c Case) RunOn(target Target, b Broker) (res Result) {
	t := &T{target: target, broker: b, Version: c.Version, number: caseNumber.Add(1), start: time.Now()}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			res.Failure = string(r)
		case skip:
			res.Skip = string(r)
		default:
			res.Failure = fmt.Sprintf("panic in the case: %v\n%s", r, debug.Stack())
		}
		if err := t.close(); err != nil && res.Failure == "" {
			res.Failure = fmt.Sprintf("stopping the case's own broker: %v", err)
		}
		res.Transcript = t.transcript()
	}()
	c.Run(t)
	return res
}

var (
	caseNumber atomic.Uint32
	runID      = strings.ToLower(fmt.Sprintf("%06s", base36(uint64(time.Now().UnixNano()))[4:10]))
)

func base36(n uint64) string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	var b []byte
	for ; n > 0; n /= 36 {
		b = append(b, digits[n%36])
	}
	for len(b) < 12 {
		b = append(b, '0')
	}
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

type (
	failure string
	skip    string
)

// T is what a running case holds: the broker under test and the peers it opened. It is for one goroutine.
type T struct {
	Version Version

	target  Target
	broker  Broker
	number  uint32
	start   time.Time
	peers   []*Peer
	brokers []Broker
	mu      sync.Mutex
	lines   []string
}

// Fatalf ends the case: the broker does not conform.
func (t *T) Fatalf(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

// Skipf ends the case without a verdict: the target cannot run it.
func (t *T) Skipf(format string, args ...any) { panic(skip(fmt.Sprintf(format, args...))) }

// Logf adds a line to the transcript.
func (t *T) Logf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, fmt.Sprintf("%7.3fs  ", time.Since(t.start).Seconds())+fmt.Sprintf(format, args...))
}

// Topic returns a topic (or filter) no other case uses: name under a prefix of the case's own.
func (t *T) Topic(name string) string { return fmt.Sprintf("nj/%s%d/%s", runID, t.number, name) }

// Prefix returns the two levels ("nj/...") that every Topic of this case begins with.
func (t *T) Prefix() string { return strings.TrimSuffix(t.Topic(""), "/") }

// ClientID returns a client id no other case uses, of at most 23 letters and digits if name has at most 9 of them
// ([MQTT-3.1.3-5]). The same name gives the same id within a case.
func (t *T) ClientID(name string) string { return fmt.Sprintf("nj%s%d%s", runID, t.number, name) }

// Restart replaces the broker under test for this case by one of its own with the given options, stopped when the case
// ends. Cases whose options are known beforehand say so in Case.Options instead.
func (t *T) Restart(o Options) {
	b, err := t.target.Start(o)
	if err != nil {
		t.Skipf("%s cannot start with these options: %v", t.target.Name(), err)
	}
	t.brokers = append(t.brokers, b)
	t.broker = b
}

// KeepAliveSlack is how long after one and a half keep-alive intervals this kind of broker may take to close.
func (t *T) KeepAliveSlack() time.Duration { return t.target.KeepAliveSlack() }

// Broker returns the broker under test.
func (t *T) Broker() Broker { return t.broker }

func (t *T) close() error {
	for _, p := range t.peers {
		p.Close()
	}
	var errs []error
	for _, b := range t.brokers {
		errs = append(errs, b.Stop())
	}
	return errors.Join(errs...)
}

func (t *T) transcript() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}
