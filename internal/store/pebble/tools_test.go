package pebble

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/nightjar-mqtt/nightjar/internal/core/message"
	"github.com/nightjar-mqtt/nightjar/internal/core/session"
	"github.com/nightjar-mqtt/nightjar/mqtt"
)

var update = flag.Bool("update", false, "write what the tests compare with anew")

// forget is a Loader that is not interested.
type forget struct{}

func (forget) Session(*session.Record)                                   {}
func (forget) Group(session.Key, string, string)                         {}
func (forget) Subscription(session.Key, string, mqtt.SubOptions, uint32) {}
func (forget) Queue(session.Key, uint64, uint64, int)                    {}
func (forget) Released(session.Key, uint64)                              {}
func (forget) Received(session.Key, uint16, *message.Message)            {}
func (forget) Will(session.Key, *session.Will)                           {}
func (forget) Retained(*message.Message)                                 {}

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

func opened(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir, Logger: silent, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(forget{}); err != nil {
		t.Fatal(err)
	}
	return s
}

func closed(t *testing.T, s io.Closer) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func committed(t *testing.T, s *Store, fill func(b session.Batch)) {
	t.Helper()
	b := s.NewBatch()
	fill(b)
	done := make(chan error, 1)
	b.Commit(func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func text(topic, payload string, qos byte) *message.Message {
	m := &message.Message{Topic: topic, Payload: []byte(payload), QoS: qos, From: &message.Identity{ClientID: "pub", Username: "carol"}}
	return m.MarkOwned()
}

// filled makes a store with something of each kind in it.
func filled(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "store")
	s := opened(t, dir)
	const first = 1 << session.RunShift
	committed(t, s, func(b session.Batch) {
		b.PutSession(&session.Record{Key: first, ClientID: "c", Username: "alice", Expiry: 3600, Left: 1_700_000_000_000})
		b.PutSession(&session.Record{Key: first + 1, ClientID: "d", Expiry: session.NeverExpires})
		b.PutGroup(first+2, "g", "jobs/#")
		b.PutSubscription(first, "a/#", 1|mqtt.SubNoLocal|mqtt.SubRetainAsPublished, 7)
		b.PutSubscription(first+1, "a/+", 2|2<<4, 0)
		b.PutReceived(first, 9, text("in", "received", 2))
		b.PutReceived(first, 10, nil)
		b.PutWill(first+1, &session.Will{M: text("will", "gone", 0), Due: 1_800_000_000_000, Expiry: 5, Expires: true})
		both := text("a/b", "for both", 1)
		both.Props = []byte{3, 0, 1, 'x'}
		both.Expires = 1_900_000_000_000
		b.Enqueue(first, first, &session.Queued{M: both, QoS: 1, SubIDs: []uint32{7}})
		b.Enqueue(first+1, first, &session.Queued{M: both, QoS: 1, Retain: true})
		b.Enqueue(first, first+1, &session.Queued{M: text("a/b", "\xff\x00", 2), QoS: 1, Group: first + 2})
		b.Enqueue(first, first+2, &session.Queued{M: text("a/c", "released", 2), QoS: 2})
		b.Enqueue(first+2, first, &session.Queued{M: text("jobs/1", "job", 1), QoS: 1})
		kept := text("r", "kept", 1)
		kept.Retain, kept.Seq = true, 1
		b.PutRetained(kept)
	})
	committed(t, s, func(b session.Batch) { b.Release(first, first+2) })
	closed(t, s)
	return dir
}

func reader(t *testing.T, dir string) *Reader {
	t.Helper()
	r, err := OpenReader(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func dump(t *testing.T, dir string, payload bool) (people, programs string) {
	t.Helper()
	r := reader(t, dir)
	defer closed(t, r)
	err := r.Dump(payload, func(l *Line) error {
		b, err := json.Marshal(l)
		people += l.String() + "\n"
		programs += string(b) + "\n"
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return people, programs
}

func report(t *testing.T, dir string) *Report {
	t.Helper()
	r := reader(t, dir)
	defer closed(t, r)
	rep, err := r.Check()
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestContents(t *testing.T) {
	r := reader(t, filled(t))
	defer closed(t, r)
	got, err := r.Contents()
	if err != nil {
		t.Fatal(err)
	}
	if got.Disk == 0 || got.QueueBytes == 0 || got.RetainedBytes == 0 {
		t.Errorf("sizes: %+v", got)
	}
	got.Disk, got.QueueBytes, got.RetainedBytes, got.Directory = 0, 0, 0, ""
	want := &Contents{
		Format: 1, Run: 1, Sessions: 2, Groups: 1, Subscriptions: 2, Queued: 4, Released: 1, Received: 2, Wills: 1, Retained: 1,
		Inline: 2, Shared: 1, Segments: 1,
		Longest: []QueueLength{{Client: "c", Messages: 2}, {Group: "g", Filter: "jobs/#", Messages: 1}, {Client: "d", Messages: 1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDump(t *testing.T) {
	dir := filled(t)
	for name, payload := range map[string]bool{"dump": false, "dump-payload": true} {
		people, programs := dump(t, dir, payload)
		golden(t, "testdata/"+name+".txt", people)
		golden(t, "testdata/"+name+".json", programs)
	}
	for _, secret := range []string{"for both", "received", "kept", "gone", "job\""} {
		people, programs := dump(t, dir, false)
		if secret != "received" && (strings.Contains(people, secret) || strings.Contains(programs, secret)) {
			t.Errorf("%q is shown without being asked for", secret)
		}
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// Nothing is wrong with a store as the engine writes it.
func TestCheck(t *testing.T) {
	rep := report(t, filled(t))
	if rep.Count > 0 || len(rep.Notes) > 0 || rep.Read < 15 {
		t.Errorf("%+v", rep)
	}
}

// Each kind of damage is found.
func TestCheckFinds(t *testing.T) {
	const first = 1 << session.RunShift
	type db = *pebble.DB
	set := func(key, value []byte) func(db) error {
		return func(d db) error { return d.Set(key, value, pebble.Sync) }
	}
	clear := func(key []byte) func(db) error { return func(d db) error { return d.Delete(key, pebble.Sync) } }
	segment := uint64(1 << segmentShift)
	for _, c := range []struct {
		name   string
		damage func(db) error
		want   string // a problem, or "note: " and a note
	}{
		{"text of a shared message", clear(appendBody(nil, segment, 0)), `message 1099511627776 in the queue, client "c": its text, number 0 of segment 4294967296, is not there`},
		{"count too high", func(d db) error { return d.Merge(appendKey(nil, spaceCount, segment), []byte{2}, pebble.Sync) },
			"segment 4294967296: 2 queue entries refer to it, its count says 3"},
		{"count missing", clear(appendKey(nil, spaceCount, segment)), "segment 4294967296: 2 queue entries refer to it, its count says 0"},
		{"count of nothing", set(appendKey(nil, spaceCount, 99), []byte{4}), "segment 99: no queue entry refers to it, its count says 2"},
		{"session", set(appendKey(nil, spaceSession, first), []byte{200}), "session, key 1099511627776: a value has a form that nothing writes"},
		{"no client id", set(appendKey(nil, spaceSession, first), appendRecord(nil, &session.Record{})), `"" is no client id`},
		{"subscription", set(append(appendPart(nil, first, partFilter), "x"...), nil), `subscription to "x", client "c": a value has a form`},
		{"part of no kind", set(appendPart(nil, first, 'z'), nil), `a value has a form that nothing writes`},
		{"message", set(appendQueue(nil, first, first+1), []byte{1, 0x80, 200}), `message 1099511627777 in the queue, client "c": a value has a form`},
		{"topic", set(appendQueue(nil, first, first+1), appendMessage([]byte{1}, text("#", "", 1), true)), `message 1099511627777 in the queue, client "c": `},
		{"retained without number", set([]byte("tr"), appendMessage(nil, text("", "x", 1), false)), `retained message of "r": it has no sequence number`},
		{"unknown", set([]byte("x123456789"), nil), `key "x123456789": no such keys are written by this version`},
		{"short", set([]byte("q1"), nil), `key "q1": it is too short`},
		{"released and queued", set(appendReleased(nil, first, first+1), nil), "message 1099511627777 of released QoS 2 message"},
		{"two sessions", set(appendKey(nil, spaceSession, first+9), appendRecord(nil, &session.Record{ClientID: "c"})), `note: client "c" has two sessions`},
		{"nobody's", set(append(appendPart(nil, 77, partFilter), "x"...), []byte{0, 0}), "note: 1 sessions or groups that are no more have left something"},
		{"not swept", set(appendKey(nil, spaceDeleted, 77), nil), "note: what 1 ended sessions and groups had is not swept yet"},
		{"wasted", set(appendBody(nil, 99, 1), appendMessage(nil, text("t", "", 0), true)), "note: 1 segments hold messages that nothing refers to"},
	} {
		dir := filled(t)
		d, err := pebble.Open(dir, &pebble.Options{Merger: counter, Logger: quiet{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.damage(d), d.Close()); err != nil {
			t.Fatal(err)
		}
		rep := report(t, dir)
		found := slices.Clone(rep.Problems)
		for _, n := range rep.Notes {
			found = append(found, "note: "+n)
		}
		if !slices.ContainsFunc(found, func(s string) bool { return strings.Contains(s, c.want) }) {
			t.Errorf("%s: found %q\nwant %q", c.name, found, c.want)
		}
		if wantNote := strings.HasPrefix(c.want, "note: "); wantNote != (rep.Count == 0) {
			t.Errorf("%s: %d problems: %q", c.name, rep.Count, rep.Problems)
		}
	}
}

// A byte that the disk has changed is found by its block's checksum.
func TestCheckFindsDamagedFile(t *testing.T) {
	dir := filled(t)
	s := opened(t, dir)
	if err := s.Compact(t.Context()); err != nil { // what is in the log is in a table then
		t.Fatal(err)
	}
	closed(t, s)
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("%v, %v", tables, err)
	}
	for _, file := range tables {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b[20] ^= 0xFF
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if rep := report(t, dir); rep.Count == 0 || !strings.Contains(strings.Join(rep.Problems, "\n"), filepath.Base(tables[0])+" is damaged") {
		t.Errorf("%+v", rep)
	}
}

func TestOpenReaderRefuses(t *testing.T) {
	empty := t.TempDir()
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "photo.jpg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inUse := filled(t)
	s := opened(t, inUse)
	defer closed(t, s)
	newer := filled(t)
	if err := writeFormat(vfs.Default, newer, format+1); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		filepath.Join(empty, "none"): "there is no store, and no such directory",
		empty:                        "there is no store in the directory",
		other:                        "photo.jpg is in it",
		inUse:                        ErrInUse.Error(),
		newer:                        fmt.Sprintf("the store has format %d, this program knows up to %d: it was written by a newer one", format+1, format),
	} {
		r, err := OpenReader(t.Context(), dir)
		if err == nil {
			r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
		if errors.Is(err, ErrInUse) != (dir == inUse) {
			t.Errorf("%s: in use? %v", dir, err)
		}
	}
	if _, err := Open(Options{Dir: newer, Logger: silent}); err == nil || !strings.Contains(err.Error(), "written by a newer one") {
		t.Errorf("Open of a newer format: %v", err)
	}
}

// A copy is the store, and does not change with it; nothing is overwritten.
func TestCopy(t *testing.T) {
	dir := filled(t)
	want, _ := dump(t, dir, true)
	to := filepath.Join(t.TempDir(), "backup")
	if err := Copy(dir, to); err != nil {
		t.Fatal(err)
	}
	if got, _ := dump(t, to, true); got != want {
		t.Errorf("the copy has\n%s\nwant\n%s", got, want)
	}
	if err := Copy(dir, to); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("over another: %v", err)
	}
	s := opened(t, dir)
	if err := Copy(dir, to+"2"); !errors.Is(err, ErrInUse) {
		t.Errorf("of one in use: %v", err)
	}
	if _, err := os.Stat(to + "2"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy that failed has left something: %v", err)
	}
	// While it runs it makes the copy itself.
	if err := s.Checkpoint(to + "2"); err != nil {
		t.Fatal(err)
	}
	committed(t, s, func(b session.Batch) { b.DeleteSession(1 << session.RunShift) })
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	if got, _ := dump(t, to+"2", true); got != want {
		t.Errorf("the checkpoint has\n%s\nwant\n%s", got, want)
	}
	if now, _ := dump(t, dir, true); now == want {
		t.Error("the store has not changed")
	}
}

func TestMake(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	failed := errors.New("no")
	var inside string
	err := Make(dir, func(d string) error {
		inside = d
		return errors.Join(failed, os.WriteFile(filepath.Join(d, "MANIFEST-1"), nil, 0o600))
	})
	if !errors.Is(err, failed) {
		t.Errorf("%v, want %v", err, failed)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what failed has left %s", dir)
	}
	// A process that was killed leaves something that is no store, and that is no hindrance.
	if err := os.MkdirAll(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, Logger: silent}); err == nil || !strings.Contains(err.Error(), unfinished) {
		t.Errorf("Open of what is unfinished: %v", err)
	}
	// The same while it moved the files.
	for _, name := range []string{"MANIFEST-000001", "000005.sst", "marker.manifest.1"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	from := filled(t)
	if err := Copy(from, dir); err != nil {
		t.Error(err)
	}
	closed(t, opened(t, dir))
	if rep := report(t, dir); rep.Count > 0 {
		t.Errorf("%+v", rep)
	}
	// What is not Make's is not touched.
	for _, name := range []string{"photo.jpg", formatFile} {
		dir := t.TempDir()
		for _, there := range []string{name, "000005.sst", unfinished} {
			if err := os.WriteFile(filepath.Join(dir, there), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := Copy(from, dir); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("with %s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "000005.sst")); err != nil {
			t.Errorf("with %s: %v", name, err)
		}
	}
}

// A store that the first version of the format wrote opens, for good; with the format's next version, upgraded.
func TestFormat1(t *testing.T) {
	const kept = "testdata/format1"
	if _, err := os.Stat(kept); *update && format == 1 && err != nil { // what is there stays for good
		from := filled(t)
		s := opened(t, from)
		err = s.Compact(t.Context()) // so that there are tables
		committed(t, s, func(b session.Batch) { b.PutGroup(1<<session.RunShift+2, "g", "jobs/#") })
		closed(t, s)
		if err = errors.Join(err, Copy(from, kept)); err != nil {
			t.Fatal(err)
		}
		os.Remove(filepath.Join(kept, "LOCK"))
	}
	dir := filepath.Join(t.TempDir(), "store")
	if err := os.CopyFS(dir, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	closed(t, opened(t, dir))
	people, _ := dump(t, dir, true)
	want, err := os.ReadFile("testdata/dump-payload.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), people); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if rep := report(t, dir); rep.Count > 0 {
		t.Errorf("%+v", rep)
	}
}
