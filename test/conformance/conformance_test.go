package conformance

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nightjar-mqtt/nightjar/broker"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The cases wait far more than they compute.
	if err := flag.Set("test.parallel", "24"); err != nil {
		panic(err)
	}
	code := m.Run()
	if builtIn != "" {
		_ = os.RemoveAll(builtIn)
	}
	os.Exit(code)
}

// TestNightjar holds Nightjar, as a process, to every case on each network engine. A case that wants what the process
// has no flag for runs on the broker embedded in this process instead, and says so; none is skipped.
func TestNightjar(t *testing.T) {
	for _, engine := range broker.Engines() {
		t.Run(engine, func(t *testing.T) { runAll(t, nightjar{engine: engine}, failOnFailure) })
	}
}

// TestTransports holds Nightjar to every case over TLS, WebSocket and both, on each network engine.
func TestTransports(t *testing.T) {
	for _, over := range []Transport{OverWSS, OverTLS, OverWS} {
		t.Run(string(over), func(t *testing.T) {
			for _, engine := range broker.Engines() {
				t.Run(engine, func(t *testing.T) {
					t.Parallel()
					runAll(t, nightjar{engine, over}, failOnFailure)
				})
			}
		})
	}
}

// TestEmbedded holds the embedded broker to every case on a store that answers late and out of order.
func TestEmbedded(t *testing.T) {
	for _, engine := range broker.Engines() {
		t.Run(engine, func(t *testing.T) { runAll(t, embedded{engine: engine, late: true}, failOnFailure) })
	}
}

// TestMosquitto tests the suite: what mosquitto fails must be listed with a reason, and nothing else.
func TestMosquitto(t *testing.T) {
	runAll(t, mosquitto{}, func(t *testing.T, c Case, res Result) {
		d, listed := MosquittoDifferences()[c.Key()]
		switch {
		case res.Failure != "" && !listed:
			t.Errorf("%s\nmosquitto fails this and mosquitto_differences.go does not list %q\n%s", res.Failure, c.Key(), res.Transcript)
		case res.Failure == "" && listed:
			t.Errorf("listed as a difference (%s is right: %s), but mosquitto passes\n%s", d.Right, d.Reason, res.Transcript)
		case listed:
			t.Logf("differs as listed; right is %s: %s\n%s", d.Right, d.Reason, res.Failure)
		}
	})
}

// TestAddress runs the cases against the broker at NIGHTJAR_CONFORMANCE_ADDR.
func TestAddress(t *testing.T) {
	addr := os.Getenv("NIGHTJAR_CONFORMANCE_ADDR")
	if addr == "" {
		t.Skip("set NIGHTJAR_CONFORMANCE_ADDR=host:port to test a broker that runs already")
	}
	runAll(t, addressTarget(addr), failOnFailure)
}

func failOnFailure(t *testing.T, _ Case, res Result) {
	if res.Failure != "" {
		t.Errorf("%s\n%s", res.Failure, res.Transcript)
	}
}

// runAll runs every case as the subtest ID/version[-part], on one shared broker or, with options, on one of its own.
func runAll(t *testing.T, target Target, judge func(*testing.T, Case, Result)) {
	shared, err := target.Start(Options{})
	if err != nil {
		t.Fatalf("start %s: %v", target.Name(), err)
	}
	t.Cleanup(func() { stop(t, shared) })
	byID := map[string][]Case{}
	var ids []string
	for _, c := range Cases() {
		if byID[c.ID] == nil {
			ids = append(ids, c.ID)
		}
		byID[c.ID] = append(byID[c.ID], c)
	}
	for _, id := range ids {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			for _, c := range byID[id] {
				name := c.Version.String()
				if c.Part != "" {
					name += "-" + c.Part
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					runOne(t, target, shared, c, judge)
				})
			}
		})
	}
}

func runOne(t *testing.T, target Target, b Broker, c Case, judge func(*testing.T, Case, Result)) {
	if !c.Options.IsZero() {
		own, err := target.Start(c.Options)
		if n, ok := target.(nightjar); ok && errors.Is(err, errCannot) {
			target = embedded{engine: n.engine, over: n.over}
			t.Logf("%s: runs on %s: %v", c.Key(), target.Name(), err)
			own, err = target.Start(c.Options)
		}
		if errors.Is(err, errCannot) && !ours(target) {
			t.Skipf("%s: %s: %v", c.Key(), c.Title, err)
		}
		if err != nil {
			t.Fatalf("start %s with %+v: %v", target.Name(), c.Options, err)
		}
		defer stop(t, own)
		b = own
	}
	res := c.RunOn(target, b)
	if res.Skip != "" {
		if ours(target) {
			t.Fatalf("%s: %s: Nightjar skips no case: %s", c.Key(), c.Title, res.Skip)
		}
		t.Skipf("%s: %s: %s", c.Key(), c.Title, res.Skip)
	}
	if res.Failure != "" {
		res.Failure = fmt.Sprintf("[%s] %s: %s\n%s", c.ID, c.Version, c.Title, res.Failure)
	}
	judge(t, c, res)
}

// ours tells the targets on which every case has to run.
func ours(target Target) bool {
	switch target.(type) {
	case nightjar, embedded:
		return true
	}
	return false
}

func stop(t *testing.T, b Broker) {
	t.Helper()
	err := b.Stop()
	if r := raceReport(b.Log()); r != "" {
		t.Errorf("%s", r)
	}
	if err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestCases holds the table of cases itself: unique keys, known versions, titles.
func TestCases(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Cases() {
		if seen[c.Key()] {
			t.Errorf("two cases named %s: give them different Parts", c.Key())
		}
		seen[c.Key()] = true
		if c.Title == "" || c.Run == nil {
			t.Errorf("%s lacks a title or a function", c.Key())
		}
	}
	for key := range MosquittoDifferences() {
		if !seen[key] {
			t.Errorf("mosquitto_differences lists %s, which is no case", key)
		}
	}
}

// TestStatementsV311 holds that every statement of MQTT 3.1.1 has a case or a reason for none, and that at most one in
// ten of those that bind servers lacks a case.
func TestStatementsV311(t *testing.T) {
	if n := len(StatementsV311()); n != 141 {
		t.Errorf("%d statements, the standard has 141", n)
	}
	checkStatements(t, V311, StatementsV311())
}

func checkStatements(t *testing.T, v Version, statements []Statement) {
	t.Helper()
	cases := map[string]int{}
	for _, c := range Cases() {
		if c.Version == v {
			cases[c.ID]++
		}
	}
	known := map[string]bool{}
	server, without := 0, 0
	for _, s := range statements {
		if known[s.ID] {
			t.Errorf("%s stands twice in the table", s.ID)
		}
		known[s.ID] = true
		if s.Subject != Server && s.Subject != Client && s.Subject != Both {
			t.Errorf("%s: subject %q", s.ID, s.Subject)
		}
		if (cases[s.ID] == 0) != (s.Untestable != "") {
			t.Errorf("%s has %d cases and the reason %q for none", s.ID, cases[s.ID], s.Untestable)
		}
		if s.Subject != Client {
			server++
			if cases[s.ID] == 0 {
				without++
			}
		}
	}
	for id := range cases {
		if strings.HasPrefix(id, "MQTT-") && !known[id] {
			t.Errorf("cases for %s, which is no statement of %s", id, v)
		}
	}
	if without*10 > server {
		t.Errorf("%d of the %d statements that bind servers have no case; at most one in ten may lack one", without, server)
	}
	t.Logf("%s: %d statements, %d bind servers, %d of these without a case", v, len(statements), server, without)
}
