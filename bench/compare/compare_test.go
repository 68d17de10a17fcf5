//go:build linux

package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nightjar-mqtt/nightjar/internal/bench"
)

func TestInterval(t *testing.T) {
	near := func(got, want float64) bool { return math.Abs(got-want) < 0.005*want }
	i := intervalOf([]float64{4, 2, 8, 2, 8})
	// Logarithms to base 2: 1, 1, 2, 3, 3; mean 2, standard deviation 1, half width 2.776 / √5 = 1.2415.
	if !near(i.median, 4) || !near(i.low, math.Exp2(2-1.2415)) || !near(i.high, math.Exp2(2+1.2415)) {
		t.Errorf("%+v", i)
	}
	if i := intervalOf([]float64{3}); i.median != 3 || !i.contains(0.001) || !i.contains(1e9) {
		t.Errorf("one round decides nothing: %+v", i)
	}
	if i := intervalOf([]float64{5, 5, 5}); !near(i.low, 5) || !near(i.high, 5) {
		t.Errorf("no spread: %+v", i)
	}
	if got := middle([]float64{9, 1, 4, 2}); got != 3 {
		t.Errorf("median of four: %g", got)
	}
	if got := student95(60); !near(got, 2.000) {
		t.Errorf("Student's quantile for 60 degrees: %g", got)
	}
}

// fake makes a comparison with given CPU figures, one list per broker.
func fake(series map[string][]float64) (*comparison, *row) {
	r := &row{name: "r", title: "a row", metrics: []metric{cpu(10, 2, atMost(1.5))}, unfit: map[string]string{"nats": "cannot"}}
	c := &comparison{settings: &settings{rounds: 2, most: 9}, rows: []*row{r}}
	for _, name := range []string{nightjarName, floorName, mosquittoName, "mochi", "aedes", "nats"} {
		c.peers = append(c.peers, &peer{name: name, version: "1", config: "default."})
		for round, v := range series[name] {
			m := measurement{Row: "r", Peer: name, Round: round, Report: &bench.Report{Broker: &bench.Broker{CPUPerMessage: v}}}
			if v < 0 {
				m.Report, m.Failed = nil, "it | failed\nand more"
			}
			c.results = append(c.results, m)
		}
	}
	return c, r
}

func TestVerdicts(t *testing.T) {
	c, r := fake(map[string][]float64{
		nightjarName:  {1.0, 1.1, 0.9},
		floorName:     {0.8, 0.88, 0.72},
		mosquittoName: {20, 22, 18.1},
		"mochi":       {1.5, 1.65, 1.36},
		"aedes":       {7, -1, -1},
	})
	m := &r.metrics[0]
	for role, want := range map[string]string{
		mosquittoName: "20.0× (19.9 to 20.2), aim 10.0×: reached",
		bestRole:      "1.50× (1.49 to 1.52) mochi, aim 2.00×: **missed**",
		floorName:     "0.80× (0.80 to 0.80), aim 0.67×: reached",
	} {
		if got := c.verdict(r, m, role); got != want {
			t.Errorf("%s: %q, want %q", role, got, want)
		}
	}
	if !c.decided(r) {
		t.Error("all three are clear, and it is not decided")
	}
	text := c.markdown()
	for _, want := range []string{"20.0 µs (20.0)", "7.00 µs (7.00)", "| cannot |", "- mochi 1: default."} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	c, r = fake(map[string][]float64{nightjarName: {1, 1, 1}, mosquittoName: {5, 20, 10}, "aedes": {-1, -1}})
	if c.decided(r) {
		t.Error("decided, though the interval holds the target")
	}
	if got := c.verdict(r, &r.metrics[0], mosquittoName); !strings.Contains(got, "undecided") {
		t.Errorf("%q", got)
	}
	if got := c.cell(r, &r.metrics[0], c.peers[4], 1); got != "failed: it / failed" {
		t.Errorf("%q", got)
	}
}

func TestUnusable(t *testing.T) {
	good := bench.Report{Broker: &bench.Broker{CPUSeconds: 1}, Rate: 1000, Delivered: 5000, Options: bench.Options{Rate: 1000}}
	if got := unusable(&good); got != "" {
		t.Errorf("a good one: %q", got)
	}
	slow, lossy, unread := good, good, good
	slow.Rate = 900
	lossy.Lost = 50
	unread.Broker = nil
	for name, rep := range map[string]*bench.Report{"slow": &slow, "lossy": &lossy, "unread": &unread} {
		if unusable(rep) == "" {
			t.Errorf("%s counts", name)
		}
	}
}

