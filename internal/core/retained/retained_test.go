package retained

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
)

func msg(topic, payload string, expires int64) *message.Message {
	return (&message.Message{Topic: topic, Payload: []byte(payload), Expires: expires, Retain: true}).MarkOwned()
}

// fits is the oracle: MQTT 5 §4.7 on split strings.
func fits(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	if f[len(f)-1] == "#" {
		f = f[:len(f)-1]
		if len(t) < len(f) {
			return false
		}
		t = t[:len(f)]
	}
	return slices.EqualFunc(f, t, func(f, t string) bool { return f == "+" || f == t })
}

// all reads a cursor to its end, n at a time.
func all(t *testing.T, c *Cursor, now int64, n int) (got []*message.Message) {
	t.Helper()
	for done := false; !done; {
		before := len(got)
		got, done = c.Next(now, n, got)
		if len(got)-before > n {
			t.Fatalf("Next(max %d) gave %d messages", n, len(got)-before)
		}
	}
	return got
}

func names(msgs []*message.Message) (list []string) {
	for _, m := range msgs {
		list = append(list, m.Topic)
	}
	return list
}

func TestSetReplacesAndDeletes(t *testing.T) {
	s, seqs := New(), []uint64{}
	note := func(seq uint64) { seqs = append(seqs, seq) }
	first, second := msg("a", "1", 0), msg("a", "22", 0)
	set := func(m *message.Message) (existed bool) { old, _ := s.Set(m, note); return old != nil }
	if set(first) || !set(second) {
		t.Fatal("Set told wrongly whether a message existed")
	}
	got := s.Get("a", 0)
	if string(got.Payload) != "22" || got.Seq != 2 || second.Seq != 0 {
		t.Fatalf("Get = %q with Seq %d (handed in: %d), want 22 with 2 (0)", got.Payload, got.Seq, second.Seq)
	}
	if s.Len() != 1 || s.Bytes() != int64(second.Size()) {
		t.Fatalf("%d messages of %d bytes, want 1 of %d", s.Len(), s.Bytes(), second.Size())
	}
	if set(msg("b", "", 0)) || !set(msg("a", "", 0)) || s.Get("a", 0) != nil {
		t.Fatal("an empty payload did not delete, or deleted what was not there")
	}
	if s.Len() != 0 || s.Bytes() != 0 || !slices.Equal(seqs, []uint64{1, 2, 3, 4}) {
		t.Fatalf("%d messages of %d bytes left, sequence %v; want none, 1 to 4", s.Len(), s.Bytes(), seqs)
	}
}

// A message decoded in place is copied: the read buffer is overwritten next.
func TestSetCopiesWhatIsBorrowed(t *testing.T) {
	s, buf := New(), []byte("topicpayload")
	s.Set(&message.Message{Topic: message.BorrowString(buf[:5]), Payload: buf[5:]}, nil)
	copy(buf, "XXXXXXXXXXXX")
	if m := s.Get("topic", 0); m == nil || string(m.Payload) != "payload" || m.Seq != 1 {
		t.Fatalf("Get = %+v, want the message as it was when it was set", m)
	}
}

// DESIGN: sequence number and hand-over to the committer lie under one lock, so memory and disk agree.
func TestOrderedIsCalledInTheOrderOfTheChanges(t *testing.T) {
	s := New()
	disk, last := map[string]string{}, uint64(0)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 500 {
				topic, payload := fmt.Sprint("t/", i%5), fmt.Sprint(w, "/", i)
				if i%11 == 0 {
					payload = ""
				}
				s.Set(msg(topic, payload, 0), func(seq uint64) { // no lock of its own: the race detector watches
					if seq != last+1 {
						t.Errorf("sequence %d after %d", seq, last)
					}
					last, disk[topic] = seq, payload
				})
			}
		})
	}
	wg.Wait()
	for topic, payload := range disk {
		got := ""
		if m := s.Get(topic, 0); m != nil {
			got = string(m.Payload)
		}
		if got != payload {
			t.Errorf("%s: %q in memory, %q on disk", topic, got, payload)
		}
	}
}

