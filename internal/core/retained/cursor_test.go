package retained

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
)

func TestCursorExamples(t *testing.T) {
	s := New()
	for _, topic := range []string{"a", "a/b", "a/b/c", "a/c", "a-x", "a-x/b", "b/b", "/a", "/", "$SYS/a", "$SYS", "$", "a/$x"} {
		s.Set(msg(topic, "x", 0), nil)
	}
	for _, c := range []struct {
		filter string
		want   []string
	}{
		{"a", []string{"a"}},
		{"c", nil},
		{"a/#", []string{"a", "a/$x", "a/b", "a/b/c", "a/c"}},
		{"a/+", []string{"a/$x", "a/b", "a/c"}},
		{"+/b", []string{"a/b", "a-x/b", "b/b"}},
		{"+/b/#", []string{"a/b", "a/b/c", "a-x/b", "b/b"}},
		{"+", []string{"a", "a-x"}},
		{"+/+", []string{"/", "/a", "a/$x", "a/b", "a/c", "a-x/b", "b/b"}},
		{"/+", []string{"/", "/a"}},
		{"#", []string{"/", "/a", "a", "a/$x", "a/b", "a/b/c", "a/c", "a-x", "a-x/b", "b/b"}},
		{"$SYS/#", []string{"$SYS", "$SYS/a"}},
		{"$SYS/+", []string{"$SYS/a"}},
		{"$", []string{"$"}},
		{"+/+/+/+", nil},
		{"z/#", nil},
	} {
		for _, max := range []int{1, 2, 100} {
			if got := names(all(t, s.Cursor(c.filter), 0, max)); !slices.Equal(got, c.want) {
				t.Errorf("%q, %d at a time: %q, want %q", c.filter, max, got, c.want)
			}
		}
	}
}

func TestCursorSkipsWhatIsNewer(t *testing.T) {
	s := New()
	for _, topic := range []string{"a", "b", "c", "d"} {
		s.Set(msg(topic, "old", 0), nil)
	}
	c := s.Cursor("#")
	got, _ := c.Next(0, 1, nil)
	s.Set(msg("b", "new", 0), nil) // comes as a live message
	s.Set(msg("bb", "new", 0), nil)
	s.Set(msg("c", "", 0), nil)
	s.Set(msg("a", "", 0), nil) // the position itself
	got = append(got, all(t, c, 0, 1)...)
	if want := []string{"a", "d"}; !slices.Equal(names(got), want) {
		t.Fatalf("%q, want %q", names(got), want)
	}
	if again, done := c.Next(0, 10, nil); len(again) != 0 || !done {
		t.Fatalf("a cursor at its end gave %q, done %v", names(again), done)
	}
}

var levels = []string{"a", "b", "ab", "", "$S", "a-", "longer-than-eight"}

func topicOf(r *rand.Rand) string {
	l := make([]string, 1+r.IntN(4))
	for i := range l {
		l[i] = levels[r.IntN(len(levels))]
	}
	if len(l) == 1 && l[0] == "" {
		return "a"
	}
	return strings.Join(l, "/")
}

func filterOf(r *rand.Rand) string {
	l := strings.Split(topicOf(r), "/")
	for i := range l {
		if r.IntN(3) == 0 {
			l[i] = "+"
		}
	}
	if r.IntN(4) == 0 {
		l[len(l)-1] = "#"
	}
	return strings.Join(l, "/")
}

// walking is a cursor under way, and what the oracle knows of it.
type walking struct {
	c      *Cursor
	filter string
	start  map[string]*message.Message // what matched when it was made
	got    []*message.Message
}

// check compares a finished walk: each message that was there from first to last came once, in order; nothing came that
// was not there at first.
func (w *walking) check(t *testing.T, s *Store, now int64) {
	t.Helper()
	seen := map[string]bool{}
	for i, m := range w.got {
		if w.start[m.Topic] != m || seen[m.Topic] {
			t.Fatalf("%q gave %q twice or newer than the cursor", w.filter, m.Topic)
		}
		if seen[m.Topic] = true; i > 0 && compare(w.got[i-1].Topic, m.Topic) >= 0 {
			t.Fatalf("%q gave %q after %q", w.filter, m.Topic, w.got[i-1].Topic)
		}
	}
	for topic, m := range w.start {
		if s.Get(topic, now) == m && !seen[topic] {
			t.Fatalf("%q did not give %q, which was there all the time", w.filter, topic)
		}
	}
}

