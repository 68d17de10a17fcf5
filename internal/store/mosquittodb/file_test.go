package mosquittodb_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nightjar-mqtt/nightjar/internal/store/mosquittodb"
)

var update = flag.Bool("update", false, "write the golden files anew")

// read shows all chunks of a file.
func read(data []byte) (out []string, err error) {
	r, err := mosquittodb.NewReader(bytes.NewReader(data), int64(len(data)))
	for err == nil {
		var c mosquittodb.Chunk
		if c, err = r.Next(); err == nil {
			out = append(out, show(c))
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return out, err
}

func show(c mosquittodb.Chunk) string {
	switch {
	case c.Message != nil:
		m := c.Message
		return fmt.Sprintf("message %d %s %q %q QoS %d retain %v from %s/%s until %d",
			m.ID, m.Topic, m.Payload, m.Properties, m.QoS, m.Retain, m.SourceID, m.SourceUsername, m.Expires)
	case c.Client != nil:
		return fmt.Sprintf("client %+v", *c.Client)
	case c.ClientMessage != nil:
		return fmt.Sprintf("client message %+v", *c.ClientMessage)
	case c.Retained != nil:
		return fmt.Sprintf("retained %d", c.Retained.MessageID)
	case c.Subscription != nil:
		return fmt.Sprintf("subscription %+v", *c.Subscription)
	}
	return fmt.Sprintf("unknown at %d", c.Offset)
}

func filled(username string) []string {
	return []string{
		`message 1 a/b "one" "\x04\x03\x00\x01x" QoS 1 retain false from pub/carol until 0`,
		`message 2 r "two" "" QoS 2 retain true from / until 4000000000`,
		`client {ID:c Username:` + username + ` Ends:2000000000 Expiry:3600}`,
		`client message {ClientID:c MessageID:1 PacketID:300 QoS:1 State:3 Retain:false Dup:true Incoming:false Properties:[]}`,
		`client message {ClientID:c MessageID:2 PacketID:301 QoS:2 State:11 Retain:true Dup:false Incoming:false Properties:[2 11 5]}`,
		`subscription {ClientID:c Filter:a/# QoS:2 Options:12 Identifier:5}`,
		`retained 2`,
	}
}

// The golden files keep the format from changing in the reader and in the tests' writer together.
func TestGolden(t *testing.T) {
	for name, f := range map[string]*builder{
		"version5.db":        build(5),
		"version5-narrow.db": buildFor(5, binary.LittleEndian, true),
		"version6.db":        build(6),
		"version6-narrow.db": buildFor(6, binary.LittleEndian, true),
		"version6-big.db":    buildFor(6, binary.BigEndian, false),
	} {
		file := "testdata/" + name
		f.fill()
		if *update {
			if err := os.WriteFile(file, f.b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, f.b) {
			t.Errorf("%s is not what the tests' writer writes", name)
		}
		user := ""
		if f.version == 6 {
			user = "alice"
		}
		got, err := read(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(filled(user), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A file cut anywhere is refused, unless it ends between two chunks.
func TestCut(t *testing.T) {
	whole := build(6).fill().b
	between := 0
	for n := range whole {
		got, err := read(whole[:n])
		var e *mosquittodb.Error
		switch {
		case err == nil:
			if between++; len(got) != between-1 {
				t.Errorf("cut at %d: %d chunks", n, len(got))
			}
		case !errors.As(err, &e):
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	if between != 7 {
		t.Errorf("%d cuts are taken for ends, want 7", between)
	}
}

func TestRefused(t *testing.T) {
	type b = builder
	ok := func() *b { return build(6) }
	raw := func(s string) []byte { return []byte(s) }
	versioned := func(v int) []byte { return build(v).b }
	add := func(kind int, body string) []byte { return chunk(ok().b, kind, []byte(body)) }
	long := strings.Repeat("\x00", 32)
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "at byte 0: the file is empty: Mosquitto has not saved anything to it"},
		{"SQLite", raw("SQLite format 3\x00 and so on and on"), "this is an SQLite database"},
		{"another file", raw("not a file of Mosquitto's at all"), "this is not a mosquitto.db"},
		{"short", raw("\x00\xb5\x00mosq"), "this is not a mosquitto.db"},
		{"version 4", versioned(4), "at byte 19: its format is version 4, which Mosquitto 1.5 and earlier wrote"},
		{"version 7", versioned(7), "at byte 19: its format is version 7, which is newer than 6"},
		{"header alone", ok().b[:23], "at byte 23: the file ends behind its header"},
		{"no configuration", chunk(ok().b[:23], 4, raw("12345678")), "the first chunk is of kind 4"},
		{"odd configuration", chunk(ok().b[:23], 1, raw("12345678901234")), "its length is 14, 16 or 12 was expected"},
		{"ids of 4 bytes", (&b{b: ok().b[:23], order: binary.LittleEndian}).config(1, 4), "message ids have 4 bytes there"},
		{"second configuration", ok().config(1, 8), "at byte 47: chunk (configuration): a second one"},
		{"chunk beyond the end", be32(be32(ok().b, 2), 1_000_000_000), "at byte 47: chunk (message): it is said to have 1000000000 bytes, but the file ends after 0"},
		{"message too short", add(2, long[:31]), "chunk (message): it has 31 bytes only"},
		{"client too short", add(6, long[:23]), "chunk (client): it has 23 bytes only"},
		{"retained too long", add(4, long[:9]), "chunk (retained message): it is 1 bytes longer than what is in it"},
		{"topic too long", add(2, long[:26]+"\x00\x05"+long[:4]+"abcd"), "its topic is said to have 5 bytes, but 4 are left"},
		{"payload too long", add(2, long[:16]+"\x10\x00\x00\x00"+long[:12]), "its payload is said to have 268435456 bytes"},
		{"payload past the chunk", add(2, long[:16]+"\x00\x00\x00\x09"+long[:12]), "its payload is said to have 9 bytes, but 0 are left"},
		{"QoS 3", add(2, long[:30]+"\x03\x00"), "its QoS is 3"},
		{"time", add(2, long[:15]+"\x01"+long[:16]), "it expires at 72057594037927936, which is no time"},
		{"direction", add(3, long[:15]+"\x02"), "its direction is 2"},
	} {
		_, err := read(c.data)
		var e *mosquittodb.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant ...%s...", c.name, err, c.want)
		}
	}
	// What Mosquitto skips is skipped.
	got, err := read(add(17, "whatever"))
	if err != nil || len(got) != 1 || got[0] != "unknown at 47" {
		t.Errorf("unknown chunk: %v, %v", got, err)
	}
}

// A length in a damaged file does not make the reader take memory for it.
func TestLengthIsNotBelieved(t *testing.T) {
	data := be32(be32(build(6).b, 2), 268_000_000)
	allocs := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if _, err := read(data); err == nil {
				b.Fatal("no error")
			}
		}
	})
	if allocs.AllocedBytesPerOp() > 200_000 {
		t.Errorf("%d bytes were taken for a file of %d", allocs.AllocedBytesPerOp(), len(data))
	}
}

func FuzzReader(f *testing.F) {
	for _, v := range []int{5, 6} {
		for _, narrow := range []bool{false, true} {
			f.Add(buildFor(v, binary.LittleEndian, narrow).fill().b)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := read(data)
		var e *mosquittodb.Error
		if err != nil && (!errors.As(err, &e) || e.Offset < 0 || e.Offset > int64(len(data))) {
			t.Errorf("%v", err)
		}
	})
}