func TestExpiry(t *testing.T) {
	s := New()
	s.Set(msg("c", "x", 300), nil)
	s.Set(msg("a", "x", 100), nil)
	s.Set(msg("b", "x", 200), nil)
	s.Set(msg("never", "x", 0), nil)
	s.Set(msg("a", "later", 250), nil) // replaced: the first time no longer counts
	s.Set(msg("gone", "x", 10), nil)
	s.Set(msg("gone", "", 0), nil)
	if s.Get("b", 199) == nil || s.Get("b", 200) != nil {
		t.Error("b does not end exactly at 200")
	}
	if got := names(all(t, s.Cursor("#"), 250, 10)); !slices.Equal(got, []string{"c", "never"}) {
		t.Errorf("a cursor at 250 gives %q, want c and never", got)
	}
	for _, step := range []struct {
		now  int64
		max  int
		want []string
	}{
		{199, 10, nil},
		{260, 1, []string{"b"}},
		{50, 10, nil}, // a clock that steps back expires nothing
		{300, 10, []string{"a", "c"}},
		{1 << 60, 10, nil},
	} {
		if got := names(s.Expire(step.now, step.max)); !slices.Equal(got, step.want) {
			t.Errorf("Expire(%d, %d) = %q, want %q", step.now, step.max, got, step.want)
		}
	}
	if s.Len() != 1 || s.Bytes() != int64(msg("never", "x", 0).Size()) {
		t.Errorf("%d messages of %d bytes left, want the one that never expires", s.Len(), s.Bytes())
	}
}

// A replaced message must not stay in the queue, where it would hold its payload until its time has come.
func TestExpiryQueueHoldsNothingReplaced(t *testing.T) {
	s := New()
	for i := range 1000 {
		s.Set(msg(fmt.Sprint(i%3), "x", int64(10_000+i)), nil)
	}
	if n := len(s.expiries.order); n != 3 || len(s.expiries.places) > 5 {
		t.Fatalf("%d queued in %d places for 3 messages", n, len(s.expiries.places))
	}
}

func TestLoad(t *testing.T) {
	s := New()
	old, tomb := msg("a", "old", 0), msg("z", "", 0)
	current, b := msg("a", "new", 500), msg("b", "x", 0)
	old.Seq, current.Seq, b.Seq, tomb.Seq = 3, 9, 5, 12
	s.Load(slices.Values([]*message.Message{b, current, old, tomb}))
	if m := s.Get("a", 0); m == nil || string(m.Payload) != "new" || m.Seq != 9 {
		t.Fatalf("Get(a) = %+v, want the message with the highest Seq", m)
	}
	if s.Len() != 2 || s.Bytes() != int64(current.Size()+b.Size()) {
		t.Fatalf("%d messages of %d bytes, want 2 of %d", s.Len(), s.Bytes(), current.Size()+b.Size())
	}
	s.Set(msg("n", "x", 0), func(seq uint64) {
		if seq != 13 {
			t.Errorf("the first Seq after a load up to 12 is %d", seq)
		}
	})
	if got := names(s.Expire(500, 10)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("Expire gives %q, want a", got)
	}
}

func TestOrder(t *testing.T) {
	want := []string{"", "/", "//", "/a", " ", "a", "a/", "a//", "a/b", "a/b/c", "a/b ", "a/bb", "a ", "a-", "a.", "a0", "aa",
		"abcdefgh", "abcdefgh/x", "abcdefgh/xabcdefgh", "abcdefgh-x", "abcdefghi", "ä"}
	got := slices.Clone(want)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
	slices.SortFunc(got, compare)
	if !slices.Equal(got, want) {
		t.Fatalf("sorted: %q\n  want: %q", got, want)
	}
	r := rand.New(rand.NewPCG(2, 2))
	word := func() string {
		b := make([]byte, r.IntN(20))
		for i := range b {
			b[i] = "//ab-"[r.IntN(5)]
		}
		return string(b)
	}
	for range 5000 { // levels compared one by one, missing ones first, say the same
		a, b := word(), word()
		want := slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
		if got := cmp.Compare(compare(a, b), 0); got != want && (a != "" && b != "") {
			t.Fatalf("compare(%q, %q) = %d, want %d", a, b, got, want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	s, stop := New(), make(chan struct{})
	s.Set(msg("k/stays/1", "x", 0), nil)
	s.Set(msg("k/stays/2", "x", 0), nil)
	var writers, readers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for i := range 4000 {
				payload := "x"
				if i%3 == 0 {
					payload = ""
				}
				s.Set(msg(fmt.Sprintf("k/%d-%d/1", w, i%200), payload, int64(i%2*i)), nil)
				if i%100 == 0 {
					s.Expire(int64(i), 50)
				}
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := 0
				c, done := s.Cursor("k/+/1"), false
				for !done {
					var got []*message.Message
					got, done = c.Next(0, 7, nil)
					for _, m := range got {
						if m.Topic == "k/stays/1" {
							n++
						}
					}
				}
				if n != 1 || s.Len() < 2 || s.Bytes() <= 0 || s.Get("k/stays/2", 0) == nil {
					t.Errorf("a message that was there all the time came %d times", n)
					return
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}