// Random changes, with cursors under way.
func TestAgainstOracle(t *testing.T) {
	for seed := range uint64(30) {
		r, s, now := rand.New(rand.NewPCG(seed, 7)), New(), int64(1000)
		m := map[string]*message.Message{}
		var walks []*walking
		for range 3000 {
			switch op := r.IntN(10); {
			case op < 5:
				topic, payload, expires := topicOf(r), "x", int64(0)
				if r.IntN(3) == 0 {
					payload = ""
				} else if r.IntN(3) == 0 {
					expires = now + r.Int64N(300)
				}
				if old, _ := s.Set(msg(topic, payload, expires), nil); (old != nil) != (m[topic] != nil) {
					t.Fatalf("seed %d: Set(%q) = %v", seed, topic, old)
				}
				if delete(m, topic); payload != "" {
					m[topic] = s.topicMessage(topic)
				}
			case op == 5:
				now += r.Int64N(20)
				for _, e := range s.Expire(now, 1+r.IntN(5)) {
					if m[e.Topic] != e || !e.Expired(now) {
						t.Fatalf("seed %d: Expire gave %q, which is not current or not over", seed, e.Topic)
					}
					delete(m, e.Topic)
				}
			case op == 6:
				w := &walking{filter: filterOf(r), start: map[string]*message.Message{}}
				for topic, v := range m {
					if fits(w.filter, topic) {
						w.start[topic] = v
					}
				}
				w.c = s.Cursor(w.filter)
				walks = append(walks, w)
			default:
				if len(walks) == 0 {
					continue
				}
				i := r.IntN(len(walks))
				w := walks[i]
				var done bool
				if w.got, done = w.c.Next(now, 1+r.IntN(6), w.got); done {
					w.check(t, s, now)
					walks = slices.Delete(walks, i, i+1)
				}
			}
		}
		size := int64(0)
		for topic, v := range m {
			if size += int64(v.Size()); s.topicMessage(topic) != v {
				t.Fatalf("seed %d: %q is not what was set last", seed, topic)
			}
		}
		if s.Len() != len(m) || s.Bytes() != size {
			t.Fatalf("seed %d: %d messages of %d bytes, want %d of %d", seed, s.Len(), s.Bytes(), len(m), size)
		}
	}
}

// topicMessage is Get whatever the time.
func (s *Store) topicMessage(topic string) *message.Message { return s.Get(topic, 0) }

// fleet fills a store with devices of ten topics each.
func fleet(devices int) *Store {
	s := New()
	s.Load(func(yield func(*message.Message) bool) {
		for i := range devices * 10 {
			m := msg(fmt.Sprintf("fleet/%03d/device-%06d/%s", i/10%500, i/10, leaf[i%10]), "on", 0)
			m.Seq = uint64(i + 1)
			if !yield(m) {
				return
			}
		}
	})
	return s
}

var leaf = []string{"state", "temp", "battery", "version", "rssi", "errors", "uptime", "name", "place", "owner"}

// The cost of a walk follows from what matches, not from what the store holds; and no call goes beyond its bound.
func TestWorkIsProportionalAndBounded(t *testing.T) {
	s := fleet(5000)
	for _, c := range []struct {
		filter         string
		want, maxVisit int
	}{
		{"fleet/007/device-000507/state", 1, 2},
		{"fleet/007/device-000507/#", 10, 11},
		{"fleet/007/+/battery", 10, 31}, // per device: jump past those before, the match, jump to the next device
		{"fleet/+/+/battery", 5000, 3*5000 + 501},
		{"fleet/+", 0, 501},
		{"nowhere/+/battery", 0, 1},
		{"+/007/device-000507/battery", 1, 6},
		{"fleet/007/device-000507", 0, 1},
		{"#", 50_000, 50_000},
	} {
		cur, got := s.Cursor(c.filter), 0
		for done := false; !done; {
			before := cur.visits
			var msgs []*message.Message
			msgs, done = cur.Next(0, 16, nil)
			if got += len(msgs); cur.visits-before > 8*16+64 {
				t.Fatalf("%q: one call looked at %d topics", c.filter, cur.visits-before)
			}
		}
		if got != c.want || cur.visits > c.maxVisit {
			t.Errorf("%q: %d messages with %d topics looked at, want %d with %d at most", c.filter, got, cur.visits, c.want, c.maxVisit)
		}
	}
}