func TestBetween(t *testing.T) {
	doc := "# A\n\n" + beginMark + "\nold\n" + endMark + "\n\n## Own words\n"
	got, err := between(doc, "\nnew\n")
	if want := "# A\n\n" + beginMark + "\n\nnew\n\n" + endMark + "\n\n## Own words\n"; err != nil || got != want {
		t.Errorf("%v: %q", err, got)
	}
	if _, err := between("# A\n", "new"); err == nil {
		t.Error("a document without the marks was changed")
	}
}

func TestSelect(t *testing.T) {
	all, err := knownPeers("/", "/", []string{"other=prog -p {port}"})
	if err != nil {
		t.Fatal(err)
	}
	picked, err := selectPeers(all, "other,mosquitto")
	if err != nil || len(picked) != 3 || picked[0].name != nightjarName || picked[1].name != "other" {
		t.Errorf("%v, %v", picked, err)
	}
	if len(all) != 8 || all[0].name != nightjarName || all[1].name != floorName {
		t.Error("choosing has changed the list of all brokers")
	}
	if _, err := selectPeers(all, "nobody"); err == nil {
		t.Error("an unknown broker was accepted")
	}
	for _, bad := range []string{"x", "x=prog", "mochi=prog {port}"} {
		if _, err := knownPeers("/", "/", []string{bad}); err == nil {
			t.Errorf("-peer %q was accepted", bad)
		}
	}
}

// TestMissing: who is not installed fails the run, and is named.
func TestMissing(t *testing.T) {
	p := otherPeer("ghost", "no-such-program --port {port}")
	err := prepare(t.Context(), "/", t.TempDir(), []*peer{p})
	if err == nil || !strings.Contains(err.Error(), "ghost is missing") {
		t.Errorf("error: %v", err)
	}
}

// TestRun makes a whole comparison in miniature, with Debian's mosquitto and one that does not come up.
func TestRun(t *testing.T) {
	root, err := repository(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &settings{
		root: root, rounds: 1, most: 1, duration: 150 * time.Millisecond, warmup: 50 * time.Millisecond,
		doc: filepath.Join(dir, "performance.md"), history: dir,
	}
	all, err := knownPeers(root, dir, []string{"ended=true {port}"})
	if err != nil {
		t.Fatal(err)
	}
	peers, err := selectPeers(all, "floor,mosquitto,ended")
	if err != nil {
		t.Fatal(err)
	}
	if err := prepare(t.Context(), root, dir, peers); err != nil {
		t.Fatal(err)
	}
	rows, err := selectRows("pairs-32,connect")
	if err != nil {
		t.Fatal(err)
	}
	c := &comparison{settings: s, work: dir, rows: rows, peers: peers, started: time.Now()}
	if err := c.measure(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := 0
	for _, m := range c.results {
		switch {
		case m.Peer == "ended":
			ended++
			if !strings.Contains(m.Failed, "process has ended") {
				t.Errorf("the broker that ends at once: %q", m.Failed)
			}
		case m.Failed != "":
			t.Errorf("%s with %s: %s", m.Row, m.Peer, m.Failed)
		}
	}
	if ended != 2 || len(c.results) != 8 {
		t.Errorf("%d results, %d of them of the broker that ends", len(c.results), ended)
	}
	checkFiles(t, c, dir)
	if left, err := filepath.Glob(filepath.Join(dir, "mosquitto-*")); err != nil || len(left) > 0 {
		t.Errorf("directories left behind: %v, %v", left, err)
	}
}

func checkFiles(t *testing.T, c *comparison, dir string) {
	t.Helper()
	if err := c.write(false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.doc); !os.IsNotExist(err) {
		t.Errorf("an incomplete run was written into the document: %v", err)
	}
	if err := c.writeDocument(c.markdown()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(c.doc)
	if err != nil || !strings.Contains(string(text), "1 to 1, QoS 0, 32 messages per write") || strings.Contains(string(text), dir) {
		t.Errorf("%v, document:\n%s", err, text)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("history: %v, %v", files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var h history
	if err := json.Unmarshal(raw, &h); err != nil || len(h.Measurements) != len(c.results) || h.Peers[mosquittoName] == "" {
		t.Errorf("history: %v, %d measurements, %v", err, len(h.Measurements), h.Peers)
	}
}

func TestOutrun(t *testing.T) {
	c, r := fake(map[string][]float64{
		nightjarName:  {1, 1},
		mosquittoName: {90, 90},
		"mochi":       {10, 10},
		"aedes":       {16, 14}, // close once
		"nats":        {16, 17},
	})
	for i, want := range []bool{false, false, false, false, false, true} {
		if got := c.outrun(r, c.peers[i]); got != want {
			t.Errorf("%s is left out: %v", c.peers[i].name, got)
		}
	}
}
